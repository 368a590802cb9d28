"""Places on the sky: which coordinates can be trusted to be one, which points lie together."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

ARCSECOND = np.pi / 180 / 3600  # radians


def known_coordinates(
    ra: ArrayLike, dec: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """(ra, dec, known): degrees and whether they are a place on the sky.

    Missing values, values out of range (-99999, 999 ...) and exactly 0/0, which no telescope ever points
    at but software likes to write, are unknown.
    """
    longitude = np.asarray(ra, dtype=np.float64)
    latitude = np.asarray(dec, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        known = (longitude >= 0) & (longitude <= 360) & (np.abs(latitude) <= 90)
    return longitude, latitude, known & ((longitude != 0) | (latitude != 0))


def unit_vectors(ra: ArrayLike, dec: ArrayLike) -> NDArray[np.float64]:
    """Points on the unit sphere, shape (n, 3), of degrees: no seam at 0/360, no trouble at the poles."""
    longitude, latitude = np.radians(ra), np.radians(dec)
    flat = np.cos(latitude)
    return np.stack([flat * np.cos(longitude), flat * np.sin(longitude), np.sin(latitude)], axis=-1)


def chord(arcseconds: float) -> float:
    """Straight distance on the unit sphere of an angle; slightly more, so that the angle itself is within."""
    return float(2 * np.sin(arcseconds * ARCSECOND / 2) * (1 + 1e-9) + 1e-14)


def separation(straight: ArrayLike) -> NDArray[np.float64]:
    """Angle in arcseconds of a straight distance on the unit sphere."""
    return np.asarray(2 * np.arcsin(np.minimum(np.asarray(straight) / 2, 1)) / ARCSECOND)


def position_name(ra: float, dec: float) -> str:
    """Name from the place, cut (not rounded) in the form of the IAU: `J200043.64+224231.7`."""
    seconds = int(ra % 360 * 240 * 100 + 1e-6)
    arcseconds = int(abs(dec) * 3600 * 10 + 1e-6)
    right = f"{seconds // 360000:02d}{seconds // 6000 % 60:02d}{seconds % 6000 / 100:05.2f}"
    up = f"{arcseconds // 36000:02d}{arcseconds // 600 % 60:02d}{arcseconds % 600 / 10:04.1f}"
    return f"J{right}{'-' if dec < 0 else '+'}{up}"


def friends(vectors: NDArray[np.float64], reach: float) -> NDArray[np.int64]:
    """Label of each point such that points within `reach`, carried through, share one.

    A list of all pairs would not do: one star may have 20,000 spectra, hence 2e8 pairs. Points are put
    into cells whose diagonal is the reach: the points of a cell are friends at once; then cells are joined.
    """
    from scipy.spatial import cKDTree

    if not len(vectors):
        return np.empty(0, dtype=np.int64)
    cells = np.floor(vectors / (reach / np.sqrt(3))).astype(np.int64)
    lead, cell = first_rows(*cells.T)
    corners = cells[lead]
    order = np.argsort(cell, kind="stable")
    start = np.searchsorted(cell[order], np.arange(len(corners) + 1))
    pairs = cKDTree(corners).query_pairs(2.5, p=np.inf, output_type="ndarray")
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    first = vectors[order[start[:-1]]]
    near = np.linalg.norm(first[pairs[:, 0]] - first[pairs[:, 1]], axis=1) <= reach
    joined = [pairs[near]]
    part = link(len(corners), pairs[near, 0], pairs[near, 1])
    parent = list(range(int(part.max()) + 1))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    single = (start[1:] - start[:-1]) == 1  # two lone points were settled above
    for a, b in pairs[~near & ~(single[pairs[:, 0]] & single[pairs[:, 1]])]:
        one, other = root(int(part[a])), root(int(part[b]))
        if one == other:
            continue
        inside = vectors[order[start[a] : start[a + 1]]]
        distance, _ = cKDTree(inside).query(
            vectors[order[start[b] : start[b + 1]]], distance_upper_bound=reach
        )
        if np.isfinite(distance).any():
            parent[other] = one
            joined.append(np.array([[a, b]]))
    edges = np.concatenate(joined)
    return link(len(corners), edges[:, 0], edges[:, 1])[cell]


def first_rows(*columns: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(first row of each different row of integers, in their order; which of them each row is)."""
    order = np.lexsort(columns[::-1])  # much faster than np.unique over an axis
    new = np.zeros(order.size, dtype=bool)
    new[:1] = True
    for column in columns:
        sorted_column = column[order]
        new[1:] |= sorted_column[1:] != sorted_column[:-1]
    inverse = np.empty(order.size, dtype=np.int64)
    inverse[order] = np.cumsum(new) - 1
    return order[new], inverse


def link(size: int, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Component of each of `size` nodes under edges left-right."""
    if size == 0:
        return np.empty(0, dtype=np.int64)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(left.size, dtype=np.int8), (left, right)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)
