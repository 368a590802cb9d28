"""The command line. `--json` on every command prints one object on stdout; progress goes to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .. import __version__
from ..errors import AstroprismError, MissingExtra
from . import apply, archive, explore, find, model, paper, report, run, similar

# along the path, as a newcomer meets them, each with its line of help
GROUPS: dict[str, dict[Callable[..., None], str]] = {
    "Start here": {
        run.demo: "All of it on a simulated archive: the answer beside the truth.",
        run.run: "All of it on your files: ingest, train, encode, find, report.",
    },
    "Step by step": {
        archive.simulate: "Write an archive of spectra whose answer is known.",
        archive.ingest: "Bring any pile of spectra to one grid, in the study's store.",
        model.train: "Train a network on them, without labels.",
        model.encode: "Give every spectrum its code.",
        find.find: "Count the causes, and say what each one is.",
        report.report: "One page with all results.",
    },
    "Look and ask": {
        archive.info: "What this study, store, folder or file is.",
        explore.explore: "The study in the browser: sliders, maps, spectra; drop a file on it.",
        similar.similar: "The spectra most like one.",
        apply.apply: "Spectra not in the study: codes, labels with intervals, how odd they are.",
        apply.outliers: "Which spectra are odd, and why.",
    },
    "The seed paper": {paper.paper: "Its section 6, from its own release files."},
}


class _Grouped(TyperGroup):
    """Help that lists the commands by what they are for."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section per group, all with one width of names."""
        width = max(len(name) for name in self.commands)
        for title, group in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(f"{one.__name__:<{width}}", line) for one, line in group.items()])


app = typer.Typer(
    name="astroprism",
    cls=_Grouped,
    help="Takes an archive of stellar spectra apart into its independent causes, without labels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(requested: bool) -> None:
    if requested:
        print(f"astroprism {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that come before the command."""


app.command(hidden=True)(archive.fetch)
for group in GROUPS.values():
    for command, line in group.items():
        app.command(short_help=line)(command)


EXTRAS = {
    "train": ("torch", "lightning_fabric", "safetensors"),
    "explorer": ("fastapi", "uvicorn"),
    "cluster": ("distributed", "dask"),
    "hdf5": ("h5py",),
}


class _Interrupted(BaseException):
    """Ctrl-C, as an exception that ends in a message of ours."""


def _interrupt(*_: object) -> None:
    raise _Interrupted


def _run() -> None:
    """The command; a package of an extra that is not installed is an error like any other."""
    try:
        app()
    except ModuleNotFoundError as error:
        extra = next((name for name, modules in EXTRAS.items() if error.name in modules), None)
        if extra is None:
            raise
        raise MissingExtra(f"this needs {error.name}: pip install 'astroprism[{extra}]'") from None


def main() -> None:
    """Entry point: errors raised on purpose end in one line and exit code 1, without a traceback."""
    import signal

    signal.signal(signal.SIGINT, _interrupt)
    try:
        _run()
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
        print("interrupted; what is finished is kept, and the same command continues", file=sys.stderr)
        sys.exit(130)
