"""What the rows of an image are, wavelengths, flux or errors: by words in the header, else by themselves."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .axis import Wave
from .header import Header
from .pixels import sigma_of

MOST_ROWS = 6  # of one spectrum: wavelength, flux, error, mask ...
FEWEST_PIXELS = 16
WORDS = ("BANDID", "ARRAY", "ROW", "ROWID", "PLANE")  # with the number of a row: what it is, in words
# What a row is by such words, read from above: IRAF's apall writes 'spectrum - background fit, weights
# variance' and 'sigma - background fit'.
ROLES = (
    ("ivar", r"ivar|inv\w*[ _-]*var"),
    ("snr", r"snr\b|s ?/ ?n\b|signal.to.noise"),
    ("sigma", r"(flux|spectrum)?[ _-]*(sigma|err|uncert|noise|std)"),
    ("variance", r"(flux)?[ _-]*var"),
    ("wave", r"wave|lambda"),
    ("flux", r"spectrum|flux|intensity"),
)
WIDEST = 20.0  # last over first wavelength of a spectrum
# Errors lie between these multiples of the scatter of their flux; the structure of spectra of low resolution
# counts as scatter, so the lower is generous.
LEAST_ERROR, MOST_ERROR = 1 / 30, 6.0
SMALLER = 0.5  # of the flux, that its errors are at most


class Rows(NamedTuple):
    """The arrays of one spectrum, (n,) each; `wave` is None where the header has the wavelengths."""

    wave: NDArray[Any] | None
    flux: NDArray[Any]
    sigma: NDArray[Any] | None
    remarks: tuple[str, ...] = ()


def role_of(words: str) -> str:
    """What a row is that is called so; '' where the words do not say."""
    text = words.strip().lower()
    return next((role for role, pattern in ROLES if re.match(pattern, text)), "")


def rows_of(image: NDArray[Any], header: Header, axis: Wave | None) -> list[Rows] | None:
    """One spectrum per layer of an image (rows, n) or (layers, rows, n); None where nothing tells its rows.

    axis  the wavelengths by the header, angstrom, (n,); None where it has none
    """
    if image.ndim not in (2, 3) or image.shape[-1] < FEWEST_PIXELS:
        return None
    if (named := _named(image, header)) is not None and (named.wave is not None or axis is not None):
        return [named]
    if not 2 <= image.shape[-2] <= MOST_ROWS:
        return None
    found = []
    for layer in image.reshape(-1, *image.shape[-2:]):
        rows = _told(layer, axis)
        if rows is None:
            return None
        found.append(rows)
    return found


def _named(image: NDArray[Any], header: Header) -> Rows | None:
    rows = image.reshape(-1, image.shape[-1])
    if not 1 < len(rows) <= MOST_ROWS:
        return None
    roles: dict[str, NDArray[Any]] = {}
    for at, row in enumerate(rows, 1):
        words = next((text for key in WORDS if (text := header.text(f"{key}{at}"))), "")
        if role := role_of(words):
            roles.setdefault(role, row)
    if "flux" not in roles:
        return None
    sigma = roles.get("sigma")
    if sigma is None and "ivar" in roles:
        sigma = sigma_of(roles["ivar"])
    if sigma is None and "variance" in roles:
        sigma = np.sqrt(np.maximum(roles["variance"], 0))
    if sigma is None and "snr" in roles:
        ratio = roles["snr"]
        sigma = np.divide(np.abs(roles["flux"]), ratio, out=np.zeros(ratio.shape), where=ratio > 0)
    return _inside(Rows(roles.get("wave"), roles["flux"], sigma))


def _told(layer: NDArray[Any], axis: Wave | None) -> Rows | None:
    """By what is in them.

    A row of positive numbers that runs one way all along is the wavelengths: no row with noise in it does. Of
    two rows on the axis of the header, the one that is positive, smaller, and as large as the scatter of the
    other is its errors.
    """
    used = [row for row in layer if np.any(np.isfinite(row) & (row != 0))]
    if len(used) < 2:
        return None
    at = next((number for number, row in enumerate(used) if _is_wavelength(row)), None)
    if at is not None and not (axis is not None and any(is_error_of(used[at], row) for row in used)):
        others = [row for number, row in enumerate(used) if number != at]
        if _is_wavelength(others[0]):
            return None
        flux, sigma = others[0], others[1] if len(others) > 1 else None
        remarks: tuple[str, ...] = ("rows taken as wavelength, flux and error by what is in them",)
        if sigma is not None and is_error_of(flux, sigma) and not is_error_of(sigma, flux):
            flux, sigma = sigma, flux
            remarks = ("rows taken as wavelength, error and flux by what is in them",)
        return _inside(Rows(used[at], flux, sigma, remarks))
    if axis is None or len(used) != 2:
        return None
    for flux, sigma in (used, used[::-1]):
        if is_error_of(sigma, flux):
            return Rows(None, flux, sigma, ("rows taken as flux and error by what is in them",))
    return None


def _inside(rows: Rows) -> Rows:
    """Without pixels that have no wavelength; without errors where none is positive."""
    wave, flux, sigma, _ = rows
    if wave is not None:
        inside = np.isfinite(wave) & (wave > 0)
        wave, flux = wave[inside].astype(np.float64), flux[inside]
        sigma = None if sigma is None else sigma[inside]
    return rows._replace(
        wave=wave, flux=flux, sigma=sigma if sigma is not None and np.any(sigma > 0) else None
    )


def _is_wavelength(row: NDArray[Any]) -> bool:
    """Whether the positive numbers of a row, most of it, run one way, as wavelengths can."""
    values = row[np.isfinite(row) & (row > 0)].astype(np.float64)
    steps = np.diff(values)
    one_way = values.size > row.size / 2 and bool(np.all(steps > 0) or np.all(steps < 0))
    return one_way and values.max() < WIDEST * values.min()


def is_error_of(errors: NDArray[Any], flux: NDArray[Any]) -> bool:
    """Whether a row can be the errors of another, both (n,): positive, smaller, as large as its scatter."""
    if errors is flux:
        return False
    both = np.isfinite(errors) & np.isfinite(flux) & (flux != 0)
    e, f = errors[both].astype(np.float64), flux[both].astype(np.float64)
    if e.size < FEWEST_PIXELS or np.mean(e > 0) < 0.9 or np.any(e < 0):
        return False
    if not np.any((e != e.max()) & (e != e.min())):
        return False  # a mask, or weights of one
    typical, scatter = float(np.median(e)), _scatter(f)
    return (
        typical < SMALLER * float(np.median(np.abs(f)))
        and LEAST_ERROR * scatter < typical < MOST_ERROR * scatter
        and _scatter(e) < scatter
    )


def _scatter(values: Wave) -> float:
    """Noise by the curvature over every second pixel (Stoehr et al. 2008, ADASS XVII, 394)."""
    return float(1.4826 / np.sqrt(6) * np.median(np.abs(2 * values[2:-2] - values[:-4] - values[4:])))
