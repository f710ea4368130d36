"""Measure what the denoising loop costs outside engine calls: guidance, scheduler, bookkeeping.

    python benchmarks/loop_overhead.py RECORD.json [--size 256] [--repeats 20]

The UNet is replaced by nothing: its buffers are written and read, and no call is made. One guided
request of 50 steps, for schedulers whose plans have different numbers of state rows K; with NumPy,
and for comparison with the loop graphs of the carried bundle on ONNX Runtime on the CPU.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import numpy as np
from machine import machine, versions

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.loop_graphs import LOOP_GRAPHS
from sdopt.bundle.tensors import TensorSpec
from sdopt.engines.host import HOST
from sdopt.engines.onnxruntime import OnnxRuntimeEngine
from sdopt.engines.options import Model
from sdopt.runtime.device_arithmetic import LoopGraphs
from sdopt.runtime.loop import DenoisingLoop
from sdopt.runtime.noise import NoiseStream
from sdopt.runtime.row import RowRequest
from sdopt.runtime.schedulers import Plan, compile_plan

SCHEDULERS = ("ddim", "euler", "dpmpp_2m_karras", "pndm", "lms", "unipc", "euler_ancestral")
PROMPT_SHAPE = (77, 768)
STABLE_DIFFUSION_15 = {
    "_class_name": "PNDMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}


class NoUnet:
    """Has a UNet's tensors and does nothing."""

    device = HOST

    def __init__(self) -> None:
        latents = ("batch", 4, "latent_height", "latent_width")
        self.inputs = (
            TensorSpec("sample", "float32", latents),
            TensorSpec("timestep", "float32", ("batch",)),
            TensorSpec("encoder_hidden_states", "float32", ("batch", "sequence", 768)),
        )
        self.outputs = (TensorSpec("out_sample", "float32", latents),)

    def bind(self, buffers: Mapping[str, np.ndarray]) -> Callable[[], None]:
        """Write an output once, so that what the loop computes with is finite."""
        buffers["out_sample"][:] = 0.1
        return lambda: None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("record", type=Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    rows = {name: _measure(name, options, None) for name in SCHEDULERS}
    carried = Bundle.open("shapes")
    graphs = LoopGraphs(*(OnnxRuntimeEngine(Model.of(carried, name)) for name in LOOP_GRAPHS))
    with_graphs = {name: _measure(name, options, graphs) for name in SCHEDULERS}
    record = {
        "what": f"one step of one guided request, {options.size}x{options.size}, without the UNet",
        "method": f"every step of {options.repeats} requests of 50 steps; microseconds",
        "machine": machine(),
        "versions": versions("numpy", "onnxruntime"),
        "schedulers": rows,
        "with_loop_graphs_on_the_cpu": with_graphs,
    }
    options.record.parent.mkdir(parents=True, exist_ok=True)
    options.record.write_text(json.dumps(record, indent=2) + "\n")
    for name, row in rows.items():
        print(
            f"{name:<16} K={row['state_rows']}  median {row['median_us']:7.1f} us with NumPy, "
            f"{with_graphs[name]['median_us']:7.1f} us with loop graphs"
        )


def _measure(
    scheduler: str, options: argparse.Namespace, graphs: LoopGraphs | None
) -> dict[str, float]:
    plan = compile_plan(STABLE_DIFFUSION_15, 50, scheduler=scheduler)
    side = options.size // 8
    loop = DenoisingLoop(
        NoUnet(),
        latent_shape=(4, side, side),
        prompt_shape=PROMPT_SHAPE,
        max_rows=1,
        graphs=graphs,
    )
    micros = sorted(us for _ in range(options.repeats) for us in _steps(loop, plan))
    return {
        "state_rows": plan.state_rows,
        "median_us": round(median(micros), 1),
        "p90_us": round(micros[len(micros) * 9 // 10], 1),
    }


def _steps(loop: DenoisingLoop, plan: Plan) -> list[float]:
    embeds = np.zeros(PROMPT_SHAPE, np.float32)
    request = RowRequest(
        plan=plan,
        noise=NoiseStream(0),
        prompt_embeds=embeds,
        negative_prompt_embeds=embeds,
        guidance_scale=7.5,
    )
    row = loop.admit(request)
    micros = []
    while not row.finished:
        begin = time.perf_counter()
        loop.step()
        micros.append((time.perf_counter() - begin) * 1e6)
    return micros


if __name__ == "__main__":
    main()
