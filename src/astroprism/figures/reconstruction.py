"""Figures of how well a network fits spectra, and which spectra are odd. Each takes the table beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .style import BLUE, GREY, HALF, ORANGE, SOFT, WIDE, binned, nothing, plain_text, sheet, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@styled
def chi2_figure(spectra: pd.DataFrame) -> Figure:
    """Chi2 per pixel of held-out spectra, and its dependence on their signal-to-noise.

    spectra  a row per held-out spectrum: chi2, snr, pixels (good ones)
    """
    figure = sheet(WIDE, 2.6)
    left, right = figure.subplots(1, 2)
    chi2, snr = (spectra[name].to_numpy(dtype=float) for name in ("chi2", "snr"))
    known = np.isfinite(chi2)
    if not known.any():
        nothing(left, "no held-out spectra")
        nothing(right, "")
        return figure
    top = float(np.quantile(chi2[known], 0.98)) * 1.15
    low = float(chi2[known].min()) * 0.95
    left.hist(np.minimum(chi2[known], top), bins=np.linspace(low, top, 41), color=BLUE)
    left.axvline(1, color=SOFT, linewidth=0.9, linestyle=":")
    left.axvline(float(np.median(chi2[known])), color=ORANGE, linewidth=1.2)
    left.set_xlabel("chi2 per pixel (last bar: all above)")
    left.set_ylabel("held-out spectra")
    left.annotate(
        "median",
        (float(np.median(chi2[known])), 0.97),
        xycoords=("data", "axes fraction"),
        xytext=(3, 0),
        textcoords="offset points",
        fontsize=8,
        color=ORANGE,
        va="top",
    )
    right.scatter(snr[known], chi2[known], s=5, color=BLUE, alpha=0.5, linewidth=0, rasterized=True)
    right.axhline(1, color=SOFT, linewidth=0.9, linestyle=":")
    right.set_xlabel("signal-to-noise per pixel")
    right.set_ylabel("chi2 per pixel")
    return figure


@styled
def residual_figure(pixels: pd.DataFrame, *, medium: str = "vacuum") -> Figure:
    """Where in wavelength the network leaves more than noise, on held-out spectra.

    pixels  a row per pixel: wavelength, rms and mean of (flux - reconstruction) / sigma
    """
    figure = sheet(WIDE, 2.6)
    axes = figure.subplots()
    wave = pixels["wavelength"]
    axes.plot(*binned(wave, pixels["rms"]), color=BLUE, linewidth=0.8, label="root mean square")
    axes.plot(*binned(wave, pixels["mean"]), color=ORANGE, linewidth=0.8, label="mean")
    for level in (0, 1):
        axes.axhline(level, color=SOFT, linewidth=0.7, linestyle=":")
    axes.set_xlim(wave.min(), wave.max())
    axes.set_ylim(top=1.25 * float(np.nanquantile(pixels["rms"], 0.998)) if len(pixels) else None)
    axes.set_xlabel(f"wavelength in {medium} (angstrom)")
    axes.set_ylabel("residual (sigma)")
    axes.legend(loc="upper right", ncols=2)
    return figure


@styled
def errors_figure(pixels: pd.DataFrame, spectra: pd.DataFrame, *, medium: str = "vacuum") -> Figure:
    """By how much the stated errors are off: per pixel, and per spectrum beside its signal-to-noise.

    pixels   a row per pixel: wavelength, stated (median sigma), scatter (learned), both relative flux
    spectra  a row per held-out spectrum: snr, chi2_stated, chi2
    """
    figure = sheet(WIDE, 2.6)
    left, right = figure.subplots(1, 2)
    wave = pixels["wavelength"]
    left.plot(*binned(wave, pixels["stated"]), color=GREY, linewidth=0.9, label="stated, median")
    left.plot(*binned(wave, pixels["scatter"]), color=ORANGE, linewidth=0.9, label="learned scatter")
    left.set_ylim(bottom=0)
    left.set_xlim(wave.min(), wave.max())
    left.set_xlabel(f"wavelength in {medium} (angstrom)")
    left.set_ylabel("error / flux")
    left.legend(loc="upper right")
    snr = spectra["snr"].to_numpy(dtype=float)
    for name, colour, label in (("chi2_stated", GREY, "stated errors"), ("chi2", BLUE, "as learned")):
        ratio = np.sqrt(spectra[name].to_numpy(dtype=float))
        known = np.isfinite(ratio) & (snr > 0)
        right.scatter(snr[known], ratio[known], s=5, color=colour, alpha=0.6, linewidth=0, label=label)
    right.axhline(1, color=SOFT, linewidth=0.9, linestyle=":")
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_xlabel("signal-to-noise per pixel")
    right.set_ylabel("residual rms / error")
    right.legend(loc="upper left", markerscale=2)
    return figure


@styled
def response_figure(pixels: pd.DataFrame, *, medium: str = "vacuum") -> Figure:
    """The smooth responses that spectra are divided by.

    pixels  a row per pixel: wavelength, low, middle, high (quantiles over spectra), example_0 ..
    """
    figure = sheet(WIDE, 2.6)
    axes = figure.subplots()
    wave = pixels["wavelength"]
    axes.fill_between(wave, pixels["low"], pixels["high"], color=SOFT, alpha=0.4, linewidth=0, label="90 %")
    for name in pixels:
        if str(name).startswith("example_"):
            axes.plot(*binned(wave, pixels[name]), color=GREY, linewidth=0.7)
    axes.plot(*binned(wave, pixels["middle"]), color=ORANGE, linewidth=1.2, label="median")
    axes.set_xlim(wave.min(), wave.max())
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"wavelength in {medium} (angstrom)")
    axes.set_ylabel("response / its median")
    axes.legend(loc="upper right", ncols=2)
    return figure


@styled
def reconstructions_figure(pixels: pd.DataFrame, *, medium: str = "vacuum") -> Figure:
    """Spectra with their reconstructions, and the residuals in sigma.

    pixels  a row per pixel: title, wavelength, flux, reconstruction, residual (sigma)
    """
    groups = list(pixels.groupby("title", sort=False))
    figure = sheet(WIDE, 0.4 + 1.9 * max(1, len(groups)))
    if not groups:
        nothing(figure.subplots(), "no spectra")
        return figure
    panels = figure.subplots(2 * len(groups), 1, sharex=True, height_ratios=(2.2, 1) * len(groups))
    for number, (title, one) in enumerate(groups):
        draw_fit(panels[2 * number], panels[2 * number + 1], one, title=str(title), legend=number == 0)
    panels[-1].set_xlabel(f"wavelength in {medium} (angstrom)")
    panels[-1].set_xlim(pixels["wavelength"].min(), pixels["wavelength"].max())
    return figure


def draw_fit(above: Axes, below: Axes, one: pd.DataFrame, *, title: str, legend: bool) -> None:
    """A spectrum with its reconstruction, and the residual in sigma below."""
    wave: Any = one["wavelength"]
    above.plot(*binned(wave, one["flux"]), color=GREY, linewidth=0.8, label="observed")
    above.plot(*binned(wave, one["reconstruction"]), color=ORANGE, linewidth=0.9, label="reconstruction")
    above.set_title(plain_text(title, most=90), fontsize=8.5)
    above.set_ylabel("flux / median")
    if legend:
        above.legend(loc="lower left", ncols=2)
    below.plot(*binned(wave, one["residual"]), color=BLUE, linewidth=0.6)
    below.axhline(0, color=SOFT, linewidth=0.6)
    reach = max(4.0, float(np.nanquantile(np.abs(one["residual"]), 0.999)))
    below.set_ylim(-1.1 * reach, 1.1 * reach)
    below.set_ylabel("sigma")


@styled
def outliers_figure(scores: pd.DataFrame, *, bound: float | None = None) -> Figure:
    """How the p-values of all spectra are spread: even where nothing is odd, with a heap near 0 of outliers.

    scores  a row per spectrum: p
    """
    figure = sheet(HALF, 2.6)
    axes = figure.subplots()
    p = scores["p"].to_numpy(dtype=float)
    p = p[np.isfinite(p)]
    if not p.size:
        nothing(axes, "no p-values")
        return figure
    axes.hist(p, bins=list(np.linspace(0, 1, 41)), color=BLUE)
    axes.axhline(p.size / 40, color=SOFT, linestyle=":", linewidth=0.9)
    if bound is not None:
        axes.axvline(bound, color=ORANGE, linewidth=1)
    axes.set_xlabel("p of a spectrum (dotted: where none is odd)")
    axes.set_ylabel("spectra")
    return figure
