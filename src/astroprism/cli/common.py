"""What the commands share: types of their arguments, and the one place that prints a result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..artifacts import jsonable
from ..device import first_process

Json = Annotated[bool, typer.Option("--json", help="Print one machine-readable object on stdout.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]
StudyPath = Annotated[Path, typer.Argument(metavar="STUDY", help="The folder that holds everything.")]


def show(result: dict[str, Any], as_json: bool, text: str) -> None:
    """Print the result as one JSON object, or as text; under torchrun only the first process does."""
    if first_process():
        print(json.dumps(jsonable(result)) if as_json else text)
