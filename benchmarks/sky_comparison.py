"""What two archives of one layout look like beside each other: a simulated sky and a real one.

For each folder: signal-to-noise ratios; what a star's smooth ratio to the mean star amounts to, within and
between spectrographs; what is left after the first principal components, against the stated errors; how much
neighbouring pixels of that have in common; how often a pixel lies far out. Low resolution, where a mean star
and a few components say what a spectrum is.

Run: python benchmarks/sky_comparison.py FOLDER FOLDER .. [--most 1500] [--plot FILE.png]
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

LOW, HIGH, STEP = 3800.0, 8900.0, 1e-4  # vacuum angstrom, log10
KNOTS, COMPONENTS, BOX = 12, 30, 5


def read_folder(folder: Path, most: int) -> dict[str, Any]:
    """Flux and stated errors (n, p) on common pixels over their median, S/N and spectrograph of each."""
    from astroprism.archive import read
    from astroprism.errors import AstroprismError

    grid = 10 ** np.arange(np.log10(LOW), np.log10(HIGH), STEP)
    flux, sigma, spectrograph = [], [], []
    files = sorted(path for path in folder.rglob("*.fits*"))
    for path in files[:: max(1, len(files) // most)][:most]:
        try:
            one = next(iter(read(path)))
        except (AstroprismError, StopIteration):
            continue
        if isinstance(one, Exception) or one.sigma is None:
            continue
        good = (one.sigma > 0) & np.isfinite(one.flux)
        if one.good is not None:
            good &= one.good
        if good.mean() < 0.9:
            continue
        nearest = np.clip(np.searchsorted(one.wavelength, grid), 0, one.wavelength.size - 1)
        level = np.median(one.flux[good])
        if not level > 0:
            continue
        flux.append(np.where(good, one.flux, 0)[nearest] / level)
        sigma.append(np.where(good, one.sigma, np.inf)[nearest] / level)
        spectrograph.append(int(one.keywords.get("SPID", 0)))
    f, s = np.array(flux, dtype=np.float64), np.array(sigma, dtype=np.float64)
    return {"grid": grid, "flux": f, "sigma": s, "spectrograph": np.array(spectrograph)}


def look(data: dict[str, Any]) -> dict[str, Any]:
    """The figures, and the curves to draw."""
    from scipy.interpolate import BSpline

    flux, sigma, at = data["flux"], data["sigma"], data["spectrograph"]
    n, pixels = flux.shape
    ratio = np.median(flux / sigma, axis=1)
    inner = np.linspace(0, pixels - 1, KNOTS - 2)
    knots = np.r_[[inner[0]] * 3, inner, [inner[-1]] * 3]
    basis = BSpline.design_matrix(np.arange(pixels), knots, 3).toarray()
    mean, smooth = np.ones(pixels), np.ones_like(flux)
    stated = np.where(np.isfinite(sigma), 1 / (sigma**2 + 0.02**2), 0)
    for _ in range(4):
        for row in range(n):
            weight = stated[row].copy()
            for _ in range(2):
                made = basis * mean[:, None]
                square = (made * weight[:, None]).T @ made + 1e-6 * np.eye(KNOTS)
                smooth[row] = basis @ np.linalg.solve(square, (made * weight[:, None]).T @ flux[row])
                left = (flux[row] - mean * smooth[row]) * np.sqrt(stated[row])
                weight = stated[row] / (1 + (left / 3) ** 2)
        smooth = np.clip(smooth, 0.05, None)
        mean = np.median(flux / smooth, axis=0)
    scaled, error = flux / smooth, sigma / smooth
    seen = np.isfinite(error)
    clipped = np.where(seen, np.clip(scaled - mean, -1, 1), 0)
    weight = 1 / np.clip(np.median(np.where(seen, error, 0.1), axis=1), 0.005, None)[:, None]
    axes = np.linalg.svd(clipped * weight, full_matrices=False)[2][:COMPONENTS]
    left = clipped - (clipped @ axes.T) @ axes
    score = np.where(seen, left / error, 0)
    score *= np.sqrt(pixels / (pixels - COMPONENTS))
    log = np.log(smooth)
    log -= log.mean(axis=1, keepdims=True)
    whole = log.mean(axis=0)
    groups = [log[at == one].mean(axis=0) - whole for one in np.unique(at) if (at == one).sum() >= 20]
    core = np.clip(score, -4, 4) - np.clip(score, -4, 4).mean(axis=1, keepdims=True)
    chance = (core**2).mean(axis=1)
    neighbour = [float(np.median((core[:, :-k] * core[:, k:]).mean(axis=1) / chance)) for k in (1, 2, 3, 5)]
    robust = 1.4826 * np.median(np.abs(score), axis=1)
    bins = {
        f"{low} to {high}": float(np.median(robust[(ratio >= low) & (ratio < high)]))
        for low, high in ((5, 20), (20, 50), (50, 100), (100, 200), (200, 2000))
        if ((ratio >= low) & (ratio < high)).sum() > 4
    }
    figures = {
        "spectra": n,
        "snr at 1, 5, 25, 50, 75, 95, 99 %": np.round(
            np.percentile(ratio, [1, 5, 25, 50, 75, 95, 99]), 1
        ).tolist(),
        "rms of ln smooth ratio: median, 90 %": np.round(
            np.percentile((log - whole).std(axis=1), [50, 90]), 3
        ).tolist(),
        "of it between spectrographs (rms)": round(float(np.std(groups)), 4) if groups else None,
        "chi2 per pixel at 5, 25, 50, 75, 95 %": np.round(
            np.percentile((score**2).mean(axis=1), [5, 25, 50, 75, 95]), 2
        ).tolist(),
        "robust residual over stated error by S/N": {k: round(v, 2) for k, v in bins.items()},
        "correlation of residuals at 1, 2, 3, 5 pixels": np.round(neighbour, 3).tolist(),
        "share of pixels beyond 5, 10 robust sigma": [
            round(float((np.abs(score) > k * robust[:, None]).mean()), 5) for k in (5, 10)
        ],
    }
    per_pixel = 1.4826 * np.median(np.abs(score), axis=0)
    per_pixel = np.convolve(per_pixel, np.ones(BOX) / BOX, "same")
    return {
        "figures": figures,
        "snr": ratio,
        "robust": robust,
        "smooth": log - whole,
        "groups": groups,
        "pixel": per_pixel,
    }


def draw(found: dict[str, dict[str, Any]], grids: dict[str, Any], path: Path) -> None:
    """A column per archive."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7 * len(found), 15), layout="constrained")
    axes = figure.subplots(5, len(found), squeeze=False, sharey="row")
    for column, (name, one) in enumerate(found.items()):
        top, second, third, fourth, fifth = axes[:, column]
        top.hist(np.log10(one["snr"]), bins=np.linspace(0.5, 3.4, 40), density=True)
        top.set_title(f"{name}: {len(one['snr'])} spectra", loc="left")
        top.set_xlabel("log10 S/N as stated")
        second.scatter(np.log10(one["snr"]), np.log10(one["robust"]), s=4)
        second.set(xlabel="log10 S/N", ylabel="log10 residual over error", ylim=(-0.6, 1.4))
        third.plot(grids[name], one["smooth"][::40].T, lw=0.5)
        third.set(xlabel="angstrom", ylabel="ln ratio to the mean star", ylim=(-1.2, 1.2))
        for curve in one["groups"]:
            fourth.plot(grids[name], curve, lw=0.8)
        fourth.set(
            xlabel="angstrom",
            ylabel="its mean per spectrograph",
            ylim=(-0.25, 0.25),
        )
        fifth.plot(grids[name], one["pixel"], lw=0.5)
        fifth.set(xlabel="angstrom", ylabel="residual over error, per pixel", ylim=(0.3, 4))
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="+", type=Path)
    parser.add_argument("--most", type=int, default=1500, help="spectra read of each folder")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    found, grids = {}, {}
    for folder in options.folder:
        data = read_folder(folder, options.most)
        name = folder.parent.name if folder.name == "spectra" else folder.name
        found[name], grids[name] = look(data), data["grid"]
        print(name, json.dumps(found[name]["figures"], indent=1), flush=True)
    if options.plot is not None:
        draw(found, grids, options.plot)


if __name__ == "__main__":
    main()
