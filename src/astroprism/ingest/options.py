"""How an archive becomes a store, the counts on the way, and what an ingest reports at its end."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ..archive import ReadOptions
from ..checks import check_choice
from ..errors import ConfigError
from ..grid import parse_grid
from ..store.layout import DTYPES
from ..store.prepare import PrepareOptions


@dataclass(frozen=True)
class IngestOptions:
    """How an archive becomes a store.

    grid       'auto', 'paper' or LOW:HIGH:STEPkms; auto proposes one, or takes that of the store there
    frame      file, barycentric or observer (see PrepareOptions); None: that of the store, else file
    normalise  auto, median, paper-median or continuum; None: that of the store, else auto
    min_good   share of good pixels a spectrum must have; None: that of the store, else 0.5
    dtype      float32 or float16 on disk; None: that of the store, else float32
    medium     air or vacuum, for files that do not say which; None: as their format has it by custom
    wave_unit  angstrom, nm or um, for files that do not say which; None: as numbers and headers decide
    checksum   verify: files whose own checksum fails are read with a warning; refuse: they are refused;
               ignore: nobody looks
    aliases    table of names that mean one star, a row per star
    targets    table with columns spectrum and target; counts before names and places, and the store keeps it
    workers    local processes; 0: this process; None: one per core
    cluster    address of a Dask scheduler, or local:N
    """

    grid: str = "auto"
    frame: str | None = None
    normalise: str | None = None
    min_good: float | None = None
    dtype: str | None = None
    medium: str | None = None
    wave_unit: str | None = None
    checksum: str = "verify"
    aliases: str | None = None
    targets: str | None = None
    workers: int | None = None
    cluster: str | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 0:
            raise ConfigError(f"{self.workers} workers; give 1 or more, or 0 to work in this process")
        if self.workers is not None and self.cluster is not None:
            raise ConfigError("--workers is for the local pool; with --cluster the cluster has its own")
        if self.grid != "auto":
            parse_grid(self.grid)
        check_choice("dtype", self.dtype, (None, *DTYPES))
        PrepareOptions(**self.preparation)
        self.read  # noqa: B018 (checks medium and checksum)
        if self.normalise == "paper-median" and self.grid not in ("paper", "auto"):
            raise ConfigError("--normalise paper-median is the paper grid's own; add --grid paper")

    @property
    def preparation(self) -> dict[str, Any]:
        """The arguments of PrepareOptions that were given."""
        given = {"frame": self.frame, "normalise": self.normalise, "min_good": self.min_good}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def read(self) -> ReadOptions:
        """The options of the readers."""
        return ReadOptions(checksum=self.checksum, medium=self.medium, wave_unit=self.wave_unit)


@dataclass(frozen=True)
class IngestCounts:
    """Spectra accepted and refused so far in a run; duplicates are found when blocks are committed."""

    accepted: int
    refused: int


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did.

    Files: given = new + known before. Spectra: met = accepted + refused; a file can hold several.
    `warnings` counts what had to be assumed of the spectra now in the store, numbers left out; `berv` where
    their barycentric velocities are from ('keyword NAME', 'computed', 'none'). `targets` says what a table of
    targets did: spectra listed and missing in it, rows that name no spectrum.
    """

    files_given: int
    files_new: int
    files_changed: int
    passed_over: int
    met: int
    accepted: int
    refused: int
    reasons: dict[str, int]
    n_spectra: int
    n_targets: int
    n_target_doubts: int
    grid: str
    warnings: dict[str, int]
    berv: dict[str, int] = field(default_factory=dict)
    targets: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)
