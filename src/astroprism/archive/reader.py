"""What a reader is, and what a caller may choose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from ..checks import check_choice
from ..errors import ConfigError, SpectrumError, UnreadableFile
from ..spectrum import MEDIA, Spectrum
from .axis import Evidence, unit_evidence
from .fits import Unit
from .header import Facts
from .source import Source

Yield = Iterator[Spectrum | SpectrumError]


CHECKSUMS = ("verify", "refuse", "ignore")
WAVE_UNITS = ("angstrom", "nm", "um")


class Verified(NamedTuple):
    """Whether the last of some units is attested by its checksum, and which checksums do not match."""

    attested: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What the file alone cannot decide.

    checksum   'verify' warns of files whose CHECKSUM or DATASUM does not match, 'refuse' refuses them,
               'ignore' does not look
    medium     'air' or 'vacuum' for files that do not say; None takes the custom of the format
    wave_unit  angstrom, nm or um for files that do not say; None takes what the numbers and the header leave
    row        which row of a plain 2-D image is the spectrum; None refuses images with several
    """

    checksum: str = "verify"
    medium: str | None = None
    wave_unit: str | None = None
    row: int | None = None

    def __post_init__(self) -> None:
        check_choice("checksum", self.checksum, CHECKSUMS)
        check_choice("medium", self.medium, (None, *MEDIA))
        check_choice("wave_unit", self.wave_unit, (None, *WAVE_UNITS))
        if self.row is not None and self.row < 0:
            raise ConfigError(f"row {self.row} is negative; rows count from 0")

    def verify(self, *units: Unit) -> Verified:
        """Hold units against their checksums, unless these are ignored."""
        attested, warnings = False, []
        for unit in units if self.checksum != "ignore" else ():
            attested = False
            try:
                attested = unit.verify()
            except UnreadableFile as error:
                if self.checksum == "refuse" or error.reason != "checksum":
                    raise
                warnings.append(str(error))
        return Verified(attested, tuple(dict.fromkeys(warnings)))

    def unit_of(self, *headers: Facts) -> Evidence:
        """Finds what speaks for a unit of wavelengths that a file does not name."""
        return partial(unit_evidence, headers, chosen=self.wave_unit)


@dataclass(frozen=True)
class Reader:
    """One format: `sniff` decides by the content whether it is this one, `read` yields its spectra."""

    summary: str
    sniff: Callable[[Source], bool]
    read: Callable[[Source, ReadOptions], Yield]
