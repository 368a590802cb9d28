"""Matplotlib figures of spectra."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..store import Store

INK, ACCENT, FAINT = "#1b2a41", "#c8553d", "#9fb3c8"


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
        shown, error = (np.where(good, values, np.nan) for values in (flux, sigma))
        low, high = np.nanquantile(shown, [0.005, 0.995])
        shown, error = ((shown - low) / (high - low) + 1.25 * shelf, error / (high - low))
        axes.fill_between(wavelength, shown - error, shown + error, color=FAINT, linewidth=0)
        axes.plot(wavelength, shown, color=INK, linewidth=0.7)
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
