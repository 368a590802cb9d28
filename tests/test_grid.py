import numpy as np
import pytest

from astroprism.errors import GridError
from astroprism.grid import (
    PAPER,
    PAPER_DEAD,
    SPEED_OF_LIGHT,
    air_to_vacuum,
    doppler_factor,
    log_grid,
    parse_grid,
    vacuum_to_air,
)


def test_the_paper_grid_is_the_one_released():
    wavelength = PAPER.wavelength
    assert PAPER.size == 327_680
    assert wavelength[7589] == pytest.approx(3785.0, abs=1e-9)
    assert wavelength[7589 + 312_500] == pytest.approx(6910.0, abs=1e-6)
    gap = PAPER_DEAD[1]
    assert wavelength[gap.start] == pytest.approx(5303.64, abs=1e-6)
    assert wavelength[gap.stop - 1] == pytest.approx(5338.04, abs=1e-6)
    assert sum(dead.stop - dead.start for dead in PAPER_DEAD) == 7589 + 3441 + 7590


def test_a_doppler_shift_is_a_translation_on_a_log_grid():
    grid = log_grid(5000, 5200, step=2.0)
    shift = np.log(doppler_factor(20.0)) / np.log1p(2.0 / SPEED_OF_LIGHT)
    assert shift == pytest.approx(10.0, abs=1e-3)
    moved = grid.wavelength * doppler_factor(20.0)
    assert np.allclose(
        np.interp(moved[:-20], grid.wavelength, np.arange(grid.size)),
        np.arange(grid.size)[:-20] + shift,
        atol=1e-3,
    )


def test_air_and_vacuum_agree_with_published_pairs():
    # Na D and H alpha, NIST ASD: air 5889.951, 5895.924, 6562.79; vacuum 5891.583, 5897.558, 6564.60
    vacuum = [5891.5833, 5897.5581, 6564.60]
    assert vacuum_to_air(vacuum) == pytest.approx([5889.9510, 5895.9242, 6562.79], abs=2e-2)
    wavelength = np.linspace(3000, 10_500, 1000)
    assert np.abs(air_to_vacuum(vacuum_to_air(wavelength)) - wavelength).max() < 1e-8


def test_a_grid_survives_being_written_as_text():
    grid = log_grid(3785.3, 6910.2, step=0.434)
    assert parse_grid(grid.text).size == grid.size
    assert parse_grid("paper") == PAPER


def test_edges_lie_between_centres():
    for grid in (PAPER, log_grid(4000, 4100, step=5)):
        assert grid.edges.size == grid.size + 1
        assert np.all(grid.edges[1:-1] > grid.wavelength[:-1])
        assert np.all(grid.edges[1:-1] < grid.wavelength[1:])


@pytest.mark.parametrize(
    "text", ["", "5000", "5000:4000:1kms", "5000:5100:0kms", "a:b:c", "1.2.3:5:1kms", "5000:5000.1:9kms"]
)
def test_a_grid_that_makes_no_sense_is_refused(text):
    with pytest.raises(GridError):
        parse_grid(text)


def test_a_window_outside_the_grid_is_refused():
    with pytest.raises(GridError, match="holds no pixel"):
        log_grid(5000, 5200, step=2.0).window(6000, 6100)
