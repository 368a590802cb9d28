"""The path as a whole: run, and demo, the same on an archive whose answer is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import Folds, Json, Seed, StudyPath, Test, folds_of, show


def run(
    study: StudyPath,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH..", help="Files, or folders of files.")],
    labels: Annotated[
        list[Path] | None,
        typer.Option("--labels", metavar="TABLE", help="A table of labels, read after training. Repeatable."),
    ] = None,
    grid: Annotated[str, typer.Option(help="auto, paper, or LO:HI:STEPkms (vacuum angstrom).")] = "auto",
    normalise: Annotated[
        str | None, typer.Option(help="auto (default), median, paper-median or continuum.")
    ] = None,
    targets: Annotated[
        Path | None,
        typer.Option(metavar="TABLE", help="Columns spectrum, target: counts before names and places."),
    ] = None,
    wave_unit: Annotated[
        str | None, typer.Option(help="angstrom, nm or um, for files that do not say.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="How long to train (default: the recipe's own number).")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="How long to train, instead of --steps.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of training, split and findings.")] = 0,
    config: Annotated[Path | None, typer.Option(help="A TOML file that sets fields of the recipe.")] = None,
    valid: Annotated[float, typer.Option(help="Share of the targets held out to check the training.")] = 0.1,
    test: Test = None,
    folds: Folds = "auto",
    workers: Annotated[
        int | None, typer.Option(help="Processes that ingest (default: one per core; 0: no extra process).")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Train again where spectra or settings have changed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """From files to findings in one go; run again, it continues and does what is new."""
    from ..findings.find import FindOptions
    from ..ingest import IngestOptions
    from ..model.encode import EncodeOptions
    from ..model.recipe import TrainOptions
    from ..pipeline import RunOptions
    from ..study import Study
    from .terminal import Display, run_text

    options = RunOptions(
        ingest=IngestOptions(
            grid=grid,
            normalise=normalise,
            workers=workers,
            targets=None if targets is None else str(targets),
            wave_unit=wave_unit,
        ),
        train=TrainOptions(
            steps=steps,
            minutes=minutes,
            device=device,
            seed=seed,
            config=config,
            valid=valid,
            test=test,
            folds=folds_of(folds),
        ),
        encode=EncodeOptions(device=device),
        find=FindOptions(device=device, seed=seed),
        again=again,
    )
    with Display(indent="  ") as display:
        report = Study(study).run(paths, labels=labels or (), options=options, progress=display)
    show(report.as_dict(), as_json, run_text(report))


def demo(
    study: Annotated[Path, typer.Argument(metavar="[STUDY]", help="Folder to make.")] = Path("demo"),
    factors: Annotated[int, typer.Option(help="How many causes vary, 1 to 7.")] = 5,
    spectra: Annotated[int, typer.Option(help="How many spectra.")] = 3000,
    steps: Annotated[
        int | None, typer.Option(help="How long to train (default: the recipe's own number).")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file that sets fields of the recipe.")] = None,
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """The whole path on a simulated archive whose answer is known, and that answer beside the truth."""
    from .demo import answer_text, run_demo
    from .terminal import Display

    with Display(indent="  ") as display:
        answer = run_demo(
            study,
            factors=factors,
            spectra=spectra,
            steps=steps,
            config=config,
            seed=seed,
            progress=display,
        )
    show(answer.as_dict(), as_json, answer_text(answer))
