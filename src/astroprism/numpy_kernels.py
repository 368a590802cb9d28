"""The functions of `_kernels.c` in numpy, for installations without a C compiler.

Same arguments, same results to the last bit; only `spacing` of ratios may differ in its last digits. They are
also what the C code is tested against and measured against (docs/design/kernels.md).
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Buffer = NDArray[Any] | memoryview

_CARD = 80  # bytes of a line of a FITS header
_DIGITS = frozenset("0123456789+-.eE")


def read_swapped(fd: int, offset: int, out: Buffer, width: int, /) -> tuple[int, int]:
    """Read big-endian values of `width` bytes as native ones.

    Returns the bytes read and the sum of the 32-bit words as the file has them.
    """
    raw = _view(out, np.uint8)
    if width not in (4, 8) or raw.size % width:
        raise ValueError("width must be 4 or 8 and divide the buffer")
    done = 0
    while done < raw.size:
        got = os.preadv(fd, [raw[done:].data], offset + done)
        if got == 0:
            break
        done += got
    whole = raw[: done // width * width]
    whole.view(f"u{width}").byteswap(inplace=True)
    return done, int(whole.view(np.uint32).sum(dtype=np.uint64))


def spacing(wavelength: Buffer, relative: bool, /) -> tuple[float, float]:
    """Least and largest step of float64 `wavelength`, relative: over the wavelength; NaN where any is."""
    wave = _view(wavelength, np.float64)
    if wave.size < 2:
        return np.nan, np.nan
    with np.errstate(all="ignore"):
        steps = np.diff(wave)
        if relative:
            steps /= wave[:-1]
        if np.isnan(steps.sum()):
            return np.nan, np.nan
    return float(steps.min()), float(steps.max())


def survey(
    flux: Buffer,
    sigma: Buffer | None,
    good: Buffer,
    gaps: bool,
    tiny: float,
    limit: float,
    least: float,
    most: float,
    /,
) -> tuple[int, int, int, int, int]:
    """Clear `good` where a pixel is no measurement, and count.

    A pixel is none where its flux is not finite, is exactly zero (where `gaps`), lies beyond `limit` or
    between 0 and `tiny` in magnitude, or where its sigma is not between `least` and `most`.

    Returns how many pixels were good before sigma and limits counted, how many of those are impossible, how
    many are good in the end, how many have a flux or sigma beyond `limit` or NaN, and how many are zeros.
    """
    kept = _view(good, np.bool_)
    values = _sized(flux, np.float32, kept.size, "flux")
    tiny, limit, least, most = _floats(tiny, limit, least, most)
    with np.errstate(all="ignore"):
        size = np.abs(values)
        zero = size == 0
        beyond = ~(size <= limit)
        vanishing = (size < tiny) & ~zero
        met = kept & (size <= np.finfo(np.float32).max)
        if gaps:
            met &= ~zero
        wild = int(np.count_nonzero(beyond))
        kept[:] = met & ~beyond & ~vanishing
        if sigma is not None:
            errors = _sized(sigma, np.float32, kept.size, "sigma")
            wild += int(np.count_nonzero(~(np.abs(errors) <= limit)))
            kept &= (errors > least) & (errors < most)
    counts = met, met & (beyond | vanishing), kept
    measured, impossible, left = (int(np.count_nonzero(where)) for where in counts)
    return measured, impossible, left, wild, int(np.count_nonzero(zero))


def rim(flux: Buffer, good: Buffer, /) -> int:
    """Clear `good` one pixel beyond each run of two or more exact zeros; returns the number of pixels."""
    kept = _view(good, np.bool_)
    zero = _sized(flux, np.float32, kept.size, "flux") == 0
    pairs = np.flatnonzero(zero[:-1] & zero[1:])
    kept[pairs[pairs > 0] - 1] = False
    kept[pairs[pairs + 2 < kept.size] + 2] = False
    return int(kept.size)


def spikes(flux: Buffer, sigma: Buffer, good: Buffer, scatter: float, factor: float, flat: float, /) -> int:
    """Clear `good` at single-pixel spikes and return how many there were.

    A spike stands out of both neighbours, to one side, by more than `factor` times the noise (sigma, or
    `scatter` where that is more), while the pixels beside it differ by less than `flat` times its height and
    two noises.
    """
    kept = _view(good, np.bool_)
    f = _sized(flux, np.float32, kept.size, "flux")
    s = _sized(sigma, np.float32, kept.size, "sigma")
    if kept.size < 5:
        return 0
    scatter, factor, flat = _floats(scatter, factor, flat)
    with np.errstate(all="ignore"):
        left, right = f[2:-2] - f[1:-3], f[2:-2] - f[3:-1]
        height = np.where(np.abs(left) < np.abs(right), np.abs(left), np.abs(right))
        high = (height > factor * scatter) & (height > factor * s[2:-2]) & ((left > 0) == (right > 0))
        at = np.flatnonzero(high & kept[2:-2]) + 2
        ground = flat * height[at - 2] + np.float32(2) * np.where(s[at] > scatter, s[at], scatter)
        level = np.abs(f[at - 1] - f[at - 2]) < ground
        level &= np.abs(f[at + 1] - f[at + 2]) < ground
        level &= np.abs(f[at - 1] - f[at + 1]) < ground
    kept[at[level]] = False
    return int(np.count_nonzero(level))


def scaled(out: Buffer, values: Buffer, good: Buffer | None, by: float, /) -> None:
    """Write float32 values / by to `out`, 0 where not good."""
    into = _view(out, np.float32)
    given = _sized(values, np.float32, into.size, "values")
    with np.errstate(all="ignore"):
        np.divide(given, np.float32(by), out=into)
    if good is not None:
        into[~_sized(good, np.bool_, into.size, "good")] = 0


def cards(raw: bytes, /) -> list[tuple[str, str, float]]:
    """(name, text behind '=', its number) of the cards of a FITS header that have one, the last first.

    The number is NaN where the text is no plain decimal number.
    """
    found = []
    for at in range(len(raw) - _CARD, -1, -_CARD):
        name, equals, value = raw[at : at + _CARD].decode("latin-1").partition("=")
        if equals and (len(name) == 8 or name.startswith("HIERARCH ")):
            found.append((name.rstrip(" "), value, _plain_number(value)))
    return found


def _plain_number(value: str) -> float:
    digits = value.partition("/")[0].strip(" ")
    try:
        return float(digits) if _DIGITS.issuperset(digits) else np.nan
    except ValueError:
        return np.nan


def keep_memory() -> None:
    """Nothing: how memory is given back is for the C library to say."""


def bridge(flux: Buffer, good: Buffer, /) -> None:
    """Draw straight lines over runs of bad pixels, in place; at an end, the value of the neighbour."""
    kept = _view(good, np.bool_)
    values = _sized(flux, np.float32, kept.size, "flux")
    bad = np.flatnonzero(~kept)
    if bad.size in (0, kept.size):
        return
    opens = np.flatnonzero(np.diff(bad, prepend=-2) > 1)  # where each run begins in `bad`
    lengths = np.diff(opens, append=bad.size)
    start, stop = bad[opens], bad[opens] + lengths
    known = values.astype(np.float64)
    left = known[np.where(start > 0, start - 1, np.minimum(stop, kept.size - 1))]
    right = np.where(stop < kept.size, known[np.minimum(stop, kept.size - 1)], left)
    with np.errstate(all="ignore"):
        slope = (right - left) / (lengths + 1)
        place = bad - np.repeat(start, lengths) + 1
        values[bad] = np.repeat(left, lengths) + np.repeat(slope, lengths) * place


def between(values: Buffer, good: Buffer | None, low: float, high: float, out: Buffer, /) -> tuple[int, int]:
    """How many good float32 values lie below `low`, and how many from low to high: those go to `out`."""
    given = _view(values, np.float32)
    into = _sized(out, np.float32, given.size + 1, "out")
    low, high = _floats(low, high)
    if good is not None:
        given = given[_sized(good, np.bool_, given.size, "good")]
    with np.errstate(all="ignore"):
        found = given[(given >= low) & (given <= high)]
        below = int(np.count_nonzero(given < low))
    into[: found.size] = found
    return below, int(found.size)


def rebin(
    first: Buffer,
    start: Buffer,
    weight: Buffer,
    flux: Buffer,
    sigma: Buffer,
    good: Buffer,
    least: float,
    out_flux: Buffer,
    out_sigma: Buffer,
    out_good: Buffer,
    /,
) -> None:
    """Overlap-weighted means of native pixels, their errors and whether good pixels cover enough.

    Row i mixes the native pixels from start[i] on with weight[first[i]:first[i + 1]]: the flux of all of
    them, the variance of the good ones with the weights squared. Where good pixels cover a share below
    `least`, or their errors vanish, the row is not good and its flux and error are 0.
    """
    starts, kept = _view(start, np.int32), _view(good, np.bool_)
    firsts = _sized(first, np.int32, starts.size + 1, "first")
    weights = _view(weight, np.float32)
    f = _sized(flux, np.float32, kept.size, "flux")
    s = _sized(sigma, np.float32, kept.size, "sigma")
    mean = _sized(out_flux, np.float32, starts.size, "out flux")
    error = _sized(out_sigma, np.float32, starts.size, "out sigma")
    enough = _sized(out_good, np.bool_, starts.size, "out good")
    counts = np.diff(firsts)
    outside = (counts < 0) | (starts < 0) | (starts + counts > kept.size)
    if outside.any() or (starts.size and (firsts[0] < 0 or firsts[-1] > weights.size)):
        raise ValueError("weights point outside the spectrum")
    here = kept.astype(np.float32)
    mean[:] = 0
    variance, share = np.zeros_like(mean), np.zeros_like(mean)
    with np.errstate(all="ignore"):
        for k in range(int(counts.max(initial=0))):  # the order of the sums is that of the C code
            rows = slice(None) if (counts > k).all() else np.flatnonzero(counts > k)
            w, native = weights[firsts[:-1][rows] + k], starts[rows] + k
            counted = w * here[native]
            mean[rows] += w * f[native]
            variance[rows] += (counted * s[native]) ** 2
            share[rows] += counted
        enough[:] = (share >= np.float32(least)) & (variance > 0)
        np.divide(np.sqrt(variance), np.where(share < np.float32(0.9999), share, np.float32(1)), out=error)
    mean[~enough] = 0
    error[~enough] = 0


def _view(buffer: Any, dtype: DTypeLike) -> NDArray[Any]:
    """The bytes of a contiguous buffer as an array, no copy."""
    plain = memoryview(buffer)
    if not plain.contiguous:
        raise ValueError("the buffer is not contiguous")
    return np.frombuffer(plain, dtype=dtype) if plain.nbytes else np.empty(0, dtype)


def _sized(buffer: Any, dtype: DTypeLike, size: int, name: str) -> NDArray[Any]:
    """The same, of a buffer that must hold `size` values."""
    held, expected = memoryview(buffer).nbytes, size * np.dtype(dtype).itemsize
    if held != expected:
        raise ValueError(f"{name} holds {held} bytes, expected {expected}")
    return _view(buffer, dtype)


def _floats(*values: float) -> list[Any]:
    with np.errstate(over="ignore"):
        return [np.float32(value) for value in values]
