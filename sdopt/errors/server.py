"""The server cannot take a request, or finish it."""

from __future__ import annotations

from sdopt.errors.base import SdoptError


class ServerError(SdoptError):
    """The server cannot take a request now, or did not finish it."""

    http_status = 503


class ServerBusyError(ServerError):
    """The queue is full."""

    http_status = 429

    def __init__(self, waiting: int, retry_after_s: float) -> None:
        self.waiting, self.retry_after_s = waiting, retry_after_s
        super().__init__(f"{waiting} requests are waiting already. Retry in {retry_after_s:.0f} s.")


class QueueTimeoutError(ServerError):
    """A request waited for a free row longer than the server lets one wait."""

    http_status = 429

    def __init__(self, limit_s: float, retry_after_s: float) -> None:
        self.limit_s, self.retry_after_s = limit_s, retry_after_s
        super().__init__(
            f"The request waited for more than {limit_s:g} s without being started, and no request "
            f"may wait longer. Retry in {retry_after_s:.0f} s."
        )


class RunTimeoutError(ServerError):
    """A request ran longer than the server lets one run."""

    http_status = 504

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        super().__init__(
            f"The pictures were not finished within {limit_s:g} s, and no request may take longer. "
            "Ask for fewer pictures, fewer steps or a smaller size."
        )


class ShuttingDownError(ServerError):
    """The server finishes what it has begun, and takes nothing new."""

    def __init__(self) -> None:
        super().__init__(
            "The server is shutting down and takes no new requests. Send the request to another."
        )


class CancelledError(ServerError):
    """A request was cancelled; its rows left at the next step."""

    http_status = 499

    def __init__(self) -> None:
        super().__init__("The request was cancelled.")
