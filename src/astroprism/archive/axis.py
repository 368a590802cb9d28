"""Wavelength axes: units, logarithms, rounding, and what a damaged axis looks like.

Everything here ends in angstrom, strictly increasing, or in a refusal with reason "wavelength".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import BadSpectrum
from .header import Facts, Header
from .observatories import site_of

Wave = NDArray[np.float64]

# Angstrom. Below lies the Lyman limit, above the thermal infrared: no spectrum of a star that is
# resolved into lines is published outside, so a unit that leads there is a wrong unit.
SHORTEST, LONGEST = 900.0, 30_000.0
FARTHEST = 60_000.0  # where the unit is micron: SpeX reaches 5.4
WIDEST = 1_000_000.0  # believed only where the file says its range twice
# Ranges in which bare numbers without a unit can be meant in one way only.
BARE = (
    (2_500.0, LONGEST, 1.0, "angstrom"),
    (250.0, 1_000.0, 10.0, "nm"),
    (0.25, 6.0, 1e4, "micron"),
    (1e-7, 3e-6, 1e10, "m"),
)
UNITS = {
    **dict.fromkeys(("angstrom", "angstroms", "ang", "a", "aa", "0.1nm", "0.1 nm", "å"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 10.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometers", "micrometre"), 1e4),
    **dict.fromkeys(("m", "meter", "metre", "meters", "metres"), 1e10),
    **dict.fromkeys(("cm", "centimeter"), 1e8),
}
WIDEST_GAP = 100  # pixels left out beside the first or last one that are still a gap
DECLARED_TOLERANCE = 1e-3  # of a declared wavelength range: air against vacuum and frames stay below


def bad_axis(message: str) -> BadSpectrum:
    """A refusal for what is wrong with the wavelengths."""
    return BadSpectrum(message, reason="wavelength")


def unit_factor(unit: str) -> float | None:
    """Angstrom in one `unit`; None where the unit is missing or not known."""
    return UNITS.get(unit.strip().strip("[]()").lower().rstrip("."))


class UnitEvidence(NamedTuple):
    """What speaks for a unit where a file names none: the unit, why, and whether the user chose it."""

    unit: str
    why: str
    chosen: bool = False


Evidence = Callable[[], UnitEvidence | None]  # looked for only where it is needed: it costs a tenth of a file


def angstrom_factor(
    first: float,
    last: float,
    *,
    unit: str = "",
    declared: tuple[float, float] | None = None,
    evidence: Evidence | None = None,
) -> tuple[float, tuple[str, ...]]:
    """Factor that turns an axis from `first` to `last` in `unit` into angstrom, and what had to be assumed.

    declared  the range in angstrom that the file states elsewhere
    evidence  finds what speaks for a unit where the file names none

    What the values leave possible counts: a unit that leads where no spectrum lies gives way to the declared
    range, that to what was chosen, that to plausibility, and where that leaves two, evidence decides.
    """
    low, high = min(first, last), max(first, last)
    if not (np.isfinite(low) and np.isfinite(high) and low > 0 and high > low):
        raise bad_axis(f"wavelengths run from {first:g} to {last:g}: no spectrum does, write them anew")
    factor, assumed = unit_factor(unit), tuple[str, ...]()
    if declared is not None and not (0 < declared[0] < declared[1] < WIDEST):
        assumed = (
            f"the wavelength range that the header declares is not used: {declared[0]:g}..{declared[1]:g}",
        )
        declared = None
    if factor is not None and declared is not None and _agrees(low * factor, high * factor, declared):
        return factor, assumed
    if factor is not None and _possible(low, high, factor):
        if declared is not None:
            assumed += (
                f"wavelengths run from {low * factor:.2f} to {high * factor:.2f} angstrom, not as the header "
                f"declares from {declared[0]:.2f} to {declared[1]:.2f}",
            )
        return factor, assumed
    if factor is not None:
        problem = f"in the unit {unit!r} the wavelengths are no spectrum's"
    else:
        problem = (
            f"wavelength unit {unit!r} is not known" if unit.strip() else "no wavelength unit in the file"
        )
    if declared is not None:
        for value, name in ((1.0, "angstrom"), (10.0, "nm"), (1e4, "micron"), (1e10, "m")):
            if _agrees(low * value, high * value, declared):
                return value, (*assumed, f"{problem}; {name} by the range that the header declares")
    speaks = evidence() if evidence is not None else None
    told = unit_factor(speaks.unit) if speaks is not None else None
    decided = speaks is not None and told is not None and _possible(low, high, told)
    if speaks is not None and told is not None and decided and speaks.chosen:
        return told, (*assumed, f"{problem}; taken as {speaks.unit} {speaks.why}")
    for least, most, value, name in BARE:
        if least <= low and high <= most:
            because = f"{problem}; taken as {name} because the values run from {low:g} to {high:g}"
            return value, (*assumed, because)
    left = [(value, name) for name, value in _LENGTHS if _possible(low, high, value)]
    if len(left) == 1 and not unit.strip():  # one unit leads to light that a star is seen in
        value, name = left[0]
        because = f"{problem}; taken as {name}: in no other unit are {low:g} to {high:g} a spectrum's"
        return value, (*assumed, because)
    if speaks is not None and told is not None and decided:
        return told, (*assumed, f"{problem}; taken as {speaks.unit} {speaks.why}")
    either = " or ".join(f"--wave-unit {name}" for _, name in left) or "--wave-unit"
    raise bad_axis(
        f"{problem}, and values from {low:g} to {high:g} do not decide it; write the unit into the file, or "
        f"give {either} for files that do not say"
    )


_LENGTHS = (("angstrom", 1.0), ("nm", 10.0), ("um", 1e4))


def _possible(low: float, high: float, factor: float) -> bool:
    """Whether an axis lies where spectra of stars are in a unit of `factor` angstrom."""
    return SHORTEST <= low * factor <= high * factor <= (FARTHEST if factor == 1e4 else LONGEST)


def _agrees(low: float, high: float, declared: tuple[float, float]) -> bool:
    return (
        abs(low / declared[0] - 1) < DECLARED_TOLERANCE
        and abs(high / declared[1] - 1) < DECLARED_TOLERANCE
        and SHORTEST / 10 < low < high < WIDEST
    )


def header_axis(
    header: Header, size: int, *, evidence: Evidence | None = None
) -> tuple[Wave, tuple[str, ...]]:
    """The axis that CRVAL1, CDELT1 (or CD1_1) and CRPIX1 describe, angstrom, shape (size,); may decrease."""
    warnings: tuple[str, ...] = ()
    if header.number("DC-FLAG") == -1:
        raise bad_axis("DC-FLAG = -1: the axis counts pixels; calibrate the wavelengths (IRAF: dispcor)")
    start, step, reference = header.number("CRVAL1"), _step(header), header.number("CRPIX1")
    if not (np.isfinite(start) and np.isfinite(step) and step != 0):
        raise bad_axis(f"CRVAL1 = {start:g} and CDELT1 (or CD1_1) = {step:g} describe no wavelengths")
    if np.isnan(reference):
        if header.card("CRPIX1") is not None:
            raise bad_axis("CRPIX1 cannot be read; the header is damaged")
        # FITS 4.0 says 0, the files that leave it out mean the first pixel
        reference, warnings = 1.0, ("no CRPIX1; CRVAL1 taken as the first pixel",)
    kind = header.text("CTYPE1").upper()
    first, last = (start + step * (pixel - reference) for pixel in (1, size))
    unit = axis_unit(header)
    base = "linear" if unit_factor(unit) == 1e4 and "LOG" not in kind else ""
    base = base or _logarithm(header, first, last, kind)
    index = np.arange(1, size + 1) - reference
    if base == "wcs":  # FITS WCS paper III (Greisen et al. 2006, A&A 446, 747), sect. 3.2
        wave = _bounded(start, step * index[[0, -1]] / start, np.e)
        factor, assumed = angstrom_factor(wave[0], wave[1], unit=unit, evidence=evidence)
        return np.asarray(start * np.exp(step * index / start) * factor), warnings + assumed
    if base == "linear":
        factor, assumed = angstrom_factor(first, last, unit=unit, evidence=evidence)
        return np.asarray((start + step * index) * factor), warnings + assumed
    number = 10.0 if base == "log10" else np.e
    ends = _bounded(1.0, np.array([first, last]), number)
    factor, assumed = angstrom_factor(ends[0], ends[1], unit=unit, evidence=evidence)
    if base not in kind.lower() and header.number("DC-FLAG") != 1 and "LOG" not in kind:
        assumed += (f"no word about a logarithm in the header; taken as {base} because CRVAL1 is {start:g}",)
    return np.asarray(number ** (start + step * index) * factor), warnings + assumed


def _bounded(scale: float, exponents: NDArray[Any], base: float) -> Wave:
    """scale * base ** exponents, refused before it overflows."""
    if not np.all(np.abs(exponents * np.log(base)) < 50):
        raise bad_axis(f"logarithmic wavelengths reach {np.max(np.abs(exponents)):g}")
    return np.asarray(scale * base**exponents, dtype=np.float64)


def _step(header: Header) -> float:
    by_delta, by_matrix = header.number("CDELT1"), header.number("CD1_1")
    if np.isnan(by_delta) or (by_delta == 1.0 and np.isfinite(by_matrix)):
        return by_matrix
    if np.isfinite(by_matrix) and abs(by_matrix / by_delta - 1) > 1e-6 and by_matrix != 1.0:
        raise bad_axis(f"CDELT1 = {by_delta:g} and CD1_1 = {by_matrix:g} contradict each other")
    return by_delta


def _logarithm(header: Header, first: float, last: float, kind: str) -> str:
    """'linear', 'log10', 'ln' or 'wcs' (the logarithm of FITS WCS paper III)."""
    low, high = min(first, last), max(first, last)
    if "-LOG" in kind and low > 20:
        return "wcs"
    flag = header.number("DC-FLAG")
    ranges = (("log10", np.log10(SHORTEST), np.log10(LONGEST)), ("ln", np.log(SHORTEST), np.log(LONGEST)))
    for name, least, most in ranges:
        # micron axes of 2.9..4.5 would look the same, but they are not sampled in steps below 1e-3
        if least <= low and high <= most and (flag == 1 or "LOG" in kind or (high - low) < 1.5):
            return name
    if flag == 1 or ("LOG" in kind and "LINEAR" not in kind):
        for name, least, most in (
            ("log10", -7.0, 6.0),
            ("ln", -16.2, 14.0),
        ):  # other units, metre to angstrom
            if least <= low and high <= most:
                return name
        raise bad_axis(f"the header says logarithmic wavelengths, and they run from {first:g} to {last:g}")
    return "linear"


def axis_unit(header: Header) -> str:
    """The unit of the wavelengths by the header, '' where it names none."""
    for key in ("CUNIT1", "XUNITS", "XUNIT", "WAVEUNIT", "WAVUNIT", "DISPUNIT"):
        if text := header.text(key):
            return text
    _, found, rest = header.text("WAT1_001").partition("units=")
    if found and rest.strip():
        return rest.split()[0]
    return "angstrom" if header.text("CTYPE1").upper().startswith("ANGSTROM") else ""


# Names of telescopes and spectrographs in space that see the ultraviolet.
IN_SPACE = re.compile(r"\b(IUE|HST|HUBBLE|FUSE|GHRS|STIS|COS|FOS|COPERNICUS|HUT|GALEX|ASTROSAT)\b")
FLUX_UNITS = ("BUNIT", "YUNITS", "YUNIT", "FLUXUNIT")
_PER = re.compile(
    r"(?:/|per )\s*(a|aa|ang\w*|nm|um|micron)\b|(?<![a-z])(a|aa|ang\w*|nm|um|micron)\s*(?:\^|\*\*)?-1"
)


def unit_evidence(headers: Sequence[Facts], *, chosen: str | None = None) -> UnitEvidence | None:
    """What the headers say of a unit that they do not name; `chosen` is what the user said, and counts first.

    Ozone lets no light below 2,900 angstrom through to the ground: numbers from 1,000 to 2,500 that were
    measured there are nanometres.
    """
    if chosen is not None:
        return UnitEvidence(chosen, "as --wave-unit says", chosen=True)
    names = [(key, header.text(key)) for header in headers for key in ("TELESCOP", "INSTRUME", "OBSERVAT")]
    if space := next((pair for pair in names if IN_SPACE.search(pair[1].upper())), None):
        return UnitEvidence("angstrom", f"because {space[0]} is {space[1]}, which is in space")
    if any(header.number("AIRMASS") >= 1 for header in headers) or site_of(headers) is not None:
        return UnitEvidence(
            "nm", "because the telescope is on the ground, which no such light in angstrom reaches"
        )
    for header in headers:
        for key in FLUX_UNITS:
            if per := _PER.search(header.text(key).lower()):
                word = per.group(1) or per.group(2)
                name = {1.0: "angstrom", 10.0: "nm", 1e4: "um"}.get(unit_factor(word) or 0.0)
                if name is not None:
                    return UnitEvidence(name, f"because {key} counts flux per {word}")
    return None


def regular(values: NDArray[np.floating], *, ulps: float = 1.0) -> Wave | None:
    """The uniform grid that `values` are a rounded copy of (to float32 or a few ulps of it), else None.

    Log wavelengths stored as float32 are off by up to 0.08 km/s from pixel to pixel: as large as a
    step of a fine grid, and avoidable where the grid they were rounded from is plain to see.
    """
    exact = np.asarray(values, dtype=np.float64)
    size = exact.size
    if size < 16 or not np.isfinite(exact[[0, -1]]).all():
        return None
    tolerance = ulps * float(np.spacing(np.float32(np.max(np.abs(exact[[0, -1]])))))
    step = (exact[-1] - exact[0]) / (size - 1)
    index = np.arange(size)
    offset = exact - (exact[0] + step * index)
    if not np.max(np.abs(offset)) <= 3 * tolerance:  # also where NaN
        return None
    slope, intercept = np.polyfit(index, offset, 1)
    start, step = exact[0] + intercept, step + slope
    for digits in (6, 7, 8, 9):  # grids are laid out in round numbers; take them where they fit as well
        round_step = round(step, digits)
        for round_start in (round(start, 4), round(start, 6), exact[0], start):
            grid = round_start + round_step * index
            if round_step > 0 and np.max(np.abs(exact - grid)) <= tolerance:
                return np.asarray(grid)
    grid = start + step * index
    return grid if step > 0 and np.max(np.abs(exact - grid)) <= tolerance else None


def log_axis(header: Header, values: NDArray[np.floating] | None, size: int) -> tuple[Wave, tuple[str, ...]]:
    """The log10 axis of LAMOST and SDSS, angstrom, from a column and the keywords that repeat it.

    `values` are log10 of the column (None where there is none); COEFF0/COEFF1 and CRVAL1/CD1_1 give
    it again. What they agree on counts. A column that is uniform in itself, in log10 or in angstrom, is used
    with a warning where no pair agrees; one that is not, and that all contradict, is refused.
    """
    pairs = {
        "COEFF0/COEFF1": (header.number("COEFF0"), header.number("COEFF1")),
        "CRVAL1/CD1_1": (header.number("CRVAL1"), header.number("CD1_1", "CDELT1")),
    }
    index = np.arange(size)
    grids = {
        name: np.asarray(start + step * index)
        for name, (start, step) in pairs.items()
        if np.log10(SHORTEST) < start < np.log10(LONGEST) and 0 < step * size < 2
    }
    spoilt = [name for name, pair in pairs.items() if name not in grids and not np.isnan(pair).all()]
    if values is None:
        if not grids or (len(grids) == 2 and not _same(*grids.values())):
            raise bad_axis(
                f"no column of wavelengths, and the keywords {pairs} do not agree on one axis; correct them"
            )
        unusable = tuple(f"{name} cannot be used" for name in spoilt)
        return np.asarray(10.0 ** next(iter(grids.values()))), (
            "wavelengths from the header; the file has no column of them",
            *unusable,
        )
    exact: Wave = np.asarray(values, dtype=np.float64)
    agreeing = [name for name, grid in grids.items() if _same(grid, exact)]
    differing = sorted(set(grids) - set(agreeing)) + spoilt
    if agreeing:
        assumed = (
            (f"{differing[0]} contradicts the wavelength column, {agreeing[0]} agrees",) if differing else ()
        )
        return np.asarray(10.0 ** grids[agreeing[0]]), assumed
    near = [name for name, grid in grids.items() if _near(grid, exact, step=pairs[name][1])]
    if near and (grid := regular(exact)) is not None:
        shift = np.max(np.abs(grids[near[0]] - exact)) / pairs[near[0]][1]
        return np.asarray(10.0**grid), (
            f"the wavelength column is used, from which {near[0]} differs by {shift:.2f} pixel",
        )
    if differing:
        says = (
            f"the wavelength column runs from {_tenth(exact[0]):.2f} to {_tenth(exact[-1]):.2f} angstrom, "
            f"{differing[0]} = {pairs[differing[0]][0]:g}, {pairs[differing[0]][1]:g} says otherwise"
        )
        if (grid := regular(exact)) is not None:
            return np.asarray(10.0**grid), (f"{says}: the column is used",)
        if (linear := regular(10.0 ** np.clip(exact, 0, 7), ulps=2.0)) is not None:
            return linear, (f"{says}: the column is used",)
        raise bad_axis(
            f"{says}, and the column is not uniform; remove the keywords where the column is right"
        )
    grid = regular(exact)
    return np.asarray(10.0 ** (np.clip(exact, 0, 7) if grid is None else grid)), ()


def _tenth(exponent: float) -> float:
    return float(10.0 ** min(max(exponent, -9.0), 9.0))


def _same(one: Wave, other: Wave) -> bool:
    """Equal within the rounding of float32 values near 4, twice over (0.3 km/s)."""
    return bool(np.max(np.abs(one - other)) < 4.8e-7)


def _near(one: Wave, other: Wave, *, step: float) -> bool:
    """Equal within a tenth of a pixel: plates of LAMOST DR10 round where the column begins, by .017 pixel."""
    return bool(np.max(np.abs(one - other)) < 0.1 * step)


def require_smooth(wave: Wave) -> None:
    """Refuse an axis that does not increase, or on which single pixels are displaced.

    A gap or a change of step between two arms is what instruments do; one pixel that sits off its
    place while its neighbours are regular, or lies alone before or behind a gap, is what a flipped
    byte does.
    """
    if wave.size < 2:
        return
    piece = 1 << 15  # the steps of a piece stay in the cache; few spectra need them all
    extremes = [_extremes(np.diff(wave[at : at + piece + 1])) for at in range(0, wave.size - 1, piece)]
    least, most = np.min(extremes), np.max(extremes)  # NaN where any is
    if 0 < least <= most < 1.02 * least:
        return
    steps = np.diff(wave)
    bad = ~(steps > 0)  # also NaN
    if bad.any():
        at = int(bad.argmax())
        raise bad_axis(
            f"wavelengths do not increase: {wave[at]:.6g}, then {wave[at + 1]:.6g}, at pixel {at + 1} "
            f"({int(bad.sum()):,} such pixels); sort the file or fetch it again"
        )
    if wave.size < 8:
        return
    change = np.abs(steps[1:] / steps[:-1] - 1)
    usual = float(np.quantile(change[:: 1 + change.size // 4096], 0.9))
    limit = max(0.02, 8 * usual)
    outer = max(change[0], change[-1], abs(steps[0] / steps[1] - 1), abs(steps[-1] / steps[-2] - 1))
    inner = max(steps[1] / steps[2], steps[-2] / steps[-3])  # two pixels beyond a gap
    gap = usual < 0.01 and _whole_steps(
        steps[[0, 1, -2, -1]], float(np.median(steps))
    )  # pixels left out there
    apart = outer > max(9.0, limit) or inner > max(10.0, limit) or (usual < 0.01 and outer > max(0.1, limit))
    if apart and not gap:
        raise bad_axis(
            f"the wavelengths of the first or last pixels ({wave[0]:.6g}, {wave[-1]:.6g}) stand apart "
            "from the others; the file is damaged"
        )
    for at in np.flatnonzero(change > limit)[:1000]:
        if not 0 < at < steps.size - 2:
            continue
        before, left, right, after = steps[at - 1], steps[at], steps[at + 1], steps[at + 2]
        even = abs((left + right) / (before + after) - 1) < limit / 2 and abs(before / after - 1) < limit
        if even and abs(left - right) > limit * (left + right) / 2:
            raise bad_axis(
                f"the wavelength of pixel {at + 1}, {wave[at + 1]:.6f}, stands out of line; "
                "the file is damaged"
            )


def _whole_steps(steps: Wave, step: float) -> bool:
    """Whether steps are whole multiples of the usual one, to a hundredth: gaps of left-out pixels."""
    times = steps / step
    whole = np.maximum(np.round(times), 1)
    return bool(np.all((np.abs(times - whole) < 0.01) & (whole <= WIDEST_GAP)))


def unrounded(wave: Wave) -> Wave | None:
    """The uniform grid, linear or in the logarithm, that wavelengths of equal neighbours are rounded from.

    None where none is within the rounding; text with too few digits repeats every second wavelength.
    """
    steps = np.diff(wave)
    if wave.size < 16 or not np.all(steps >= 0) or not np.any(steps > 0):
        return None
    digit = float(np.min(steps[steps > 0]))
    index = np.arange(wave.size)
    for values, back in ((wave, lambda grid: grid), (np.log(wave), np.exp)):
        slope, start = np.polyfit(index, values, 1)
        grid: Wave = np.asarray(back(start + slope * index))
        if slope > 0 and np.max(np.abs(grid - wave)) <= 0.75 * digit:
            return grid
    return None


def _extremes(values: Wave) -> tuple[float, float]:
    return float(values.min()), float(values.max())
