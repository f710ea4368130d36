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
    │   ├── LoopGraphsError                     a device is to run the loop, without graphs for it
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
    │   ├── EngineNotBuiltError                 none fits; names the command that builds it
    │   ├── EngineBuildError
    │   │   └── BuildMemoryError                out of memory, also with less effort
    │   ├── SelfTestError                       a new engine does not compute what torch computes
    │   ├── DeviceError                         a GPU's own library refused a call
    │   ├── DeviceMemoryError
    │   ├── EngineExecutionError
    │   ├── NonFiniteError                      one row of the denoising loop turned NaN or infinite
    │   └── NonFinitePictureError               latents are finite, and their picture is not
    ├── BenchError                              what could not be measured
    │   ├── MeasuringError                      a measured process failed
    │   ├── PeerError                           a peer's environment or model cannot be made
    │   ├── RandomModelError                    a model with random weights cannot be made
    │   └── RecordError                         a file that is no record of a measurement
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

from sdopt.errors.base import (
    MissingDependencyError,
    SdoptError,
    unknown_name,
)
from sdopt.errors.bench import BenchError, MeasuringError, PeerError, RandomModelError, RecordError
from sdopt.errors.bundle import (
    BundleError,
    BundleNotFoundError,
    BundleWriteError,
    LoopGraphsError,
    ManifestError,
    MissingFileError,
    OnnxFolderError,
    TamperedFileError,
)
from sdopt.errors.engine import (
    BuildMemoryError,
    DeviceError,
    DeviceMemoryError,
    EngineBuildError,
    EngineError,
    EngineExecutionError,
    EngineNotBuiltError,
    EngineStoreError,
    InsufficientMemoryError,
    NonFiniteError,
    NonFinitePictureError,
    ProviderUnavailableError,
    SelfTestError,
)
from sdopt.errors.export import (
    CheckpointError,
    ExportError,
    HubError,
    ParityError,
    WeightsMismatchError,
)
from sdopt.errors.request import (
    ConceptFileError,
    InvalidSizeError,
    InvalidValueError,
    RequestError,
    ShapeOutOfProfileError,
    UnknownNameError,
    UnknownSchedulerError,
    UnsupportedSchedulerConfigError,
)
from sdopt.errors.server import (
    CancelledError,
    QueueTimeoutError,
    RunTimeoutError,
    ServerBusyError,
    ServerError,
    ShuttingDownError,
)

__all__ = [
    "BenchError",
    "BuildMemoryError",
    "BundleError",
    "BundleNotFoundError",
    "BundleWriteError",
    "CancelledError",
    "CheckpointError",
    "ConceptFileError",
    "DeviceError",
    "DeviceMemoryError",
    "EngineBuildError",
    "EngineError",
    "EngineExecutionError",
    "EngineNotBuiltError",
    "EngineStoreError",
    "ExportError",
    "HubError",
    "InsufficientMemoryError",
    "InvalidSizeError",
    "InvalidValueError",
    "LoopGraphsError",
    "ManifestError",
    "MeasuringError",
    "MissingDependencyError",
    "MissingFileError",
    "NonFiniteError",
    "NonFinitePictureError",
    "OnnxFolderError",
    "ParityError",
    "PeerError",
    "ProviderUnavailableError",
    "QueueTimeoutError",
    "RandomModelError",
    "RecordError",
    "RequestError",
    "RunTimeoutError",
    "SdoptError",
    "SelfTestError",
    "ServerBusyError",
    "ServerError",
    "ShapeOutOfProfileError",
    "ShuttingDownError",
    "TamperedFileError",
    "UnknownNameError",
    "UnknownSchedulerError",
    "UnsupportedSchedulerConfigError",
    "WeightsMismatchError",
    "unknown_name",
]
