"""Reference pairs are kept as they are, and deviations are measured as the manifest says."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sdopt.bundle.reference import ReferencePair, deviation, load_reference, save_reference


def test_pairs_survive(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = [
        ReferencePair(
            {"sample": rng.normal(size=(n, 2)).astype(np.float32), "ids": np.arange(n)},
            {"hidden_states.0": rng.normal(size=(n,))},
        )
        for n in (1, 3)
    ]
    save_reference(tmp_path / "x.safetensors", pairs)
    loaded = load_reference(tmp_path / "x.safetensors")
    assert len(loaded) == len(pairs)
    for ours, theirs in zip(loaded, pairs, strict=True):
        for mine, original in ((ours.inputs, theirs.inputs), (ours.outputs, theirs.outputs)):
            assert mine.keys() == original.keys()
            for name, array in original.items():
                assert mine[name].dtype == array.dtype
                np.testing.assert_array_equal(mine[name], array)


def test_deviation_is_relative() -> None:
    reference = np.array([3.0, -4.0])
    assert deviation(reference.astype(np.float32), reference) == (0.0, 0.0)
    assert deviation(np.array([3.0, -3.5]), reference) == (0.1, 0.125)


def test_what_is_not_finite_or_of_another_shape_is_infinitely_wrong() -> None:
    reference = np.array([3.0, -4.0])
    infinite = (float("inf"), float("inf"))
    assert deviation(np.array([3.0, np.nan]), reference) == infinite
    assert deviation(np.array([3.0]), reference) == infinite
