"""An engine could not be made or could not run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from sdopt.errors.base import SdoptError, sentences


class EngineError(SdoptError):
    """An engine could not be made or could not run."""


class ProviderUnavailableError(EngineError):
    """A backend, provider or device that was asked for and is not there."""

    def __init__(self, name: str, available: Iterable[str], hint: str) -> None:
        self.name, self.available, self.hint = name, tuple(available), hint
        super().__init__(
            sentences(
                f"{name!r} is not available here",
                f"Available: {', '.join(self.available) or 'none'}",
                hint,
            )
        )


class EngineStoreError(EngineError):
    """A built engine could not be written into the store; nothing is left under its name."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(
            sentences(
                f"Cannot keep a built engine in {path}: {problem}",
                "Free some space there with `sdopt engines clean`, or set SDOPT_CACHE to a folder "
                "that can be written",
            )
        )


class InsufficientMemoryError(EngineError):
    """What is to be loaded will not fit into memory; nothing has been loaded yet."""

    def __init__(self, needed_bytes: int, available_bytes: int) -> None:
        self.needed_bytes, self.available_bytes = needed_bytes, available_bytes
        super().__init__(
            f"About {needed_bytes / 1e9:.1f} GB of memory are needed, and "
            f"{available_bytes / 1e9:.1f} GB are available. End other programs, or take another "
            "engine: `sdopt info BUNDLE --engine NAME` tells how much each needs."
        )


class DeviceError(EngineError):
    """A GPU's own library refused a call."""

    def __init__(self, call: str, detail: str) -> None:
        self.call, self.detail = call, detail
        super().__init__(sentences(f"The GPU failed in {call}: {detail}"))


class DeviceMemoryError(EngineError):
    """A GPU has too little memory left."""

    def __init__(self, needed_bytes: int, free_bytes: int) -> None:
        self.needed_bytes, self.free_bytes = needed_bytes, free_bytes
        super().__init__(
            f"{needed_bytes / 1e9:.1f} GB of the GPU's memory are needed, and "
            f"{free_bytes / 1e9:.1f} GB are free. End other programs on it, or ask for fewer or "
            "smaller pictures at a time."
        )


class EngineExecutionError(EngineError):
    """A backend failed while it ran a component."""

    def __init__(self, component: str, detail: str) -> None:
        self.component, self.detail = component, detail
        super().__init__(sentences(f"Running {component} failed", detail))


class NonFiniteError(EngineError):
    """One row of the denoising loop turned NaN or infinite; the other rows go on."""

    http_status = 422  # these settings do it every time: it is not worth another try

    def __init__(self, stage: int, stages: int) -> None:
        self.stage, self.stages = stage, stages
        super().__init__(
            f"The latents turned NaN or infinite at evaluation {stage + 1} of {stages}. A lower "
            "guidance_scale or a bundle exported with --precision fp32 usually avoids this."
        )


class NonFinitePictureError(EngineError):
    """Latents so far from any picture that the VAE overflows on them."""

    http_status = 422

    def __init__(self) -> None:
        super().__init__(
            "The decoded picture has values that are NaN or infinite. A lower guidance_scale or a "
            "bundle exported with --precision fp32 usually avoids this."
        )


class EngineNotBuiltError(EngineError):
    """No built engine fits this machine and bundle; building takes minutes, and is asked for."""

    def __init__(self, component: str, reason: str, command: str) -> None:
        self.component, self.reason, self.command = component, reason, command
        super().__init__(
            sentences(
                f"There is no engine of {component} that can be used here: {reason}",
                f"Build it: {command}",
            )
        )


class EngineBuildError(EngineError):
    """A backend could not build an engine."""

    def __init__(self, component: str, detail: str) -> None:
        self.component, self.detail = component, detail
        super().__init__(sentences(f"Building the engine of {component} failed", detail))


class BuildMemoryError(EngineBuildError):
    """There was too little memory to build an engine, also with less effort."""

    def __init__(self, component: str, reason: str, levels: Sequence[int]) -> None:
        self.reason, self.levels = reason, tuple(levels)
        tried = " and ".join(map(str, levels))
        super().__init__(
            component,
            f"There is too little memory at optimization level {tried} ({reason}). End other "
            "programs on the GPU, lower --workspace, or build for fewer or smaller pictures with "
            "--profile.",
        )


class SelfTestError(EngineError):
    """A new engine does not compute what torch computed at export; it is not kept."""

    def __init__(self, component: str, shapes: str, found: float, allowed: float) -> None:
        self.component, self.shapes, self.found, self.allowed = component, shapes, found, allowed
        super().__init__(
            f"The new engine of {component} is off by {found:.1e} at {shapes}, where at most "
            f"{allowed:.0e} is allowed, so it is not kept. A bundle exported with --precision fp32 "
            "tells whether it is the precision; `sdopt lint BUNDLE` may name the cause."
        )
