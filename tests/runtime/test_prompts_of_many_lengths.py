"""Prompts of different lengths in one request: each picture is the one that it is alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from sdopt.bundle.manifest import Defaults
from sdopt.bundle.tensors import TensorSpec
from sdopt.runtime.decoder import LatentDecoder
from sdopt.runtime.generation import Result
from sdopt.runtime.image_generator import ImageGenerator, LatentGeometry
from sdopt.runtime.images import LatentPreview
from sdopt.runtime.latent_encoder import LatentEncoder
from sdopt.runtime.ports import Array, Call, Engine
from sdopt.runtime.prompt_embeds import EmbedsRule
from sdopt.runtime.prompts import PromptEncoder
from sdopt.runtime.request_options import RequestOptions
from sdopt.runtime.request_rules import RequestRules
from sdopt.runtime.tokenizer import ClipTokenizer
from tests.runtime.toy_text_encoder import DIM, ENCODING, ToyTextEncoder
from tests.runtime.toy_unet import ToyUNet

TOKENIZER = ClipTokenizer.from_folder(
    Path(__file__).parents[2] / "models" / "shapes" / "checkpoint" / "tokenizer"
)
RULES = RequestRules(
    defaults=Defaults(64, 72, num_inference_steps=50, guidance_scale=7.5),
    size_multiple=8,
    scheduler={"_class_name": "EulerAncestralDiscreteScheduler"},
    embeds=EmbedsRule(77, DIM),
)
LONG, LONGER = "(red:1.3) circle, " * 40, "blue " * 200


class ToyDecoder:
    """Enlarges the first three channels."""

    inputs = (TensorSpec("latent_sample", "float32", ("batch", 4, "height", "width")),)
    outputs = (TensorSpec("sample", "float32", ("batch", 3, "height", "width")),)

    def bind(self, buffers: Mapping[str, Array]) -> Call:
        def call() -> None:
            buffers["sample"][:] = np.kron(buffers["latent_sample"][:, :3] * 0.2, np.ones((8, 8)))

        return call


def no_encoder() -> Engine:
    raise AssertionError("text to image needs no encoder")


class Toys:
    """Text to image over toys."""

    def __init__(self, max_rows: int = 3) -> None:
        self.unet, self.text_encoder = ToyUNet(), ToyTextEncoder()
        encoder = PromptEncoder(
            (ENCODING,), {"tokenizer": TOKENIZER}, {"text_encoder": self.text_encoder}
        )
        self.generator = ImageGenerator(
            prompts=encoder,
            unet=self.unet,
            encoder=LatentEncoder(no_encoder, scaling_factor=1.0, vae_scale_factor=8),
            decoder=LatentDecoder(ToyDecoder(), scaling_factor=1.0, vae_scale_factor=8),
            preview=LatentPreview(np.ones((4, 3), np.float32), np.zeros(3, np.float32)),
            geometry=LatentGeometry(4, 8),
            max_rows=max_rows,
        )

    def __call__(self, prompt: str | list[str], **options: object) -> Result:
        asked: RequestOptions = {"num_inference_steps": 3, "seed": 5, **options}  # type: ignore[typeddict-item]
        return self.generator.start(RULES.request(prompt, asked), previews=True).result


def pixels(result: Result, index: int = 0) -> bytes:
    return result.images[index].tobytes()


@pytest.mark.parametrize("guidance_scale", [1.0, 7.5])
def test_each_picture_is_the_one_that_it_is_alone(guidance_scale: float) -> None:
    prompts = ["red", LONG, "green", LONGER, ""]
    together = Toys()(prompts, num_images_per_prompt=2, guidance_scale=guidance_scale)
    for index in range(10):
        alone = Toys()(prompts[index // 2], seed=5 + index, guidance_scale=guidance_scale)
        assert pixels(together, index) == pixels(alone), index
    assert len({pixels(together, index) for index in range(10)}) == 10


def test_a_long_negative_prompt_makes_every_picture_long_alone_or_not() -> None:
    together = Toys()(["red", LONG], negative_prompt=LONGER)
    assert pixels(together) == pixels(Toys()("red", negative_prompt=LONGER))
    assert pixels(together) != pixels(Toys()("red"))


def test_steps_and_previews_count_over_all_lengths() -> None:
    toys = Toys(max_rows=2)
    request = RULES.request(["red", LONG, "green"], {"num_inference_steps": 3, "seed": 5})
    generation = toys.generator.start(request, previews=True)
    steps = list(generation)
    assert [step.completed for step in steps] == [2, 4, 6, 7, 8, 9]
    assert {step.total for step in steps} == {9}
    assert [set(step.previews) for step in steps] == [{0, 2}] * 3 + [{1}] * 3


def test_closing_frees_the_rows() -> None:
    toys = Toys(max_rows=2)
    request = RULES.request([LONG, "red"], {"num_inference_steps": 3, "seed": 5})
    generation = toys.generator.start(request, previews=False)
    next(generation)
    generation.close()
    assert all(not loop.rows for loop in toys.generator._loops.values())


def test_a_repeated_prompt_is_not_encoded_again() -> None:
    toys = Toys()
    toys([LONG, "red"])
    runs = toys.text_encoder.runs
    first, second = toys([LONG, "red"]), toys("red")
    assert toys.text_encoder.runs == runs
    assert pixels(first, 1) == pixels(toys("red", seed=6))
    assert second.timings.text_encoder_ms == 0


def test_embeddings_give_the_picture_of_their_text() -> None:
    toys = Toys()
    embeds, negative = (toys.generator._prompts.encode(text) for text in (LONG, "blue"))
    given = toys(None, prompt_embeds=embeds, negative_prompt_embeds=negative)  # type: ignore[arg-type]
    assert pixels(given) == pixels(toys(LONG, negative_prompt="blue"))
