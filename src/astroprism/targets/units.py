"""What is held out whole: a target, or of few targets a night, or a block of time.

A star that is on both sides of a split measures memory, so the unit is the target wherever there are enough
of them. One star seen on sixty nights has none to spare: there the unit is the night, and within too few
nights a block of time. docs/design/targets-and-labels.md has the reasons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..checks import check_choice
from ..errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

UNITS = ("target", "night", "block")
FEW_TARGETS = 50  # fewer than this are divided into nights, where dates permit
FEWEST = 25  # units below which no interval means anything; the same as of every measure (spacing.FEWEST)
GAP = 0.3  # days without an exposure that end a night: longer than a cloud, shorter than a day
DATED = 0.9  # share of the spectra whose date must be known before time divides anything
EXPOSURES = 4  # per block of time, mean: with fewer, most exposures would be dropped as neighbours
LONGEST_BLOCK = 0.25  # days; shortened by a fifth until there are enough blocks
SHORTER, SHORTEST_BLOCK = 0.8, 10 / 86_400  # days: ten seconds


def choose(index: pd.DataFrame) -> tuple[str, float, str]:
    """(unit, days of a block or 0, why it is not the target or cannot be another) of an archive."""
    targets, time = index["target"].to_numpy(dtype=object), times(index)
    number = len(set(targets.tolist()))
    if number >= FEW_TARGETS:
        return "target", 0.0, ""
    few = f"{number} target{'s' * (number != 1)}"
    dated = float(np.isfinite(time).mean()) if len(time) else 0.0
    if dated < DATED:
        return "target", 0.0, f"{dated:.0%} of the spectra are dated" if number < FEWEST else ""
    nights = len(set(units_of(index, "night").tolist()))
    if nights >= FEWEST and nights > number:
        return "night", 0.0, f"{few} only"
    if number >= FEWEST:
        return "target", 0.0, ""
    days = LONGEST_BLOCK
    while days > SHORTEST_BLOCK:
        blocks = len(set(units_of(index, "block", block_days=days).tolist()))
        if blocks >= FEWEST:
            if len(index) < EXPOSURES * blocks:
                break
            return "block", days, f"{few} and {nights} night{'s' * (nights != 1)} only"
        days *= SHORTER
    return "target", 0.0, f"{nights} night{'s' * (nights != 1)} and {len(index)} spectra"


def units_of(index: pd.DataFrame, unit: str, *, block_days: float = 0.0) -> NDArray[np.object_]:
    """The unit of each spectrum, as its name, (n,).

    unit        'target'; 'night': exposures of a target without a gap of .3 days; 'block': of its time
    block_days  length of a block

    Exposures of a target that have no date are one unit together.
    """
    check_choice("unit", unit, UNITS)
    targets = index["target"].to_numpy(dtype=object)
    if unit == "target" or not len(targets):
        return targets
    time = times(index)
    known = np.isfinite(time)
    if unit == "block":
        if not block_days > 0:
            raise ConfigError(f"blocks of {block_days} days; a positive length is needed")
        number = np.floor(np.where(known, time, 0) / block_days)
    else:
        number = np.floor(_begins(targets, np.where(known, time, 0)))
    return np.array(
        [
            f"{target} {unit} {number:.0f}" if dated else f"{target} undated"
            for target, number, dated in zip(targets, number, known, strict=True)
        ],
        dtype=object,
    )


def beside(index: pd.DataFrame, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which spectra are the neighbours in time, of one target and within .3 days, of these rows, (n,)."""
    targets, time = index["target"].to_numpy(dtype=object), times(index)
    order = _in_time(targets, time)
    same = (targets[order][1:] == targets[order][:-1]) & (np.diff(time[order]) <= GAP)
    chosen, near = rows[order], np.zeros(len(rows), bool)
    near[order[1:]] |= same & chosen[:-1]
    near[order[:-1]] |= same & chosen[1:]
    return near & ~rows


def times(index: pd.DataFrame) -> NDArray[np.float64]:
    """Dates in days, NaN where unknown, (n,)."""
    if "time" not in index:
        return np.full(len(index), np.nan)
    return np.asarray(index["time"].to_numpy(dtype=np.float64))


def _in_time(targets: NDArray[np.object_], time: NDArray[np.float64]) -> NDArray[np.intp]:
    """Order by target, then time."""
    return np.lexsort((time, np.unique(targets.astype(str), return_inverse=True)[1]))


def _begins(targets: NDArray[np.object_], time: NDArray[np.float64]) -> NDArray[np.float64]:
    """The first date of the night that each spectrum is of, (n,)."""
    order = _in_time(targets, time)
    new = np.ones(len(order), bool)
    new[1:] = (targets[order][1:] != targets[order][:-1]) | (np.diff(time[order]) > GAP)
    first = np.empty(len(order))
    first[order] = time[order][np.flatnonzero(new)[np.cumsum(new) - 1]]
    return first
