"""Find out what each fp32 island is for: networks that need it, lowered with and without it.

    python tests/export/island_cases.py CHECKPOINT OUT.json

CHECKPOINT is the carried model's. Each network is traced once, its weights are scaled so that
something goes wrong, and what its lowered graph gives is compared with torch in float32. A script,
run in a process of its own, so that the tests themselves stay free of torch.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from sdopt.bundle.reference import deviation
from sdopt.export import cases, graph, storage
from sdopt.export.checkpoint import Checkpoint
from sdopt.export.components import COMPONENTS, DOORS
from sdopt.export.loading import load
from sdopt.export.options import opset_of
from sdopt.export.precision import ISLANDS
from sdopt.export.precision.emulation import emulate
from sdopt.export.precision.lowering import lower
from sdopt.export.trace import trace
from sdopt.export.wrappers import WRAPPERS, make_traceable
from tests.export.graphs import as_written

PARTS = tuple(name for name, island in ISLANDS.items() if island.region is not None)
OPSET = 18


@dataclass(frozen=True)
class Case:
    """Weights with which an island is needed.

    Attributes:
        network: A key of the networks that `main` makes.
        island: Its name.
        precision: In which it is needed.
        scales: What weights are multiplied by, by a part of their names.
    """

    network: str
    island: str
    precision: Any
    scales: Mapping[str, float] = field(default_factory=dict)


LOUD = {"decoder.conv_in": 1e5}  # activations beyond 65504, up to the last norm
PEAKED = {"to_q": 300.0, "to_k": 300.0, "to_out": 0.01}  # scores beyond 65504, of little weight
LARGE = {"conv_in": 3000.0}  # activations of thousands, whose squares pass 65504
TIMELY = {"time_embedding.linear_1": 8.0, "time_emb_proj": 4.0}  # all depends on the timestep
CASES = (
    Case("vae", "vae", "fp16", LOUD),
    Case("unet", "attention_scores", "fp16", PEAKED),
    Case("unet", "norm_statistics", "fp16", LARGE),
    Case("carried vae", "norm_statistics", "bf16"),
    Case("unet", "timestep_embedding", "fp16", TIMELY),
    Case("unet", "timestep_embedding", "bf16", TIMELY),
)
NOT_NEEDED = (Case("vae", "vae", "bf16", LOUD), Case("unet", "attention_scores", "bf16", PEAKED))
"""What bf16 does without, because it reaches as far as fp32."""


class Network:
    """A network, its traced graph, and inputs."""

    def __init__(self, component: str, module: Any, inputs: dict[str, Any]) -> None:
        self._row, self._inputs = COMPONENTS[component], inputs
        self.config, self.family = lambda _folder: module.config, None
        module.eval().requires_grad_(False)
        make_traceable(module)
        self._wrapped = WRAPPERS[component](module).eval()
        specs = self._specs("float32")
        self._traced = trace(self._wrapped, *specs, OPSET)  # shares its weights with the module
        self._parameters = graph.simplify(self._traced)

    def error(self, case: Case, islands: tuple[str, ...], folder: Path) -> tuple[float, float]:
        """Lower to a case's precision, run, and compare with torch."""
        with _scaled(self._wrapped, case.scales), torch.no_grad():
            wanted = self._wrapped(*map(torch.from_numpy, self._inputs.values())).numpy()
            model, (inputs, outputs) = self._traced.clone(), self._specs(DOORS[case.precision])
            held = [ISLANDS[name] for name in islands]
            lower(model.graph, case.precision, held, (*inputs, *outputs))
            model.opset_imports[""] = opset_of(case.precision, OPSET)
            graph.finish(model, self._parameters, inputs, outputs)
            storage.save(model, folder / "model.onnx")
        emulate(folder / "model.onnx", folder / "rounded.onnx")
        dtypes = {spec.name: spec.dtype for spec in inputs}
        given = {name: array.astype(dtypes[name]) for name, array in self._inputs.items()}
        (found,) = as_written(folder / "rounded.onnx", [given])
        return deviation(next(iter(found.values())).astype(np.float32), wanted)

    def _specs(self, dtype: str) -> Any:
        return self._row.inputs(self, dtype), self._row.outputs(self, dtype)  # type: ignore[arg-type]


@contextmanager
def _scaled(module: Any, scales: Mapping[str, float]) -> Iterator[None]:
    changed = [
        (weight, factor)
        for name, weight in module.named_parameters()
        for part, factor in scales.items()
        if part in name
    ]
    for weight, factor in changed:
        weight.mul_(factor)
    yield
    for weight, factor in changed:
        weight.div_(factor)


def networks(checkpoint: Path) -> dict[str, Network]:
    """Make the networks of the cases."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return random.standard_normal(shape, np.float32)

    unet = UNet2DConditionModel(
        sample_size=8, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), attention_head_dim=2,
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=16,
    )  # fmt: skip
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",), up_block_types=("UpDecoderBlock2D",),
        block_out_channels=(8,), layers_per_block=1, norm_num_groups=4,
    )  # fmt: skip
    source = Checkpoint.read(checkpoint)
    carried = load(source.models["vae"], torch.float32)
    timesteps = np.array([981, 501.3], np.float32)
    noise = {
        "sample": normal(2, 4, 8, 8),
        "timestep": timesteps,
        "encoder_hidden_states": normal(2, 77, 16),
    }
    latents = {"latent_sample": normal(1, 4, 6, 6)}
    return {
        "unet": Network("unet", unet, noise),
        "vae": Network("vae_decoder", vae, latents),
        "carried vae": Network("vae_decoder", carried, cases.vae_decoder(source)[cases.KEPT]),  # type: ignore[arg-type]
    }


def main() -> None:
    made = networks(Path(sys.argv[1]))
    records: list[dict[str, Any]] = []
    for case in (*CASES, *NOT_NEEDED):
        network, needed = made[case.network], case in CASES
        others = tuple(name for name in PARTS if name != case.island)
        with tempfile.TemporaryDirectory() as folder:
            record = {
                **asdict(case),
                "needed": needed,
                "without": network.error(case, others, Path(folder)),
            }
            if case.island in PARTS:
                record["with"] = network.error(case, PARTS, Path(folder))
            records.append(record)
    Path(sys.argv[2]).write_text(json.dumps(records))


if __name__ == "__main__":
    main()
