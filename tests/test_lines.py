"""What a derivative is named after: simulated causes, and derivatives that have none."""

import numpy as np
import pytest

from astroprism.grid import parse_grid
from astroprism.measures import EvidenceError
from astroprism.measures.lines import Group, line_groups, line_name, match_lines, rest_profile, star_velocity
from astroprism.simulate.layer import ALPHA_ELEMENTS
from astroprism.simulate.star import Synthesiser

BASE = {
    "teff": 5500.0,
    "feh": -0.1,
    "alpha": 0.05,
    "activity": 0.3,
    "vsini": 3.0,
    "water": 3.0,
    "airmass": 1.2,
}


class Window:
    """Spectra of a window, and their derivatives by finite differences."""

    def __init__(self, grid: str) -> None:
        self.wavelength = parse_grid(grid).wavelength
        self._make = Synthesiser(self.wavelength, resolution=60_000, seed=3)

    def flux(self, **changed: float) -> np.ndarray:
        values = {name: np.array([value]) for name, value in {**BASE, **changed}.items()}
        return self._make.noiseless(values)[0].astype(np.float64)

    def derivative(self, name: str, step: float, **changed: float) -> np.ndarray:
        middle = {**BASE, **changed}[name]
        rise = self.flux(**{**changed, name: middle + step}) - self.flux(**{**changed, name: middle - step})
        return rise / (2 * step)


@pytest.fixture(scope="module")
def blue():
    return Window("3915:4015:5kms")


@pytest.fixture(scope="module")
def red():
    return Window("6240:6640:5kms")


def named(found):
    return [one.name for one in found if one.named]


def test_activity_is_named_after_calcium_h_and_k(blue):
    found = match_lines(blue.wavelength, blue.derivative("activity", 0.1))
    assert named(found) == ["Ca II"]
    assert found[0].p < 0.01
    assert {name for _, name, _ in found[0].top[:2]} == {"Ca II K", "Ca II H"}
    assert found[0].summary().top[0].line.startswith("Ca II")


def test_activity_is_named_after_hydrogen_where_only_that_is_in_the_window(red):
    found = match_lines(red.wavelength, red.derivative("activity", 0.1))
    assert named(found) == ["H I"]
    assert found[0].top[0][1] == "H alpha"


def test_alpha_is_named_after_alpha_elements(red):
    found = match_lines(red.wavelength, red.derivative("alpha", 0.05))
    first = [one for one in found if one.named][:3]
    assert len(first) == 3
    assert all(one.element in ALPHA_ELEMENTS and one.p < 0.01 for one in first)


def test_the_sky_is_named_after_its_molecules(red):
    assert named(match_lines(red.wavelength, red.derivative("water", 0.3))) == ["H2O"]
    both = match_lines(red.wavelength, red.derivative("airmass", 0.1))
    assert set(named(both)) == {"O2", "H2O"}
    assert all(one.p < 0.01 for one in both if one.named)


def test_a_tilt_is_named_after_nothing(red):
    slope = np.linspace(-1, 1, red.wavelength.size)
    assert named(match_lines(red.wavelength, slope)) == []
    assert named(match_lines(red.wavelength, np.zeros(slope.size))) == []


def test_random_smooth_derivatives_are_named_after_nothing(red):
    rng = np.random.default_rng(0)
    grid = np.arange(red.wavelength.size)
    claims = 0
    for trial in range(10):
        smooth = sum(
            rng.normal() * np.cos(2 * np.pi * (cycles * grid / grid.size + rng.random()))
            for cycles in range(12)
        )
        claims += bool(named(match_lines(red.wavelength, smooth, draws=500, seed=trial)))
    assert claims <= 2


def test_made_up_species_get_even_p_values(red):
    """Lines at random places against a true derivative."""
    rng = np.random.default_rng(1)
    slope = red.derivative("feh", 0.05)
    p = []
    for trial in range(8):
        groups = [
            Group(str(n), str(n), "star", np.sort(rng.uniform(6245, 6635, n)), rng.uniform(0.1, 0.6, n))
            for n in (3, 6, 12, 25, 50)
        ]
        p += [one.p for one in match_lines(red.wavelength, slope, groups=groups, draws=500, seed=trial)]
    assert np.mean(np.array(p) <= 0.05) <= 0.15
    assert np.mean(p) == pytest.approx(0.5, abs=0.2)


def test_what_hardly_moves_is_not_named(red):
    """A blip that chance puts on a trace element says nothing beside lines thirty times as strong."""
    centres = np.linspace(6300.0, 6600.0, 12)
    groups = [
        Group("Fe I", "Fe", "star", centres, np.ones(12)),
        Group("Ba II", "Ba", "star", np.array([6449.0]), np.ones(1)),
    ]
    apart = np.log(red.wavelength[:, None] / np.append(centres, 6449.0)) * 299_792.458
    lines = np.exp(-0.5 * (apart / 8.0) ** 2)
    strong = lines[:, :12].sum(1)
    assert named(match_lines(red.wavelength, strong + 0.03 * lines[:, 12], groups=groups)) == ["Fe I"]
    assert set(named(match_lines(red.wavelength, strong + 0.3 * lines[:, 12], groups=groups))) == {
        "Fe I",
        "Ba II",
    }


def test_lines_are_looked_for_at_rest(red):
    """Stars of many velocities: their derivatives are moved to rest, the sky's stay."""
    speeds = np.linspace(-120, 120, 5)
    slopes = np.stack([red.derivative("alpha", 0.05, rv=speed) for speed in speeds])
    star = rest_profile(slopes, red.wavelength, velocity=speeds)
    still = rest_profile(slopes, red.wavelength, velocity=np.zeros(5))
    found = match_lines(red.wavelength, star, sky=still)
    assert [one.element in ALPHA_ELEMENTS for one in found if one.named][:3] == [True] * 3
    assert np.nanmax(star) > np.nanmax(still)


def test_masked_pixels_are_no_data(red):
    slope = red.derivative("activity", 0.1)
    slope[(red.wavelength > 6555) & (red.wavelength < 6575)] = np.nan
    assert "H I" not in named(match_lines(red.wavelength, slope))
    rows = np.ones((2, red.wavelength.size))
    rows[:, 40:60] = 0
    profile = rest_profile(rows, red.wavelength, velocity=[0.0, 0.0])
    assert np.isnan(profile[45:55]).all()
    assert profile[20] == pytest.approx(1)


def test_the_velocity_of_a_star(red):
    for speed in (-90.0, 0.0, 37.3):
        measured, sure = star_velocity(red.wavelength, red.flux(rv=speed))
        assert measured == pytest.approx(speed, abs=2)
        assert sure > 8
    noise = 1 + 0.01 * np.random.default_rng(0).normal(size=red.wavelength.size)
    assert star_velocity(red.wavelength, noise)[1] < 6


def test_the_tables():
    groups = {group.name: group for group in line_groups()}
    assert {"Ca II", "Fe I", "H I", "O2", "H2O"} <= set(groups)
    assert groups["O2"].frame == groups["H2O"].frame == "sky"
    assert all(((one.weight > 0) & (one.weight <= 1)).all() for one in groups.values())
    assert line_name("Na I", 5891.58) == "Na D2"
    assert line_name("Fe I", 5891.58) == "Fe I 5891.6"


def test_what_does_not_fit_is_refused(red):
    with pytest.raises(EvidenceError, match="pixels of the grid"):
        match_lines(red.wavelength, np.ones(7))
    with pytest.raises(EvidenceError, match="rising"):
        match_lines(red.wavelength[::-1], np.ones(red.wavelength.size))
