"""Section 6 of the seed paper from its release files, and beside it what unbiased estimators say.

Sedaghat, Romaniello, Carrick and Pineau (2021, MNRAS 501, 6026). docs/paper.md explains the output.

release     their files: codes and labels
encoding    codes of FITS spectra by their network
section6    which nodes are informative (6.1), and which labels they follow (6.2)
verdict     the result, and what stands and what does not, in words
"""

from __future__ import annotations

from .release import LABELS, Release, ReleaseError, read_codes, read_release
from .section6 import MOST_CLASSES, section6
from .verdict import Section6

__all__ = [
    "LABELS",
    "MOST_CLASSES",
    "Release",
    "ReleaseError",
    "Section6",
    "read_codes",
    "read_release",
    "section6",
]
