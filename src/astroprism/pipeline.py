"""The steps of a run as they are reported: their options, states and outcomes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .progress import Listener, Progress
from .schema import Findings, ModelFacts

if TYPE_CHECKING:
    from .findings.find import FindOptions
    from .ingest import IngestOptions
    from .model.encode import EncodeOptions
    from .model.recipe import TrainOptions

DONE, SKIPPED, STALE = "done", "skipped", "stale"
# messages of a step that begin so are passed on
NEWS = (
    "continuing",
    "grid:",
    "--targets:",
    "evidence ",
    "cross-fitting:",
    "a smooth part",
    "the range is too short",
    "no barycentric velocity",
)
Outcome = tuple[str, str, dict[str, Any]]  # state, a line, the step's own report


@dataclass(frozen=True)
class Step:
    """One step of a run.

    state    done: made now; skipped: nothing to do; stale: what is there is of fewer spectra, and was kept
    outcome  the result in a line
    facts    the step's own report, for JSON
    """

    name: str
    state: str
    outcome: str
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def timed(cls, name: str, do: Callable[[Listener], Outcome], progress: Listener) -> Self:
        """What `do` returned, with the seconds it took."""
        begun = time.monotonic()
        state, outcome, facts = do(progress)
        return cls(name, state, outcome, time.monotonic() - begun, facts)


@dataclass(frozen=True)
class RunOptions:
    """How each step is done; None: by its defaults. again: train again where spectra or settings changed."""

    ingest: IngestOptions | None = None
    train: TrainOptions | None = None
    encode: EncodeOptions | None = None
    find: FindOptions | None = None
    again: bool = False


@dataclass(frozen=True)
class RunReport:
    """What a run did."""

    study: Path
    steps: tuple[Step, ...]
    findings: Findings

    @property
    def seconds(self) -> float:
        """Of this run, all steps together."""
        return sum(step.seconds for step in self.steps)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "study": str(self.study),
            "seconds": round(self.seconds, 2),
            "steps": [vars(step) | {"seconds": round(step.seconds, 2)} for step in self.steps],
            "count": self.findings.count.to_json(),
            "findings": str(Findings.path_in(self.study)),
            "report": str(self.study / "report.html"),
        }


def is_news(event: Progress) -> bool:
    """Whether a run passes an event of a step on: counts, warnings, messages that begin with NEWS."""
    return event.kind != "message" or event.message.startswith(NEWS)


def model_line(facts: ModelFacts) -> str:
    """A trained model in a line."""
    chi2 = facts.chi2
    held = "" if chi2.valid is None else f" ({chi2.valid:.2f} held out)"
    fit = "unknown" if chi2.train is None else f"{chi2.train:.2f}"
    return f"{facts.steps:,} steps, {len(facts.kept)} nodes kept, chi2 per pixel {fit}{held}"
