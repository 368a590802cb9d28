import numpy as np
import pytest

from astroprism.grid import PAPER, doppler_factor, log_grid, vacuum_to_air
from astroprism.store.rebin import find_lattice, place


def mean(placement, row):
    row = np.asarray(row, dtype=np.float32)
    return placement.overlap.apply(row, np.ones_like(row), np.ones(row.size, bool), least=0.0)[0]


def moved(wavelength, values, grid, *, medium="vacuum", factor=1.0):
    placement = place(wavelength, grid, medium=medium, factor=factor)
    row = placement.on_row(values[slice(*placement.take)])
    return placement, row if placement.overlap is None else mean(placement, row)


@pytest.mark.parametrize("start", [3781.75, 3781.37, 3790.0])
def test_paper_files_are_copied_wherever_they_start(start):
    wavelength = start + 0.01 * np.arange(312_000)
    values = np.arange(wavelength.size, dtype=np.float32)
    placement, row = moved(wavelength, values, PAPER, medium="air")
    assert placement.overlap is None
    at = round((5000 - PAPER.start) / 0.01)
    assert row[at] == values[round((5000 - start) / 0.01)]
    assert row[PAPER_FIRST - 1000] == 0 or start < 3785


PAPER_FIRST = 7589


def test_a_log_spectrum_on_its_own_grid_is_copied():
    grid = log_grid(5000, 5100, step=5.0)
    wavelength = grid.wavelength
    placement, row = moved(wavelength, np.arange(grid.size, dtype=np.float32), grid)
    assert placement.overlap is None
    assert np.array_equal(row, np.arange(grid.size))
    part, row = moved(wavelength[7:-3], np.ones(grid.size - 10, np.float32), grid)
    assert part.overlap is None
    assert np.array_equal(np.flatnonzero(row == 0), np.r_[:7, grid.size - 3 : grid.size])


@pytest.mark.parametrize("native", ["linear", "log", "irregular", "coarse"])
def test_resampling_conserves_flux(native):
    rng = np.random.default_rng(1)
    wavelength = {
        "linear": np.arange(4990.0, 5210.0, 0.013),
        "log": log_grid(4990, 5210, step=0.7).wavelength,
        "irregular": np.sort(rng.uniform(4990, 5210, 9000)),
        "coarse": np.arange(4990.0, 5210.0, 0.31),
    }[native]
    assert (find_lattice(wavelength) is None) == (native == "irregular")
    grid = log_grid(5000, 5200, step=1.5)
    flux = (2 + np.sin(wavelength / 3) + rng.normal(0, 0.3, wavelength.size)).astype(np.float32)
    _, row = moved(wavelength, flux, grid)
    middle = 0.5 * (wavelength[1:] + wavelength[:-1])
    edges = np.r_[2 * wavelength[0] - middle[0], middle, 2 * wavelength[-1] - middle[-1]]
    integral = np.concatenate(([0.0], np.cumsum(flux * np.diff(edges))))
    # over the whole grid and over any stretch of whole grid pixels
    for low, high in ((0, grid.size), (100, 137), (3000, 9000)):
        kept = float(np.sum(row[low:high].astype(float) * np.diff(grid.edges)[low:high]))
        given = np.diff(np.interp(grid.edges[[low, min(high, grid.size)]], edges, integral))[0]
        assert kept == pytest.approx(given, rel=2e-6)


def test_variance_is_carried():
    """Averaging n native pixels divides the noise by sqrt(n): the prediction meets the scatter."""
    rng = np.random.default_rng(2)
    wavelength = np.arange(4990.0, 5210.0, 0.01)
    grid = log_grid(5000, 5200, step=4.0)
    placement = place(wavelength, grid, medium="vacuum")
    noise = rng.normal(0, 1, (200, wavelength.size)).astype(np.float32)
    rows = np.array([mean(placement, placement.on_row(row[slice(*placement.take)])) for row in noise])
    ones = np.ones(placement.size, np.float32)
    predicted = placement.overlap.apply(ones, ones, ones.astype(bool))[1]
    assert np.std(rows, axis=0).mean() == pytest.approx(predicted.mean(), rel=0.01)
    assert predicted.mean() == pytest.approx(np.sqrt(0.01 / (4 / 299792.458 * 5100)), rel=0.05)


def test_a_shift_moves_lines_where_doppler_says():
    grid = log_grid(5000, 5200, step=1.0)
    wavelength = np.arange(4980.0, 5220.0, 0.01)
    line = np.exp(-0.5 * ((wavelength - 5100) / 0.1) ** 2)
    for velocity in (-90.0, 12.3):
        _, row = moved(wavelength, line, grid, factor=float(doppler_factor(velocity)))
        centre = np.sum(row * grid.wavelength) / np.sum(row)
        assert (centre / 5100 - 1) * 299_792.458 == pytest.approx(velocity, abs=0.05)


def test_air_files_land_on_a_vacuum_grid():
    grid = log_grid(5000, 5200, step=1.0)
    wavelength = np.arange(4980.0, 5220.0, 0.01)
    line = np.exp(-0.5 * ((wavelength - vacuum_to_air(5100.0)) / 0.1) ** 2)
    _, row = moved(wavelength, line, grid, medium="air")
    assert np.sum(row * grid.wavelength) / np.sum(row) == pytest.approx(5100, abs=1e-3)


def test_files_of_one_lattice_share_their_weights():
    grid = log_grid(5000, 5200, step=1.0)
    one = place(4981.23 + 0.01 * np.arange(30_000), grid, medium="air")
    two = place(4979.17 + 0.01 * np.arange(31_000), grid, medium="air")
    assert one.overlap is two.overlap
    values = np.sin(np.arange(40_000) / 50)
    a, b = (
        mean(p, p.on_row(values[k : k + n][slice(*p.take)]))
        for p, k, n in ((one, 206, 30_000), (two, 0, 31_000))
    )
    inside = grid.wavelength < 5200
    assert np.allclose(a[inside], b[inside], atol=1e-6)


def test_a_lattice_that_drifts_is_no_lattice():
    wavelength = 5000 + 0.01 * np.arange(10_000) * (1 + 2e-6 * np.arange(10_000))
    assert find_lattice(wavelength) is None
