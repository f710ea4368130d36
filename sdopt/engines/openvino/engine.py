"""A component that OpenVINO runs, bound to host memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from sdopt.bundle.tensors import TensorSpec
from sdopt.engines.buffers import check_buffers
from sdopt.engines.contract import Array, Buffer, Call
from sdopt.engines.host import HOST, host_arrays
from sdopt.engines.openvino.backend import Backend, reason
from sdopt.engines.openvino.exact import PREFIX
from sdopt.engines.options import EngineOptions, Model
from sdopt.errors import EngineExecutionError

if TYPE_CHECKING:
    import openvino as ov


class OpenVinoEngine:
    """A component that OpenVINO runs. See :class:`sdopt.engines.contract.Engine`.

    Attributes:
        precision: What it computes in.
        device: The host, also where an Intel GPU computes: OpenVINO carries the arrays there.
        rows_meet: True: it chooses kernels by the number of rows, among other things. The UNet of
            Stable Diffusion 1.5 was seen to add up in another order for three rows than for two
            (bf16, 256x256: a convolution), and for one than for two (fp32).
        rows: In every call, where it was compiled for one shape; None where any number will do.
    """

    device = HOST
    rows_meet = True

    def __init__(self, model: Model, options: EngineOptions | None = None) -> None:
        """Compile a graph, or load what was compiled before.

        Raises:
            MissingDependencyError: openvino is not installed.
            ProviderUnavailableError: The device or the precision is not there.
            EngineError: The graph cannot be compiled.
        """
        options = options or EngineOptions()
        self.name = model.name
        backend = Backend(options)
        self.precision = backend.precision
        self.rows = None if model.shape is None else model.shape.rows
        self._compiled = backend.open(model)
        self.inputs = tuple(map(_spec, self._compiled.inputs))
        outputs = map(_spec, self._compiled.outputs)
        self.outputs = tuple(spec for spec in outputs if not spec.name.startswith(PREFIX))
        self._latest = _Latest()

    def bind(self, buffers: Mapping[str, Buffer]) -> Call:
        """Bind buffers once. See :meth:`sdopt.engines.contract.Engine.bind`."""
        from openvino import Tensor

        check_buffers(self.name, buffers, self.inputs, self.outputs)
        arrays, request = host_arrays(self.name, buffers), self._compiled.create_infer_request()
        for name, array in arrays.items():
            request.set_tensor(name, Tensor(np.asarray(_Shared(array)), shared_memory=True))
        return _BoundCall(self.name, request, tuple(arrays.values()), self._latest)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once on new arrays. See :meth:`sdopt.engines.contract.Engine.run`."""
        arrays = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        check_buffers(self.name, arrays, self.inputs, ())
        request = self._compiled.create_infer_request()
        try:
            request.start_async(arrays)
            request.wait()
        except RuntimeError as error:
            raise EngineExecutionError(self.name, reason(error)) from error
        return {spec.name: np.array(request.results[spec.name]) for spec in self.outputs}


class _Latest:
    """Keeps the buffers of the inference that was made last, and of those that failed since.

    OpenVINO 2026.4 still reads from those of the inference before when one of another shape begins,
    and does not keep them alive: if whoever made it is gone by then, that ends the process.
    """

    def __init__(self) -> None:
        self._buffers: tuple[Array, ...] = ()

    @contextmanager
    def kept(self, buffers: tuple[Array, ...]) -> Iterator[None]:
        """Keep these buffers from the inference within on, and those before until it is over."""
        held = {id(buffer): buffer for buffer in (*self._buffers, *buffers)}
        self._buffers = tuple(held.values())
        yield
        self._buffers = buffers


class _BoundCall:
    """Runs an infer request on bound buffers, which it keeps alive.

    With one thread, ``infer`` of OpenVINO 2026.4 keeps errors to itself and leaves outputs as they
    were. So the first run, which shows whether the buffers fit together, is an asynchronous one.
    """

    __slots__ = ("_buffers", "_latest", "_name", "_request", "_tried")

    def __init__(
        self, name: str, request: ov.InferRequest, buffers: tuple[Array, ...], latest: _Latest
    ) -> None:
        self._name, self._request = name, request
        self._buffers, self._latest = buffers, latest
        self._tried = False

    def __call__(self) -> None:
        try:
            with self._latest.kept(self._buffers):
                self._infer()
        except RuntimeError as error:
            raise EngineExecutionError(self._name, reason(error)) from error
        self._tried = True

    def _infer(self) -> None:
        if self._tried:
            self._request.infer(share_outputs=True)  # without copies of the outputs
        else:
            self._request.start_async()
            self._request.wait()


class _Shared:
    """The same memory for OpenVINO, which takes no array that is read-only, not even for an input.

    It writes to none of them.
    """

    def __init__(self, array: Array) -> None:
        place, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (place, False)}


def _spec(port: Any) -> TensorSpec:
    shape = tuple(d.get_length() if d.is_static else "?" for d in port.get_partial_shape())
    return TensorSpec(_name(port), np.dtype(port.element_type.to_dtype()).name, shape)


def _name(port: Any) -> str:
    """Return the graph's own name: compiling may have added names of tensors merged into this."""
    own = port.get_node().get_friendly_name().removesuffix("/sink_port_0")
    names: set[str] = port.get_names()
    return own if own in names else min(names)
