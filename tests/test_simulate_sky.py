"""The simulated atmosphere: real places, Beer's law, and the observer's frame."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from astroprism.grid import SPEED_OF_LIGHT, air_to_vacuum, log_grid
from astroprism.simulate.sky import optical_depth, oxygen_lines, telluric_bands, telluric_lines
from astroprism.simulate.star import Synthesiser


@functools.cache
def b_band() -> Synthesiser:
    """The B band of O2, which has no H2O worth naming below 6,935 angstrom."""
    return Synthesiser(log_grid(6860, 6930, step=1.0).wavelength, resolution=100_000)


@functools.cache
def near_sodium() -> Synthesiser:
    return Synthesiser(log_grid(5890, 5970, step=1.0).wavelength, resolution=100_000)


def test_oxygen_lines_lie_where_they_are_observed() -> None:
    """Band heads, and single lines of the A band (HITRAN: R1R1 13126.39, P1P1 13118.04 cm-1)."""
    table = oxygen_lines()
    for band, head in (("O2 A", 7593.7), ("O2 B", 6867.2), ("O2 gamma", 6276.6)):
        shortest = table.wavelength[(table.band == band) & (table.area > 1e-4 * table.area.max())].min()
        assert shortest == pytest.approx(float(air_to_vacuum(head)), abs=1.2)
    wavenumber = 1e8 / table.wavelength
    for line in (13126.39, 13118.04, 13128.27):
        assert np.abs(wavenumber - line).min() < 0.03, line


def test_bands_hold_all_lines_and_say_where_the_sky_absorbs() -> None:
    bands = telluric_bands()
    names = [name for name, _, _ in bands]
    assert {"O2 A", "O2 B", "O2 gamma", "H2O 5900", "H2O 7200"} <= set(names)
    assert [low for _, low, _ in bands] == sorted(low for _, low, _ in bands)
    wavelength = np.exp(np.linspace(np.log(5600), np.log(9900), 200_000))
    oxygen, water = optical_depth(wavelength)
    inside = np.zeros(len(wavelength), dtype=bool)
    for _, low, high in bands:
        inside |= (wavelength > low - 3) & (wavelength < high + 3)
    assert (oxygen + water)[~inside].max(initial=0.0) < 0.01
    table = telluric_lines()
    assert (np.diff(table.wavelength) >= 0).all()


def test_the_sky_deepens_with_airmass_and_water_and_only_where_it_should() -> None:
    oxygen = b_band().atmosphere({"airmass": np.array([0.0, 1.0, 2.0]), "water": np.full(3, 5.0)})
    np.testing.assert_allclose(oxygen[0], 1.0, atol=1e-5)
    assert oxygen[0].mean() > oxygen[1].mean() + 0.03 > oxygen[2].mean() + 0.04
    dry, wet = b_band().atmosphere({"water": np.array([0.0, 10.0])})
    head = np.abs(b_band().wavelength - 6880) < 15
    np.testing.assert_allclose(dry[head], wet[head], atol=1e-5)
    water = near_sodium().atmosphere({"water": np.array([0.0, 2.0, 6.0])})
    np.testing.assert_allclose(water[0], 1.0, atol=1e-5)
    assert water[2].min() < water[1].min() - 0.05


def test_weak_absorption_follows_beer() -> None:
    """-log transmission grows as airmass times water where lines are thin."""
    depth = 1 - near_sodium().atmosphere(
        {"airmass": np.array([1.0, 2.0, 1.0]), "water": np.array([0.2, 0.2, 0.4])}
    )
    np.testing.assert_allclose(depth[1], depth[2], atol=1e-6)
    area = depth.sum(axis=1)
    assert area[1] / area[0] == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("resolution", [100_000, 15_000])
def test_the_sky_stays_with_the_observer(resolution: int) -> None:
    """In the barycentric output it moves by berv, whatever the star's velocity."""
    grid = log_grid(6860, 6930, step=1.0)
    synthesiser = Synthesiser(grid.wavelength, resolution=resolution)
    berv = np.array([-28.4, 0.0, 13.37])
    flux = synthesiser.atmosphere({"berv": berv, "rv": np.array([50.0, 0.0, -80.0])})
    log, inner = np.log(grid.wavelength), slice(200, -200)
    for row, velocity in zip(flux, berv, strict=True):
        trial = velocity + np.arange(-3, 4) * 0.3
        score = [
            np.corrcoef(row[inner], np.interp(log[inner] - np.log1p(v / SPEED_OF_LIGHT), log, flux[1]))[0, 1]
            for v in trial
        ]
        quadratic = np.polyfit(trial - velocity, score, 2)
        assert abs(quadratic[1] / (2 * quadratic[0])) < 0.05, velocity


def test_the_product_is_smoothed_after_star_and_sky_are_multiplied() -> None:
    """A stellar line and a telluric line that lie on each other are not multiplied after smoothing."""
    wavelength = log_grid(6860, 6930, step=2.0).wavelength
    fine, coarse = (Synthesiser(wavelength, resolution=r) for r in (150_000, 20_000))
    parameters = {"rv": np.array([7.0]), "airmass": np.array([1.5]), "teff": np.array([4500.0])}
    from scipy.ndimage import gaussian_filter1d

    sigma = SPEED_OF_LIGHT / 2.3548 / 2.0 * np.sqrt(1 / 20_000**2 - 1 / 150_000**2)
    smoothed = gaussian_filter1d(fine.noiseless(parameters)[0].astype(np.float64), sigma, truncate=6)
    inner = slice(60, -60)
    np.testing.assert_allclose(coarse.noiseless(parameters)[0][inner], smoothed[inner], atol=1e-3)


def test_far_from_its_bands_the_sky_is_clear() -> None:
    synthesiser = Synthesiser(log_grid(5160, 5200, step=2.0).wavelength, resolution=50_000)
    np.testing.assert_array_equal(synthesiser.atmosphere({"airmass": np.array([2.0])}), 1.0)
