"""Few heaps for many threads: so that memory which was freed is used again, or given back."""

from __future__ import annotations

import ctypes

_ARENA_MAX, _TRIM_THRESHOLD = -8, -1
"""``M_ARENA_MAX`` and ``M_TRIM_THRESHOLD`` of ``malloc.h``."""
_HEAPS = 2
_KEPT_BYTES = 2**20


def limit_heaps() -> bool:
    """Let glibc's malloc have two heaps, and keep little that is free; before threads start.

    By default it has eight for each core, and each keeps what its threads once needed at most:
    after overload a server would hold memory that nobody uses.

    Returns:
        Whether it was done; without glibc it is not.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    return bool(mallopt(_ARENA_MAX, _HEAPS)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT_BYTES))
