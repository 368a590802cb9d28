"""From arrays to a folder: spectra/ of files, truth.csv, simulation.json."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import __version__
from ..artifacts import write_bytes
from ..errors import AstroprismError, ConfigError
from ..grid import SPEED_OF_LIGHT
from ..progress import Listener, count, silent
from .batches import Batch, Maker
from .config import Sampling, SimulationConfig
from .observatory import adp, counts_scale, csv, image, s1d
from .population import Exposure, names, populate, truth_table
from .surveys import apstar, lamost, lamost_old, sdss

if TYPE_CHECKING:
    import pandas as pd

FORMAT_VERSION = 1
WRITERS: dict[str, Callable[[Exposure], bytes]] = {
    "adp": adp,
    "s1d": s1d,
    "lamost": lamost,
    "lamost-old": lamost_old,
    "sdss": sdss,
    "apstar": apstar,
    "image": image,
    "csv": csv,
}
RAGGED = ("adp", "s1d")  # formats whose files start and end some pixels apart
_FASTEST = 31.0  # km/s, more than any BERV


def truth(config: SimulationConfig) -> pd.DataFrame:
    """What truth.csv holds, a row per spectrum; see docs/simulating.md for the columns."""
    population = populate(config)
    return truth_table(config, population, names=names(config, population))


def write_archive(
    out: str | Path,
    config: SimulationConfig,
    *,
    progress: Listener = silent,
    workers: int = 1,
) -> Path:
    """Write the archive into the folder `out` and return the path of truth.csv.

    progress  files that are there are counted to it after every block
    workers   processes

    Files that are there are left alone, so a run that was stopped continues; a folder that holds another
    archive is refused.
    """
    folder = Path(out)
    try:
        (folder / "spectra").mkdir(parents=True, exist_ok=True)
        _claim(folder, config)
        writer = _ArchiveWriter(folder, config)
        missing = writer.missing()
        done = config.spectra - sum(len(rows) for rows in missing.values())
        progress(count(done, config.spectra))
        for written in _run(writer, missing, workers=workers):
            done += written
            progress(count(done, config.spectra))
        path = folder / "truth.csv"
        write_bytes(path, truth(config).to_csv(index=False).encode())
    except OSError as error:
        raise AstroprismError(
            f"the archive cannot be written into {folder}: {error}; free some space there, or "
            "give another folder, and run the same command again"
        ) from error
    return path


def _claim(folder: Path, config: SimulationConfig) -> None:
    """Say in simulation.json what this folder holds, or refuse if it says something else."""
    path = folder / "simulation.json"
    wanted = json.loads(json.dumps(config.to_mapping()))
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))["config"]
        except (ValueError, KeyError, TypeError):
            raise ConfigError(f"{path} is damaged; remove the folder or give another") from None
        if differ := [key for key in wanted | found if wanted.get(key) != found.get(key)]:
            differences = ", ".join(f"{key} {found.get(key)!r} (now {wanted.get(key)!r})" for key in differ)
            raise ConfigError(
                f"{folder} holds another archive: {differences}; give another folder or remove it"
            )
        return
    if any(folder.glob("*.csv")) or any((folder / "spectra").iterdir()):
        raise ConfigError(f"{folder} is not empty and holds no simulation.json; give an empty folder")
    content = {
        "format_version": FORMAT_VERSION,
        "astroprism": __version__,
        "config": wanted,
        "known_k": config.known_k,
        "varying": list(config.varying),
    }
    if config.reality is not None:
        content["instrument_causes"] = list(config.instrument_causes)
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


class _ArchiveWriter:
    """Writes blocks of one archive; made again in every worker process."""

    def __init__(self, folder: Path, config: SimulationConfig) -> None:
        self.folder, self.config = folder, config
        self.population = populate(config)
        self.names = names(config, self.population)
        self.maker = Maker(config, population=self.population)

    def missing(self) -> dict[int, list[int]]:
        """Rows whose file is not there, by block."""
        there = {entry.name for entry in os.scandir(self.folder / "spectra")}
        found: dict[int, list[int]] = {}
        for row, file in enumerate(self.names["file"]):
            if file.rsplit("/", 1)[-1] not in there:
                found.setdefault(row // self.maker.block_rows, []).append(row)
        return found

    def write(self, number: int, rows: list[int]) -> int:
        """Write the files of `rows` of block `number`; returns how many."""
        batch = self.maker.block(number)
        for row in rows:
            content = WRITERS[self.config.format](self.exposure(batch, row - int(batch.rows[0])))
            write_bytes(self.folder / self.names["file"][row], content, durable=False)
        return len(rows)

    def exposure(self, batch: Batch, at: int) -> Exposure:
        """The spectrum at index `at` of `batch`, with what its header needs."""
        row, population, config = int(batch.rows[at]), self.population, self.config
        snr = float(population.snr[row])
        scale = np.float32(flux_scale(config, snr))
        instrument = None
        if (one := population.instrument) is not None:
            names = ("exposure", "spectrograph", "fibre", "seeing", "sky_fibres")
            instrument = {name: float(getattr(one, name)[row]) for name in names}
            snr *= float(one.errors[row])  # headers give what the pipeline believes
        sampling = self.maker.sampling
        part = file_pixels(config, sampling, berv=float(population.berv[row]))
        return Exposure(
            row=row,
            star=int(population.star[row]),
            identifier=self.names["spectrum_id"][row],
            file=self.names["file"][row],
            target=self.names["target"][row],
            wavelength=batch.wavelength[part],
            flux=batch.flux[at, part] * scale,
            sigma=batch.sigma[at, part] * scale,
            log=sampling.log,
            step=sampling.step,
            resolution=sampling.resolution,
            frame=sampling.frame,
            snr=snr,
            mjd=float(population.mjd[row]),
            seconds=float(population.exposure[row]),
            ra=float(population.ra[row]),
            dec=float(population.dec[row]),
            parameters={key: float(values[row]) for key, values in population.parameters.items()},
            weather={key: float(values[row]) for key, values in population.weather.items()},
            seed=config.seed,
            berv=config.berv,
            instrument=instrument,
        )


def file_pixels(config: SimulationConfig, sampling: Sampling, *, berv: float) -> slice:
    """The pixels of the archive's wavelengths that the file of a spectrum with this BERV holds.

    The orders of HARPS end at fixed places on the chips, so that its linear spectra, moved by BERV,
    start and end some pixels apart.
    """
    if config.format not in RAGGED or sampling.log or sampling.frame != "barycentric":
        return slice(0, sampling.wavelength.size)
    low = sampling.wavelength[0] * (1 + (berv + _FASTEST) / SPEED_OF_LIGHT)
    high = sampling.wavelength[-1] * (1 + (berv - _FASTEST) / SPEED_OF_LIGHT)
    first, last = np.searchsorted(sampling.wavelength, [low, high])
    # a window narrower than the motion itself is given whole
    return slice(int(first), int(last)) if last - first > 16 else slice(0, sampling.wavelength.size)


def flux_scale(config: SimulationConfig, snr: float) -> float:
    """Factor from the arrays of `spectra` to the numbers in the file: counts for HARPS, else survey units."""
    return counts_scale(snr) if config.format in RAGGED else 100.0 if config.format != "image" else 1.0


def _run(writer: _ArchiveWriter, missing: dict[int, list[int]], *, workers: int) -> Iterator[int]:
    if workers < 1:
        raise ConfigError(f"workers is {workers}; at least 1 is needed")
    if workers == 1 or len(missing) < 2:
        for number, rows in missing.items():
            yield writer.write(number, rows)
        return
    folder, content = str(writer.folder), json.dumps(writer.config.to_mapping())
    # spawn: the parent may hold threads, which a fork would copy in mid-work
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(_write, folder, content, number, rows) for number, rows in missing.items()]
        for future in futures:
            yield future.result()


def _write(folder: str, content: str, number: int, rows: list[int]) -> int:
    return _writer(folder, content).write(number, rows)


@functools.lru_cache(maxsize=1)  # a worker process makes what all its blocks share once
def _writer(folder: str, content: str) -> _ArchiveWriter:
    return _ArchiveWriter(Path(folder), SimulationConfig.from_mapping(json.loads(content)))
