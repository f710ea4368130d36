"""What a build process does, without torch. :mod:`sdopt.workers.launch` starts it."""

from __future__ import annotations

import json
from typing import TextIO

from sdopt.bundle.strict import plain
from sdopt.engines.tensorrt.builder import build_plan
from sdopt.engines.tensorrt.job import BuildJob
from sdopt.engines.tensorrt.selftest import self_test
from sdopt.errors import SdoptError
from sdopt.workers.failures import failure

_BUILT = 0.95


def work(job: str, out: TextIO) -> int:
    """Build and test a plan, and return the process's exit status.

    Args:
        job: As :meth:`sdopt.engines.tensorrt.job.BuildJob.to_json` wrote it.
        out: Where lines of JSON about it go.
    """
    wanted = BuildJob.from_json(job)

    def report(phase: str, share: float) -> None:
        _say(out, phase=phase, share=_BUILT * share)

    try:
        build_plan(wanted, report)
        report("self-test", 1.0)
        tests = [] if wanted.reference is None else self_test(wanted)
        _say(out, tests=plain(tests))
    except (SdoptError, OSError) as error:
        _say(out, failure=failure(error))
        return 1
    return 0


def _say(out: TextIO, **message: object) -> None:
    print(json.dumps(message), file=out, flush=True)
