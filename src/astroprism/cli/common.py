"""What the commands share: types of their arguments, and the one place that prints a result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..artifacts import jsonable
from ..device import first_process
from ..errors import ConfigError

Json = Annotated[bool, typer.Option("--json", help="Print one machine-readable object on stdout.")]
Folds = Annotated[
    str,
    typer.Option(
        metavar="auto|N|0", help="Cross-fit in N folds, so that every spectrum gives evidence; 0: hold out."
    ),
]
Test = Annotated[
    float | None,
    typer.Option(
        help="Share of the targets that training never touches (default .1; less where it is cross-fitted)."
    ),
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]
StudyPath = Annotated[Path, typer.Argument(metavar="STUDY", help="The folder that holds everything.")]


def folds_of(text: str) -> int | None:
    """The number of folds that an option gives; None for auto."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"--folds {text}: a number, 0 for none, or auto") from None


def show(result: dict[str, Any], as_json: bool, text: str) -> None:
    """Print the result as one JSON object, or as text; under torchrun only the first process does."""
    if first_process():
        print(json.dumps(jsonable(result)) if as_json else text)
