"""One FITS header: its numbers all at once, its strings on demand; and what headers say of a spectrum."""

from __future__ import annotations

import re
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np

from ..errors import UnreadableFile
from ..kernels import cards

CARD = 80
_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][-+]?\d+)?)(?![^\s/])")
_STRING = re.compile(rb"\s*'((?:[^']|'')*)'")
# Text keywords that may say by what a spectrum was made: who observed, with what, through what, reduced how.
_MAKERS = re.compile(
    r"INSTRUM|TELESCOP|OBSERVER|OBSERVAT|\bSITE|SPECTROG|SPEC[ _]?ID|CAM(ERA)?\b|DETECTOR|\bDET\b|CHIP|CCD"
    r"|\bAMP|FIB(ER|RE)|IFU|SLIT|FILT|GRISM|\bGRAT|PRISM|DISPERS|\bARM\b|MODE\b|BINN|READ ?OUT|LAMP"
    r"|\bADC\b|PLATE|VERSION|^VERS|VERS$|PIPELINE|PROCVER|SOFTWARE|REDUC"
)
LONGEST_WORDS = 40  # characters of a text that names something


class Header:
    """The cards of one header; of a keyword given twice, the first counts."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw  # a whole number of cards, without END

    @cached_property
    def _cards(self) -> list[tuple[str, str, float]]:
        """(name, the text after '=', its number) of every card that has one, the last first.

        A HIERARCH keyword keeps that word in front: it is not the plain keyword of the same name.
        """
        return cards(self.raw)

    @cached_property
    def _first(self) -> dict[str, str]:
        return {name: value for name, value, _ in self._cards}  # backwards, so that the first of equals stays

    @cached_property
    def numbers(self) -> dict[str, float]:
        """Every keyword with a finite numeric value; HIERARCH keywords by their name alone."""
        found = {}
        for name, value, number in self._cards:
            if number != number:  # no plain number: a string, an odd one, or none
                if "'" in value[:3]:
                    continue
                digits = value.partition("/")[0]
                try:  # float() takes 37_81 for a number
                    number = float(digits) if "_" not in digits else _number(value)
                except ValueError:
                    number = _number(value)
            if -np.inf < number < np.inf:  # False for NaN
                found[name.removeprefix("HIERARCH ")] = number
        return found

    @cached_property
    def words(self) -> dict[str, str]:
        """Short texts of keywords that may say by what it was made; HIERARCH keywords by their name alone."""
        names = [name for name, value, _ in self._cards if is_maker(name) and "'" in value[:3]]
        texts = {name.removeprefix("HIERARCH "): self.text(name.removeprefix("HIERARCH ")) for name in names}
        return {name: text for name, text in texts.items() if is_name(text)}

    def card(self, key: str) -> bytes | None:
        """The text after '=' on the first card of `key`; None where there is no such card."""
        plain = len(key) <= 8 and " " not in key
        value = self._first.get(key if plain else f"HIERARCH {key}")
        return None if value is None else value.encode("latin-1")

    def text(self, key: str) -> str:
        """A string value without its padding ('' where there is none), joined over CONTINUE cards."""
        card = self.card(key)
        match = _STRING.match(card) if card is not None else None
        if match is None:
            return ""
        value = match.group(1)
        if value.rstrip().endswith(b"&"):
            value = self._continued(key, value)
        return value.decode("latin-1").replace("''", "'").strip()

    def _continued(self, key: str, value: bytes) -> bytes:
        at = self.raw.find(value) // CARD * CARD + CARD
        while value.rstrip().endswith(b"&") and self.raw[at : at + 8] == b"CONTINUE":
            match = _STRING.match(self.raw[at + 8 : at + CARD])
            if match is None:
                break
            value = value.rstrip()[:-1] + match.group(1)
            at += CARD
        return value

    def logical(self, key: str) -> bool | None:
        """T or F; None where the card says neither."""
        card = (self.card(key) or b"").partition(b"/")[0].strip()
        return {b"T": True, b"F": False}.get(card)

    def comment(self, key: str) -> str:
        """What is written behind the value of a keyword; '' where nothing is."""
        card = (self.card(key) or b"").decode("latin-1")
        return re.sub(r"^\s*'(?:[^']|'')*'", "", card).partition("/")[2].strip()

    def number(self, *keys: str) -> float:
        """The first of `keys` that has a numeric value; NaN where none has."""
        return next((self.numbers[key] for key in keys if key in self.numbers), np.nan)

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number that the layout depends on; anything else is damage."""
        value = self.numbers.get(key)
        if value is None and default is not None and self.card(key) is None:
            return default
        if value is None or value != int(value):
            value_text = (self.card(key) or b"missing").decode("latin-1").strip()
            raise UnreadableFile(
                f"header keyword {key} is no whole number: {value_text[:40]}", reason="unreadable"
            )
        return int(value)


# the files of an archive share their keywords: a search for each would double the cost
@lru_cache(maxsize=8192)
def is_maker(keyword: str) -> bool:
    """Whether the text of a keyword may say by what a spectrum was made."""
    return _MAKERS.search(keyword) is not None


def is_name(text: str) -> bool:
    """Whether a text may name something: short, and not a number in quotes."""
    return 0 < len(text) <= LONGEST_WORDS and not _NUMBER.fullmatch(text) and any(map(str.isalpha, text))


def _number(value: str) -> float:
    """The number that `value` begins with, its exponent marked by E or D; NaN where there is none."""
    match = _NUMBER.match(value)
    return float(match.group(1).replace("D", "E").replace("d", "e")) if match else np.nan


# --- frames, places, names and numbers, in one vocabulary

# SPECSYS of FITS WCS paper III. The Sun's own motion about the barycentre is below 16 m/s, less
# than any spectrum read here resolves, so heliocentric counts as barycentric.
FRAMES = {"BARYCENT": "barycentric", "HELIOCEN": "barycentric", "TOPOCENT": "topocentric", "SOURCE": "rest"}


def frame_of(header: Header) -> str:
    """The velocity frame that SPECSYS names, else 'unknown'."""
    return FRAMES.get(header.text("SPECSYS").upper()[:8], "unknown")


class Facts(Protocol):
    """What names keywords and their values: a FITS header, or the remarks above a table of text."""

    def text(self, key: str, /) -> str:
        """The string value of a keyword, '' where it has none."""

    def number(self, *keys: str) -> float:
        """The first of the keywords that has a numeric value; NaN where none has."""

    def comment(self, key: str, /) -> str:
        """What is written behind the value."""


# Where a place on the sky stands: degrees, or sexagesimal (hours for the right ascension).
PLACES = (
    ("RA", "DEC"),
    ("RA_DEG", "DEC_DEG"),
    ("RA-D", "DEC-D"),
    ("OBJRA", "OBJDEC"),
    ("OBJCTRA", "OBJCTDEC"),
    ("RA_OBJ", "DEC_OBJ"),
    ("RA_TARG", "DEC_TARG"),
    ("CAT-RA", "CAT-DEC"),
    ("RAJ2000", "DEJ2000"),
    ("TELRA", "TELDEC"),
    ("RA_TEL", "DEC_TEL"),
)
# ESO's dictionaries pack a sexagesimal angle into one number: 72724.5 is 07:27:24.5.
PACKED_PLACES = (
    ("ESO TEL TARG ALPHA", "ESO TEL TARG DELTA"),
    ("ESO INS TARG ALPHA", "ESO INS TARG DELTA"),
    ("OHP TARG ALPHA", "OHP TARG DELTA"),
    ("TNG TEL TARG ALPHA", "TNG TEL TARG DELTA"),
)
_SEXAGESIMAL = re.compile(
    r"([-+\u2212]?)\s*(\d{1,3})\s*(?:[:\sh\u00b0d*]|h\s|d\s)\s*(\d{1,2}(?:\.\d*)?)"
    r"(?:\s*[:\sm'\u2032]\s*(\d{1,2}(?:\.\d*)?)?\s*(?:s|''|\"|\u2033)?)?\s*",
    re.IGNORECASE,
)


def degrees(header: Facts, *pairs: tuple[str, str]) -> tuple[float, float]:
    """The first of the keyword `pairs` that gives a place on the sky, degrees; NaN where none does.

    Sexagesimal text counts hours in the right ascension ('12:34:56.7', '12 34 56.7', '12h34m56s'); so does
    a number whose comment says hours.
    """
    for right, up in pairs:
        ra, dec = angle(header, right, hours=True), angle(header, up)
        if is_place(ra, dec):
            return ra, dec
    return np.nan, np.nan


def is_place(ra: float, dec: float) -> bool:
    """Whether two angles in degrees are a place on the sky; False where one is NaN."""
    return 0 <= ra <= 360 and -90 <= dec <= 90


def packed_degrees(header: Facts) -> tuple[float, float]:
    """A place that PACKED_PLACES gives, degrees; NaN where none does."""
    for right, up in PACKED_PLACES:
        ra, dec = 15 * _unpacked(header.number(right)), _unpacked(header.number(up))
        if is_place(ra, dec):
            return ra, dec
    return np.nan, np.nan


def angle(header: Facts, key: str, *, hours: bool = False) -> float:
    """The angle that a keyword gives as a number or as sexagesimal text, degrees; NaN where it gives none.

    hours  whether text without a unit counts hours
    """
    number = header.number(key)
    if number == number:
        in_hours = hours and 0 <= number <= 24 and re.search(r"\bhours?\b|\[h\]", header.comment(key).lower())
        return 15 * number if in_hours else number
    return sexagesimal(header.text(key), hours=hours)


def number(header: Facts, key: str) -> float:
    """The number of a keyword, also where it stands in quotes; NaN where it has none."""
    value = header.number(key)
    if value == value:
        return value
    match = _NUMBER.fullmatch(header.text(key))
    return float(match.group(1).upper().replace("D", "E")) if match else np.nan


def sexagesimal(text: str, *, hours: bool = False) -> float:
    """Text such as '12:34:56.7', '+01 02 03' or '12h34m56s' as degrees; NaN where it is none.

    hours  whether it counts hours where it does not say; an h or a degree sign says
    """
    text = text.strip()
    try:
        return float(text)  # a number in quotes
    except ValueError:
        pass
    match = _SEXAGESIMAL.fullmatch(text)
    if match is None:
        return np.nan
    sign, whole, minutes, seconds = match.groups()
    if float(minutes) >= 60 or float(seconds or 0) > 60:
        return np.nan
    value = float(whole) + float(minutes) / 60 + float(seconds or 0) / 3600
    head = text[: match.end(2) + 2].lower()
    if "h" in head or (hours and not re.search(r"[d\u00b0]", head)):
        value *= 15
    return -value if sign and sign != "+" else value


def _unpacked(number: float) -> float:
    size = abs(number)
    whole, rest = divmod(size, 10_000)
    minutes, seconds = divmod(rest, 100)
    if not (minutes < 60 and seconds < 60):  # also NaN
        return np.nan
    return float(np.copysign(whole + minutes / 60 + seconds / 3600, number))


def plausible(value: float, low: float, high: float) -> float:
    """`value` where it lies in [low, high], else NaN: sentinels such as -99999 are no facts."""
    return value if low <= value <= high else np.nan


def velocity(value: float) -> float:
    """A barycentric correction in km/s; the Earth moves at no more than 31."""
    return plausible(value, -40.0, 40.0)


def first_text(header: Header, *keys: str) -> str:
    """The first of `keys` that holds a non-blank string."""
    return next((text for key in keys if (text := header.text(key))), "")
