"""One FITS header: its numbers all at once, its strings on demand."""

from __future__ import annotations

import re
from functools import cached_property

import numpy as np

from ..errors import UnreadableFile

CARD = 80
_STRING = re.compile(rb"\s*'((?:[^']|'')*)'")


class Header:
    """The cards of one header; of a keyword given twice, the first counts."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw  # a whole number of cards, without END

    @cached_property
    def numbers(self) -> dict[str, float]:
        """Every keyword with a finite numeric value; HIERARCH keywords by their name alone.

        Vectorised over the cards: the tokens behind '=' are cut out of all cards at once, which is
        three times as fast as taking 3,000 cards one by one.
        """
        cards = np.frombuffer(self.raw, np.uint8).reshape(-1, CARD)
        column = np.arange(CARD, dtype=np.uint8)
        equals = (cards == 61).argmax(axis=1)
        hierarch = (cards[:, :9] == np.frombuffer(b"HIERARCH ", np.uint8)).all(axis=1)
        after = (cards != 32) & (column > equals[:, None])
        first = after.argmax(axis=1)
        lead = cards[np.arange(len(cards)), first]
        starts = (first > 0) & ((equals == 8) | (hierarch & (equals > 9)))
        starts &= ((lead >= 48) & (lead <= 57)) | (lead == 43) | (lead == 45) | (lead == 46)
        cards, first, equals, hierarch = (
            cards[starts],
            first[starts, None],
            equals[starts, None],
            hierarch[starts],
        )
        ends = ((cards == 32) | (cards == 47)) & (column > first)
        last = np.where(ends.any(axis=1), ends.argmax(axis=1), CARD)[:, None]
        inside = (column >= first) & (column < last)
        width = int((last - first).max()) + 1 if len(cards) else 0
        padded = np.full((len(cards), width), 32, np.uint8)
        padded[column[:width] < (last - first)] = cards[inside]
        tokens = padded.tobytes().translate(_EXPONENT).split()
        begin = np.where(hierarch, 9, 0)[:, None]
        names = np.where(column < equals, cards, 32)[(column >= begin) & (column <= equals)]
        # a blank stands where '=' was; put the separator back there to split on
        names[np.cumsum(equals - begin + 1) - 1] = 10
        keys = names.tobytes().decode("latin-1").split("\n")
        try:
            values = list(map(float, tokens))
        except ValueError:
            values = [_number(token) for token in tokens]
        found = {
            key.rstrip(): value for key, value in zip(reversed(keys[:-1]), reversed(values), strict=True)
        }
        if not np.isfinite(sum(values)):
            found = {key: value for key, value in found.items() if np.isfinite(value)}
        return found

    def card(self, key: str) -> bytes | None:
        """What stands behind '=' on the first card of `key`; None where there is no such card."""
        name = key.encode("latin-1", "replace")
        name = name.ljust(8) + b"=" if len(name) <= 8 and b" " not in name else b"HIERARCH " + name
        at = self.raw.find(name)
        while at >= 0:
            card = self.raw[at : at + CARD - at % CARD]
            if at % CARD == 0 and (name[-1:] == b"=" or card[len(name) :].lstrip()[:1] == b"="):
                return card.partition(b"=")[2]
            at = self.raw.find(name, at + 1)
        return None

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

    def number(self, *keys: str) -> float:
        """The first of `keys` that has a numeric value; NaN where none has."""
        return next((self.numbers[key] for key in keys if key in self.numbers), np.nan)

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number that the layout hangs on; anything else is damage."""
        value = self.numbers.get(key)
        if value is None and default is not None and self.card(key) is None:
            return default
        if value is None or value != int(value):
            shown = (self.card(key) or b"missing").decode("latin-1").strip()
            raise UnreadableFile(
                f"header keyword {key} is no whole number: {shown[:40]}", reason="unreadable"
            )
        return int(value)


_EXPONENT = bytes.maketrans(b"Dd", b"EE")


def _number(token: bytes) -> float:
    try:
        return float(token)
    except ValueError:
        return np.nan
