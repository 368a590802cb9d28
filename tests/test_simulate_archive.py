"""The archive as numbers: what is drawn, what its tables say, and that the order of work changes nothing."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from astroprism.errors import AstroprismError, ConfigError
from astroprism.grid import SPEED_OF_LIGHT
from astroprism.simulate import (
    FACTORS,
    NATIVE,
    SimulationConfig,
    parse_distribution,
    populate,
    spectra,
    truth,
    write_archive,
)
from astroprism.simulate.batches import NOISE_FLOOR, add_cosmics, add_emission
from astroprism.simulate.population import visits_of

WINDOW = {"window": (5885.0, 5905.0), "step": 5.0, "format": "lamost"}


def config(**changes: object) -> SimulationConfig:
    return SimulationConfig(**(dict(WINDOW, spectra=40) | changes))  # type: ignore[arg-type]


def all_flux(wanted: SimulationConfig, *, batch: int = 256) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    batches = list(spectra(wanted, batch=batch))
    return tuple(
        np.concatenate([getattr(b, name) for b in batches]) for name in ("flux", "sigma", "noiseless")
    )


# --- distributions


@pytest.mark.parametrize(
    ("text", "mean", "low", "high"),
    [
        ("uniform:-10:30", 10.0, -10.0, 30.0),
        ("normal:5:2", 5.0, -np.inf, np.inf),
        ("normal:0:1:0:9", np.sqrt(2 / np.pi), 0.0, 9.0),
        ("loguniform:1:100", 99 / np.log(100), 1.0, 100.0),
        ("fixed:3", 3.0, 3.0, 3.0),
        ("choice:1:2:6", 3.0, 1.0, 6.0),
    ],
)
def test_distributions_have_their_mean_and_range(text: str, mean: float, low: float, high: float) -> None:
    distribution = parse_distribution(text)
    values = distribution.sample(np.random.default_rng(1), 40_000)
    assert abs(values.mean() - mean) <= 4 * values.std() / 200 + 1e-12
    assert distribution.support == (low, high)
    assert low <= values.min() <= values.max() <= high
    assert parse_distribution(distribution.text) == distribution


@pytest.mark.parametrize(
    "text",
    [
        "unifrom:0:1",
        "uniform:1:0",
        "uniform:1",
        "loguniform:0:1",
        "normal:0:-1",
        "normal:0:1:2",
        "fixed:x",
        "",
    ],
)
def test_distributions_refuse_nonsense(text: str) -> None:
    with pytest.raises(ConfigError, match="distribution"):
        parse_distribution(text)


def test_a_misspelt_distribution_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="uniform:lo:hi"):
        parse_distribution("unifrom:0:1")


# --- configuration


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factors": ("rv", "tef")}, "'teff'"),
        ({"nuisances": ("rv",)}, "at once"),
        ({"factors": ("rv", "rv")}, "twice"),
        ({"format": "adb"}, "'adp'"),
        ({"visits": "many"}, "none of"),
        ({"spectra": 0}, "at least 1"),
        ({"seed": 1.5}, "whole number"),
        ({"window": (5000.0, 4000.0)}, "low, high"),
        ({"window": (5000.0, 5000.1)}, "pixels"),
        ({"window": (1000.0, 2000.0)}, "lines"),
        ({"step": -1.0}, "positive"),
        ({"step_unit": "angstrom"}, "log wavelength"),
        ({"snr": (0.0, 10.0)}, "low <= high"),
        ({"snr": (10.0, 20.0), "distributions": {"snr": "fixed:50"}}, "give one"),
        ({"distributions": {"logg": "uniform:3:4"}}, "neither in factors"),
        ({"distributions": {"loggg": "fixed:4"}}, "'logg'"),
        ({"distributions": {"teff": "uniform:100:5000"}}, "from 3500 to 12000"),
        ({"oddities": {"sb3": 0.1}}, "'sb2'"),
        ({"oddities": {"sb2": 0.7, "cosmic": 0.7}}, "1.4"),
        ({"oddities": {"sb2": -0.1}}, "0 to 1"),
        ({"oddities": {"wronglabel": 1.0}, "spectra": 1}, "another star"),
        ({"stars": 3}, "stars = 3"),
        ({"visits": "uneven", "stars": 99}, "1 to 40"),
        ({"visits": "uneven", "concentration": (0.1, 0.5)}, "most visited"),
        ({"frame": "topocentric"}, "barycentric"),
        ({"format": "apstar", "window": None, "step": None}, "rest"),
        ({"format": "s1d", "step": 0.01, "step_unit": "angstrom", "window": (6000.0, 7500.0)}, "reach"),
        ({"format": "s1d"}, "uniform in wavelength"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**changes)


def test_unknown_keys_name_the_nearest_known() -> None:
    with pytest.raises(ConfigError, match="'resolution'"):
        SimulationConfig.from_mapping({"resolutoin": 5000})


def test_texts_of_the_command_line_are_understood() -> None:
    read = SimulationConfig.from_mapping(
        {
            "spectra": "40",
            "factors": "rv, teff",
            "window": "5885:5905",
            "step": "5",
            "snr": "40:300",
            "oddities": "sb2:0.1,cosmic:0.05",
            "distributions": "rv=uniform:-10:10",
            "format": "lamost",
        }
    )
    assert read == config(
        factors=("rv", "teff"),
        snr=(40, 300),
        oddities={"sb2": 0.1, "cosmic": 0.05},
        distributions={"rv": "uniform:-10:10"},
    )
    with pytest.raises(ConfigError, match="wrong kind"):
        SimulationConfig.from_mapping({"oddities": ["sb2"]})
    with pytest.raises(ConfigError, match="window 'a:b'"):
        SimulationConfig.from_mapping({"window": "a:b"})


def test_a_configuration_survives_json_and_toml(tmp_path) -> None:
    wanted = config(oddities={"sb2": 0.1}, distributions={"rv": "fixed:3"}, visits="uneven", stars=4)
    assert SimulationConfig.from_mapping(json.loads(json.dumps(wanted.to_mapping()))) == wanted
    path = tmp_path / "archive.toml"
    path.write_text(
        '[simulate]\nfactors = ["rv"]\nwindow = [5885, 5905]\nstep = 5\nformat = "lamost"\nspectra = 40\n'
    )
    assert SimulationConfig.from_file(path) == config(factors=("rv",))
    path.write_text("factors = [")
    with pytest.raises(ConfigError, match=r"archive\.toml"):
        SimulationConfig.from_file(path)


def test_every_format_has_the_pixels_of_its_observatory() -> None:
    harps = SimulationConfig(format="adp").sampling()
    assert harps.wavelength.size == 313_101
    assert harps.medium == "air"
    np.testing.assert_allclose(np.diff(harps.wavelength), 0.01, atol=1e-6)
    assert 1.05 < harps.vacuum[0] - harps.wavelength[0] < 1.10  # refraction of air at 3,780 angstrom
    lamost = SimulationConfig(format="lamost").sampling()
    np.testing.assert_allclose(np.diff(np.log10(lamost.wavelength)), 1e-4, rtol=1e-9)
    np.testing.assert_array_equal(lamost.wavelength, lamost.vacuum)
    mixed = SimulationConfig(format="adp", window=(5780, 5990), step=5).sampling()
    np.testing.assert_allclose(np.diff(np.log(mixed.vacuum)), np.log1p(5 / SPEED_OF_LIGHT), rtol=1e-7)
    assert mixed.resolution == pytest.approx(SPEED_OF_LIGHT / 10)  # two pixels, not the 115,000 of HARPS
    for name in NATIVE:
        factors = ("teff",) if name == "apstar" else ("rv",)
        assert SimulationConfig(format=name, factors=factors).sampling().wavelength.size > 3000


# --- what varies


def test_known_k_counts_what_varies_and_nothing_else_does() -> None:
    wanted = config(factors=("rv", "teff", "feh"), spectra=200)
    population = populate(wanted)
    assert wanted.known_k == 3
    varying = {name for name, values in population.parameters.items() if np.ptp(values) > 0}
    assert varying == {"rv", "teff", "feh", "berv"}
    assert np.ptp(population.snr) > 0
    assert config(factors=("rv",), nuisances=("airmass", "blaze", "snr")).known_k == 3
    assert config(factors=("rv", "teff"), distributions={"teff": "fixed:5000"}).known_k == 1


def test_every_factor_varies_when_on_and_keeps_its_value_when_off() -> None:
    for name, factor in FACTORS.items():
        on = populate(config(factors=(name,), spectra=300)).value(name)
        assert np.ptp(on) > 0, name
        low, high = factor.bounds
        assert low <= on.min() <= on.max() <= high
        other = "teff" if name != "teff" else "feh"
        off = populate(config(factors=(other,), spectra=20)).value(name)
        assert name == "snr" or set(off) == {factor.off}, name
    moved = populate(config(factors=("rv",), distributions={"teff": "fixed:4800"})).value("teff")
    assert set(moved) == {4800.0}


def test_values_follow_the_distribution_given() -> None:
    rv = truth(config(factors=("rv",), spectra=4000, distributions={"rv": "normal:20:5"}))["rv"]
    assert rv.mean() == pytest.approx(20, abs=0.4)
    assert rv.std() == pytest.approx(5, abs=0.3)


def test_a_factor_keeps_its_values_whatever_else_is_on() -> None:
    alone, together = truth(config(factors=("teff",))), truth(config(factors=("rv", "teff", "logg")))
    np.testing.assert_array_equal(alone["teff"], together["teff"])
    longer = truth(config(factors=("teff",), spectra=80))
    np.testing.assert_array_equal(alone["teff"], longer["teff"][:40])


def test_truth_has_its_columns_in_order() -> None:
    table = truth(config(factors=("rv", "telluric", "airmass"), nuisances=("blaze",)))
    first = ["spectrum_id", "file", "target", "rv", "telluric", "blaze", "snr", "berv", "airmass", "water"]
    assert list(table.columns) == [*first, "oddity", "frame", "medium", "ra", "dec", "mjd"]
    np.testing.assert_array_equal(table["telluric"], table["water"])
    assert set(table["oddity"]) == {""}
    assert table["spectrum_id"].is_unique
    assert table["file"].is_unique


def test_berv_is_the_motion_of_the_earth() -> None:
    import erfa  # what astropy computes with; its own coordinates take seconds to set up

    population = populate(config(spectra=300, format="adp", factors=("rv",)))
    barycentric = erfa.epv00(2_400_000.5, population.mjd)[1]["v"] * 149_597_870.7 / 86_400  # km/s
    ra, dec = np.radians(population.ra), np.radians(population.dec)
    towards = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    exact = np.sum(barycentric * towards, axis=1)
    assert np.max(np.abs(population.berv - exact)) < 0.05
    assert np.ptp(population.berv) > 55


def test_noise_is_as_stated() -> None:
    wanted = config(factors=("teff",), spectra=600, snr=(50, 50))
    flux, sigma, noiseless = all_flux(wanted)
    score = (flux - noiseless) / sigma
    assert abs(score.mean()) < 5 / np.sqrt(score.size)
    assert score.std() == pytest.approx(1, abs=5 / np.sqrt(2 * score.size))
    level = np.median(noiseless, axis=1)
    at_median = np.abs(noiseless / level[:, None] - 1) < 1e-3
    ratio = (noiseless / sigma)[at_median]
    np.testing.assert_allclose(ratio, 50, rtol=2e-3)
    # photon noise: the variance is linear in the flux, with a floor
    k = int(np.argmin(noiseless.min(axis=1)))
    expected = (level[k] / 50) ** 2 * (NOISE_FLOOR + (1 - NOISE_FLOOR) * noiseless[k] / level[k])
    np.testing.assert_allclose(sigma[k] ** 2, expected, rtol=1e-4)
    neighbours = np.corrcoef(score[:, :-1].ravel(), score[:, 1:].ravel())[0, 1]
    assert abs(neighbours) < 5 / np.sqrt(score.size)
    spectra_apart = np.corrcoef(score[:2])[0, 1]
    assert abs(spectra_apart) < 5 / np.sqrt(score.shape[1])


def test_every_value_that_can_be_requested_is_one_that_the_physics_takes() -> None:
    from astroprism.simulate.population import SYNTHESIS_KEYS
    from astroprism.simulate.star import LIMITS

    for name, factor in FACTORS.items():
        if name == "snr":
            continue
        low, high = LIMITS[SYNTHESIS_KEYS.get(name, name)]
        reserve = 90 if name == "rv" else 0  # orbits, companions, the telescope's own motion
        assert low + reserve <= factor.bounds[0] <= factor.off <= factor.bounds[1] <= high - reserve, name


# --- the same spectrum however it is made


def test_spectra_do_not_depend_on_the_batch_size() -> None:
    wanted = config(spectra=150, oddities={"sb2": 0.1, "emission": 0.1, "cosmic": 0.1})
    whole = all_flux(wanted)
    for batch in (1, 7, 128, 150):
        parts = list(spectra(wanted, batch=batch))
        assert all(part.rows.size == batch for part in parts[:-1])
        np.testing.assert_array_equal(np.concatenate([part.rows for part in parts]), np.arange(150))
        np.testing.assert_array_equal(np.concatenate([part.flux for part in parts]), whole[0])
    with pytest.raises(ConfigError, match="batch"):
        next(spectra(wanted, batch=0))


def test_a_seed_makes_the_same_archive_and_another_seed_another() -> None:
    first, again, other = (all_flux(config(spectra=4, seed=seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.any(np.all(np.isclose(first, other), axis=1))


def test_the_noise_of_a_spectrum_stays_in_a_longer_archive() -> None:
    short, long = all_flux(config(spectra=10)), all_flux(config(spectra=70))
    score = [(flux - noiseless) / sigma for flux, sigma, noiseless in (short, long)]
    np.testing.assert_allclose(score[0], score[1][:10], atol=2e-3)


# --- visits


def test_uneven_visits_reach_the_concentration_requested() -> None:
    for spectra_share, star_share in ((0.8, 0.05), (0.8, 0.2), (0.5, 0.05)):
        wanted = config(spectra=5000, visits="uneven", stars=250, concentration=(spectra_share, star_share))
        counts = np.sort(truth(wanted)["target"].value_counts().to_numpy())[::-1]
        assert counts.sum() == 5000
        assert counts.size == 250
        assert counts[: round(star_share * 250)].sum() / 5000 == pytest.approx(spectra_share, abs=0.02)
    with pytest.raises(ConfigError, match="lower `stars`"):
        visits_of(config(spectra=100, visits="uneven", stars=90, concentration=(0.9, 0.05)))


def test_visits_share_what_belongs_to_the_star_and_differ_in_the_rest() -> None:
    wanted = config(
        spectra=600,
        visits="uneven",
        stars=30,
        factors=("rv", "teff", "feh", "telluric", "activity"),
        nuisances=("airmass",),
    )
    table = truth(wanted)
    groups = table.groupby("target")
    assert (groups[["teff", "feh", "ra", "dec"]].nunique() == 1).all(axis=None)
    many = groups.filter(lambda group: len(group) > 20).groupby("target")
    assert (many[["telluric", "airmass", "berv", "mjd"]].nunique() > 10).all(axis=None)
    spread = many["rv"].std()
    assert ((spread > 0.001) & (spread < 40)).all()
    assert spread.median() < 0.02  # most stars are single
    assert (many["activity"].std() < 0.12).all()
    assert table["activity"].std() > 0.2


def test_one_visit_each_makes_as_many_stars_as_spectra_well_apart() -> None:
    from scipy.spatial import cKDTree

    table = truth(config(spectra=3000))
    assert table["target"].nunique() == 3000
    ra, dec = np.radians(table["ra"]), np.radians(table["dec"])
    place = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    nearest = cKDTree(place).query(place, k=2)[0][:, 1]
    assert np.degrees(nearest.min()) * 3600 > 60


# --- oddities


def test_oddities_have_the_share_requested() -> None:
    table = truth(config(spectra=1000, oddities={"sb2": 0.03, "cosmic": 0.1, "wronglabel": 0.005}))
    assert table["oddity"].value_counts().to_dict() == {"": 865, "cosmic": 100, "sb2": 30, "wronglabel": 5}
    assert table.loc[table["oddity"] == "sb2", "companion_rv"].notna().all()
    assert table.loc[table["oddity"] != "sb2", "companion_rv"].isna().all()


def test_a_double_star_holds_both_spectra() -> None:
    plain = config(spectra=20, factors=("rv",), seed=3)
    double = dataclasses.replace(plain, oddities={"sb2": 0.5})
    table, odd = truth(double), np.flatnonzero(truth(double)["oddity"] == "sb2")
    single, both = all_flux(plain)[2], all_flux(double)[2]
    np.testing.assert_array_equal(np.delete(both, odd, axis=0), np.delete(single, odd, axis=0))
    offset = np.abs(table["companion_rv"] - table["rv"])[odd]
    assert offset.min() > 25
    assert table["companion_ratio"][odd].between(0.35, 0.95).all()
    for row in odd:
        assert np.abs(both[row] - single[row]).max() > 0.03
        assert np.median(both[row]) == pytest.approx(np.median(single[row]), rel=0.25)


def test_emission_lines_stand_where_the_star_has_them() -> None:
    wavelength = config(window=(6500, 6620), step=2.0).sampling().wavelength
    flux = np.ones(wavelength.size, dtype=np.float32)
    add_emission(flux, wavelength, rv=100.0, resolution=5000, rng=np.random.default_rng(0))
    peak = wavelength[np.argmax(flux)]
    assert peak == pytest.approx(6564.61 * (1 + 100 / SPEED_OF_LIGHT), abs=0.1)
    assert np.sum(flux > 1.2) >= 4
    elsewhere = np.ones(400, dtype=np.float32)
    add_emission(elsewhere, np.linspace(5000, 5040, 400), rv=0, resolution=5000, rng=np.random.default_rng(0))
    assert elsewhere.max() > 1.5


def test_cosmic_rays_are_narrow_strong_and_keep_out_of_dead_pixels() -> None:
    sigma = np.full(3000, 0.01, dtype=np.float32)
    sigma[1000:1400] = 0
    widths = []
    for seed in range(30):
        flux = np.ones(3000, dtype=np.float32)
        flux[1000:1400] = 0
        hits = add_cosmics(flux, sigma, rng=np.random.default_rng(seed))
        assert 4 <= hits < 12
        assert not flux[1000:1400].any()
        hit = flux > 1.05
        starts = np.flatnonzero(np.diff(np.concatenate(([0], hit, [0])).astype(int)))
        widths.extend(starts[1::2] - starts[::2])
        assert flux.max() > 1.29
    assert min(widths) >= 1
    assert np.median(widths) <= 4


def test_wrong_labels_are_those_of_another_star_and_right_ones_are_nearly_true() -> None:
    table = truth(config(spectra=400, factors=("teff", "feh"), oddities={"wronglabel": 0.05}))
    wrong = table["oddity"] == "wronglabel"
    error = (table["label_teff"] - table["teff"]).abs()
    assert wrong.sum() == 20
    assert error[~wrong].max() < 300
    assert 20 < error[~wrong].std() < 60
    assert error[wrong].median() > 300
    for row in np.flatnonzero(wrong):  # teff and feh of one and the same other star
        teff, feh = table.loc[row, ["label_teff", "label_feh"]]
        near = (table["teff"] - teff).abs().lt(250) & (table["feh"] - feh).abs().lt(0.25)
        assert near.drop(index=row).any()


# --- the folder


def test_an_archive_goes_on_where_it_was_stopped(tmp_path) -> None:
    wanted = config(spectra=9)
    path = write_archive(tmp_path / "a", wanted)
    assert path.name == "truth.csv"
    table = pd.read_csv(path, keep_default_na=False, dtype={"spectrum_id": str})
    before = {file: (path.parent / file).read_bytes() for file in table["file"]}
    (path.parent / table["file"][3]).unlink()
    kept = (path.parent / table["file"][0]).stat().st_mtime_ns
    counts: list[tuple[int, int]] = []
    write_archive(tmp_path / "a", wanted, progress=lambda event: counts.append((event.done, event.total)))
    assert counts == [(8, 9), (9, 9)]
    assert {file: (path.parent / file).read_bytes() for file in table["file"]} == before
    assert (path.parent / table["file"][0]).stat().st_mtime_ns == kept
    expected = truth(wanted)
    assert list(table.columns) == list(expected.columns)
    np.testing.assert_array_equal(table["teff"], expected["teff"])
    np.testing.assert_array_equal(table["mjd"], expected["mjd"])
    assert not list(path.parent.rglob("*.tmp"))
    saved = json.loads((path.parent / "simulation.json").read_text())
    assert saved["known_k"] == wanted.known_k
    assert SimulationConfig.from_mapping(saved["config"]) == wanted


def test_two_workers_write_the_same_bytes_as_one(tmp_path) -> None:
    wanted = config(spectra=140)
    one, two = (write_archive(tmp_path / str(n), wanted, workers=n).parent for n in (1, 2))
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert len(names) == 142
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)


def test_another_archive_in_the_same_folder_is_refused(tmp_path) -> None:
    write_archive(tmp_path / "a", config(spectra=2))
    with pytest.raises(ConfigError, match=r"seed 0 \(now 5\)"):
        write_archive(tmp_path / "a", config(spectra=2, seed=5))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "truth.csv").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        write_archive(tmp_path / "b", config(spectra=2))
    assert (tmp_path / "b" / "truth.csv").read_text() == "mine"
    (tmp_path / "a" / "simulation.json").write_text("{")
    with pytest.raises(ConfigError, match="damaged"):
        write_archive(tmp_path / "a", config(spectra=2))
    (tmp_path / "file").write_text("")
    with pytest.raises(AstroprismError, match="cannot be written"):
        write_archive(tmp_path / "file", config(spectra=2))
