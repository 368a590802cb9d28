"""Tables of lines and bands: atoms and molecules of stars, molecules of the air; what a place is named.

Wavelengths in vacuum angstrom; resolution elements are full widths at half maximum in km/s.
docs/design/findings.md says where the tables come from and how far they reach.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from ..grid import SPEED_OF_LIGHT
from ..simulate.layer import populations, solve_layer
from ..simulate.linelist import (
    LineTable,
    continuum_factor,
    doppler_width,
    join,
    load_lines,
    read_lines,
    static_strength,
)
from ..simulate.sky import telluric_lines
from .evidence import Floats

LOW, HIGH = 3_700.0, 25_000.0  # angstrom: what the tables cover
WEAKEST = 0.02  # depth below which a line is left out
DOMINATES = 0.5  # share of the absorption in a resolution element from which a place has one species' name
TOGETHER = 0.6  # the same of two species, for a blend's name
WATER_MM, AIRMASS = 3.0, 1.2  # a usual sky: sets how telluric lines are weighed
ROOM = 200.0  # km/s by which bands of the atmosphere move, and low resolutions widen them
SEVERAL = 0.15  # share of its species that a second line needs to make a blend of one species
RARELY = 0.05  # share of a spectrum that may lie near a line of a name, where a residual is named after it
FEWEST = 20  # lines of a window below which nothing is said of completeness

# Lines that dominate their surroundings in most stars that show them at all, at any resolution: wavelength,
# name, name of those of a family that are not resolved, equivalent width in the Sun (milliangstrom; Moore,
# Minnaert & Houtgast 1966; 0 where the Sun's says nothing of the stars that show the line).
_KNOWN = (
    (3934.78, "Ca II K", "Ca II H and K", 20_253),
    (3969.59, "Ca II H", "Ca II H and K", 15_467),
    (4102.89, "H delta", "", 3_133),
    (4341.68, "H gamma", "", 2_855),
    (4862.68, "H beta", "", 3_680),
    (5168.76, "Mg b4", "Mg b", 935),
    (5174.13, "Mg b2", "Mg b", 1_259),
    (5185.05, "Mg b1", "Mg b", 1_584),
    (5891.58, "Na D2", "Na D", 752),
    (5897.56, "Na D1", "Na D", 564),
    (6564.61, "H alpha", "", 4_020),
    (6709.61, "Li 6708", "", 0),
    (8500.36, "Ca IR 1", "Ca II triplet", 1_470),
    (8544.44, "Ca IR 2", "Ca II triplet", 3_670),
    (8664.52, "Ca IR 3", "Ca II triplet", 2_600),
    (10052.13, "Pa delta", "", 0),
    (10833.31, "He I 10833", "", 0),
    (10941.16, "Pa gamma", "", 0),
    (12821.67, "Pa beta", "", 0),
    (18756.27, "Pa alpha", "", 0),
    (21661.29, "Br gamma", "", 0),
)
FAINT_KNOWN = ("Li 6708",)  # named, but it dominates nothing
# Of helium the shipped abundances know nothing; depth: a token that keeps the lines in the table.
_HELIUM = (
    (4027.33, 0.03),
    (4472.73, 0.03),
    (5877.25, 0.03),
    (6680.00, 0.03),
    (7067.14, 0.03),
    (10833.31, 0.05),
)
STARK = (
    3.0  # of the width of a hydrogen line without Stark wings, which is what we compute: as H beta to H delta
)
HYDROGEN_WIDTH = 400.0  # km/s to each side: Stark wings of A to F stars
# Absorption by lines that the tables lack, as a share of the Sun's light: the forest that the simulator adds
# to the table, which agrees with the lines that a K dwarf shows.
_UNLISTED = (
    (3700.0, 4000.0, 4300.0, 4600.0, 4900.0, 5200.0, 5500.0, 6000.0, 7000.0, 25_000.0),
    (0.44, 0.29, 0.17, 0.105, 0.078, 0.044, 0.030, 0.022, 0.015, 0.013),
)


@dataclass(frozen=True)
class Group:
    """Lines, or bands, that come together: a species such as 'Ca II', a molecule of a star or of the air.

    name, element; frame: 'star' or 'sky', in which they are at rest; wavelength, weight: (l,), vacuum
    angstrom and depth in the Sun or under a usual sky.
    strength  (l,) equivalent width, milliangstrom; by default from the depth
    breadth   km/s to each side that its lines are broad in most stars, beyond the resolution
    high      (l,) of bands: where each ends; `wavelength` is where it begins
    labels    of bands: the name of each
    """

    name: str
    element: str
    frame: str
    wavelength: Floats
    weight: Floats
    strength: Floats = field(default_factory=lambda: np.zeros(0))
    breadth: float = 0.0
    high: Floats | None = None
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.strength):  # 0.1 angstrom of a line of depth 1: of a slow rotator
            object.__setattr__(self, "strength", 100.0 * np.asarray(self.weight, dtype=np.float64))

    @property
    def bands(self) -> bool:
        """Whether it is made of bands, not lines."""
        return self.high is not None

    def take(self, chosen: NDArray[np.bool_]) -> Group:
        """Some of it, by mask (l,)."""
        return replace(
            self,
            wavelength=self.wavelength[chosen],
            weight=self.weight[chosen],
            strength=self.strength[chosen],
            high=None if self.high is None else self.high[chosen],
            labels=tuple(label for label, one in zip(self.labels, chosen, strict=False) if one),
        )

    def window(self, low: float, high: float) -> Group:
        """Lines within [low, high], bands that lie in it altogether."""
        last = self.wavelength if self.high is None else self.high
        return self.take((self.wavelength >= low) & (last <= high))


@functools.cache
def line_groups() -> tuple[Group, ...]:
    """All groups of lines: species of stars, molecules of the air."""
    return (*atomic_groups(), *telluric_groups())


@functools.cache
def atomic_groups() -> tuple[Group, ...]:
    """The shipped tables of strong lines, by species, weighed by their depth in the Sun."""
    table = join(load_lines(), read_lines("lines_infrared.csv"))
    zero = np.zeros(1)
    layer = solve_layer(np.array([5777.0]), logg=np.array([4.44]), feh=zero, alpha=zero)
    opacity = (
        static_strength(table)
        - layer.theta[0] * table.excitation
        + populations(layer, feh=zero, alpha=zero)[table.stage, table.element, 0]
        + continuum_factor(table.wavelength, layer)[:, 0]
    )
    depth = 1 - 1 / np.sqrt(1 + 2 * 10.0**opacity)
    strength = _equivalent_widths(table, 10.0**opacity)
    strength[table.species == "H I"] *= STARK
    for wavelength, _, _, width in _KNOWN:
        if width:
            strength[np.argmin(np.abs(table.wavelength - wavelength))] = width
    groups = []
    for name in np.unique(table.species):
        mine = (table.species == name) & (depth > WEAKEST)
        if mine.any():
            groups.append(
                Group(
                    str(name),
                    str(name).split()[0],
                    "star",
                    table.wavelength[mine],
                    depth[mine],
                    strength[mine],
                    HYDROGEN_WIDTH if name == "H I" else 0.0,
                )
            )
    place, depth = np.array(_HELIUM).T
    return (*groups, Group("He I", "He", "star", place, depth))


def _equivalent_widths(table: LineTable, opacity: Floats) -> Floats:
    """Milliangstrom (l,) of lines of central opacity (l,) over the continuum's, Voigt profiles."""
    from scipy.special import voigt_profile

    doppler = doppler_width(table)
    # damping for the perturbers of a layer like the Sun's, 1e17 a cm3
    damping = 0.05 * 10 ** (table.damping + 7.7) * table.wavelength / 5000 * 1.6 / doppler
    offset = np.concatenate([[0.0], np.geomspace(0.01, 3000.0, 300)])
    profile = voigt_profile(offset, np.sqrt(0.5), damping[:, None])
    depth = 1 - 1 / np.sqrt(1 + 2 * opacity[:, None] * profile / profile[:, :1])
    return np.asarray(2e3 * np.trapezoid(depth, offset, axis=1) * doppler / SPEED_OF_LIGHT * table.wavelength)


@functools.cache
def telluric_groups() -> tuple[Group, ...]:
    """Lines of O2 and H2O, weighed by their depth under a usual sky.

    Those of H2O are the simulator's own inside the real bands: on real spectra only O2 can be named.
    """
    table = telluric_lines()
    water = np.char.startswith(table.band, "H2O")
    area = table.area * AIRMASS * np.where(water, WATER_MM, 1.0)
    depth = 1 - np.exp(-area / (np.pi * table.lorentz + np.sqrt(np.pi) * table.doppler))
    width = depth * (np.pi * table.lorentz + np.sqrt(np.pi) * table.doppler)
    strength = 1e3 * table.wavelength * width / SPEED_OF_LIGHT
    groups = []
    for name, mine in (("O2", ~water), ("H2O", water)):
        mine = mine & (depth > WEAKEST)
        groups.append(Group(name, name, "sky", table.wavelength[mine], depth[mine], strength[mine]))
    return tuple(groups)


def in_sky_bands(wavelength: Floats) -> NDArray[np.bool_]:
    """Whether wavelengths (n,), vacuum angstrom, lie in a band of the atmosphere, or as near as it moves."""
    inside = np.zeros(len(wavelength), dtype=bool)
    for group in band_groups():
        if group.frame == "sky" and group.high is not None:
            for low, high in zip(group.wavelength, group.high, strict=True):
                room = low * ROOM / SPEED_OF_LIGHT
                inside |= (wavelength >= low - room) & (wavelength <= high + room)
    return inside


@functools.cache
def band_groups() -> tuple[Group, ...]:
    """The shipped table of molecular bands, by molecule and frame.

    Molecules that both stars and the air have are told apart: 'stellar H2O'.
    """
    text = files("astroprism").joinpath("data/bands.csv").read_text(encoding="utf-8")
    rows = [line.split(",") for line in text.splitlines() if line and line[0] != "#"][1:]
    air = {row[0] for row in rows if row[1] == "sky"}
    groups = []
    for molecule, frame in dict.fromkeys((row[0], row[1]) for row in rows):
        mine = [row for row in rows if row[:2] == [molecule, frame]]
        name = f"stellar {molecule}" if frame == "star" and molecule in air else molecule
        groups.append(
            Group(
                name,
                molecule,
                frame,
                np.array([float(row[4]) for row in mine]),
                np.ones(len(mine)),
                high=np.array([float(row[5]) for row in mine]),
                labels=tuple(_band_label(name, row[2], row[3], float(row[4]), row[6]) for row in mine),
            )
        )
    return tuple(groups)


@functools.cache
def band_widths() -> dict[str, float]:
    """Name of a band -> its full width, km/s."""
    return {
        label: float(np.log(high / low)) * SPEED_OF_LIGHT
        for group in band_groups()
        if group.high is not None
        for label, low, high in zip(group.labels, group.wavelength, group.high, strict=True)
    }


def _band_label(name: str, system: str, band: str, low: float, head: str) -> str:
    """'TiO gamma 7056', 'CH G band', 'stellar H2O 1.42 micron'."""
    if name == "CH" and band == "G band":
        return "CH G band"
    if "micron" in band or not system:
        return f"{name} {band}"
    return f"{name} {system} {float(head) if head else low:.0f}"


def line_name(species: str, wavelength: float) -> str:
    """'Ca II K' and the like where the line has a name, else species and wavelength."""
    near = min(_KNOWN, key=lambda one: abs(one[0] - wavelength))
    known = abs(near[0] - wavelength) < 0.25 and known_species(near[1]) == species.split()[0]
    return near[1] if known else f"{species} {wavelength:.1f}"


def known_species(name: str) -> str:
    """The element of a line that has a name: 'Pa beta' is of hydrogen."""
    first = name.split()[0]
    return "H" if first in ("Pa", "Br") else first


def is_of(name: str, group: str) -> bool:
    """Whether a line, blend or band is of a group: 'H beta' of 'H I', 'Fe I / Ca I blend' of 'Fe I'."""
    if any(name in one[1:3] for one in _KNOWN):
        ion = "II" if known_species(name) == "Ca" else "I"
        return group == f"{known_species(name)} {ion}"
    return name.startswith(f"{group} ")


# --- what a place is named after


@dataclass(frozen=True)
class Naming:
    """What absorbs at n places, in the Sun or under a usual sky, seen at a resolution element.

    total     (n,) share of the light that listed lines take
    unlisted  (n,) the same of lines that the tables lack
    share     (n, 2) of all of it: the strongest species, and the next
    species   (n, 2) their index, -1 where there is none
    """

    names: tuple[str, ...]
    total: Floats
    unlisted: Floats
    share: Floats
    species: NDArray[np.intp]

    @property
    def of_one(self) -> NDArray[np.bool_]:
        """(n,) places that one species dominates."""
        return np.asarray(self.share[:, 0] >= DOMINATES)

    @property
    def of_few(self) -> NDArray[np.bool_]:
        """(n,) places that one species or two together dominate."""
        return np.asarray(self.of_one | (self.share.sum(1) >= TOGETHER))


def naming(place: Floats, groups: Sequence[Group], *, element: float) -> Naming:
    """What absorbs at places (n,), rising, vacuum angstrom, at a resolution element of `element` km/s.

    groups  of lines, all of one frame
    """
    sigma = element / SPEED_OF_LIGHT / 2.3548
    at = np.log(place)
    total = np.zeros(at.size)
    best, which = np.zeros((at.size, 2)), np.full((at.size, 2), -1, dtype=np.intp)
    for number, group in enumerate(groups):
        own = np.zeros(at.size)
        centre = np.log(group.wavelength)
        # depth of a line that is all instrument: its equivalent width over the area of the profile
        depth = group.strength / 1e3 / (group.wavelength * sigma * np.sqrt(2 * np.pi))
        first, last = np.searchsorted(at, [centre - 3 * sigma, centre + 3 * sigma])
        for line in np.flatnonzero(last > first):
            span = slice(int(first[line]), int(last[line]))
            own[span] += depth[line] * np.exp(-0.5 * ((at[span] - centre[line]) / sigma) ** 2)
        total += own
        second = own > best[:, 1]
        best[second, 1], which[second, 1] = own[second], number
        swap = best[:, 1] > best[:, 0]
        best[swap], which[swap] = best[swap][:, ::-1], which[swap][:, ::-1]
    in_sky = bool(groups) and groups[0].frame == "sky"
    unlisted = np.zeros(at.size) if in_sky else np.interp(place, *_UNLISTED)
    which[best <= 0] = -1
    share = best / np.maximum(total + unlisted, 1e-300)[:, None]
    return Naming(tuple(one.name for one in groups), total, unlisted, share, which)


def known_name(wavelength: float, *, element: float) -> str | None:
    """The name of lines known to dominate, that lie within half an element; of a family if not resolved."""
    reach = max(element, 2 * _tolerance(wavelength)) / SPEED_OF_LIGHT
    lines = [one for one in _KNOWN if one[1] not in FAINT_KNOWN]
    near = [one for one in lines if abs(one[0] / wavelength - 1) <= reach / 2]
    if not near:
        return None
    closest = min(near, key=lambda one: abs(one[0] - wavelength))
    beside = [
        one
        for one in lines
        if one[2] and one[2] == closest[2] and abs(one[0] / closest[0] - 1) <= 1.25 * reach
    ]
    return closest[2] if len(beside) > 1 else closest[1]


def near_known(wavelength: float, *, reach: float, window: tuple[float, float]) -> str | None:
    """The line known to dominate that lies within `reach` km/s, if chance would rarely give one in a window.

    window  (low, high) of the spectrum, vacuum angstrom
    """
    lines = [one for one in _KNOWN if one[1] not in FAINT_KNOWN and window[0] <= one[0] <= window[1]]
    span = np.log(window[1] / window[0]) * SPEED_OF_LIGHT
    if 2 * reach * len(lines) > RARELY * span:
        return None
    near = [one for one in lines if abs(one[0] / wavelength - 1) * SPEED_OF_LIGHT <= reach]
    return min(near, key=lambda one: abs(one[0] - wavelength))[1] if near else None


def _tolerance(wavelength: float) -> float:
    return 0.1 / wavelength * SPEED_OF_LIGHT  # km/s: what tables are rounded to, and then some


def place_name(wavelength: float, groups: Sequence[Group], *, element: float) -> str | None:
    """As `place_names`, of one place."""
    return place_names(np.array([wavelength]), groups, element=element)[0]


def place_names(place: Floats, groups: Sequence[Group], *, element: float) -> list[str | None]:
    """Names of places (n,), rising: of the line that dominates a resolution element, of a blend where two
    species do; None where there is none.

    groups  of lines, all of one frame
    """
    found = naming(place, groups, element=element)
    of_star = bool(groups) and groups[0].frame == "star"
    names: list[str | None] = []
    for i, wavelength in enumerate(place.tolist()):
        known = known_name(wavelength, element=element) if of_star else None
        if known is None and found.of_few[i]:
            pair = [groups[int(one)] for one in found.species[i]][: 1 if found.of_one[i] else 2]
            known = _blend_name(wavelength, pair, element)
        names.append(known)
    return names


def _blend_name(wavelength: float, species: Sequence[Group], element: float) -> str:
    """'Fe I 5271.0', 'Fe I blend near 5271' or 'Fe I / Ca I blend near 5271', by what dominates there."""
    near = [_within(one, wavelength, element) for one in species]
    place, weight, _ = near[0]
    strongest = int(weight.argmax())
    if len(species) == 1 and weight.sum() - weight[strongest] <= SEVERAL * weight.sum():
        return line_name(species[0].name, float(place[strongest]))
    place, _, strength = max(near, key=lambda one: float(one[2].max()))
    return f"{' / '.join(one.name for one in species)} blend near {place[strength.argmax()]:.0f}"


def _within(group: Group, wavelength: float, element: float) -> tuple[Floats, Floats, Floats]:
    """A group's lines in an element: wavelength, what they add at its centre, strength, (l,) each."""
    offset = (group.wavelength / wavelength - 1) * SPEED_OF_LIGHT / element
    near = np.abs(offset) <= 1.5
    weight = group.strength[near] * np.exp(-4 * np.log(2) * offset[near] ** 2)
    strength = np.where(np.abs(offset[near]) <= 1, group.strength[near], 0.0)
    return group.wavelength[near], weight, strength


def separable(groups: Sequence[Group], *, element: float) -> list[Group]:
    """Groups of one frame with those lines only that dominate their resolution element, or are known to.

    What is not separable in any line is left out.
    """
    kept = []
    for number, group in enumerate(groups):
        order = np.argsort(group.wavelength, kind="stable")
        found = naming(group.wavelength[order], groups, element=element)
        mine = np.zeros(len(group.wavelength), dtype=bool)
        mine[order] = found.of_one & (found.species[:, 0] == number)
        for wavelength, name, _, _ in _KNOWN:
            if name not in FAINT_KNOWN and known_species(name) == group.element:
                mine |= np.abs(group.wavelength - wavelength) < 0.25
        if mine.any():
            kept.append(group.take(mine))
    return kept


def complete_from(low: float, high: float) -> float | None:
    """Milliangstrom in the Sun from which the star's lines within [low, high] are about complete.

    The counts of lines rise towards weak ones until lines begin to lack: the mode of their logarithm.
    """
    groups = [one.window(low, high) for one in atomic_groups()]
    strength = np.concatenate([one.strength for one in groups])
    if strength.size < FEWEST:
        return None
    counts, edges = np.histogram(np.log10(strength), bins=np.arange(0.0, 5.0, 0.2))
    mode = int(counts.argmax())
    return float(10 ** (edges[mode : mode + 2].mean()))
