"""Figures on an archive and on how a network fits it. Each takes the table that is kept beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .archive import ACCENT, INK
from .style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RULE,
    SOFT,
    WIDE,
    binned,
    nothing,
    plain_log,
    plain_text,
    sheet,
    styled,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

JULIAN_2000, YEAR = 51544.5, 365.25  # MJD, days


@styled
def archive_figure(spectra: pd.DataFrame) -> Figure:
    """What was ingested: signal-to-noise, visits of a target, when it was observed.

    spectra  a row a spectrum: snr, target, time (MJD)
    """
    count = spectra["target"].value_counts().to_numpy()
    several = count.size > 0 and count.max() > 1
    figure = sheet(WIDE, 2.3)
    noise, *rest = figure.subplots(1, 3 if several else 2)
    dates = rest[-1]
    snr = spectra["snr"].to_numpy(dtype=float)
    snr = snr[np.isfinite(snr) & (snr > 0)]
    if snr.size:
        edges = np.geomspace(snr.min(), max(snr.max(), 1.001 * snr.min()), 31)
        noise.hist(snr, bins=edges, color=BLUE)
        noise.set_xscale("log")
        noise.set_xticks(_nice(snr.min(), snr.max()))
        noise.minorticks_off()
        plain_log(noise.xaxis)
        noise.set_xlabel("signal-to-noise a pixel")
        noise.set_ylabel("spectra")
    else:
        nothing(noise, "no signal-to-noise known")
    if several:
        visits = rest[0]
        edges = np.unique(np.round(np.geomspace(1, count.max() + 1, 16)))
        visits.hist(count, bins=edges, color=BLUE)
        visits.set_xscale("log")
        visits.set_yscale("log")
        visits.set_xticks(_nice(1, count.max()))
        visits.minorticks_off()
        plain_log(visits.xaxis)
        plain_log(visits.yaxis)
        visits.set_xlabel("spectra a target")
        visits.set_ylabel("targets")
    when = spectra["time"].to_numpy(dtype=float) if "time" in spectra else np.zeros(0)
    when = when[np.isfinite(when)]
    if when.size:
        dates.hist(2000 + (when - JULIAN_2000) / YEAR, bins=30, color=BLUE)
        dates.set_xlabel("year of observation")
        dates.set_ylabel("spectra")
        dates.locator_params(axis="x", nbins=4, integer=True)
    else:
        nothing(dates, "dates are not known")
    return figure


def _nice(low: float, high: float) -> list[float]:
    """A few round numbers for a logarithmic axis: 1, 2, 5 a decade where there is room."""
    decades = np.log10(max(high / max(low, 1e-12), 1.0))
    steps = (1, 2, 5) if decades < 2 else (1, 3) if decades < 3 else (1,)
    first = int(np.floor(np.log10(max(low, 1e-12))))
    all_of = [step * 10.0**power for power in range(first, first + int(decades) + 3) for step in steps]
    return [one for one in all_of if 0.999 * low <= one <= 1.001 * high] or [low]


@styled
def examples_figure(pixels: pd.DataFrame, *, medium: str = "vacuum") -> Figure:
    """Some spectra, one above the other, the noisiest at the bottom; the band behind each is one sigma.

    pixels  a row a pixel: target, snr, wavelength, flux, sigma (NaN where masked)
    """
    groups = list(pixels.groupby(["snr", "spectrum_id"], sort=True))
    figure = sheet(WIDE, 0.7 + 0.8 * max(1, len(groups)))
    axes = figure.subplots()
    if not groups:
        nothing(axes, "no spectra")
        return figure
    for shelf, (_, one) in enumerate(groups):
        wave, flux, sigma = (one[name].to_numpy() for name in ("wavelength", "flux", "sigma"))
        low, high = np.nanquantile(flux, [0.005, 0.995]) if np.isfinite(flux).any() else (0.0, 1.0)
        scale = (high - low) or 1.0
        place, shown = binned(wave, (flux - low) / scale + 1.3 * shelf)
        _, top = binned(wave, (flux + sigma - low) / scale + 1.3 * shelf)
        _, bottom = binned(wave, (flux - sigma - low) / scale + 1.3 * shelf)
        axes.fill_between(place, bottom, top, color=GREY, alpha=0.35, linewidth=0)
        axes.plot(place, shown, color=BLUE, linewidth=0.7)
        first = one.iloc[0]
        axes.annotate(
            f"{plain_text(first['target'] or first['spectrum_id'])}, S/N {first['snr']:.0f}",
            (0.004, 1.3 * shelf + 1.05),
            xycoords=("axes fraction", "data"),
            fontsize=8,
            color=INK,
        )
    axes.set_ylim(-0.2, 1.3 * len(groups) + 0.1)
    axes.set_xlim(pixels["wavelength"].min(), pixels["wavelength"].max())
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"wavelength in {medium} (angstrom)")
    axes.set_ylabel("flux / median, each on its own scale")
    return figure


@styled
def training_figure(history: pd.DataFrame) -> Figure:
    """How a training went: chi2 of training and held-out spectra, active nodes, schedules; events numbered.

    history  a row a moment, as in model/history.parquet
    """
    figure = sheet(WIDE, 5.4)
    fit, nodes, plan = figure.subplots(3, 1, sharex=True, height_ratios=(3, 1.7, 1.7))
    step = history["step"].to_numpy()
    fit.plot(step, history["chi2"], color=GREY, linewidth=0.8, label="of each step, codes with their noise")
    for name, colour, mark, words in (
        ("chi2_train", BLUE, "o", "training spectra, median"),
        ("chi2_valid", ORANGE, "s", "held-out spectra, median"),
    ):
        told = history[history[name].notna()]
        fit.plot(told["step"], told[name], f"{mark}-", color=colour, markersize=3, label=words)
    fit.axhline(1, color=SOFT, linewidth=0.7, linestyle=":")
    fit.set_yscale("log")
    least, most = np.nanmin(history["chi2"]), np.nanmax(history["chi2"])
    fit.set_yticks(_nice(min(1.0, least), most))
    fit.minorticks_off()
    plain_log(fit.yaxis)
    fit.set_ylabel("chi2 a pixel")
    fit.legend(loc="upper right")
    nodes.step(step, history["active"], where="post", color=BLUE)
    nodes.set_ylim(0, history["active"].max() * 1.15 + 1)
    nodes.set_ylabel("active nodes")
    styles = (("beta", BLUE, "-"), ("floor", ORANGE, "--"), ("blur", GREEN, "-."), ("rate", GREY, "-"))
    for name, colour, line in styles:
        values = history[name].to_numpy(dtype=float)
        if np.isfinite(values).any() and (values > 0).any():
            top = np.nanmax(values)
            plan.plot(
                step,
                np.where(values > 0, values / top, np.nan),
                line,
                color=colour,
                label=f"{name} (highest {top:.3g}{_UNITS[name]})",
            )
    plan.set_yscale("log")
    plan.minorticks_off()
    plan.set_ylabel("share of highest")
    plain_log(plan.yaxis)
    low = plan.get_ylim()[0]
    plan.set_ylim(low / 30, 2)
    plan.legend(loc="lower left", ncols=2, fontsize=7.5)
    plan.set_xlabel("training step")
    marked = history[history["event"] != ""]
    last = -np.inf
    for number, at in enumerate(marked["step"], start=1):
        for axes in (fit, nodes, plan):
            axes.axvline(at, color=RULE, linewidth=0.8, zorder=0)
        if at - last > 0.018 * step[-1]:
            fit.annotate(
                str(number),
                (at, 1.01),
                xycoords=("data", "axes fraction"),
                fontsize=8,
                color=ACCENT,
                ha="center",
            )
            last = at
    return figure


_UNITS = {"beta": "", "floor": " of flux", "blur": " km/s", "rate": ""}


@styled
def chi2_figure(spectra: pd.DataFrame) -> Figure:
    """Chi2 a pixel of spectra that training never saw, and what it is beside their signal-to-noise.

    spectra  a row a held-out spectrum: chi2, snr, pixels (good ones)
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
    left.set_xlabel("chi2 a pixel (last bar: all above)")
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
    right.set_xlabel("signal-to-noise a pixel")
    right.set_ylabel("chi2 a pixel")
    return figure


@styled
def residual_figure(pixels: pd.DataFrame, *, medium: str = "vacuum") -> Figure:
    """Where in wavelength the network leaves more than noise, on held-out spectra.

    pixels  a row a pixel: wavelength, rms and mean of (flux - reconstruction) / sigma
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
def reconstructions_figure(pixels: pd.DataFrame, *, medium: str = "vacuum") -> Figure:
    """Spectra with what the network makes of them, and what is left in sigma.

    pixels  a row a pixel: title, wavelength, flux, reconstruction, residual (sigma)
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
    """A spectrum with its reconstruction, and below what is left in sigma."""
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
