"""Neighbours are those that brute force finds."""

import numpy as np
import pytest

from astroprism.errors import ConfigError
from astroprism.similar.distances import Neighbours


def brute(points, vector, n, exclude=()):
    apart = np.sqrt(((points.astype(np.float64) - vector) ** 2).sum(1))
    apart[list(exclude)] = np.inf
    order = np.lexsort((np.arange(len(points)), apart))[:n]
    return order, apart[order]


@pytest.mark.parametrize(("scale", "away"), [(1.0, 0.0), (1e-3, 0.0), (1.0, 1e4), (1e4, 3e6)])
def test_neighbours_are_those_of_brute_force(scale, away):
    rng = np.random.default_rng(0)
    points = (away + scale * rng.normal(size=(3000, 7)) * [1, 1, 1, 100, 1000, 1, 0.01]).astype(np.float32)
    points[50:60] = points[40]  # ties
    points[61] += 1e3 * scale
    built = Neighbours(points)
    kept = (points - points.mean(0, dtype=np.float64)).astype(np.float32)  # about their mean
    for row in [*range(40, 65), *rng.integers(0, 3000, 40)]:
        rows, apart = built.query(points[row], 12, exclude=[row])
        expected, distances = brute(kept, kept[row], 12, exclude=[row])
        assert rows.tolist() == expected.tolist()
        assert apart == pytest.approx(distances, rel=1e-12)


def test_excluded_rows_and_small_tables():
    points = np.arange(10.0)[:, None]
    built = Neighbours(points)
    rows, apart = built.query([3.2], 3, exclude=[3])
    assert rows.tolist() == [4, 2, 5]
    assert apart == pytest.approx([0.8, 1.2, 1.8], abs=1e-6)
    assert len(built.query([3.2], 99)[0]) == len(built) == 10
    assert built.query([3.2], 5, exclude=range(10))[0].size == 0
    assert Neighbours(np.zeros((0, 2))).query([0, 0], 3)[0].size == 0
    same = Neighbours(np.ones((20_000, 2)))
    assert same.query([1, 1], 4)[0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("points", "vector", "n", "message"),
    [
        (np.zeros(3), [0], 1, "shape"),
        (np.zeros((3, 0)), [], 1, "shape"),
        (np.array([["a"]]), [0], 1, "type"),
        (np.array([[0.0], [np.nan]]), [0], 1, "point 1 is not finite"),
        (np.zeros((3, 2)), [0], 1, "2 nodes"),
        (np.zeros((3, 2)), [0, np.nan], 1, "finite"),
        (np.zeros((3, 2)), [0, 0], 0, "1 or more"),
    ],
)
def test_what_cannot_be_searched(points, vector, n, message):
    with pytest.raises(ConfigError, match=message):
        Neighbours(points).query(vector, n)
