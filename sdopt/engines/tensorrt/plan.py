"""A built engine, loaded: its tensors, its profiles, and contexts to run it in."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sdopt.bundle.tensors import TensorSpec
from sdopt.engines.cuda import runtime
from sdopt.engines.cuda.device import CudaDevice
from sdopt.engines.tensorrt import api
from sdopt.engines.tensorrt.api import trt
from sdopt.engines.tensorrt.profiles import Profile, Shape, ShapeRange

_LEFT_FREE_BYTES = 1 << 30
"""Of the GPU's memory, for activations and the CUDA library, where weights are streamed."""


class UnloadablePlanError(Exception):
    """Why TensorRT does not take a plan. Caught within this package."""


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan on disk, and what must be known to load it.

    Attributes:
        path: The file.
        onnx: The graph that it was built from, where its weights are.
        strip: Whether weights were left out of it.
        version_compatible: Whether it carries code of the version that built it.
        weight_streaming: Whether its weights may stay on the host.
    """

    path: Path
    onnx: Path
    strip: bool = False
    version_compatible: bool = False
    weight_streaming: bool = False


class Plan:
    """A deserialized engine.

    Attributes:
        inputs: What it takes; dimensions that vary are ``"?"``.
        outputs: What it gives.
        profiles: What shapes it takes, by the number of the optimization profile.
    """

    def __init__(self, file: PlanFile, device: CudaDevice) -> None:
        """Load a plan.

        Raises:
            UnloadablePlanError: TensorRT refuses it.
            DeviceMemoryError: There is too little memory on the GPU.
        """
        self._device = device
        self._engine: trt.ICudaEngine = _deserialized(file)
        if file.strip:
            _put_weights_in(self._engine, file.onnx)
        if file.weight_streaming:
            _stream_weights(self._engine)
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        self.inputs = self._specs(names, trt.TensorIOMode.INPUT)
        self.outputs = self._specs(names, trt.TensorIOMode.OUTPUT)
        count = self._engine.num_optimization_profiles
        self.profiles = tuple(self._profile(index) for index in range(count))
        device.reserve_scratch(self._engine.device_memory_size_v2)

    def profile_for(self, shapes: Mapping[str, Shape]) -> int | None:
        """Return the number of the first profile that holds these shapes of inputs."""
        holding = (i for i, profile in enumerate(self.profiles) if profile.holds(shapes))
        return next(holding, None)

    def context(self, profile: int, shapes: Mapping[str, Shape]) -> trt.IExecutionContext:
        """Return a context of its own for one set of shapes, with the shared scratch memory.

        A CUDA graph holds a context's state, so no context ever changes its shapes.

        Raises:
            UnloadablePlanError: TensorRT refuses the shapes.
        """
        strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context: trt.IExecutionContext = self._engine.create_execution_context(strategy)
        if context is None:
            raise UnloadablePlanError(f"no context could be made: {api.last_words()}")
        with self._device.lock:
            chosen = context.set_optimization_profile_async(profile, self._device.stream)
        self._device.synchronize()
        if not chosen:
            raise UnloadablePlanError(f"profile {profile} was refused: {api.last_words()}")
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise UnloadablePlanError(f"{name} {shape} was refused: {api.last_words()}")
        if missing := context.infer_shapes():
            raise UnloadablePlanError(f"the shapes of {missing} stay unknown")
        return context

    def _specs(self, names: list[str], mode: trt.TensorIOMode) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(name, self._dtype(name), _dims(self._engine.get_tensor_shape(name)))
            for name in names
            if self._engine.get_tensor_mode(name) == mode
        )

    def _dtype(self, name: str) -> str:
        dtype: trt.DataType = self._engine.get_tensor_dtype(name)
        return {
            trt.DataType.FLOAT: "float32",
            trt.DataType.HALF: "float16",
            trt.DataType.INT32: "int32",
            trt.DataType.INT64: "int64",
            trt.DataType.BOOL: "bool",
        }.get(dtype, dtype.name)

    def _profile(self, index: int) -> Profile:
        ranges = {}
        for spec in self.inputs:
            shapes = self._engine.get_tensor_profile_shape(spec.name, index)
            ranges[spec.name] = ShapeRange(*(tuple(shape) for shape in shapes))
        return Profile(", ".join(f"{name} {held}" for name, held in ranges.items()), ranges)


def _deserialized(file: PlanFile) -> trt.ICudaEngine:
    api.last_words()
    runtime_: trt.Runtime = trt.Runtime(api.log())
    if file.version_compatible:
        runtime_.engine_host_code_allowed = True
    with (
        file.path.open("rb") as opened,
        mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as plan,
    ):
        engine: trt.ICudaEngine = runtime_.deserialize_cuda_engine(plan)
    if engine is None:
        raise UnloadablePlanError(f"TensorRT {api.version()} refuses it: {api.last_words()}")
    return engine


def _put_weights_in(engine: trt.ICudaEngine, onnx: Path) -> None:
    refitter: trt.Refitter = trt.Refitter(engine, api.log())
    parser: trt.OnnxParserRefitter = trt.OnnxParserRefitter(refitter, api.log())
    if not parser.refit_from_file(str(onnx)) or not refitter.refit_cuda_engine():
        raise UnloadablePlanError(
            f"the weights of {onnx} could not be put into it: {api.last_words()}"
        )


def _stream_weights(engine: trt.ICudaEngine) -> None:
    """Keep as many weights on the GPU as there is room for.

    `get_weight_streaming_automatic_budget` is of no use: it overflows above 2 GiB.
    """
    room = runtime.free_bytes() - engine.device_memory_size_v2 - _LEFT_FREE_BYTES
    engine.weight_streaming_budget_v2 = min(max(room, 0), engine.streamable_weights_size)


def _dims(shape: trt.Dims) -> tuple[int | str, ...]:
    return tuple("?" if size < 0 else size for size in shape)
