"""From a plan to outputs, by way of ONNX Runtime."""

from __future__ import annotations

import ctypes
import json
from math import prod

import numpy as np
from cuda.bindings import runtime as _cuda

from .enums import DataType, ExecutionContextAllocationStrategy, TensorIOMode
from .messages import ILogger

_MAGIC = b"a simulated plan"
_VERSION = "11.4.0.106"
_SCRATCH_BYTES = 1 << 16
_TYPES = {
    "tensor(float)": (DataType.FLOAT, np.float32),
    "tensor(float16)": (DataType.HALF, np.float16),
    "tensor(int32)": (DataType.INT32, np.int32),
    "tensor(int64)": (DataType.INT64, np.int64),
    "tensor(bool)": (DataType.BOOL, np.bool_),
}


def _capability():
    _, properties = _cuda.cudaGetDeviceProperties(0)
    return f"{properties.major}.{properties.minor}"


class Dims:
    """A sequence, and no tuple."""

    def __init__(self, shape=()):
        self._shape = tuple(shape)

    def __len__(self):
        return len(self._shape)

    def __getitem__(self, index):
        return self._shape[index]


class Runtime:
    def __init__(self, logger):
        self.logger = logger
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, serialized_engine):
        plan = bytes(serialized_engine)
        problem = self._problem(plan)
        if problem:
            self.logger.log(ILogger.Severity.ERROR, problem)
            return None
        header, graph = _parts(plan)
        return ICudaEngine(header, graph, self.logger)

    def _problem(self, plan):
        if not plan.startswith(_MAGIC):
            return "Serialization assertion magicTagRead == kMAGIC_TAG failed."
        try:
            header, _ = _parts(plan)
        except ValueError:
            return "Serialization assertion failed: the plan ends too early."
        compatible = "VERSION_COMPATIBLE" in header["flags"]
        if compatible and not self.engine_host_code_allowed:
            return "This plan has host code, which is not allowed."
        if header["version"] != _VERSION and not compatible:
            return "The engine plan file is not compatible with this version of TensorRT."
        if header["capability"] != _capability():
            return "The engine plan file is generated on an incompatible device."
        return ""


def _parts(plan):
    rest = plan[len(_MAGIC) :]
    size = int.from_bytes(rest[:8], "little")
    header, rest = json.loads(rest[8 : 8 + size]), rest[8 + size :]
    size = int.from_bytes(rest[:8], "little")
    if len(rest) != 8 + size:
        raise ValueError("cut short")
    return header, rest[8:]


class ICudaEngine:
    def __init__(self, _header, _graph, _logger):
        self._header, self._logger = _header, _logger
        self._budget = None
        self._session = _session(_graph) if _graph else None

    @property
    def _tensors(self):
        assert self._session is not None, "a stripped engine is used before it is refitted"
        return [*self._session.get_inputs(), *self._session.get_outputs()]

    def _tensor(self, name):
        return next(t for t in self._tensors if t.name == name)

    @property
    def num_io_tensors(self):
        return len(self._tensors)

    def get_tensor_name(self, index):
        return self._tensors[index].name

    def get_tensor_mode(self, name):
        inputs = {node.name for node in self._session.get_inputs()}
        return TensorIOMode.INPUT if name in inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return _TYPES[self._tensor(name).type][0]

    def get_tensor_shape(self, name):
        return Dims([d if isinstance(d, int) else -1 for d in self._tensor(name).shape])

    @property
    def num_optimization_profiles(self):
        return len(self._header["profiles"])

    def get_tensor_profile_shape(self, name, profile_index):
        return [Dims(shape) for shape in self._header["profiles"][profile_index][name]]

    @property
    def device_memory_size_v2(self):
        return _SCRATCH_BYTES

    @property
    def streamable_weights_size(self):
        return 1 << 20

    @property
    def weight_streaming_budget_v2(self):
        return self._budget

    @weight_streaming_budget_v2.setter
    def weight_streaming_budget_v2(self, budget):
        assert "WEIGHT_STREAMING" in self._header["flags"]
        self._budget = budget

    def create_execution_context(self, strategy=ExecutionContextAllocationStrategy.STATIC):
        return IExecutionContext(self, strategy)


class IExecutionContext:
    def __init__(self, _engine, _strategy):
        self._engine, self._strategy = _engine, _strategy
        self._profile, self._shapes, self._addresses = None, {}, {}
        self._outputs, self._scratch = None, None

    def _refuse(self, problem):
        self._engine._logger.log(ILogger.Severity.ERROR, problem)
        return False

    def set_optimization_profile_async(self, profile_index, stream_handle):
        if not 0 <= profile_index < self._engine.num_optimization_profiles:
            return self._refuse(f"There is no profile {profile_index}.")
        self._profile = self._engine._header["profiles"][profile_index]
        return True

    def set_input_shape(self, name, shape):
        low, _, high = self._profile[name]
        fits = len(shape) == len(low) and all(
            a <= b <= c for a, b, c in zip(low, shape, high, strict=True)
        )
        if not fits:
            return self._refuse(f"Set dimensions {list(shape)} of {name} are out of the profile.")
        self._shapes[name] = tuple(shape)
        return True

    def infer_shapes(self):
        missing = [n.name for n in self._engine._session.get_inputs() if n.name not in self._shapes]
        if not missing:
            self._outputs = _output_shapes(self._engine._session, self._shapes)
        return missing

    def get_tensor_shape(self, name):
        if name in self._shapes:
            return Dims(self._shapes[name])
        return Dims(self._outputs[name])

    def set_tensor_address(self, name, memory):
        if name not in {tensor.name for tensor in self._engine._tensors}:
            return self._refuse(f"There is no tensor {name}.")
        if memory % 256:
            return self._refuse(f"The address of {name} is not aligned to 256 bytes.")
        self._addresses[name] = int(memory)
        return True

    def set_device_memory(self, memory, size):
        assert memory % 256 == 0
        self._scratch = (int(memory), int(size)) if size >= _SCRATCH_BYTES else None

    def execute_async_v3(self, stream_handle):
        session = self._engine._session
        if self._strategy == ExecutionContextAllocationStrategy.USER_MANAGED and not self._scratch:
            return self._refuse("No device memory was set, or too little.")
        for tensor in self._engine._tensors:
            if not self._addresses.get(tensor.name):
                return self._refuse(f"Address is not set for tensor {tensor.name}.")
        shapes, places, scratch = self._shapes | self._outputs, dict(self._addresses), self._scratch

        def run():
            inputs = {n.name: _read(n, shapes, places).copy() for n in session.get_inputs()}
            if scratch is not None:
                _check(*scratch)
                ctypes.memset(scratch[0], 0xFF, scratch[1])
            outputs = session.run(None, inputs)
            for node, output in zip(session.get_outputs(), outputs, strict=True):
                _read(node, shapes, places)[...] = output

        _cuda._enqueue(stream_handle, run)
        return True


def _read(node, shapes, places):
    """Return the memory of a tensor as an array."""
    shape, dtype = shapes[node.name], np.dtype(_TYPES[node.type][1])
    _check(places[node.name], prod(shape) * dtype.itemsize)
    memory = (ctypes.c_char * max(prod(shape) * dtype.itemsize, 1)).from_address(places[node.name])
    return np.frombuffer(memory, dtype, prod(shape)).reshape(shape)


def _check(address, size):
    assert _cuda._gpu.is_device(address), "TensorRT was given memory of the host"
    assert _cuda._gpu.is_valid(address, size), "TensorRT was given memory that was freed"


def _session(graph):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _output_shapes(session, shapes):
    """Find out by running, where the names of dimensions do not tell."""
    sizes = {}
    for node in session.get_inputs():
        sizes |= dict(zip(node.shape, shapes[node.name], strict=True))
    named = {
        node.name: tuple(d if isinstance(d, int) else sizes.get(d) for d in node.shape)
        for node in session.get_outputs()
    }
    if all(None not in shape for shape in named.values()):
        return named
    inputs = {n.name: np.zeros(shapes[n.name], _TYPES[n.type][1]) for n in session.get_inputs()}
    outputs = session.run(None, inputs)
    return {n.name: o.shape for n, o in zip(session.get_outputs(), outputs, strict=True)}


class Refitter:
    def __init__(self, engine, logger):
        self._engine = engine

    def refit_cuda_engine(self):
        return self._engine._session is not None


class OnnxParserRefitter:
    def __init__(self, refitter, logger):
        self._engine = refitter._engine

    def refit_from_file(self, model):
        self._engine._session = _session(model)
        return True
