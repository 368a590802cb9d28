"""A study as one page that a referee can read, with every figure and its data as files beside it.

`report` writes STUDY/report.html and STUDY/report/; `figure` draws one of its figures anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..artifacts import blame, read_json, write_bytes
from ..errors import AstroprismError, ConfigError
from .collect import SHORT, Gathered
from .drawings import View, views

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from ..study import Study
    from .facts import Shown

FORMAT, VERSION = "astroprism-report", 1
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


def _silent(*_: object) -> None:
    """Nobody listens."""


def report(
    study: Study, *, again: bool = False, watch: Callable[[int, int], object] = _silent
) -> ReportReport:
    """Write report.html and report/ of a study; nothing where they were made from the same.

    watch  called with figures done and to do
    """
    gathered = Gathered(study)
    gathered.stale()  # what does not belong together is refused before anything is drawn
    _judge(study, gathered)
    page, folder = study.path / "report.html", study.path / "report"
    missing = _missing(gathered)
    facts = _made_from(gathered)
    there = None if again else _there(page, folder, facts)
    if there is not None:
        return ReportReport(False, str(page), str(folder), there, page.stat().st_size, missing)
    from .told import facts_of

    chosen = views(gathered)
    with blame(folder):
        for name in ("figures", "data"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    _sweep(folder, set(chosen))
    _write_refusals(gathered, folder)
    shown: dict[str, Shown] = {}
    for number, (name, view) in enumerate(chosen.items()):
        watch(number, len(chosen))
        shown[name] = _shown(view, folder, most=PAGE_BYTES // max(len(chosen), 1))
    watch(len(chosen), len(chosen))
    from .page import page as written

    write_bytes(page, written(facts_of(gathered, figures=shown)).encode())
    about = {"format": FORMAT, "format_version": VERSION, "made_from": facts, "figures": list(chosen)}
    about["page"] = hashlib.sha256(page.read_bytes()).hexdigest()
    write_bytes(folder / "report.json", (json.dumps(about, indent=1) + "\n").encode())
    return ReportReport(True, str(page), str(folder), list(chosen), page.stat().st_size, missing)


def figures(study: Study) -> dict[str, str]:
    """Names of the figures that the report of a study has, with what they show."""
    return {name: view.words for name, view in views(Gathered(study)).items()}


def figure(study: Study, name: str) -> Figure:
    """One figure of the report, drawn anew."""
    found = views(Gathered(study))
    if name not in found:
        raise ConfigError(
            f"{study.path} has no figure {name!r}; it has {', '.join(found)}"
            + ("" if any(one.startswith("node-") for one in found) else " (more after find)")
        )
    view = found[name]
    return view.draw(view.tables())


def _judge(study: Study, gathered: Gathered) -> None:
    """Have the spectra judged where that can be done; what is there already is not done again."""
    judge = getattr(study, "outliers", None)
    small = len(gathered.store) * gathered.grid.size <= JUDGED_PIXELS
    if small and judge is not None and gathered.findings is not None:
        with contextlib.suppress(AstroprismError):  # too few held-out spectra, say: the page tells how to ask
            judge()


# --- files


def _shown(view: View, folder: Path, *, most: int) -> Shown:
    """Draw a view, write its files, and give what the page shows of it in at most so many bytes."""
    from ..figures.style import files_of, inline_png, inline_svg
    from .facts import Shown

    tables = view.tables()
    made = files_of(view.draw(tables))
    files = {}
    for kind in ("png", "pdf"):
        write_bytes(folder / "figures" / f"{view.name}.{kind}", made[kind])
        files[kind.upper()] = f"report/figures/{view.name}.{kind}"
    for key, table in tables.items():
        stem = f"{view.name}-{key}" if key else view.name
        for kind, content in _table_files(table).items():
            write_bytes(folder / "data" / f"{stem}.{kind}", content)
            files[f"{key or 'data'}.{kind}"] = f"report/data/{stem}.{kind}"
    markup = inline_svg(made["svg"], name=view.name, alt=view.alt)
    if len(markup) > max(most, 60_000):
        small = inline_png(made["png"], alt=view.alt)
        markup = min(markup, small, key=len)
    return Shown(markup, view.words, files)


def _table_files(table: pd.DataFrame) -> dict[str, bytes]:
    """A table as Parquet, and as CSV where it is not long."""
    out = io.BytesIO()
    table.to_parquet(out, index=False)
    files = {"parquet": out.getvalue()}
    if len(table) <= 3 * SHORT:
        files["csv"] = table.to_csv(index=False, float_format="%.7g").encode("utf-8", "replace")
    return files


def _sweep(folder: Path, wanted: set[str]) -> None:
    """Take away files of an older report that this one does not have."""
    for place in sorted(folder.glob("figures/*.p[nd][gf]")):
        if place.stem not in wanted:
            place.unlink()
    for place in sorted([*folder.glob("data/*.parquet"), *folder.glob("data/*.csv")]):
        if not any(place.stem == name or place.stem.startswith(f"{name}-") for name in wanted):
            place.unlink()


def _write_refusals(gathered: Gathered, folder: Path) -> None:
    rejects = gathered.store.rejects
    if len(rejects):
        for kind, content in _table_files(rejects).items():
            write_bytes(folder / "data" / f"refusals.{kind}", content)


# --- what it was made from


def _made_from(gathered: Gathered) -> dict[str, Any]:
    study = gathered.study
    paths = {
        "model": study.model_path / "model.json",
        "codes": study.path / "codes_unpruned.parquet",
        "findings": study.path / "findings.json",
        "outliers": study.path / "outliers.parquet",
    }
    runs = [run for run in study.history if run["command"] != "report"]
    return {
        "version": __version__,
        "name": study.path.resolve().name,
        "store": gathered.store.fingerprint,
        "refused": len(gathered.store.rejects),
        "runs": hashlib.sha256(json.dumps(runs, sort_keys=True).encode()).hexdigest(),
        **{name: _digest(path) for name, path in paths.items()},
    }


def _digest(path: Path) -> str | None:
    if not path.exists():
        return None
    with blame(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _there(page: Path, folder: Path, facts: dict[str, Any]) -> list[str] | None:
    """The figures of the report that is there, if it was made from the same and is whole."""
    about: dict[str, Any] = {}
    if page.exists() and (folder / "report.json").exists():
        with contextlib.suppress(Exception):  # a damaged note is as none: the report is made anew
            about = read_json(folder / "report.json")
    names = about.get("figures", [])
    whole = all(os.path.exists(folder / "figures" / f"{name}.png") for name in names)
    same = about.get("made_from") == facts and about.get("format_version") == VERSION
    return names if same and whole and about.get("page") == _digest(page) else None


def _missing(gathered: Gathered) -> list[str]:
    """What the study does not have yet, with the command that makes it."""
    path, told = gathered.study.path, []
    if gathered.model_facts is None:
        told.append(f"no model: astroprism train {path}")
    elif not gathered.has_codes:
        told.append(f"no codes: astroprism encode {path}")
    elif gathered.findings is None:
        told.append(f"no findings: astroprism find {path}")
    elif not gathered.findings["labels"]:
        told.append(f"no labels: astroprism find {path} --labels TABLE")
    return told
