"""Stand-in for the package tensorrt: plans keep the ONNX graph, and ONNX Runtime runs it.

See tests/simulated/README.md. Names that begin with an underscore are this simulator's own.
"""

from __future__ import annotations

from .building import (
    Builder,
    IBuilderConfig,
    INetworkDefinition,
    IOptimizationProfile,
    ITensor,
    ITimingCache,
    OnnxParser,
)
from .enums import (
    BuilderFlag,
    DataType,
    DeviceType,
    ExecutionContextAllocationStrategy,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    OnnxParserFlag,
    ProfilingVerbosity,
    TensorIOMode,
)
from .messages import IErrorRecorder, IHostMemory, ILogger, IProgressMonitor, Logger
from .running import (
    Dims,
    ICudaEngine,
    IExecutionContext,
    OnnxParserRefitter,
    Refitter,
    Runtime,
)

__version__ = "11.4.0.106"

__all__ = [
    "Builder",
    "BuilderFlag",
    "DataType",
    "DeviceType",
    "Dims",
    "ExecutionContextAllocationStrategy",
    "IBuilderConfig",
    "ICudaEngine",
    "IErrorRecorder",
    "IExecutionContext",
    "IHostMemory",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IProgressMonitor",
    "ITensor",
    "ITimingCache",
    "Logger",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "OnnxParserFlag",
    "OnnxParserRefitter",
    "ProfilingVerbosity",
    "Refitter",
    "Runtime",
    "TensorIOMode",
    "init_libnvinfer_plugins",
]


def init_libnvinfer_plugins(logger, namespace):
    return True
