"""Text: two or three columns of wavelength, flux and error; blanks, tabs, commas or semicolons between.

Parsed by numpy's loadtxt once the delimiter, the comments and the names of the columns are known.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadSpectrum, UnreadableFile
from ..spectrum import Spectrum
from .axis import unit_factor
from .exposure import exposure_of
from .header import FRAMES, is_maker, is_name, plausible
from .image import assumed_medium
from .pixels import cells_of, roles_of
from .reader import Reader, ReadOptions, Yield
from .source import Source

MARKS = "#%;!\\"  # what comment lines begin with
LONGEST_FILE = 1 << 26  # bytes: ten times a HARPS spectrum written out
DELIMITERS = (",", ";", "|", "\t\t")  # single tabs count as blanks
FEWEST = 8  # lines of numbers below which text is no spectrum
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][-+]?\d+)?|[-+]?(?:nan|inf|NaN|Inf|NAN|INF)")
_REMARK = re.compile(r"^[\s#%;!\\]*([A-Za-z][\w .-]{0,40}?)\s*[=:]\s*['\"]?(.*?)['\"]?\s*(?:/.*)?$")
_TARGET = ("object", "target", "star", "name")


def sniff(source: Source) -> bool:
    """Printable text most of whose first lines are two or more numbers."""
    head = source.head[: 1 << 16]
    if source.fits is not None or b"\0" in head:
        return False
    lines = head.decode("latin-1").splitlines()
    if len(source.head) < source.size or len(head) == 1 << 16:
        lines = lines[:-1]
    body = [line for line in lines if line.strip() and line.lstrip()[0] not in MARKS]
    numeric = [
        line
        for line in body
        if len(_fields(line, _delimiter(body))) >= 2 and _numeric(line, _delimiter(body))
    ]
    return len(numeric) >= FEWEST and len(numeric) > 0.5 * len(body)


def read(source: Source, options: ReadOptions) -> Yield:
    """The one spectrum of the file."""
    if source.size > LONGEST_FILE:
        raise UnreadableFile(f"{source.size:,} bytes of text are more than a spectrum; use FITS or HDF5")
    text = source.span(0, source.size).decode("latin-1")
    lines = [line for line in text.splitlines() if line.strip()]
    body = [line for line in lines if line.lstrip()[0] not in MARKS]
    delimiter = _delimiter(body)
    first = next((at for at, line in enumerate(body) if _numeric(line, delimiter)), len(body))
    head, body = body[:first], body[first:]
    remarks = [line for line in islice(lines, 1000) if line.lstrip()[0] in MARKS] + head
    warnings: tuple[str, ...] = ()
    _refuse_cut_line(body, delimiter)
    if len(body) > 2 and not text.endswith(("\n", "\r")) and len(body[-1]) < min(map(len, body[-20:-1])):
        # the file may have been cut within the last number, and no reader can know
        warnings = ("the last line is short and not ended; left out",)
        body = body[:-1]
    table = _numbers(body, delimiter)
    names = _names(remarks, table.shape[1])
    roles, unit = roles_of(names)
    if other := [name for name in names if re.match(r"(wave_?num|wavenum|freq|energy)", name, re.IGNORECASE)]:
        raise BadSpectrum(
            f"the column {other[0]!r} is no wavelength; convert it to wavelengths", reason="wavelength"
        )
    if not ("flux" in roles and ("wave" in roles or "loglam" in roles)):
        if names and delimiter is not None and head and not roles:
            raise BadSpectrum(
                f"the columns are called {', '.join(names)}; none is a wavelength or a flux",
                reason="ambiguous",
            )
        columns: tuple[str, ...] = ("wave", "flux", "sigma")
        if table.shape[1] > 3:
            columns = columns[:2]  # what the third is, nobody says
            warnings += (
                f"{table.shape[1]} columns without names: the first two are taken as wavelength and flux, a "
                "line such as 'wavelength flux error' above them would name the others",
            )
        values = dict(zip(columns, table.T, strict=False))
        unit = unit or _unit_in(remarks)
    else:
        values = {role: table[:, list(names).index(name)] for role, name in roles.items()}
        unit = unit or _unit_in(remarks)
    if "sigma" in values and not np.any(values["sigma"] > 0):
        del values["sigma"]
    stated = _remarks(remarks)
    stated_as = _Remarks(stated)
    cells = cells_of(values, unit=unit, evidence=options.unit_of(stated_as))
    medium, assumed = _medium(remarks, float(cells.wave[-1]), options)
    exposure = exposure_of((stated_as,))
    keywords = {key: number for key, value in stated.items() if (number := _plain(value)) is not None}
    yield Spectrum(
        wavelength=cells.wave,
        flux=cells.flux,
        sigma=cells.sigma,
        good=cells.good,
        identifier=source.stem,
        target=next((stated[key] for key in stated if key.lower() in _TARGET), ""),
        **exposure.facts(),
        medium=medium,
        frame=exposure.frame(FRAMES.get(stated_as.text("SPECSYS").upper()[:8], "unknown")),
        snr=plausible(keywords.get("SNR", np.nan), 0.0, 1e6),
        reader="text",
        keywords=keywords,
        words={key: text for key, text in stated.items() if is_maker(key.upper()) and is_name(text)},
        warnings=warnings + cells.warnings + assumed + exposure.motion.warnings,
    )


class _Remarks:
    """Comment lines as keywords; capitals and small letters, underscores and blanks are one."""

    def __init__(self, stated: dict[str, str]) -> None:
        self._values: dict[str, str] = {}
        for key, value in stated.items():
            self._values.setdefault(self._plain(key), value)

    @staticmethod
    def _plain(key: str) -> str:
        return key.upper().replace("HIERARCH ", "").replace("_", "-").strip()

    def text(self, key: str, /) -> str:
        """The words of a remark."""
        return self._values.get(self._plain(key), "")

    def number(self, *keys: str) -> float:
        """The first remark that begins with a number."""
        values = (_plain(self.text(key)) for key in keys if _single(self.text(key)))
        return next((value for value in values if value is not None), np.nan)

    @property
    def numbers(self) -> dict[str, float]:
        """Every remark that begins with a number."""
        return {key: value for key in self._values if np.isfinite(value := self.number(key))}

    def comment(self, key: str, /) -> str:
        """What follows the number of a remark: its unit."""
        return " ".join(self.text(key).split()[1:])


def _single(text: str) -> bool:
    """Whether a remark is one number, not three of a sexagesimal angle."""
    words = text.split()
    return bool(words) and not (len(words) > 1 and _NUMBER.fullmatch(words[1]))


def _delimiter(body: Sequence[str]) -> str | None:
    """The mark between columns in the last of the first lines; None where blanks are."""
    line = body[min(len(body) - 1, 50)] if body else ""
    return next((mark[:1] for mark in DELIMITERS if mark in line), None)


def _fields(line: str, delimiter: str | None) -> list[str]:
    return [field.strip() for field in line.split(delimiter)] if delimiter else line.split()


def _numeric(line: str, delimiter: str | None) -> bool:
    fields = [field for field in _fields(line, delimiter) if field]
    return len(fields) >= 2 and all(_NUMBER.fullmatch(field) for field in fields)


def _refuse_cut_line(body: list[str], delimiter: str | None) -> None:
    """A last line with fewer columns than the first is where the file was cut."""
    first, last = (len(_fields(line, delimiter)) for line in (body[0], body[-1])) if body else (0, 0)
    if last < first:
        raise UnreadableFile(
            f"the last line has {last} columns, the first {first}: the file was cut", reason="truncated"
        )


def _numbers(body: list[str], delimiter: str | None) -> NDArray[Any]:
    """The table of numbers, shape (lines, columns)."""
    if len(body) < 2:
        raise BadSpectrum(f"{len(body)} lines of numbers", reason="empty")
    if delimiter and any(delimiter * 2 in line or line.rstrip().endswith(delimiter) for line in body):
        body = [delimiter.join(field or "nan" for field in _fields(line, delimiter)) for line in body]
    if any("D" in line or "d" in line for line in islice(body, 50)):
        body = [line.replace("D", "E").replace("d", "e") for line in body]
    try:
        table = np.loadtxt(body, dtype=np.float64, delimiter=delimiter, ndmin=2, comments=None)
    except ValueError as error:
        raise UnreadableFile(f"a line of text cannot be read as numbers: {error}") from error
    if table.shape[1] < 2:
        raise UnreadableFile(f"{table.shape[1]} column of numbers; wavelength and flux are needed")
    return table


def _names(remarks: Sequence[str], columns: int) -> list[str]:
    """Column names from the last line before the numbers that has one for each column."""
    for line in reversed(remarks):
        bare = line.strip().lstrip(MARKS).strip()
        for delimiter in (next((mark[:1] for mark in DELIMITERS if mark in bare), None), None):
            fields = [field.strip("\"' ") for field in _fields(bare, delimiter)]
            roles, _ = roles_of(fields)
            if (
                len(fields) == columns
                and (roles or line.strip()[0] not in MARKS)
                and len(set(fields)) == columns
            ):
                return fields
    return []


def _unit_in(remarks: Sequence[str]) -> str:
    """A wavelength unit that a comment names, such as 'wavelength in nm' or 'unit: nm'."""
    for line in remarks:
        if re.search(r"unit|wave|lambda", line, re.IGNORECASE):
            for word in re.findall(r"[A-Za-zµμÅ]+", line):
                if len(word) > 1 and unit_factor(word) is not None and word.lower() not in ("um", "aa", "cm"):
                    return str(word)
    return ""


def _remarks(remarks: Sequence[str]) -> dict[str, str]:
    """'# KEY = value' and '# key: value' lines; of a key given twice the first counts."""
    found: dict[str, str] = {}
    for line in remarks:
        if match := _REMARK.match(line):
            found.setdefault(match.group(1).strip(), match.group(2).strip())
    return found


def _plain(value: str) -> float | None:
    word = value.split()[0] if value.split() else ""
    return float(word.lower().replace("d", "e")) if _NUMBER.fullmatch(word) and word[-1].isdigit() else None


def _medium(remarks: Sequence[str], longest: float, options: ReadOptions) -> tuple[str, tuple[str, ...]]:
    text = "\n".join(remarks).lower()
    vacuum, air = re.search(r"\bvac(?:uum)?\b", text), re.search(r"\bair\b", text)
    if bool(vacuum) != bool(air):
        return ("vacuum" if vacuum else "air"), ()
    return (options.medium, ()) if options.medium is not None else assumed_medium(longest)


TEXT = Reader("text or CSV with wavelength, flux and, where there is one, error", sniff, read)
