"""The command line. `--json` on every command prints one object on stdout; progress goes to stderr."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from .. import __version__
from ..errors import AstroprismError
from . import archive, explore, find, model, paper, report, similar

app = typer.Typer(
    name="astroprism",
    help="Takes an archive of stellar spectra apart into its independent causes, without labels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        print(f"astroprism {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that come before the command."""


for command in (
    archive.demo,
    archive.simulate,
    archive.ingest,
    model.train,
    model.encode,
    find.find,
    report.report,
    explore.explore,
    similar.similar,
    paper.paper,
    archive.info,
):
    app.command()(command)
app.command(hidden=True)(archive.fetch)


class _Interrupted(BaseException):
    """Ctrl-C, told in our own words."""


def _interrupt(*_: object) -> None:
    raise _Interrupted


def main() -> None:
    """Entry point: errors raised on purpose end in one line and exit code 1, without a traceback."""
    import signal

    signal.signal(signal.SIGINT, _interrupt)
    try:
        app()
    except AstroprismError as error:
        if "--json" in sys.argv:
            print(json.dumps({"error": str(error), "kind": type(error).__name__}))
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:  # a fault of ours: the traceback is wanted, but --json keeps its promise
        if "--json" in sys.argv:
            print(json.dumps({"error": f"unforeseen: {error}", "kind": type(error).__name__}))
        raise
    except _Interrupted:
        print("interrupted; what is finished is kept, and the same command goes on", file=sys.stderr)
        sys.exit(130)
