"""Figures of an archive: its spectra, their signal-to-noise, visits and dates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .style import (
    ACCENT,
    BLUE,
    FAINT,
    GREY,
    INK,
    WIDE,
    binned,
    nothing,
    plain_log,
    plain_text,
    round_numbers,
    sheet,
    styled,
    years,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ..store import Store


def spectra_figure(store: Store, *, count: int = 6, window: tuple[float, float] | None = None) -> Figure:
    """Some spectra of a store, one above the other, lowest SNR at the bottom, masked pixels left out.

    The band behind each is one sigma. `window` (angstrom) defaults to the whole grid.
    """
    from matplotlib.figure import Figure

    if len(store) == 0:
        raise ValueError("the store holds no spectra to draw")
    index = store.index
    order = np.argsort(index["snr"].to_numpy(), kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, count).round().astype(int))]
    pixels = store.window(*window) if window else slice(0, store.grid.size)
    batch = store.read(chosen, window=pixels)
    wavelength = store.grid.wavelength[pixels]
    figure = Figure(figsize=(10, 1.2 + 1.05 * len(chosen)), layout="constrained")
    axes = figure.subplots()
    for shelf, (position, flux, sigma, good) in enumerate(
        zip(chosen, batch.flux, batch.sigma, batch.good, strict=True)
    ):
        scaled, error = (np.where(good, values, np.nan) for values in (flux, sigma))
        low, high = np.nanquantile(scaled, [0.005, 0.995])
        scaled, error = ((scaled - low) / (high - low) + 1.25 * shelf, error / (high - low))
        axes.fill_between(wavelength, scaled - error, scaled + error, color=FAINT, linewidth=0)
        axes.plot(wavelength, scaled, color=INK, linewidth=0.7)
        row = index.iloc[position]
        name = row["target"] or row["spectrum_id"]
        axes.annotate(
            f"{name}   S/N {row['snr']:.0f}",
            (0.004, 1.25 * shelf + 1.04),
            xycoords=("axes fraction", "data"),
            fontsize=8,
            color=ACCENT,
        )
    axes.set_xlim(wavelength[0], wavelength[-1])
    axes.set_ylim(-0.15, 1.25 * len(chosen) + 0.1)
    axes.set_yticks([])
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.set_xlabel(f"wavelength in {store.grid.medium} (angstrom)")
    axes.set_title(
        f"{len(store):,} spectra of {index['target'].nunique():,} targets: {len(chosen)} of them from low "
        "to high S/N, each scaled to its own range",
        fontsize=10,
        loc="left",
        color=INK,
    )
    return figure


@styled
def archive_figure(spectra: pd.DataFrame) -> Figure:
    """What was ingested: signal-to-noise, visits of a target, when it was observed.

    spectra  a row per spectrum: snr, target, time (MJD)
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
        noise.set_xticks(round_numbers(snr.min(), snr.max()))
        noise.minorticks_off()
        plain_log(noise.xaxis)
        noise.set_xlabel("signal-to-noise per pixel")
        noise.set_ylabel("spectra")
    else:
        nothing(noise, "no signal-to-noise known")
    if several:
        visits = rest[0]
        edges = np.unique(np.round(np.geomspace(1, count.max() + 1, 16)))
        visits.hist(count, bins=edges, color=BLUE)
        visits.set_xscale("log")
        visits.set_yscale("log")
        visits.set_xticks(round_numbers(1, count.max()))
        visits.minorticks_off()
        plain_log(visits.xaxis)
        plain_log(visits.yaxis)
        visits.set_xlabel("spectra per target")
        visits.set_ylabel("targets")
    when = spectra["time"].to_numpy(dtype=float) if "time" in spectra else np.zeros(0)
    when = when[np.isfinite(when)]
    if when.size:
        dates.hist(years(when), bins=30, color=BLUE)
        dates.set_xlabel("year of observation")
        dates.set_ylabel("spectra")
        dates.locator_params(axis="x", nbins=4, integer=True)
    else:
        nothing(dates, "dates are not known")
    return figure


@styled
def examples_figure(pixels: pd.DataFrame, *, medium: str = "vacuum") -> Figure:
    """Some spectra, one above the other, the noisiest at the bottom; the band behind each is one sigma.

    pixels  a row per pixel: target, snr, wavelength, flux, sigma (NaN where masked)
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
        place, scaled = binned(wave, (flux - low) / scale + 1.3 * shelf)
        _, top = binned(wave, (flux + sigma - low) / scale + 1.3 * shelf)
        _, bottom = binned(wave, (flux - sigma - low) / scale + 1.3 * shelf)
        axes.fill_between(place, bottom, top, color=GREY, alpha=0.35, linewidth=0)
        axes.plot(place, scaled, color=BLUE, linewidth=0.7)
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
