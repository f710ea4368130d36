"""An explanation as one sheet: pictures in three sections, and their figures below them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdopt.cli.plan_plot import FORMATS
from sdopt.errors import InvalidValueError, MissingDependencyError
from sdopt.explaining import COLUMNS, Explanation, Look
from sdopt.runtime.ports import FloatArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK, _FAINT, _SIGNAL, _NOISE, _LINE = "#30343b", "#6b7280", "#2f6fb5", "#dfe3e8", "#c9ced6"
_DPI = 100
_TILE, _GAP, _MARGIN, _LABELS = 192, 28, 48, 128
_WIDTH = 2 * _MARGIN + _LABELS + COLUMNS * _TILE + (COLUMNS - 1) * _GAP
_HEAD, _SECTION, _CAPTION, _FOOT = 128, 96, 72, 24
_LATENT_RANGE = 3.0
"""Noisy latents are shown from -3 (black) to 3 (white): most of what has unit variance."""


def check_sheet(path: Path) -> None:
    """Refuse, before anything is computed, what could not be written.

    Raises:
        InvalidValueError: The file's name ends in no format that can be written.
        MissingDependencyError: matplotlib is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise InvalidValueError(
            "output", str(path), f"a file name that ends in {', '.join(FORMATS)}"
        )
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "bench") from error


def save_sheet(explanation: Explanation, bundle: str, path: Path) -> None:
    """Draw an explanation to a file, and make its folder where it is missing."""
    page = _Page.new(_height())
    _draw_head(page, explanation, bundle)
    _draw_autoencoder(page, explanation)
    _draw_noise(page, explanation)
    _draw_generation(page, explanation)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.figure.savefig(path, dpi=_DPI)


def _height() -> int:
    rows_of_tiles, captions = 6, 3
    return (
        _HEAD + 3 * _SECTION + rows_of_tiles * _TILE + 3 * _GAP // 2 + captions * _CAPTION + _FOOT
    )


@dataclass(slots=True)
class _Page:
    """A figure that is filled from the top, in pixels.

    Attributes:
        figure: What is drawn on.
        height: Of all.
        top: Where the next thing goes.
    """

    figure: Figure
    height: int
    top: int = 0

    @classmethod
    def new(cls, height: int) -> _Page:
        from matplotlib.figure import Figure

        return cls(
            Figure(figsize=(_WIDTH / _DPI, height / _DPI), dpi=_DPI, facecolor="white"), height
        )

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        """Write with the top left corner (unless styled otherwise) at a place."""
        placed = {"ha": "left", "va": "top", "color": _INK, "fontsize": 11, **style}
        self.figure.text(x / _WIDTH, 1 - y / self.height, text, **placed)

    def tile(self, column: int, shown: Any, **style: Any) -> None:
        """Show an array or a picture in a column, as large as fits, its pixels as they are."""
        axes = self.figure.add_axes(self._box(column, self.top, _TILE))
        axes.imshow(np.asarray(shown), **style)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color(_LINE)

    def bar(self, column: int, share: float) -> None:
        """Draw how much of the variance is signal."""
        axes = self.figure.add_axes(self._box(column, self.top + 6, 6))
        axes.set_axis_off()
        axes.barh(0, share, color=_SIGNAL, height=1)
        axes.barh(0, 1 - share, left=share, color=_NOISE, height=1)
        axes.set_xlim(0, 1)
        axes.set_ylim(-0.5, 0.5)

    def caption(self, column: int, *lines: str, below: int = 0) -> None:
        """Write lines below the middle of a column."""
        x = _left(column) + _TILE / 2
        for index, line in enumerate(lines):
            style = {"color": _INK} if index == 0 else {"color": _FAINT}
            self.text(x, self.top + 6 + below + 18 * index, line, ha="center", fontsize=10, **style)

    def label(self, text: str) -> None:
        """Write beside a row of tiles."""
        self.text(_MARGIN, self.top + _TILE / 2, text, va="center", fontsize=11, linespacing=1.35)

    def section(self, title: str, words: str) -> None:
        """Begin a section."""
        self.text(_MARGIN, self.top + 18, title, fontsize=15, fontweight="bold")
        self.text(_MARGIN, self.top + 50, words, fontsize=11, color=_FAINT)
        self.top += _SECTION

    def _box(self, column: int, top: float, height: float) -> tuple[float, float, float, float]:
        bottom = 1 - (top + height) / self.height
        return _left(column) / _WIDTH, bottom, _TILE / _WIDTH, height / self.height


def _left(column: int) -> int:
    return _MARGIN + _LABELS + column * (_TILE + _GAP)


def _draw_head(page: _Page, explanation: Explanation, bundle: str) -> None:
    said, size = explanation.settings, explanation.picture.size
    told = f"“{said['prompt']}”" if said["prompt"] else "no prompt"
    page.text(_MARGIN, 36, "What Stable Diffusion does", fontsize=24, fontweight="bold")
    page.text(
        _MARGIN,
        88,
        f"{Path(bundle).name} · {told} · {size[0]} × {size[1]} · {said['scheduler']}, guidance "
        f"{said['guidance_scale']:g} · seed {said['seed']}",
        fontsize=12,
        color=_FAINT,
    )
    page.top = _HEAD


def _draw_autoencoder(page: _Page, explanation: Explanation) -> None:
    picture, latents = explanation.picture, explanation.latents
    before, after = 3 * picture.width * picture.height, latents.size
    page.section(
        "1   A picture becomes latents, and latents become a picture",
        f"The encoder turns {before:,} numbers into {after:,}, {before / after:.0f} times fewer; "
        "the decoder paints the rest. All that follows happens among the latents.",
    )
    shown = latents[: COLUMNS - 2]
    last = len(shown) + 1
    page.tile(0, picture)
    for column, channel in enumerate(shown, start=1):
        page.tile(column, channel, cmap="gray", interpolation="nearest")
    page.tile(last, explanation.reconstruction)
    page.top += _TILE
    page.caption(0, "the picture", f"{picture.width} × {picture.height} × 3, 0 to 255")
    for column, channel in enumerate(shown, start=1):
        page.caption(
            column,
            f"latent channel {column} of {len(latents)}",
            f"{channel.min():.2f} (black) to {channel.max():.2f} (white)",
            f"mean {channel.mean():.2f}, std {channel.std():.2f}",
        )
    page.caption(last, "decoded again", f"PSNR {_db(explanation.psnr_db)}")
    page.top += _CAPTION


def _draw_noise(page: _Page, explanation: Explanation) -> None:
    page.section(
        "2   Noise, and what the model sees through it",
        "The picture's latents with noise of several steps, from the most to the least (blue: the "
        "signal's share of the variance). The UNet looks once at each: what is behind the noise?",
    )
    looks = explanation.noised
    page.label("latents $x_t$,\nall channels,\n−3 to 3")
    for column, look in enumerate(looks):
        style = {"vmin": -_LATENT_RANGE, "vmax": _LATENT_RANGE, "cmap": "gray"}
        page.tile(column, _side_by_side(look.moment.latents), interpolation="nearest", **style)
    page.top += _TILE + _GAP // 2
    words = [f"strength {look.share:.2f}" for look in looks]
    _draw_looks(page, looks, "predicted $x_0$\nin one step,\ndecoded", words)


def _draw_generation(page: _Page, explanation: Explanation) -> None:
    page.section(
        "3   A picture in the making",
        "From noise alone: each step takes away a little of what the UNet takes for noise, and the "
        "UNet looks again. PSNR here is the prediction's, against the finished picture.",
    )
    words = [
        f"step {look.moment.stage + 1} of {explanation.evaluations}"
        for look in explanation.generation
    ]
    _draw_looks(page, explanation.generation, "predicted $x_0$,\ndecoded", words)


def _draw_looks(page: _Page, looks: Sequence[Look], predicted: str, words: Sequence[str]) -> None:
    """Draw what is seen at moments, with the words that say when, and their figures."""
    page.label("$x_t$, decoded")
    for column, look in enumerate(looks):
        page.tile(column, look.noisy)
    page.top += _TILE + _GAP // 2
    page.label(predicted)
    for column, look in enumerate(looks):
        page.tile(column, look.predicted)
    page.top += _TILE
    for column, look in enumerate(looks):
        sigma = look.moment.sigma
        page.bar(column, 1 / (1 + sigma**2))
        page.caption(
            column,
            f"t = {look.moment.timestep:.0f}, σ = {f'{sigma:.2f}' if np.isfinite(sigma) else '∞'}",
            f"{words[column]} · PSNR {_db(look.psnr_db)}",
            below=14,
        )
    page.top += _CAPTION


def _side_by_side(latents: FloatArray) -> FloatArray:
    """Lay channels out in a grid, (rows, columns) of one picture, with lines between them."""
    channels, height, width = latents.shape
    across = int(np.ceil(np.sqrt(channels)))
    down = -(-channels // across)
    grid = np.full((down * (height + 1) - 1, across * (width + 1) - 1), np.nan, np.float32)
    for index, channel in enumerate(latents):
        top, left = index // across * (height + 1), index % across * (width + 1)
        grid[top : top + height, left : left + width] = channel
    return grid


def _db(psnr_db: float | None) -> str:
    return "∞" if psnr_db is None else f"{psnr_db:.1f} dB"
