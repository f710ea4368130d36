"""An engine could not be made or could not run."""

from __future__ import annotations

from collections.abc import Iterable
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
