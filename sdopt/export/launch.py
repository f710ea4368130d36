"""How a worker process starts: ``python -m sdopt.export.launch``.

One line of JSON on stdin is a :class:`sdopt.export.jobs.Job`. Lines of JSON on stdout say what has
been done. When stdin closes, the parent is gone, and so is this process: it watches for that from
the start, because importing torch alone can take longer than anybody waits.
"""

from __future__ import annotations

import os
import sys
import threading

from sdopt.export.jobs import Job


def main() -> int:
    """Run the job on stdin; report on what was stdout, where no library can write into it."""
    job = Job.from_json(sys.stdin.readline())
    threading.Thread(target=_leave_with_the_parent, daemon=True).start()
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    from sdopt.export.worker import work

    return work(job, out)


def _leave_with_the_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
