"""What the bodies of the AUTOMATIC1111 API have in common, and the orders that they stand for."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Value

from sdopt.errors import InvalidValueError
from sdopt.pipeline import Pipeline
from sdopt.runtime.request import GenerationRequest
from sdopt.runtime.schedulers import scheduler_facts
from sdopt.serve.http.fields import Field, refuse_the_unsupported
from sdopt.serve.http.state import State
from sdopt.serve.http.webui_options import WebUiOptions
from sdopt.serve.job import Order
from sdopt.serve.limits import Limits

SPACINGS = ("karras", "exponential", "beta")
FACTS = {fact.name: fact for fact in scheduler_facts()}
_PREVIEWS = 4
"""Of each picture, for whoever asks for progress."""


class WebUiRequest(BaseModel):
    """The honoured fields of every request for pictures."""

    model_config = ConfigDict(extra="allow", strict=True)
    known: ClassVar[tuple[Field, ...]]

    prompt: str = ""
    negative_prompt: str | None = None
    seed: int | None = None
    subseed: int | None = None
    subseed_strength: float | None = None
    batch_size: Annotated[int, Value(ge=1, le=100)] | None = None
    n_iter: Annotated[int, Value(ge=1, le=100)] | None = None
    steps: int | None = None
    cfg_scale: float | None = None
    width: int | None = None
    height: int | None = None
    sampler_name: str | None = None
    sampler_index: str | None = None
    scheduler: str | None = None
    eta: float | None = None
    s_churn: float | None = None
    s_tmin: float | None = None
    s_tmax: float | None = None
    s_noise: float | None = None
    send_images: bool | None = None
    override_settings: dict[str, Any] | None = None

    def check(self) -> None:
        """Refuse what is not supported.

        Raises:
            RequestError: The message says what.
        """
        refuse_the_unsupported(self.model_dump(exclude_unset=True), self.known)

    def model_of(self, state: State) -> str:
        """Return the name of the bundle that is asked for."""
        return self._settings(state).model or state.default_model

    async def order(self, state: State, model: str, pipeline: Pipeline) -> Order:
        """Turn the request into an order.

        Raises:
            RequestError: It cannot be carried out as it stands.
        """
        cfg_scale = 7.0 if self.cfg_scale is None else self.cfg_scale
        options: dict[str, Any] = {
            "prompt": self.prompt,
            "negative_prompt": self.negative_prompt if cfg_scale > 1 else None,
            "seed": None if self.seed == -1 else self.seed,
            "num_images_per_prompt": (self.batch_size or 1) * (self.n_iter or 1),
            "num_inference_steps": 50 if self.steps is None else self.steps,
            "guidance_scale": cfg_scale,
            "width": 512 if self.width is None else self.width,
            "height": 512 if self.height is None else self.height,
            "scheduler": self._scheduler(),
            "clip_skip": self._settings(state).clip_skip,
            **self._variation(),
            **self._churn(),
            **await state.apart(partial(self._own_options, state.service.limits)),
        }
        request = await state.request(pipeline, options)
        if (eta := self._eta(request.plan.name)) is not None:
            seeded = options | {"eta": eta, "seed": request.seed}
            request = await state.request(pipeline, seeded)
        return Order(model=model, request=self._finished(request), partial_images=_PREVIEWS)

    def echo(self) -> dict[str, Any]:
        """Return the fields that were sent, for the answer."""
        return self.model_dump(exclude_unset=True)

    def _own_options(self, limits: Limits) -> dict[str, Any]:
        """Return what a kind of request says beyond the others."""
        del limits
        return {}

    def _finished(self, request: GenerationRequest) -> GenerationRequest:
        """Return a checked request with what only this API knows of."""
        return request

    def _settings(self, state: State) -> WebUiOptions:
        overrides = self.override_settings or {}
        return state.web_ui.options.replaced(overrides, "override_settings.")

    def _scheduler(self) -> str | None:
        sampler = self.sampler_name or self.sampler_index
        spacing = (self.scheduler or "automatic").casefold()
        if spacing == "automatic":
            return sampler
        if spacing not in SPACINGS:
            allowed = "automatic, karras, exponential or beta"
            raise InvalidValueError("scheduler", self.scheduler, allowed)
        if sampler is None:
            hint = "The spacing of sigmas belongs to a sampler"
            raise InvalidValueError("sampler_name", None, "required where scheduler is given", hint)
        return f"{sampler} {spacing}"

    def _eta(self, scheduler: str) -> float | None:
        """Return the eta to use, where the scheduler takes one."""
        fact = FACTS.get(scheduler) or FACTS.get(scheduler.rpartition("_")[0])
        if fact is not None and fact.noise == "with eta":
            return self.eta
        if self.eta not in (None, 0, 1):
            raise InvalidValueError("eta", self.eta, f"0 or 1 for {scheduler}, which takes none")
        return None

    def _variation(self) -> dict[str, Any]:
        if not self.subseed_strength:
            return {}
        subseed = None if self.subseed == -1 else self.subseed
        return {"subseed": subseed, "subseed_strength": self.subseed_strength}

    def _churn(self) -> dict[str, Any]:
        noise = {} if self.s_noise in (None, 1) else {"s_noise": self.s_noise}
        if not self.s_churn:
            return noise
        # As in the web UI, 0 is no limit.
        return noise | {
            "s_churn": self.s_churn,
            "s_tmin": self.s_tmin,
            "s_tmax": self.s_tmax or None,
        }


class PngInfoRequest(BaseModel):
    """A picture whose settings are asked for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    image: str
