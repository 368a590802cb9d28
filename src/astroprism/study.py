"""A study: the one folder a user holds. Its verbs are the commands of the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, overload

from . import __version__
from .artifacts import blame, write_bytes
from .errors import AstroprismError
from .folder import StudyFolder
from .progress import Listener

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from .apply.files import ApplyReport
    from .apply.spectra import Applied
    from .explorer import RunningServer
    from .findings.find import FindOptions, FindReport
    from .ingest import IngestOptions, IngestReport, Progress
    from .model.encode import EncodeOptions, EncodeReport
    from .model.fit import TrainReport
    from .model.history import Moment
    from .model.options import TrainOptions
    from .pipeline import RunOptions, RunReport, Stage, Step
    from .report import ReportReport
    from .similar.search import Similar
    from .spectrum import Spectrum
    from .targets.catalog import Joined


class Study(StudyFolder):
    """The folder STUDY and what is in it. Making one writes nothing; the first verb does."""

    def ingest(
        self,
        paths: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
        *,
        options: IngestOptions | None = None,
        say: Callable[[str], None] | None = None,
        watch: Callable[[Progress], None] | None = None,
    ) -> IngestReport:
        """Bring files, or all files under folders, into the store; see `astroprism.ingest`."""
        from .ingest import IngestOptions, ingest

        options = options or IngestOptions()
        given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        report = ingest(self.store_path, given, options=options, say=say or _silent, watch=watch or _silent)
        self.__dict__.pop("store", None)
        if report.files_new:
            self.record("ingest", {"paths": [str(path) for path in given]} | report.as_dict())
        return report

    def train(
        self,
        *,
        options: TrainOptions | None = None,
        steps: int | None = None,
        minutes: float | None = None,
        again: bool = False,
        say: Callable[[str], object] | None = None,
        watch: Callable[[Moment, int], object] | None = None,
    ) -> TrainReport:
        """Train a network on the store, or go on where it was cut off; see `astroprism.model.fit`.

        steps, minutes  short for options that differ in these alone
        say, watch      called with remarks (try say=print), and with every Moment and the number of steps
        """
        from .model.fit import train
        from .model.options import TrainOptions

        options = options or TrainOptions()
        if steps is not None or minutes is not None:
            options = replace(options, steps=steps, minutes=minutes)
        report = train(
            self.store,
            self.model_path,
            options=options,
            again=again,
            progress=_listener(say, watch),
        )
        if report.trained and first_process():
            self._draw_history()
            facts = report.as_dict()
            model = facts.pop("model")
            chosen = {name: model[name] for name in ("asked", "steps", "chi2", "kept", "warnings")}
            self.record("train", facts | chosen)
        return report

    def encode(
        self,
        *,
        options: EncodeOptions | None = None,
        say: Callable[[str], object] | None = None,
        watch: Callable[[int, int], object] | None = None,
    ) -> EncodeReport:
        """Codes of every spectrum, or of those that have none yet; see `astroprism.model.encode`."""
        from .model.encode import encode

        report = encode(
            self.store,
            self.model_path,
            out=self.path,
            options=options,
            progress=_listener(say, watch),
        )
        if report.encoded:
            self.record("encode", report.as_dict())
        return report

    def _draw_history(self) -> None:
        from .figures.archive import history_figure
        from .model.history import read_history

        figure = history_figure(read_history(self.model_path / "history.parquet"))
        with blame(self.model_path):
            figure.savefig(self.model_path / "history.png", dpi=120)

    def labels(self, table: str | os.PathLike[str] | object) -> Joined:
        """A label table (path, pandas DataFrame or astropy Table) joined to the index of the store.

        See `astroprism.targets.catalog`.
        """
        from .targets.catalog import join

        return join(self.index, table)

    def find(
        self,
        labels: object = (),
        *,
        options: FindOptions | None = None,
        say: Callable[[str], object] | None = None,
        watch: Callable[[Moment, int], object] | None = None,
    ) -> FindReport:
        """Count causes, match them with labels and lines, say what is left; see `astroprism.findings.find`.

        labels  a label table (path, pandas DataFrame or astropy Table) or several in a list; joined to the
                spectra by identifier, name or position. What `Study.labels` gave is taken, too
        watch   called with every Moment of a retraining and its number of steps (FindOptions.stability)
        """
        from .findings.find import find
        from .targets.catalog import Joined, combine, join, label_tables

        joined = [
            table if isinstance(table, Joined) else join(self.index, table) for table in label_tables(labels)
        ]
        table = combine([replace(one, labels=one.labels[one.usable]) for one in joined]) if joined else None
        sources = {one.report.source: sorted(map(str, one.usable)) for one in joined}
        for one in joined:
            (say or _silent)(one.report.line())
        report = find(
            self.store,
            self.model_path,
            out=self.path,
            labels=table,
            sources=sources,
            options=options,
            progress=_listener(say, watch),
        )
        if report.made:
            self.record("find", {"labels": sources, "count": report.findings.count.to_json()})
        return report

    def similar(
        self,
        query: Any,
        *,
        window: tuple[float, float] | None = None,
        nodes: Iterable[int] | None = None,
        without_nuisances: bool = False,
        scale: str | None = None,
        n: int = 10,
        watch: Callable[[int, int], object] | None = None,
    ) -> Similar:
        """The n spectra most like one; see `astroprism.similar`.

        query   an identifier or a row of this study, a file, a spectrum in memory, or a code (nodes,)
        window  (low, high) angstrom: compare pixels there; else codes, of the informative nodes or of `nodes`
        """
        from .similar.query import ask
        from .similar.search import coded, similar

        found = (self.path / "findings.json").exists()
        codes = None
        if window is None:
            codes = coded(self.store, self.path / "codes.parquet", self.findings() if found else None)
        labels = self.path / "findings" / "labels.parquet"
        return similar(
            self.store,
            ask(self.store, query, codes=codes, encode=None if codes is None else self._code_of),
            codes=codes,
            nodes=None if nodes is None else list(nodes),
            without_nuisances=without_nuisances,
            scale=scale,
            window=window,
            n=n,
            labels=self.finding_table("labels") if found and labels.exists() else None,
            watch=watch or _silent,
        )

    def _code_of(self, spectrum: Spectrum) -> tuple[Any, list[str]]:
        """Code of a spectrum that is not of the study, and in which ways it lies outside of it."""
        from .apply.spectra import apply_spectra

        applied = apply_spectra(self, [spectrum])
        if applied.refused:
            raise AstroprismError(applied.refused[0].message)
        return applied.mean[0], list(applied.warnings[0])

    def run(
        self,
        paths: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
        *,
        labels: object = (),
        options: RunOptions | None = None,
        stage: Stage | None = None,
        tell: Callable[[Step], object] | None = None,
        say: Callable[[str], object] | None = None,
    ) -> RunReport:
        """Ingest, train, encode, find: each step that is due; see `astroprism.pipeline`."""
        from .pipeline import run
        from .targets.catalog import label_tables

        given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        return run(
            self,
            given,
            labels=label_tables(labels),
            options=options,
            stage=stage,
            tell=tell or _silent,
            say=say or _silent,
        )

    @overload
    def apply(
        self, things: Any, *, device: str = "auto", say: Callable[[str], object] | None = None
    ) -> Applied: ...

    @overload
    def apply(
        self,
        things: Any,
        *,
        out: str | os.PathLike[str],
        device: str = "auto",
        say: Callable[[str], object] | None = None,
    ) -> ApplyReport: ...

    def apply(
        self,
        things: Any,
        *,
        out: str | os.PathLike[str] | None = None,
        device: str = "auto",
        say: Callable[[str], object] | None = None,
    ) -> Applied | ApplyReport:
        """Codes, labels with intervals, outlier scores and warnings of spectra never seen.

        things  a file, a folder, or spectra in memory: numpy arrays (wavelength, flux[, sigma]), tables,
                specutils objects, `Spectrum`, or a list of these
        out     of files and folders: the table to write, a block at a time; see `astroprism.apply.files`
        """
        from .apply.files import ApplyOptions, apply_files, apply_read, paths_of
        from .apply.spectra import apply_spectra, spectra_from

        paths, say = paths_of(things), say or _silent
        if paths is None and out is not None:
            raise AstroprismError(
                "out= is for files and folders; write spectra in memory by .table().write()"
            )
        if paths is None:
            return apply_spectra(self, spectra_from(things), device=device, say=say)
        if out is None:
            return apply_read(self, paths, device=device, say=say)
        return apply_files(self, paths, out=out, options=ApplyOptions(device=device), say=say)

    def outliers(
        self,
        *,
        device: str = "auto",
        say: Callable[[str], object] | None = None,
        watch: Callable[[int, int], object] | None = None,
    ) -> pd.DataFrame:
        """Every spectrum judged, the oddest first, with why; see `astroprism.apply.ranking`."""
        from .apply.ranking import outlier_table

        frame, made = outlier_table(
            self.store,
            self.model_path,
            out=self.path,
            device=device,
            say=say or _silent,
            watch=watch or _silent,
        )
        if made:
            self.record("outliers", {"spectra": len(frame)})
        return frame

    def report(
        self, *, again: bool = False, watch: Callable[[int, int], object] | None = None
    ) -> ReportReport:
        """Write report.html, one page that tells all, and report/ with figures and data; see `reporting`.

        again  even where it was made from the same; watch is called with figures done and to do
        """
        from .report import report

        made = report(self, again=again, watch=watch or _silent)
        if made.made:
            self.record("report", {"figures": len(made.figures), "missing": made.missing})
        return made

    def figures(self) -> dict[str, str]:
        """Names of the report's figures, with what they show."""
        from .report import figures

        return figures(self)

    def figure(self, name: str) -> Figure:
        """One figure of the report, drawn anew."""
        from .report import figure

        return figure(self, name)

    def explore(self, *, port: int | None = None, host: str | None = None) -> RunningServer:
        """Look at the study in the browser, or, as the last line of a notebook's cell, right there.

        Returns the server with its `url` and `stop`; it ends with this process. See `astroprism.explorer`.
        """
        from .explorer import start

        return start(self, port=port, host=host, inline=True)

    def record(self, command: str, facts: dict[str, Any]) -> None:
        """Add a run to study.json."""
        run = {
            "command": command,
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "version": __version__,
            **facts,
        }
        with blame(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        content = {"format": "astroprism-study", "format_version": 1, "runs": [*self.history, run]}
        write_bytes(self.path / "study.json", (json.dumps(content, indent=1) + "\n").encode())


def first_process() -> bool:
    """False in the others that torchrun started: one writes."""
    return os.environ.get("RANK", "0") == "0"


def _silent(*_: object) -> None:
    """Nobody listens."""


def _listener(say: Callable[[str], object] | None, watch: Callable[..., object] | None) -> Listener:
    """TRANSITION: events for callers that still take remarks and counts apart."""

    def listen(event: Any) -> None:
        if event.kind in ("message", "warning") and say is not None:
            say(str(event))
        if event.kind == "count" and watch is not None:
            watch(*((event.detail, event.total) if event.detail is not None else (event.done, event.total)))

    return listen
