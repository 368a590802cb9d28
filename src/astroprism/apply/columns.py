"""What the columns of an applied table mean, for tables that can say so: astropy, FITS and VOTable."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from astropy.table import Table

LEVEL = "90 % interval; it need not hold where a warning is raised"
# name of a column -> (unit, what it is)
MEANING = {
    "spectrum_id": ("", "identifier of the spectrum"),
    "target": ("", "star, as the file names it"),
    "path": ("", "file"),
    "item": ("", "spectrum of that file"),
    "warning": ("", "ways in which the spectrum lies outside what the model has seen"),
    "snr": ("", "signal-to-noise ratio a pixel, median"),
    "sigma_from": ("", "where the errors are from: the file, or the scatter of the pixels"),
    "n_good": ("", "good pixels"),
    "outlier_p": ("", "share of sound spectra that are as odd"),
    "outlier_surprise": ("", "-log10 of p, carried on beyond the oddest held-out spectrum"),
    "outlier_reasons": ("", "what is odd, in words"),
    "chi2": ("", "misfit a pixel, with the error of the model"),
    "worst_sigma": ("", "by how much the worst run of pixels stands off, in sigma"),
    "worst_low": ("Angstrom", "begin of that run, in the medium of the study"),
    "worst_high": ("Angstrom", "end of that run"),
    "chi2_p": ("", "p of the misfit"),
    "pixels_p": ("", "p of the worst run of pixels"),
    "density_p": ("", "p of how lonely the code is"),
    "labels_p": ("", "p of how far a catalogue's label lies from the predicted one"),
}


def described(table: Table, *, angstrom: str = "Angstrom") -> Table:
    """The table with units and descriptions of its columns; label units are those of the label table.

    angstrom  how it is written: VOTables want 0.1nm
    """
    for name in table.colnames:
        unit, told = MEANING.get(name, ("", ""))
        if found := re.fullmatch(r"(mean|sd)_(\d+)", name):
            told = f"{'code' if found[1] == 'mean' else 'uncertainty of the code'} of node {int(found[2])}"
        elif not told and (found := re.fullmatch(r"(.+)_(low|high|set)", name)):
            what = {"low": "low end", "high": "high end", "set": "classes not ruled out"}[found[2]]
            told = f"{found[1]}: {what}, {LEVEL}"
        elif not told:
            told = f"{name} as the codes tell it, in the label table's unit"
        table[name].description = told
        if unit:
            table[name].unit = angstrom
    return table
