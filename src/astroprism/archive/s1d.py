"""HARPS and HARPS-N `*_s1d_A.fits`: a primary image of merged orders, 0.01 angstrom in air, barycentric.

Air and barycentric by the data reduction software, though no keyword says either. Copies that users
moved to the rest frame keep the header but not the step, so only a step of exactly 0.01 counts as the
pipeline's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import BadSpectrum, UnreadableFile
from ..grid import SPEED_OF_LIGHT
from ..spectrum import Float, Spectrum
from .axis import header_axis
from .exposure import exposure_of
from .fits import Unit
from .header import Header, first_text, plausible, velocity
from .pixels import good_pixels
from .reader import Reader, ReadOptions, Yield
from .source import Source

STEP = 0.01  # angstrom
# Where the order between the two chips of HARPS is missing, in the observatory's frame and air; the
# same to 0.02 angstrom in files of 2003, 2006 and 2010. HARPS-N has one chip and no gap.
GAP_START, GAP_END = 5304.32, 5337.26
COVERAGE = {"ESO": (3779.0, 6917.0), "TNG": (3820.0, 6940.0)}  # angstrom, every file of the pipeline


def _prefix(header: Header) -> str:
    """'ESO' or 'TNG' where the file is one of HARPS or HARPS-N, else ''."""
    instrument = header.text("INSTRUME").upper()
    if instrument.startswith("HARPN") or "TNG DRS BERV" in header.numbers:
        return "TNG"
    if instrument == "HARPS" or "ESO DRS BERV" in header.numbers:
        return "ESO"
    return ""


def sniff(source: Source) -> bool:
    """A 1-D primary image with the name of HARPS(-N), or with keywords of its reduction."""
    if source.fits is None or (unit := source.fits.unit(0)) is None:
        return False
    return unit.header.numbers.get("NAXIS") == 1 and bool(_prefix(unit.header))


def read(source: Source, options: ReadOptions) -> Yield:
    """The one spectrum of the file."""
    fits, unit = source.opened()
    header, prefix = unit.header, _prefix(unit.header)
    if header.integer("BITPIX") not in (-32, -64):
        raise UnreadableFile(f"BITPIX = {header.integer('BITPIX')}; the pipeline writes -32")
    if header.number("CRPIX1") != 1 and header.card("CRPIX1") is not None:
        raise BadSpectrum(
            "CRPIX1 is not 1, as the pipeline writes it; move CRVAL1 to the first pixel, or fetch it again",
            reason="wavelength",
        )
    flux = unit.image()
    verified = options.verify(unit)
    if flux.size < 2:
        raise BadSpectrum(f"{flux.size} pixels", reason="empty")
    berv = velocity(header.number(f"{prefix} DRS BERV"))
    wave, warnings = header_axis(header, flux.size)
    pipeline = abs(_step(wave) - STEP) < 1e-9
    if wave[-1] < wave[0]:
        wave, flux = wave[::-1], flux[::-1]
        warnings += ("wavelengths decreased; turned round together with the flux",)
    low, high = COVERAGE[prefix]
    if not (low - 40 < wave[0] and wave[-1] < high + 40):
        raise BadSpectrum(
            f"wavelengths from {wave[0]:.2f} to {wave[-1]:.2f}; the spectrograph covers {low:g}..{high:g}: "
            "correct CRVAL1 and CDELT1, or fetch the file again",
            reason="wavelength",
        )
    step = pipeline
    if pipeline and np.isfinite(moved := _moved(wave, header, berv)):
        pipeline = False
        warnings += (f"moved by {moved:.0f} km/s against the orders of its header, by hand: frame unknown",)
    elif pipeline:
        _check_gap(wave, flux, berv, gap=prefix == "ESO")
        _check_orders(wave, header, berv)
    if not step:
        warnings += (f"step of {_step(wave):g} is not the pipeline's {STEP}: frame unknown",)
    exposure = exposure_of((header,))
    yield Spectrum(
        wavelength=wave,
        flux=flux,
        good=good_pixels(flux, None)[1],
        identifier=_identifier(source, unit),
        target=first_text(header, "OBJECT", f"{prefix} OBS TARG NAME"),
        **exposure.facts(),
        medium="air",
        frame="barycentric" if pipeline else "unknown",
        snr=plausible(header.number(f"{prefix} DRS SPE EXT SN50", "SNR"), 0.0, 1e6),
        resolution=plausible(header.number("SPEC_RES"), 1.0, 1e7),
        reader="s1d",
        keywords=fits.keywords(),
        words=fits.words(),
        warnings=verified.warnings + warnings + exposure.motion.warnings,
    )


def _step(wave: NDArray[np.float64]) -> float:
    return float(wave[-1] - wave[0]) / (wave.size - 1)


def _identifier(source: Source, unit: Unit) -> str:
    archived = unit.header.text("ARCFILE")
    return archived.removesuffix(".fits") if "s1d" in archived else source.stem


def _check_gap(wave: NDArray[np.float64], flux: Float, berv: float, *, gap: bool) -> None:
    """Refuse an axis that puts the gap between the chips where it is not.

    The gap is a mark on the pixels that no damage of CRVAL1 or CRPIX1 moves.
    """
    shift = 1 + (0.0 if np.isnan(berv) else berv) / SPEED_OF_LIGHT
    start, end = np.searchsorted(wave, [GAP_START * shift, GAP_END * shift])
    margin = int(1.0 / STEP)
    if not gap or start < 4 * margin or end > wave.size - 4 * margin:
        return
    zero = flux == 0
    if zero[start + margin : end - margin].all():
        if zero[start - margin - 100 : start - margin].all() or zero[end + margin : end + margin + 100].all():
            return  # a spectrum that is zero all over is refused elsewhere, as what it is
        return
    runs = np.flatnonzero(np.diff(np.concatenate(([0], zero.view(np.int8), [0]))))
    lengths = runs[1::2] - runs[::2]
    if lengths.size and 2_500 < lengths.max() < 4_500:
        at = wave[runs[::2][lengths.argmax()]]
        raise BadSpectrum(
            f"the gap between the chips begins at {at:.2f} angstrom instead of {GAP_START * shift:.2f}: "
            "CRVAL1 is wrong, or the file was moved to another frame by hand",
            reason="wavelength",
        )


def _ends(header: Header, berv: float) -> tuple[float, float]:
    """Where the spectrum that was merged from the orders begins and ends, angstrom; NaN where unsaid.

    The pipeline copies the dispersion polynomials (ascending powers of the pixel, four per order) into
    the header; over three files the merged spectrum began 1.93..1.99 angstrom behind the first order and
    ended 0.02..0.03 before the last.
    """
    name, first = "ESO DRS CAL TH COEFF LL", header.numbers.get("ESO DRS CAL TH COEFF LL0", np.nan)
    last = [header.numbers.get(f"{name}{71 * 4 + power}", np.nan) for power in range(4)]
    shift = 1 + berv / SPEED_OF_LIGHT
    end = sum(value * 4095.0**power for power, value in enumerate(last))
    return first * shift + 2, float(end * shift)


def _moved(wave: NDArray[np.float64], header: Header, berv: float) -> float:
    """The velocity by which both ends lie off alike, km/s, as after a move to another frame; NaN: none."""
    first, last = _ends(header, berv)
    ends = (wave[0] / first - 1) * SPEED_OF_LIGHT, (wave[-1] / last - 1) * SPEED_OF_LIGHT
    # a wrong CRVAL1 moves the blue end by nearly twice the velocity of the red one
    alike = abs(ends[0] - ends[1]) < 6 and 15 < abs(ends[1]) < 1000
    return float(ends[1]) if alike else np.nan


def _check_orders(wave: NDArray[np.float64], header: Header, berv: float) -> None:
    """Refuse an axis that begins or ends elsewhere than the echelle orders it was merged from.

    A part of the spectrum, cut out by hand, is no contradiction.
    """
    first, last = _ends(header, berv)
    off = wave[0] - first, wave[-1] - last
    part = wave.size < 0.97 * (last - first) / STEP and off[0] > -1 and off[1] < 0.3
    if not part and (abs(off[0]) > 1 or abs(off[1]) > 0.3):  # False where NaN
        raise BadSpectrum(
            f"wavelengths from {wave[0]:.2f} to {wave[-1]:.2f}, the orders reach from {first:.2f} to "
            f"{last:.2f}: correct CRVAL1, CDELT1 or CRPIX1, or fetch the file again",
            reason="wavelength",
        )


S1D = Reader("HARPS and HARPS-N merged 1-D spectrum (s1d)", sniff, read)
