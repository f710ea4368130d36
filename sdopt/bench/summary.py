"""What a run of a load generator says, as JSON data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from sdopt.bench.client import Answer


def summary(answers: Sequence[Answer], seconds: float, deadline_s: float) -> dict[str, object]:
    """Summarise the answers of one run.

    Args:
        answers: All of them.
        seconds: How long the run took.
        deadline_s: An answer that took longer is no good answer.
    """
    finished = [answer for answer in answers if answer.outcome == "finished"]
    good = sum(answer.total_s <= deadline_s for answer in finished)
    return {
        "requests": len(answers),
        "seconds": round(seconds, 3),
        "outcomes": dict(Counter(answer.outcome for answer in answers)),
        "finished_per_s": round(len(finished) / seconds, 4),
        "goodput_per_s": round(good / seconds, 4),
        "deadline_s": deadline_s,
        "total_s": percentiles([a.total_s for a in finished]),
        "queue_s": percentiles([a.queue_s for a in finished]),
        "first_partial_s": percentiles([a.first_partial_s for a in finished]),
        "beside_the_service_s": percentiles(
            [a.exchange_s - a.served_s for a in finished if a.served_s is not None]
        ),
    }


def percentiles(values: Sequence[float | None]) -> dict[str, float | int] | None:
    """Return p50, p95, p99 and the number of samples, or None if there are none."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    p50, p95, p99 = (round(float(p), 5) for p in np.percentile(known, (50, 95, 99)))
    return {"p50": p50, "p95": p95, "p99": p99, "samples": len(known)}
