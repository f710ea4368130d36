"""Every exception that sdopt raises on purpose.

::

    SdoptError
    ├── RequestError(ValueError)                what was asked for cannot be done
    │   ├── InvalidValueError                   a field's value is outside what is allowed
    │   ├── InvalidSizeError                    height or width is no multiple of the VAE's factor
    │   ├── UnknownNameError                    of an engine, say; with the nearest name
    │   │   └── UnknownSchedulerError
    │   ├── UnsupportedSchedulerConfigError     a known setting with a value that is refused
    │   ├── ConceptFileError                    a textual inversion that cannot be read
    │   └── ShapeOutOfProfileError              valid, but the engine was built smaller
    ├── BundleError                             what lies on disk is not a bundle we can trust
    │   ├── BundleNotFoundError
    │   ├── ManifestError                       sdopt.json says something that it may not say
    │   ├── MissingFileError
    │   ├── TamperedFileError                   size or SHA-256 differs from the manifest
    │   ├── OnnxFolderError                     another tool's ONNX folder that cannot be used
    │   └── BundleWriteError                    the folder could not be written (exists, disk full)
    ├── ExportError                             a checkpoint could not become a bundle
    │   ├── CheckpointError                     not found, unreadable or of an unknown family
    │   ├── HubError                            a model on the hub that cannot be downloaded
    │   ├── WeightsMismatchError                missing or unexpected weights
    │   └── ParityError                         the graph does not compute what torch computes
    ├── EngineError                             an engine could not be made or could not run
    │   ├── ProviderUnavailableError            asked for and not there; never replaced silently
    │   ├── EngineStoreError                    a built engine could not be kept
    │   ├── InsufficientMemoryError             known before anything is loaded
    │   ├── EngineExecutionError
    │   ├── NonFiniteError                      one row of the denoising loop turned NaN or infinite
    │   └── NonFinitePictureError               latents are finite, and their picture is not
    ├── MissingDependencyError(ImportError)     names the extra to install
    └── ServerError                             the server cannot take the request, or finish it
        ├── ServerBusyError                     the queue is full
        ├── QueueTimeoutError                   no row became free in time
        ├── RunTimeoutError                     the pictures were not finished in time
        ├── ShuttingDownError                   the server takes no requests any more
        └── CancelledError                      who asked for it does not want it any more

A message says what is wrong (with the value), what is allowed, and what to do next. Each class
formats its message from the fields that it keeps, so that a program can read the fields and a
person the text.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar


class SdoptError(Exception):
    """Base of every error that sdopt raises on purpose.

    Attributes:
        http_status: The status with which a server answers a request that caused this error.
    """

    http_status: ClassVar[int] = 500

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes with message and fields; Exception would call the class anew."""
        return _restored, (type(self), self.args, vars(self))


def _restored(kind: type[SdoptError], args: tuple[object, ...], fields: dict[str, Any]) -> object:
    error = kind.__new__(kind, *args)
    vars(error).update(fields)
    return error


# --- requests -----------------------------------------------------------------------------------


class RequestError(SdoptError, ValueError):
    """A request that cannot be carried out as it stands."""

    http_status = 400


class InvalidValueError(RequestError):
    """A field of a request has a value outside what is allowed."""

    def __init__(self, name: str, value: object, allowed: str, hint: str = "") -> None:
        self.name, self.value, self.allowed, self.hint = name, value, allowed, hint
        super().__init__(
            _sentences(f"{name}={value!r} is not allowed", f"{name} is {allowed}", hint)
        )


class InvalidSizeError(RequestError):
    """A height or width that the VAE's factor does not divide."""

    def __init__(self, name: str, value: int, multiple: int, smallest: int) -> None:
        self.name, self.value, self.multiple, self.smallest = name, value, multiple, smallest
        below = max(value // multiple * multiple, smallest)
        super().__init__(
            f"{name}={value} is smaller than {smallest}, the smallest {name}."
            if value < smallest
            else f"{name}={value} is not a multiple of {multiple}. "
            f"The nearest {name}s are {below} and {below + multiple}."
        )


class UnknownNameError(RequestError):
    """A name that is not in the table of its kind, with the nearest one that is."""

    def __init__(self, kind: str, name: str, choices: Sequence[str]) -> None:
        self.kind, self.name, self.choices = kind, name, tuple(choices)
        super().__init__(unknown_name(kind, name, choices))


class UnknownSchedulerError(UnknownNameError):
    """A scheduler name that no row of the scheduler table has."""

    def __init__(self, name: str, choices: Sequence[str]) -> None:
        super().__init__("scheduler", name, choices)


class UnsupportedSchedulerConfigError(RequestError):
    """A key of scheduler_config.json that is known, with a value that is refused."""

    def __init__(self, key: str, value: object, allowed: str, hint: str = "") -> None:
        self.key, self.value, self.allowed, self.hint = key, value, allowed, hint
        super().__init__(
            _sentences(
                f"Scheduler setting {key}={value!r} is not supported", f"It is {allowed}", hint
            )
        )


class ConceptFileError(RequestError):
    """A file that holds no textual inversion that can be used."""

    def __init__(self, path: Path, problem: str, hint: str = "") -> None:
        self.path, self.problem, self.hint = path, problem, hint
        super().__init__(_sentences(f"Textual inversion {path}: {problem}", hint))


class ShapeOutOfProfileError(RequestError):
    """A shape that is valid in itself, but outside what the engine was built for."""

    def __init__(self, name: str, value: object, profile: str, hint: str) -> None:
        self.name, self.value, self.profile, self.hint = name, value, profile, hint
        super().__init__(
            _sentences(
                f"{name}={value!r} is outside the engine's profile",
                f"It was built for {profile}",
                hint,
            )
        )


# --- bundles ------------------------------------------------------------------------------------


class BundleError(SdoptError):
    """What lies on disk is not a bundle that can be trusted."""


class BundleNotFoundError(BundleError):
    """Neither a folder with a manifest nor the name of a carried model."""

    def __init__(self, name: str, carried: Iterable[str]) -> None:
        self.name, self.carried = name, tuple(carried)
        super().__init__(
            f"No bundle at {name!r}. A bundle is a folder with sdopt.json in it, as `sdopt export` "
            f"writes it, or the name of a carried model: {', '.join(self.carried) or 'none'}."
        )


class ManifestError(BundleError):
    """sdopt.json says something that it may not say."""

    def __init__(self, where: str, problem: str, hint: str = "") -> None:
        self.where, self.problem, self.hint = where, problem, hint
        super().__init__(
            _sentences(
                f"Manifest sdopt.json, {where}: {problem}", hint or "Export the checkpoint again"
            )
        )


class MissingFileError(BundleError):
    """A file that the manifest names is not there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"{path} is named by the bundle's manifest and is missing. "
            "Copy the bundle again, or export the checkpoint again."
        )


class TamperedFileError(BundleError):
    """A file whose size or content differs from what the manifest says."""

    def __init__(self, path: Path, expected: str, actual: str) -> None:
        self.path, self.expected, self.actual = path, expected, actual
        super().__init__(
            f"{path} is not the file that was exported: "
            f"{actual}, where the manifest says {expected}. "
            "Copy the bundle again, or export the checkpoint again."
        )


class OnnxFolderError(BundleError):
    """An ONNX folder of another tool that is not complete, or of a family that is not known."""

    def __init__(self, path: Path, problem: str, hint: str) -> None:
        self.path, self.problem, self.hint = path, problem, hint
        super().__init__(_sentences(f"ONNX folder {path}: {problem}", hint))


class BundleWriteError(BundleError):
    """A bundle folder could not be written; nothing is left under its name."""

    def __init__(self, path: Path, problem: str, hint: str) -> None:
        self.path, self.problem, self.hint = path, problem, hint
        super().__init__(_sentences(f"Cannot write the bundle {path}: {problem}", hint))


# --- export -------------------------------------------------------------------------------------


class ExportError(SdoptError):
    """A checkpoint could not become a bundle."""


class CheckpointError(ExportError):
    """A checkpoint that is not there, cannot be read, or is of a family that is not known."""

    def __init__(self, path: Path, problem: str, hint: str) -> None:
        self.path, self.problem, self.hint = path, problem, hint
        super().__init__(_sentences(f"Checkpoint {path}: {problem}", hint))


class HubError(ExportError):
    """A model on the Hugging Face hub that is not there, not open, or cannot be downloaded."""

    def __init__(self, model: str, problem: str, hint: str) -> None:
        self.model, self.problem, self.hint = model, problem, hint
        super().__init__(_sentences(f"Hub model {model}: {problem}", hint))


class WeightsMismatchError(ExportError):
    """A checkpoint whose weights are not exactly those of its architecture."""

    def __init__(self, component: str, missing: Iterable[str], unexpected: Iterable[str]) -> None:
        self.component = component
        self.missing, self.unexpected = tuple(sorted(missing)), tuple(sorted(unexpected))
        super().__init__(
            _sentences(
                f"The weights of {component} do not fit its config.json",
                f"Missing: {_some(self.missing)}",
                f"Unexpected: {_some(self.unexpected)}",
                "Nothing is filled in at random: get the complete checkpoint, "
                "or the config.json that belongs to it",
            )
        )


class ParityError(ExportError):
    """An exported graph that does not compute what torch computes."""

    def __init__(self, component: str, measure: str, value: float, tolerance: float) -> None:
        self.component, self.measure, self.value, self.tolerance = (
            component,
            measure,
            value,
            tolerance,
        )
        super().__init__(
            f"{component}: {measure} against torch is {value:.3g}, "
            f"and at most {tolerance:.3g} is allowed. The bundle was not written."
        )


# --- engines ------------------------------------------------------------------------------------


class EngineError(SdoptError):
    """An engine could not be made or could not run."""


class ProviderUnavailableError(EngineError):
    """A backend, provider or device that was asked for and is not there."""

    def __init__(self, name: str, available: Iterable[str], hint: str) -> None:
        self.name, self.available, self.hint = name, tuple(available), hint
        super().__init__(
            _sentences(
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
            _sentences(
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
        super().__init__(_sentences(f"Running {component} failed", detail))


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


# --- surroundings -------------------------------------------------------------------------------


class MissingDependencyError(SdoptError, ImportError):
    """A package that an optional part needs is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(
            f"{package} is not installed. Install it with: pip install 'sdopt[{extra}]'"
        )


class ServerError(SdoptError):
    """The server cannot take a request now, or did not finish it."""

    http_status = 503


class ServerBusyError(ServerError):
    """The queue is full."""

    http_status = 429

    def __init__(self, waiting: int, retry_after_s: float) -> None:
        self.waiting, self.retry_after_s = waiting, retry_after_s
        super().__init__(f"{waiting} requests are waiting already. Retry in {retry_after_s:.0f} s.")


class QueueTimeoutError(ServerError):
    """A request waited for a free row longer than the server lets one wait."""

    http_status = 429

    def __init__(self, limit_s: float, retry_after_s: float) -> None:
        self.limit_s, self.retry_after_s = limit_s, retry_after_s
        super().__init__(
            f"The request waited for more than {limit_s:g} s without being started, and no request "
            f"may wait longer. Retry in {retry_after_s:.0f} s."
        )


class RunTimeoutError(ServerError):
    """A request ran longer than the server lets one run."""

    http_status = 504

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        super().__init__(
            f"The pictures were not finished within {limit_s:g} s, and no request may take longer. "
            "Ask for fewer pictures, fewer steps or a smaller size."
        )


class ShuttingDownError(ServerError):
    """The server finishes what it has begun, and takes nothing new."""

    def __init__(self) -> None:
        super().__init__(
            "The server is shutting down and takes no new requests. Send the request to another."
        )


class CancelledError(ServerError):
    """A request was cancelled; its rows left at the next step."""

    http_status = 499

    def __init__(self) -> None:
        super().__init__("The request was cancelled.")


def unknown_name(kind: str, name: str, choices: Sequence[str]) -> str:
    """Say that a name is unknown, which one was probably meant, and which there are."""
    near = difflib.get_close_matches(name, choices, n=1)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {kind} {name!r}.{meant} Choices: {', '.join(choices)}."


def _sentences(*parts: str) -> str:
    return " ".join(
        part if part.endswith((".", "?", "!")) else f"{part}." for part in parts if part
    )


def _some(names: Sequence[str], limit: int = 5) -> str:
    if not names:
        return "none"
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
