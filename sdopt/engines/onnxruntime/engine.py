"""A component that ONNX Runtime runs, bound to host memory or to a GPU's."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sdopt.bundle.tensors import TensorSpec
from sdopt.engines.buffers import check_buffers
from sdopt.engines.contract import Array, Buffer, Call
from sdopt.engines.onnxruntime.backend import library, precision
from sdopt.engines.onnxruntime.fused_graph import fused_graph
from sdopt.engines.onnxruntime.session import (
    is_frugal,
    open_session,
    run_options,
    session_options,
)
from sdopt.engines.onnxruntime.targets import TARGETS, Target, Targets
from sdopt.engines.options import EngineOptions, Model
from sdopt.errors import EngineExecutionError

if TYPE_CHECKING:
    import onnxruntime as ort

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
}


class OnnxRuntimeEngine:
    """A component that ONNX Runtime runs. See :class:`sdopt.engines.contract.Engine`.

    Attributes:
        precision: What the graph computes in: ONNX Runtime changes nothing about it.
        device: The host, or the GPU that all engines of this process share.
        rows_meet: Whether a row's last bits depend on how many rows there are: on the CPU, where
            weights are not packed beforehand. A product is then cut for the threads by its shape,
            and with it the order of its sums.
    """

    engine: ClassVar[str] = "onnxruntime"
    targets: ClassVar[Targets] = TARGETS

    def __init__(self, model: Model, options: EngineOptions | None = None) -> None:
        """Load a graph with its weights.

        Raises:
            MissingDependencyError: onnxruntime is not installed.
            ProviderUnavailableError: This build of onnxruntime cannot run on the device, or the
                graph computes in another precision than was asked for.
            EngineError: The graph cannot be loaded.
        """
        options = options or EngineOptions()
        self.name, self.precision = model.name, precision(model, options)
        ort = library(options.device, self.targets, self.engine)
        self._target: Target = self.targets[options.device]()
        self.device = self._target.device
        graph = fused_graph(ort.__version__, model, options, self._target)
        settings = session_options(ort, model, options)
        self._session = open_session(ort, model, graph, settings, self._target)
        self._run_options = run_options(ort, self._target)
        self.rows_meet = is_frugal(model, options)
        self.inputs = tuple(map(_spec, self._session.get_inputs()))
        self.outputs = tuple(map(_spec, self._session.get_outputs()))

    def bind(self, buffers: Mapping[str, Buffer]) -> Call:
        """Bind buffers once. See :meth:`sdopt.engines.contract.Engine.bind`."""
        check_buffers(self.name, buffers, self.inputs, self.outputs)
        places, binding = self._target.places(self.name, buffers), self._session.io_binding()
        for spec in self.inputs:
            binding.bind_input(spec.name, *places[spec.name])
        for spec in self.outputs:
            if spec.name in places:
                binding.bind_output(spec.name, *places[spec.name])
        kept = tuple(buffers.values())
        return _BoundCall(self, binding, kept)

    @property
    def parts(
        self,
    ) -> tuple[str, ort.InferenceSession, ort.RunOptions | None, AbstractContextManager[object]]:
        """What a bound call runs with."""
        return self.name, self._session, self._run_options, self._target.turn

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once on new arrays. See :meth:`sdopt.engines.contract.Engine.run`."""
        try:
            outputs = self._session.run(None, dict(inputs))
        except Exception as error:  # onnxruntime raises a family of unrelated classes
            raise EngineExecutionError(self.name, str(error)) from error
        return {spec.name: np.asarray(out) for spec, out in zip(self.outputs, outputs, strict=True)}


class _BoundCall:
    """Runs a session on bound buffers, which it keeps alive."""

    __slots__ = ("_binding", "_buffers", "_name", "_options", "_session", "_turn")

    def __init__(
        self, engine: OnnxRuntimeEngine, binding: ort.IOBinding, buffers: tuple[Buffer, ...]
    ) -> None:
        self._name, self._session, self._options, self._turn = engine.parts
        self._binding, self._buffers = binding, buffers

    def __call__(self) -> None:
        try:
            with self._turn:
                self._session.run_with_iobinding(self._binding, self._options)
        except Exception as error:  # onnxruntime raises a family of unrelated classes
            raise EngineExecutionError(self._name, str(error)) from error


def _spec(node: Any) -> TensorSpec:
    return TensorSpec(node.name, _DTYPES.get(node.type, node.type), tuple(node.shape))
