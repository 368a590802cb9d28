"""Which spectra show one star.

A target is the union, carried through, of equal normalised names, aliases from a table, and positions
within a few arcseconds. A name that stands at places far apart does not join them. What looks like one star
but is not joined, and what was joined though it looks odd, is reported, not settled by guess.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import CatalogError
from .names import catalogue, component, name_text, normalise_name
from .positions import (
    chord,
    first_rows,
    friends,
    known_coordinates,
    link,
    position_name,
    separation,
    unit_vectors,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Targets", "group_targets", "normalise_name", "read_aliases"]

# Two different numbers of one catalogue at one place may be a close pair or a slip; three are a telescope
# that wrote one position for whatever it saw. A star has rarely more than a dozen names.
MANY_OF_ONE_CATALOGUE = 3
MANY_NAMES = 12
# Barnard's star, the fastest, moves 10"/yr: 0.1 degree in 35 years. What lies further apart did not move.
FAR_APART = 0.1  # degrees
# Of the spectra of one name at several places: where so many share one, that is the star's.
MOST_AT_ONE_PLACE = 2 / 3
MOST_PAIRS = 2_000_000  # near pairs to go through before only the nearest are reported


@dataclass(frozen=True)
class Targets:
    """Which target each of `n` spectra belongs to, and what was not certain.

    target              canonical names, shape (n,): one string per target, the first of its names in row
                        order
    doubts              a row per pair: target_a, target_b, name_a, name_b (as the files write them),
                        separation (arcsec), merged (bool), reason
    count               number of targets
    merged_by_name      groups of different spelling or visit that equal names joined into others
    merged_by_alias     groups that aliases joined into others
    merged_by_position  groups that positions alone joined into others
    unnamed             spectra whose header names no star
    disputed            names that stand at places too far apart for one star, and do not join these
    unplaced            spectra without usable coordinates (missing, sentinel, 0/0, out of range)
    left_out            pairs within the doubt radius that `doubts` lacks because there were too many
    """

    target: NDArray[np.object_]
    doubts: pd.DataFrame
    count: int
    merged_by_name: int
    merged_by_alias: int
    merged_by_position: int
    unnamed: int
    unplaced: int
    left_out: int
    disputed: tuple[str, ...] = ()


class _Doubt(NamedTuple):
    first: int  # row
    second: int
    distance: float  # on the unit sphere, straight
    reason: str


def group_targets(
    names: Sequence[object],
    ra: ArrayLike,
    dec: ArrayLike,
    *,
    aliases: Iterable[Sequence[str]] | pd.DataFrame | None = None,
    identifiers: Sequence[str] | None = None,
    radius: float = 5.0,
    doubt_radius: float = 30.0,
) -> Targets:
    """Join the spectra of each star.

    names         as the files give them, length n ('' or a placeholder such as SKY: no name)
    ra, dec       degrees, shape (n,); NaN, sentinels and 0/0 are unknown
    aliases       rows of two or more names of one star (`read_aliases`)
    identifiers   spectrum identifiers, to name spectra that have neither name nor place (else the row)
    radius        arcsec; positions within it are one star
    doubt_radius  arcsec; other pairs within it are reported in `doubts`
    """
    n = len(names)
    longitude, latitude, known = known_coordinates(ra, dec)
    if longitude.shape != (n,) or latitude.shape != (n,):
        raise CatalogError(f"{n} names, but coordinates of shapes {longitude.shape} and {latitude.shape}")
    number: dict[str, int] = {}  # of each normalised name, in order of appearance
    name_of = _number_names(names, number)
    merged_names = int((name_of >= 0).sum()) - len(number)
    n_names = len(number)
    star_of_name = join_aliases(alias_rows(aliases), number)
    present = np.unique(star_of_name[:n_names])
    star = np.where(name_of >= 0, star_of_name[name_of] if len(number) else -1, -1)

    rows = np.flatnonzero(known)
    vectors = unit_vectors(longitude[rows], latitude[rows])
    place = np.full(n, -1)
    place[rows] = friends(vectors, chord(radius))
    contested, doubts = _contested_places(rows, vectors, place, star, name_of, list(number))
    placed = (place >= 0) & ~np.isin(place, list(contested))
    wide, strays = _disputed(rows[placed[rows]], vectors[placed[rows]], place, name_of, list(number))
    star[strays] = -1

    by_name = _components(n, [(np.flatnonzero(star >= 0), star[star >= 0])])
    group = _components(
        n, [(np.flatnonzero(star >= 0), star[star >= 0]), (np.flatnonzero(placed), place[placed])]
    )
    group, target = _canonical(group, names, name_of, longitude, latitude, known, identifiers)
    placed_rows = np.flatnonzero(placed)
    vectors = unit_vectors(longitude[placed_rows], latitude[placed_rows])
    near, left_out = _near_pairs(placed_rows, vectors, group, doubt_radius)
    return Targets(
        target=target[group],
        doubts=_doubt_table(doubts + near, target[group], names),
        count=int(target.size),
        merged_by_name=merged_names,
        merged_by_alias=n_names - int(present.size),
        merged_by_position=int(by_name.max(initial=-1)) + 1 - int(target.size),
        unnamed=int((name_of < 0).sum()),
        unplaced=int(n - known.sum()),
        left_out=left_out,
        disputed=tuple(name_text(names[int(np.argmax(name_of == one))]) for one in wide.tolist()),
    )


def _disputed(
    rows: NDArray[np.int64],
    vectors: NDArray[np.float64],
    place: NDArray[np.int64],
    name_of: NDArray[np.int64],
    names: list[str],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Names (their numbers) whose believed places, rows of `vectors`, lie further apart than a star moves.

    Also which of all spectra such a name does not join. The number of a catalogue is that of one star, whose
    place is where most of its spectra are: those elsewhere. Of other words the same where MOST_AT_ONE_PLACE;
    else all that bear it, for it may be a programme or a telescope's habit.
    """
    strays = np.zeros(name_of.size, dtype=bool)
    known = name_of[rows] >= 0
    rows, vectors = rows[known], vectors[known]
    of, reach = name_of[rows], chord(FAR_APART * 3600)
    _, earliest, which = np.unique(of, return_index=True, return_inverse=True)
    apart = np.linalg.norm(vectors - vectors[earliest[which]], axis=1) if of.size else np.zeros(0)
    wide = np.unique(of[apart > reach])
    for name in wide.tolist():
        own = np.flatnonzero(of == name)
        _, first, count = np.unique(place[rows[own]], return_index=True, return_counts=True)
        home = vectors[own[first[np.lexsort((first, -count))[0]]]]
        near = np.linalg.norm(vectors[own] - home, axis=1) <= reach
        if catalogue(names[name]) or near.mean() >= MOST_AT_ONE_PLACE:
            strays[rows[own[~near]]] = True
        else:
            strays[name_of == name] = True
    return wide, strays


def read_aliases(path: str | Path) -> list[tuple[str, ...]]:
    """Rows of names of one star, from a text file: comma, semicolon, tab or | between names, # comments.

    A first line of column titles (name, alias, main_id ...) is skipped.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise CatalogError(f"{path}: the alias table cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise CatalogError(f"{path}: not a text file in UTF-8; save the alias table as CSV") from error
    if "\0" in text:
        raise CatalogError(f"{path}: not a text file; save the alias table as CSV")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    delimiter = max(",;\t|", key=lambda mark: sum(mark in line for line in lines))
    titles = {
        "name",
        "alias",
        "main_id",
        "object",
        "star",
        "target",
        "identifier",
        "id",
        "ids",
        "other",
        "names",
    }
    rows = []
    for number, cells in enumerate(csv.reader(lines, delimiter=delimiter, skipinitialspace=True)):
        if number == 0 and all(
            cell.strip().lower().rstrip("0123456789_") in titles | {"aliases"} for cell in cells
        ):
            continue
        parts = [part.strip() for cell in cells for part in cell.split("|")]
        rows.append(tuple(part for part in parts if part))
    if not any(len(row) > 1 for row in rows):
        raise CatalogError(
            f"{path}: no row holds two names of one star; write for example: HD 189733, V452 Vul"
        )
    return [row for row in rows if row]


def alias_rows(aliases: Iterable[Sequence[str]] | pd.DataFrame | None) -> list[tuple[str, ...]]:
    """Rows of normalised names, of whatever holds rows of names; placeholders and blanks are dropped."""
    if aliases is None:
        return []
    rows = aliases.itertuples(index=False) if hasattr(aliases, "itertuples") else aliases
    return [tuple(name for name in map(normalise_name, row) if name) for row in rows]


def _number_names(names: Sequence[object], number: dict[str, int]) -> NDArray[np.int64]:
    numbers: dict[object, int] = {}  # an archive repeats its spellings: each is normalised once
    out = np.empty(len(names), dtype=np.int64)
    for row, raw in enumerate(names):
        key = raw if isinstance(raw, str) else name_text(raw)
        if key not in numbers:
            name = normalise_name(key)
            numbers[key] = number.setdefault(name, len(number)) if name else -1
        out[row] = numbers[key]
    return out


def join_aliases(aliases: list[tuple[str, ...]], number: dict[str, int]) -> NDArray[np.int64]:
    """Star of every name in `number`, to which the names met only in aliases are added."""
    left, right = [], []
    for row in aliases:
        known = [number.setdefault(name, len(number)) for name in row]
        left += known[:-1]
        right += known[1:]
    return link(len(number), np.asarray(left, dtype=np.int64), np.asarray(right, dtype=np.int64))


def _components(n: int, hubs: list[tuple[NDArray[Any], NDArray[Any]]]) -> NDArray[np.int64]:
    """Component of each of `n` rows, where each hub (rows, label) joins the rows of equal label."""
    left, right, size = [], [], n
    for rows, label in hubs:
        left.append(rows.astype(np.int64))
        right.append(label.astype(np.int64) + size)
        size += int(label.max(initial=-1)) + 1
    parts = link(size, np.concatenate(left), np.concatenate(right))[:n]
    return np.unique(parts, return_inverse=True)[1].astype(np.int64) if n else parts


def _contested_places(
    rows: NDArray[np.int64],
    vectors: NDArray[np.float64],
    place: NDArray[np.int64],
    star: NDArray[np.int64],
    name_of: NDArray[np.int64],
    names: list[str],
) -> tuple[set[int], list[_Doubt]]:
    """Places whose spectra must not be joined by position, and the doubts to report."""
    doubts = []
    named = rows[star[rows] >= 0]
    position = np.full(place.size, -1)
    position[rows] = np.arange(rows.size)
    _, earliest = np.unique(star[named], return_index=True)  # first placed row of each star
    first = dict(zip(star[named[earliest]].tolist(), named[earliest].tolist(), strict=True))
    home = named[earliest[np.unique(star[named], return_inverse=True)[1]]]
    apart = np.linalg.norm(vectors[position[named]] - vectors[position[home]], axis=1)
    wanders = {int(s) for s in star[named[apart > chord(FAR_APART * 3600)]]}
    for s in sorted(wanders):
        far = int(np.flatnonzero(star[named] == s)[np.argmax(apart[star[named] == s])])
        doubts.append(
            _Doubt(
                first[s],
                int(named[far]),
                float(apart[far]),
                f"one name at places more than {FAR_APART} deg apart",
            )
        )

    # one row for each name, only at the places that hold several stars
    occupied, _ = first_rows(place[named], star[named])
    stars_at = np.bincount(place[named[occupied]], minlength=1)
    named = named[stars_at[place[named]] > 1]
    at_place: dict[int, list[int]] = defaultdict(list)
    for each in np.sort(named[first_rows(place[named], name_of[named])[0]]):
        at_place[int(place[each])].append(int(each))
    contested = set()
    for where, members in at_place.items():
        stars = {int(star[row]) for row in members}
        reason = _conflict(members, star, name_of, names, len(stars & wanders))
        if reason:
            contested.add(where)
        lead = members[0]
        reported = {int(star[lead])}
        counted: set[str] = set()
        for row in members:
            # what is joined by its place is reported only where one catalogue counts two stars there
            survey = catalogue(names[name_of[row]])
            same = survey in counted
            counted |= {survey} - {""}
            if int(star[row]) in reported or not (reason or same):
                continue
            reported.add(int(star[row]))
            gap = float(np.linalg.norm(vectors[position[row]] - vectors[position[lead]]))
            doubts.append(_Doubt(lead, row, gap, reason or "two numbers of one catalogue at one place"))
    return contested, doubts


def _conflict(
    members: list[int], star: NDArray[np.int64], name_of: NDArray[np.int64], names: list[str], wandering: int
) -> str:
    """Why the names met at one place cannot be those of one star; '' where they can."""
    by_catalogue: dict[str, set[int]] = defaultdict(set)
    parts: dict[str, dict[str, int]] = defaultdict(dict)
    for row in members:
        name = names[name_of[row]]
        by_catalogue[catalogue(name) or "words"].add(int(star[row]))
        system, letters = component(name)
        for other, its_star in parts[system].items():
            if letters and other and not set(letters) & set(other) and its_star != int(star[row]):
                return f"components {other} and {letters} of one system"
        parts[system][letters] = int(star[row])
    stars = len(set().union(*by_catalogue.values()))
    words = len(by_catalogue.pop("words", ()))
    most = max((len(group) for group in by_catalogue.values()), default=0)
    if most >= MANY_OF_ONE_CATALOGUE or words > MANY_OF_ONE_CATALOGUE or stars > MANY_NAMES:
        return f"coordinates shared by {stars} differently named stars"
    if wandering >= 2:
        return "coordinates shared by stars that have other coordinates elsewhere"
    return ""


def _near_pairs(
    rows: NDArray[np.int64], vectors: NDArray[np.float64], group: NDArray[np.int64], radius: float
) -> tuple[list[_Doubt], int]:
    """Pairs of groups within `radius` arcsec, each once at its least distance; how many were left out."""
    from scipy.spatial import cKDTree

    if not rows.size:
        return [], 0
    # one point for each arcsecond that a group covers: spectra of one star are not compared with each other
    cells = np.floor(vectors / chord(1.0)).astype(np.int64)
    kept = np.sort(first_rows(group[rows], *cells.T)[0])
    points, of = vectors[kept], group[rows[kept]]
    tree, reach = cKDTree(points), chord(radius)
    total = (int(tree.count_neighbors(tree, reach)) - len(kept)) // 2
    if total <= MOST_PAIRS:
        pairs = tree.query_pairs(reach, output_type="ndarray")
    else:  # a field too crowded to report all: the nearest few of each
        _, other = tree.query(points, k=6, distance_upper_bound=reach)
        own = np.repeat(np.arange(len(kept)), 6)
        pairs = np.stack([own, other.reshape(-1)], axis=1)
        pairs = np.unique(np.sort(pairs[(pairs[:, 1] < len(kept)) & (pairs[:, 1] != own)], axis=1), axis=0)
    left_out = total - len(pairs)
    pairs = pairs[of[pairs[:, 0]] != of[pairs[:, 1]]]
    gap = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    ends = np.sort(of[pairs], axis=1)
    order = np.lexsort((pairs[:, 1], pairs[:, 0], gap, ends[:, 1], ends[:, 0]))
    best = order[first_rows(ends[order, 0], ends[order, 1])[0]]
    reported = [
        _Doubt(
            int(rows[kept[min(a, b)]]), int(rows[kept[max(a, b)]]), float(distance), "near, no name in common"
        )
        for (a, b), distance in zip(pairs[best], gap[best], strict=True)
    ]
    return reported, left_out


def _doubt_table(doubts: list[_Doubt], target: NDArray[np.object_], names: Sequence[object]) -> pd.DataFrame:
    import pandas as pd

    first = target[[doubt.first for doubt in doubts]] if doubts else np.empty(0, dtype=object)
    second = target[[doubt.second for doubt in doubts]] if doubts else np.empty(0, dtype=object)
    straight = np.array([doubt.distance for doubt in doubts], dtype=np.float64)
    return pd.DataFrame(
        {
            "target_a": pd.Series(first, dtype="str"),
            "target_b": pd.Series(second, dtype="str"),
            "name_a": pd.Series([name_text(names[doubt.first]) for doubt in doubts], dtype="str"),
            "name_b": pd.Series([name_text(names[doubt.second]) for doubt in doubts], dtype="str"),
            "separation": np.round(separation(straight), 3),
            "merged": first == second,
            "reason": pd.Series([doubt.reason for doubt in doubts], dtype="str"),
        }
    )


def _canonical(
    group: NDArray[np.int64],
    names: Sequence[object],
    name_of: NDArray[np.int64],
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    known: NDArray[np.bool_],
    identifiers: Sequence[str] | None,
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """(group of each row, name of each group): groups counted in row order, named by their first row."""
    n = group.size
    rank = np.where(name_of >= 0, 0, np.where(known, 1, 2))  # a name, else a place, else nothing
    order = np.lexsort((np.arange(n), rank, group))
    leads = order[np.unique(group[order], return_index=True)[1]]
    _, first = np.unique(group, return_index=True)
    by_row = np.argsort(first, kind="stable")
    renumber = np.empty(first.size, dtype=np.int64)
    renumber[by_row] = np.arange(first.size)
    target = np.empty(first.size, dtype=object)
    taken: set[str] = set()
    for index, lead in enumerate(leads[by_row]):
        if name_of[lead] >= 0:
            text = name_text(names[lead])
        elif known[lead]:
            text = position_name(float(ra[lead]), float(dec[lead]))
        else:
            text = f"unnamed {identifiers[lead] if identifiers is not None else lead}"
        unique, copy = text, 1
        while unique in taken:  # nameless spectra at a contested place, for example
            copy += 1
            unique = f"{text} #{copy}"
        taken.add(unique)
        target[index] = unique
    return renumber[group], target
