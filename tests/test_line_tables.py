"""The tables of lines and bands agree with physics, and places are named as a spectrum shows them."""

import numpy as np
import pytest

from astroprism.grid import air_to_vacuum, parse_grid, vacuum_to_air
from astroprism.measures.line_tables import (
    HIGH,
    LOW,
    atomic_groups,
    band_groups,
    band_widths,
    complete_from,
    in_sky_bands,
    is_of,
    known_name,
    near_known,
    place_name,
    separable,
    telluric_groups,
)
from astroprism.simulate.linelist import load_lines, read_lines

RYDBERG = 109_677.5834  # cm-1, of hydrogen


def lines_of(species):
    return next(one for one in atomic_groups() if one.name == species)


def band(label):
    return next(
        (one.wavelength[i], one.high[i])
        for one in band_groups()
        for i, name in enumerate(one.labels)
        if name == label
    )


def test_hydrogen_lies_where_rydberg_puts_it():
    table = np.concatenate([load_lines().wavelength, read_lines("lines_infrared.csv").wavelength])
    species = np.concatenate([load_lines().species, read_lines("lines_infrared.csv").species])
    series = {2: range(3, 17), 3: range(4, 17), 4: range(7, 21)}
    for low, uppers in series.items():
        for up in uppers:
            expected = 1e8 / (RYDBERG * (1 / low**2 - 1 / up**2))
            if expected > 3700:
                nearest = np.abs(table[species == "H I"] - expected).min()
                assert nearest < 0.3, (low, up, expected)


@pytest.mark.parametrize(
    ("species", "lower", "upper"),
    [
        # fine structure of the alkalis: both lines of a doublet share a level (cm-1, NIST)
        ("Na I", (16956.17, 16973.37), (25739.999,)),
        ("Na I", (25739.999,), (30266.99, 30272.58)),
        ("K I", (12985.19, 13042.90), (21026.55,)),
        ("Al I", (25347.756,), (32949.80, 32965.64)),
        ("Mg I", (41197.40,), (47841.12, 47844.41, 47851.16)),
    ],
)
def test_multiplets_are_differences_of_levels(species, lower, upper):
    table = read_lines("lines_infrared.csv")
    mine = table.wavelength[table.species == species]
    for low in lower:
        for up in upper:
            assert np.abs(mine - 1e8 / (up - low)).min() < 0.02


@pytest.mark.parametrize(
    ("line", "air"),
    [
        (("Ca I", 22657.36), 22651.18),
        (("Fe I", 11886.10), 11882.85),
        (("Si I", 10588.04), 10585.14),
        (("Ti I", 21788.88), 21782.94),
    ],
)
def test_the_tables_hold_vacuum_wavelengths(line, air):
    """Where the literature gives air: the difference is 3 to 6 angstrom, which no velocity hides."""
    species, vacuum = line
    nearest = lines_of(species).wavelength[np.abs(lines_of(species).wavelength - vacuum).argmin()]
    assert nearest == pytest.approx(float(air_to_vacuum(air)), abs=0.05)
    assert float(vacuum_to_air(nearest)) == pytest.approx(air, abs=0.05)


# vibrational constants of both states (cm-1; Huber & Herzberg 1979): omega, omega x
VIBRATION = {
    "TiO gamma": ((867.8, 3.9), (1009.0, 4.5), {(0, 0): 7056, (1, 0): 6653, (0, 1): 7591, (0, 2): 8208}),
    "TiO alpha": ((838.3, 4.8), (1009.0, 4.5), {(0, 0): 5168, (1, 0): 4956, (2, 0): 4763, (0, 1): 5450}),
    "VO B-X": ((901.0, 5.0), (1011.3, 4.9), {(0, 0): 7853, (0, 1): 8523}),
    "CN violet": ((2163.9, 20.2), (2068.6, 13.1), {(0, 0): 3884, (0, 1): 4217}),
    "CN red": ((1812.6, 12.6), (2068.6, 13.1), {(0, 0): 10928, (1, 0): 9143, (2, 0): 7875, (0, 1): 14070}),
    "C2 Swan": ((1788.2, 16.4), (1641.4, 11.7), {(0, 0): 5167, (1, 0): 4738, (0, 1): 5637, (2, 0): 4384}),
}


@pytest.mark.parametrize("system", VIBRATION)
def test_band_heads_follow_the_vibration(system):
    """Heads of one system are apart by the vibrational quanta of its two states, to .25 %."""
    above, below, heads = VIBRATION[system]

    def term(constants, v):
        return constants[0] * (v + 0.5) - constants[1] * (v + 0.5) ** 2

    labels = [label for group in band_groups() for label in group.labels]
    known = [int(label.split()[-1]) for label in labels if label.startswith(f"{system} ")]
    origin = 1e8 / heads[0, 0] - term(above, 0) + term(below, 0)
    for (up, low), head in heads.items():
        assert min(abs(one - head) for one in known) <= 1
        expected = 1e8 / (origin + term(above, up) - term(below, low))
        assert head == pytest.approx(expected, rel=2.5e-3)


def test_overtones_of_carbon_monoxide():
    """Origins of v to v + 2 move by 4 omega x; heads with them, within the shift of the head itself."""
    heads = [band(f"CO first overtone {place}")[0] for place in (22935, 23226, 23525, 23830, 24142)]
    steps = -np.diff(1e8 / np.array(heads))
    assert steps == pytest.approx(4 * 13.29, abs=2)


def test_bands_are_whole():
    for group in band_groups():
        assert (group.high > group.wavelength).all()
        assert (group.wavelength >= LOW).all()
        assert (group.high <= HIGH).all()
        assert len(group.labels) == len(group.wavelength)
    names = {one.name for one in band_groups()}
    assert {"TiO", "VO", "CaH", "MgH", "CH", "CN", "C2", "FeH", "CO", "stellar H2O", "stellar CH4"} <= names
    assert {"O2", "H2O", "CO2", "CH4"} == {one.name for one in band_groups() if one.frame == "sky"}
    assert all(width > 0 for width in band_widths().values())
    # the air's bands cover the lines that are computed from constants of the molecule
    oxygen = next(one for one in telluric_groups() if one.name == "O2")
    strong = oxygen.wavelength[oxygen.weight > 0.5]
    low, high = band("O2 A")
    inside = (strong > 7590) & (strong < 7720)
    assert inside.sum() > 20
    assert ((strong[inside] >= low) & (strong[inside] <= high)).all()


def test_what_separates_is_named_and_what_does_not_is_a_blend():
    star = atomic_groups()
    at = float(lines_of("Fe I").wavelength[np.abs(lines_of("Fe I").wavelength - 5271.0).argmin()])
    assert place_name(at, star, element=5.0) == f"Fe I {at:.1f}"
    assert place_name(at, star, element=166.0).startswith("Fe I blend near 527")
    assert place_name(at, star, element=3000.0) is None
    pair = [one for one in star if one.name in ("Fe I", "Ca I")]
    assert place_name(6123.9, star, element=5.0) == "Ca I 6123.9"
    names = {place_name(wave, pair, element=250.0) for wave in np.arange(6100.0, 6200.0, 1.0)}
    assert any(name is not None and " / " in name and "blend near" in name for name in names)


def test_lines_known_to_dominate_are_named_at_any_resolution():
    assert known_name(5891.6, element=10.0) == "Na D2"
    assert known_name(5894.0, element=400.0) == "Na D"
    assert known_name(5178.0, element=2000.0) == "Mg b"
    assert known_name(8545.0, element=5000.0) == "Ca II triplet"
    assert known_name(6564.6, element=3000.0) == "H alpha"
    assert known_name(6600.0, element=300.0) is None
    assert is_of("H beta", "H I")
    assert is_of("Na D", "Na I")
    assert is_of("Ca II triplet", "Ca II")
    assert not is_of("Ca II triplet", "Ca I")
    assert not is_of("Ca I 4227.9", "Ca II")


def test_few_atoms_are_left_at_215_kms_a_pixel():
    """Of a grid with wide pixels: species whose lines all crowd are not named at all."""
    narrow = {one.name: len(one.wavelength) for one in separable(atomic_groups(), element=5.0)}
    wide = {one.name: len(one.wavelength) for one in separable(atomic_groups(), element=3000.0)}
    assert {"Fe I", "Ca I", "Cr I", "Ti I", "Ca II"} <= set(narrow)
    assert "Cr I" not in wide
    assert "Ti II" not in wide
    assert {"H I", "Ca II", "Na I", "Mg I"} <= set(wide)
    assert sum(wide.values()) < 0.1 * sum(narrow.values())


def test_equivalent_widths_are_those_of_the_sun():
    """To a factor of 2.5 those measured by Moore, Minnaert & Houtgast (1966), milliangstrom."""
    for species, wavelength, measured in (
        ("Fe I", 6254.28, 120),
        ("Ni I", 6769.64, 75),
        ("Ca I", 6123.91, 220),
        ("Ca I", 4227.92, 1476),
        ("Fe I", 4384.78, 1008),
        ("Si I", 5709.98, 100),
    ):
        group = lines_of(species)
        width = group.strength[np.abs(group.wavelength - wavelength).argmin()]
        assert 0.4 < width / measured < 2.5, (species, wavelength, width)


def test_completeness_and_chance():
    assert 20 < complete_from(5500.0, 6500.0) < 200
    assert complete_from(24_000.0, 24_100.0) is None
    assert near_known(6566.0, reach=200.0, window=(3700.0, 9000.0)) == "H alpha"
    assert near_known(6566.0, reach=4000.0, window=(3700.0, 9000.0)) is None
    assert near_known(7000.0, reach=200.0, window=(3700.0, 9000.0)) is None
    assert parse_grid("3700:9000:69kms").wavelength[0] >= LOW


def test_bands_of_the_sky_have_room_to_move():
    wavelength = np.array([5000.0, 6564.6, 6866.0, 6870.0, 7620.0, 8000.0, 8542.0])
    assert in_sky_bands(wavelength).tolist() == [False, False, True, True, True, False, False]
