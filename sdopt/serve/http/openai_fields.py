"""The fields of ``POST /v1/images/generations``."""

from __future__ import annotations

from sdopt.serve.http.fields import Field

OPENAI_FIELDS = (
    Field("prompt", "honoured", "Required."),
    Field("model", "honoured", "A name from /v1/models. Default: the server's first bundle."),
    Field("n", "honoured", "1 to 10; picture i is made from seed + i."),
    Field("size", "honoured", "`WIDTHxHEIGHT` in pixels, or `auto` for the bundle's own."),
    Field("response_format", "honoured", "`b64_json`; `url` is refused: no files are kept."),
    Field("output_format", "honoured", "`png` (carries its settings), `jpeg` or `webp`."),
    Field("output_compression", "honoured", "0 to 100, the quality of JPEG and WebP."),
    Field("stream", "honoured", "Server-sent events."),
    Field("partial_images", "honoured", "0 to 3 previews of each picture; needs `stream`."),
    Field(
        "background",
        "refused",
        "Pictures have no transparency.",
        ("auto", "opaque"),
    ),
    Field(
        "quality",
        "refused",
        "Say num_inference_steps instead.",
        ("auto", "standard"),
    ),
    Field("style", "refused", "Say it in the prompt."),
    Field("moderation", "no effect", "There is no moderation."),
    Field("user", "no effect", "Nothing is kept about users."),
    Field("seed", "honoured", "0 to 2**32-1; drawn and returned if absent. An extension."),
    Field("negative_prompt", "honoured", "Needs guidance_scale above 1. An extension."),
    Field("num_inference_steps", "honoured", "Default: the bundle's. An extension."),
    Field("guidance_scale", "honoured", "Off at 1 and below. An extension."),
    Field("scheduler", "honoured", "A name from `sdopt schedulers`. An extension."),
    Field("eta", "honoured", "Fresh noise, for schedulers that take it. An extension."),
    Field("clip_skip", "honoured", "Layers of the text encoder to leave out. An extension."),
    Field("progress", "honoured", "Events with steps and queue; needs `stream`. An extension."),
)
