"""How a worker process starts: ``python -m sdopt.workers.launch MODULE:FUNCTION``.

One line on stdin is the job. Lines of JSON on stdout say what has been done. When stdin closes, the
parent is gone, and so is this process: it watches for that from the start, because importing the
module alone (torch, for one) can take longer than anybody waits.
"""

from __future__ import annotations

import os
import sys
import threading
from importlib import import_module


def main() -> int:
    """Run the job on stdin; report on what was stdout, where no library can write into it."""
    module, _, function = sys.argv[1].partition(":")
    job = sys.stdin.readline()
    threading.Thread(target=_leave_with_the_parent, daemon=True).start()
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    status: int = getattr(import_module(module), function)(job, out)
    return status


def _leave_with_the_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
