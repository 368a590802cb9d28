"""The history of a training: a table of steps, with every event in words; and the state of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..artifacts import aside
from ..errors import ModelError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Moment:
    """Training at one step; means over the steps since the moment before."""

    step: int  # steps done
    loss: float  # nats per spectrum, at sampled codes; of the paper's network its own loss
    chi2: float  # per pixel, no floor, at sampled codes, mean over spectra
    misfit: float  # nats per spectrum beyond noise and floor
    kl: float  # nats per spectrum, all nodes together
    active: int  # nodes that are on, with a KL above 0.1 nat
    beta: float
    floor: float  # relative flux
    blur: float  # km/s
    rate: float
    spectra_per_s: float
    waited: float  # share of the time spent waiting for data
    chi2_train: float = float("nan")  # at the mean code, median over a sample of the training targets
    chi2_valid: float = float("nan")  # the same of held-out targets
    event: str = ""  # what was done before this moment, or noticed

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass
class Status:
    """The state of a training: all that is not a tensor; goes into the checkpoint."""

    step: int = 0
    joined: bool = False  # the other nodes, to the Doppler node
    pruned: int = 0
    back: int = 0
    signal: float = 0.0  # nats per spectrum that the archive's variance is worth
    misfit: float = 0.0  # nats per spectrum, a running mean
    grain: float = 0.0  # of the misfit, what is noise from pixel to pixel beyond the stated errors
    whole: float = 0.0  # the signal at the floor of the step when that was taken
    slow: float = 1.0  # factor on the rate, after setbacks
    gentle: float = 1.0  # factor on beta, after a collapse
    watched: int = 0  # steps in which the scatter was measured, and not yet used
    led: list[int] = field(default_factory=list)  # nodes that began on a lead when nodes last came back
    led_at: int = 0  # the step of it
    careful: int = 0  # steps before this one are checked one by one: training failed among them
    left_out: int = 0  # how many of these were left out
    setbacks: list[str] = field(default_factory=list)  # all of them, in words
    moments: list[dict[str, Any]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)  # since the last moment

    def facts(self) -> dict[str, Any]:
        """For JSON; shares no list with this."""
        return {name: [*value] if isinstance(value, list) else value for name, value in vars(self).items()}


def to_table(moments: Sequence[Moment]) -> pd.DataFrame:
    """A row per moment."""
    import pandas as pd

    return pd.DataFrame([moment.as_dict() for moment in moments], columns=[f.name for f in fields(Moment)])


def write_history(moments: Sequence[Moment], path: Path) -> None:
    """history.parquet, written aside and renamed."""
    with aside(path) as part:
        to_table(moments).to_parquet(part, index=False)


def read_history(path: Path) -> pd.DataFrame:
    """The history of a finished training."""
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); train again") from None
