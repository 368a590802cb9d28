"""The views of the explorer as figures: what its button for Python draws. They take what was computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .style import ACCENT, FAINT, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STAR, AIR = "#3579b8", "#1f9273"
MOST_DOTS = 200_000


class CurvesLike(Protocol):
    """Curves over one column of wavelengths."""

    @property
    def wavelength(self) -> NDArray[np.float64]:
        """Angstrom, (p,)."""

    @property
    def values(self) -> Mapping[str, NDArray[Any]]:
        """Name -> (p,)."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What else is known."""


class AxisLike(Protocol):
    """A column to draw."""

    @property
    def title(self) -> str:
        """What it is."""

    @property
    def unit(self) -> str:
        """Its unit, '' for none."""

    @property
    def values(self) -> NDArray[Any]:
        """Numbers, NaN where not known, (n,)."""

    @property
    def categories(self) -> Sequence[str] | None:
        """Names of the categories that values number; None for numbers."""


def decoded_figure(curves: CurvesLike, *, medium: str = "vacuum") -> Figure:
    """What the decoder makes of a code; star and air beneath it, the base behind it, where they are given."""
    figure, axes = _sheet(2 if "star" in curves.values else 1)
    if "reference" in curves.values:
        axes[0].plot(curves.wavelength, curves.values["reference"], color=FAINT, linewidth=1, label="base")
    axes[0].plot(curves.wavelength, curves.values["flux"], color=INK, linewidth=0.9, label="decoded")
    if "star" in curves.values:
        for name, colour in (("star", STAR), ("air", AIR)):
            axes[1].plot(curves.wavelength, curves.values[name], color=colour, linewidth=0.9, label=name)
        _legend(axes[1])
    if "reference" in curves.values:
        _legend(axes[0])
    axes[0].set_ylabel("flux / median")
    _wavelength(axes[-1], medium)
    return figure


def spectrum_figure(curves: CurvesLike, *, medium: str = "vacuum") -> Figure:
    """A spectrum with its error, its reconstruction, and the residual in sigma."""
    has_fit = "reconstruction" in curves.values
    figure, axes = _sheet(2 if has_fit else 1)
    flux, sigma = curves.values["flux"], curves.values["sigma"]
    axes[0].fill_between(curves.wavelength, flux - sigma, flux + sigma, color=FAINT, linewidth=0)
    axes[0].plot(curves.wavelength, flux, color=INK, linewidth=0.7, label="observed")
    axes[0].set_ylabel("flux / median")
    if has_fit:
        made = curves.values["reconstruction"]
        axes[0].plot(curves.wavelength, made, color=ACCENT, linewidth=0.9, label="reconstruction")
        _legend(axes[0])
        axes[1].axhline(0, color=FAINT, linewidth=0.8)
        axes[1].plot(curves.wavelength, curves.values["residual"], color=INK, linewidth=0.6)
        axes[1].set_ylabel("residual (sigma)")
    _wavelength(axes[-1], medium)
    return figure


def traversal_figure(curves: CurvesLike, *, medium: str = "vacuum") -> Figure:
    """The decoded spectrum with one node at each of its quantiles, from blue (low) to red (high)."""
    from matplotlib import colormaps

    figure, axes = _sheet(1)
    marks = [name for name in curves.values if name.startswith("flux_")]
    shades = colormaps["coolwarm"](np.linspace(0, 1, len(marks)))
    for place, (name, shade) in enumerate(zip(marks, shades, strict=True)):
        words = f"{curves.facts['quantiles'][place]} %"
        if curves.facts["labels"] is not None:
            unit = f" {curves.facts['unit']}" if curves.facts["unit"] else ""
            words += f": {_text(curves.facts['label'])} {curves.facts['labels'][place]:.4g}{unit}"
        axes[0].plot(curves.wavelength, curves.values[name], color=shade, linewidth=0.9, label=words)
    _legend(axes[0])
    axes[0].set_ylabel("flux / median")
    _wavelength(axes[0], medium)
    return figure


def map_figure(
    x: AxisLike,
    y: AxisLike,
    *,
    colour: AxisLike | None = None,
    lasso: Sequence[tuple[float, float]] = (),
) -> Figure:
    """All spectra by two columns, coloured by a third, with the outline of a lasso."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 6), layout="constrained")
    axes = figure.subplots()
    known = np.flatnonzero(np.isfinite(x.values) & np.isfinite(y.values))
    if known.size > MOST_DOTS:
        known = np.sort(np.random.default_rng(0).choice(known, MOST_DOTS, replace=False))
    size = float(np.clip(2e4 / max(1, known.size), 0.5, 12))
    dots: dict[str, Any] = {"s": size, "linewidths": 0, "rasterized": True}
    if colour is None:
        axes.scatter(x.values[known], y.values[known], color=INK, **dots)
    elif colour.categories is None:
        level = colour.values[known]
        rated = np.isfinite(level)
        axes.scatter(x.values[known[~rated]], y.values[known[~rated]], color=FAINT, **dots)
        ends = np.quantile(level[rated], [0.02, 0.98]) if rated.any() else (0.0, 1.0)
        picture = axes.scatter(
            x.values[known[rated]], y.values[known[rated]], c=level[rated], vmin=ends[0], vmax=ends[1], **dots
        )
        figure.colorbar(picture, ax=axes, label=_named(colour))
    else:
        for number, name in enumerate(colour.categories):
            mine = known[colour.values[known] == number]
            axes.scatter(x.values[mine], y.values[mine], label=_text(name), **dots)
        _legend(axes, title=_named(colour), markerscale=max(1.0, 5 / size**0.5))
    if len(lasso):
        corners = np.array([*lasso, lasso[0]])
        axes.plot(corners[:, 0], corners[:, 1], color=ACCENT, linewidth=1.2)
    axes.set_xlabel(_named(x))
    axes.set_ylabel(_named(y))
    return figure


def inside(x: ArrayLike, y: ArrayLike, corners: Sequence[tuple[float, float]]) -> NDArray[np.intp]:
    """Places of the points that lie in a polygon."""
    from matplotlib.path import Path

    points = np.column_stack([np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)])
    known = np.isfinite(points).all(1)
    found = np.zeros(len(points), dtype=bool)
    if len(corners) > 2:
        found[known] = Path(np.array(corners)).contains_points(points[known])
    return np.flatnonzero(found)


def fit_figure(
    applied: Any,
    *,
    medium: str = "vacuum",
    low: float | None = None,
    high: float | None = None,
    which: int = 0,
) -> Figure:
    """A spectrum that is not of the study, from `Study.apply`, with its reconstruction."""
    figure, axes = _sheet(2)
    good, wavelength = applied.good[which], applied.wavelength
    drawn = good & (wavelength >= (low or 0)) & (wavelength <= (high or np.inf))
    flux, sigma = (np.where(drawn, one[which], np.nan) for one in (applied.flux, applied.sigma))
    axes[0].fill_between(wavelength, flux - sigma, flux + sigma, color=FAINT, linewidth=0)
    axes[0].plot(wavelength, flux, color=INK, linewidth=0.7, label=_text(applied.identifiers[which]))
    made = np.where(drawn, applied.reconstruction[which], np.nan)
    axes[0].plot(wavelength, made, color=ACCENT, linewidth=0.9, label="reconstruction")
    _legend(axes[0])
    axes[0].set_ylabel("flux / median")
    axes[1].axhline(0, color=FAINT, linewidth=0.8)
    axes[1].plot(wavelength, np.where(drawn, applied.residual[which], np.nan), color=INK, linewidth=0.6)
    axes[1].set_ylabel("residual (sigma)")
    _wavelength(axes[-1], medium)
    return figure


# --- parts


def _sheet(rows: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6 if rows == 1 else 5.6), layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    return figure, list(axes)


def _legend(axes: Axes, **more: Any) -> None:
    axes.legend(frameon=False, fontsize=8, loc="best", **more)


def _wavelength(axes: Axes, medium: str) -> None:
    axes.set_xlabel(f"wavelength in {medium} (angstrom)")
    axes.margins(x=0)


def _named(axis: AxisLike) -> str:
    return _text(f"{axis.title} ({axis.unit})" if axis.unit else axis.title)


def _text(text: Any) -> str:
    """A name from a table, without what matplotlib would take for mathematics."""
    return str(text).replace("$", r"\$")
