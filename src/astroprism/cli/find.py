"""The command on what a model has found: find."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import Folds, Json, Seed, StudyPath, folds_of, show


def find(
    study: StudyPath,
    labels: Annotated[
        list[Path] | None,
        typer.Option("--labels", metavar="TABLE", help="A table of labels; may be given more than once."),
    ] = None,
    stability: Annotated[
        int,
        typer.Option(metavar="N", help="Retrain N times on halves of the stars, and say which nodes return."),
    ] = 0,
    folds: Folds = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """How many features are real, what each one is, and which ones no label explains."""
    from ..findings.find import FindOptions
    from ..study import Study
    from .terminal import Display

    options = FindOptions(seed=seed, device=device, stability=stability, folds=folds_of(folds))
    with Display() as display:
        report = Study(study).find(labels or (), options=options, progress=display)
    lines = [report.text(), f"  all of it  {Study(study).path / 'findings.json'} and findings/"]
    if not report.made:
        lines.insert(0, "nothing to do: model, codes and labels are those of the findings that are there")
    show(report.as_dict(), as_json, "\n".join(lines))
