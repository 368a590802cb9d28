"""The commands on what a study says of spectra: apply, outliers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .common import Json, StudyPath, show


def apply(
    study: StudyPath,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH..", help="Files, or folders of files.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="TABLE", help="The table: .csv, .parquet, .fits or .vot.")
    ],
    medium: Annotated[str | None, typer.Option(help="air or vacuum, for files that do not say.")] = None,
    wave_unit: Annotated[
        str | None, typer.Option(help="angstrom, nm or um, for files that do not say.")
    ] = None,
    checksum: Annotated[
        str, typer.Option(help="verify: warn of files whose own checksum fails; refuse; or ignore.")
    ] = "verify",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    as_json: Json = False,
) -> None:
    """A table of codes, labels with intervals, outlier scores and warnings of spectra not in the study."""
    from ..apply import ApplyOptions
    from ..study import Study
    from .terminal import Display

    options = ApplyOptions(device=device, medium=medium, wave_unit=wave_unit, checksum=checksum)
    with Display() as display:
        report = Study(study).apply(list(paths), out=out, options=options, progress=display)
    lines = [] if report.made else ["nothing to do: the table is there, made from the same files and study"]
    lines += [
        f"{report.met:,} spectra met in {report.files:,} files: {report.applied:,} in the table, "
        f"{report.refused:,} refused",
        *(f"  {count:>7,}  {reason}: {_reason(reason)}" for reason, count in report.reasons.items()),
    ]
    if report.refused:
        lines.append(f"  each with its file and why: {report.table}.refused.csv")
    if report.passed_over:
        lines.append(f"  {report.passed_over:,} files passed over that are no spectra by their name")
    if report.warned:
        lines.append(f"  {report.warned:>7,}  outside the range of the training: see the column warning")
    if report.odd:
        lines.append(f"  {report.odd:>7,}  odd, at p of .01 or less: see the column outlier_reasons")
    if report.labels:
        doubt = "; they need not hold where a warning is raised" if report.warned else ""
        lines.append(f"  labels with 90 % intervals: {', '.join(report.labels)}{doubt}")
    else:
        lines.append(f"  no labels: give some to `astroprism find {study} --labels TABLE` first")
    lines += [
        f"  label {name} is in the column {column}: {name} is a measured column"
        for name, column in report.renamed.items()
    ]
    lines += [f"  label {name} is not predicted: {why}" for name, why in report.labels_missing.items()]
    lines.append(f"  {report.table}")
    show(report.as_dict(), as_json, "\n".join(lines))


def outliers(
    study: StudyPath,
    most: Annotated[int, typer.Option("--most", help="How many are listed.")] = 20,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    as_json: Json = False,
) -> None:
    """Every spectrum of the study judged, the oddest listed, with why."""
    from ..study import Study
    from .terminal import Display

    held = Study(study)
    with Display() as display:
        frame = held.outliers(device=device, progress=display)
    odd, rate = int((frame["p"] <= 0.01).sum()), 0.01 * len(frame)
    named = ["rank", "spectrum_id", "p", "surprise", "reasons"]
    first: list[dict[str, Any]] = [
        {str(key): value for key, value in row.items()}
        for row in frame.head(max(0, most))[named].to_dict("records")
    ]
    lines = [
        f"{odd:,} of {len(frame):,} spectra have p of .01 or less; chance alone would give {rate:,.0f}",
        *(
            f"  {row['rank']:>4}  p {row['p']:.2g}  {row['spectrum_id']}  {row['reasons'] or 'no one reason'}"
            for row in first
        ),
        f"  all of them: {held.path / 'outliers.parquet'}",
    ]
    if (least := float(frame["p"].min())) > 0.01:
        lines.append(f"  few targets were held out: no p can fall below {least:.2g}, so go by the ranks")
    result = {
        "spectra": len(frame),
        "odd": odd,
        "by_chance": rate,
        "table": str(held.path / "outliers.parquet"),
        "first": first,
    }
    show(result, as_json, "\n".join(lines))


def _reason(reason: str) -> str:
    from ..errors import REASONS

    return REASONS[reason]
