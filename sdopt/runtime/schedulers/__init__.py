"""Schedulers as tables: ``compile_plan`` turns a scheduler_config.json into a ``Plan``."""

from sdopt.runtime.schedulers.compile import compile_plan
from sdopt.runtime.schedulers.names import (
    SCHEDULERS,
    SchedulerSpec,
    find_scheduler,
    scheduler_names,
)
from sdopt.runtime.schedulers.options import PlanOptions, Task
from sdopt.runtime.schedulers.plan import Plan

__all__ = [
    "SCHEDULERS",
    "Plan",
    "PlanOptions",
    "SchedulerSpec",
    "Task",
    "compile_plan",
    "find_scheduler",
    "scheduler_names",
]
