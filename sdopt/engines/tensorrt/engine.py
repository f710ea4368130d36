"""A component that TensorRT runs, on buffers of the GPU."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from sdopt.engines.buffers import check_buffers
from sdopt.engines.contract import Array, Buffer, Call
from sdopt.engines.cuda.device import CudaDevice, on_gpu, shared_device
from sdopt.engines.cuda.memory import Allocation, DeviceBuffer
from sdopt.engines.options import EngineOptions, Model
from sdopt.engines.tensorrt import api
from sdopt.engines.tensorrt.api import trt
from sdopt.engines.tensorrt.backend import command, open_plan
from sdopt.engines.tensorrt.plan import Plan, UnloadablePlanError
from sdopt.engines.tensorrt.profiles import Shape
from sdopt.errors import EngineExecutionError, ShapeOutOfProfileError

_ALIGNMENT = 256
"""Of addresses, in bytes. Memory of the GPU begins at such, but not each row of a buffer does."""


class TensorRtEngine:
    """A component that TensorRT runs. See :class:`sdopt.engines.contract.Engine`.

    Attributes:
        precision: What the graph computes in: TensorRT's networks are strongly typed.
        device: The GPU that all engines of this process share.
    """

    def __init__(self, model: Model, options: EngineOptions | None = None) -> None:
        """Load the engine that was built for this model, this GPU and this version.

        Raises:
            MissingDependencyError: tensorrt or cuda-bindings is not installed.
            ProviderUnavailableError: There is no GPU, or another device or precision was asked for.
            EngineNotBuiltError: There is no engine that can be used; it names the command.
            DeviceMemoryError: There is too little memory on the GPU.
        """
        plan = open_plan(model, options or EngineOptions(device="cuda"))
        self._set(model, plan, shared_device())

    @classmethod
    def over(cls, model: Model, plan: Plan, device: CudaDevice) -> TensorRtEngine:
        """Return an engine over a plan that is loaded already."""
        engine = cls.__new__(cls)
        engine._set(model, plan, device)
        return engine

    def _set(self, model: Model, plan: Plan, device: CudaDevice) -> None:
        self.name, self.precision, self.device = model.name, model.precision, device
        self._model, self._plan = model, plan
        self.inputs, self.outputs = plan.inputs, plan.outputs

    def largest_batch(self, shapes: Mapping[str, Shape]) -> int:
        """Return how many rows can be run at once, for inputs of these shapes but for the rows.

        Raises:
            ShapeOutOfProfileError: None can.
        """
        held = [
            min(profile.ranges[name].max[0] for name in shapes)
            for profile in self._plan.profiles
            if all(
                profile.ranges[name].holds((profile.ranges[name].max[0], *shape[1:]))
                for name, shape in shapes.items()
            )
        ]
        if not held:
            raise self._outside(shapes)
        return max(held)

    def bind(self, buffers: Mapping[str, Buffer]) -> Call:
        """Bind buffers of the GPU once. See :meth:`sdopt.engines.contract.Engine.bind`.

        Raises:
            ShapeOutOfProfileError: The engine was built for other shapes.
        """
        check_buffers(self.name, buffers, self.inputs, self.outputs)
        try:
            held = {name: on_gpu(buffer) for name, buffer in buffers.items()}
        except TypeError as error:
            raise EngineExecutionError(self.name, str(error)) from error
        context = self._context({spec.name: held[spec.name].shape for spec in self.inputs})
        return self._bound(context, held)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once on new arrays. See :meth:`sdopt.engines.contract.Engine.run`."""
        arrays = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        check_buffers(self.name, arrays, self.inputs, ())
        context = self._context({name: array.shape for name, array in arrays.items()})
        there: dict[str, DeviceBuffer] = {}
        for name, array in arrays.items():
            there[name] = self.device.empty(array.shape, array.dtype.name)
            self.device.upload(array, there[name])
        for spec in self.outputs:
            shape = tuple(context.get_tensor_shape(spec.name))
            there[spec.name] = self.device.empty(shape, spec.dtype)
        self._bound(context, there)()
        return {spec.name: self.device.read(there[spec.name]).array() for spec in self.outputs}

    def _context(self, shapes: Mapping[str, Shape]) -> trt.IExecutionContext:
        profile = self._plan.profile_for(shapes)
        if profile is None:
            raise self._outside(shapes)
        try:
            return self._plan.context(profile, shapes)
        except UnloadablePlanError as error:
            raise EngineExecutionError(self.name, str(error)) from error

    def _bound(
        self, context: trt.IExecutionContext, buffers: Mapping[str, DeviceBuffer]
    ) -> TensorRtCall:
        self._check_outputs(context, buffers)
        unwanted = self._unwanted(context, buffers)
        for name, buffer in (dict.fromkeys(s.name for s in self.outputs) | dict(buffers)).items():
            place = unwanted.address if buffer is None else buffer.address
            if place % _ALIGNMENT:
                detail = f"{name} lies at {place}, and TensorRT takes multiples of {_ALIGNMENT}"
                raise EngineExecutionError(self.name, detail)
            if not context.set_tensor_address(name, place):
                raise EngineExecutionError(self.name, f"{name}: {api.last_words()}")
        scratch = self.device.scratch()
        context.set_device_memory(scratch.address, scratch.nbytes)
        kept = (*buffers.values(), unwanted, scratch, self._plan)
        return TensorRtCall(self.name, context, self.device, kept)

    def _check_outputs(
        self, context: trt.IExecutionContext, buffers: Mapping[str, DeviceBuffer]
    ) -> None:
        """Refuse buffers of another shape than the outputs': TensorRT would write beyond them."""
        for spec in self.outputs:
            shape = tuple(context.get_tensor_shape(spec.name))
            if spec.name in buffers and buffers[spec.name].shape != shape:
                raise EngineExecutionError(
                    self.name,
                    f"The buffer for {spec.name} has shape {buffers[spec.name].shape}, and the "
                    f"output has {shape}",
                )

    def _unwanted(
        self, context: trt.IExecutionContext, buffers: Mapping[str, DeviceBuffer]
    ) -> Allocation:
        """Return a place for all outputs that nobody wants: TensorRT writes every one."""
        sizes = [
            prod(context.get_tensor_shape(spec.name)) * np.dtype(spec.dtype).itemsize
            for spec in self.outputs
            if spec.name not in buffers
        ]
        return Allocation(max(sizes, default=0))

    def _outside(self, shapes: Mapping[str, Shape]) -> ShapeOutOfProfileError:
        wrong = [
            name
            for name, shape in shapes.items()
            if not any(profile.ranges[name].holds(shape) for profile in self._plan.profiles)
        ]
        name = (wrong or list(shapes))[0]
        built = " or ".join(dict.fromkeys(str(p.ranges[name]) for p in self._plan.profiles))
        hint = f"Build it with that size, too: {command(self._model, '--profile WIDTHxHEIGHT:N')}"
        return ShapeOutOfProfileError(f"{self.name} {name}", tuple(shapes[name]), built, hint)


class TensorRtCall:
    """Puts a run into the stream. It keeps all memory alive that the run uses."""

    __slots__ = ("_context", "_device", "_kept", "_name")

    def __init__(
        self,
        name: str,
        context: trt.IExecutionContext,
        device: CudaDevice,
        kept: tuple[object, ...],
    ) -> None:
        self._name, self._device, self._kept = name, device, kept
        self._context: trt.IExecutionContext = context

    def __call__(self) -> None:
        """Submit the run. See :meth:`sdopt.engines.contract.Call.__call__`."""
        with self._device.lock:
            if not self._context.execute_async_v3(self._device.stream):
                raise EngineExecutionError(self._name, api.last_words())
