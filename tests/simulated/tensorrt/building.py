"""From an ONNX file to a plan that holds it."""

from __future__ import annotations

import json
import os
import sys

from .enums import BuilderFlag, DataType, DeviceType, MemoryPoolType, ProfilingVerbosity
from .messages import IHostMemory, ILogger
from .running import _MAGIC, _VERSION, Dims, _capability

_FAILURES = "SIMULATED_BUILD_FAILURES"
"""A variable: ``out of memory``, or ``out of memory above 1`` for optimization levels above 1."""
_HEAVY = ("torch", "diffusers", "transformers")
_MINIMAL_WORKSPACE = 1 << 20


class ITensor:
    def __init__(self, _info):
        self._info = _info

    @property
    def name(self):
        return self._info.name

    @property
    def shape(self):
        dims = self._info.type.tensor_type.shape.dim
        return Dims([d.dim_value if d.HasField("dim_value") else -1 for d in dims])

    @property
    def dtype(self):
        return _TYPES[self._info.type.tensor_type.elem_type]

    is_shape_tensor = False


_TYPES = {1: DataType.FLOAT, 10: DataType.HALF, 6: DataType.INT32, 7: DataType.INT64}


class INetworkDefinition:
    def __init__(self):
        self._path, self._model = "", None

    @property
    def num_inputs(self):
        return len(self._model.graph.input)

    def get_input(self, index):
        return ITensor(self._model.graph.input[index])

    def get_flag(self, flag):
        return True

    def __len__(self):
        return 0

    def __getitem__(self, index):
        raise IndexError


class OnnxParser:
    def __init__(self, network, logger):
        self._network, self._errors = network, []
        self.flags = 0

    def parse_from_file(self, model):
        import onnx

        try:
            self._network._model = onnx.load(model)
            self._network._path = model
        except Exception as error:
            self._errors.append(f"In {model}: {error}")
        return not self._errors

    @property
    def num_errors(self):
        return len(self._errors)

    def get_error(self, index):
        return self._errors[index]


class IOptimizationProfile:
    def __init__(self):
        self._shapes = {}

    def set_shape(self, input, min, opt, max):
        self._shapes[input] = [list(min), list(opt), list(max)]

    def __bool__(self):
        return bool(self._shapes)


class ITimingCache:
    def __init__(self, _content):
        self._content = _content

    def combine(self, input_cache, ignore_mismatch):
        return True

    def serialize(self):
        return IHostMemory(self._content + b"measured;")


class IBuilderConfig:
    DLA_core = -1
    default_device_type = DeviceType.GPU

    def __init__(self):
        self._profiles, self._flags, self._limits = [], {BuilderFlag.TF32}, {}
        self._cache = None
        self.builder_optimization_level = 3
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY
        self.progress_monitor = None

    @property
    def num_optimization_profiles(self):
        return len(self._profiles)

    def add_optimization_profile(self, profile):
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def set_flag(self, flag):
        self._flags.add(flag)

    def clear_flag(self, flag):
        self._flags.discard(flag)

    def get_flag(self, flag):
        return flag in self._flags

    def set_memory_pool_limit(self, pool, pool_size):
        self._limits[pool] = pool_size

    def get_memory_pool_limit(self, pool):
        return self._limits.get(pool, 1 << 34)

    def create_timing_cache(self, serialized_timing_cache):
        return ITimingCache(bytes(serialized_timing_cache))

    def set_timing_cache(self, cache, ignore_mismatch):
        self._cache = cache
        return True

    def get_timing_cache(self):
        return self._cache


class Builder:
    def __init__(self, logger):
        self._logger = logger

    def create_network(self, flags=0):
        return INetworkDefinition()

    def create_builder_config(self):
        return IBuilderConfig()

    def create_optimization_profile(self):
        return IOptimizationProfile()

    def build_serialized_network(self, network, config):
        level, limit = config.builder_optimization_level, config._limits
        failures = os.environ.get(_FAILURES, "")
        _, _, most = failures.partition("out of memory above ")
        fails = failures == "out of memory" or (most and level > int(most))
        if fails or limit.get(MemoryPoolType.WORKSPACE, 1 << 34) < _MINIMAL_WORKSPACE:
            self._logger.log(
                ILogger.Severity.ERROR, "Error Code 2: OutOfMemory (Requested size was 4096 bytes.)"
            )
            return None
        _tell(config.progress_monitor)
        return IHostMemory(_plan(network, config))


def _tell(monitor):
    if monitor is None:
        return
    monitor.phase_start("Building Engine", None, 2)
    monitor.phase_start("Tactic Selection", "Building Engine", 4)
    for step in range(4):
        assert monitor.step_complete("Tactic Selection", step)
    monitor.phase_finish("Tactic Selection")
    for step in range(2):
        assert monitor.step_complete("Building Engine", step)
    monitor.phase_finish("Building Engine")


def _plan(network, config):
    stripped = config.get_flag(BuilderFlag.STRIP_PLAN)
    header = {
        "version": _VERSION,
        "capability": _capability(),
        "flags": sorted(flag.name for flag in config._flags),
        "level": config.builder_optimization_level,
        "profiles": [profile._shapes for profile in config._profiles],
        "cached": config._cache._content.decode() if config._cache else "",
        "stripped": stripped,
        "heavy modules": [name for name in _HEAVY if name in sys.modules],
    }
    text = json.dumps(header).encode()
    graph = b"" if stripped else network._model.SerializeToString()
    size = len(graph).to_bytes(8, "little")
    return _MAGIC + len(text).to_bytes(8, "little") + text + size + graph
