"""What a request asks: every value checked, every unknown key refused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from ..data.curves import NARROWEST, WIDEST, WIDTH
from .refusals import Refused, tidy

LONGEST_VALUE = 20_000  # characters: a lasso of many corners


class Query:
    """The keys and values of an address. Keys that begin with `ui.` are the page's own."""

    def __init__(self, pairs: Iterable[tuple[str, str]], known: Sequence[str]) -> None:
        self._given: dict[str, str] = {}
        for name, value in pairs:
            if name.startswith("ui."):
                continue
            if name not in known:
                raise Refused(
                    400, f"unknown key {tidy(name, longest=40)!r}; known: {', '.join(known) or 'none'}"
                )
            if name in self._given:
                raise Refused(400, f"{name} is given twice")
            if len(value) > LONGEST_VALUE:
                raise Refused(400, f"{name} is too long, {len(value):,} characters")
            self._given[name] = value

    def text(self, name: str, default: str = "") -> str:
        """As it was given, without control characters."""
        return tidy(self._given.get(name, "") or default, longest=LONGEST_VALUE)

    def number(self, name: str) -> float | None:
        """A finite number; None where it is left out."""
        value = self._given.get(name, "").strip()
        if not value:
            return None
        return number(value, name)

    def whole(self, name: str, default: int, *, least: int, most: int) -> int:
        """A whole number within limits."""
        value = self._given.get(name, "").strip()
        return whole(value, name, least=least, most=most) if value else default

    def choice(self, name: str, known: Sequence[str]) -> str:
        """One of some words; the first where it is left out."""
        value = self._given.get(name, "").strip() or known[0]
        if value not in known:
            raise Refused(400, f"{name} {tidy(value, longest=40)!r} is none of {', '.join(known)}")
        return value

    def flag(self, name: str) -> bool:
        """0 or 1."""
        return self.choice(name, ("0", "1")) == "1"

    def width(self) -> int:
        """Screen pixels."""
        return self.whole("width", WIDTH, least=NARROWEST, most=WIDEST)

    def numbers(self, name: str) -> list[int] | None:
        """Whole numbers with commas between; None where it is left out."""
        value = self._given.get(name, "").strip()
        if not value:
            return None
        return [whole(part.strip(), name, least=0, most=10**9) for part in value.split(",")]

    def settings(self, name: str) -> dict[int, float]:
        """`21:1.3,5:-0.2` as node -> value."""
        told: dict[int, float] = {}
        value = self._given.get(name, "").strip()
        for part in value.split(",") if value else ():
            node, colon, setting = part.partition(":")
            if not colon:
                raise Refused(400, f"{name} {tidy(part, longest=40)!r} is not NODE:VALUE, such as 21:1.3")
            place = whole(node.strip(), name, least=0, most=10**6)
            if place in told:
                raise Refused(400, f"{name} sets node {place} twice")
            told[place] = number(setting.strip(), name)
        return told


def number(text: str, name: str) -> float:
    """A finite number."""
    try:
        value = float(text) if len(text) <= 40 and text.isascii() else math.nan
    except ValueError:
        value = math.nan
    if not abs(value) < 1e15:
        raise Refused(400, f"{name} {tidy(text, longest=40)!r} is no number, or far too large")
    return value


def whole(text: str, name: str, *, least: int, most: int) -> int:
    """A whole number within limits."""
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise Refused(400, f"{name} {tidy(text, longest=40)!r} is no whole number, 0 or more")
    if not least <= int(text) <= most:
        raise Refused(400, f"{name} {int(text)} is outside of {least} .. {most}")
    return int(text)
