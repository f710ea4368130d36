"""What the three training stages share: a run's folder, its log, its schedule, its average."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import matplotlib
import numpy as np
import torch
import yaml
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

matplotlib.use("agg")
from matplotlib import pyplot as plt

ROOM = Path(__file__).parent
CHECKPOINT = ROOM / "checkpoint"
RUNS = ROOM / "runs"
# What each stage leaves behind, in the order of the stages.
VAE_RESULT = RUNS / "vae" / "result"
CLIP_RESULT = RUNS / "clip" / "result"
UNET_RESULT = RUNS / "unet" / "result"
DECODER_RESULT = RUNS / "decoder" / "result"


class Stateful(Protocol):
    """A module, an optimizer or an average: anything with a state to save."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> object:
        """Take over a state."""


def read_config(name: str) -> dict[str, Any]:
    """Read `configs/NAME.yaml`."""
    text = (ROOM / "configs" / f"{name}.yaml").read_text(encoding="utf-8")
    config: dict[str, Any] = yaml.safe_load(text)
    return config


def learning_rate_scale(step: int, steps: int, warmup: int) -> float:
    """Return the factor on the learning rate: linear warm-up, then half a cosine down to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor, scale: float) -> None:
    """Take one optimizer step at `scale` times each group's `base_lr`, gradients clipped to 1."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * scale
        torch.nn.utils.clip_grad_norm_(group["params"], 1.0)
    optimizer.step()


class Average:
    """The exponential moving average of a module's parameters, shorter while training is young."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {name: p.detach().clone() for name, p in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the average towards the module's present parameters."""
        decay = min(self.decay, (step + 1) / (step + 10))
        for name, parameter in module.named_parameters():
            self.shadow[name].lerp_(parameter, 1 - decay)

    def copy_to(self, module: nn.Module) -> None:
        """Overwrite the module's parameters with the average."""
        module.load_state_dict(self.shadow, strict=False)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the averages by parameter name: the tensors themselves, no copies."""
        return self.shadow

    def load_state_dict(self, state_dict: dict[str, torch.Tensor]) -> None:
        """Go on from saved averages."""
        self.shadow = dict(state_dict)


class Run:
    """One stage's folder under `runs/`: its state, its log, its pictures.

    Every step seeds torch and NumPy from (seed, step), so a resumed run draws what it would have
    drawn without the interruption.
    """

    def __init__(self, name: str, seed: int, parts: Mapping[str, Stateful]) -> None:
        self.folder = RUNS / name
        self.name, self.seed, self.parts = name, seed, parts
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log: list[dict[str, float]] = []
        self.state_path = self.folder / "state.pt"

    def restore(self) -> int:
        """Load the last saved state, if there is one, and return the number of steps done."""
        if not self.state_path.exists():
            return 0
        state = torch.load(self.state_path, weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])
        self.log = state["log"]
        return int(state["steps"])

    def steps(self, total: int) -> Iterator[tuple[int, np.random.Generator]]:
        """Yield (step, random numbers) with a progress bar, from where the last run stopped."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeRemainingColumn(), refresh_per_second=1) as progress:
            task = progress.add_task(self.name, total=total)
            for step in range(self.restore(), total):
                torch.manual_seed(self.seed + 1_000_003 * step)
                yield step, np.random.default_rng((self.seed, step))
                loss = self.log[-1].get("loss", math.nan) if self.log else math.nan
                text = f"{self.name} loss {loss:.4f}"
                progress.update(task, completed=step + 1, description=text)

    def record(self, step: int, **values: float) -> None:
        """Append a row to the log, in memory and as a line of `log.jsonl`."""
        row = {"step": step, **values}
        self.log.append(row)
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(row) + "\n")

    def save(self, steps: int) -> None:
        """Write the state beside the old one, rename it, and draw the loss curve."""
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        aside = self.state_path.with_suffix(".tmp")
        torch.save({"steps": steps, "parts": parts, "log": self.log}, aside)
        aside.replace(self.state_path)
        plot_losses(self.log, self.folder / "loss.png")


def plot_losses(log: list[dict[str, float]], path: Path) -> None:
    """Draw every loss of the log against the step, smoothed over a fiftieth of the run."""
    names = sorted({name for row in log for name in row if "loss" in name})
    figure, axes = plt.subplots(figsize=(7, 4))
    for name in names:
        rows = [row for row in log if name in row]
        width = max(1, len(rows) // 50)
        values = np.convolve([row[name] for row in rows], np.ones(width) / width, "valid")
        axes.plot([row["step"] for row in rows][width - 1 :], values, label=name)
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)
