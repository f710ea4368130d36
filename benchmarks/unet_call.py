"""Time one UNet call of an sdopt engine beside the same backend called directly.

    python benchmarks/unet_call.py RECORD.json --bundle BUNDLE [--size 256] [--rounds 20]

The direct side is what OpenVINO's own documentation shows: the bundle's ONNX file compiled with the
same precision hint and called with a dictionary of arrays. Each side is there twice, for any shape
and compiled for the one that is measured. All are loaded in one process and called in turn, so that
whatever else the machine does hits all of them. Quote ratios of medians.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
from machine import machine, versions

from sdopt.bundle.bundle import Bundle
from sdopt.engines.catalog import open_engine
from sdopt.engines.options import EngineOptions, LatentShape, Model

BATCH, LENGTH = 2, 77
RATIOS = (("sdopt", "direct"), ("sdopt fixed", "direct fixed"), ("sdopt fixed", "sdopt"))
Call = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("record", type=Path)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp32"))
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    arrays = _arrays(bundle, options.size // bundle.manifest.vae_scale_factor)
    sides = {
        "sdopt": _ours(bundle, options.precision, arrays, fixed=False),
        "direct": _directly(bundle, options.precision, arrays, fixed=False),
        "sdopt fixed": _ours(bundle, options.precision, arrays, fixed=True),
        "direct fixed": _directly(bundle, options.precision, arrays, fixed=True),
    }
    seconds = _in_turn(sides, options.rounds)
    middle = {name: median(values) for name, values in seconds.items()}
    record = {
        "what": f"one UNet call, batch {BATCH}, {options.size}x{options.size}, {options.precision}",
        "method": f"{options.rounds} calls each in turn after three each as a warm-up",
        "machine": machine(),
        "versions": versions("openvino", "numpy"),
        **{f"{one} / {other}": round(middle[one] / middle[other], 4) for one, other in RATIOS},
        "median_s": {name: round(value, 5) for name, value in middle.items()},
        "calls_s": {name: [round(v, 5) for v in values] for name, values in seconds.items()},
    }
    options.record.parent.mkdir(parents=True, exist_ok=True)
    options.record.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps({n: v for n, v in record.items() if " / " in n or n == "median_s"}, indent=2))


def _ours(bundle: Bundle, precision: str, arrays: dict[str, np.ndarray], *, fixed: bool) -> Call:
    rows, _, height, width = arrays["sample"].shape
    shape = LatentShape(rows, height, width) if fixed else None
    model = replace(Model.of(bundle, "unet"), shape=shape)
    engine = open_engine("openvino", model, EngineOptions(precision=precision))
    return engine.bind({**arrays, "out_sample": np.empty_like(arrays["sample"])})


def _directly(
    bundle: Bundle, precision: str, arrays: dict[str, np.ndarray], *, fixed: bool
) -> Call:
    import openvino

    hints = {"INFERENCE_PRECISION_HINT": {"fp32": "f32"}.get(precision, precision)}
    hints["PERFORMANCE_HINT"] = "LATENCY"
    core = openvino.Core()
    graph = core.read_model(bundle.component_path("unet"))
    if fixed:
        graph.reshape({name: array.shape for name, array in arrays.items()})
    compiled = core.compile_model(graph, "CPU", hints)
    return lambda: compiled(arrays)


def _arrays(bundle: Bundle, side: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    width = bundle.component("unet").inputs[2].shape[-1]
    channels = bundle.manifest.latent_channels
    return {
        "sample": rng.standard_normal((BATCH, channels, side, side), np.float32),
        "timestep": np.full(BATCH, 501, np.float32),
        "encoder_hidden_states": rng.standard_normal((BATCH, LENGTH, width), np.float32),
    }


def _in_turn(sides: dict[str, Call], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(-3, rounds):
        for name, call in sides.items():
            begin = time.perf_counter()
            call()
            if round_ >= 0:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


if __name__ == "__main__":
    main()
