"""How an archive is divided before a network is trained on it: units, shares, folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..schema import Split
from .split import as_trained
from .split import held_out as held_out_rows
from .units import FEWEST, choose, units_of

if TYPE_CHECKING:
    import pandas as pd

ENOUGH = 200  # held-out units from which they are the evidence; with fewer, folds are
FOLDS = 5
FOLDS_IF_COSTLY, COSTLY_PIXELS = 3, 2**16
VALID, TEST = 0.1, 0.1  # shares by default
# Where every spectrum gives evidence by folds, a test share is held out only as far as `apply` needs it to
# calibrate labels: up to 30 units in all, and not at all where these would be fewer than 22 (it takes 19).
CALIBRATING, TOO_FEW_TO_CALIBRATE = 30, 22


@dataclass(frozen=True)
class Plan:
    """How an archive is divided before a network is trained on it.

    shares    what model.json keeps of it, still without numbers of spectra
    units     number of units in all
    held_out  number of those that the main network is not trained on
    """

    shares: Split
    units: int
    held_out: int
    targets: int

    @property
    def evidence(self) -> int:
        """Units that findings will rest on."""
        return self.units if self.shares.folds else self.held_out

    @property
    def enough(self) -> bool:
        """Whether findings can be made of them."""
        return self.evidence >= FEWEST

    def text(self) -> str:
        """One sentence, printed before the training."""
        unit = self.shares.unit
        many = f"{self.units:,} {unit}{'s' * (self.units != 1)}"
        if unit != "target":
            many += f" of {self.targets} target{'s' * (self.targets != 1)}"
        if self.shares.folds:
            how = f"evidence from {many}, by {self.shares.folds}-fold cross-fitting: so many trainings more, "
            how += "each half as long"
        else:
            how = f"evidence from {self.held_out:,} of {many}, held out of training"
        return f"{how} ({self.shares.reason})" if self.shares.reason else how

    def lack(self) -> str:
        """Why findings cannot be made, and what to do."""
        shares = self.shares
        if self.units < FEWEST:
            found = f"{self.units} {shares.unit}{'s' * (self.units != 1)}"
            why = f" ({shares.reason})" if shares.reason else ""
            return (
                f"this archive has {found}{why}, and findings need {FEWEST}: add spectra of more stars or, "
                f"of the same stars, from {FEWEST} nights or more, with their dates"
            )
        return (
            f"{self.held_out} of {self.units} {shares.unit}s would be held out of training, and findings "
            f"need {FEWEST}: leave --folds to choose cross-fitting, or run with a larger --valid or --test "
            f"(now {shares.valid:g} and {shares.test:g})"
        )


def plan_split(
    index: pd.DataFrame,
    *,
    seed: int = 0,
    valid: float = VALID,
    test: float | None = None,
    folds: int | None = None,
    pixels: int = 0,
) -> Plan:
    """The units of an archive, whether evidence needs folds, and the shares of the split.

    index   a row per spectrum, with `target` and, where known, `time` (days)
    test    share held out besides `valid`; None: a tenth, or less where folds make it needless
    folds   None: five where fewer than 200 units would be held out, three if spectra are long; 0: none
    pixels  per spectrum
    """
    check_folds(folds)
    unit, days, why = choose(index)
    names = units_of(index, unit, block_days=days)
    number = len(set(names.tolist()))
    reasons = [why] if why else []

    def shares(test: float, folds: int) -> Split:
        return Split(seed, valid, test, 0, 0, 0, unit, days, folds, "; ".join(reasons))

    def held(shares: Split) -> int:
        parts = as_trained(index, shares)
        return len(set(names[held_out_rows(parts)].tolist()))

    plain = shares(TEST if test is None else test, 0)
    out = held(plain)
    if folds is None:
        folds = 0
        if out < ENOUGH and number >= FEWEST:
            folds = FOLDS if pixels <= COSTLY_PIXELS else FOLDS_IF_COSTLY
            reasons.append(f"only {out} {unit}s would be held out, and {ENOUGH} are needed without")
    folds = min(folds, number)
    if folds:
        plain = shares(_calibrating(number, valid) if test is None else test, folds)
        out = held(plain)
    return Plan(plain, number, out, index["target"].nunique())


def _calibrating(units: int, valid: float) -> float:
    """The test share of an archive whose evidence is cross-fitted."""
    test = min(TEST, max(0.0, round(CALIBRATING / units - valid, 3)))
    return test if units * (valid + test) >= TOO_FEW_TO_CALIBRATE else 0.0


def check_folds(folds: int | None) -> None:
    """Refuse a number of folds that makes no cross-fitting."""
    if folds is not None and (folds < 0 or folds == 1):
        raise ConfigError(f"{folds} folds: 0 for none, or 2 and more")
