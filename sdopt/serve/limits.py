"""What one request may ask of a server, and how many requests it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from sdopt.errors import InvalidValueError
from sdopt.runtime.request import GenerationRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a server takes on.

    Attributes:
        max_rows: Pictures that are denoised at the same time, over all groups.
        max_waiting: Requests that wait for their first row; one more is refused.
        max_backlog_s: Seconds of work, as estimated, beyond which a request is refused.
        queue_timeout_s: How long a request may wait for its first row.
        run_timeout_s: How long a request may take from its first row to its last picture.
        max_images: Pictures of one request.
        max_steps: Inference steps of one request.
        max_pixels: Height times width.
        max_prompt_characters: Of each prompt and negative prompt.
        max_prompt_chunks: Of each prompt and negative prompt, of 75 tokens each.
        max_input_pixels: Height times width of a picture that is sent.
    """

    max_rows: int = 8
    max_waiting: int = 64
    max_backlog_s: float = 600.0
    queue_timeout_s: float = 300.0
    run_timeout_s: float = 900.0
    max_images: int = 10
    max_steps: int = 150
    max_pixels: int = 1024 * 1024
    max_prompt_characters: int = 8000
    max_prompt_chunks: int = 8
    max_input_pixels: int = 2048 * 2048

    def check(self, request: GenerationRequest) -> None:
        """Refuse a request that asks for more than the server gives to one.

        Raises:
            InvalidValueError: The message says how much that is.
        """
        _at_most("num_images", request.num_images, self.max_images)
        _at_most("num_inference_steps", request.num_inference_steps, self.max_steps)
        self._check_size("size", request)
        if (second := request.second) is not None:
            if second.upscaler is None:
                allowed = "one without a refiner on this server"
                raise InvalidValueError("request", "one that a refiner ends", allowed)
            steps = cast("int", second.settings["hr_second_pass_steps"])
            _at_most("hr_second_pass_steps", steps, self.max_steps)
            self._check_size("size of the second pass", second.request)

    def _check_size(self, name: str, request: GenerationRequest) -> None:
        if request.height * request.width > self.max_pixels:
            size = f"{request.width}x{request.height}"
            allowed = f"at most {self.max_pixels} pixels in all on this server"
            raise InvalidValueError(name, size, allowed)

    def check_chunks(self, chunks: int) -> None:
        """Refuse a prompt of too many chunks: each costs a text encoder's call.

        Raises:
            InvalidValueError: The message says how many one may have.
        """
        _at_most("prompt chunks", chunks, self.max_prompt_chunks)

    def check_prompt(self, name: str, prompt: str) -> None:
        """Refuse a prompt that is too long, before it is cut into tokens.

        Raises:
            InvalidValueError: The message says how long one may be.
        """
        _at_most(f"length of {name}", len(prompt), self.max_prompt_characters)


def _at_most(name: str, value: int, most: int) -> None:
    if value > most:
        raise InvalidValueError(name, value, f"at most {most} on this server")
