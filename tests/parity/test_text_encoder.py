"""Clip skip and textual inversion: by hand through torch's layers, and diffusers' own pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sdopt
from sdopt.pipeline import Pipeline

torch = pytest.importorskip("torch", reason="needs sdopt[export]")
pytestmark = pytest.mark.usefixtures("one_torch_thread")

EMBEDS_TOLERANCE = 1e-5
"""Relative: another order of summation through three layers."""
MEAN_TOLERANCE, MAX_TOLERANCE = 0.5, 3  # see test_diffusers_parity.py
PROMPT, NEGATIVE = "a large <thing> circle on a blue background", "a green odd square"
TOKENS = {"<thing>": "learned_embeds", "odd": "odd"}
OPTIONS = {"num_inference_steps": 4, "guidance_scale": 4.0}


@pytest.fixture(scope="module")
def theirs(shapes_checkpoint: Path) -> Any:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(
        shapes_checkpoint, dtype=torch.float32, safety_checker=None, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    # diffusers 0.42 asks for text_model.final_layer_norm, which transformers 5 has moved up.
    object.__setattr__(pipeline.text_encoder, "text_model", pipeline.text_encoder)
    return pipeline


@pytest.fixture
def ours() -> Pipeline:
    return sdopt.load("shapes")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Two concepts: one of a single vector in diffusers' layout, one of three in the web UI's."""
    from safetensors.torch import save_file

    vectors = torch.randn(4, 128, generator=torch.Generator().manual_seed(0)) * 0.3
    paths = {token: tmp_path / f"{name}.safetensors" for token, name in TOKENS.items()}
    save_file({"<thing>": vectors[0].clone()}, paths["<thing>"])
    save_file({"emb_params": vectors[1:].clone()}, paths["odd"])
    return paths


def by_hand(theirs: Any, parts: list[str | np.ndarray], skipped: int = 0) -> np.ndarray:
    """Encode words and vectors: token and position embeddings through the encoder's layers."""
    encoder, tokenizer = theirs.text_encoder, theirs.tokenizer
    table = encoder.get_input_embeddings().weight
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    rows = [table[start]]
    for part in parts:
        if isinstance(part, str):
            rows += [table[i] for i in tokenizer(part, add_special_tokens=False).input_ids]
        else:
            rows += list(torch.tensor(part))
    rows += [table[end]] + [table[tokenizer.pad_token_id]] * (76 - len(rows))
    hidden = torch.stack(rows)[None] + encoder.embeddings.position_embedding.weight[None]
    mask = torch.full((1, 1, 77, 77), torch.finfo(torch.float32).min).triu(1)
    layers = encoder.encoder.layers
    for layer in layers[: len(layers) - skipped]:
        hidden = layer(hidden, mask)
    return encoder.final_layer_norm(hidden)[0].detach().numpy()


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("clip_skip", [0, 1, 2])
def test_clip_skip_is_the_layers_left_out_and_the_final_norm(
    ours: Pipeline, theirs: Any, clip_skip: int
) -> None:
    text = "a red circle"
    expected = by_hand(theirs, [text], clip_skip)
    found = encode(ours, text, clip_skip)
    assert relative(found, expected) <= EMBEDS_TOLERANCE
    assert relative(found, by_hand(theirs, [text], (clip_skip + 1) % 3)) > 100 * EMBEDS_TOLERANCE


@pytest.mark.parametrize("clip_skip", [0, 1])
def test_concepts_take_the_place_of_their_trigger_words(
    ours: Pipeline, theirs: Any, files: dict[str, Path], clip_skip: int
) -> None:
    thing, odd = (ours.load_textual_inversion(path).vectors[0] for path in files.values())
    found = encode(ours, "an odd circle, <thing>, red", clip_skip)
    expected = by_hand(theirs, ["an", odd, "circle,", thing, ", red"], clip_skip)
    assert relative(found, expected) <= EMBEDS_TOLERANCE
    assert relative(found, encode(ours, "an circle, , red", clip_skip)) > 100 * EMBEDS_TOLERANCE


def test_without_concepts_their_words_are_words(
    ours: Pipeline, theirs: Any, files: dict[str, Path]
) -> None:
    ours.load_textual_inversion(files["odd"])
    ours.unload_textual_inversion("odd")
    text = "an odd circle"
    assert relative(encode(ours, text), by_hand(theirs, [text])) <= EMBEDS_TOLERANCE


@pytest.mark.parametrize("clip_skip", [1, 2])
def test_pictures_with_clip_skip_are_diffusers(ours: Pipeline, theirs: Any, clip_skip: int) -> None:
    assert_same_picture(ours, theirs, clip_skip=clip_skip)


def test_pictures_with_concepts_are_diffusers(
    ours: Pipeline, theirs: Any, files: dict[str, Path]
) -> None:
    without = picture(ours)
    for token, path in files.items():
        ours.load_textual_inversion(path)
        theirs.load_textual_inversion(path, token=token)
    try:
        assert_same_picture(ours, theirs)
    finally:
        theirs.unload_textual_inversion()
    assert np.abs(picture(ours) - without).mean() > 10 * MEAN_TOLERANCE


def encode(pipeline: Pipeline, text: str, clip_skip: int = 0) -> np.ndarray:
    return pipeline._prompts.encode(text, clip_skip)


def picture(pipeline: Pipeline, **options: Any) -> np.ndarray:
    result = pipeline(PROMPT, negative_prompt=NEGATIVE, seed=5, **OPTIONS, **options)
    return np.asarray(result.images[0]).astype(int)


def assert_same_picture(ours: Pipeline, theirs: Any, clip_skip: int = 0) -> None:
    """Compare with diffusers' picture of both prompts encoded with its own clip skip.

    diffusers leaves the negative prompt's layers in; we follow the web UI, which does not.
    """
    embeds, negative = (
        theirs.encode_prompt(text, "cpu", 1, False, clip_skip=clip_skip or None)[0]
        for text in (PROMPT, NEGATIVE)
    )
    generator = torch.Generator("cpu").manual_seed(5)
    result = theirs(
        prompt_embeds=embeds, negative_prompt_embeds=negative, generator=generator, **OPTIONS
    )
    found = picture(ours, clip_skip=clip_skip)
    difference = np.abs(found - np.asarray(result.images[0]).astype(int))
    assert difference.mean() <= MEAN_TOLERANCE
    assert difference.max() <= MAX_TOLERANCE
