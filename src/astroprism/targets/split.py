"""Train, valid, test; folds; weights; one spectrum per unit.

Everything depends on a hash of the unit (or the spectrum) and the seed, never on the order of rows or
files: a study that grows keeps every unit where it was, and no unit is on both sides. A unit is a target,
or, of few targets, a night or a block of time (units.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..checks import check_choice
from ..errors import ConfigError
from ..schema import Split
from .units import beside, units_of

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("train", "valid", "test")


def assign(
    targets: Sequence[str] | NDArray[np.object_], seed: int, *, valid: float = 0.1, test: float = 0.1
) -> NDArray[np.str_]:
    """'train', 'valid' or 'test' for each spectrum, shape (n,).

    valid, test  shares of the targets (not of the spectra), met to within the scatter of a hash. A larger
                 `test` keeps what was in test and takes from valid.
    """
    if not (0 <= valid < 1 and 0 <= test < 1 and valid + test < 1):
        raise ConfigError(
            f"shares valid={valid:g} and test={test:g} must be at least 0 and sum to less than 1"
        )
    names, of = _targets(targets)
    draw = np.array([_uniform(seed, "split", name) for name in names])
    part = np.where(draw < test, "test", np.where(draw < test + valid, "valid", "train"))
    return np.asarray(part[of], dtype=np.str_)


def weights(targets: Sequence[str] | NDArray[np.object_], *, balance: str = "target") -> NDArray[np.float64]:
    """Training weight of each spectrum, shape (n,), mean 1.

    balance  'target': 1/(spectra of that target), so that a star observed a thousand times counts as one;
             'none': all equal
    """
    check_choice("balance", balance, ("target", "none"))
    names, of = _targets(targets)
    if balance == "none":
        return np.ones(of.size)
    weight = 1 / np.bincount(of, minlength=len(names))[of]
    return np.asarray(weight * (of.size / max(len(names), 1)))


def units(index: pd.DataFrame, shares: Split) -> NDArray[np.object_]:
    """The unit of each spectrum of a store, by which a model was trained, (n,)."""
    return units_of(index, shares.unit, block_days=shares.block_days)


def as_trained(index: pd.DataFrame, shares: Split) -> NDArray[np.str_]:
    """As `assign`, by the units and shares that a model was trained with, (n,).

    index  a row per spectrum, with `target` and, for units of time, `time`

    Between blocks of time, training spectra beside one that is held out are 'spare': neither of the two. Of
    so few units that none falls to a share one is taken, where folds are the evidence.
    """
    names, of = _targets(units(index, shares))
    parts = assign(names, shares.seed, valid=shares.valid, test=shares.test)
    if shares.folds and shares.valid and len(names) > 1 and not held_out(parts).any():
        parts[np.argmin([_uniform(shares.seed, "split", name) for name in names])] = "valid"
    parts = parts[of]
    return spared(index, parts, shares)


def spared(index: pd.DataFrame, parts: NDArray[np.str_], shares: Split) -> NDArray[np.str_]:
    """The parts (n,), with training spectra beside a block that is held out made 'spare'."""
    if shares.unit != "block":
        return parts
    near = (parts == "train") & beside(index, parts != "train")
    return np.asarray(np.where(near, "spare", parts), dtype=np.str_)


def held_out(parts: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Which spectra are evidence: those of units that no weight was fitted to, (n,)."""
    return np.asarray((parts == "valid") | (parts == "test"))


def folds(index: pd.DataFrame, shares: Split, count: int) -> NDArray[np.intp]:
    """The fold of each spectrum, 0 .. count - 1, (n,): whole units, as many in each as in every other."""
    names, of = _targets(units(index, shares))
    draw = np.array([_uniform(shares.seed, "fold", name) for name in names])
    fold = np.empty(len(names), dtype=np.intp)
    fold[np.argsort(draw, kind="stable")] = np.arange(len(names)) % count
    return np.asarray(fold[of])


def one_per_target(
    targets: Sequence[str] | NDArray[np.object_],
    seed: int,
    *,
    identifiers: Sequence[str] | NDArray[np.object_] | None = None,
) -> NDArray[np.int64]:
    """Rows of one seeded spectrum of each target, shape (targets,), ascending.

    identifiers  spectrum identifiers, shape (n,): with them the choice does not depend on the order of rows;
                 without, the first, second ... row of each target stands for its name
    """
    names, of = _targets(targets)
    if identifiers is None:
        order = np.argsort(of, kind="stable")
        first = np.searchsorted(of[order], np.arange(len(names)))
        visit = np.empty(of.size, dtype=np.int64)
        visit[order] = np.arange(of.size) - first[of[order]]
        labels: Sequence[str] = [str(v) for v in visit]
    elif len(identifiers) != of.size:
        raise ConfigError(
            f"{of.size} targets, but {len(identifiers)} identifiers; give one for each spectrum"
        )
    else:
        labels = [str(identifier) for identifier in identifiers]
    draw = np.array([_uniform(seed, names[t], label) for t, label in zip(of, labels, strict=True)])
    order = np.lexsort((np.arange(of.size), draw, of))
    chosen = order[np.unique(of[order], return_index=True)[1]]
    return np.sort(chosen).astype(np.int64)


def _targets(targets: Sequence[str] | NDArray[np.object_]) -> tuple[list[str], NDArray[np.int64]]:
    """(names of the targets, which of them each spectrum is)."""
    number: dict[str, int] = {}
    of = np.empty(len(targets), dtype=np.int64)
    for row, target in enumerate(targets):
        if not isinstance(target, str) or not target:
            raise ConfigError(
                f"spectrum {row} has target {target!r}; every spectrum needs one, `group_targets` gives it"
            )
        of[row] = number.setdefault(target, len(number))
    return list(number), of


def _uniform(seed: int, *words: str) -> float:
    """A number in [0, 1) that these words always give: Python's own hash changes from run to run."""
    text = "\x1f".join([str(int(seed)), *words])
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53
