"""Spectral types of the MK system as two numbers: temperature subclass and luminosity class.

`K3III` is one string among hundreds, and as a class of its own it says little; 53 and 3 are ordered as the
stars are. The notation is that of Gray and Corbally (2009, Stellar Spectral Classification), an Am star's
three types (K line, hydrogen, metals) among it, with the older prefixes of dwarfs and giants.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

SUBCLASS = "O0 = 0, B0 = 10, A0 = 20, F0 = 30, G0 = 40, K0 = 50, M0 = 60, L0 = 70, T0 = 80"
LUMINOSITY = "I = 1, II = 2, III = 3, IV = 4, V = 5, sd = 6"

_BEGIN = {letter: 10.0 * place for place, letter in enumerate("OBAFGKMLTY")}
_ROMAN = {"I": 1.0, "II": 2.0, "III": 3.0, "IV": 4.0, "V": 5.0, "VI": 6.0}
_PREFIX = {"d/sd": 5.5, "esd": 6.0, "usd": 6.0, "sd": 6.0, "sg": 4.0, "d": 5.0, "g": 3.0, "c": 1.0}
_DIGIT = r"\d(?:\.\d+)?(?!\d)"
# K3, F8/G0, A3/5, M2-3; of an Am star (kA5hA8mF4) the type by hydrogen, which is that of the temperature
_TYPE = re.compile(
    r"^[^A-Za-z0-9]*(?P<prefix>d/sd|esd|usd|sd|sg|d|g|c|w|(?:k[OBAFGKM].*?)?h)?\s*:?"
    rf"(?P<letter>[OBAFGKMLTY])\s?(?:(?P<digit>{_DIGIT})[:?]*"
    rf"(?:\s?[-/]\s?(?P<letter2>[OBAFGKMLTY])?(?P<digit2>{_DIGIT}))?)?"
)
_CLASS = r"(?P<{0}>III|II|IV|I(?![ab]*[A-Z])|VI(?!I)|V(?!ar|I))(?:ab|a|b|z)?0?"
_LUMINOSITY = re.compile(
    r"(?<![A-Z])(?<!Fe)(?<!He)(?<!Si)"
    + _CLASS.format("first")
    + r"(?:[:?)(]*[-/]\(?"
    + _CLASS.format("second")
    + ")?"
)


def parse(text: str) -> tuple[float, float]:
    """(temperature subclass, luminosity class) of one type, NaN where it does not say.

    The subclass counts from O0 = 0 in tens (SUBCLASS), with decimals; of two (F8/G0) their mean, of binaries
    the first star's. White dwarfs, Wolf-Rayet, carbon and S stars have a sequence of their own: NaN.
    """
    unknown = float("nan")
    found = _TYPE.match(text.strip())
    if found is None:
        return unknown, unknown
    letter, digit = found["letter"], found["digit"]
    subclass = unknown
    if digit is not None:
        subclass = _BEGIN[letter] + float(digit)
        if found["digit2"] is not None:
            subclass = (subclass + _BEGIN[found["letter2"] or letter] + float(found["digit2"])) / 2
    elif not re.match(r"(?:[IV\s(:?]|$)", text.strip()[found.end() :]):
        return unknown, unknown  # a word that begins with such a letter
    rest = re.split(r"\+(?=\s*[A-Za-z])", text.strip()[found.end() :])[0]
    luminosity = _PREFIX.get(found["prefix"] or "", unknown)
    stated = _LUMINOSITY.search(rest)
    if stated is not None and luminosity != _PREFIX["sd"]:
        luminosity = _ROMAN[stated["first"]]
        if stated["second"] is not None:
            luminosity = (luminosity + _ROMAN[stated["second"]]) / 2
    return subclass, luminosity


def parse_column(values: NDArray[np.object_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`parse` of texts (n,), None or NaN where blank: subclass (n,) and luminosity class (n,)."""
    known = {text: parse(text) for text in {one for one in values.tolist() if isinstance(one, str)}}
    pairs = [known.get(one, (np.nan, np.nan)) if isinstance(one, str) else (np.nan, np.nan) for one in values]
    both = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def are_types(values: NDArray[np.object_], *, title: str) -> bool:
    """Whether a column of texts holds MK types: most values say a temperature subclass.

    Codes such as B2 look alike. So where the title does not say that it is of spectra, nine in ten values
    must be types, and of three letters or more.
    """
    filled = [one for one in values.tolist() if isinstance(one, str)]
    if not filled:
        return False
    subclass, _ = parse_column(np.array(filled, dtype=object))
    share = float(np.isfinite(subclass).mean())
    folded = re.sub(r"[^a-z]", "", title.lower())
    if re.search(r"sp(ec(t(ral)?)?)?(typ|class|cl|t$)|^sp$|^mk|^spt|^typesp", folded):
        return share > 0.5
    letters = {int(one // 10) for one in subclass[np.isfinite(subclass)]}
    return share >= 0.9 and len(letters) >= 3
