"""A real instrument on pixels: response, flat-field pattern, sky residuals, noise as it is and as stated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..grid import SPEED_OF_LIGHT, air_to_vacuum
from .broadening import FWHM
from .config import Sampling, SimulationConfig
from .distribution import stream
from .reality import Instrument, Reality, response_knots

Float32 = NDArray[np.float32]
Array = NDArray[np.float64]

# Lines of the night sky, air angstrom and strength beside the strongest, rounded: [O I], Na I and OH of
# Osterbrock et al. (1996, PASP 108, 277), Hg I of street lamps (Osterbrock & Martel 1992, PASP 104, 76).
SKY_LINES = (
    (4358.34, 0.2),
    (5460.74, 0.2),
    (5577.338, 1.0),
    (5889.950, 0.35),
    (5895.924, 0.25),
    (6300.304, 0.7),
    (6363.776, 0.25),
    (6498.729, 0.15),
    (6533.044, 0.2),
    (6553.617, 0.15),
    (6863.955, 0.25),
    (6923.220, 0.2),
    (7276.405, 0.35),
    (7316.282, 0.4),
    (7340.885, 0.4),
    (7750.640, 0.4),
    (7794.112, 0.4),
    (7821.503, 0.4),
    (7913.708, 0.5),
    (7964.650, 0.5),
    (7993.332, 0.5),
    (8344.602, 0.5),
    (8399.170, 0.6),
    (8430.174, 0.5),
    (8827.096, 0.6),
    (8885.850, 0.6),
    (8919.610, 0.5),
)
# Extinction by dust of R = 3.1, A(lambda) / A(V), after Cardelli, Clayton & Mathis (1989, ApJ 345, 245).
_DUST_A = (1.0, 0.17699, -0.50447, -0.02427, 0.72085, 0.01979, -0.77530, 0.32999)
_DUST_B = (0.0, 1.41338, 2.28305, 1.07233, -5.38434, -0.62251, 5.30260, -2.09002)
_PATTERN_WIDTHS = (4.0, 15.0)  # pixels, standard deviation of the pattern's bumps
_JOIN, _JOIN_SIZE = (5950.0, 70.0), 4.0  # angstrom, centre and width; height over the rms of the rest
_TAPS = 20  # pixels over which the noise is smoothed at most, either side


def dust(wavelength: Array) -> Array:
    """Extinction A(lambda) over E(B-V), magnitudes, at vacuum angstrom (n,), 3,300 to 33,000."""
    x = 1e4 / np.asarray(wavelength, dtype=np.float64)
    y = x - 1.82
    optical = np.polynomial.polynomial.polyval(y, _DUST_A) * 3.1 + np.polynomial.polynomial.polyval(
        y, _DUST_B
    )
    infrared = (0.574 * 3.1 - 0.527) * x**1.61
    return np.asarray(np.where(x > 1.1, optical, infrared))


@dataclass(frozen=True, eq=False)
class Curves:
    """What is fixed for the archive, on its pixels (n,).

    spline       (k, n) cardinal splines: the logarithm of a response is its values at the knots times these
    dust         A(lambda) / E(B-V) of the dust, less its mean, mag
    pattern      the flat-field pattern, rms 1
    error        true over stated error, median 1
    throughput   share of the light that is counted, 1 at its best
    """

    spline: Float32
    dust: Float32
    pattern: Float32
    error: Float32
    throughput: Float32


def make_curves(reality: Reality, sampling: Sampling, *, seed: int) -> Curves:
    """The curves of one archive."""
    from scipy.interpolate import CubicSpline

    vacuum, size = sampling.vacuum, sampling.vacuum.size
    knots = np.log(response_knots(vacuum, reality))
    spline = CubicSpline(knots, np.eye(knots.size), bc_type="natural")(np.log(vacuum)).T
    extinction = dust(vacuum / sampling.borrowed)
    pixel = np.arange(size)
    rng = stream(seed, "reality shape of the pattern")
    pattern = np.zeros(size)
    for _ in range(max(4, size // 25)):
        centre, width = rng.uniform(0, size), rng.uniform(*_PATTERN_WIDTHS)
        part = slice(max(0, int(centre - 5 * width)), int(centre + 5 * width) + 1)
        pattern[part] += rng.standard_normal() * np.exp(-0.5 * ((pixel[part] - centre) / width) ** 2)
    pattern /= pattern.std()
    # where two arms are joined, as spectrographs of low resolution are about 5,900 angstrom
    join = (vacuum / sampling.borrowed - _JOIN[0]) / _JOIN[1]
    pattern += _JOIN_SIZE * join * np.exp(0.5 - 0.5 * join**2)
    pattern -= pattern.mean()
    ends = np.linspace(0, 1, size)
    wave = stream(seed, "reality shape of the errors")
    shape = sum(
        wave.standard_normal() * np.cos(np.pi * order * ends + wave.uniform(0, 2 * np.pi)) / order
        for order in (1, 2, 3, 5, 9)
    )
    shape = np.asarray(shape) + 0.3 * wave.standard_normal(size)  # some pixels of their own
    shape -= np.median(shape)
    error = np.exp(reality.error_curve * shape / shape.std())
    blue, loss = np.clip((vacuum - 3500.0) / 1500.0, 0.05, 1), np.exp(-0.5 * ((vacuum - 5850.0) / 70.0) ** 2)
    red = np.clip((9900.0 - vacuum) / 1500.0, 0.1, 1)
    throughput = blue * red * (1 - 0.5 * loss)
    throughput = throughput / throughput.max()
    curves = (spline, extinction - extinction.mean(), pattern / pattern.std(), error, throughput)
    return Curves(*(np.asarray(curve, dtype=np.float32) for curve in curves))


class RealSky:
    """Puts the instrument of an archive on its noiseless spectra."""

    def __init__(self, config: SimulationConfig, instrument: Instrument) -> None:
        assert config.reality is not None
        self.reality, self.instrument, self.seed = config.reality, instrument, config.seed
        self.sampling = sampling = config.sampling()
        self.curves = make_curves(self.reality, sampling, seed=config.seed)
        lines = np.array(SKY_LINES)
        centres, strengths = air_to_vacuum(lines[:, 0]) * sampling.borrowed, lines[:, 1]
        inside = (centres > sampling.vacuum[0]) & (centres < sampling.vacuum[-1])
        self._centres, self._strengths = (
            centres[inside],
            strengths[inside] / max(strengths[inside], default=1),
        )

    def response(self, rows: NDArray[np.int64]) -> Float32:
        """What multiplies the light of `rows`: response, reddening and pattern, (b, n)."""
        one, curves = self.instrument, self.curves
        log = one.response[rows].astype(np.float32) @ curves.spline
        log -= (0.4 * np.log(10) * one.reddening[rows, None]).astype(np.float32) * curves.dust
        factor = np.exp(log, out=log)
        factor *= 1 + one.pattern[rows, None].astype(np.float32) * curves.pattern
        return np.asarray(factor)

    def add_sky(
        self, flux: Float32, rows: NDArray[np.int64], *, level: NDArray[np.floating], shift: Array
    ) -> None:
        """Add to `flux` (b, n) in place what sky subtraction left; the sky appears moved by `shift` km/s."""
        vacuum, size = self.sampling.vacuum, flux.shape[1]
        amplitude = (self.instrument.sky[rows] * level).astype(np.float32)
        if not self._centres.size or not amplitude.any():
            return
        pixels = np.arange(size, dtype=np.float64)
        at = np.arange(rows.size)[:, None]
        for centre, strength in zip(self._centres, self._strengths, strict=True):
            place = np.interp(centre * (1 + shift / SPEED_OF_LIGHT), vacuum, pixels)
            middle = int(place[0])
            pixel = vacuum[min(middle + 1, size - 1)] - vacuum[min(middle, size - 2)]
            sd = np.hypot(centre / self.sampling.resolution / FWHM / pixel, 0.29) * self.instrument.lsf[rows]
            reach = int(5 * sd.max()) + 2
            index = np.round(place).astype(np.int64)[:, None] + np.arange(-reach, reach + 1)
            profile = np.exp(-0.5 * ((index - place[:, None]) / sd[:, None]) ** 2).astype(np.float32)
            profile *= strength * amplitude[:, None]
            inside = (index >= 0) & (index < size)
            flux[np.broadcast_to(at, index.shape)[inside], index[inside]] += profile[inside]

    def true_sigma(self, photons: Float32, light: Float32) -> Float32:
        """The standard deviation (b, n) of all noise: photons, and what goes with the light."""
        if not self.reality.scatter:
            return photons
        return np.asarray(np.hypot(photons, np.float32(self.reality.scatter) * light))

    def stated_sigma(self, photons: Float32, rows: NDArray[np.int64]) -> Float32:
        """The errors that the files state, (b, n): those of the photons, by a wrong factor."""
        return np.asarray(
            photons / (self.instrument.errors[rows, None].astype(np.float32) * self.curves.error)
        )

    def noise(self, row: int, generator: np.random.Generator, out: Float32) -> None:
        """Noise of unit variance into `out` (n,), correlated over some pixels."""
        length = float(self.instrument.correlation[row])
        if not length:
            generator.standard_normal(dtype=np.float32, out=out)
            return
        white = generator.standard_normal(out.size + 2 * _TAPS, dtype=np.float32)
        generator.standard_normal(dtype=np.float32, out=out)
        # smoothed by a Gaussian of sd s, noise is correlated as exp(-d^2 / 4 s^2): 1/e at d = 2 s
        taps = np.exp(-0.5 * (np.arange(-_TAPS, _TAPS + 1) / (length / 2)) ** 2)
        taps = taps[taps > 1e-4]
        side = _TAPS - taps.size // 2
        taps *= np.sqrt(self.reality.correlated / (taps**2).sum())
        out *= np.float32(np.sqrt(1 - self.reality.correlated))
        out += np.convolve(white[side : white.size - side], taps.astype(np.float32), "valid")

    def flag(self, sigma: Float32, *, row: int) -> None:
        """Take the stated error from some stretches of one spectrum (n,) in place; their flux stays."""
        count = int(self.instrument.flagged[row])
        if count:
            rng = stream(self.seed, "reality flags", row)
            for start, width in zip(
                rng.integers(0, sigma.size, count), rng.integers(4, 13, count), strict=True
            ):
                sigma[start : start + width] = 0

    def hits(self, flux: Float32, sigma: Float32, *, row: int) -> None:
        """Add cosmic rays to one spectrum (n,) in place: one to three pixels, 8 to 50 times the noise."""
        count = int(self.instrument.cosmics[row])
        live = np.flatnonzero(sigma > 0)
        if not count or live.size < 8:
            return
        rng = stream(self.seed, "reality hits", row)
        for start in live[rng.integers(0, live.size - 3, count)]:
            part = slice(int(start), int(start) + int(rng.integers(1, 4)))
            peak = 8 * 6 ** rng.random() * sigma[start]
            shape = rng.uniform(0.3, 1.0, flux[part].size)
            shape[rng.integers(shape.size)] = 1.0
            flux[part] += (peak * shape * (sigma[part] > 0)).astype(np.float32)
