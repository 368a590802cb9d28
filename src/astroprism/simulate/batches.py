"""The spectra of an archive as arrays, with no file in between."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..grid import SPEED_OF_LIGHT, doppler_factor
from .config import Sampling, SimulationConfig
from .distribution import RowStreams, stream
from .instrument import RealSky
from .population import Population, populate
from .star import Synthesiser

Float32 = NDArray[np.float32]
Floating = NDArray[np.floating]

# Share of the variance at the median flux that does not scale with the flux (read-out, dark, sky).
NOISE_FLOOR = 0.05
# Spectra are made in blocks that start at multiples of their size, and always whole: a matrix product may
# round differently for another number of rows, and no spectrum may depend on the batch size.
BLOCK_PIXELS, BLOCK_ROWS = 2**22, 128
# Vacuum angstrom: H alpha, H beta (Wiese & Fuhr 2009), Ca II K.
EMISSION_LINES = (6564.61, 4862.69, 3934.78)


@dataclass(frozen=True, eq=False)
class Batch:
    """Some spectra of an archive, of order 1 (files hold them times a scale).

    rows        (b,) row in truth
    wavelength  (n,) angstrom, as the file gives it
    flux        (b, n) with noise and oddities
    sigma       (b, n) the noise's standard deviation; 0 where there is no pixel (chip gap, flagged)
    noiseless   (b, n) flux without noise and without cosmic rays; with response and sky residuals, if any
    true_sigma  (b, n) the noise's standard deviation where `sigma` is what the files wrongly state, else None
    """

    rows: NDArray[np.int64]
    wavelength: NDArray[np.float64]
    flux: Float32
    sigma: Float32
    noiseless: Float32
    true_sigma: Float32 | None = None


def spectra(config: SimulationConfig, *, batch: int = 256) -> Iterator[Batch]:
    """Every spectrum of the archive, in order, at most `batch` at a time.

    Spectrum i depends on the configuration and i, not on `batch`.
    """
    if batch < 1:
        raise ConfigError(f"batch is {batch}; at least 1 is needed")
    maker = Maker(config)
    pending: list[Batch] = []
    count = 0
    for number in range(maker.blocks):
        pending.append(maker.block(number))
        count += pending[-1].rows.size
        while count >= batch or (number == maker.blocks - 1 and count):
            joined = _join(pending)
            yield _part(joined, slice(0, batch))
            rest = _part(joined, slice(batch, None))
            count = rest.rows.size
            pending = [rest] if count else []


class Maker:
    """Makes the spectra of one archive, block by block; holds what all blocks share."""

    def __init__(self, config: SimulationConfig, *, population: Population | None = None) -> None:
        self.config = config
        self.sampling: Sampling = config.sampling()
        self.population = populate(config) if population is None else population
        rows = min(BLOCK_ROWS, BLOCK_PIXELS // self.sampling.wavelength.size)
        # whole chunks of the synthesiser, which works through 8 to 64 rows at a time
        self.block_rows = rows // 64 * 64 or max(8, rows // 8 * 8)
        self.blocks = -(-config.spectra // self.block_rows)
        self._noise = RowStreams(config.seed, "noise")
        self._synthesiser = Synthesiser(
            self.sampling.vacuum / self.sampling.borrowed,
            resolution=self.sampling.resolution,
            seed=config.lines_seed,
        )
        instrument = self.population.instrument
        self._real = None if instrument is None else RealSky(config, instrument)

    def of(self, population: Population) -> Maker:
        """The same archive with other numbers behind it, sharing what takes long to set up."""
        other = copy.copy(self)
        other.population = population
        if population.instrument is not None:
            other._real = RealSky(self.config, population.instrument)
        return other

    def rows(self, number: int) -> NDArray[np.int64]:
        """The rows of block `number`."""
        first = number * self.block_rows
        return np.arange(first, min(first + self.block_rows, self.config.spectra))

    def gaps(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """First and last-plus-one pixel without light, (b, 2), between the chips; equal if none.

        It does not move on the chips, so it moves with BERV in barycentric wavelengths.
        """
        if self.sampling.gap is None:
            return np.zeros((rows.size, 2), dtype=np.int64)
        moves = self.sampling.frame == "barycentric"
        factor = 1 + (self.population.berv[rows] if moves else np.zeros(rows.size)) / SPEED_OF_LIGHT
        edges = factor[:, None] * np.array(self.sampling.gap)
        return np.asarray(np.searchsorted(self.sampling.wavelength, edges), dtype=np.int64)

    def block(self, number: int) -> Batch:
        """The spectra of block `number`."""
        rows = self.rows(number)
        noiseless = self._noiseless(rows)
        if self._real is not None:
            noiseless *= self._real.response(rows)
        gaps = self.gaps(rows)
        every = max(1, noiseless.shape[1] // 40_000)  # so many pixels give the median to a thousandth
        live = noiseless[:, ::every]
        if np.any(dark := gaps[:, 0] < gaps[:, 1]):
            first, last = gaps[dark, 0].min() // every, -(-gaps[dark, 1].max() // every)
            live = np.concatenate((live[:, :first], live[:, last:]), axis=1)
        level = np.median(live, axis=1)
        sigma = noise_sigma(noiseless, level=level, snr=self.population.snr[rows])
        if self._real is not None:
            return self._real_block(rows, noiseless, level=level, photons=sigma, gaps=gaps)
        flux = np.empty_like(noiseless)
        for k, row in enumerate(rows):
            self._noise.at(int(row)).standard_normal(dtype=np.float32, out=flux[k])
        flux *= sigma
        flux += noiseless
        for at in np.flatnonzero(dark):
            gap = slice(*gaps[at])
            flux[at, gap] = sigma[at, gap] = noiseless[at, gap] = 0
        for hit in np.flatnonzero(self.population.oddity[rows] == "cosmic"):
            add_cosmics(flux[hit], sigma[hit], rng=stream(self.config.seed, "cosmic", int(rows[hit])))
        return Batch(rows, self.sampling.wavelength, flux, sigma, noiseless)

    def _real_block(
        self,
        rows: NDArray[np.int64],
        noiseless: Float32,
        *,
        level: NDArray[np.floating],
        photons: Float32,
        gaps: NDArray[np.int64],
    ) -> Batch:
        """Sky, noise as it is and errors as they are stated, for the spectra of `rows`."""
        real, population = self._real, self.population
        assert real is not None
        photons /= np.sqrt(real.curves.throughput)
        stated = real.stated_sigma(photons, rows)
        true = real.true_sigma(photons, noiseless)
        moves = self.sampling.frame == "barycentric"
        shift = population.berv[rows] if moves else np.zeros(rows.size)
        real.add_sky(noiseless, rows, level=level, shift=shift)
        flux = np.empty_like(noiseless)
        for k, row in enumerate(rows):
            real.noise(int(row), self._noise.at(int(row)), flux[k])
        flux *= true
        flux += noiseless
        for at in range(rows.size):
            gap = slice(*gaps[at])
            flux[at, gap] = stated[at, gap] = true[at, gap] = noiseless[at, gap] = 0
            real.flag(stated[at], row=int(rows[at]))
            real.hits(flux[at], stated[at], row=int(rows[at]))
            if population.oddity[rows[at]] == "cosmic":
                add_cosmics(flux[at], stated[at], rng=stream(self.config.seed, "cosmic", int(rows[at])))
        return Batch(rows, self.sampling.wavelength, flux, stated, noiseless, true)

    def _noiseless(self, rows: NDArray[np.int64]) -> Float32:
        population, config = self.population, self.config
        parameters = {key: values[rows] for key, values in population.parameters.items()}
        if config.file_frame == "topocentric":
            # from the telescope the star moves by -BERV and the atmosphere does not
            parameters["rv"] = parameters["rv"] - parameters["berv"]
            parameters["berv"] = np.zeros(rows.size)
        flux = self._synthesiser.noiseless(parameters)
        double = np.flatnonzero(population.oddity[rows] == "sb2")
        if double.size:
            second = {key: values[double] for key, values in parameters.items()}
            shift = parameters["rv"][double] - population.parameters["rv"][rows][double]
            second["rv"] = population.companion["rv"][rows][double] + shift
            second["teff"] = population.companion["teff"][rows][double]
            light = self._synthesiser.noiseless(second)
            flux[double] = add_companion(
                flux[double], light, ratio=population.companion["ratio"][rows][double]
            )
        for k in np.flatnonzero(population.oddity[rows] == "emission"):
            add_emission(
                flux[k],
                self.sampling.vacuum,
                rv=float(parameters["rv"][k]),
                resolution=self.sampling.resolution,
                rng=stream(config.seed, "emission", int(rows[k])),
            )
        return np.asarray(flux, dtype=np.float32)


def noise_sigma(noiseless: Float32, *, level: NDArray[np.floating], snr: NDArray[np.floating]) -> Float32:
    """Standard deviation (b, n) of the noise: photons and a floor; level/snr at the flux `level`."""
    unit = np.asarray(level, dtype=np.float32)[:, None]
    sigma = np.maximum(noiseless, 0) / unit
    sigma *= np.float32(1 - NOISE_FLOOR)
    sigma += np.float32(NOISE_FLOOR)
    np.sqrt(sigma, out=sigma)
    sigma *= unit / np.asarray(snr, dtype=np.float32)[:, None]
    return np.asarray(sigma, dtype=np.float32)


def _join(batches: list[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    first = batches[0].true_sigma
    return Batch(
        np.concatenate([b.rows for b in batches]),
        batches[0].wavelength,
        np.concatenate([b.flux for b in batches]),
        np.concatenate([b.sigma for b in batches]),
        np.concatenate([b.noiseless for b in batches]),
        None
        if first is None
        else np.concatenate([b.true_sigma for b in batches if b.true_sigma is not None]),
    )


def _part(batch: Batch, part: slice) -> Batch:
    return Batch(
        batch.rows[part],
        batch.wavelength,
        batch.flux[part],
        batch.sigma[part],
        batch.noiseless[part],
        None if batch.true_sigma is None else batch.true_sigma[part],
    )


# --- oddities planted into spectra: a second star, emission lines, cosmic rays


def add_companion(primary: Floating, secondary: Floating, *, ratio: Floating) -> Floating:
    """Light of both stars at the mean level of one: (b, n) each; `ratio` of secondary to primary, (b,)."""
    weight = np.asarray(ratio, dtype=primary.dtype)[:, None]
    return np.asarray((primary + weight * secondary) / (1 + weight))


def add_emission(
    flux: Floating, vacuum: NDArray[np.float64], *, rv: float, resolution: float, rng: np.random.Generator
) -> None:
    """Add emission lines of instrument width to one spectrum (n,) in place, in the frame of the star.

    Those of EMISSION_LINES that lie in the window; where none does, one at a random place.
    """
    centres = np.array(EMISSION_LINES) * float(doppler_factor(rv))
    inside = centres[(centres > vacuum[0]) & (centres < vacuum[-1])]
    if inside.size == 0:
        inside = vacuum[rng.integers(flux.size // 10, flux.size - flux.size // 10, size=1)]
    strengths = rng.uniform(0.8, 3.0, size=inside.size)
    level = float(np.median(flux[flux > 0])) if np.any(flux > 0) else 1.0
    for centre, strength in zip(inside, strengths, strict=True):
        at = min(max(int(np.searchsorted(vacuum, centre)), 1), vacuum.size - 1)
        pixel = vacuum[at] - vacuum[at - 1]
        # never narrower than the instrument, nor than a real line that several pixels sample
        width = max(centre / resolution / 2.355, 1.2 * pixel, 8.0 / SPEED_OF_LIGHT * centre)
        part = slice(max(0, at - int(6 * width / pixel) - 2), at + int(6 * width / pixel) + 2)
        flux[part] += (strength * level * np.exp(-0.5 * ((vacuum[part] - centre) / width) ** 2)).astype(
            flux.dtype
        )


def add_cosmics(flux: Floating, sigma: Floating, *, rng: np.random.Generator) -> int:
    """Add hits two to four pixels wide to one spectrum (n,) in place; returns how many.

    Several per spectrum, in live pixels only, each peak far above the noise. The errors stay: a pipeline
    that had found the hit would have removed it.
    """
    live = np.flatnonzero(sigma > 0)
    if live.size < 8:
        return 0
    hits = int(rng.integers(4, 12))
    level = float(np.median(flux[live]))
    for _ in range(hits):
        start, width = int(live[rng.integers(live.size - 4)]), int(rng.integers(2, 5))
        part = slice(start, start + width)
        peak = max(30 * float(sigma[start]), level * rng.uniform(0.5, 4))
        shape = rng.uniform(0.3, 1.0, size=flux[part].size)
        shape[rng.integers(shape.size)] = 1.0
        flux[part] += (peak * shape * (sigma[part] > 0)).astype(flux.dtype)
    return hits
