"""Numbers with their intervals, and names of labels, in plain words."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from ..measures.origin import origin_words

if TYPE_CHECKING:
    from ..schema import LineCoverage, LineShares, Node

# spelling of a label, folded (see `_folded`) -> what it is, unit
_KNOWN = {
    "rv": ("radial velocity", "km/s"),
    "radvel": ("radial velocity", "km/s"),
    "radialvelocity": ("radial velocity", "km/s"),
    "teff": ("effective temperature", "K"),
    "feh": ("metallicity [Fe/H]", "dex"),
    "mh": ("metallicity [M/H]", "dex"),
    "metallicity": ("metallicity", "dex"),
    "logg": ("surface gravity log g", "dex"),
    "vsini": ("rotation v sin i", "km/s"),
    "telluric": ("telluric water vapour", ""),
    "water": ("telluric water vapour", ""),
    "pwv": ("telluric water vapour", ""),
    "airmass": ("airmass", ""),
    "alpha": ("alpha enhancement", "dex"),
    "alphafe": ("alpha enhancement", "dex"),
    "mass": ("stellar mass", "solar masses"),
    "ebv": ("reddening E(B-V)", "mag"),
    "snr": ("signal-to-noise", ""),
    "activity": ("activity", ""),
    "tilt": ("continuum tilt", ""),
    "blaze": ("blaze", ""),
    "berv": ("barycentric velocity", "km/s"),
}

# of a column of MK types, read as numbers
_TYPES = {"_subclass": "temperature subclass", "_luminosity": "luminosity class"}


def _folded(label: str) -> str:
    return re.sub(r"[^a-z0-9]", "", label.lower())


def label_words(label: str) -> str:
    """What a label is, in words; its own name where no words are listed."""
    for end, words in _TYPES.items():
        if label.lower().endswith(end):
            return f"{words} ({label.removesuffix(end)})"
    return _KNOWN.get(_folded(label), (label, ""))[0]


def label_axis(label: str) -> str:
    """A label for an axis, with its usual unit."""
    unit = _KNOWN.get(_folded(label), ("", ""))[1]
    return f"{label} ({unit})" if unit else label


def node_title(node: Node) -> str:
    """A node in plain words, such as 'node 0: radial velocity'."""
    return f"node {node.node}: {node_words(node)}"


def node_words(node: Node) -> str:
    """What a node is: its labels; or the lines that move with it, where no label explains it."""
    if node.copies_of is not None:
        return f"copy of node {node.copies_of}"
    labels = list(dict.fromkeys(label_words(match.label) for match in node.explained_by))
    lines = moved_words(node)[:3]
    moves = f"moves {', '.join(lines)}" if lines else "moves no line or band beyond chance"
    origin = "" if node.origin is None else origin_words(node.origin)
    if node.origin is not None and node.origin.explains and not node.origin.star_too:
        return f"{origin}; {moves}"
    if node.unexplained:
        partly = f" (shares some information with {labels[0]})" if labels else ""
        follows = f"; {origin}" if origin else ""
        return f"no label explains it{partly}; {moves}{follows}"
    also = f"; {origin}" if node.origin is not None and node.origin.explains else ""
    if not labels:
        return f"no single label explains it{also}; {moves}"
    return (labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}") + also


def moved_words(node: Node) -> list[str]:
    """The lines and bands that a node moves; at constant labels, if other nodes then move with it."""
    if node.dossier is not None and node.dossier.moves_with:
        return [group.words for group in node.dossier.lines]
    return node.moves


# a feature of a spectrum by its width: what it may be
FIELD_WORDS = {
    "DCI disentanglement": "each node matters for one label (boosted trees)",
    "DCI completeness": "each label takes one node",
    "DCI informativeness": "all of the labels' variance is predicted, on targets set aside",
    "MIG": "all of a label is on its best node, nothing on the second (20 bins of equal width)",
    "SAP": "the same by squared correlations",
    "InfoMEC modularity": "each node holds information on one label",
    "InfoMEC explicitness": "linear logistic regression tells ten classes of each label",
    "InfoMEC compactness": "each label's information is on one node",
}
FEATURES = {
    "line": "a line that is not resolved",
    "broad line": "a broad line, or a blend",
    "band": "a band, or a crowd of lines",
    "smooth": "continuum or calibration",
}


def element_words(coverage: LineCoverage | None) -> str:
    """How far lines can be named, in a sentence or two; '' of findings that do not say."""
    if coverage is None:
        return ""
    words = (
        f"Resolution element {short(coverage.element_kms)} km/s ({coverage.known_from}); tables of lines and "
        f"bands cover {coverage.low:,.0f} to {coverage.high:,.0f} angstrom in vacuum"
    )
    if coverage.outside >= 0.005:
        words += f" ({coverage.outside:.0%} of the pixels lie beyond)"
    if coverage.complete_from_ma is not None:
        width = short(coverage.complete_from_ma)
        words += f", about complete from an equivalent width of {width} milliangstrom in the Sun"
    total = coverage.lines + coverage.inseparable
    words += f". {coverage.lines:,} of {total:,} lines of stars in the range stand apart"
    if coverage.never:
        few = ", ".join(coverage.never[:8]) + (" and others" if len(coverage.never) > 8 else "")
        words += f"; none of {few}, so these are not named"
    return words + "."


def share_words(shares: LineShares | None) -> str:
    """Where a node's response lies, in a sentence; '' of findings that do not say."""
    if shares is None:
        return ""
    smooth = ""
    if shares.smooth is not None:
        smooth = (
            f"{shares.smooth:.0%} of what it does to the flux (squared) is a smooth change of the continuum. "
            "Of the rest "
        )
    what = f"{shares.nowhere:.0%} {'lies' if smooth else 'of its response (squared) lies'}"
    return (
        f"{smooth}{what} where the tables have no line and no band, as {shares.nowhere_pixels:.0%} of the "
        f"pixels do; {shares.lines:.0%} at lines of stars ({shares.lines_pixels:.0%} of the pixels), "
        f"{shares.bands:.0%} in bands of stars ({shares.bands_pixels:.0%}), {shares.air:.0%} in bands of the "
        f"air ({shares.air_pixels:.0%})."
    )


def ranged(value: Any, low: Any, high: Any) -> str:
    """A number with its interval, to the digits that the interval allows: 1.49 [1.41, 1.56]."""
    if value is None or not math.isfinite(value):
        return ""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return f"{short(value)} (no interval)"
    digits = places(high - low, value)
    return f"{value:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"


def plus_minus(value: float, error: float) -> str:
    """A number with its standard error, to the digits that the error allows: 17.374 +- 0.012."""
    if not (math.isfinite(value) and math.isfinite(error)):
        return ""
    digits = places(error, value)
    return f"{value:,.{digits}f} \u00b1 {error:,.{digits}f}"


def places(width: float, value: float) -> int:
    """Decimals that show two digits of an interval's width."""
    scale = width if width > 0 else abs(value) / 100 or 1.0
    return int(min(8, max(0, 1 - math.floor(math.log10(scale)))))


def short(value: Any) -> str:
    """A number in three digits or so, without an exponent where that is readable."""
    if value is None or not math.isfinite(value):
        return ""
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-4:
        return f"{value:.2g}"
    return f"{value:,.0f}" if size >= 1000 else f"{value:.3g}"


def chance(value: Any) -> str:
    """A p or q."""
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}".replace("e-0", "e-")


def count_words(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: 1 node, 2 nodes."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


# changes of a spectrum that a node's response is measured of: in words, and a unit of it
CHANGES = {
    "doppler_per_kms": ("Doppler shift", "km/s"),
    "air_per_kms": ("shift of the atmosphere", "km/s"),
    "broadening_per_kms": ("broadening", "km/s"),
    "oxygen_per_column": ("telluric oxygen", "column"),
    "water_per_column": ("telluric water", "column"),
    "tilt_per_unit": ("continuum tilt", "end to end"),
    "noise_per_halving": ("noise", "halving of S/N"),
}


def change_words(name: str) -> tuple[str, str]:
    """A change of a spectrum in words, and its unit."""
    return CHANGES.get(name, (name.replace("_", " "), "unit"))
