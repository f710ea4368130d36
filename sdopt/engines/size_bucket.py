"""What engines are built for: a size of pictures, and how many of them at a time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sdopt.errors import InvalidSizeError, InvalidValueError

_PATTERN = re.compile(r"(\d+)x(\d+)(?::(\d+)(?:-(\d+))?)?")
_SMALLEST_SIDE = 64


@dataclass(frozen=True, slots=True, order=True)
class SizeBucket:
    """One size of pictures, and how many of them are denoised together.

    Attributes:
        width: In pixels.
        height: In pixels.
        min_images: At least so many pictures at a time.
        max_images: At most so many.
    """

    width: int
    height: int
    min_images: int = 1
    max_images: int = 1

    @classmethod
    def parse(cls, text: str, name: str = "profile") -> SizeBucket:
        """Read ``WIDTHxHEIGHT``, ``WIDTHxHEIGHT:N`` (1 to N) or ``WIDTHxHEIGHT:MIN-MAX``.

        Args:
            text: To read.
            name: Of the option, for errors.

        Raises:
            InvalidValueError: It is none of these.
        """
        match = _PATTERN.fullmatch(text.strip())
        if match is None:
            raise InvalidValueError(
                name, text, "WIDTHxHEIGHT, WIDTHxHEIGHT:N or WIDTHxHEIGHT:MIN-MAX", "512x512:4"
            )
        width, height, first, last = (int(g) if g else None for g in match.groups())
        assert width is not None
        assert height is not None
        low, high = (first or 1, last) if last is not None else (1, 1 if first is None else first)
        if not 1 <= low <= high:
            raise InvalidValueError(name, text, "of at least 1 picture, with MIN up to MAX")
        return cls(width, height, low, high)

    def __str__(self) -> str:
        """Write as :meth:`parse` reads it."""
        images = f"{self.min_images}-{self.max_images}"
        return f"{self.width}x{self.height}:{1 if images == '1-1' else images}"

    def check(self, multiple: int) -> None:
        """Check the size against the VAE's factor.

        Raises:
            InvalidSizeError: It does not divide a side.
        """
        for name, side in (("width", self.width), ("height", self.height)):
            if side % multiple or side < _SMALLEST_SIDE:
                raise InvalidSizeError(name, side, multiple, _SMALLEST_SIDE)
