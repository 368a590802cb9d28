"""Good files made bad, in the ways archives make them bad; every way is seeded."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astroprism.archive import ReadOptions, read
from astroprism.errors import SpectrumError
from astroprism.grid import Grid
from astroprism.spectrum import Spectrum
from astroprism.store.prepare import Prepared, PrepareOptions, prepare

Damage = Callable[[bytes, np.random.Generator], bytes]


def cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: int(rng.integers(0, len(content)))]


def cut_at_block(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: 2880 * int(rng.integers(0, max(1, len(content) // 2880)))]


def flip(content: bytes, rng: np.random.Generator) -> bytes:
    """A few bytes changed anywhere."""
    changed = bytearray(content)
    for position in rng.integers(0, len(changed), int(rng.integers(1, 20))):
        changed[position] ^= int(rng.integers(1, 256))
    return bytes(changed)


def flip_many(content: bytes, rng: np.random.Generator) -> bytes:
    """A stretch of bytes replaced by noise."""
    start = int(rng.integers(0, len(content)))
    length = min(len(content) - start, int(rng.integers(100, 20_000)))
    return content[:start] + rng.bytes(length) + content[start + length :]


def zero_stretch(content: bytes, rng: np.random.Generator) -> bytes:
    """A block that the disk lost."""
    start = int(rng.integers(0, len(content)))
    length = min(len(content) - start, int(rng.integers(512, 8192)))
    return content[:start] + bytes(length) + content[start + length :]


def _cards(content: bytes) -> list[int]:
    """Offsets of the cards of the first 40 header blocks that look like cards."""
    return [
        offset
        for offset in range(0, min(len(content), 40 * 2880), 80)
        if content[offset + 8 : offset + 10] == b"= " or content[offset : offset + 8] == b"HIERARCH"
    ]


def drop_card(content: bytes, rng: np.random.Generator) -> bytes:
    cards = _cards(content)
    if not cards:
        return flip(content, rng)
    offset = int(rng.choice(cards))
    return content[:offset] + b" " * 80 + content[offset + 80 :]


def garble_card(content: bytes, rng: np.random.Generator) -> bytes:
    cards = _cards(content)
    if not cards:
        return flip(content, rng)
    offset = int(rng.choice(cards))
    junk = bytes(rng.choice(list(b"0123456789.-+eE'xyz "), 20).astype(np.uint8).tolist())
    return content[: offset + 10] + junk + content[offset + 30 :]


def duplicate_card(content: bytes, rng: np.random.Generator) -> bytes:
    cards = _cards(content)
    if len(cards) < 2:
        return content + content
    one, two = (int(value) for value in rng.choice(cards, 2, replace=False))
    return content[:two] + content[one : one + 80] + content[two + 80 :]


def junk_behind(content: bytes, rng: np.random.Generator) -> bytes:
    return content + rng.bytes(int(rng.integers(1, 5000)))


def twice(content: bytes, rng: np.random.Generator) -> bytes:
    return content + content


def wrong_unit(content: bytes, rng: np.random.Generator) -> bytes:
    for word, other in (
        (b"angstrom", b"nm      "),
        (b"Angstrom", b"nm      "),
        (b"wavelength", b"frequency "),
    ):
        if word in content:
            return content.replace(word, other)
    return garble_card(content, rng)


def zipped(content: bytes, rng: np.random.Generator) -> bytes:
    """Compressed, then cut or flipped."""
    return (cut if rng.random() < 0.5 else flip)(gzip.compress(content), rng)


WAYS: dict[str, Damage] = {
    function.__name__: function
    for function in (
        cut, cut_at_block, flip, flip_many, zero_stretch, drop_card, garble_card, duplicate_card, junk_behind,
        twice, wrong_unit, zipped,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What became of a damaged file: the reasons it was refused for, or the pixels beyond the noise."""

    reasons: tuple[str, ...]
    accepted: int
    beyond_noise: int


def judge(path: Path, originals: list[Prepared], grid: Grid) -> Verdict:
    """Read and prepare a damaged file; compare what is accepted with the undamaged rows, in order."""
    reasons, rows = [], []
    try:
        for outcome in read(path, options=ReadOptions(checksum="refuse")):
            if isinstance(outcome, Spectrum):
                try:
                    rows.append(prepare(outcome, grid, options=PrepareOptions(min_good=0.3)))
                except SpectrumError as error:
                    reasons.append(error.reason)
            else:
                reasons.append(outcome.reason)
    except SpectrumError as error:
        reasons.append(error.reason)
    beyond = sum(min(_beyond(row, original) for original in originals) for row in rows)
    return Verdict(tuple(reasons), len(rows), beyond)


def _beyond(row: Prepared, original: Prepared, *, sigmas: float = 8.0) -> int:
    """Pixels called good in both whose flux differs by more than noise explains, in the unit of the file.

    The median that a row is divided by moves when other pixels are masked; the data do not.
    """
    both = row.good & original.good
    unit = row.facts["scale"] / original.facts["scale"]
    sigma = np.maximum(np.maximum(original.sigma[both], row.sigma[both] * unit), 1e-6)
    return int(np.count_nonzero(np.abs(row.flux[both] * unit - original.flux[both]) > sigmas * sigma))
