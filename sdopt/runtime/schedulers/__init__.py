"""Schedulers as tables: ``compile_plan`` turns a scheduler_config.json into a ``Plan``."""

from sdopt.runtime.schedulers.churn import Churn
from sdopt.runtime.schedulers.compile import compile_plan, shortened_timesteps
from sdopt.runtime.schedulers.facts import SD1_CONFIG, SchedulerFacts, scheduler_facts
from sdopt.runtime.schedulers.names import find_scheduler, scheduler_names
from sdopt.runtime.schedulers.options import PlanOptions, Task
from sdopt.runtime.schedulers.plan import Plan
from sdopt.runtime.schedulers.registry import SCHEDULERS
from sdopt.runtime.schedulers.spec import SchedulerSpec

__all__ = [
    "SCHEDULERS",
    "SD1_CONFIG",
    "Churn",
    "Plan",
    "PlanOptions",
    "SchedulerFacts",
    "SchedulerSpec",
    "Task",
    "compile_plan",
    "find_scheduler",
    "scheduler_facts",
    "scheduler_names",
    "shortened_timesteps",
]
