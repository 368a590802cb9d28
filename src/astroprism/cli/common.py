"""What the commands share: types of their arguments, and the one place that prints a result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one machine-readable object on stdout.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same result.")]
StudyFolder = Annotated[Path, typer.Argument(metavar="STUDY", help="The folder that holds everything.")]


def show(result: dict[str, Any], as_json: bool, text: str) -> None:
    """The result as one JSON object, or as text; under torchrun the first process tells it."""
    from ..study import first_process

    if first_process():
        print(json.dumps(_plain(result)) if as_json else text)


def _plain(value: Any) -> Any:
    """JSON without NaN: what is not finite is null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
