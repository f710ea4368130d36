"""Where ONNX Runtime computes: the provider, what it is told, and how it finds buffers there."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from sdopt.engines.contract import Buffer, Device
from sdopt.engines.cuda.device import CudaDevice, on_gpu, shared_device
from sdopt.engines.host import HOST, host_arrays
from sdopt.engines.options import Batching, Model
from sdopt.errors import EngineExecutionError

Place = tuple[str, int, Any, tuple[int, ...], int]
"""Kind of device, its number, NumPy's type, shape and address: what an IO binding takes."""


class Target(Protocol):
    """A kind of device, as ONNX Runtime sees it.

    Attributes:
        device: Where buffers lie.
        name: The device in :data:`sdopt.engines.catalog.DEVICES`.
        provider: ONNX Runtime's name of what computes there.
        needs: The libraries that the provider loads, in words.
        options: What the provider is told.
        run_config: What each run is told.
        turn: Held during a run, where runs of several threads share something.
    """

    device: Device
    name: str
    provider: str
    needs: str
    options: Mapping[str, str]
    run_config: Mapping[str, str]
    turn: AbstractContextManager[object]

    def providers(self, model: Model) -> list[tuple[str, dict[str, str]]]:
        """Return what may compute a model's nodes, the first one first, and what each is told."""
        ...

    @staticmethod
    def fusions(batching: Batching) -> tuple[str, ...]:
        """Return what is fused in graphs for it: names of rules in ``fusion.py``."""
        ...

    def places(self, name: str, buffers: Mapping[str, Buffer]) -> dict[str, Place]:
        """Say where buffers lie.

        Raises:
            EngineExecutionError: One of them lies on another device.
        """
        ...


class OnHost:
    """The CPU, on arrays."""

    name = "cpu"
    provider = "CPUExecutionProvider"
    needs = "nothing"
    options: Mapping[str, str] = {}
    run_config: Mapping[str, str] = {}
    device: Device = HOST
    turn: AbstractContextManager[object] = nullcontext()

    def providers(self, model: Model) -> list[tuple[str, dict[str, str]]]:  # noqa: ARG002
        """Return the one provider."""
        return [(self.provider, dict(self.options))]

    @staticmethod
    def fusions(batching: Batching) -> tuple[str, ...]:  # noqa: ARG004 - as on every target
        """Fuse nothing: the CPU has no kernels for it, or none that are faster."""
        return ()

    def places(self, name: str, buffers: Mapping[str, Buffer]) -> dict[str, Place]:
        """Say where arrays lie."""
        arrays = host_arrays(name, buffers)
        return {
            tensor: ("cpu", 0, a.dtype.type, a.shape, a.ctypes.data) for tensor, a in arrays.items()
        }


class OnCuda:
    """An NVIDIA GPU, on buffers and on the stream that all engines of this process share."""

    name = "cuda"
    provider = "CUDAExecutionProvider"
    needs = "CUDA and cuDNN"
    run_config: Mapping[str, str] = {"disable_synchronize_execution_providers": "1"}
    """A run is put into the stream, and nobody waits for it."""

    def __init__(self) -> None:
        """Find the GPU.

        Raises:
            MissingDependencyError: cuda-bindings is not installed.
            ProviderUnavailableError: There is no GPU.
        """
        device: CudaDevice = shared_device()
        self.device: Device = device
        self.turn: AbstractContextManager[object] = device.lock
        self.options: Mapping[str, str] = {
            "device_id": "0",
            "user_compute_stream": str(device.stream),
            # Chosen by shape and not by a stopwatch, so that the same request gives the same bits.
            "cudnn_conv_algo_search": "HEURISTIC",
            # The graph says what is computed in.
            "use_tf32": "0",
        }

    def providers(self, model: Model) -> list[tuple[str, dict[str, str]]]:  # noqa: ARG002
        """Return the one provider."""
        return [(self.provider, dict(self.options))]

    @staticmethod
    def fusions(batching: Batching) -> tuple[str, ...]:
        """Fuse attention; and group normalization where last bits do not matter.

        ONNX Runtime has no deterministic CUDA kernel for the latter: its sums meet as they come.
        """
        return ("attention",) if batching == "exact" else ("attention", "group_norm")

    def places(self, name: str, buffers: Mapping[str, Buffer]) -> dict[str, Place]:
        """Say where buffers of the GPU lie."""
        try:
            held = {tensor: on_gpu(buffer) for tensor, buffer in buffers.items()}
        except TypeError as error:
            raise EngineExecutionError(name, str(error)) from error
        return {tensor: ("cuda", 0, b.dtype.type, b.shape, b.address) for tensor, b in held.items()}


Targets = Mapping[str, type[OnHost] | type[OnCuda]]
"""By device."""
TARGETS: Targets = {"cpu": OnHost, "cuda": OnCuda}
