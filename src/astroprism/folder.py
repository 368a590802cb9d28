"""A read-only view of a study's folder: what is there, as objects; what is missing, as None.

STUDY holds store.zarr/, model/, codes.parquet, codes_unpruned.parquet, findings.json, findings/, study.json.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .artifacts import read_json
from .errors import AstroprismError, ModelError, StoreError
from .model.history import read_history
from .schema import Findings, ModelFacts

if TYPE_CHECKING:
    import pandas as pd

    from .model.trained import TrainedModel
    from .store import Store


class StudyFolder:
    """The folder STUDY. Making one reads and writes nothing."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise AstroprismError(f"{self.path} is a file; a study is a folder: give another name")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    # --- where things lie

    @property
    def store_path(self) -> Path:
        """Where the spectra lie."""
        return self.path / "store.zarr"

    @property
    def model_path(self) -> Path:
        """Where the model lies."""
        return self.path / "model"

    @property
    def findings_path(self) -> Path:
        """Where the findings lie; their tables are in the folder `findings` beside."""
        return Findings.path_in(self.path)

    def codes_path(self, *, unpruned: bool = False) -> Path:
        """Where the codes lie."""
        return self.path / ("codes_unpruned.parquet" if unpruned else "codes.parquet")

    def table_path(self, name: str) -> Path:
        """Where a table of the findings lies."""
        return self.path / "findings" / f"{name}.parquet"

    # --- what is there

    @cached_property
    def store(self) -> Store:
        """The spectra."""
        from .store import Store

        if not self.store_path.exists():
            raise StoreError(f"{self.path} holds no spectra yet; run: astroprism ingest {self.path} FILES..")
        return Store(self.store_path)

    @property
    def index(self) -> pd.DataFrame:
        """A row per spectrum: identifier, target, frame, S/N ..."""
        return self.store.index

    def model_facts(self) -> ModelFacts | None:
        """model.json of a finished model; None where there is none. Torch is not needed."""
        return ModelFacts.in_folder(self.model_path)

    def require_model(self) -> ModelFacts:
        """model.json; an error where there is none."""
        facts = self.model_facts()
        if facts is None:
            raise ModelError(f"{self.model_path} holds no finished model; run: astroprism train {self.path}")
        return facts

    def model(self, *, unpruned: bool = False, device: str = "cpu") -> TrainedModel:
        """The trained network, ready to encode and decode; `unpruned` is what the counts read."""
        from .model.trained import TrainedModel

        return TrainedModel.read(self.model_path, unpruned=unpruned, device=device)

    def training_history(self) -> pd.DataFrame | None:
        """A row per moment of the training that was reported; None where there is no model."""
        path = self.model_path / "history.parquet"
        return read_history(path) if path.exists() else None

    def codes(self, *, unpruned: bool = False) -> pd.DataFrame:
        """A row per spectrum: spectrum_id, target, mean_000.., sd_000..; unpruned: what the counts read."""
        from .model.encode import read_codes

        return read_codes(self.codes_path(unpruned=unpruned))

    def has_codes(self, *, unpruned: bool = False) -> bool:
        """Whether there are codes to read."""
        return self.codes_path(unpruned=unpruned).exists()

    def has_findings(self) -> bool:
        """Whether `find` was run."""
        return self.findings_path.exists()

    def findings(self) -> Findings:
        """What `find` found (findings.json); an error where it was not run."""
        if not self.has_findings():
            raise AstroprismError(f"{self.path} has no findings yet; run: astroprism find {self.path}")
        return Findings.read(self.findings_path)

    def finding_table(self, name: str) -> pd.DataFrame:
        """A table beside findings.json: nodes, matches, keywords, bins, lines, derivatives or labels."""
        import pandas as pd

        path = self.table_path(name)
        if not path.exists():
            raise AstroprismError(f"{path} is not there; run: astroprism find {self.path}")
        return pd.read_parquet(path)

    def label_table(self) -> pd.DataFrame | None:
        """The labels that were given to `find`, a row per spectrum by its identifier; None without any."""
        if not self.table_path("labels").exists():
            return None
        table = self.finding_table("labels").set_index("spectrum_id")
        return table if table.shape[1] else None

    @property
    def history(self) -> list[dict[str, Any]]:
        """What was run on this study, oldest first."""
        path = self.path / "study.json"
        return list(read_json(path).get("runs", [])) if path.exists() else []
