"""The one door to the package ``tensorrt``: which versions are let in, and what it says.

No other module imports it: they take ``trt`` from here, which is the package, imported when it is
first used. A test holds every name, argument and member that is used against the real API.
"""

from __future__ import annotations

import logging
from collections import deque
from functools import cache
from typing import TYPE_CHECKING, Any

from sdopt.errors import MissingDependencyError, ProviderUnavailableError

__all__ = ["last_words", "library", "log", "numbers", "trt", "version"]

OLDEST, TOO_NEW = (10, 13), (12,)

_log = logging.getLogger("sdopt.engines.tensorrt")
_KEPT_MESSAGES = 5


def library() -> Any:
    """Import TensorRT.

    Raises:
        MissingDependencyError: It is not installed.
        ProviderUnavailableError: It is of a version that sdopt does not know.
    """
    try:
        import tensorrt
    except ImportError as error:
        raise MissingDependencyError("tensorrt", "tensorrt") from error
    version = tensorrt.__version__
    if not OLDEST <= numbers(version) < TOO_NEW:
        hint = "sdopt runs on 10.13 and later, and on 11: pip install 'sdopt[tensorrt]'"
        raise ProviderUnavailableError(f"tensorrt {version}", (), hint)
    return tensorrt


if TYPE_CHECKING:
    import tensorrt as trt
else:

    class _Later:
        """The package, for those who only name parts of it inside functions."""

        def __getattr__(self, name: str) -> Any:
            return getattr(library(), name)

    trt = _Later()


def version() -> str:
    """Return the full version; a plan runs on no other, unless it was built to."""
    found: str = trt.__version__
    return found


def numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers, to be compared: ``"10.13.2.6"`` is (10, 13, 2, 6)."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())


@cache
def log() -> trt.ILogger:
    """Return what TensorRT writes its messages to; it wants one for the whole process."""
    levels = {
        trt.ILogger.Severity.INTERNAL_ERROR: logging.ERROR,
        trt.ILogger.Severity.ERROR: logging.ERROR,
        trt.ILogger.Severity.WARNING: logging.INFO,
    }

    class Log(trt.ILogger):  # type: ignore[misc]  # it has no types
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            level = levels.get(severity, logging.DEBUG)
            if level == logging.ERROR:
                _errors.append(msg.strip())
            _log.log(min(level, logging.INFO), msg)  # an error becomes an exception, with this text

    return Log()


_errors: deque[str] = deque(maxlen=_KEPT_MESSAGES)


def last_words() -> str:
    """Return TensorRT's error messages since this was asked last; it raises none of them."""
    words = "; ".join(_errors) or "TensorRT says no more"
    _errors.clear()
    return words
