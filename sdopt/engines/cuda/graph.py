"""CUDA graphs: what a call puts into the stream, recorded once and launched as one."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager

from sdopt.engines.contract import Call
from sdopt.engines.cuda import runtime
from sdopt.errors import DeviceError, EngineExecutionError

_log = logging.getLogger("sdopt.engines")


class GraphCall:
    """Launches a recorded call, which it keeps alive with its buffers and scratch memory.

    Shapes and addresses are part of the record. Calls are bound once, so neither ever changes under
    a graph: other buffers are another call, and another graph.
    """

    __slots__ = ("__weakref__", "_call", "_executable", "_lock", "_stream")

    def __init__(
        self, call: Call, executable: int, stream: int, lock: AbstractContextManager[object]
    ) -> None:
        self._call, self._executable = call, executable
        self._stream, self._lock = stream, lock
        runtime.free_graph_with(self, executable)

    @classmethod
    def of(cls, call: Call, stream: int, lock: AbstractContextManager[object]) -> Call:
        """Record a call that has run before; it does not run now.

        What cannot be recorded, and what records nothing, is returned as it is, with a warning: it
        is slower and as right.

        Args:
            call: Puts the same into the stream each time.
            stream: Handle of the stream, that nobody else uses meanwhile.
            lock: Held while the graph is launched.
        """
        try:
            executable, nodes = runtime.capture(stream, call)
        except (DeviceError, EngineExecutionError) as error:
            _log.warning("Going on without a CUDA graph: %s", error)
            return call
        graph = cls(call, executable, stream, lock)
        if nodes == 0:
            _log.warning("Going on without a CUDA graph: the call put nothing into the stream.")
            return call
        return graph

    def __call__(self) -> None:
        """Submit everything that was recorded.

        Raises:
            DeviceError: The GPU failed, now or in what was submitted before.
        """
        with self._lock:
            runtime.launch(self._executable, self._stream)
