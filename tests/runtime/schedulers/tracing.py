"""A tracer: diffusers' own schedulers, run on one-hot vectors, give every coefficient."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sdopt.runtime.schedulers import Plan

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Trace:
    """One run as coefficients over (image, start noise, model outputs, fresh noises)."""

    timesteps: Array
    """(stages,) what the model is told."""
    inputs: Array
    """(stages, basis) what the model sees."""
    latents: Array
    """(stages, basis) the latents after each stage."""
    denoised: Array | None
    """(stages, basis) predicted x0, where the scheduler gives it."""
    renoised: Array
    """(stages - 1, basis) the image and the start noise put on the next level."""
    noisy: NDArray[np.bool_]
    """(stages,) whether the stage drew noise."""


class _Double:
    """A module in which float32 means float64."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self.float32 = module.float64

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class Diffusers:
    """Runs diffusers' schedulers, either as they are or with their tables in float64."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, double: bool) -> None:
        self._monkeypatch = monkeypatch
        self._double = double

    def trace(self, *args: Any, **kwargs: Any) -> Trace:
        """Run one scheduler, see ``_trace``; diffusers' own warnings are not ours."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._trace(*args, **kwargs)

    def _trace(
        self,
        class_name: str,
        config: Mapping[str, Any],
        steps: int,
        *,
        strength: float | None = None,
        denoising_start: float | None = None,
        denoising_end: float | None = None,
        custom: Mapping[str, Any] | None = None,
        **step_args: Any,
    ) -> Trace:
        """Run ``class_name`` built from ``config``; image to image where a strength is given.

        ``custom`` are timesteps or sigmas in place of ``steps``; ``step_args`` are for ``step``.
        """
        draws: list[int] = []
        config = {"_class_name": class_name, **config}
        scheduler, module = self._build(class_name, config)
        scheduler.set_timesteps(**(custom or {"num_inference_steps": steps}))
        timesteps = _timesteps(scheduler, steps, strength, denoising_start)
        if denoising_end is not None:  # as StableDiffusionXLPipeline.__call__ has it
            train_steps = scheduler.config.num_train_timesteps
            cutoff = round(train_steps - (denoising_end * train_steps))
            timesteps = timesteps[: len(list(filter(lambda ts: ts >= cutoff, timesteps)))]
        stages = len(timesteps)
        basis = torch.eye(2 + 2 * stages, dtype=torch.float64)
        image, start = basis[:1], basis[1:2]

        def fresh_noise(*_: Any, **__: Any) -> Any:
            draws.append(stage)
            return basis[2 + stages + stage][None]

        if hasattr(module, "randn_tensor"):
            self._monkeypatch.setattr(module, "randn_tensor", fresh_noise)
        sample = start * scheduler.init_noise_sigma
        if denoising_start is not None:
            sample = image
        elif strength is not None:
            sample = scheduler.add_noise(image, start, timesteps[:1])
        inputs, latents, denoised, renoised = [], [], [], []
        for stage, timestep in enumerate(timesteps):
            inputs.append(scheduler.scale_model_input(sample, timestep))
            output = scheduler.step(basis[2 + stage][None], timestep, sample.clone(), **step_args)
            sample = output.prev_sample
            latents.append(sample)
            denoised.append(getattr(output, "pred_original_sample", None))
            if strength is not None and stage + 1 < stages:
                renoised.append(scheduler.add_noise(image, start, timesteps[stage + 1 : stage + 2]))
        return Trace(
            timesteps=timesteps.double().numpy(),
            inputs=_rows(inputs),
            latents=_rows(latents),
            denoised=None if denoised[0] is None else _rows(denoised),
            renoised=_rows(renoised) if renoised else np.zeros((0, len(basis))),
            noisy=np.isin(np.arange(stages), draws),
        )

    def _build(self, class_name: str, config: Mapping[str, Any]) -> tuple[Any, Any]:
        cls = getattr(diffusers, class_name)
        module = importlib.import_module(cls.__module__)
        if self._double:
            self._monkeypatch.setattr(module, "torch", _Double(torch))
            self._monkeypatch.setattr(module, "np", _Double(np))
        with pytest.MonkeyPatch.context() as patch:
            # Some constructors set as many timesteps as there are in training, which takes long.
            original = cls.set_timesteps
            patch.setattr(cls, "set_timesteps", lambda self, *_: original(self, 2))
            return cls.from_config(dict(config)), module


@contextmanager
def in_double(monkeypatch: pytest.MonkeyPatch) -> Iterator[Diffusers]:
    """Run diffusers with its tables in float64, while the context lasts."""
    torch.set_default_dtype(torch.float64)
    try:
        yield Diffusers(monkeypatch, double=True)
    finally:
        torch.set_default_dtype(torch.float32)


def _timesteps(
    scheduler: Any, steps: int, strength: float | None, denoising_start: float | None
) -> Any:
    """Cut a schedule at its start with the code of diffusers' own image to image pipeline."""
    if strength is None and denoising_start is None:
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)
        return scheduler.timesteps
    pipeline = SimpleNamespace(scheduler=scheduler)
    timesteps, _ = diffusers.StableDiffusionXLImg2ImgPipeline.get_timesteps(
        pipeline, steps, strength, "cpu", denoising_start
    )
    return timesteps


def _rows(tensors: list[Any]) -> Array:
    return torch.cat(tensors).double().numpy()


def replay(plan: Plan) -> Trace:
    """Follow a plan in the same basis."""
    stages = plan.stages
    basis = np.eye(2 + 2 * stages)
    state = np.zeros((plan.state_rows, len(basis)))
    state[0] = plan.start @ basis[:2]
    inputs, latents, denoised = [], [], []
    for i in range(stages):
        inputs.append(plan.inputs[i] @ state)
        known = np.vstack([state, basis[2 + i]])
        denoised.append(plan.denoised[i] @ known)
        state = plan.updates[i] @ np.vstack([known, basis[2 + stages + i]])
        latents.append(state[0])
    return Trace(
        timesteps=plan.timesteps,
        inputs=np.array(inputs),
        latents=np.array(latents),
        denoised=np.array(denoised),
        renoised=plan.renoise[:-1] @ basis[:2],
        noisy=plan.noisy,
    )


def deviation(ours: Array, theirs: Array) -> float:
    """Largest difference of coefficients, relative to the largest coefficient of the same row."""
    if not theirs.size:
        return 0.0
    assert ours.shape == theirs.shape
    scale = np.abs(theirs).max(axis=1, keepdims=True)
    return float((np.abs(ours - theirs) / scale).max())
