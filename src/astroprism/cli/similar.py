"""The command that finds the spectra most like one: similar."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import ConfigError
from .common import Json, StudyPath, show


def similar(
    study: StudyPath,
    query: Annotated[
        str, typer.Argument(metavar="FILE|ID", help="A spectrum file, an identifier of the study, or a row.")
    ],
    window: Annotated[
        str | None, typer.Option(metavar="LO:HI", help="Compare pixels in this range, in angstrom.")
    ] = None,
    nodes: Annotated[
        str | None, typer.Option(help="Compare these nodes alone, by commas. Default: all informative ones.")
    ] = None,
    without_nuisances: Annotated[
        bool,
        typer.Option("--without-nuisances", help="Leave out velocity, atmosphere, noise and instrument."),
    ] = False,
    scale: Annotated[
        str | None, typer.Option(help="spread, uncertainty or visits: what a distance of 1 is.")
    ] = None,
    n: Annotated[int, typer.Option("-n", help="How many.")] = 10,
    as_json: Json = False,
) -> None:
    """The spectra most like one: by its code, by some nodes, or in a window."""
    from ..study import Study
    from .terminal import Display

    with Display() as display:
        found = Study(study).similar(
            query,
            window=_window(window),
            nodes=_nodes(nodes),
            without_nuisances=without_nuisances,
            scale=scale,
            n=n,
            progress=display,
        )
    show(found.as_dict(), as_json, found.text())


def _window(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        raise ConfigError(
            f"--window {text!r} cannot be read; give two wavelengths, as in 5880:5900"
        ) from None
    return low, high


def _nodes(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--nodes {text!r} cannot be read; give numbers by commas, as in 3,17") from None
