"""Sizes in text, and the shapes that follow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.families import FAMILIES
from sdopt.engines.build_options import BuildOptions, parse_bytes
from sdopt.engines.size_bucket import SizeBucket
from sdopt.engines.tensorrt.profiles import Profile, ShapeRange, profiles
from sdopt.engines.tensorrt.progress import Phases
from sdopt.errors import EngineBuildError, InvalidSizeError, InvalidValueError


@pytest.mark.parametrize(
    ("text", "bucket", "written"),
    [
        ("512x512", SizeBucket(512, 512), "512x512:1"),
        ("768x512:4", SizeBucket(768, 512, 1, 4), "768x512:1-4"),
        ("512x768:2-8", SizeBucket(512, 768, 2, 8), "512x768:2-8"),
        ("512x768:3-3", SizeBucket(512, 768, 3, 3), "512x768:3-3"),
    ],
)
def test_a_bucket_in_text(text: str, bucket: SizeBucket, written: str) -> None:
    assert SizeBucket.parse(text) == bucket
    assert str(bucket) == written
    assert SizeBucket.parse(written) == bucket


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "512",
            "profile='512' is not allowed. profile is WIDTHxHEIGHT, WIDTHxHEIGHT:N or "
            "WIDTHxHEIGHT:MIN-MAX. 512x512:4.",
        ),
        (
            "512x512:4-2",
            "profile='512x512:4-2' is not allowed. profile is of at least 1 picture, with MIN up "
            "to MAX.",
        ),
        (
            "512x512:0",
            "profile='512x512:0' is not allowed. profile is of at least 1 picture, with MIN up to "
            "MAX.",
        ),
    ],
)
def test_what_is_no_bucket(text: str, message: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        SizeBucket.parse(text)
    assert str(caught.value) == message


def test_a_size_that_the_vae_does_not_divide(bundle: Bundle) -> None:
    with pytest.raises(InvalidSizeError) as caught:
        profiles(bundle, "unet", [SizeBucket(96, 100)])
    assert str(caught.value) == (
        "height=100 is not a multiple of 8. The nearest heights are 96 and 104."
    )


def test_shapes_in_words() -> None:
    held = ShapeRange((1, 4, 64, 64), (2, 4, 64, 64), (8, 4, 64, 64))
    assert str(held) == "(1 to 8)x4x64x64"
    assert held.holds((8, 4, 64, 64))
    assert not held.holds((9, 4, 64, 64))
    assert not held.holds((8, 4, 64))


def test_a_family_without_unconditional_rows_has_half_the_rows(bundle: Bundle) -> None:
    embedded = next(f for f in FAMILIES.values() if f.guidance == "embedded")
    other = Bundle(bundle.path, bundle.manifest)
    other.family = replace(embedded, text_encodings=bundle.family.text_encodings)
    rows = [
        profiles(b, "unet", [SizeBucket(96, 96, 1, 3)])[0].ranges["sample"].max[0]
        for b in (bundle, other)
    ]
    assert rows == [6, 3]


def test_which_profiles_each_component_has(bundle: Bundle) -> None:
    buckets = [SizeBucket(96, 96), SizeBucket(96, 96, 1, 4), SizeBucket(128, 64)]
    labels = {
        name: [profile.label for profile in profiles(bundle, name, buckets)]
        for name in bundle.manifest.components
    }
    assert labels == {
        "text_encoder": ["1 prompt"],
        "vae_encoder": ["96x96", "128x64"],
        "vae_decoder": ["96x96", "128x64"],
        "unet": ["96x96:1", "96x96:1-4", "128x64:1"],
        "loop_head": ["96x96", "128x64"],
        "loop_tail": ["96x96", "128x64"],
    }


def test_a_dimension_of_an_unknown_name_is_refused(bundle: Bundle) -> None:
    component = bundle.component("unet")
    odd = replace(component.inputs[0], shape=("batch", 4, "rows", "columns"))
    manifest = replace(
        bundle.manifest,
        components={**bundle.manifest.components, "unet": replace(component, inputs=(odd,))},
    )
    with pytest.raises(EngineBuildError) as caught:
        profiles(Bundle(bundle.path, manifest), "unet", [SizeBucket(96, 96)])
    assert str(caught.value) == (
        "Building the engine of unet failed. Nothing is known of the dimension 'rows' of sample: "
        "float32[batch, 4, rows, columns]. Known are batch, height, latent_height, latent_width, "
        "sequence, width; `sdopt export` names dimensions so."
    )


def test_a_profile_holds_shapes() -> None:
    held = Profile("x", {"a": ShapeRange((1,), (2,), (4,)), "b": ShapeRange((3,), (3,), (3,))})
    assert held.holds({"a": (4,), "b": (3,)})
    assert not held.holds({"a": (5,), "b": (3,)})


@pytest.mark.parametrize(
    ("text", "size"), [("8GiB", 8 << 30), ("512MiB", 512 << 20), ("1.5GiB", 3 << 29), ("7B", 7)]
)
def test_amounts_of_memory(text: str, size: int) -> None:
    assert parse_bytes(text) == size


def test_what_is_no_amount_of_memory() -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_bytes("8 gigs")
    assert str(caught.value) == (
        "workspace='8 gigs' is not allowed. workspace is an amount of memory, such as 8GiB or "
        "512MiB."
    )


def test_options_outside_their_range() -> None:
    with pytest.raises(InvalidValueError, match="optimization_level=6 is not allowed"):
        BuildOptions(optimization_level=6)
    with pytest.raises(InvalidValueError, match="workspace=0 is not allowed"):
        BuildOptions(workspace_bytes=0)


def test_nested_phases_become_one_share() -> None:
    told: list[tuple[str, float]] = []
    phases = Phases(lambda stage, share: told.append((stage, share)))
    phases.start("all", None, 2)
    phases.start("first", "all", 4)
    phases.step("first", 1)
    phases.step("first", 3)
    phases.finish("first")
    phases.step("all", 0)
    phases.start("second", "all", 1)
    phases.step("second", 0)
    phases.finish("second")
    phases.step("all", 1)
    phases.step("nobody knows it", 3)
    assert told == [
        ("all", 0.0),
        ("first", 0.0),
        ("first", 0.25),
        ("first", 0.5),
        ("all", 0.5),
        ("second", 0.5),
        ("second", 1.0),
        ("all", 1.0),
    ]
