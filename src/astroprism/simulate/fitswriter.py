"""FITS files as bytes: header cards, padding, checksums.

astropy.io.fits writes the same files, but takes some 20 ms for the header of one and copies the data
several times; an archive has thousands of files, and here every byte of a header is wanted as the
observatory writes it. The tests hold astropy's verification against every format.
FITS standard 4.0 (Pence et al. 2010, A&A 524, A42); checksums: its appendix J.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 2880
Value = str | int | float | bool | None


@dataclass(frozen=True)
class Card:
    """One header card; value None makes a commentary card of `key` with `comment` as its text."""

    key: str
    value: Value
    comment: str = ""


Cards = Sequence[Card | tuple[str, Value] | tuple[str, Value, str]]


@dataclass(frozen=True, eq=False)
class Unit:
    """A header and its data; the cards include the structural ones, not END."""

    cards: Cards
    data: bytes = b""
    checksum: bool = False


def fits_bytes(units: Sequence[Unit]) -> bytes:
    """A whole FITS file."""
    return b"".join(part for unit in units for part in _unit(unit))


def card_image(key: str, value: Value, comment: str = "") -> bytes:
    """One card of 80 bytes; keywords that the standard's eight characters cannot hold become HIERARCH."""
    if value is None:
        return f"{key:<8}{comment}"[:80].ljust(80).encode("ascii", "replace")
    text = _value_text(value)
    if len(key) <= 8 and " " not in key:
        image = f"{key:<8}= {text:<20}" if isinstance(value, str) else f"{key:<8}= {text:>20}"
    else:
        image = f"HIERARCH {key} = {text}"
    if len(image.rstrip()) > 80:
        raise ValueError(f"card {key} = {text} does not fit into 80 characters")
    if comment and len(image) + 5 < 80:
        image += f" / {comment}"
    return image[:80].ljust(80).encode("ascii", "replace")


def _value_text(value: Value) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "T" if value else "F"
    if isinstance(value, str):
        quoted = value.replace("'", "''")
        return f"'{quoted:<8}'"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    text = f"{float(value):.15G}" if value is not None else ""  # 15 digits are exact in a double
    return text if any(sign in text for sign in ".EN") else text + "."


def _unit(unit: Unit) -> list[bytes]:
    images = [card_image(*(c.key, c.value, c.comment) if isinstance(c, Card) else c) for c in unit.cards]
    pad = -len(unit.data) % BLOCK
    if not unit.checksum:
        return [_block(images), unit.data, bytes(pad)]
    total = ones_complement_sum(unit.data)
    images.append(card_image("DATASUM", str(total), "data unit checksum"))
    images.append(card_image("CHECKSUM", "0" * 16, "HDU checksum"))
    whole = (ones_complement_sum(_block(images)) + total) % _MODULUS
    images[-1] = card_image("CHECKSUM", _encode(whole), "HDU checksum")
    return [_block(images), unit.data, bytes(pad)]


def _block(images: list[bytes]) -> bytes:
    joined = b"".join([*images, b"END".ljust(80)])
    return joined + b" " * (-len(joined) % BLOCK)


_MODULUS = 2**32 - 1  # one's-complement sums of 32-bit words are sums modulo this


def ones_complement_sum(data: bytes | NDArray[np.uint8]) -> int:
    """The 32-bit one's-complement sum of `data`, padded with zeros; 0xFFFFFFFF only for what sums to it."""
    whole = len(data) // 4 * 4
    words = np.frombuffer(data, dtype=">u4", count=whole // 4)
    total = int(words.sum(dtype=np.uint64))
    if whole < len(data):
        total += int.from_bytes(bytes(data[whole:]).ljust(4, b"\0"), "big")
    # -0 and +0: the carry-around addition of the standard gives 0 for empty data alone
    return total % _MODULUS or (_MODULUS if total else 0)


def _encode(total: int) -> str:
    """The 16 characters that make the sum over the whole unit -0 (appendix J)."""
    value = ~total & 0xFFFFFFFF
    excluded = set(range(0x3A, 0x41)) | set(range(0x5B, 0x61))
    characters = [[0] * 4 for _ in range(4)]
    for position, byte in enumerate(value.to_bytes(4, "big")):
        quotient, remainder = divmod(byte, 4)
        four = [quotient + remainder + 48, quotient + 48, quotient + 48, quotient + 48]
        while any(code in excluded for code in four):
            for first in (0, 2):
                if four[first] in excluded or four[first + 1] in excluded:
                    four[first] += 1
                    four[first + 1] -= 1
        for turn in range(4):
            characters[turn][position] = four[turn]
    text = "".join(chr(code) for turn in characters for code in turn)
    return text[-1] + text[:-1]
