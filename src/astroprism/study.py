"""A study: the one folder a user holds. Its verbs are the commands of the command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, overload

from . import __version__
from .artifacts import blame, differences, write_json
from .device import first_process
from .errors import ModelError
from .folder import StudyFolder
from .pipeline import DONE, SKIPPED, STALE, Outcome, RunOptions, RunReport, Step, is_news, model_line
from .progress import Listener, Progress, message, silent, staged

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from .apply import Applied, ApplyOptions, ApplyReport
    from .explorer.server.background import RunningServer
    from .findings.find import FindOptions, FindReport
    from .ingest import IngestOptions, IngestReport
    from .model.encode import EncodeOptions, EncodeReport
    from .model.fit import TrainReport
    from .model.recipe import TrainOptions
    from .report import ReportReport
    from .schema import ModelFacts
    from .similar.search import Similar
    from .targets.catalog import Joined

Paths = Iterable[str | os.PathLike[str]] | str | os.PathLike[str]


class Study(StudyFolder):
    """The folder STUDY and what is in it. Making one writes nothing; the first verb does.

    Every verb takes `progress`, a function that is called with each `Progress` event; try progress=print.
    """

    def ingest(
        self, paths: Paths, *, options: IngestOptions | None = None, progress: Listener | None = None
    ) -> IngestReport:
        """Bring files, or all files under folders, into the store; see `astroprism.ingest`."""
        from .ingest import IngestOptions, ingest

        given = _as_list(paths)
        report = ingest(
            self.store_path, given, options=options or IngestOptions(), progress=staged("ingest", progress)
        )
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
        progress: Listener | None = None,
    ) -> TrainReport:
        """Train a network on the store, or continue where it was cut off; see `astroprism.model.fit`.

        steps, minutes  short for options that differ in these alone
        again           train again where spectra or settings have changed
        """
        from .model.fit import train
        from .model.recipe import TrainOptions

        options = options or TrainOptions()
        if steps is not None or minutes is not None:
            options = replace(options, steps=steps, minutes=minutes)
        report = train(
            self.store, self.model_path, options=options, again=again, progress=staged("train", progress)
        )
        if report.trained and first_process():
            self._draw_history()
            facts = report.as_dict()
            model = facts.pop("model")
            chosen = {name: model[name] for name in ("asked", "steps", "chi2", "kept", "warnings")}
            self.record("train", facts | chosen)
        return report

    def _draw_history(self) -> None:
        from .figures.training import history_figure

        history = self.training_history()
        assert history is not None
        figure = history_figure(history)
        with blame(self.model_path):
            figure.savefig(self.model_path / "history.png", dpi=120)

    def encode(
        self, *, options: EncodeOptions | None = None, progress: Listener | None = None
    ) -> EncodeReport:
        """Codes of every spectrum, or of those that have none yet; see `astroprism.model.encode`."""
        from .model.encode import encode

        report = encode(
            self.store, self.model_path, out=self.path, options=options, progress=staged("encode", progress)
        )
        if report.encoded:
            self.record("encode", report.as_dict())
        return report

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
        progress: Listener | None = None,
    ) -> FindReport:
        """Count causes, match them with labels and lines, list the unexplained; see `astroprism.findings`.

        labels  a label table (path, pandas DataFrame or astropy Table) or several in a list; joined to the
                spectra by identifier, name or position. What `Study.labels` returned is accepted, too
        """
        from .findings.find import find
        from .targets.catalog import Joined, combine, join, label_tables

        progress = staged("find", progress)
        joined = [
            table if isinstance(table, Joined) else join(self.index, table) for table in label_tables(labels)
        ]
        table = combine([replace(one, labels=one.labels[one.usable]) for one in joined]) if joined else None
        sources = {one.report.source: sorted(map(str, one.usable)) for one in joined}
        for one in joined:
            progress(message(one.report.line()))
        notes: dict[str, str] = {}
        unusable: dict[str, str] = {}
        for one in joined:
            notes, unusable = notes | one.report.label_notes, unusable | one.report.unusable
        report = find(
            self,
            labels=table,
            sources=sources,
            label_notes=notes,
            unusable=unusable,
            options=options,
            progress=progress,
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
        progress: Listener | None = None,
    ) -> Similar:
        """The n spectra most like one; see `astroprism.similar`.

        query   an identifier or a row of this study, a file, a spectrum in memory, or a code (nodes,)
        window  (low, high) angstrom: compare pixels there; else codes, of the informative nodes or of `nodes`
        """
        from .similar.search import similar

        return similar(
            self,
            query,
            window=window,
            nodes=None if nodes is None else list(nodes),
            without_nuisances=without_nuisances,
            scale=scale,
            n=n,
            progress=staged("similar", progress),
        )

    @overload
    def apply(
        self, things: Any, *, options: ApplyOptions | None = None, progress: Listener | None = None
    ) -> Applied: ...

    @overload
    def apply(
        self,
        things: Any,
        *,
        out: str | os.PathLike[str],
        options: ApplyOptions | None = None,
        progress: Listener | None = None,
    ) -> ApplyReport: ...

    def apply(
        self,
        things: Any,
        *,
        out: str | os.PathLike[str] | None = None,
        options: ApplyOptions | None = None,
        progress: Listener | None = None,
    ) -> Applied | ApplyReport:
        """Codes, labels with intervals, outlier scores and warnings of spectra that are not in the study.

        things  a file, a folder, or spectra in memory: numpy arrays (wavelength, flux[, sigma]), tables,
                specutils objects, `Spectrum`, or a list of these
        out     of files and folders: the table to write, a block at a time
        """
        from .apply import apply

        return apply(self, things, out=out, options=options, progress=staged("apply", progress))

    def outliers(self, *, device: str = "auto", progress: Listener | None = None) -> pd.DataFrame:
        """Every spectrum with its outlier scores, the oddest first, and the reasons."""
        from .apply import outlier_table

        frame, made = outlier_table(self, device=device, progress=staged("outliers", progress))
        if made:
            self.record("outliers", {"spectra": len(frame)})
        return frame

    def report(self, *, again: bool = False, progress: Listener | None = None) -> ReportReport:
        """Write report.html, one page, and report/ with its figures and their data; see `astroprism.report`.

        again  even where it was made from the same
        """
        from .report import report

        made = report(self, again=again, record=self.record, progress=staged("report", progress))
        if made.made:
            self.record("report", {"figures": len(made.figures), "missing": made.missing})
        return made

    def figures(self) -> dict[str, str]:
        """Names of the report's figures, with what they show."""
        from .report import figures

        return figures(self)

    def figure(self, name: str) -> Figure:
        """One figure of the report, drawn again."""
        from .report import figure

        return figure(self, name)

    def explore(self, *, port: int | None = None, host: str | None = None) -> RunningServer:
        """Look at the study in the browser, or, as the last line of a notebook's cell, right there.

        Returns the server with its `url` and `stop`; it ends with this process. See `astroprism.explorer`.
        """
        from .explorer import start

        return start(self, port=port, host=host, inline=True)

    # --- the whole path

    def run(
        self,
        paths: Paths,
        *,
        labels: object = (),
        options: RunOptions | None = None,
        progress: Listener | None = None,
    ) -> RunReport:
        """Ingest, train, encode, find, report: each step that is due, in order.

        A step whose inputs are unchanged does nothing; one that was cut off continues. So does the whole.

        labels    tables: paths, pandas DataFrames or astropy Tables
        progress  gets a 'start' and an 'end' event for each step, the latter with its `Step` as detail
        """
        from .tables import as_table
        from .targets.catalog import label_tables

        options = options or RunOptions()
        # a label table that cannot be read, or matches no spectrum, is an error before the training
        tables = [as_table(table) for table in label_tables(labels)]
        given = _as_list(paths)
        steps: list[Step] = []
        listener = progress or silent
        path: dict[str, Callable[[Listener], Outcome]] = {
            "ingest": lambda progress: self._run_ingest(given, tables, options, progress),
            "train": lambda progress: self._run_train(options, progress),
            "encode": lambda progress: self._run_encode(options, progress),
            "find": lambda progress: self._run_find(tables, options, progress),
            "report": self._run_report,
        }
        for name, do in path.items():
            listener(Progress("start", name))
            step = Step.timed(name, do, lambda event: is_news(event) and listener(event))
            steps.append(step)
            listener(Progress("end", name, message=step.outcome, detail=step))
        return RunReport(self.path, tuple(steps), self.findings())

    def _run_ingest(
        self, paths: Any, tables: list[pd.DataFrame], options: RunOptions, progress: Listener
    ) -> Outcome:
        report = self.ingest(paths, options=options.ingest, progress=progress)
        for table in tables:
            self.labels(table)
        grid, refused = self.store.grid, len(self.store.rejects)
        text = (
            f"{report.n_spectra:,} spectra of {report.n_targets:,} stars, {grid.wavelength[0]:.0f} to "
            f"{grid.wavelength[-1]:.0f} A, {grid.size:,} pixels"
            + (f"; {refused:,} refused" if refused else "")
        )
        return (DONE if report.files_new else SKIPPED), text, report.as_dict()

    def _run_train(self, options: RunOptions, progress: Listener) -> Outcome:
        from .model.recipe import TrainOptions

        wanted = options.train or TrainOptions()
        if not options.again and (older := self._model_of_fewer_spectra(wanted)) is not None:
            new = len(self.store) - older.store.spectra
            text = f"{model_line(older)}; {new:,} spectra came later, --again trains on them too"
            return STALE, text, {"trained": False, "model": older.to_json()}
        if options.again or self.model_facts() is None:
            self._require_held_out(wanted)
        report = self.train(options=wanted, again=options.again, progress=progress)
        return (DONE if report.trained else SKIPPED), model_line(report.model), report.as_dict()

    def _require_held_out(self, options: TrainOptions) -> None:
        """Refuse, before it is trained, an archive of fewer stars or nights than findings need."""
        from .model.fit import split_plan

        plan = split_plan(self.store, options)
        if not plan.enough:
            raise ModelError(
                f"{plan.lack()}. Nothing was trained; the spectra are kept in {self.path}, and train, encode "
                "and explore work on them without findings"
            )

    def _model_of_fewer_spectra(self, wanted: TrainOptions) -> ModelFacts | None:
        """A finished model that differs from the one wanted in the store's content alone."""
        from .model.fit import training_request

        facts = self.model_facts()
        if facts is None or (self.model_path / "plan.json").exists():
            return None
        differ = set(differences(facts.asked, training_request(self.store, wanted)))
        grew = len(self.store) > facts.store.spectra
        follow = {"store", "spectra"}  # and what is chosen by the number of spectra, unless it was asked for
        if wanted.folds is None and wanted.test is None:
            follow |= {"unit", "block_days", "folds", "test"}
        return facts if differ and differ <= follow and grew else None

    def _run_encode(self, options: RunOptions, progress: Listener) -> Outcome:
        report = self.encode(options=options.encode, progress=progress)
        some = f", {report.encoded:,} of them now" if 0 < report.encoded < report.spectra else ""
        text = f"{report.spectra:,} spectra, {report.nodes} nodes{some}"
        return (DONE if report.encoded else SKIPPED), text, report.as_dict()

    def _run_find(self, tables: list[pd.DataFrame], options: RunOptions, progress: Listener) -> Outcome:
        try:
            report = self.find(tables, options=options.find, progress=progress)
        except ModelError as error:
            raise ModelError(f"{error} (what is done is kept in {self.path})") from None
        count = report.findings.count
        first, second = count.statistical, count.information
        assert first is not None
        assert second is not None
        k = f"{first.k}" if first.k == second.k else f"{first.k} or {second.k}"
        k += f" ({min(first.low, second.low)} to {max(first.high, second.high)})"
        unexplained = len(report.findings.unexplained)
        one = first.k == second.k == 1
        of_them = f"{unexplained} of them unexplained"
        if one:
            of_them = "which is unexplained" if unexplained else "which is not unexplained"
        text = f"{k} {'cause' if one else 'causes'}, {of_them}" + ("" if tables else "; no labels were given")
        return (DONE if report.made else SKIPPED), text, {"made": report.made, "count": count.to_json()}

    def _run_report(self, progress: Listener) -> Outcome:
        made = self.report(progress=progress)
        return (DONE if made.made else SKIPPED), f"{made.page}, {made.bytes / 1e6:.1f} MB", made.as_dict()

    # --- what was run

    def record(self, command: str, facts: dict[str, Any]) -> None:
        """Add a run to study.json."""
        run = {
            "command": command,
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "version": __version__,
            **facts,
        }
        content = {"format": "astroprism-study", "format_version": 1, "runs": [*self.history, run]}
        write_json(self.path / "study.json", content)


def _as_list(paths: Paths) -> list[str | os.PathLike[str]]:
    return [paths] if isinstance(paths, str | os.PathLike) else list(paths)
