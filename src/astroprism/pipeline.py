"""The path as a whole: ingest, train, encode, find, report, each where it is due, from nothing to a page.

A step whose inputs are unchanged does nothing; one that was cut off goes on. So does the whole.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ModelError
from .schema import Findings
from .tables import as_table

if TYPE_CHECKING:
    import pandas as pd

    from .findings.find import FindOptions
    from .ingest import IngestOptions
    from .model.encode import EncodeOptions
    from .model.recipe import TrainOptions
    from .study import Study

DONE, SKIPPED, STALE = "done", "skipped", "stale"
NEWS = ("warning", "going on", "grid:")  # remarks of a step that begin so are passed on


@dataclass(frozen=True)
class Step:
    """One step of a run.

    state  done: made now; skipped: nothing to do; stale: what is there is of fewer spectra, and was kept
    told   what came of it, in a line
    facts  the step's own report, for JSON
    """

    name: str
    state: str
    told: str
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunOptions:
    """How each step is done; None: by its defaults. again: train anew where spectra or settings changed."""

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
            "findings": str(self.study / "findings.json"),
            "report": str(self.study / "report.html"),
        }


Stage = Callable[[str], AbstractContextManager[Any]]
Outcome = tuple[str, str, dict[str, Any]]  # state, what came of it, the step's own report


def silent(*_: object) -> None:
    """Nobody listens."""


def run(
    study: Study,
    paths: Iterable[str | os.PathLike[str]],
    *,
    labels: Iterable[object] = (),
    options: RunOptions | None = None,
    stage: Stage | None = None,
    tell: Callable[[Step], object] = silent,
    say: Callable[[str], object] = silent,
) -> RunReport:
    """Every step that is due, in order.

    labels  tables: paths, pandas DataFrames or astropy Tables
    stage   gives, for a step's name, a context whose value watches its progress
    tell    is called with each step when it is over; say with warnings on the way
    """
    options = options or RunOptions()
    stage = stage or (lambda _: nullcontext(silent))
    # a label table that cannot be read, or has none of the spectra, is an error before the training
    tables = [as_table(table) for table in labels]
    steps: list[Step] = []

    def news(text: str) -> None:
        if text.startswith(NEWS):
            say(text)

    path: dict[str, Callable[[Any], Outcome]] = {
        "ingest": lambda watch: _ingest(study, paths, tables, options, news, watch),
        "train": lambda watch: _train(study, options, news, watch),
        "encode": lambda watch: _encode(study, options, news, watch),
        "find": lambda _: _find(study, tables, options, news),
        "report": lambda watch: _report(study, watch),
    }
    for name, do in path.items():
        begun = time.monotonic()
        with stage(name) as watch:
            state, told, facts = do(watch)
        steps.append(Step(name, state, told, time.monotonic() - begun, facts))
        tell(steps[-1])
    return RunReport(study.path, tuple(steps), study.findings())


def _ingest(
    study: Study, paths: Any, tables: list[pd.DataFrame], options: RunOptions, say: Any, watch: Any
) -> Outcome:
    report = study.ingest(paths, options=options.ingest, say=say, watch=watch)
    for table in tables:
        study.labels(table)
    grid = study.store.grid
    refused = len(study.store.rejects)
    told = (
        f"{report.n_spectra:,} spectra of {report.n_targets:,} stars, {grid.wavelength[0]:.0f} to "
        f"{grid.wavelength[-1]:.0f} A, {grid.size:,} pixels" + (f"; {refused:,} refused" if refused else "")
    )
    return (DONE if report.files_new else SKIPPED), told, report.as_dict()


def _train(study: Study, options: RunOptions, say: Any, watch: Any) -> Outcome:
    from .model.recipe import TrainOptions

    asked = options.train or TrainOptions()
    if not options.again and (older := _of_fewer_spectra(study, asked)) is not None:
        new = len(study.store) - older["store"]["spectra"]
        told = f"{_model(older)}; {new:,} spectra came later, --again trains on them too"
        return STALE, told, {"trained": False, "model": older}
    report = study.train(options=asked, again=options.again, say=say, watch=watch)
    return (DONE if report.trained else SKIPPED), _model(report.model.to_json()), report.as_dict()


def _of_fewer_spectra(study: Study, asked: TrainOptions) -> dict[str, Any] | None:
    """model.json of a finished model that differs from what is asked in the store's content alone."""
    from .model.fit import asked_of

    found = study.model_facts()
    facts = None if found is None else found.to_json()
    if facts is None or (study.model_path / "plan.json").exists():
        return None
    wanted = asked_of(study.store, asked)
    then = facts.get("asked", {})
    differ = {name for name in wanted | then if wanted.get(name) != then.get(name)}
    grew = len(study.store) > facts["store"]["spectra"]
    return facts if differ and differ <= {"store", "spectra"} and grew else None


def _model(facts: dict[str, Any]) -> str:
    chi2 = facts["chi2"]
    held = "" if chi2["valid"] is None else f" ({chi2['valid']:.2f} held out)"
    fit = "unknown" if chi2["train"] is None else f"{chi2['train']:.2f}"
    return f"{facts['steps']:,} steps, {len(facts['kept'])} nodes kept, chi2 a pixel {fit}{held}"


def _encode(study: Study, options: RunOptions, say: Any, watch: Any) -> Outcome:
    report = study.encode(options=options.encode, say=say, watch=watch)
    some = f", {report.encoded:,} of them now" if 0 < report.encoded < report.spectra else ""
    told = f"{report.spectra:,} spectra, {report.nodes} nodes{some}"
    return (DONE if report.encoded else SKIPPED), told, report.as_dict()


def _find(study: Study, tables: list[pd.DataFrame], options: RunOptions, say: Any) -> Outcome:
    try:
        report = study.find(tables, options=options.find, say=say)
    except ModelError as error:
        raise ModelError(f"{error} (what is done is kept in {study.path})") from None
    content = report.findings.to_json()
    first, second = content["count"]["statistical"], content["count"]["information"]
    k = f"{first['k']}" if first["k"] == second["k"] else f"{first['k']} or {second['k']}"
    k += f" ({min(first['low'], second['low'])} to {max(first['high'], second['high'])})"
    unexplained = sum(bool(node["unexplained"]) for node in content["nodes"])
    told = f"{k} causes, {unexplained} of them unexplained" + ("" if tables else "; no labels were given")
    return (DONE if report.made else SKIPPED), told, {"made": report.made, "count": content["count"]}


def _report(study: Study, watch: Any) -> Outcome:
    made = study.report(watch=watch)
    told = f"{made.page}, {made.bytes / 1e6:.1f} MB"
    return (DONE if made.made else SKIPPED), told, made.as_dict()
