"""The simulated star does what stars do: lines follow Saha, Boltzmann, gravity, rotation and motion."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from numpy.typing import NDArray

from astroprism.errors import ConfigError
from astroprism.grid import SPEED_OF_LIGHT, air_to_vacuum, doppler_factor, log_grid
from astroprism.simulate.layer import load_elements, populations, solve_layer
from astroprism.simulate.linelist import forest, load_lines
from astroprism.simulate.star import DEFAULTS, Synthesiser

Array = NDArray[np.float64]


@functools.cache
def optical() -> Synthesiser:
    """3,900..6,700 angstrom at 2.5 km/s and R = 70,000."""
    return Synthesiser(log_grid(3900, 6700, step=2.5).wavelength, resolution=70_000)


@functools.cache
def sodium() -> Synthesiser:
    return Synthesiser(log_grid(5850, 5950, step=1.0).wavelength, resolution=115_000)


def vary(**values: list[float]) -> dict[str, Array]:
    return {name: np.asarray(value, dtype=np.float64) for name, value in values.items()}


def width(synthesiser: Synthesiser, flux: NDArray[np.float32], line: float, half: float) -> Array:
    """Equivalent width (angstrom) within `half` angstrom of vacuum wavelength `line`, (b,)."""
    wavelength = synthesiser.wavelength
    near = np.abs(wavelength - line) < half
    level = np.percentile(flux[:, np.abs(wavelength - line) < half + 3], 95, axis=1)
    return np.asarray(np.trapezoid(1 - flux[:, near] / level[:, None], wavelength[near], axis=1))


def vacuum(air: float) -> float:
    return float(air_to_vacuum(air))


def test_neutral_iron_weakens_and_balmer_strengthens_with_temperature() -> None:
    flux = optical().star(vary(teff=[4500, 5500, 6500, 7500, 9000]))
    for air in (5250.209, 6252.555, 5383.369):
        iron = width(optical(), flux, vacuum(air), 0.25)
        assert (np.diff(iron) < 0).all(), (air, iron)
    alpha = width(optical(), flux, vacuum(6562.80), 40)
    assert (np.diff(alpha) > 0).all(), alpha
    assert alpha[-1] > 3 * alpha[1]


def test_balmer_lines_peak_near_ten_thousand_kelvin() -> None:
    teff = np.arange(7000.0, 12001.0, 500.0)
    balmer = width(optical(), optical().star({"teff": teff}), vacuum(4861.33), 30)
    assert 8500 <= teff[np.argmax(balmer)] <= 10500


def test_ionisation_follows_saha() -> None:
    """Two layers of one temperature differ in N(Fe II)/N(Fe I) as their electron pressures do."""
    same = {"feh": np.zeros(2), "alpha": np.zeros(2)}
    layer = solve_layer(np.array([5777.0, 5777.0]), logg=np.array([4.4, 2.0]), **same)
    iron = load_elements().name.index("Fe")
    population = populations(layer, **same)
    ratio = population[1, iron] - population[0, iron]
    np.testing.assert_allclose(np.diff(ratio), np.diff(-np.log10(layer.electrons)), atol=1e-6)
    # The Sun's photosphere (Gray 2005, ch. 9): some 5..20 dyn/cm2 of electrons in a gas of about 1e5.
    assert 3 < layer.electrons[0] < 30
    assert 3e4 < layer.hydrogen[0] * 1.38e-16 * layer.temperature[0] < 2e5


def test_ionised_lines_gain_on_neutral_ones_in_giants_and_hot_stars() -> None:
    def ratio(**values: list[float]) -> Array:
        flux = optical().star(vary(**values))
        ionised = sum(width(optical(), flux, vacuum(air), 0.2) for air in (6456.383, 5234.625, 6432.680))
        neutral = sum(width(optical(), flux, vacuum(air), 0.2) for air in (6252.555, 5242.491, 6430.846))
        return np.asarray(ionised / neutral)

    assert (np.diff(ratio(logg=[4.8, 4.0, 3.0, 2.0])) > 0).all()
    assert (np.diff(ratio(teff=[4500, 5200, 6000, 7000])) > 0).all()


def test_gravity_broadens_the_wings_of_strong_lines() -> None:
    flux = optical().star(vary(teff=[5000] * 3, logg=[2.0, 3.5, 4.8]))
    magnesium = width(optical(), flux, vacuum(5183.604), 3.0)
    assert (np.diff(magnesium) > 0.1).all(), magnesium


def test_alpha_moves_its_elements_and_no_other() -> None:
    synthesiser = optical()
    plain, rich = synthesiser.star(vary(alpha=[0.0, 0.3]))
    change = np.abs(rich - plain)
    for air in (5183.104, 6122.217, 6162.173, 5948.541, 4999.503):  # Mg (its wing), Ca, Ca, Si, Ti
        assert change[np.argmin(np.abs(synthesiser.wavelength - vacuum(air)))] > 0.004, air
    more_iron = np.abs(np.diff(synthesiser.star(vary(feh=[0.0, 0.3])), axis=0)[0])
    for air in (5250.209, 6252.555, 6430.846, 6677.987, 5434.523):
        pixel = np.argmin(np.abs(synthesiser.wavelength - vacuum(air)))
        # Only by the electrons that magnesium and silicon give to the continuous opacity.
        assert change[pixel] < 0.45 * more_iron[pixel], air
    table = synthesiser._profiles.strengths.table
    same = {"feh": np.zeros(2), "alpha": np.array([0.0, 0.3])}
    layer = solve_layer(np.full(2, 5777.0), logg=np.full(2, 4.44), **same)
    population = populations(layer, **same)
    change_of = {
        str(s): float(np.diff(population[st, e])[0])
        for s, e, st in zip(table.species, table.element, table.stage, strict=True)
    }
    assert abs(change_of["Fe I"]) < 0.12
    assert abs(change_of["Fe II"]) < 0.02
    assert change_of["Ca II"] == pytest.approx(0.3, abs=0.02)
    assert change_of["Ti II"] == pytest.approx(0.3, abs=0.02)


def test_activity_fills_the_core_of_calcium_k() -> None:
    flux = optical().star(vary(teff=[5000] * 3, activity=[0.0, 0.5, 1.0]))
    core = flux[:, np.argmin(np.abs(optical().wavelength - vacuum(3933.663)))]
    wing = flux[:, np.argmin(np.abs(optical().wavelength - vacuum(3933.663) - 3.0))]
    assert (np.diff(core) > 0.1 * flux[0].max() * 0.2).all(), core
    np.testing.assert_allclose(wing, wing[0], rtol=1e-3)
    np.testing.assert_allclose(np.diff(core)[0], np.diff(core)[1], rtol=0.02)  # linear in activity


def test_strong_lines_lie_where_the_literature_has_them() -> None:
    synthesiser = optical()
    flux = synthesiser.star(vary(vsini=[1.0]))[0]
    for air in (3933.663, 4045.812, 4861.33, 5172.684, 5183.604, 5889.951, 5895.924, 6162.173, 6562.80):
        near = np.flatnonzero(np.abs(synthesiser.wavelength - vacuum(air)) < 0.4)
        deepest = near[np.argmin(flux[near])]
        a, b, c = flux[deepest - 1 : deepest + 2]
        place = deepest + 0.5 * (a - c) / (a - 2 * b + c)
        measured = np.interp(place, np.arange(len(flux)), synthesiser.wavelength)
        assert abs(measured - vacuum(air)) < 0.02, (air, measured - vacuum(air))


def test_a_shift_by_whole_pixels_is_an_exact_translation() -> None:
    synthesiser = sodium()
    step = np.log1p(1.0 / SPEED_OF_LIGHT)
    velocity = SPEED_OF_LIGHT * np.tanh(25 * step)  # the relativistic Doppler factor is exp(25 steps)
    assert doppler_factor(velocity) == pytest.approx(np.exp(25 * step), rel=1e-12)
    still, moved = synthesiser.star(vary(rv=[0.0, velocity]))
    np.testing.assert_allclose(moved[25:], still[:-25], atol=5e-6)


def test_radial_velocity_comes_back_from_cross_correlation() -> None:
    synthesiser = optical()
    velocities = np.array([-120.3, -7.77, 0.0, 33.21, 140.9])
    flux = synthesiser.star({"rv": velocities})
    template = synthesiser.star(vary(rv=[0.0]))[0]
    log = np.log(synthesiser.wavelength)
    inner = slice(1000, -1000)
    for row, velocity in zip(flux, velocities, strict=True):
        trial = velocity + np.arange(-3, 4) * 0.5
        score = [
            np.corrcoef(row[inner], np.interp(log[inner] - np.log(doppler_factor(v)), log, template))[0, 1]
            for v in trial
        ]
        quadratic = np.polyfit(trial - velocity, score, 2)
        assert abs(quadratic[1] / (2 * quadratic[0])) < 0.05


def test_rotation_widens_lines_and_keeps_their_area() -> None:
    flux = sodium().star(vary(vsini=[1.0, 10.0, 25.0]))
    line = vacuum(5862.353)  # a Fe I line with clear surroundings
    near = np.abs(sodium().wavelength - line) < 1.0
    depth = (1 - flux[:, near] / np.percentile(flux, 97, axis=1)[:, None]).max(axis=1)
    assert depth[0] > 1.4 * depth[1] > 1.4 * 1.3 * depth[2]
    area = (1 - flux / flux[0].max()).sum(axis=1)
    np.testing.assert_allclose(area, area[0], rtol=0.02)


def test_the_batch_does_not_change_a_spectrum() -> None:
    random = np.random.default_rng(1)
    parameters = {
        "rv": random.uniform(-100, 100, 70),
        "teff": random.uniform(4000, 8000, 70),
        "logg": random.uniform(1.5, 5, 70),
        "feh": random.uniform(-1, 0.4, 70),
        "vsini": random.uniform(0, 50, 70),
        "berv": random.uniform(-30, 30, 70),
    }
    together = sodium().noiseless(parameters)
    for row in (0, 17, 69):
        alone = sodium().noiseless({name: value[row : row + 1] for name, value in parameters.items()})
        np.testing.assert_array_equal(alone[0], together[row])
    assert together.dtype == np.float32
    assert np.isfinite(together).all()


def test_the_window_does_not_change_a_spectrum() -> None:
    """A cut-out has the lines and the depths of the whole; only the continuum's level is its own."""
    stretch = slice(90_000 // 4, 90_000 // 4 + 1500)
    part = Synthesiser(optical().wavelength[stretch], resolution=70_000)
    parameters = vary(rv=[33.0], teff=[5000.0], vsini=[4.0])
    ratio = part.star(parameters)[0] / optical().star(parameters)[0, stretch]
    np.testing.assert_allclose(ratio, np.median(ratio), rtol=3e-3)


def test_linear_pixels_see_what_logarithmic_ones_see() -> None:
    linear = Synthesiser(np.arange(5170.0, 5190.0, 0.01), resolution=115_000)
    log = Synthesiser(log_grid(5168, 5192, step=0.5).wavelength, resolution=115_000)
    assert linear.grid.every == 0
    assert log.grid.every == 1
    parameters = vary(rv=[-20.0], teff=[5000.0])
    from scipy.interpolate import CubicSpline

    theirs = CubicSpline(log.wavelength, log.star(parameters)[0])(linear.wavelength)
    ratio = linear.star(parameters)[0] / theirs
    np.testing.assert_allclose(ratio, np.median(ratio), rtol=6e-3)


@pytest.mark.parametrize(("resolution", "step"), [(1800, 69.0), (20_000, 5.0)])
def test_a_coarse_instrument_sees_a_fine_one_smoothed(resolution: int, step: float) -> None:
    """Radial velocity included, and the integration over wide pixels: nothing is aliased."""
    from scipy.ndimage import gaussian_filter1d, uniform_filter1d

    factor = 51 if step > 50 else 5
    wide = log_grid(4900, 5500, step=step)
    ratio = np.log1p(step / SPEED_OF_LIGHT) / factor
    fine = np.exp(np.log(wide.start) + ratio * np.arange((wide.size - 1) * factor + 1))
    parameters = vary(rv=[0.0, 23.4, -61.7], teff=[4800.0, 5500.0, 6200.0], vsini=[3.0, 8.0, 20.0])
    sharp = Synthesiser(fine, resolution=115_000).noiseless(parameters)
    sigma = np.sqrt(1 / resolution**2 - 1 / 115_000**2) / 2.35482 / ratio
    smooth = gaussian_filter1d(sharp.astype(np.float64), sigma, axis=1, truncate=6)
    expected = uniform_filter1d(smooth, factor, axis=1)[:, ::factor]
    inner = slice(20, -20) if step > 50 else slice(120, -120)
    found = Synthesiser(wide.wavelength, resolution=resolution).noiseless(parameters)
    np.testing.assert_allclose(found[:, inner], expected[:, inner], atol=1.5e-3)


def test_flux_is_of_order_one() -> None:
    flux = optical().noiseless(vary(teff=[4000, 5777, 8000]))
    median = np.median(flux, axis=1)
    assert ((median > 0.5) & (median < 1.5)).all(), median
    assert flux.min() > -0.01


def test_tilt_and_blaze_belong_to_the_instrument() -> None:
    plain = sodium().noiseless(vary(airmass=[0.0]))
    tilted = sodium().noiseless(vary(airmass=[0.0], tilt=[0.1], blaze=[0.02]))
    np.testing.assert_allclose(tilted / plain, sodium().instrument(vary(tilt=[0.1], blaze=[0.02])), rtol=1e-5)
    ratio = sodium().instrument(vary(tilt=[0.1]))[0]
    assert ratio[-1] - ratio[0] == pytest.approx(0.1, abs=1e-3)
    assert np.abs(sodium().instrument(vary(blaze=[0.02])) - 1).max() == pytest.approx(0.02, rel=1e-3)


def test_the_forest_is_seeded_and_the_same_in_every_window() -> None:
    wide, narrow = forest((5000.0, 5100.0), 3), forest((5043.0, 5057.0), 3)
    inside = wide.window(5043.0, 5057.0)
    np.testing.assert_array_equal(inside.wavelength, narrow.wavelength)
    np.testing.assert_array_equal(inside.loggf, narrow.loggf)
    assert not np.array_equal(forest((5043.0, 5057.0), 4).wavelength, narrow.wavelength)
    assert len(forest((4000.0, 4100.0), 0)) > 3 * len(forest((6000.0, 6100.0), 0))


def test_the_line_table_is_what_it_says() -> None:
    table = load_lines()
    assert (np.diff(table.wavelength) >= 0).all()
    assert 3700 < table.wavelength[0] < table.wavelength[-1] < 10_500
    assert len(table) > 500
    for species in ("Fe I", "Fe II", "Ti I", "Ti II", "Ca I", "Cr I", "Ni I", "Ba II", "H I"):
        assert (table.species == species).sum() >= 5, species
    assert (table.stage == np.char.endswith(table.species, " II")).all()


def test_a_parameter_out_of_bounds_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="teff = 99"):
        sodium().noiseless(vary(teff=[99.0]))
    with pytest.raises(ConfigError, match="rv = nan"):
        sodium().noiseless(vary(rv=[np.nan]))
    with pytest.raises(ConfigError, match="unknown parameter 'metallicity'"):
        sodium().noiseless(vary(metallicity=[0.0]))
    with pytest.raises(ConfigError, match="one length"):
        sodium().noiseless(vary(teff=[5000.0, 6000.0], feh=[0.0]))
    with pytest.raises(ConfigError, match="3700"):
        Synthesiser(np.linspace(3000.0, 4000.0, 100), resolution=1000)
    assert sodium().noiseless({}).shape == (1, len(sodium().wavelength))
    assert set(DEFAULTS) >= {"rv", "teff", "berv"}
