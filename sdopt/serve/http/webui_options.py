"""What the AUTOMATIC1111 API keeps between requests: its options, and the jobs that are open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sdopt.errors import InvalidValueError
from sdopt.serve.job import Event, Job, Preview


@dataclass(frozen=True, slots=True)
class WebUiOptions:
    """The options that mean something here.

    Attributes:
        model: The bundle that is used; None for the server's first.
        clip_skip: How many of the text encoder's last layers are left out.
    """

    model: str | None = None
    clip_skip: int = 0

    def replaced(self, settings: Mapping[str, object], prefix: str = "") -> WebUiOptions:
        """Return these options with some replaced.

        Args:
            settings: By the web UI's names.
            prefix: Of names in messages.

        Raises:
            InvalidValueError: An option is none of these.
        """
        options = self
        for name, value in settings.items():
            if name == "sd_model_checkpoint" and isinstance(value, str):
                options = replace(options, model=value)
            elif name == "CLIP_stop_at_last_layers" and isinstance(value, int) and value >= 1:
                options = replace(options, clip_skip=value - 1)
            else:
                allowed = (
                    "a model's name as sd_model_checkpoint, or CLIP_stop_at_last_layers from 1"
                )
                raise InvalidValueError(f"{prefix}{name[:40]}", str(value)[:40], allowed)
        return options


@dataclass(slots=True)
class WebUiState:
    """This API speaks of "the" options and "the" running job. For one event loop.

    Attributes:
        options: What requests mean where they do not say.
        previews: The newest preview of each open job, PNG bytes; the oldest job first.
    """

    options: WebUiOptions = WebUiOptions()
    previews: dict[Job, bytes | None] = field(default_factory=dict)

    @property
    def running(self) -> Job | None:
        """The oldest open job."""
        return next(iter(self.previews), None)

    def hear(self, job: Job, event: Event) -> None:
        """Keep a job's newest preview."""
        if isinstance(event, Preview) and job in self.previews:
            self.previews[job] = event.png
