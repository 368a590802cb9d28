"""Which text is a class label: rare classes are pooled; identifiers, file names and dates are none.

Members are targets, not spectra: a star with a hundred visits is one member of its class.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

OTHER = "other"
FEW_MEMBERS = 5  # targets: as many as neighbours are sought among
FEWEST_TARGETS = 25  # below, every class has few members, and nothing is pooled
FEW_CLASSES = 12  # as many are never too many
MOST_SHARE = 0.1  # of the targets, as classes: with ten members each on average little is known of any

_DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}([T ].*)?|\d{8}T\d{4,6}.*"
    r"|[+-]?\d{1,3}:\d{2}(:\d{2}(\.\d*)?)?"
)
_FILE = re.compile(
    r"\S*\.(fits?|fts|txt|dat|csv|tsv|ascii|asc|h5|hdf5?|npz|npy|png|jpe?g|pdf|xml|vot)(\.(gz|fz|bz2|xz|Z))?"
    r"|\w+://\S*|(/|\.{1,2}/|~/|[A-Za-z]:\\).+",
    re.IGNORECASE,
)


def no_class(values: Iterable[str]) -> str:
    """What texts are instead of classes, most of them: 'dates or times', 'names of files', or ''."""
    filled = list(values)
    for pattern, what in ((_DATE, "dates or times"), (_FILE, "names of files")):
        if filled and sum(pattern.fullmatch(one) is not None for one in filled) > 0.5 * len(filled):
            return what
    return ""


def nearly_unique(classes: int, targets: int) -> str:
    """Why so many classes are no label; '' where they are few enough."""
    if classes <= max(FEW_CLASSES, MOST_SHARE * targets):
        return ""
    return f"{classes:,} classes for {targets:,} targets, more than a tenth: nearly unique text"


def pooled(classes: NDArray[np.int64]) -> tuple[NDArray[np.int64], int, int]:
    """(classes with the rare ones as one, how many those were, of how many members together).

    classes  (n,) one row per target, -1 where blank. The rare ones become the first of them. One rare class
             alone stays, and so do all where the targets are few.
    """
    known = classes[classes >= 0]
    if known.size < FEWEST_TARGETS:
        return classes, 0, 0
    members = np.bincount(known)
    rare = np.flatnonzero((members > 0) & (members < FEW_MEMBERS))
    if rare.size < 2:
        return classes, 0, 0
    return np.where(np.isin(classes, rare), rare[0], classes), int(rare.size), int(members[rare].sum())


def pooled_text(rare: int, members: int) -> str:
    """The pooling in words."""
    if not rare:
        return ""
    each = f"fewer than {FEW_MEMBERS} targets each, {members:,} together"
    return f"{rare:,} classes of {each} are pooled as {OTHER!r}"
