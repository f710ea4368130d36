"""UNets that are compiled for one size of pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import sdopt
from sdopt.bundle.bundle import Bundle
from sdopt.cli.main import cli
from sdopt.engines.catalog import stored_key
from sdopt.engines.options import EngineOptions, LatentShape, Model
from sdopt.engines.size_bucket import SizeBucket
from sdopt.errors import EngineExecutionError, InvalidSizeError, InvalidValueError
from sdopt.pipeline import Pipeline
from sdopt.serve.run import Settings, started
from tests.serve.conftest import Running, run_server

openvino = pytest.importorskip("openvino", reason="needs sdopt[openvino]")

from sdopt.engines.openvino import OpenVinoEngine  # noqa: E402 - after the check for the package

SIZE, ALMOST = "192x128", 50.0
"""And a PSNR in dB that only other sums of the same values have: in fp32, measured 89 to 92."""


def load(fixed_size: str | None = SIZE, max_rows: int = 4) -> Pipeline:
    return sdopt.load(
        "shapes", engine="openvino", precision="fp32", fixed_size=fixed_size, max_rows=max_rows
    )


@pytest.fixture(scope="module")
def fixed() -> Pipeline:
    return load()


@pytest.fixture(scope="module")
def any_size() -> Pipeline:
    return load(None)


def pixels(pipeline: Pipeline, prompt: str | list[str], **options: object) -> np.ndarray:
    result = pipeline(prompt, num_inference_steps=3, seed=1, **options)  # type: ignore[arg-type]
    return np.stack([np.asarray(image) for image in result.images]).astype(np.float64)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((one - other) ** 2), 1e-12)))


def test_the_picture_is_that_of_an_engine_for_any_size(fixed: Pipeline, any_size: Pipeline) -> None:
    expected = pixels(any_size, "a red circle", height=128, width=192)
    found = pixels(fixed, "a red circle")
    assert found.shape == expected.shape == (1, 128, 192, 3)
    assert psnr(found, expected) > ALMOST


def test_a_size_that_is_odd_further_down(any_size: Pipeline) -> None:
    expected = pixels(any_size, "a red circle", height=136, width=200)
    assert psnr(pixels(load("200x136"), "a red circle"), expected) > ALMOST


def test_a_picture_is_the_same_alone_and_in_company(fixed: Pipeline) -> None:
    prompts = ["a red circle", "two blue squares", "a green triangle"]
    together = pixels(fixed, prompts)
    for index, prompt in enumerate(prompts):
        result = fixed(prompt, num_inference_steps=3, seed=1 + index)
        np.testing.assert_array_equal(np.asarray(result.images[0]), together[index])


@pytest.mark.parametrize(
    "options", [{"guidance_scale": 1.0}, {"num_images_per_prompt": 3}], ids=str
)
def test_calls_of_fewer_and_of_more_rows_are_filled_up(
    fixed: Pipeline, any_size: Pipeline, options: dict[str, float]
) -> None:
    expected = pixels(any_size, "a red circle", height=128, width=192, **options)
    assert psnr(pixels(fixed, "a red circle", **options), expected) > ALMOST


def test_prompts_may_be_long(fixed: Pipeline, any_size: Pipeline) -> None:
    prompt = "a red circle " * 40
    expected = pixels(any_size, prompt, height=128, width=192)
    assert psnr(pixels(fixed, prompt), expected) > ALMOST


def test_a_picture_to_start_from_is_brought_to_the_size(fixed: Pipeline) -> None:
    found = pixels(fixed, "a red circle", image=Image.new("RGB", (256, 256), "white"))
    assert found.shape == (1, 128, 192, 3)


def test_other_sizes_are_refused(fixed: Pipeline) -> None:
    with pytest.raises(InvalidValueError, match=r"size is 192x128.*without fixed_size"):
        fixed.request("a red circle", height=128, width=128)


def test_what_a_server_does_at_the_start_is_done_for_the_size(fixed: Pipeline) -> None:
    fixed.warmup()
    assert fixed.step_times is None, "the number of rows is no choice any more"


def test_only_engines_that_can_are_told() -> None:
    with pytest.raises(InvalidValueError, match=r"left out with onnxruntime.*openvino"):
        sdopt.load("shapes", engine="onnxruntime", fixed_size=SIZE)


def test_a_range_of_numbers_is_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"one number of pictures.*128x128:4"):
        load("128x128:2-4")


@pytest.mark.parametrize("size", ["square", "64", "0x0", "128x128:0"])
def test_what_is_no_size_is_refused(size: str) -> None:
    with pytest.raises((InvalidValueError, InvalidSizeError), match=r"fixed_size|smaller than 64"):
        load(size)


def test_a_side_that_the_vae_cannot_make_is_refused() -> None:
    with pytest.raises(InvalidSizeError, match="nearest widths are 96 and 104"):
        load("100x128")


@pytest.mark.parametrize(
    ("bucket", "shape"), [("128x64", "2x8x16"), ("128x64:3", "6x8x16")], ids=str
)
def test_rows_of_a_call(bucket: str, shape: str) -> None:
    model = Model.of(Bundle.open("shapes"), "unet", SizeBucket.parse(bucket))
    assert str(model.shape) == shape
    others = ("text_encoder", "vae_decoder")
    assert all(
        Model.of(Bundle.open("shapes"), name, SizeBucket.parse(bucket)).shape is None
        for name in others
    )


def test_each_shape_has_an_engine_of_its_own_in_the_store() -> None:
    bundle, options = Bundle.open("shapes"), EngineOptions(precision="fp32")
    buckets = [None, SizeBucket.parse("128x64"), SizeBucket.parse("128x64:2")]
    keys = [stored_key("openvino", Model.of(bundle, "unet", bucket), options) for bucket in buckets]
    assert len({None if key is None else key.name for key in keys}) == 3


def test_the_graph_takes_no_other_shape() -> None:
    plain = Model.of(Bundle.open("shapes"), "unet")
    model = Model(plain.name, plain.path, shape=LatentShape(2, 8, 8))
    engine = OpenVinoEngine(model, EngineOptions(precision="fp32"))
    assert {spec.name: spec.shape for spec in engine.inputs}["sample"] == (2, 4, 8, 8)
    rows = {"sample": (3, 4, 8, 8), "timestep": (3,), "encoder_hidden_states": (3, 77, 128)}
    with pytest.raises(EngineExecutionError, match="sample"):
        engine.run({name: np.zeros(shape, np.float32) for name, shape in rows.items()})


def test_the_command_line(tmp_path: Path) -> None:
    arguments = [
        "generate", "shapes", "a red circle", "-o", str(tmp_path / "a.png"), "--steps", "2",
        "--engine", "openvino", "--fixed-size", SIZE, "--json",
    ]  # fmt: skip
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    (told,) = json.loads(result.stdout)["images"]
    with Image.open(told["path"]) as image:
        assert image.size == (192, 128)


@pytest.fixture
def server() -> Iterator[Running]:
    settings = Settings(
        engine="openvino", precision="fp32", fixed_size=SizeBucket.parse(SIZE), max_rows=2
    )
    yield from run_server(started(["shapes"], settings))


def test_a_server_tells_its_size_and_makes_no_other(server: Running) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
    (model,) = client.models.list().data
    assert model.fixed_size is True
    assert (model.defaults["width"], model.defaults["height"]) == (192, 128)
    ask = {"prompt": "a red circle", "extra_body": {"num_inference_steps": 2}}
    assert client.images.generate(**ask).size == "192x128"
    with pytest.raises(openai.BadRequestError, match="size is 192x128"):
        client.images.generate(**ask, size="128x128")
