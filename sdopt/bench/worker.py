"""sdopt's own side of a measurement: a process that loads a bundle and makes pictures.

Run: python -m sdopt.bench.worker, which talks as :mod:`sdopt.bench.peers.talk` says.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdopt.bench.peers.talk import Figures, Load, Make, talk

if TYPE_CHECKING:
    from sdopt.bench.timeline import Timeline
    from sdopt.pipeline import Pipeline

_BUCKETS_BUDGET_S = 10.0

PACKAGES = (
    "sdopt",
    "numpy",
    "tokenizers",
    "pillow",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
)


def importing(setup: Figures) -> Load:
    """Import the runtime and the backend of the engine that the setup names."""
    import sdopt.pipeline
    from sdopt.engines.catalog import offered

    # A backend is imported when its module is asked what it offers.
    offered(setup["engine"], setup["device"])

    def load() -> Make:
        names = ("engine", "device", "precision", "threads", "max_rows", "fixed_size")
        pipeline = sdopt.pipeline.load(setup["bundle"], **{name: setup[name] for name in names})
        return _Making(pipeline)

    return load


class _Making:
    """Makes pictures, and after the first of each size does what a server does at the start.

    The first picture tells what a cold start takes.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._sizes: set[tuple[int, int]] = set()

    def __call__(self, ask: Mapping[str, Any]) -> Figures:
        figures = measured_picture(self._pipeline, ask)
        height, width = ask["options"]["height"], ask["options"]["width"]
        if (height, width) not in self._sizes:
            self._sizes.add((height, width))
            self._pipeline.warmup(height=height, width=width, budget_s=_BUCKETS_BUDGET_S)
        return figures


def measured_picture(pipeline: Pipeline, ask: Mapping[str, Any]) -> Figures:
    """Make pictures of one prompt, from its text to PNG files in memory.

    Args:
        pipeline: Nothing else may use it meanwhile.
        ask: ``prompt`` and ``options`` of a request; ``keep``, a path to write the first picture
            to, after the timed region.

    Returns:
        ``wall_s``, ``stages_s``, ``unet_calls_s``, ``unet_clock`` (whose they are), and
        ``precisions`` by component.
    """
    from sdopt.bench.timeline import Timeline, stage_seconds, unet_calls

    timeline = Timeline()
    with timeline.listening(pipeline.generator.clocks):
        begin = time.perf_counter()
        files = _pictures(pipeline, ask, timeline)
        wall_s = time.perf_counter() - begin
    if ask.get("keep"):
        Path(ask["keep"]).write_bytes(files[0])
    on_device = timeline.device_calls("unet")
    return {
        "wall_s": wall_s,
        "stages_s": stage_seconds(timeline.spans, on_device),
        "unet_calls_s": on_device or unet_calls(timeline.spans),
        "unet_clock": "device" if on_device else "host",
        "precisions": pipeline.precisions,
    }


def _pictures(pipeline: Pipeline, ask: Mapping[str, Any], timeline: Timeline) -> list[bytes]:
    with timeline.span("request"):
        request = pipeline.request(ask["prompt"], **ask["options"])
    result = pipeline.start(request).result
    with timeline.span("png"):
        return [_png(image, result.settings(index)) for index, image in enumerate(result.images)]


def _png(image: Any, settings: Mapping[str, object]) -> bytes:
    from PIL.PngImagePlugin import PngInfo

    from sdopt.runtime.images import SETTINGS_KEY

    info, buffer = PngInfo(), io.BytesIO()
    info.add_itxt(SETTINGS_KEY, json.dumps(settings, ensure_ascii=False))
    image.save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


if __name__ == "__main__":
    talk(importing, PACKAGES)
