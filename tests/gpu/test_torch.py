"""Engines on a GPU against diffusers on the same GPU. Not run yet: see docs/tensorrt.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.reference import deviation, load_reference
from sdopt.engines.catalog import open_engine
from sdopt.engines.options import EngineOptions, Model
from sdopt.pipeline import Pipeline
from tests.gpu.conftest import PROMPT

pytestmark = pytest.mark.gpu
torch = pytest.importorskip("torch", reason="needs sdopt[export] with a torch for CUDA")
diffusers = pytest.importorskip("diffusers", reason="needs sdopt[export]")

CHECKPOINT = Path(__file__).parents[2] / "models" / "shapes" / "checkpoint"
TOLERANCE = 1e-3
"""Relative L2 in fp32 without TF32, as against the CPU."""


@pytest.fixture(scope="module")
def theirs() -> Any:
    """diffusers' pipeline of the carried model in fp32, on the GPU."""
    if not torch.cuda.is_available():
        pytest.skip("this torch has no CUDA, or there is no GPU")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    kind = diffusers.StableDiffusionPipeline
    pipeline = kind.from_pretrained(CHECKPOINT, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to("cuda")


@torch.inference_mode()
def computed_by_torch(theirs: Any, component: str, arrays: Any) -> Any:
    given = {name: torch.from_numpy(np.array(array)).cuda() for name, array in arrays.items()}
    if component == "unet":
        found = theirs.unet(
            given["sample"], given["timestep"], encoder_hidden_states=given["encoder_hidden_states"]
        ).sample
    elif component == "vae_decoder":
        found = theirs.vae.decode(given["latent_sample"]).sample
    else:
        found = theirs.vae.encode(given["sample"]).latent_dist.parameters
    return found.cpu().numpy()


@pytest.mark.parametrize("component", ["unet", "vae_decoder", "vae_encoder"])
def test_a_component_computes_what_torch_computes_there(
    bundle: Bundle, theirs: Any, on_gpu: tuple[str, EngineOptions], component: str
) -> None:
    engine = open_engine(on_gpu[0], Model.of(bundle, component), on_gpu[1])
    reference = bundle.component(component).reference
    assert reference is not None
    for pair in load_reference(bundle.path / reference):
        (ours,) = engine.run(pair.inputs).values()
        assert deviation(ours, computed_by_torch(theirs, component, pair.inputs))[0] < TOLERANCE


def test_the_loop_gives_diffusers_picture(
    bundle: Bundle, theirs: Any, on_gpu: tuple[str, EngineOptions]
) -> None:
    """With noise of the CPU's generator, whose values sdopt draws."""
    ours = Pipeline(bundle, engine=on_gpu[0], options=on_gpu[1])(
        PROMPT, num_inference_steps=10, guidance_scale=3.0, seed=0, height=96, width=96
    )
    picture = theirs(
        PROMPT,
        num_inference_steps=10,
        guidance_scale=3.0,
        generator=torch.Generator("cpu").manual_seed(0),
        height=96,
        width=96,
    ).images[0]
    difference = np.asarray(ours.images[0], np.int16) - np.asarray(picture, np.int16)
    assert np.abs(difference).mean() < 1.0
