"""The fields of ``POST /v1/images/generations`` and ``/v1/images/edits``."""

from __future__ import annotations

from sdopt.serve.http.fields import Field

_PICTURES = (
    Field("model", "honoured", "A name from /v1/models. Default: the server's first bundle."),
    Field("n", "honoured", "1 to 10; picture i is made from seed + i."),
)
_ANSWER = (
    Field("response_format", "honoured", "`b64_json`; `url` is refused: no files are kept."),
    Field("output_format", "honoured", "`png` (carries its settings), `jpeg` or `webp`."),
    Field("output_compression", "honoured", "0 to 100, the quality of JPEG and WebP."),
    Field("stream", "honoured", "Server-sent events."),
    Field("partial_images", "honoured", "0 to 3 previews of each picture; needs `stream`."),
    Field("background", "refused", "Pictures have no transparency.", ("auto", "opaque")),
    Field("quality", "refused", "Say num_inference_steps instead.", ("auto", "standard")),
    Field("complexity", "refused", "There is no such choice."),
    Field("frame_count", "refused", "Pictures do not move.", (1, "1")),
    Field("frame_duration_ms", "refused", "Pictures do not move."),
    Field("svg", "refused", "Pictures are made of pixels."),
)
_NO_EFFECT = (
    Field("user", "no effect", "Nothing is kept about users."),
    Field("safety_identifier", "no effect", "Nothing is kept about users."),
)
_EXTENSIONS = (
    Field("seed", "honoured", "0 to 2**32-1; drawn and returned if absent. An extension."),
    Field("negative_prompt", "honoured", "Needs guidance_scale above 1. An extension."),
    Field("num_inference_steps", "honoured", "Default: the bundle's. An extension."),
    Field("guidance_scale", "honoured", "Off at 1 and below. An extension."),
    Field("scheduler", "honoured", "A name from `sdopt schedulers`. An extension."),
    Field("eta", "honoured", "Fresh noise, for schedulers that take it. An extension."),
    Field("clip_skip", "honoured", "Layers of the text encoder to leave out. An extension."),
    Field("progress", "honoured", "Events with steps and queue; needs `stream`. An extension."),
)

OPENAI_FIELDS = (
    Field("prompt", "honoured", "Required."),
    *_PICTURES,
    Field("size", "honoured", "`WIDTHxHEIGHT` in pixels, or `auto` for the bundle's own."),
    *_ANSWER,
    Field("style", "refused", "Say it in the prompt."),
    Field("moderation", "no effect", "There is no moderation."),
    *_NO_EFFECT,
    *_EXTENSIONS,
)

OPENAI_EDIT_FIELDS = (
    Field("prompt", "honoured", "Required."),
    Field("image", "honoured", "Required: one PNG, JPEG or WebP file, also as `image[]`."),
    Field(
        "mask",
        "honoured",
        "A file of the image's size, transparent where it is redrawn. Default: where the image "
        "itself is transparent, and the whole of an image that is not.",
    ),
    *_PICTURES,
    Field(
        "size",
        "honoured",
        "`WIDTHxHEIGHT`, to which the image is stretched, or `auto` for its own, rounded down.",
    ),
    *_ANSWER,
    Field("input_fidelity", "refused", "Say strength instead."),
    Field("markup", "refused", "Say it in the prompt."),
    *_NO_EFFECT,
    *_EXTENSIONS,
    Field(
        "strength",
        "honoured",
        "How much may change, above 0 and up to 1. Default 0.8, and 1 with a mask. An extension.",
    ),
    Field("mask_blur", "honoured", "Radius in the mask's pixels. Default 0. An extension."),
    Field(
        "padding_mask_crop",
        "honoured",
        "Redraw the masked area alone at the full size, with so many pixels around it. "
        "An extension.",
    ),
)
