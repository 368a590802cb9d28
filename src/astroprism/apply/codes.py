"""Codes of a study beside the rows of its store, and what is known of their spectra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..folder import StudyFolder
from ..model.encode import codes_facts
from ..schema import CodesFacts, Split
from ..targets import split

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class StudyCodes:
    """The pruned, polished codes of a study: n spectra, in the order of their table.

    facts     what the table of codes is and what it was made from
    rows      (n,) of the store
    index     of the store, whole
    mean, sd  (n, nodes of the network)
    """

    facts: CodesFacts
    rows: NDArray[np.intp]
    index: pd.DataFrame
    mean: NDArray[np.float32]
    sd: NDArray[np.float32]

    @classmethod
    def read(cls, folder: StudyFolder) -> Self:
        """From codes.parquet; spectra that the store does not hold are an error."""
        import pandas as pd
        from pyarrow import parquet

        index, path = folder.index, folder.codes_path()
        facts = codes_facts(path)
        table = parquet.read_table(path)
        rows = pd.Index(index["spectrum_id"]).get_indexer(pd.Index(table["spectrum_id"].to_pandas()))
        if strange := int((rows < 0).sum()):
            raise ModelError(
                f"{path} holds {strange:,} spectra that the store does not; run: astroprism encode "
                f"{folder.path}"
            )
        mean, sd = (
            np.stack([table[name].to_numpy() for name in table.column_names if name.startswith(kind)], axis=1)
            for kind in ("mean_", "sd_")
        )
        return cls(facts, np.asarray(rows, np.intp), index, mean, sd)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def identifiers(self) -> NDArray[np.object_]:
        """(n,)."""
        return self.index["spectrum_id"].to_numpy(dtype=object)[self.rows]

    @property
    def targets(self) -> NDArray[np.object_]:
        """(n,)."""
        return self.index["target"].to_numpy(dtype=object)[self.rows]

    @property
    def snr(self) -> NDArray[np.float64]:
        """Signal-to-noise ratio per pixel, (n,)."""
        return self.index["snr"].to_numpy(np.float64)[self.rows]

    def parts(self, shares: Split) -> NDArray[np.str_]:
        """'train', 'valid', 'test' or 'spare', (n,)."""
        return split.as_trained(self.index, shares)[self.rows]

    def units(self, shares: Split) -> NDArray[np.object_]:
        """What is held out whole: the target of each spectrum, or its night or block of time, (n,)."""
        return split.units(self.index, shares)[self.rows]

    def labels(self, table: pd.DataFrame | None) -> pd.DataFrame:
        """Rows (n,) of a label table, by identifier; without columns where there is none."""
        import pandas as pd

        return pd.DataFrame(index=self.identifiers) if table is None else table.reindex(self.identifiers)
