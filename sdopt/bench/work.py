"""What is measured: pictures of one kind."""

from __future__ import annotations

from dataclasses import dataclass

from sdopt.errors import InvalidValueError

PROMPT = "a large red circle on a blue background"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Requests that differ in their prompt's last word and in nothing else.

    Attributes:
        height: In pixels.
        width: In pixels.
        batch: Pictures per request, denoised together.
        num_inference_steps: As the request says; the UNet may be called once more (PNDM) or twice
            as often (Heun).
        guidance_scale: Dimensionless; the UNet computes two rows per picture above 1.
        scheduler: Its public name; None for the bundle's own.
    """

    height: int
    width: int
    batch: int
    num_inference_steps: int
    guidance_scale: float
    scheduler: str | None = None

    def __str__(self) -> str:
        steps = f"{self.num_inference_steps} steps"
        scheduler = self.scheduler or "the bundle's scheduler"
        guidance = f"guidance {self.guidance_scale:g}"
        return f"{self.width}x{self.height}, batch {self.batch}, {steps}, {scheduler}, {guidance}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """How often it is done.

    Attributes:
        processes: How many are started, one after the other.
        warmups: Requests of each case in each process before any is measured.
        runs: Measured requests of each case in each process.
    """

    processes: int
    warmups: int
    runs: int


def sizes(texts: str) -> list[tuple[int, int]]:
    """Read ``512x512,768x512`` as (width, height) in pixels.

    Raises:
        InvalidValueError: It is not that.
    """
    return [_size(text.strip()) for text in texts.split(",")]


def whole_numbers(name: str, text: str) -> list[int]:
    """Read ``1,2,4``.

    Raises:
        InvalidValueError: It is not that, or one is below 1.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise InvalidValueError(name, text, "whole numbers above 0, as in 1,2,4")
    return [int(part) for part in parts]


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isascii() and width.isdigit() and height.isascii() and height.isdigit()):
        raise InvalidValueError("size", text, "WIDTHxHEIGHT in pixels, as in 512x512")
    return int(width), int(height)
