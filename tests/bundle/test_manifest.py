"""The manifest says what it said, and nothing else is believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdopt.bundle.manifest import Manifest, inside, read_manifest
from sdopt.errors import ManifestError


def test_a_manifest_survives_being_written_and_read(small_bundle: Path) -> None:
    manifest = read_manifest(small_bundle)
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.to_json() == (small_bundle / "sdopt.json").read_text()
    assert manifest.components["unet"].inputs[0].shape == (
        "batch",
        4,
        "latent_height",
        "latent_width",
    )
    assert set(manifest.files) == {
        "tokenizer/vocab.json", "unet/model.onnx", "unet/reference.safetensors",
    }  # fmt: skip


def _set(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda data: data.__setitem__(key, value)


def _move_file(path: str) -> Callable[[dict[str, Any]], None]:
    return lambda data: data["files"].__setitem__(path, data["files"].pop("tokenizer/vocab.json"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _set("format_version", 2),
            "Manifest sdopt.json, format_version: 2 is not 1, the version that this sdopt reads. "
            "Export the checkpoint again.",
        ),
        (
            _set("colour", "blue"),
            "Manifest sdopt.json, manifest: unknown keys: 'colour'. Export the checkpoint again.",
        ),
        (
            lambda data: data.pop("family"),
            "Manifest sdopt.json, manifest: missing keys: 'family'. Export the checkpoint again.",
        ),
        (
            _set("latent_channels", "4"),
            "Manifest sdopt.json, manifest.latent_channels: '4' is not int. "
            "Export the checkpoint again.",
        ),
        (
            _set("latent_channels", True),
            "Manifest sdopt.json, manifest.latent_channels: True is not int. "
            "Export the checkpoint again.",
        ),
        (
            _set("prediction_type", "magic"),
            "Manifest sdopt.json, manifest.prediction_type: 'magic' is not one of "
            "['epsilon', 'v_prediction', 'sample']. Export the checkpoint again.",
        ),
        (
            lambda data: data["components"]["unet"].__setitem__("model", "unet/other.onnx"),
            "Manifest sdopt.json, components.unet: 'unet/other.onnx' is not listed under files. "
            "Export the checkpoint again.",
        ),
        (
            _move_file("../vocab.json"),
            "Manifest sdopt.json, files: the path '../vocab.json' leads out of the bundle. "
            "Export the checkpoint again.",
        ),
        (
            _move_file("/etc/passwd"),
            "Manifest sdopt.json, files: the path '/etc/passwd' leads out of the bundle. "
            "Export the checkpoint again.",
        ),
    ],
)  # fmt: skip
def test_a_manifest_that_says_something_else_is_refused(
    small_bundle: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    data = json.loads((small_bundle / "sdopt.json").read_text())
    change(data)
    with pytest.raises(ManifestError) as caught:
        Manifest.from_json(json.dumps(data))
    assert str(caught.value) == message


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ManifestError, match="this is not JSON"):
        Manifest.from_json("{")


@pytest.mark.parametrize("path", ["a", "a/b.onnx", "unet/model.onnx_data", "ü/…"])
def test_paths_inside(path: str) -> None:
    assert inside(path)


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "/a", "../a", "a/../b", "a/..", "./a", "a//b", "a\\b", "C:/a", "a/", "\0"],
)
def test_paths_that_are_not_plainly_inside(path: str) -> None:
    assert not inside(path)


@given(st.text(alphabet="a./\\", max_size=8))
def test_no_path_that_is_inside_leads_out(path: str) -> None:
    root = Path("/root/bundle")
    if inside(path):
        joined = Path(*root.parts, *[part for part in path.split("/") if part != ".."])
        assert (root / path) == joined
        assert (root / path).is_relative_to(root)
        assert (root / path) != root
