"""Features are classed by width and named beyond chance: twins of low, middle and high resolution."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from astroprism.grid import SPEED_OF_LIGHT, parse_grid
from astroprism.measures.features import LineTables, resolution_element, structure, width_kind
from astroprism.measures.lines import match_lines
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


class Twin:
    """Spectra of stars on a grid, at a resolution."""

    def __init__(self, grid, resolution):
        self.wavelength = parse_grid(grid).wavelength
        self._make = Synthesiser(self.wavelength, resolution=resolution, seed=3)
        self.tables = LineTables(self.wavelength, SPEED_OF_LIGHT / resolution, "given")

    def flux(self, **changed):
        values = {name: np.array([value]) for name, value in {**BASE, **changed}.items()}
        return self._make.noiseless(values)[0].astype(np.float64)

    def derivative(self, name, step):
        rise = self.flux(**{name: BASE[name] + step}) - self.flux(**{name: BASE[name] - step})
        return np.abs(rise) / (2 * step)


@pytest.fixture(scope="module")
def survey():
    return Twin("3900:5400:69kms", 1800)


@pytest.fixture(scope="module")
def sharp():
    return Twin("5150:5250:2kms", 30_000)


def coarse(width_of, *, seed=0, pixel=215.0, element=3000.0):
    """A near-infrared derivative of R 100 with structure that is smooth, and a band where `width_of` says."""
    wavelength = parse_grid(f"8000:25000:{pixel:g}kms").wavelength
    rng = np.random.default_rng(seed)
    rough = gaussian_filter1d(rng.normal(size=wavelength.size), 2 * element / pixel)
    size = 1 + 0.15 * rough / rough.std()
    for low, high in width_of:
        inside = ((wavelength > low) & (wavelength < high)).astype(float)
        size += 2 * gaussian_filter1d(inside, element / pixel / 2.355)
    return wavelength, size, LineTables(wavelength, element, "given")


def test_the_resolution_shows_in_the_narrowest_lines(survey, sharp):
    element, known_from = resolution_element(
        survey.wavelength, [survey.flux(teff=teff) for teff in (4500.0, 5500.0, 6500.0)]
    )
    assert element == pytest.approx(SPEED_OF_LIGHT / 1800, rel=0.2)
    assert known_from == "narrowest lines of the spectra"
    element, _ = resolution_element(sharp.wavelength, [sharp.flux()])
    assert element == pytest.approx(SPEED_OF_LIGHT / 30_000, rel=0.4)
    assert resolution_element(sharp.wavelength, [sharp.flux()], resolution=30_000)[1] == "stated resolution"
    flat = resolution_element(sharp.wavelength, [np.ones(sharp.wavelength.size)])
    assert flat == (pytest.approx(4.0, rel=1e-3), "two pixels")


def test_widths_have_words():
    assert width_kind(150.0, element=166.0) == "line"
    assert width_kind(900.0, element=166.0) == "broad line"
    assert width_kind(9_000.0, element=166.0) == "band"
    # 1,100 angstrom at 6500
    assert width_kind(50_000.0, element=166.0) == "smooth"
    assert width_kind(4_000.0, element=3_000.0) == "line"
    assert width_kind(14_000.0, element=3_000.0, span=0.1) == "smooth"


def test_a_band_of_r_100_is_named_and_atoms_are_not():
    """Methane and the overtones of CO in spectra of 215 km/s a pixel: no Cr I, no Fe I."""
    wavelength, size, tables = coarse([(11_000, 11_900), (15_900, 18_000), (21_500, 24_500)])
    found = match_lines(wavelength, size, element=tables.element)
    named = [one for one in found if one.named]
    assert [one.name for one in named] == ["stellar CH4"]
    assert named[0].kind == "bands"
    assert "Cr I" not in {one.name for one in found}
    assert "Cr I" in tables.coverage().never or "Cr I" not in {one.name for one in found}
    names = {one.name for one in tables.features(size, moved=["stellar CH4"])}
    assert names - {None}
    assert all(name is None or name.startswith(("stellar CH4", "CH4")) for name in names)


def test_bands_that_cannot_be_told_apart_are_named_together():
    """Steam of a star and of the air absorb at the same places: R 100 does not say which."""
    water = [(9_250, 9_500), (11_000, 11_600), (13_300, 15_100), (17_500, 20_000)]
    wavelength, size, tables = coarse(water, element=1000.0)
    named = [one for one in match_lines(wavelength, size, element=tables.element) if one.named]
    assert named[0].element == "H2O"
    assert named[0].frame in ("star", "sky")
    assert any(name.endswith("H2O") for name in named[0].confused_with)


@pytest.mark.parametrize(("element", "pixel"), [(3000.0, 215.0), (430.0, 215.0)])
def test_chance_names_little_where_elements_are_wide(element, pixel):
    """Structure at random: one in twenty may be named, of groups and of features."""
    claims = features = 0
    for seed in range(8):
        wavelength, _, tables = coarse([], element=element, pixel=pixel)
        rng = np.random.default_rng(seed)
        bumps = gaussian_filter1d(rng.standard_t(3, wavelength.size), element / pixel / 2.355)
        size = np.abs(bumps)
        claims += any(
            one.named for one in match_lines(wavelength, size, element=element, draws=300, seed=seed)
        )
        features += any(one.name for one in tables.features(size))
    assert claims <= 2
    assert features <= 2


def test_a_blend_of_r_1800_is_called_a_blend(survey):
    """Calcium's own line has its name; iron's crowd at 5271 is a blend, titanium II is never named."""
    found = match_lines(survey.wavelength, survey.derivative("alpha", 0.1), element=166.0)
    named = {one.name: one for one in found if one.named}
    assert {"Ca I", "Mg I"} <= set(named)
    assert named["Ca I"].top[0][1] == "Ca I 4227.9"
    assert named["Ca I"].inseparable > 0
    assert "Ti II" not in {one.name for one in found}
    coverage = survey.tables.coverage()
    assert "Ti II" in coverage.never
    assert coverage.inseparable > coverage.lines
    iron = survey.tables.features(survey.derivative("feh", 0.1), moved=["Fe I"])
    assert any(one.name and "blend near" in one.name for one in iron)


def test_broad_balmer_lines_are_named(survey):
    """What a hot star's temperature moves: H beta to H delta, far broader than an element."""
    wide = sum(
        np.exp(-0.5 * (np.log(survey.wavelength / centre) * SPEED_OF_LIGHT / 500.0) ** 2)
        for centre in (4102.89, 4341.68, 4862.68)
    )
    found = match_lines(survey.wavelength, 0.05 + wide, element=166.0)
    assert [one.name for one in found if one.named] == ["H I"]
    features = survey.tables.features(0.05 + wide, moved=["H I"])
    assert [one.kind for one in features] == ["broad line"] * 3
    assert {one.name for one in features} == {"H beta", "H gamma", "H delta"}
    assert {one.of for one in features} == {"H I"}


def test_a_slope_of_the_continuum_moves_no_line(survey):
    """Lines are dips of such a change, and what lies between them looks like bands: neither is moved."""
    flux = survey.flux(teff=8500.0)
    slope = flux * np.linspace(0.3, -0.1, flux.size)
    left = structure(survey.wavelength, [slope], [flux], element=166.0)[0]
    assert np.abs(left).max() < 0.01 * np.abs(slope).max()
    calcium = 0.1 * (survey.flux(activity=0.5) - survey.flux(activity=0.3))
    left = np.abs(structure(survey.wavelength, [slope + calcium], [flux], element=166.0)[0])
    first = match_lines(survey.wavelength, left, element=166.0)[0]
    assert (first.name, first.named) == ("Ca II", True)
    holes = np.where(np.arange(flux.size) % 50 < 3, 0.0, slope)
    assert (structure(survey.wavelength, [holes], [flux], element=166.0)[0][holes == 0] == 0).all()


def test_lines_of_r_30000_are_named_one_by_one(sharp):
    found = match_lines(sharp.wavelength, sharp.derivative("alpha", 0.05), element=10.0)
    first = next(one for one in found if one.named)
    assert all("blend" not in name for _, name, _ in first.top)
    assert sharp.tables.coverage().never == []


def test_shares_say_where_the_response_lies(survey):
    shares = survey.tables.shares(survey.derivative("activity", 0.1))
    assert shares.lines > 0.9
    assert shares.lines_pixels < 0.5
    flat = survey.tables.shares(np.ones(survey.wavelength.size))
    for part in ("lines", "bands", "air", "nowhere"):
        assert getattr(flat, part) == pytest.approx(getattr(flat, f"{part}_pixels"))
    assert survey.tables.shares(np.zeros(survey.wavelength.size)).nowhere == 0


def test_beyond_the_tables_nothing_is_named():
    wavelength = parse_grid("26000:30000:100kms").wavelength
    size = 1 + np.exp(-0.5 * (np.log(wavelength / 28_000) * SPEED_OF_LIGHT / 200.0) ** 2)
    tables = LineTables(wavelength, 200.0, "given")
    assert tables.coverage().outside == 1.0
    assert [one.name for one in tables.features(size)] == [None]
    assert match_lines(wavelength, size, element=200.0) == []
