"""Members that sdopt and Polygraphy name, with the numbers that they have in 11.4."""

from __future__ import annotations

from enum import IntEnum


class BuilderFlag(IntEnum):
    REFIT = 4
    TF32 = 6
    VERSION_COMPATIBLE = 12
    STRIP_PLAN = 18
    WEIGHT_STREAMING = 20


class DataType(IntEnum):
    FLOAT = 0
    HALF = 1
    INT32 = 3
    BOOL = 4
    INT64 = 8


class DeviceType(IntEnum):
    GPU = 0
    DLA = 1


class ExecutionContextAllocationStrategy(IntEnum):
    STATIC = 0
    USER_MANAGED = 2


class MemoryPoolType(IntEnum):
    WORKSPACE = 0


class NetworkDefinitionCreationFlag(IntEnum):
    STRONGLY_TYPED = 0


class OnnxParserFlag(IntEnum):
    NATIVE_INSTANCENORM = 0


class ProfilingVerbosity(IntEnum):
    LAYER_NAMES_ONLY = 0
    DETAILED = 2


class TensorIOMode(IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2
