"""The command that writes the page: report."""

from __future__ import annotations

from typing import Annotated

import typer

from .common import Json, StudyPath, show


def report(
    study: StudyPath,
    again: Annotated[
        bool, typer.Option("--again", help="Write it again even if nothing has changed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """One page with all results of a study, with every figure and its data beside it."""
    from ..study import Study
    from .terminal import Display

    with Display() as display:
        made = Study(study).report(again=again, progress=display)
    lines = [
        f"{made.page}: {len(made.figures)} figures, {made.bytes / 1e6:.1f} MB; open it in a browser",
        f"  figures and data  {made.folder}",
        *(f"  not in it         {one}" for one in made.missing),
    ]
    if not made.made:
        lines.insert(0, "nothing to do: the report is of what the study holds now")
    show(made.as_dict(), as_json, "\n".join(lines))
