"""On every engine, a picture is the same bit for bit alone and in any company."""

from __future__ import annotations

import random

import numpy as np
import pytest

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.loop_graphs import LOOP_GRAPHS
from sdopt.engines.catalog import open_engine
from sdopt.engines.contract import Engine
from sdopt.engines.options import EngineOptions, Model
from sdopt.engines.row_parts import VerifiedParts, in_parts
from sdopt.errors import MissingDependencyError, ProviderUnavailableError
from sdopt.runtime.device_arithmetic import LoopGraphs
from sdopt.runtime.loop import DenoisingLoop
from sdopt.runtime.noise import NoiseStream
from sdopt.runtime.row import Row, RowRequest
from sdopt.runtime.schedulers import compile_plan

SCHEDULERS = ("ddim", "pndm", "lms", "euler", "euler_ancestral", "dpmpp_2m", "dpmpp_2m_karras")
LENGTH = 77


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open("shapes")


@pytest.fixture(
    scope="module", params=[("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")]
)
def unet(bundle: Bundle, all_cores: None, request: pytest.FixtureRequest) -> Engine:
    engine, precision = request.param
    try:
        loaded = open_engine(engine, Model.of(bundle, "unet"), EngineOptions(precision=precision))
    except (MissingDependencyError, ProviderUnavailableError) as error:
        pytest.skip(str(error))
    return in_parts(loaded, "exact", 16)


class Company:
    """Requests of every kind over one UNet, alone or together."""

    def __init__(
        self,
        bundle: Bundle,
        unet: Engine,
        shape: tuple[int, int, int],
        graphs: LoopGraphs | None = None,
    ) -> None:
        self._config = dict(bundle.manifest.scheduler) | {"clip_sample": False}
        self._unet, self._shape, self._graphs = unet, shape, graphs
        width = next(s for s in unet.inputs if s.name == "encoder_hidden_states").shape[-1]
        assert isinstance(width, int)
        self._width = width
        self._alone: dict[int, bytes] = {}
        self.loop = self._loop(8)

    def request(self, number: int) -> RowRequest:
        """Make the request of this number, always the same."""
        rng = np.random.default_rng(number)
        guidance_scale = float(rng.choice([1.0, 2.0, 7.5]))
        embeds = rng.normal(size=(2, LENGTH, self._width)).astype(np.float32)
        return RowRequest(
            plan=compile_plan(
                self._config, int(rng.integers(1, 7)), scheduler=str(rng.choice(SCHEDULERS))
            ),
            noise=NoiseStream(number),
            prompt_embeds=embeds[0],
            negative_prompt_embeds=embeds[1] if guidance_scale > 1 else None,
            guidance_scale=guidance_scale,
        )

    def alone(self, number: int) -> bytes:
        if number not in self._alone:
            loop = self._loop(1)
            row = loop.admit(self.request(number))
            while not row.finished:
                loop.step()
            self._alone[number] = row.latents.tobytes()
        return self._alone[number]

    def _loop(self, max_rows: int) -> DenoisingLoop:
        return DenoisingLoop(
            self._unet,
            latent_shape=self._shape,
            prompt_shape=(LENGTH, self._width),
            max_rows=max_rows,
            graphs=self._graphs,
        )


@pytest.mark.parametrize("shape", [(4, 12, 12), (4, 17, 25)])
def test_a_picture_is_the_same_in_any_company(
    bundle: Bundle, unet: Engine, shape: tuple[int, int, int]
) -> None:
    if isinstance(unet, VerifiedParts):  # as a server does, so that rows do meet
        row = {"sample": shape, "timestep": (), "out_sample": shape}
        times = unet.measure(row | {"encoder_hidden_states": (LENGTH, 128)}, budget_s=1.0)
        assert 1 in times.seconds
        check(Company(bundle, unet, shape), rounds=2)
    else:
        check(Company(bundle, unet, shape), rounds=8)


def test_so_it_is_with_the_loop_on_a_device(bundle: Bundle) -> None:
    unet, head, tail = (
        open_engine("onnxruntime", Model.of(bundle, name)) for name in ("unet", *LOOP_GRAPHS)
    )
    check(Company(bundle, unet, (4, 12, 12), LoopGraphs(head, tail)), rounds=2)


def check(company: Company, rounds: int) -> None:
    """Let requests join and leave, and compare each picture with the one that it is alone."""
    rng = random.Random(0)
    for round_ in range(rounds):
        numbers = [100 * round_ + index for index in range(rng.randint(1, 8))]
        joins = {number: rng.randint(0, 6) for number in numbers}
        leaves = rng.sample(numbers, k=len(numbers) // 4)
        running: dict[Row, int] = {}
        finished: dict[int, bytes] = {}
        for step in range(20):
            for number in (n for n in numbers if joins[n] == step):
                running[company.loop.admit(company.request(number))] = number
            report = company.loop.step()
            for row in report.finished:
                finished[running.pop(row)] = row.latents.tobytes()
            for row in [r for r, n in running.items() if n in leaves and r.stage == 2]:
                company.loop.cancel(row)
                del running[row]
        assert not running
        assert finished
        for number, latents in finished.items():
            assert latents == company.alone(number), f"request {number} of round {round_}"
