"""The table of schedulers. To add one, write its solver and a row here."""

from __future__ import annotations

from sdopt.runtime.schedulers.sigma_grids import (
    dpm_grid,
    heun_grid,
    kdpm2_ancestral_grid,
    kdpm2_grid,
    sigma_grid,
)
from sdopt.runtime.schedulers.solvers.dpm import dpm_multistep, dpm_singlestep
from sdopt.runtime.schedulers.solvers.multistep import deis, lms, pndm
from sdopt.runtime.schedulers.solvers.one_step import ddim, ddpm, euler, euler_ancestral, lcm, tcd
from sdopt.runtime.schedulers.solvers.two_stage import heun, kdpm2, kdpm2_ancestral
from sdopt.runtime.schedulers.solvers.unipc import unipc
from sdopt.runtime.schedulers.spec import History, SchedulerSpec
from sdopt.runtime.schedulers.table_grids import ddim_grid, ddpm_grid, lcm_grid, pndm_grid, tcd_grid


def _rows(count: int) -> History:
    return lambda _config: count


def _order_and(count: int) -> History:
    return lambda config: config.solver_order + count


SCHEDULERS: tuple[SchedulerSpec, ...] = (
    SchedulerSpec(
        name="ddim",
        class_name="DDIMScheduler",
        solver=ddim,
        grid=ddim_grid,
        latents="vp",
        history=_rows(0),
        honours=("eta",),
        summary="The classic of first order. Plain and predictable; eta adds noise.",
    ),
    SchedulerSpec(
        name="ddpm",
        class_name="DDPMScheduler",
        solver=ddpm,
        grid=ddpm_grid,
        latents="vp",
        history=_rows(0),
        honours=("timesteps",),
        summary="The original sampler. Fresh noise at every step; needs hundreds of steps.",
    ),
    SchedulerSpec(
        name="pndm",
        class_name="PNDMScheduler",
        solver=pndm,
        grid=pndm_grid,
        latents="vp",
        history=_rows(3),
        order=4,
        forced={"skip_prk_steps": True},
        aliases=("PLMS",),
        summary="Stable Diffusion 1.x's own. One evaluation more than steps; good from 20 steps.",
    ),
    SchedulerSpec(
        name="lms",
        class_name="LMSDiscreteScheduler",
        solver=lms,
        grid=sigma_grid,
        latents="ve",
        history=_rows(3),
        order=4,
        summary="Linear multistep of order 4. Smooth from 30 steps, unstable at few.",
    ),
    SchedulerSpec(
        name="euler",
        class_name="EulerDiscreteScheduler",
        solver=euler,
        grid=sigma_grid,
        latents="ve",
        history=_rows(0),
        honours=("churn", "timesteps", "sigmas"),
        summary="First order, fast and robust. SDXL's own.",
    ),
    SchedulerSpec(
        name="euler_ancestral",
        class_name="EulerAncestralDiscreteScheduler",
        solver=euler_ancestral,
        grid=sigma_grid,
        latents="ve",
        history=_rows(0),
        aliases=("Euler a",),
        summary="Euler with fresh noise at every step: varied, never converging. Turbo's own.",
    ),
    SchedulerSpec(
        name="heun",
        class_name="HeunDiscreteScheduler",
        solver=heun,
        grid=heun_grid,
        latents="ve",
        history=_rows(2),
        order=2,
        honours=("timesteps",),
        summary="Second order, two evaluations per step. Exact, at twice the time.",
    ),
    SchedulerSpec(
        name="kdpm2",
        class_name="KDPM2DiscreteScheduler",
        solver=kdpm2,
        grid=kdpm2_grid,
        latents="ve",
        history=_rows(1),
        order=2,
        aliases=("DPM2",),
        summary="Second order midpoint, two evaluations per step.",
    ),
    SchedulerSpec(
        name="kdpm2_ancestral",
        class_name="KDPM2AncestralDiscreteScheduler",
        solver=kdpm2_ancestral,
        grid=kdpm2_ancestral_grid,
        latents="ve",
        history=_rows(1),
        order=2,
        aliases=("DPM2 a",),
        summary="The same with fresh noise at every step.",
    ),
    SchedulerSpec(
        name="dpmpp_2m",
        class_name="DPMSolverMultistepScheduler",
        solver=dpm_multistep,
        grid=dpm_grid,
        latents="vp",
        history=_order_and(-1),
        forced={"algorithm_type": "dpmsolver++", "solver_order": 2},
        aliases=("DPM++ 2M",),
        honours=("timesteps",),
        summary="Second order multistep: the best pictures without noise at 15 to 25 steps.",
    ),
    SchedulerSpec(
        name="dpmpp_2m_sde",
        class_name="DPMSolverMultistepScheduler",
        solver=dpm_multistep,
        grid=dpm_grid,
        latents="vp",
        history=_order_and(-1),
        forced={"algorithm_type": "sde-dpmsolver++", "solver_order": 2},
        aliases=("DPM++ 2M SDE",),
        honours=("timesteps",),
        summary="The same for the SDE: fresh noise at every step, rich detail from 25 steps.",
    ),
    SchedulerSpec(
        name="dpmpp_3m_sde",
        class_name="DPMSolverMultistepScheduler",
        solver=dpm_multistep,
        grid=dpm_grid,
        latents="vp",
        history=_order_and(-1),
        forced={"algorithm_type": "sde-dpmsolver++", "solver_order": 3},
        aliases=("DPM++ 3M SDE",),
        honours=("timesteps",),
        summary="Third order for the SDE. From 30 steps; best with karras or exponential sigmas.",
    ),
    SchedulerSpec(
        name="dpmpp_2s",
        class_name="DPMSolverSinglestepScheduler",
        solver=dpm_singlestep,
        grid=dpm_grid,
        latents="vp",
        history=_order_and(0),
        forced={"algorithm_type": "dpmsolver++", "solver_order": 2},
        aliases=("DPM++ 2S",),
        honours=("timesteps",),
        summary="Second order single-step; one evaluation per step, every other one a half step.",
    ),
    SchedulerSpec(
        name="unipc",
        class_name="UniPCMultistepScheduler",
        solver=unipc,
        grid=dpm_grid,
        latents="vp",
        history=_order_and(1),
        summary="Predictor and corrector for one evaluation. Strong at 5 to 15 steps.",
    ),
    SchedulerSpec(
        name="deis",
        class_name="DEISMultistepScheduler",
        solver=deis,
        grid=dpm_grid,
        latents="vp",
        history=_order_and(-1),
        summary="Exponential integrator in log sigma. Good at 10 to 20 steps.",
    ),
    SchedulerSpec(
        name="lcm",
        class_name="LCMScheduler",
        solver=lcm,
        grid=lcm_grid,
        latents="vp",
        history=_rows(0),
        honours=("timesteps",),
        summary="For latent consistency models alone: 2 to 8 steps.",
    ),
    SchedulerSpec(
        name="tcd",
        class_name="TCDScheduler",
        solver=tcd,
        grid=tcd_grid,
        latents="vp",
        history=_rows(0),
        honours=("eta", "timesteps"),
        summary="For trajectory consistency models alone: 2 to 8 steps; eta is their gamma.",
    ),
)
