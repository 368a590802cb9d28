"""IRAF's multispec and equispec images: a dispersion function for every row, linear or not.

Format and functions: F. Valdes, "The IRAF/NOAO Spectral World Coordinate Systems" (help page
noao.onedspec.specwcs, March 1993). Where the page leaves a choice (weights that do not sum to one, the
Doppler factor of a logarithmic axis, pixels beyond the ends), it is made as in IRAF's own driver
(sys/mwcs/wfmspec.x).
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import BadSpectrum
from .axis import Wave, bad_axis
from .header import Header
from .rows import Rows, role_of

CARD_TEXT = 68  # characters of a string card; IRAF cuts the attributes so, blanks at the end counting
LINEAR, LOG, NONLINEAR = 0, 1, 2
CHEBYSHEV, LEGENDRE, CUBIC_SPLINE, LINEAR_SPLINE, PIXEL_ARRAY, SAMPLED_ARRAY = range(1, 7)
FIXED = 9  # fields before the functions: ap beam dtype w1 dw nw z aplow aphigh
SHARED = 0.5  # of the shortest range that all rows must cover to be stars beside each other, not orders
_SPEC = re.compile(r'spec(\d+)\s*=\s*"([^"]*)"')


class Aperture(NamedTuple):
    """One row: its spectrum, and the name that APIDn gives it ('' where it has none)."""

    rows: Rows
    name: str
    number: int


def is_multispec(header: Header) -> bool:
    """Whether each row has a dispersion function of its own."""
    return header.text("CTYPE1").upper().startswith("MULTISPE") or _system(header) == "multispec"


def is_equispec(header: Header) -> bool:
    """Whether the rows are spectra of their own on one axis."""
    return _system(header) == "equispec"


def apertures(image: NDArray[Any], header: Header, *, row: int | None = None) -> list[Aperture]:
    """The spectra of an image of shape (n,), (rows, n) or (bands, rows, n); `row` chooses one of them.

    Refused are several orders of one star: a spectrum is one piece here.
    """
    bands = image.reshape((1,) * (3 - image.ndim) + image.shape) if image.ndim < 4 else image[:0]
    if not bands.size:
        raise BadSpectrum(
            f"an image of shape {image.shape} is no row of spectra; write one spectrum per file",
            reason="ambiguous",
        )
    flux, errors = _bands(header, len(bands))
    specs = {int(line): text for line, text in _SPEC.findall(_attributes(header, 2))}
    if is_multispec(header) and not specs:
        raise bad_axis(
            "a multispec image without its attributes (WAT2_001 ...); linearise it (IRAF: dispcor)"
        )
    found = []
    for at in range(bands.shape[1]):
        if row is not None and at != row:
            continue
        sigma = None if errors is None else bands[errors, at]
        line = _line(header, at, one=bands.shape[1] == 1)
        wave: Wave | None
        remarks: tuple[str, ...]
        if not specs:
            wave, part, remarks = None, slice(None), ()
        elif line not in specs:
            raise bad_axis(
                f"row {at} of the image is line {line} of the multispec, and the header has no spec{line}; "
                "write it anew (IRAF: scopy)"
            )
        else:
            wave, part, remarks = _wavelengths(specs[line], header, bands.shape[2])
        values = bands[flux, at, part]
        if values.size < 2 or not np.any(np.isfinite(values) & (values != 0)):
            continue  # no aperture there
        number = int(float(specs[line].split()[0])) if specs else at + 1
        rows = Rows(wave, values, None if sigma is None else sigma[part], remarks)
        found.append(Aperture(rows, header.text(f"APID{at + 1}"), number))
    if not found:
        raise BadSpectrum(f"no spectrum in {bands.shape[1]} rows of an image", reason="empty")
    _refuse_orders([one.rows.wave for one in found])
    return found


def _refuse_orders(waves: list[Wave | None]) -> None:
    ranges = [(wave.min(), wave.max()) for wave in waves if wave is not None]
    if len(ranges) < 2:
        return
    low, high = max(least for least, _ in ranges), min(most for _, most in ranges)
    if high - low < SHARED * min(most - least for least, most in ranges):
        raise BadSpectrum(
            f"{len(ranges)} orders, {min(ranges)[0]:.6g} to {max(most for _, most in ranges):.6g}, and a "
            "spectrum is one piece here: merge them (IRAF: scombine group=all), or write the order that is "
            "wanted to a file of its own (IRAF: scopy format=onedspec)",
            reason="ambiguous",
        )


def _bands(header: Header, count: int) -> tuple[int, int | None]:
    """Which band is the spectrum, and which its errors (of apall: spectrum, raw, background, sigma)."""
    roles = [role_of(header.text(f"BANDID{at}")) for at in range(1, count + 1)]
    flux = roles.index("flux") if "flux" in roles else 0
    return flux, roles.index("sigma") if "sigma" in roles else None


def _system(header: Header) -> str:
    _, found, rest = header.text("WAT0_001").lower().partition("system=")
    return rest.split()[0] if found and rest.strip() else ""


def _attributes(header: Header, axis: int) -> str:
    """The text that the cards WATi_001, WATi_002 ... hold together.

    Writers strip the blanks at the end of a card, which may stand between two numbers: they are put back.
    """
    parts = []
    for number in range(1, 1000):
        card = header.card(f"WAT{axis}_{number:03d}")
        match = re.match(rb"\s*'((?:[^']|'')*)'", card) if card is not None else None
        if match is None:
            break
        parts.append(match.group(1).decode("latin-1").replace("''", "'").ljust(CARD_TEXT))
    return "".join(parts)


def _line(header: Header, at: int, *, one: bool) -> int:
    """The physical line of row `at`; of a 1-D image the one that WAXMAP01 keeps ('1 0 0 LINE-1')."""
    fields = header.text("WAXMAP01").split()
    if one and len(fields) >= 4 and fields[2] == "0" and fields[3].isdecimal():
        return int(fields[3]) + 1
    offset, scale = _logical(header, 2)
    return round((at + 1 - offset) / scale)


def _logical(header: Header, axis: int) -> tuple[float, float]:
    """LTVi and LTMi_i: logical = LTMi_i physical + LTVi."""
    offset, scale = header.number(f"LTV{axis}"), header.number(f"LTM{axis}_{axis}")
    return (offset if np.isfinite(offset) else 0.0), (scale if np.isfinite(scale) and scale else 1.0)


def _wavelengths(text: str, header: Header, size: int) -> tuple[Wave, slice, tuple[str, ...]]:
    """World coordinates of the valid pixels of a row, in the unit of WAT1; which they are; what to know."""
    try:
        fields = [float(word.upper().replace("D", "E").replace("INDEF", "nan")) for word in text.split()]
    except ValueError:
        raise bad_axis(f"the attribute {text[:40]!r}.. holds what is no number; write it anew") from None
    if len(fields) < FIXED:
        raise bad_axis(f"the attribute {text!r} has {len(fields)} of {FIXED} numbers; write it anew")
    kind, first, step, valid, doppler = fields[2:7]
    if kind not in (LINEAR, LOG, NONLINEAR):
        raise bad_axis("the spectrum has no wavelengths: its dispersion type says so; calibrate it first")
    offset, scale = _logical(header, 1)
    pixels = (np.arange(1, size + 1) - offset) / scale
    inside = np.flatnonzero((pixels > 0) & (pixels < valid + 1))
    part = slice(inside[0], inside[-1] + 1) if inside.size else slice(0, 0)
    pixels = np.clip(pixels[part], 0.5, valid + 0.5)
    if kind == NONLINEAR:
        wave = _nonlinear(fields[FIXED:], pixels)
    else:
        wave = first + step * (pixels - 1)
        if kind == LOG:
            if not np.all(np.abs(wave) < 20):
                raise bad_axis(f"logarithmic wavelengths reach {np.max(np.abs(wave)):g}; correct the header")
            wave = 10.0**wave
    z = doppler if np.isfinite(doppler) else 0.0
    remarks = (f"the header's Doppler factor z = {z:g} is applied to the wavelengths",) if z else ()
    return wave / (1 + z), part, remarks


def _nonlinear(fields: list[float], pixels: Wave) -> Wave:
    """The weighted mean of the dispersion functions of a row, at physical pixels."""
    total, weights = np.zeros(pixels.size), 0.0
    while fields:
        try:
            weight, zero, kind, *rest = fields
            value, fields = _function(int(kind), rest, pixels)
        except (ValueError, IndexError, ZeroDivisionError):  # numbers that do not fit each other
            raise bad_axis(
                "a dispersion function of the header is incomplete; linearise the spectrum (IRAF: dispcor)"
            ) from None
        total += weight * (zero + value)
        weights += weight
    if not weights:
        raise bad_axis(
            "a nonlinear axis without a dispersion function; linearise the spectrum (IRAF: dispcor)"
        )
    return total / weights


def _function(kind: int, fields: list[float], pixels: Wave) -> tuple[Wave, list[float]]:
    """One dispersion function at physical pixels, and the fields that follow it."""
    count = int(fields[0])
    if kind in (CHEBYSHEV, LEGENDRE):
        low, high, *rest = fields[1:]
        basis = np.polynomial.chebyshev.chebval if kind == CHEBYSHEV else np.polynomial.legendre.legval
        n = (pixels - (high + low) / 2) / ((high - low) / 2)
        return np.asarray(basis(n, _taken(rest, count)), dtype=np.float64), rest[count:]
    if kind in (LINEAR_SPLINE, CUBIC_SPLINE):
        low, high, *rest = fields[1:]
        held = count + (1 if kind == LINEAR_SPLINE else 3)
        values = np.array(_taken(rest, held))
        s = (pixels - low) / (high - low) * count
        piece = np.clip(s.astype(int), 0, count - 1)
        b = s - piece
        a = 1 - b
        if kind == LINEAR_SPLINE:
            return a * values[piece] + b * values[piece + 1], rest[held:]
        parts = (a**3, 1 + 3 * a * (1 + a * b), 1 + 3 * b * (1 + a * b), b**3)
        return np.sum([x * values[piece + i] for i, x in enumerate(parts)], axis=0), rest[held:]
    if kind == PIXEL_ARRAY:
        values = np.array(_taken(fields[1:], count))
        return _interpolated(pixels, np.arange(1.0, count + 1), values), fields[1 + count :]
    if kind == SAMPLED_ARRAY:
        pairs = np.array(_taken(fields[2:], 2 * count)).reshape(count, 2)
        return _interpolated(pixels, pairs[:, 0], pairs[:, 1]), fields[2 + 2 * count :]
    raise ValueError(f"function {kind}")


def _interpolated(pixels: Wave, places: Wave, values: Wave) -> Wave:
    """Linear between the places, and on beyond them by the outermost two."""
    at = np.clip(np.searchsorted(places, pixels, side="right") - 1, 0, places.size - 2)
    x = (pixels - places[at]) / (places[at + 1] - places[at])
    return np.asarray((1 - x) * values[at] + x * values[at + 1])


def _taken(fields: list[float], count: int) -> list[float]:
    if count < 1 or len(fields) < count:
        raise ValueError(f"{len(fields)} of {count} coefficients")
    return fields[:count]
