"""The record of ``sdopt bench``: every sample of every stage, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from sdopt.bench.environment import Environment
from sdopt.bench.roofline.profile import Roofline
from sdopt.bench.statistics import Groups, Interval, Summary, repeatability, summarise
from sdopt.bench.timeline import STAGES
from sdopt.bench.work import Amount, Case
from sdopt.bundle.strict import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What was measured.

    Attributes:
        bundle: Its name: the last part of its path.
        bundle_sha256: Of its manifest, which holds the hash of every file; empty for a folder of
            another tool.
        family: As its manifest says.
        engine: A name in :data:`sdopt.engines.catalog.ENGINES`.
        device: Where it ran.
        precisions: What each component computed in.
        stored_engines: The name in the engine store, which is a digest of all that a built engine
            depends on, of each component; None where the engine is made anew at each load.
        unet_clock: What timed each UNet call: the host's clock around it, or the device's own,
            by events before and after what was submitted.
        fixed_size: Of all pictures, where the engine was compiled for one; None for any.
    """

    bundle: str
    bundle_sha256: str
    family: str
    engine: str
    device: str
    precisions: Mapping[str, str]
    stored_engines: Mapping[str, str | None]
    unet_clock: Literal["host", "device"] = "host"
    fixed_size: str | None = None

    def __str__(self) -> str:
        fixed = "" if self.fixed_size is None else f", compiled for {self.fixed_size}"
        return f"{self.bundle} on {self.engine} {self.precisions['unet']} ({self.device}{fixed})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request, from its prompt to PNG files in memory; all in seconds.

    Attributes:
        wall_s: By a clock around all of it.
        stages_s: By stage.
        unet_calls_s: Each call of the UNet.
    """

    wall_s: float
    stages_s: Mapping[str, float]
    unet_calls_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseSamples:
    """What came of one case: its samples, those of each process together."""

    case: Case
    processes: tuple[tuple[Sample, ...], ...]

    @property
    def samples(self) -> list[Sample]:
        """Of all processes."""
        return [sample for process in self.processes for sample in process]

    @property
    def walls(self) -> Groups:
        """Wall times in seconds, those of each process together."""
        return [[sample.wall_s for sample in process] for process in self.processes]

    @property
    def interval(self) -> Interval | None:
        """Where another run's wall time will lie, in seconds."""
        return repeatability(self.walls)

    @property
    def images_per_s(self) -> float:
        """Pictures per second, at the median wall time."""
        return self.case.batch / summarise([s.wall_s for s in self.samples]).p50

    @property
    def unaccounted(self) -> float:
        """Share of a request's wall time that belongs to no stage, the median; dimensionless.

        A process that loses its core between two stamps loses that time to no stage, so a single
        request on a crowded machine may be far off.
        """
        return median(abs(1 - sum(s.stages_s.values()) / s.wall_s) for s in self.samples)

    def summaries(self) -> dict[str, Summary]:
        """Describe each stage, in seconds; for the UNet, each call."""
        found: dict[str, Summary] = {}
        for stage in STAGES:
            values = [v for sample in self.samples for v in _values(sample, stage)]
            if values:
                found[stage] = summarise(values)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """From the start of a process to its first picture; all in seconds.

    Attributes:
        interpreter_s: Until the first line of the program ran.
        import_s: The runtime and the backend.
        load_s: The bundle, and a backend's own preparations.
        first_picture_s: The first request, of the first case.
    """

    interpreter_s: float
    import_s: float
    load_s: float
    first_picture_s: float

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.interpreter_s + self.import_s + self.load_s + self.first_picture_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """The most that a process took.

    Attributes:
        host_bytes: Resident at the most, files that it had mapped included.
        device_bytes: GPU memory held at the end, as the driver says; None without one.
    """

    host_bytes: int
    device_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRecord:
    """All of a measurement.

    Attributes:
        kind: Which kind of record this is.
        format_version: Of the file.
        made_at: When it began, in UTC.
        command: The command line.
        environment: Where.
        subject: What.
        amount: How often.
        first_start: Of a process that ran before the measured ones: it builds what is kept, and
            reads files that were perhaps not in memory yet.
        starts: Of each measured process.
        memory: Of each measured process.
        cases: What came of each case.
        left_out: What the timed region does not contain.
        rooflines: What the machine allows in each case, if it was asked for.
    """

    kind: Literal["bench"]
    format_version: Literal[1]
    made_at: str
    command: tuple[str, ...]
    environment: Environment
    subject: Subject
    amount: Amount
    first_start: Start
    starts: tuple[Start, ...]
    memory: tuple[Memory, ...]
    cases: tuple[CaseSamples, ...]
    left_out: tuple[str, ...]
    rooflines: tuple[Roofline, ...] = ()

    def figures(self) -> Mapping[str, Any]:
        """Compute what people want to know. See :meth:`sdopt.bench.record.Record.figures`."""
        return {
            "cases": [
                {
                    "case": str(case.case),
                    "images_per_s": case.images_per_s,
                    "unaccounted": case.unaccounted,
                    "wall_s": plain(summarise([s.wall_s for s in case.samples])),
                    "another_run_s": plain(case.interval),
                    "stages_s": plain(case.summaries()),
                }
                for case in self.cases
            ],
            "cold_start_s": plain(summarise([start.total_s for start in self.starts])),
            "peak_host_bytes": max(memory.host_bytes for memory in self.memory),
        }


def _values(sample: Sample, stage: str) -> tuple[float, ...]:
    if stage == "unet_first":
        return sample.unet_calls_s[:1]
    if stage == "unet_rest":
        return sample.unet_calls_s[1:]
    return (sample.stages_s[stage],) if stage in sample.stages_s else ()
