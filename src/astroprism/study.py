"""A study: the one folder a user holds. Its verbs are the commands of the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .errors import AstroprismError, StoreError
from .layout import blame, read_json, write_aside

if TYPE_CHECKING:
    import pandas as pd

    from .catalog import Joined
    from .ingest import IngestOptions, IngestReport, Progress
    from .store import Store


class Study:
    """The folder STUDY and what is in it. Making one writes nothing; the first verb does."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.exists() and not self.path.is_dir():
            raise AstroprismError(f"{self.path} is a file; a study is a folder: give another name")

    def __repr__(self) -> str:
        return f"Study({str(self.path)!r})"

    @property
    def store_path(self) -> Path:
        """Where the spectra lie."""
        return self.path / "store.zarr"

    @cached_property
    def store(self) -> Store:
        """The spectra."""
        from .store import Store

        if not self.store_path.exists():
            raise StoreError(f"{self.path} holds no spectra yet; run: astroprism ingest {self.path} FILES..")
        return Store(self.store_path)

    @property
    def index(self) -> pd.DataFrame:
        """A row a spectrum: identifier, target, frame, SNR ..."""
        return self.store.index

    def ingest(
        self,
        paths: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
        *,
        options: IngestOptions | None = None,
        say: Callable[[str], None] | None = None,
        watch: Callable[[Progress], None] | None = None,
    ) -> IngestReport:
        """Bring files, or all files under folders, into the store; see `astroprism.ingest`."""
        from .ingest import IngestOptions, ingest

        options = options or IngestOptions()
        given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        report = ingest(self.store_path, given, options=options, say=say or _silent, watch=watch or _silent)
        self.__dict__.pop("store", None)
        if report.files_new:
            self.record("ingest", {"paths": [str(path) for path in given]} | report.as_dict())
        return report

    def labels(self, tables: Iterable[str | os.PathLike[str]] | str | os.PathLike[str]) -> Joined:
        """Label tables joined to the index of the store; see `astroprism.catalog`."""
        from .catalog import join, read_table

        given = [tables] if isinstance(tables, str | os.PathLike) else list(tables)
        joined = None
        for table in given:
            joined = join(self.index, read_table(Path(table)))
        if joined is None:
            raise AstroprismError("no label table given")
        return joined

    @property
    def history(self) -> list[dict[str, Any]]:
        """What was run on this study, oldest first."""
        path = self.path / "study.json"
        return list(read_json(path).get("runs", [])) if path.exists() else []

    def record(self, command: str, facts: dict[str, Any]) -> None:
        """Add a run to study.json."""
        run = {
            "command": command,
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "version": __version__,
            **facts,
        }
        with blame(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        content = {"format": "astroprism-study", "format_version": 1, "runs": [*self.history, run]}
        write_aside(self.path / "study.json", (json.dumps(content, indent=1) + "\n").encode())


def _silent(_: object) -> None:
    """Nobody listens."""
