"""The real sky: what it adds is as large as the truth says, and other archives are as they were."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from astroprism.archive import read
from astroprism.errors import ConfigError
from astroprism.grid import SPEED_OF_LIGHT, air_to_vacuum
from astroprism.simulate import SimulationConfig, populate, spectra, truth, write_archive
from astroprism.simulate.batches import Maker
from astroprism.simulate.instrument import dust, make_curves
from astroprism.simulate.orbits import true_anomaly
from astroprism.simulate.reality import KINDS, Reality

SMALL = {"format": "lamost", "window": (5500.0, 6000.0), "spectra": 64, "factors": ("rv", "teff", "feh")}
PARTS = [entry.name for entry in dataclasses.fields(Reality)]


def config(reality: Any = True, **changes: Any) -> SimulationConfig:
    return SimulationConfig(**(SMALL | {"reality": reality} | changes))


def whole(wanted: SimulationConfig, name: str = "flux", *, batch: int = 256) -> np.ndarray:
    return np.concatenate([getattr(part, name) for part in spectra(wanted, batch=batch)])


def only(*parts: str, **sizes: Any) -> Reality:
    return dataclasses.replace(Reality.only(parts), **sizes)


# --- archives without it


def test_an_archive_without_a_real_sky_knows_nothing_of_it(tmp_path: Path) -> None:
    clean = config(None, spectra=3, seed=5)
    table = truth(clean)
    assert list(table.columns)[-4:] == ["medium", "ra", "dec", "mjd"]
    np.testing.assert_allclose(table["rv"], [-140.865529, -43.833817, 131.407969], rtol=1e-6)
    np.testing.assert_allclose(whole(clean)[:, 200], CLEAN_FLUX, rtol=2e-5)
    write_archive(tmp_path, clean)
    saved = json.loads((tmp_path / "simulation.json").read_text())
    assert not {"reality", "berv", "orbit", "nights"} & set(saved["config"])
    assert "instrument_causes" not in saved


# as the version before the real sky made them
CLEAN_FLUX = [0.97448868, 0.94293433, 0.93604201]


# --- settings


def test_parts_are_chosen_by_name_and_size() -> None:
    lsf = Reality.only(["lsf"])
    assert lsf.lsf == Reality().lsf
    assert (lsf.sky, lsf.errors, lsf.visits, lsf.snr) == (0.0, (1.0, 1.0), 1, "")
    assert Reality.parse("lsf, sky") == Reality.only(["lsf", "sky"])
    assert Reality.parse(True) == Reality()
    assert Reality.parse({"lsf": 0.1}).lsf == 0.1
    assert Reality.parse(False) is None
    assert lsf.causes == ("lsf",)
    assert Reality().causes == ("lsf", "pattern", "sky")
    assert config().instrument_causes == ("lsf", "pattern", "sky")
    assert config().known_k == 3


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("lfs", "did you mean 'lsf'"),
        ({"lsff": 1}, "did you mean 'lsf'"),
        ({"lsf": 0.9}, "0 to 0.25"),
        ({"errors": (3, 1)}, "low <= high"),
        ({"errors": (0, 1)}, "above 0"),
        ({"visits": 1.5}, "whole number"),
        ({"correlation": (1, 99)}, "at most 10"),
        ({"snr": "uniform:3"}, "distribution"),
        ({"lsf": "wide"}, "wrong kind"),
        (3, "table of settings"),
    ],
)
def test_what_a_real_sky_cannot_be_is_refused(value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(value)


def test_a_configuration_with_a_real_sky_survives_json() -> None:
    wanted = config({"lsf": 0.1}, visits="series", nights=3, orbit=(10, 5, 0.2), berv="hidden")
    assert SimulationConfig.from_mapping(json.loads(json.dumps(wanted.to_mapping()))) == wanted


def test_a_file_of_settings_holds_a_real_sky(tmp_path: Path) -> None:
    path = tmp_path / "archive.toml"
    path.write_text('[simulate]\nsurvey = "low"\n[simulate.reality]\nresponse = 0.05\nerrors = [0.8, 1.5]\n')
    read_back = SimulationConfig.from_file(path)
    assert read_back.format == "lamost"
    assert read_back.reality == Reality(response=0.05, errors=(0.8, 1.5))
    path.write_text('reality = "lsf,sky"\n')
    assert SimulationConfig.from_file(path).instrument_causes == ("lsf", "sky")


def test_surveys_have_names_and_their_settings_can_be_changed() -> None:
    low = SimulationConfig.from_mapping({"survey": "low", "spectra": 10, "reality": True})
    assert (low.spectra, low.format, low.known_k) == (10, "lamost", 5)
    assert low.sampling().resolution == 1800
    high = SimulationConfig.from_mapping({"survey": "high"})
    assert high.sampling().resolution == 30_000
    assert high.pixel == (5.0, "kms")
    assert SimulationConfig.from_mapping({"survey": "band"}).berv == "hidden"
    with pytest.raises(ConfigError, match="low, high, series, band"):
        SimulationConfig.from_mapping({"survey": "middle"})


# --- the same spectrum however it is made


def test_a_real_spectrum_does_not_depend_on_the_batch_nor_on_the_run() -> None:
    wanted = config(oddities={"cosmic": 0.1, "emission": 0.1})
    flux, sigma = whole(wanted), whole(wanted, "sigma")
    np.testing.assert_array_equal(whole(wanted, batch=7), flux)
    np.testing.assert_array_equal(whole(wanted, "sigma", batch=7), sigma)
    assert np.isfinite(flux).all()
    assert (sigma >= 0).all()
    assert 0.9 < (sigma > 0).mean() < 1
    assert not np.array_equal(whole(config(seed=1)), flux)


def test_the_same_seed_writes_the_same_real_archive(tmp_path: Path) -> None:
    wanted = config(spectra=70, window=(5880.0, 5960.0))
    one, two = (write_archive(tmp_path / str(n), wanted).parent for n in (1, 2))
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert len(names) == 72
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)


@pytest.mark.parametrize("part", PARTS)
def test_each_part_can_be_alone(part: str) -> None:
    wanted = config(part, spectra=16)
    alone = truth(wanted)
    assert np.isfinite(whole(wanted)).all()
    flat = {"lsf": 1.0, "sky": 0.0, "pattern": 0.0, "errors": 1.0, "correlation": 0.0, "reddening": 0.0}
    for column, off in flat.items():
        if column != part:
            np.testing.assert_allclose(alone[column], off, atol=1e-12, err_msg=column)
    if part not in ("response", "drift"):
        assert not alone["response_rms"].any()


def test_a_cause_can_be_changed_alone() -> None:
    wanted = config(spectra=16)
    people = populate(wanted)
    assert people.instrument is not None
    maker = Maker(wanted, population=people)
    calm = dataclasses.replace(people, instrument=dataclasses.replace(people.instrument, sky=np.zeros(16)))
    changed = maker.of(calm).block(0).noiseless
    np.testing.assert_array_equal(changed, Maker(wanted, population=calm).block(0).noiseless)
    assert not np.array_equal(changed, maker.block(0).noiseless)


# --- what it adds is what the truth says


def test_the_truth_covers_the_ranges_of_a_real_survey() -> None:
    table = truth(config(spectra=3000))
    assert table["errors"].between(0.5, 3).all()
    assert table["errors"].max() > 2.5
    assert table["errors"].min() < 0.7
    assert table["snr"].between(5, 1600).all()
    assert table["snr"].max() > 600
    visits = table["target"].value_counts()
    assert visits.max() <= 30
    assert visits.max() > 15
    assert 0.4 < (visits == 1).mean() < 0.8
    assert table["lsf"].between(0.85, 1.15).all()
    assert table["lsf"].std() > 0.05
    assert table["correlation"].between(1, 3).all()
    assert table["spectrograph"].nunique() == 16
    knots = table.filter(like="response_").drop(columns="response_rms")
    assert 0.05 < knots.to_numpy().std() < 0.2
    assert 0.05 < (table.drop_duplicates("target")["orbit_amplitude"] > 0).mean() < 0.15
    assert 0 < (table["oddity"] == "sb2").mean() < 0.04
    assert not table.duplicated(["exposure", "fibre"]).any()
    one = table.groupby("exposure")
    assert (one["seeing"].nunique() == 1).all()
    assert (one["sky_fibres"].nunique() == 1).all()
    assert (table["sky"] * table["snr"]).corr(table["sky_fibres"]) > 0.7
    assert (one["mjd"].max() - one["mjd"].min()).max() < 1e-5
    assert table["mjd"].is_unique
    assert table["file"].is_unique


def test_noise_is_as_true_and_not_as_stated() -> None:
    wanted = config(Reality(cosmics=0, flagged=0, error_curve=0, spectrographs=4), window=(5000.0, 7000.0))
    maker, table = Maker(wanted), truth(wanted)
    batch = maker.block(0)
    score = (batch.flux - batch.noiseless) / batch.true_sigma
    assert score.std() == pytest.approx(1, abs=0.02)
    ratio = np.median(batch.true_sigma / batch.sigma, axis=1)
    expected = table["errors"] * np.hypot(1, wanted.reality.scatter * table["snr"])
    np.testing.assert_allclose(ratio, expected, rtol=0.25)  # throughput moves the photons' share
    faint = table["snr"].to_numpy() < 40
    np.testing.assert_allclose(ratio[faint], table["errors"][faint], rtol=0.03)
    # half of the variance is correlated as exp(-(d / length)^2)
    lag = (score[:, 1:] * score[:, :-1]).mean(axis=1)
    expected = 0.5 * np.exp(-((1 / table["correlation"]) ** 2))
    assert np.abs(lag - expected).max() < 0.2
    assert np.mean(lag - expected) == pytest.approx(0, abs=0.02)


def test_the_response_is_that_of_the_truth() -> None:
    real = only("response", "drift", spectrographs=3)
    wanted, plain = config(real, spectra=24), config(only(spectrographs=3), spectra=24)
    factor = whole(wanted, "noiseless") / whole(plain, "noiseless")
    table, curves = truth(wanted), make_curves(real, wanted.sampling(), seed=0)
    knots = table.filter(like="response_").drop(columns="response_rms").to_numpy()
    np.testing.assert_allclose(np.log(factor), knots @ curves.spline, atol=2e-4)
    means = pd.DataFrame(knots).groupby(table["spectrograph"].to_numpy()).mean()
    assert means.to_numpy().std() > 0.03


def test_dust_reddens_as_the_law_says() -> None:
    visual, blue = dust(np.array([1e4 / 1.82, 4400.0]))
    assert visual == pytest.approx(3.1, abs=1e-6)
    assert blue - visual == pytest.approx(1.0, abs=0.06)  # E(B-V) of 1
    assert np.all(np.diff(dust(np.linspace(3700, 10_400, 400))) < 0)


def test_sky_residuals_stay_where_the_sky_is() -> None:
    window = {"window": (5500.0, 5650.0), "factors": ("teff",), "spectra": 40}
    wanted, plain = config(only("sky", sky=80.0), **window), config(only(), **window)
    sky, table = whole(wanted, "noiseless") - whole(plain, "noiseless"), truth(wanted)
    wavelength = wanted.sampling().wavelength
    places = wavelength[np.argmax(np.abs(sky), axis=1)]
    at = air_to_vacuum(np.array([5577.338]))[0] * (1 + table["berv"] / SPEED_OF_LIGHT)
    assert np.abs(places / at - 1).max() * SPEED_OF_LIGHT < 40  # half a pixel
    level = np.median(whole(plain, "noiseless"), axis=1)
    peak = sky[np.arange(40), np.argmax(np.abs(sky), axis=1)] / level
    np.testing.assert_allclose(peak, table["sky"], rtol=0.15)


def test_the_profile_is_as_wide_as_the_truth_says() -> None:
    still = {"factors": ("teff",), "distributions": {"teff": "fixed:5600"}, "spectra": 60}
    wanted, plain = config(only("lsf", "wings"), **still), config(only(), **still)
    lines, table = whole(wanted, "noiseless"), truth(wanted)
    np.testing.assert_array_equal(truth(plain)["lsf"], 1)
    depth = lines.max(axis=1) - lines.min(axis=1)
    assert np.corrcoef(depth, table["lsf"])[0, 1] < -0.99
    np.testing.assert_allclose(lines.sum(axis=1), whole(plain, "noiseless").sum(axis=1), rtol=1e-3)
    ends = table["fibre"].sub(125.5).abs() > 110
    assert table["lsf"][ends].mean() > table["lsf"][~ends].mean() + 0.05


def test_the_pattern_belongs_to_the_spectrograph() -> None:
    wanted = config(only("pattern", "spectrographs"), spectra=200)
    table = truth(wanted)
    groups = table.groupby("spectrograph")["pattern"]
    assert groups.std().max() < 0.4 * groups.mean().std()
    factor = whole(wanted, "noiseless") / whole(config(only("spectrographs"), spectra=200), "noiseless")
    np.testing.assert_allclose((factor - 1).std(axis=1), table["pattern"].abs(), rtol=0.02, atol=1e-6)


def test_hits_are_as_many_as_the_truth_says_and_in_no_error() -> None:
    wanted, plain = config(only("cosmics", cosmics=3.0)), config(only())
    hit = whole(wanted) - whole(plain)
    assert (hit >= 0).all()
    runs = (np.diff((hit > 0).astype(int), axis=1, prepend=0) == 1).sum(axis=1)
    counted = truth(wanted)["cosmics"]
    assert (runs <= counted).all()
    assert runs.sum() > 0.9 * counted.sum()
    np.testing.assert_array_equal(whole(wanted, "sigma"), whole(plain, "sigma"))


def test_flagged_stretches_have_no_error_in_the_file(tmp_path: Path) -> None:
    wanted = config(only("flagged"), spectra=12)
    table = pd.read_csv(write_archive(tmp_path, wanted))
    for file, stretches in zip(table["file"], table["flagged"], strict=True):
        found = next(iter(read(tmp_path / file)))
        assert not isinstance(found, Exception)
        bad = np.zeros(found.flux.size, dtype=bool) if found.good is None else ~found.good
        bad[-9:] = False  # zeros at the end, as the survey has them
        assert (np.diff(bad.astype(int), prepend=0) == 1).sum() <= stretches
        assert bad.any() == (stretches > 0) or stretches <= 1


# --- the stars


def test_stars_are_those_of_the_sky() -> None:
    wanted = config(only("population"), spectra=4000, factors=("rv", "teff", "feh", "logg", "vsini", "alpha"))
    table = truth(wanted)
    assert set(table["kind"]) == set(KINDS)
    kind = table.groupby("kind")
    assert kind["logg"].median()["giant"] < 3 < 4 < kind["logg"].median()["dwarf"]
    assert kind["feh"].median()["hot"] > kind["feh"].median()["dwarf"] > kind["feh"].median()["old"] + 0.8
    assert kind["rv"].std()["old"] > 3 * kind["rv"].std()["dwarf"]
    giants = table[table["kind"] == "giant"]
    assert np.corrcoef(giants["teff"], giants["logg"])[0, 1] > 0.6
    dwarfs = table[table["kind"] == "dwarf"]
    assert np.corrcoef(dwarfs["teff"], dwarfs["logg"])[0, 1] < -0.5
    assert (
        table.loc[table["teff"] > 7500, "vsini"].median()
        > 20
        > table.loc[table["teff"] < 5500, "vsini"].quantile(0.99)
    )
    assert table["alpha"].corr(table["feh"]) < -0.5


def test_distributions_that_are_given_are_kept() -> None:
    wanted = config(only("population"), spectra=300, distributions={"teff": "uniform:5000:5100"})
    table = truth(wanted)
    assert table["teff"].between(5000, 5100).all()
    assert set(populate(wanted).value("logg")) == {4.4}  # does not vary
    assert "giant" not in set(table["kind"])  # what has no surface gravity of its own is none


def test_binaries_move_and_their_orbit_is_told() -> None:
    real = only("binaries", "visits", binaries=1.0)
    table = truth(config(real, spectra=300, distributions={"rv": "fixed:0"}))
    phase = (
        2
        * np.pi
        * (
            (table["mjd"] + table["exposure_time"] / 172_800 - table["orbit_periastron"])
            / table["orbit_period"]
            % 1
        )
    )
    anomaly = true_anomaly(phase.to_numpy(), table["orbit_eccentricity"].to_numpy())
    swing = np.cos(anomaly + table["orbit_omega"]) + table["orbit_eccentricity"] * np.cos(
        table["orbit_omega"]
    )
    np.testing.assert_allclose(table["rv"], table["orbit_amplitude"] * swing, atol=0.03)  # jitter


def test_keplers_equation_is_solved() -> None:
    eccentricity = np.array([0.0, 0.3, 0.9])
    for mean in (0.1, 2.0, 5.5):
        nu = true_anomaly(np.full(3, mean), eccentricity)
        e = 2 * np.arctan(np.sqrt((1 - eccentricity) / (1 + eccentricity)) * np.tan(nu / 2))
        left = (e - eccentricity * np.sin(e) - mean + np.pi) % (2 * np.pi) - np.pi
        np.testing.assert_allclose(left, 0, atol=1e-9)


# --- one star


def series(**changes: Any) -> SimulationConfig:
    return SimulationConfig.from_mapping({"survey": "series", "spectra": 60, "nights": 12} | changes)


def test_a_series_is_one_star_over_some_nights() -> None:
    table = truth(series(orbit=(10.0, 3.7, 0.3, 60.0)))
    assert table["target"].nunique() == 1
    assert np.unique(np.floor(table["mjd"] + 0.2)).size == 12  # by the clock of Chile, noon to noon
    assert table["mjd"].is_monotonic_increasing
    assert table[["ra", "dec"]].nunique().tolist() == [1, 1]
    assert set(table["orbit_amplitude"]) == {10.0}
    assert 12 < np.ptp(table["rv"]) < 20.1
    assert (table["snr"] == 100).all()
    still = truth(series())
    assert still["rv"].std() < 0.01  # jitter alone
    assert "orbit_amplitude" not in still
    two = truth(series(stars=2, reality=True))
    assert two.groupby("target")["spectrograph"].nunique().tolist() == [1, 1]


def test_the_motion_of_the_telescope_is_that_of_the_observatory() -> None:
    import erfa  # what astropy computes with; its own coordinates take seconds to set up

    population = populate(series(spectra=20, berv="computable"))
    middle = population.mjd + population.exposure / 172_800
    place = (*np.radians([-70.7345, -29.2584]), 2400.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5)
    velocity = erfa.apco13(2_400_000.5, middle, 0.0, *place)[0]["v"] * SPEED_OF_LIGHT
    ra, dec = np.radians([population.ra[0], population.dec[0]])
    towards = [np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)]
    np.testing.assert_allclose(population.berv, velocity @ towards, atol=0.003)
    assert np.ptp(population.berv) > 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"orbit": (1.0, 5.0)}, "belongs to a series"),
        ({"visits": "series", "orbit": (1.0, 5.0, 0.99)}, "eccentricity"),
        ({"visits": "series", "orbit": (1.0,)}, "eccentricity"),
        ({"visits": "series", "nights": 999}, "nights is 999"),
        ({"visits": "series", "orbit": (1.0, 5.0), "factors": ("teff",)}, "add 'rv'"),
        ({"berv": "lost"}, "none of given, computable, hidden"),
    ],
)
def test_series_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(None, **changes)


# --- files


@pytest.mark.parametrize("name", ["adp", "s1d", "lamost", "lamost-old", "sdss", "image"])
def test_headers_tell_what_an_observer_knows(tmp_path: Path, name: str) -> None:
    window = (5290.0, 5350.0) if name in ("adp", "s1d") else (5800.0, 6800.0)
    wanted = config(format=name, window=window, spectra=4, nuisances=("airmass",))
    table = pd.read_csv(write_archive(tmp_path, wanted), dtype={"spectrum_id": str})
    for row in table.itertuples():
        found = next(iter(read(tmp_path / row.file)))
        assert not isinstance(found, Exception)
        keys = found.keywords
        assert (keys["SPID"], keys["FIBERID"]) == (row.spectrograph, row.fibre)
        assert keys["SEEING"] == pytest.approx(row.seeing)
        assert keys["AIRMASS"] == pytest.approx(row.airmass, abs=1e-3)
        assert found.ra == pytest.approx(row.ra)
        assert found.time == pytest.approx(row.mjd, abs=0.02)
        assert found.identifier == row.spectrum_id


@pytest.mark.parametrize("name", ["adp", "lamost", "image"])
def test_berv_is_left_out_of_headers(tmp_path: Path, name: str) -> None:
    window = (5290.0, 5350.0) if name == "adp" else (5800.0, 6800.0)
    for berv in ("computable", "hidden"):
        wanted = config(None, format=name, window=window, spectra=2, berv=berv)
        table = pd.read_csv(write_archive(tmp_path / berv, wanted))
        found = next(iter(read(tmp_path / berv / table["file"][0])))
        assert np.isnan(found.berv) == np.isnan(found.time) == (berv == "hidden")
        if berv == "computable":
            assert found.berv == pytest.approx(table["berv"][0], abs=0.02)
    given = truth(config(None, format=name, window=window, spectra=2))
    assert table["berv"].sub(given["berv"]).abs().max() < 0.6  # with the Earth's rotation


def test_the_command_line_makes_a_real_sky(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from astroprism.cli import app

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, ["simulate", *words])

    small = ["--spectra", "4", "--window", "5880:5960", "--format", "lamost"]
    out = tmp_path / "a"
    assert (
        run(str(out), *small, "--reality", "--part", "lsf=0.1", "--part", "errors=[0.8, 1.5]").exit_code == 0
    )
    saved = json.loads((out / "simulation.json").read_text())
    assert saved["instrument_causes"] == ["lsf", "pattern", "sky"]
    assert saved["config"]["reality"]["errors"] == [0.8, 1.5]
    assert run(str(tmp_path / "b"), *small, "--part", "lsf").exit_code == 0
    saved = json.loads((tmp_path / "b" / "simulation.json").read_text())
    assert saved["instrument_causes"] == ["lsf"]
    words = ["--survey", "series", "--spectra", "6", "--nights", "3", "--orbit", "10:3:0.2"]
    assert run(str(tmp_path / "c"), *words, "--window", "5880:5900").exit_code == 0
    assert pd.read_csv(tmp_path / "c" / "truth.csv")["orbit_period"].eq(3).all()
    assert run(str(tmp_path / "d"), *small, "--reality", "--part", "lsf").exit_code != 0
