"""Looking at a sample of an archive before the work: which grid would fit it, and what it will cost."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..archive import ReadOptions
from ..archive import read as read_file
from ..errors import GridError, SpectrumError
from ..grid import SPEED_OF_LIGHT, Grid, convert_medium, log_grid
from ..spectrum import Spectrum
from ..store.layout import Layout
from ..store.prepare import PrepareOptions, prepare
from ..targets.assignment import file_keys, no_match
from .listing import FileEntry, spread

SAMPLE_FILES = 200
TIMED_FILES = 6
TIMED_SHARE = 50  # one file of this many is timed: a small archive is not to spend its time on the estimate
# Identifiers are read from so many files before a table of targets is called foreign. One with a row for
# every fifth file would be met among fifty with a chance of 1 - 1e-5.
NAMED_FILES, NAMED_SHARE = 50, 5
COMMON = 0.95  # share of the files whose range the proposed grid lies within


def propose_grid(files: Sequence[FileEntry], *, options: ReadOptions) -> tuple[Grid, str]:
    """A log grid for these files, and how it was found, in words.

    Its range is common to 95 % of a sample of the files, its step the finest native pixel, in km/s.
    """
    lows, highs, steps = [], [], []
    for entry in spread(files, SAMPLE_FILES):
        spectrum = _first_spectrum(entry.path, options)
        if spectrum is None:
            continue
        measured = np.flatnonzero(np.isfinite(spectrum.flux) & (spectrum.flux != 0))
        if measured.size < 2:
            continue
        ends = convert_medium(spectrum.wavelength[measured[[0, -1]]], spectrum.medium, "vacuum")
        lows.append(float(ends[0]))
        highs.append(float(ends[1]))
        # a robust finest pixel: one odd spacing does not set the grid of an archive
        spacing = np.diff(spectrum.wavelength) / spectrum.wavelength[:-1]
        steps.append(float(np.quantile(spacing, 0.01)) * SPEED_OF_LIGHT)
    if not lows:
        raise GridError(
            "no file of the sample could be read, so no grid can be proposed; name one with --grid"
        )
    low, high = _common_range(np.array(lows), np.array(highs))
    if high <= low:
        raise GridError(
            f"the spectra share no range: the {len(lows)} sampled start at {min(lows):.0f}..{max(lows):.0f} "
            f"and end at {min(highs):.0f}..{max(highs):.0f} angstrom; name one with --grid LO:HI:STEPkms, "
            "or ingest each instrument or arm into a study of its own"
        )
    step = float(f"{np.quantile(steps, 1 - COMMON):.3g}")
    grid = log_grid(np.ceil(low * 10) / 10, np.floor(high * 10) / 10, step=step)
    words = (
        f"{grid.wavelength[0]:.1f}..{grid.wavelength[-1]:.1f} angstrom (vacuum) in steps of {step:g} km/s, "
        f"{grid.size:,} pixels: the range common to {COMMON:.0%} of {len(lows)} sampled files, the step "
        "their finest pixel"
    )
    return grid, words


def refuse_foreign_targets(
    files: Sequence[FileEntry], targets: Mapping[str, str], source: str, *, read: ReadOptions
) -> None:
    """Refuse a table of targets that names none of these files and no spectrum of a sample of them.

    Before the work, that is. A table of few rows may name a spectrum outside the sample: not judged here.
    """
    if any(key in targets for entry in files for key in file_keys(entry.path)):
        return
    sample = spread(files, NAMED_FILES)
    if len(sample) < len(files) and len(targets) < len(files) / NAMED_SHARE:
        return
    found: list[str] = []
    for entry in sample:
        try:
            for item, outcome in enumerate(read_file(entry.path, options=read)):
                if isinstance(outcome, Spectrum):
                    if outcome.identifier in targets:
                        return
                    found.append(outcome.identifier)
                if item >= NAMED_FILES and len(sample) < len(files):
                    break
        except (SpectrumError, OSError):
            continue
    if found:
        raise no_match(source, targets, found, then="repeat the command: nothing has been ingested yet")


def _common_range(lows: np.ndarray, highs: np.ndarray) -> tuple[float, float]:
    """The widest range that at least 95 % of the files cover, cut evenly from both ends."""
    for cut in np.linspace(0, 1 - COMMON, 21):
        low = float(np.quantile(lows, 1 - (1 - COMMON) + cut, method="lower"))
        high = float(np.quantile(highs, cut, method="higher"))
        if np.mean((lows <= low) & (highs >= high)) >= COMMON and high > low:
            return low, high
    return float(np.max(lows)), float(np.min(highs))


@dataclass(frozen=True)
class Estimate:
    """What an ingest will take: bytes on disk, seconds with these workers, spectra if none is refused."""

    n_spectra: int
    n_bytes: int
    seconds: float


def estimate(
    files: Sequence[FileEntry], layout: Layout, *, options: PrepareOptions, read: ReadOptions, workers: int
) -> Estimate:
    """Time a few files and scale up."""
    spent, spectra, taken = 0.0, 0, 0
    sample = spread(files, max(2, min(TIMED_FILES, len(files) // TIMED_SHARE)))
    for number, entry in enumerate(sample):
        start = time.perf_counter()
        try:
            for item, outcome in enumerate(read_file(entry.path, options=read)):
                if isinstance(outcome, Spectrum):
                    prepare(outcome, layout.grid, options=options)
                spectra += 1
                if item >= 99:  # a stack of many: its cost per spectrum is known by now
                    break
        except (SpectrumError, OSError):
            spectra += 1
        if number > 0:  # the first pays for imports and for the weights of the grid
            spent += time.perf_counter() - start
            taken += 1
    per_file = max(1.0, spectra / max(1, len(sample)))
    n_spectra = round(per_file * len(files))
    seconds = spent / max(1, taken) * len(files) / max(1, workers)
    return Estimate(n_spectra, n_spectra * layout.row_bytes, seconds)


def _first_spectrum(path: str, options: ReadOptions) -> Spectrum | None:
    try:
        return next(
            (found for found in read_file(path, options=options) if isinstance(found, Spectrum)), None
        )
    except (SpectrumError, OSError):
        return None
