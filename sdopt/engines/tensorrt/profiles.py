"""From sizes and numbers of pictures to the shapes that engines are built for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sdopt.bundle.bundle import Bundle
from sdopt.bundle.loop_graphs import LOOP_GRAPHS, dimensions
from sdopt.bundle.tensors import TensorSpec
from sdopt.engines.size_bucket import SizeBucket
from sdopt.errors import EngineBuildError

Shape = tuple[int, ...]

MAX_PROMPT_CHUNKS = 3
"""Prompts of up to so many chunks of 75 tokens fit: more cost the builder memory and time."""
MAX_SLOTS = 32
"""Rows of a denoising loop that the loop graphs have room for."""
MAX_CONCEPT_ROWS = 512
"""Vectors of textual inversion that fit, all concepts together."""


@dataclass(frozen=True, slots=True)
class ShapeRange:
    """From which to which shape a tensor may go, and which one is to be fastest."""

    min: Shape
    opt: Shape
    max: Shape

    def holds(self, shape: Shape) -> bool:
        """Say whether a shape is within the range, in every dimension."""
        return len(shape) == len(self.min) and all(
            low <= size <= high for low, size, high in zip(self.min, shape, self.max, strict=True)
        )

    def __str__(self) -> str:
        """Write as ``(1 to 2)x4x64x64``."""
        return "x".join(
            str(low) if low == high else f"({low} to {high})"
            for low, high in zip(self.min, self.max, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Profile:
    """What one optimization profile of an engine covers.

    Attributes:
        label: In words, for people and for the engine's key.
        ranges: By input.
    """

    label: str
    ranges: Mapping[str, ShapeRange]

    def holds(self, shapes: Mapping[str, Shape]) -> bool:
        """Say whether these shapes of inputs can be run."""
        return all(self.ranges[name].holds(shape) for name, shape in shapes.items())


@dataclass(frozen=True, slots=True)
class _Sizes:
    """min, opt and max of each of a graph's named dimensions, for one bucket."""

    label: str
    dims: Mapping[str, tuple[int, int, int]]


def profiles(bundle: Bundle, component: str, buckets: Sequence[SizeBucket]) -> list[Profile]:
    """Return the profiles of a component's engine: one for each bucket in which its shapes differ.

    A text encoder sees nothing of a picture's size, and a VAE gets one picture at a time.

    Raises:
        InvalidSizeError: A size is no multiple of the VAE's factor.
        EngineBuildError: The graph has a dimension of an unknown name.
    """
    inputs = bundle.component(component).inputs
    for bucket in buckets:
        bucket.check(bundle.manifest.vae_scale_factor)
    found: dict[str, Profile] = {}
    for bucket in sorted(buckets):
        sizes = _sizes(bundle, component, bucket)
        found.setdefault(sizes.label, _profile(component, inputs, sizes))
    return list(found.values())


def exactly(label: str, shapes: Mapping[str, Shape]) -> Profile:
    """Return a profile for these shapes alone."""
    ranges = {name: ShapeRange(shape, shape, shape) for name, shape in shapes.items()}
    return Profile(label, ranges)


def labels(profiles: Iterable[Profile]) -> str:
    """Return the labels of several profiles, for the engine's key."""
    return ", ".join(profile.label for profile in profiles)


def _sizes(bundle: Bundle, component: str, bucket: SizeBucket) -> _Sizes:
    factor = bundle.manifest.vae_scale_factor
    tokens = _tokens(bundle)
    area = {
        "height": (bucket.height,) * 3,
        "width": (bucket.width,) * 3,
        "latent_height": (bucket.height // factor,) * 3,
        "latent_width": (bucket.width // factor,) * 3,
    }
    if component == "unet":
        guided = 2 if bundle.family.guidance == "classifier_free" else 1
        rows = bucket.min_images, guided * bucket.max_images, guided * bucket.max_images
        sequence = tokens, tokens, tokens * _most_chunks(bundle)
        return _Sizes(str(bucket), area | {"batch": rows, "sequence": sequence})
    if component in LOOP_GRAPHS:
        return _Sizes(f"{bucket.width}x{bucket.height}", area | _slots(bucket.max_images))
    one = {"batch": (1, 1, 1)}
    if component.startswith("text_encoder"):
        return _Sizes("1 prompt", one | {"concepts": (1, 1, MAX_CONCEPT_ROWS)})
    return _Sizes(f"{bucket.width}x{bucket.height}", area | one)


def _slots(images: int) -> dict[str, tuple[int, int, int]]:
    """Return the sizes of the loop graphs, which are small: any loop may use them."""
    slots = 1, images, max(images, MAX_SLOTS)
    low, best, high = (dimensions(count, 0, 0) for count in slots)
    return {
        "slots": (low["slots"], best["slots"], high["slots"]),
        "entries": (low["entries"], best["entries"], high["entries"]),
        "batch": (1, best["batch"], high["batch"]),
    }


def _profile(component: str, inputs: Sequence[TensorSpec], sizes: _Sizes) -> Profile:
    return Profile(sizes.label, {spec.name: _range(component, spec, sizes) for spec in inputs})


def _range(component: str, spec: TensorSpec, sizes: _Sizes) -> ShapeRange:
    columns = []
    for dim in spec.shape:
        if isinstance(dim, str) and dim not in sizes.dims:
            raise EngineBuildError(
                component,
                f"Nothing is known of the dimension {dim!r} of {spec}. Known are "
                f"{', '.join(sorted(sizes.dims))}; `sdopt export` names dimensions so",
            )
        columns.append(sizes.dims[dim] if isinstance(dim, str) else (dim,) * 3)
    low, best, high = (tuple(column[i] for column in columns) for i in range(3))
    return ShapeRange(low, best, high)


def _tokens(bundle: Bundle) -> int:
    """Return how many tokens a text encoder reads at once."""
    component = bundle.family.text_encodings[0].component
    ids = next(s for s in bundle.component(component).inputs if s.name == "input_ids")
    if not isinstance(ids.shape[1], int):
        raise EngineBuildError(component, f"The length of {ids} is not fixed")
    return ids.shape[1]


def _most_chunks(bundle: Bundle) -> int:
    return MAX_PROMPT_CHUNKS if bundle.family.long_prompts == "chunk" else 1
