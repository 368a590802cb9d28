"""One block of files to rows on disk: what a worker does, alone, and can be killed at.

A block is a run of consecutive files of the plan. Its folder holds a journal and, for each shard's
worth of rows, a folder of growing array files. Whoever takes the block up again continues after the
last outcome in the journal.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import google_crc32c
import numpy as np

from ..archive import ReadOptions
from ..archive import read as read_file
from ..errors import REASONS, SpectrumError, StoreError
from ..kernels import keep_memory
from ..spectrum import Spectrum
from ..store.layout import Layout
from ..store.prepare import PrepareOptions, prepare
from ..store.write import BlockWriter
from .journal import Journal, JournalWriter, read_journal

# A file that a worker died on this often is refused rather than tried again.
CRASHES_ALLOWED = 2
# Seconds a file may take, and more for each 10 MB of it.
FILE_SECONDS = 10.0
# On a machine that is busy with other things a reader may get no time at all: one that has used less than
# half of its seconds by its own clock waits up to so many times longer. What hangs is ended then.
PATIENCE = 12
LOCK_SECONDS = 60.0


@dataclass(frozen=True)
class BlockTask:
    """All a worker needs to know; plain values, so that it travels to any machine that sees the disk."""

    folder: str
    files: tuple[str, ...]
    layout: Layout
    prepare: PrepareOptions
    read: ReadOptions


def part_folder(folder: Path, part: int) -> Path:
    """Where the rows of the block's shard number `part` grow."""
    return folder / f"part-{part:03d}"


def process_block(task: BlockTask) -> int:
    """Read, prepare and write every file of a block that is not done yet; returns how many that were."""
    folder = Path(task.folder)
    folder.mkdir(parents=True, exist_ok=True)
    keep_memory()
    with _only_one(folder):
        journal = read_journal(folder / "journal")
        writer = JournalWriter(folder / "journal", length=journal.length)
        rows = _Rows(folder, task.layout, accepted=len(journal.accepted))
        count = 0
        try:
            for number, path in enumerate(task.files):
                if number in journal.done:
                    continue
                if journal.crashes[number] >= CRASHES_ALLOWED:
                    message = f"its reader died {journal.crashes[number]} times; see what this file is"
                    writer.write("R", _refusal(number, 0, "crash", message))
                else:
                    writer.write("B", number)
                    _process_file(number, path, task, rows, writer, known=journal.outcomes[number])
                writer.write("D", number)
                count += 1
        finally:
            rows.close()
            writer.close()
    return count


def _process_file(
    number: int, path: str, task: BlockTask, rows: _Rows, writer: JournalWriter, *, known: int
) -> None:
    """Bring every spectrum of one file to its outcome, the first `known` of them having theirs."""
    item, seconds = -1, seconds_for(path)
    for item, outcome in enumerate(spectra_of(path, task.read, seconds=seconds)):
        if item < known:
            continue
        if isinstance(outcome, Spectrum):
            try:
                with deadline(seconds):
                    prepared = prepare(outcome, task.layout.grid, options=task.prepare)
            except SpectrumError as error:
                writer.write("R", _refusal(number, item, error.reason, str(error), outcome.identifier))
                continue
            except Exception as error:  # a file we did not foresee must not end the run, nor go uncounted
                writer.write("R", _refusal(number, item, "crash", _unforeseen(error), outcome.identifier))
                continue
            part, row = rows.append(prepared.flux, prepared.sigma, prepared.good)
            entry = {"file": number, "item": item, "part": part, "row": row}
            writer.write(
                "A",
                {
                    **entry,
                    **describe(outcome),
                    **prepared.facts,
                    "keywords": _finite(outcome),
                    "words": dict(outcome.words),
                },
            )
        else:
            writer.write("R", _refusal(number, item, outcome.reason, str(outcome)))
    if item < 0 and known == 0:
        writer.write("R", _refusal(number, 0, "empty", "the file holds no spectrum"))


def spectra_of(path: str, options: ReadOptions, *, seconds: float) -> Iterator[Spectrum | SpectrumError]:
    """The spectra of a file, whatever it does: trouble with the file comes out as one refusal."""
    try:
        source = iter(read_file(path, options=options))  # opens the file when the first is requested
        while True:
            with deadline(seconds):
                outcome = next(source, None)
            if outcome is None:
                return
            yield outcome
    except SpectrumError as error:
        yield error
    except OSError as error:
        yield SpectrumError(f"cannot be read: {error.strerror or error}", reason="unreadable")
    except Exception as error:  # as above: counted, with its reason
        yield SpectrumError(_unforeseen(error), reason="crash")


def describe(spectrum: Spectrum) -> dict[str, Any]:
    """What the index keeps of a spectrum besides what `prepare` found."""
    return {
        "spectrum_id": spectrum.identifier,
        "name": spectrum.target,
        "ra": float(spectrum.ra),
        "dec": float(spectrum.dec),
        "time": float(spectrum.time),
        "snr_file": float(spectrum.snr),
        "resolution": float(spectrum.resolution),
        "medium": spectrum.medium,
        "reader": spectrum.reader,
        "n_native": len(spectrum),
        "digest": digest(spectrum),
    }


def digest(spectrum: Spectrum) -> str:
    """What distinguishes measurements: the crc32c of each half of the flux, 64 bits together."""
    plain: Any = np.ascontiguousarray(spectrum.flux).view(np.uint8)
    middle = plain.size // 2
    return f"{google_crc32c.value(plain[:middle]):08x}{google_crc32c.value(plain[middle:]):08x}"


def _finite(spectrum: Spectrum) -> dict[str, float]:
    return {key: value for key, value in spectrum.keywords.items() if np.isfinite(value)}


def _refusal(file: int, item: int, reason: str, message: str, identifier: str = "") -> dict[str, Any]:
    known = reason if reason in REASONS else "crash"
    return {"file": file, "item": item, "spectrum_id": identifier, "reason": known, "message": message}


def _unforeseen(error: Exception) -> str:
    return f"unforeseen {type(error).__name__}: {error}"[:500]


class _Rows:
    """Rows of a block, spread over as many shards' worth of folders as they need."""

    def __init__(self, folder: Path, layout: Layout, *, accepted: int) -> None:
        self._folder, self._layout = folder, layout
        self._part, rows = divmod(accepted, layout.rows_per_shard)
        if accepted and rows == 0:  # the last one is full, not the next one begun
            self._part, rows = self._part - 1, layout.rows_per_shard
        self._writer = BlockWriter(part_folder(folder, self._part), layout)
        if self._writer.rows < rows:
            raise StoreError(
                f"{part_folder(folder, self._part)} holds {self._writer.rows} rows, its journal says {rows}: "
                f"the disk lost data; remove {folder} and run the same command again"
            )
        self._writer.truncate(rows)

    def append(self, flux: Any, sigma: Any, good: Any) -> tuple[int, int]:
        """Write one row; returns the part and the row in it."""
        if self._writer.rows == self._layout.rows_per_shard:
            self._writer.close()
            self._part += 1
            self._writer = BlockWriter(part_folder(self._folder, self._part), self._layout)
            self._writer.truncate(0)
        return self._part, self._writer.append(flux, sigma, good)

    def close(self) -> None:
        self._writer.close()


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the block: a worker thought dead may still be writing to it."""
    with open(folder / "lock", "w") as file:
        give_up = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise StoreError(f"{folder} is held by another process for {LOCK_SECONDS:g} s") from None
                time.sleep(0.1)
        yield


def seconds_for(path: str) -> float:
    """How long each step of a file may take."""
    try:
        return FILE_SECONDS * (1 + os.stat(path).st_size / 100e6)
    except OSError:
        return FILE_SECONDS


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """End what takes too long, where signals can (the main thread of a worker; not in Dask's threads).

    A process that other load keeps from working is given more time: no file is refused for that.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    begun, worked = time.monotonic(), time.process_time()

    def ring(signum: int, frame: FrameType | None) -> None:
        spent = time.monotonic() - begun
        if time.process_time() - worked < seconds / 2 and spent < PATIENCE * seconds:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            return
        raise SpectrumError(
            f"took longer than {spent:.0f} s to read: see what this file is, or whether its disk answers",
            reason="crash",
        )

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def note_crash(folder: Path) -> bool:
    """After a worker died: mark the file it was at. True where there was one."""
    journal: Journal = read_journal(folder / "journal")
    if journal.begun is None:
        return False
    writer = JournalWriter(folder / "journal", length=journal.length)
    writer.write("C", journal.begun)
    writer.close()
    return True
