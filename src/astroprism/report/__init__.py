"""A study as one page that a referee can read, with every figure and its data as files beside it.

`report` writes STUDY/report.html and STUDY/report/; `figure` draws one of its figures again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..apply import outlier_table
from ..artifacts import Format, differences, digest, digest_of_json, read_json, write_bytes, write_json
from ..errors import AstroprismError, ConfigError
from ..progress import Listener, count, silent
from ..schema import ModelFacts
from .collect import ReportData
from .drawings import views
from .figure_files import sweep, write_refusals, write_view
from .page import report_page
from .pixel_tables import PixelTables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..folder import StudyFolder

REPORT = Format("astroprism-report", 1)
# of a store whose spectra are judged on the way; for larger ones `outliers` is run first
JUDGED_PIXELS = 2**27
PAGE_BYTES = 12 * 2**20  # of figures in the page: the whole stays under 15 MB


@dataclass(frozen=True)
class ReportReport:
    """What `report` did: page and folder are files; missing says what the study does not have yet."""

    made: bool  # False where the page was there already, made from the same
    page: str
    folder: str
    figures: list[str]
    bytes: int
    missing: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def report(
    folder: StudyFolder,
    *,
    again: bool = False,
    record: Callable[[str, dict[str, Any]], object] | None = None,
    progress: Listener = silent,
) -> ReportReport:
    """Write report.html and report/ of a study; nothing where they were made from the same.

    record    called with ("outliers", facts) where spectra were judged for the report
    progress  counts of figures done
    """
    data = ReportData(folder)
    data.stale()  # what does not belong together is refused before anything is drawn
    _judge(data, record=record)
    page, out = folder.path / "report.html", folder.path / "report"
    made_from = _made_from(data)
    known = None if again else _known_figures(page, out, made_from)
    if known is not None:
        return ReportReport(False, str(page), str(out), known, page.stat().st_size, data.missing())
    spectra = PixelTables(data)
    chosen = views(data, spectra)
    sweep(out, set(chosen))
    write_refusals(data.store.rejects, out)
    figures = {}
    for number, (name, view) in enumerate(chosen.items()):
        progress(count(number, len(chosen)))
        figures[name] = write_view(view, out, most=PAGE_BYTES // max(len(chosen), 1))
    progress(count(len(chosen), len(chosen)))
    content = report_page(data, chi2=spectra.chi2(), errors=spectra.errors_by_snr(), figures=figures)
    write_bytes(page, content.encode())
    facts = {"made_from": made_from, "figures": list(chosen), "page": digest(page)}
    write_json(out / "report.json", REPORT.header | facts)
    return ReportReport(True, str(page), str(out), list(chosen), page.stat().st_size, data.missing())


def figures(folder: StudyFolder) -> dict[str, str]:
    """Names of the figures that the report of a study has, with what they show."""
    data = ReportData(folder)
    return {name: view.caption for name, view in views(data, PixelTables(data)).items()}


def figure(folder: StudyFolder, name: str) -> Figure:
    """One figure of the report, drawn again."""
    data = ReportData(folder)
    found = views(data, PixelTables(data))
    if name not in found:
        raise ConfigError(
            f"{folder.path} has no figure {name!r}; it has {', '.join(found)}"
            + ("" if any(one.startswith("node-") for one in found) else " (more after find)")
        )
    view = found[name]
    return view.draw(view.tables())


def _judge(data: ReportData, *, record: Callable[[str, dict[str, Any]], object] | None) -> None:
    """Have the spectra judged where the store is small; what is there already is not done again."""
    folder = data.folder
    if data.findings is None or len(data.store) * data.grid.size > JUDGED_PIXELS:
        return
    with contextlib.suppress(AstroprismError):  # too few held-out spectra, say: the page names the command
        frame, made = outlier_table(folder)
        if made and record is not None:
            record("outliers", {"spectra": len(frame)})


def _made_from(data: ReportData) -> dict[str, Any]:
    folder = data.folder
    paths = {
        "model": ModelFacts.path_in(folder.model_path),
        "codes": folder.codes_path(unpruned=True),
        "findings": folder.findings_path,
        "outliers": folder.path / "outliers.parquet",
    }
    return {
        "version": __version__,
        "name": data.name,
        "store": data.store.fingerprint,
        "refused": len(data.store.rejects),
        "runs": digest_of_json(data.runs),
        **{name: digest(path) if path.exists() else None for name, path in paths.items()},
    }


def _known_figures(page: Path, out: Path, made_from: dict[str, Any]) -> list[str] | None:
    """The figures of the report that is there, if it was made from the same and is whole."""
    facts: dict[str, Any] = {}
    if page.exists() and (out / "report.json").exists():
        with contextlib.suppress(AstroprismError):  # damaged: the report is made again
            facts = read_json(out / "report.json")
    if not REPORT.fits(facts) or differences(facts.get("made_from", {}), made_from):
        return None
    names: list[str] = facts.get("figures", [])
    whole = all((out / "figures" / f"{name}.png").exists() for name in names)
    return names if whole and facts.get("page") == digest(page) else None
