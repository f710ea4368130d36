"""The map from weights to initialisers: with it, weights can be exchanged in an exported graph."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors.numpy import load_file

from tests.export.graphs import Tiny


def initializers(folder: Path) -> dict[str, np.ndarray]:
    model = onnx.load(folder / "model.onnx")
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def weights(checkpoint: Path, folder: str) -> dict[str, np.ndarray]:
    return load_file(checkpoint / folder / "diffusion_pytorch_model.safetensors")


@pytest.mark.parametrize("component", ["unet", "vae_decoder", "vae_encoder"])
def test_each_weight_is_where_the_map_says(tiny: Tiny, tiny_export: Path, component: str) -> None:
    places = json.loads((tiny_export / component / "weights.json").read_text())
    held = initializers(tiny_export / component)
    stored = weights(tiny.checkpoint, "unet" if component == "unet" else "vae")
    assert places.keys() == stored.keys()
    for name, place in places.items():
        if place is not None:
            ours = held[place["initializer"]]
            np.testing.assert_array_equal(ours.T if place["transposed"] else ours, stored[name])


def test_only_group_norms_go_into_constants(tiny: Tiny, tiny_export: Path) -> None:
    """What adapters change, matrices and convolutions, can be found without exception."""
    places = json.loads((tiny_export / "unet" / "weights.json").read_text())
    stored = weights(tiny.checkpoint, "unet")
    lost = [name for name, place in places.items() if place is None]
    assert lost
    assert all(stored[name].ndim == 1 and "norm" in name for name in lost)


def test_every_large_initializer_is_a_weight(tiny_export: Path) -> None:
    places = json.loads((tiny_export / "unet" / "weights.json").read_text())
    mapped = {place["initializer"] for place in places.values() if place}
    large = {n for n, array in initializers(tiny_export / "unet").items() if array.size > 1024}
    assert large <= mapped


def test_a_vaes_halves_hold_their_own_weights(tiny_export: Path) -> None:
    """The decoder reads nothing of the encoder, and says so."""
    decoder = json.loads((tiny_export / "vae_decoder" / "weights.json").read_text())
    encoder = json.loads((tiny_export / "vae_encoder" / "weights.json").read_text())
    assert all(decoder[name] is None for name in decoder if name.startswith("encoder."))
    assert all(encoder[name] is None for name in encoder if name.startswith("decoder."))
    assert decoder["decoder.conv_in.weight"]
    assert encoder["encoder.conv_in.weight"]


def test_token_embeddings_can_be_found(tiny_export: Path) -> None:
    places = json.loads((tiny_export / "text_encoder" / "weights.json").read_text())
    held = initializers(tiny_export / "text_encoder")
    (place,) = [p for name, p in places.items() if name.endswith("token_embedding.weight")]
    assert place["initializer"] in held
