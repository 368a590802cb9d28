"""What the page of a report is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Shown:
    """A figure ready for the page: markup, caption, and the files beside the page."""

    markup: str
    words: str
    files: Mapping[str, str]  # kind -> address from the page


@dataclass(frozen=True)
class Facts:
    """All that the page tells. What a study does not have is None or empty."""

    name: str  # of the study's folder
    archive: Mapping[str, Any]
    model: Mapping[str, Any] | None
    findings: Mapping[str, Any] | None
    cards: Sequence[Mapping[str, Any]]
    chi2: tuple[float, float, float, int] | None
    readouts: Sequence[Mapping[str, Any]]
    intervals: Mapping[int, Mapping[str, float]]  # node -> low and high of its scores
    outliers: Mapping[str, Any] | None
    runs: Sequence[Mapping[str, Any]]
    stale: Sequence[str]
    provenance: Mapping[str, Any]
    most_cards: int
    figures: Mapping[str, Shown] = field(default_factory=dict)
