"""The checker reads drawn pictures, and refuses what a person would not accept."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFilter

from models.shapes.drawing import draw_scene
from models.shapes.judge import CHECKPOINT, judge
from models.shapes.prompts import held_out_prompts
from models.shapes.scenes import COLOURS, SHAPES, SIZES, Item, Scene, place, training_scenes
from tests.shapes_checker import UNCLEAR, read_picture

MIDDLE = (48.0, 48.0)


def _scene(shape: str = "star", colour: str = "red", background: str = "blue") -> Scene:
    return Scene(background, (Item(shape, colour, "medium", "centre", MIDDLE, 23.0, 5.0),))


def test_reads_drawn_pictures() -> None:
    singles = [scene for scene in training_scenes(400, seed=7) if len(scene.items) == 1]
    wrong = [
        scene
        for scene in singles
        if read_picture(draw_scene(scene))
        != (scene.background, scene.items[0].colour, scene.items[0].shape)
    ]
    assert len(singles) > 300
    assert len(wrong) <= len(singles) // 100, wrong


@pytest.mark.parametrize("shape", SHAPES)
def test_reads_every_shape_in_every_pair_of_colours(shape: str) -> None:
    rng = np.random.default_rng(3)
    sizes = itertools.cycle(SIZES)
    for background, colour in itertools.permutations(COLOURS, 2):
        scene = Scene(background, (place(rng, shape, colour, next(sizes), "left"),))
        assert read_picture(draw_scene(scene)) == (background, colour, shape)


def test_refuses_two_shapes() -> None:
    pairs = [scene for scene in training_scenes(400, seed=7) if len(scene.items) == 2]
    assert len(pairs) > 30
    for scene in pairs:
        assert UNCLEAR in read_picture(draw_scene(scene))


def _blurred(picture: Image.Image) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(5))


def _half_another_colour(picture: Image.Image) -> Image.Image:
    other = draw_scene(_scene(colour="yellow"))
    picture.paste(other.crop((48, 0, 96, 96)), (48, 0))
    return picture


def _half_another_background(picture: Image.Image) -> Image.Image:
    other = draw_scene(_scene(background="green"))
    picture.paste(other.crop((0, 48, 96, 96)), (0, 48))
    return picture


def _half_missing(picture: Image.Image) -> Image.Image:
    picture.paste(COLOURS["blue"], (0, 0, 48, 96))
    return picture


def _noisy(picture: Image.Image) -> Image.Image:
    rng = np.random.default_rng(0)
    pixels = np.asarray(picture) + rng.normal(0, 120, (96, 96, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    "spoil",
    [_blurred, _half_another_colour, _half_another_background, _half_missing, _noisy],
)
def test_refuses_spoiled_pictures(spoil: Callable[[Image.Image], Image.Image]) -> None:
    assert read_picture(draw_scene(_scene())) == ("blue", "red", "star")
    assert UNCLEAR in read_picture(spoil(draw_scene(_scene())))


def test_refuses_empty_and_random_pictures() -> None:
    assert read_picture(Image.new("RGB", (96, 96), COLOURS["red"]))[1:] == (UNCLEAR, UNCLEAR)
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    assert UNCLEAR in read_picture(Image.fromarray(noise))


def test_judge_counts_each_attribute() -> None:
    prompts = held_out_prompts()
    images = [
        draw_scene(_scene(prompt.shape, prompt.shape_colour, prompt.background))
        for prompt in prompts
    ]
    accuracy = judge(images, prompts)
    assert (accuracy.total, accuracy.all_three) == (100, 100)
    assert judge(images[:-1], prompts[1:]).all_three < 10


def test_reads_pictures_that_the_carried_vae_redraws() -> None:
    torch = pytest.importorskip("torch", reason="needs sdopt[export]")
    from diffusers import AutoencoderKL

    singles = [scene for scene in training_scenes(230, seed=8) if len(scene.items) == 1]
    pictures = np.stack([np.asarray(draw_scene(scene)) for scene in singles])
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    vae = AutoencoderKL.from_pretrained(CHECKPOINT / "vae", dtype=torch.float32)
    with torch.no_grad():  # a few at a time: all at once takes four times as long
        latents = [vae.encode(few).latent_dist.mean for few in pixels.split(16)]
        redrawn = torch.cat([vae.decode(few).sample for few in latents])
    bytes_ = ((redrawn + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    wrong = [
        scene
        for scene, picture in zip(singles, bytes_, strict=True)
        if read_picture(Image.fromarray(picture))
        != (scene.background, scene.items[0].colour, scene.items[0].shape)
    ]
    assert len(wrong) <= len(singles) // 100, wrong
