"""How odd every spectrum of a study is: STUDY/outliers.parquet, the oddest first, each with its reasons.

Made when first needed, and again when codes, labels or model have changed.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..artifacts import Format, differences, digest_of_json, read_arrays, table_header, write_arrays
from ..folder import StudyFolder
from ..measures.evidence import column_values
from ..measures.probe import label_residuals, predict, target_keys
from ..model.data import Source
from ..progress import Listener, count, silent, warning
from .codes import StudyCodes
from .reference import CalibratedModel, calibrate, study_residuals
from .residuals import Residuals
from .scores import isolation, label_surprise, label_text, oddness, reasons_text, score_columns, scores_of
from .table import label_columns, write_frame

if TYPE_CHECKING:
    import pandas as pd

PART_ROWS, PART_PIXELS = 4_096, 2**26  # of a part: what a kill can cost
OUTLIERS = Format("astroprism-outliers", 3)


def outlier_table(
    folder: StudyFolder, *, device: str = "auto", progress: Listener = silent
) -> tuple[pd.DataFrame, bool]:
    """A row per spectrum of the study, the oddest first, and whether the table had to be made.

    Kept in outliers.parquet; a run that was killed continues. progress counts spectra.
    """
    import pandas as pd

    calibrated = calibrate(folder, device=device, progress=progress)
    path = folder.path / "outliers.parquet"
    made_from = calibrated.probe.facts | {
        "rows": calibrated.facts.spectra,
        "kind": OUTLIERS.version,
        "element": calibrated.element,
    }
    if _is_made_from(path, made_from):
        return pd.read_parquet(path), False
    codes = StudyCodes.read(folder)
    if missing := len(folder.store) - len(codes):
        progress(warning(f"{missing:,} spectra have no codes yet and are left out: encode them first"))
    parts = folder.path / ".outliers" / digest_of_json(made_from)[:16]
    residuals = _residuals(folder, calibrated, codes, parts=parts, progress=progress)
    frame = _ranked(folder, calibrated, codes, residuals)
    write_frame(path, frame, header=made_from)
    shutil.rmtree(folder.path / ".outliers", ignore_errors=True)
    return frame, True


def _is_made_from(path: Path, made_from: Mapping[str, Any]) -> bool:
    try:
        return path.exists() and not differences(table_header(path), made_from)
    except (OSError, ValueError):  # damaged: it is made again
        return False


def _residuals(
    folder: StudyFolder, calibrated: CalibratedModel, codes: StudyCodes, *, parts: Path, progress: Listener
) -> Residuals:
    """Residuals of every spectrum, a part at a time: a kill costs one part."""
    model = calibrated.model
    source = model.source(Source.from_store(folder.store, memory=0))
    rows = np.arange(len(codes))
    size = max(1, min(PART_ROWS, PART_PIXELS // source.pixels))
    names = [entry.name for entry in fields(Residuals)]
    done = []
    for start in range(0, len(rows), size):
        path = parts / f"{start:012d}.npz"
        held = read_arrays(path, kind=OUTLIERS)
        if held is None:
            some = rows[start : start + size]
            part = study_residuals(source, model, codes, some, error=calibrated.reference.error)
            write_arrays(path, {name: getattr(part, name) for name in names}, header=OUTLIERS.header)
        else:
            part = Residuals(**held[0])
        done.append(part)
        progress(count(min(start + size, len(rows)), len(rows)))
    return Residuals.concatenate(done)


def _ranked(
    folder: StudyFolder, calibrated: CalibratedModel, codes: StudyCodes, residuals: Residuals
) -> pd.DataFrame:
    """The table: scores, reasons, and labels as predicted and as given."""
    import pandas as pd

    reference, probe, wavelength = calibrated.reference, calibrated.probe, calibrated.wavelength
    mean, sd = codes.mean.astype(np.float64), codes.sd.astype(np.float64)
    labels = codes.labels(folder.label_table())
    units = codes.units(folder.require_model().split)
    isolated = isolation(
        probe.standard(mean), reference.codes, keys=target_keys(units), row_keys=reference.keys
    )
    predicted = predict(probe, mean, sd, snr=codes.snr, targets=units)
    given = {str(name): labels[name] for name in labels}
    distances = label_residuals(predicted, given)
    of_labels = label_surprise(distances, reference.label_scores, len(codes)) if distances else None
    odd = oddness(scores_of(residuals, isolated, of_labels), reference.scores, together=reference.together)

    def label_reason(i: int) -> str:
        return label_text(i, distances, predicted, labels)

    columns: dict[str, Any] = {
        "spectrum_id": codes.identifiers,
        "target": codes.targets,
        "part": codes.parts(folder.require_model().split),
        "p": odd.p_all,
        "surprise": odd.surprise_all,
        "reasons": [
            reasons_text(
                i,
                odd=odd,
                residuals=residuals,
                wavelength=wavelength,
                element=calibrated.element,
                medium=calibrated.medium,
                label_reason=label_reason,
            )
            for i in range(len(codes))
        ],
        "snr": codes.snr,
        **score_columns(residuals, odd, wavelength),
    }
    kinds = {name: one.categorical for name, one in predicted.items()}
    names = label_columns(kinds, taken=columns, before="predicted_")
    for label, one in predicted.items():
        name = names[label]
        columns[f"predicted_{name}"] = one.value
        if one.categorical:
            columns[f"predicted_{name}_set"] = one.sets
        else:
            columns |= {f"predicted_{name}_low": one.low, f"predicted_{name}_high": one.high}
        if label in given:
            columns[f"label_{name}"] = column_values(given[label])
    frame = pd.DataFrame(columns)
    frame = frame.iloc[np.argsort(-frame["surprise"].to_numpy(), kind="stable")].reset_index(drop=True)
    frame.insert(0, "rank", np.arange(1, len(frame) + 1))
    return frame
