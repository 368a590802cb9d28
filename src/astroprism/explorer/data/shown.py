"""What the explorer needs of a study: `astroprism.Study` has it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pandas as pd

    from ...network import PaperNetwork, Prism
    from ...store import Store


class StudyLike(Protocol):
    """A study, read only."""

    @property
    def path(self) -> Path:
        """Its folder."""

    @property
    def store(self) -> Store:
        """Its spectra."""

    @property
    def model_path(self) -> Path:
        """Where its model lies."""

    def model(self, *, unpruned: bool = False) -> tuple[Prism | PaperNetwork, dict[str, Any]]:
        """The network, and what is known of it."""

    def findings(self) -> dict[str, Any]:
        """What `find` found."""

    def finding_table(self, name: str) -> pd.DataFrame:
        """A table beside the findings."""
