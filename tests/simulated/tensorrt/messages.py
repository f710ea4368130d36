"""What TensorRT tells its user, and blocks of its memory."""

from __future__ import annotations

from enum import IntEnum


class _Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class ILogger:
    Severity = _Severity

    def __init__(self):
        pass

    def log(self, severity, msg):
        raise NotImplementedError


class Logger(ILogger):
    def __init__(self, min_severity=_Severity.WARNING):
        pass


for _member in _Severity:
    setattr(ILogger, _member.name, _member)
    setattr(Logger, _member.name, _member)


class IErrorRecorder:
    def __init__(self):
        pass


class IProgressMonitor:
    def __init__(self):
        pass

    def phase_start(self, phase_name, parent_phase, num_steps):
        raise NotImplementedError

    def step_complete(self, phase_name, step):
        raise NotImplementedError

    def phase_finish(self, phase_name):
        raise NotImplementedError


class IHostMemory(bytes):
    """A buffer; Python's own bytes are one."""

    @property
    def nbytes(self):
        return len(self)

    def __enter__(self):
        return self

    def __exit__(self, exc_type, exc_value, traceback):
        pass
