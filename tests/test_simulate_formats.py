"""Files of every format: astropy and our own readers find in them what the truth says."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from astroprism.archive import identify, read
from astroprism.grid import SPEED_OF_LIGHT, air_to_vacuum
from astroprism.simulate import FACTORS, NATIVE, SimulationConfig, spectra, truth, write_archive
from astroprism.simulate.fitswriter import Card, Unit, card_image, fits_bytes, ones_complement_sum
from astroprism.simulate.writing import file_pixels, flux_scale

# Small windows of every format: the layout is what is looked at.
CONFIGS: dict[str, dict[str, Any]] = {
    "adp": {"window": (5290.0, 5350.0)},
    "s1d": {"window": (5290.0, 5350.0)},
    "lamost": {"window": (5800.0, 6800.0)},
    "lamost-old": {"window": (5800.0, 6800.0)},
    "sdss": {"window": (5800.0, 6800.0)},
    "apstar": {"window": (15_200.0, 15_260.0), "factors": ("teff", "feh")},
    "image": {"window": (5800.0, 6100.0)},
    "csv": {"window": (5800.0, 6100.0)},
}
FITS = [name for name in CONFIGS if name != "csv"]
READER = {"lamost-old": "lamost", "apstar": "apogee", "csv": "text"}


def config(name: str, **changes: Any) -> SimulationConfig:
    return SimulationConfig(format=name, spectra=4, **(CONFIGS[name] | changes))


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("archives")
    return {name: write_archive(folder / name, config(name)).parent for name in CONFIGS}


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "truth.csv", keep_default_na=False, dtype={"spectrum_id": str})


# --- FITS as such


@pytest.mark.parametrize("name", FITS)
def test_astropy_finds_nothing_to_complain_about(archives: dict[str, Path], name: str) -> None:
    from astropy.io import fits

    for path in sorted((archives[name] / "spectra").iterdir()):
        assert path.stat().st_size % 2880 == 0
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with fits.open(path, checksum=True, memmap=False) as units:
                units.verify("exception")
                for unit in units:
                    assert unit.data is None or unit.data.size
                    if name == "adp":
                        assert unit.verify_checksum() == 1
                        assert unit.verify_datasum() == 1


def test_a_flipped_byte_is_caught_by_the_checksum(archives: dict[str, Path]) -> None:
    from astropy.io import fits

    path = next((archives["adp"] / "spectra").iterdir())
    damaged = bytearray(path.read_bytes())
    damaged[-6000] ^= 4
    broken = path.parent.parent / "damaged.fits"
    broken.write_bytes(damaged)
    with pytest.warns(Warning, match="sum"), fits.open(broken, checksum=True, memmap=False) as units:
        units[1].data  # noqa: B018
    broken.unlink()


def test_checksums_are_those_of_astropy() -> None:
    from astropy.io import fits

    rng = np.random.default_rng(0)
    for size in (0, 1, 3, 4, 2879, 2880, 7001):
        data = rng.integers(0, 256, size, dtype=np.uint8).tobytes()
        unit = fits.ImageHDU(np.frombuffer(data, dtype=np.uint8) if size else None)
        unit.add_datasum()
        assert unit.header["DATASUM"] == str(ones_complement_sum(data))
    assert ones_complement_sum(b"\xff" * 8) == 0xFFFFFFFF


@pytest.mark.parametrize(
    "card",
    [
        ("OBJECT", "HD 10700", "a star"),
        ("OBJECT", "Barnard's star", ""),
        ("NAXIS", 0, ""),
        ("EXTEND", True, "yes"),
        ("MJD-OBS", 53_000.123_456_78, "MJD"),
        ("SPEC_ERR", 1.5e-9, ""),
        ("LARGE", -99999.0, ""),
        ("ESO DRS BERV", -23.543_877_1, "Barycentric Earth Radial Velocity"),
        ("ESO TEL AMBI PRES START", 772.7, "a comment that is far too long to fit in behind this keyword"),
    ],
)
def test_cards_are_read_back_by_astropy(card: tuple[str, Any, str]) -> None:
    from astropy.io import fits

    image = card_image(*card)
    assert len(image) == 80
    found = fits.Card.fromstring(image)
    found.verify("exception")
    assert (found.keyword, found.value) == card[:2]
    assert type(found.value) is type(card[1])


def test_a_card_too_long_is_an_error_and_not_cut() -> None:
    with pytest.raises(ValueError, match="80 characters"):
        fits_bytes([Unit([Card("OBJECT", "x" * 90)])])


# --- what the files say


@pytest.mark.parametrize("name", CONFIGS)
def test_our_reader_gets_the_truth_back(archives: dict[str, Path], name: str) -> None:
    wanted, folder = config(name), archives[name]
    sampling = wanted.sampling()
    rows = table(folder)
    batch = next(spectra(wanted))
    for row, truth_row in rows.iterrows():
        path = folder / truth_row["file"]
        assert identify(path) == READER.get(name, name)
        (found,) = read(path)
        assert found.identifier == truth_row["spectrum_id"]
        part = file_pixels(wanted, sampling, berv=truth_row["berv"])
        np.testing.assert_allclose(found.wavelength, sampling.wavelength[part], rtol=1e-8)
        assert found.medium == truth_row["medium"]
        good = np.ones(len(found), dtype=bool) if found.good is None else found.good
        scale = flux_scale(wanted, truth_row["snr"])
        np.testing.assert_allclose(found.flux[good], scale * batch.flux[row, part][good], rtol=2e-6)
        assert good.sum() >= (batch.sigma[row, part] > 0).sum() - 6
        if name not in ("s1d", "image"):
            assert found.sigma is not None
            np.testing.assert_allclose(found.sigma[good], scale * batch.sigma[row, part][good], rtol=1e-3)
        if name in ("image", "csv"):  # they say nothing else
            assert found.frame == "unknown"
            continue
        assert found.frame == truth_row["frame"]
        assert found.target == truth_row["target"]
        assert (found.ra, found.dec) == (truth_row["ra"], truth_row["dec"])
        assert found.snr == pytest.approx(truth_row["snr"], rel=0.05)
        if name != "apstar":
            assert found.berv == pytest.approx(truth_row["berv"], abs=1e-5)
            assert found.time == pytest.approx(truth_row["mjd"], abs=0.02)
            assert not found.warnings


def test_an_adp_is_laid_out_as_eso_does(archives: dict[str, Path]) -> None:
    from astropy.io import fits

    truth_row = table(archives["adp"]).iloc[0]
    with fits.open(archives["adp"] / truth_row["file"], memmap=False) as units:
        primary, unit = units[0].header, units[1]
        assert units[0].data is None
        assert (unit.name, len(unit.data)) == ("SPECTRUM", 1)
        assert [column.name for column in unit.columns] == ["WAVE", "FLUX", "ERR"]
        assert [column.format[-1] for column in unit.columns] == ["D", "E", "E"]
        assert unit.header["TUCD1"] == "em.wl;obs.atmos"
        assert unit.header["NELEM"] == unit.data["WAVE"].shape[1]
        wave = unit.data["WAVE"][0]
        assert primary["WAVELMIN"] == pytest.approx(wave[0] / 10)
        assert primary["WAVELMAX"] == pytest.approx(wave[-1] / 10)
        assert primary["SPECSYS"] == "BARYCENT"
        assert primary["ESO DRS BERV"] == pytest.approx(truth_row["berv"], abs=1e-6)
        assert primary["ESO TEL AIRM START"] == pytest.approx(truth_row["airmass"], abs=1e-3)
        dark = (unit.data["FLUX"][0] == 0) & (unit.data["ERR"][0] == 0)
        assert dark.sum() == pytest.approx(3294, abs=3)
        gap = wave[dark] / (1 + truth_row["berv"] / SPEED_OF_LIGHT)
        assert gap[0] == pytest.approx(5304.32, abs=0.011)
        assert gap[-1] == pytest.approx(5337.26, abs=0.011)


def test_an_s1d_keeps_silent_about_its_frame_and_errors(archives: dict[str, Path]) -> None:
    from astropy.io import fits

    rows, starts = table(archives["s1d"]), []
    for truth_row in rows.to_dict("records"):
        with fits.open(archives["s1d"] / truth_row["file"], memmap=False) as units:
            assert len(units) == 1
            header = units[0].header
            assert header["CTYPE1"] == "Angstrom"
            assert not {"SPECSYS", "CUNIT1", "CHECKSUM"} & set(header)
            assert header["CDELT1"] == 0.01
            starts.append((header["CRVAL1"], header["NAXIS1"]))
    assert len(set(starts)) > 1


def test_a_topocentric_product_stands_still_against_the_atmosphere(tmp_path: Path) -> None:
    wanted = config("adp", frame="topocentric", window=(6860.0, 6900.0), factors=("rv",))
    folder = write_archive(tmp_path / "uves", wanted).parent
    rows = table(folder)
    assert set(rows["frame"]) == {"topocentric"}
    fluxes = []
    for truth_row in rows.to_dict("records"):
        (found,) = read(folder / truth_row["file"])
        assert found.frame == "topocentric"
        assert found.berv == pytest.approx(truth_row["berv"], abs=1e-5)
        fluxes.append(found.flux / np.median(found.flux))
    # the oxygen band, the same in all; in the barycentric frame it moves by up to 60 km/s
    assert min(np.corrcoef(fluxes)[0]) > 0.97
    moved = np.concatenate([batch.noiseless for batch in spectra(config("adp", window=(6860.0, 6900.0)))])
    assert min(np.corrcoef(moved)[0]) < 0.9


def test_a_survey_file_has_its_masks_zeros_and_further_units(archives: dict[str, Path]) -> None:
    from astropy.io import fits

    zeros = 0
    for path in (archives["lamost"] / "spectra").iterdir():
        with fits.open(path, memmap=False) as units:
            cells = units["COADD"].data
            flux, ivar = cells["FLUX"][0], cells["IVAR"][0]
            zeros += int((flux == 0).sum())
            assert (ivar > 0).all()
            np.testing.assert_array_equal(cells["ORMASK"][0] != 0, flux == 0)
            assert units[0].header["SNRR"] > 0
    assert zeros > 0
    for path in (archives["sdss"] / "spectra").iterdir():
        with fits.open(path, memmap=False) as units:
            names = [unit.name for unit in units[1:4]]
            assert names == ["COADD", "SPALL", "SPZLINE"]
            assert len(units) == 6
            assert len(units["COADD"].data) == len(units[4].data)
            single = units[4].data
            score = (single["flux"] - units[1].data["flux"]) * np.sqrt(single["ivar"] * 2)
            assert score.std() == pytest.approx(1, abs=0.15)


def test_the_visits_of_an_apstar_average_to_its_combination(archives: dict[str, Path]) -> None:
    from astropy.io import fits

    for path in (archives["apstar"] / "spectra").iterdir():
        with fits.open(path, memmap=False) as units:
            flux, error = units[1].data.astype(float), units[2].data.astype(float)
            visits = units[0].header["NVISITS"]
            assert flux.shape[0] == 2 + visits
            np.testing.assert_allclose(flux[2:].mean(axis=0), flux[0], rtol=1e-4)
            assert ((flux[2] - flux[0]) / error[2]).std() == pytest.approx(np.sqrt(1 - 1 / visits), rel=0.15)


def test_air_and_vacuum_archives_hold_the_same_lines() -> None:
    air = SimulationConfig(
        spectra=1, format="adp", window=(5880, 5905), step=3, factors=("teff",), snr=(1e4, 1e4)
    )
    vacuum = SimulationConfig(
        spectra=1,
        format="lamost",
        window=(5880, 5905),
        step=3,
        factors=("teff",),
        snr=(1e4, 1e4),
        resolution=50_000,
    )
    in_air, in_vacuum = (next(spectra(one)) for one in (air, vacuum))
    np.testing.assert_allclose(air_to_vacuum(in_air.wavelength), in_vacuum.wavelength, atol=1e-6)
    deepest = in_air.wavelength[np.argmin(in_air.noiseless[0])]
    assert min(abs(deepest - 5889.95), abs(deepest - 5895.92)) < 0.06  # sodium D in air


@pytest.mark.shared
def test_headers_hold_what_real_ones_hold(archives: dict[str, Path], shared_spectra: Path) -> None:
    from astropy.io import fits

    real = {"s1d": "HARPS.2010*", "lamost": "LAMOST*", "sdss": "SDSS*"}
    for name, pattern in real.items():
        found = sorted(shared_spectra.glob(pattern))
        assert found
        path = next((archives[name] / "spectra").iterdir())
        with fits.open(found[0], memmap=False) as theirs, fits.open(path, memmap=False) as ours:
            known = set(theirs[0].header)
            # this file has no times of its exposures, those of other releases do
            extra = set(ours[0].header) - known - {"TAI-BEG", "TAI-END"}
            assert not extra, f"{name}: {sorted(extra)}"
            if len(ours) > 1:
                assert [c.name for c in ours[1].columns] == [c.name for c in theirs[1].columns]
                assert [c.format[-1] for c in ours[1].columns] == [c.format[-1] for c in theirs[1].columns]


def test_truth_is_the_same_with_and_without_files(archives: dict[str, Path]) -> None:
    for name, folder in archives.items():
        found, expected = table(folder), truth(config(name))
        assert list(found.columns) == list(expected.columns)
        assert found["file"].tolist() == expected["file"].tolist()
        assert all((folder / file).is_file() for file in found["file"])
        np.testing.assert_allclose(found["snr"], expected["snr"], rtol=1e-9)


def test_the_examples_of_the_documentation_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "simulating.md").read_text()
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {}
    snippets = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(snippets) >= 5
    for snippet in snippets:
        exec(compile(snippet, "docs/simulating.md", "exec"), known)
    residual = known["residual"]
    assert residual.std() == pytest.approx(1, abs=0.05)
    Path("archive.toml").write_text(re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)[0])
    assert SimulationConfig.from_file("archive.toml").known_k == 5
    for name, factor in FACTORS.items():  # the table of factors says what the code does
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}`"))
        assert f"`{factor.varying}`" in row
        assert name == "snr" or row.endswith(f"| {factor.off:g} |")
    for name in NATIVE:
        assert f"| `{name}` |" in page
