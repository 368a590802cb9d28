"""A study's model applied to spectra: labels with intervals, how odd they are, and when to distrust it.

    apply           files, folders or spectra in memory that are not in the study
    outlier_table   the study's own spectra, the oddest first

reference.py holds what both judge by, scores.py what odd means, training_range.py what is warned of.
"""

from __future__ import annotations

import os
from typing import Any, overload

from ..errors import ConfigError
from ..folder import StudyFolder
from ..progress import Listener, silent
from .files import ApplyReport, apply_files, apply_files_in_memory
from .outliers import outlier_table
from .spectra import Applied, ApplyOptions, Refused, apply_spectra, spectra_from

__all__ = ["Applied", "ApplyOptions", "ApplyReport", "Refused", "apply", "outlier_table"]

PathLike = str | os.PathLike[str]


@overload
def apply(
    folder: StudyFolder, things: Any, *, options: ApplyOptions | None = None, progress: Listener = silent
) -> Applied: ...


@overload
def apply(
    folder: StudyFolder,
    things: Any,
    *,
    out: PathLike,
    options: ApplyOptions | None = None,
    progress: Listener = silent,
) -> ApplyReport: ...


@overload
def apply(
    folder: StudyFolder,
    things: Any,
    *,
    out: PathLike | None = None,
    options: ApplyOptions | None = None,
    progress: Listener = silent,
) -> Applied | ApplyReport: ...


def apply(
    folder: StudyFolder,
    things: Any,
    *,
    out: PathLike | None = None,
    options: ApplyOptions | None = None,
    progress: Listener = silent,
) -> Applied | ApplyReport:
    """Codes, labels with intervals, outlier scores and warnings of spectra that are not in the study.

    things    a file, a folder, or spectra in memory: numpy arrays (wavelength, flux[, sigma]), tables,
              specutils objects, `Spectrum`, or a list of these
    out       for files and folders: the table to write, a block at a time
    progress  with `out`, counts files
    """
    options = options or ApplyOptions()
    paths = paths_of(things)
    if paths is None and out is not None:
        raise ConfigError("out= is for files and folders; write spectra in memory by .table().write()")
    if paths is None:
        return apply_spectra(folder, spectra_from(things), device=options.device, progress=progress)
    if out is None:
        return apply_files_in_memory(folder, paths, options=options, progress=progress)
    return apply_files(folder, paths, out=out, options=options, progress=progress)


def paths_of(things: Any) -> list[PathLike] | None:
    """Paths, if `things` is one or a list of them; None where it is spectra in memory."""
    if isinstance(things, str | os.PathLike):
        return [things]
    several = isinstance(things, list | tuple) and len(things) > 0
    if several and all(isinstance(one, str | os.PathLike) for one in things):
        return list(things)
    return None
