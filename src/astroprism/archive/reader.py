"""What a reader is, and what a caller may choose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..checks import check_choice
from ..errors import ConfigError, SpectrumError
from ..spectrum import MEDIA, Spectrum
from .fits import Unit
from .source import Source

Yield = Iterator[Spectrum | SpectrumError]


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What the file alone cannot decide.

    checksum  'verify' refuses files whose CHECKSUM or DATASUM does not match; 'ignore' takes them
    medium    'air' or 'vacuum' for files that do not say; None takes the custom of the format
    row       which row of a plain 2-D image is the spectrum; None refuses images with several
    """

    checksum: str = "verify"
    medium: str | None = None
    row: int | None = None

    def __post_init__(self) -> None:
        check_choice("checksum", self.checksum, ("verify", "ignore"))
        check_choice("medium", self.medium, (None, *MEDIA))
        if self.row is not None and self.row < 0:
            raise ConfigError(f"row {self.row} is negative; rows count from 0")

    def verify(self, *units: Unit) -> bool:
        """Hold units against their checksums, unless these are ignored; True where the last is attested."""
        attested = [unit.verify() for unit in units] if self.checksum == "verify" else [False]
        return attested[-1]


@dataclass(frozen=True)
class Reader:
    """One format: `sniff` decides by the content whether it is this one, `read` yields its spectra."""

    summary: str
    sniff: Callable[[Source], bool]
    read: Callable[[Source, ReadOptions], Yield]
