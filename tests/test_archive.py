from __future__ import annotations

import gzip
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from archive_layouts import LAYOUTS, PIXELS, Truth, adp, s1d, values
from astroprism.archive import READERS, ReadOptions, describe, from_object, identify, read
from astroprism.errors import ConfigError, MissingExtra, SpectrumError, UnreadableFile
from astroprism.spectrum import Spectrum


def only(path: Path, **chosen: object) -> Spectrum:
    found = list(read(path, options=ReadOptions(**chosen)))
    assert len(found) == 1
    assert isinstance(found[0], Spectrum)
    return found[0]


def refusal(path: Path, **chosen: object) -> SpectrumError:
    with pytest.raises(SpectrumError) as caught:
        list(read(path, options=ReadOptions(**chosen)))
    assert path.name in str(caught.value)
    assert "gave up" not in str(caught.value)
    return caught.value


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Truth]:
    write, ending = LAYOUTS[request.param]
    path = tmp_path / f"{request.param}.{ending}"
    return path, write(path)


class TestContract:
    """What every reader owes, whatever the format."""

    def test_gives_back_what_was_written(self, layout):
        path, truth = layout
        found = list(read(path))
        first = found[0]
        assert len(found) == truth.spectra
        assert (first.reader, first.medium, first.frame) == (truth.reader, truth.medium, truth.frame)
        np.testing.assert_allclose(first.wavelength, truth.wavelength, rtol=2e-9)
        np.testing.assert_allclose(first.flux, truth.flux, rtol=1e-6)
        assert (first.sigma is None) == (truth.sigma is None)
        if truth.sigma is not None:
            good = np.ones(len(first), bool) if first.good is None else first.good
            np.testing.assert_allclose(first.sigma[good], truth.sigma[good], rtol=1e-6)
        for name, value in truth.facts.items():
            assert getattr(first, name) == (pytest.approx(value) if isinstance(value, float) else value), name

    def test_bad_pixels_are_masked(self, layout):
        path, truth = layout
        first = next(iter(read(path)))
        zero = truth.flux == 0
        assert not zero.any() or not first.good[zero].any()
        assert first.good is None or first.good.mean() > 0.9

    def test_is_known_by_content_not_by_name(self, layout, tmp_path):
        path, truth = layout
        other = tmp_path / "nothing.dat"
        other.write_bytes(path.read_bytes())
        assert identify(path) == identify(other) == truth.reader
        assert truth.reader in READERS

    def test_gzip_changes_nothing(self, layout, tmp_path):
        path, truth = layout
        if truth.reader == "hdf5":
            pytest.skip("HDF5 has its own compression")
        packed = tmp_path / f"{path.name}.gz"
        packed.write_bytes(gzip.compress(path.read_bytes(), 1))
        plain, unpacked = next(iter(read(path))), next(iter(read(packed)))
        np.testing.assert_array_equal(plain.flux, unpacked.flux)
        np.testing.assert_array_equal(plain.wavelength, unpacked.wavelength)
        assert plain.identifier == unpacked.identifier

    def test_a_cut_file_is_refused(self, layout):
        path, truth = layout
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 3 + 7])
        try:
            spectrum = only(path)
        except SpectrumError:
            assert refusal(path).reason in ("truncated", "unreadable", "unknown-format")
        else:  # text cut between two lines is a shorter, correct spectrum
            assert truth.reader == "text"
            assert np.isin(spectrum.wavelength.round(4), truth.wavelength.round(4)).all()

    def test_arrays_are_native_and_frozen(self, layout):
        path, _ = layout
        first = next(iter(read(path)))
        for array in (first.wavelength, first.flux, first.sigma, first.good):
            assert array is None or (array.dtype.isnative and not array.flags.writeable)

    def test_describe_tells_the_same(self, layout):
        path, truth = layout
        facts = describe(path)
        assert (facts["format"], facts["pixels"], facts["spectra"]) == (truth.reader, PIXELS, truth.spectra)

    def test_garbage_behind_the_file_does_no_harm(self, layout):
        path, truth = layout
        if path.suffix != ".fits":
            pytest.skip("FITS alone knows where it ends")
        path.write_bytes(path.read_bytes() + b"garbage" * 99)
        np.testing.assert_allclose(next(iter(read(path))).flux, truth.flux, rtol=1e-6)


class TestFiles:
    def test_empty_missing_folder_and_foreign_files_have_their_own_reasons(self, tmp_path):
        (tmp_path / "empty.fits").write_bytes(b"")
        assert refusal(tmp_path / "empty.fits").reason == "empty"
        assert refusal(tmp_path / "missing.fits").reason == "unreadable"
        assert refusal(tmp_path).reason == "unreadable"
        (tmp_path / "readme.txt").write_text("This is a text.\n" * 50)
        (tmp_path / "noise.fits").write_bytes(np.random.default_rng(0).bytes(50_000))
        (tmp_path / "labels.csv").write_text("name,teff,logg\n" + "HD 1,5777,4.4\n" * 30)
        for name in ("readme.txt", "noise.fits", "labels.csv"):
            assert refusal(tmp_path / name).reason == "unknown-format", name

    def test_a_table_of_numbers_without_a_flux_is_refused(self, tmp_path):
        (tmp_path / "labels.csv").write_text(
            "row,teff,logg\n" + "".join(f"{i},57{i},4.4\n" for i in range(99))
        )
        assert refusal(tmp_path / "labels.csv").reason == "ambiguous"

    def test_a_gzip_bomb_is_refused_in_time(self, tmp_path):
        path = tmp_path / "bomb.fits.gz"
        path.write_bytes(gzip.compress(bytes(1 << 20), 9) * 300)
        assert "MiB" in str(refusal(path))

    def test_damaged_gzip(self, tmp_path):
        adp(tmp_path / "a.fits")
        packed = bytearray(gzip.compress((tmp_path / "a.fits").read_bytes()))
        path = tmp_path / "a.fits.gz"
        path.write_bytes(packed[:-100])
        assert refusal(path).reason == "truncated"
        packed[-6] ^= 1
        path.write_bytes(packed)
        assert refusal(path).reason == "checksum"

    def test_options_contradicting_themselves_are_refused(self):
        for wrong in ({"checksum": "maybe"}, {"medium": "water"}, {"row": -1}, {"wave_unit": "Hz"}):
            with pytest.raises(ConfigError):
                ReadOptions(**wrong)

    def test_refusals_survive_a_process_pool(self, tmp_path):
        (tmp_path / "empty.fits").write_bytes(b"")
        error = pickle.loads(pickle.dumps(refusal(tmp_path / "empty.fits")))
        assert isinstance(error, UnreadableFile)
        assert error.reason == "empty"

    def test_reading_does_not_need_astropy(self, tmp_path):
        adp(tmp_path / "a.fits")
        code = (
            "import sys; from astroprism.archive import read; "
            f"list(read({str(tmp_path / 'a.fits')!r})); "
            "assert not {'astropy', 'h5py', 'pandas', 'scipy'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    def test_numpy_error_settings_do_not_leak(self, tmp_path):
        LAYOUTS["npz"][0](tmp_path / "a.npz")
        spectra = read(tmp_path / "a.npz")
        with np.errstate(divide="raise"):
            next(spectra)
            assert np.geterr()["divide"] == "raise"


class TestAdp:
    def edited(self, path: Path, *, checksum: bool = False, **cards: object) -> Path:
        adp(path, checksum=False)
        with fits.open(path, mode="update") as units:
            for key, value in cards.items():
                unit = units[1] if key in units[1].header else units[0]
                if value is None:
                    del unit.header[key]
                else:
                    unit.header[key] = value
        return path

    def test_checksums_are_verified(self, tmp_path):
        path = tmp_path / "a.fits"
        adp(path)
        good = path.read_bytes()
        only(path)
        for at, text in ((len(good) - 5000, "DATASUM"), (good.index(b"HD 189733"), "changed after")):
            bad = bytearray(good)
            bad[at] ^= 1
            path.write_bytes(bad)
            assert text in " ".join(only(path).warnings)
            error = refusal(path, checksum="refuse")
            assert error.reason == "checksum"
            assert text in str(error)
            assert text not in " ".join(only(path, checksum="ignore").warnings)

    def test_a_stale_zero_datasum_is_no_verdict(self, tmp_path):
        path = tmp_path / "a.fits"
        adp(path)
        with fits.open(path, mode="update") as units:
            units[1].header["DATASUM"] = "         0"
        only(path)

    def test_keywords_are_numbers_without_structure(self, tmp_path):
        adp(tmp_path / "a.fits")
        keywords = only(tmp_path / "a.fits").keywords
        assert keywords["ESO TEL AMBI RHUM"] == 17.0
        assert keywords["ESO TEL TARG RADVEL"] == -99999.0
        assert keywords["TMID"] == 54000.26
        assert not {"BITPIX", "NAXIS1", "NAXIS2", "TFIELDS", "OBJECT", "SIMPLE"} & set(keywords)

    def test_medium_follows_the_ucd(self, tmp_path):
        adp(tmp_path / "a.fits", ucd="em.wl")
        assert only(tmp_path / "a.fits").medium == "vacuum"
        harps = only(self.edited(tmp_path / "b.fits", TUCD1=None))
        assert harps.medium == "air"
        assert "TUCD1" in harps.warnings[0]
        path = self.edited(tmp_path / "c.fits", TUCD1=None, INSTRUME="SPIROU")
        assert only(path).medium == "air"
        assert "custom" in only(path).warnings[0]
        assert only(path, medium="vacuum").medium == "vacuum"

    @pytest.mark.parametrize("unit", ["nm", "um", "m"])
    def test_a_unit_that_leads_nowhere_gives_way_to_the_declared_range(self, tmp_path, unit):
        spectrum = only(self.edited(tmp_path / "a.fits", TUNIT1=unit))
        assert spectrum.wavelength[0] == 5000
        assert f"unit {unit!r}" in spectrum.warnings[0]

    def test_a_unit_that_is_no_unit_is_settled_by_the_declared_range(self, tmp_path):
        spectrum = only(self.edited(tmp_path / "a.fits", TUNIT1="angztrom"))
        assert spectrum.wavelength[0] == 5000
        assert "angztrom" in spectrum.warnings[0]

    def test_contradictions_of_the_header_are_refused(self, tmp_path):
        for cards in (
            {"TFORM1": f"{PIXELS}E"},
            {"TFORM2": f"{PIXELS}J"},
            {"TTYPE2": "FLOX", "TUCD2": "nothing"},
            {"TTYPE1": "WOVE", "TUCD1": "nothing"},
        ):
            refusal(self.edited(tmp_path / "a.fits", **cards))

    def test_a_header_that_contradicts_healthy_data_is_a_warning(self, tmp_path):
        for cards, word in (
            ({"WAVELMIN": 400.0}, "not as the header declares"),
            ({"WAVELMAX": 691.0}, "not as the header declares"),
            ({"WAVELMIN": -1.0}, "is not used"),
            ({"NELEM": PIXELS - 1}, "NELEM says 1499"),
        ):
            spectrum = only(self.edited(tmp_path / "a.fits", **cards))
            assert spectrum.wavelength[0] == 5000
            assert word in " ".join(spectrum.warnings)

    def test_an_axis_that_is_damaged_is_refused(self, tmp_path):
        def damage(kind: str) -> Path:
            path = tmp_path / f"{kind}.fits"
            adp(path, checksum=False)
            with fits.open(path, mode="update") as units:
                wave = units[1].data["WAVE"][0]
                if kind == "reversed":
                    wave[:] = wave[::-1].copy()
                elif kind == "nan":
                    wave[600] = np.nan
                elif kind == "equal":
                    wave[600] = wave[599]
                elif kind == "shifted pixel":
                    wave[600] += 0.004
                elif kind == "last":
                    wave[-1] = 9000.0
                elif kind == "first":
                    wave[0] = 4000.0
                elif kind == "zero":
                    wave[:] = 0
                units[0].header["WAVELMIN"], units[0].header["WAVELMAX"] = wave[0] / 10, wave[-1] / 10
                if kind == "nan":
                    units[0].header["WAVELMIN"] = 500.0
            return path

        for kind in ("reversed", "nan", "equal", "shifted pixel", "last", "first", "zero"):
            assert refusal(damage(kind)).reason == "wavelength", kind

    def test_rows_are_spectra(self, tmp_path):
        wave = np.stack([5000 + 0.1 * np.arange(99), 6000 + 0.1 * np.arange(99), 5000 - 0.1 * np.arange(99)])
        flux = np.random.default_rng(0).normal(9, 1, wave.shape)
        cells = [
            fits.Column("WAVE", "99D", unit="Angstrom", array=wave),
            fits.Column("FLUX", "99D", array=flux),
        ]
        table = fits.BinTableHDU.from_columns(cells, name="SPECTRUM")
        table.header["TUCD1"] = "em.wl"
        table.writeto(tmp_path / "a.fits")
        first, second, third = read(tmp_path / "a.fits")
        assert (first.identifier, second.identifier) == ("a#0", "a#1")
        np.testing.assert_array_equal(second.flux, flux[1])
        assert isinstance(third, SpectrumError)
        assert third.reason == "wavelength"

    def test_errors_that_are_all_zero_are_no_errors(self, tmp_path):
        adp(tmp_path / "a.fits", checksum=False)
        with fits.open(tmp_path / "a.fits", mode="update") as units:
            units[1].data["ERR"][:] = np.nan
        spectrum = only(tmp_path / "a.fits")
        assert spectrum.sigma is None
        assert spectrum.good.sum() == PIXELS - 30


class TestS1d:
    def test_only_the_step_of_the_pipeline_is_barycentric(self, tmp_path):
        s1d(tmp_path / "a.fits")
        fits.setval(tmp_path / "a.fits", "CDELT1", value=0.0100004)
        spectrum = only(tmp_path / "a.fits")
        assert spectrum.frame == "unknown"
        assert spectrum.berv == -23.54

    @pytest.mark.parametrize("start", [3781.37, 3791.37, 3771.37])
    def test_the_gap_between_the_chips_holds_the_axis(self, tmp_path, start):
        wave = 3781.37 + 0.01 * np.arange(313_120)
        flux = np.random.default_rng(0).normal(100, 5, wave.size).astype(np.float32)
        shift = 1 - 13.356 / 299792.458
        flux[(wave > 5304.32 * shift) & (wave < 5337.26 * shift)] = 0
        unit = fits.PrimaryHDU(flux)
        unit.header.update({"CRPIX1": 1.0, "CRVAL1": start, "CDELT1": 0.01, "INSTRUME": "HARPS"})
        unit.header["HIERARCH ESO DRS BERV"] = -13.356
        unit.writeto(tmp_path / "a.fits")
        if start == 3781.37:
            assert only(tmp_path / "a.fits").good.sum() == (flux != 0).sum()
        else:
            assert "gap" in str(refusal(tmp_path / "a.fits"))

    def full(
        self, path: Path, *, velocity: float = 0.0, shift: float = 0.0, part: slice = slice(None)
    ) -> Path:
        """A whole spectrum with the polynomials of its first and last order, moved or cut."""
        first, last = 3783.0, 6912.0
        start = round((first + 1.96) * (1 + velocity / 299792.458) + shift, 2)
        end = (last - 0.02) * (1 + velocity / 299792.458) + shift
        wave = start + 0.01 * np.arange(round((end - start) / 0.01) + 1)
        unit = fits.PrimaryHDU(np.random.default_rng(0).normal(100, 5, wave.size).astype("f4")[part])
        unit.header.update({"CRVAL1": wave[part][0], "CDELT1": 0.01, "CRPIX1": 1.0, "INSTRUME": "HARPS"})
        unit.header["HIERARCH ESO DRS BERV"] = 0.0
        unit.header["HIERARCH ESO DRS CAL TH COEFF LL0"] = first
        for power, value in enumerate((last, 0.0, 0.0, 0.0)):
            unit.header[f"HIERARCH ESO DRS CAL TH COEFF LL{284 + power}"] = value
        unit.writeto(path, overwrite=True)
        return path

    def test_a_part_and_a_move_by_hand_are_no_damage(self, tmp_path):
        assert only(self.full(tmp_path / "a.fits")).frame == "barycentric"
        assert only(self.full(tmp_path / "a.fits", part=slice(9_000, 90_000))).frame == "barycentric"
        moved = only(self.full(tmp_path / "a.fits", velocity=-83.0))
        assert moved.frame == "unknown"
        assert "moved by -84 km/s" in " ".join(moved.warnings)
        assert "correct CRVAL1" in str(refusal(self.full(tmp_path / "a.fits", shift=2.0)))

    def test_harps_north(self, tmp_path):
        s1d(tmp_path / "a.fits")
        with fits.open(tmp_path / "a.fits", mode="update") as units:
            header = units[0].header
            header["INSTRUME"] = "HARPN"
            header["HIERARCH TNG DRS BERV"], header["HIERARCH TNG DRS SPE EXT SN50"] = 9.5, 70.0
            del header["ESO DRS BERV"], header["ESO DRS SPE EXT SN50"]
        spectrum = only(tmp_path / "a.fits")
        assert (spectrum.reader, spectrum.berv, spectrum.snr) == ("s1d", 9.5, 70.0)

    def test_sizes_and_types_that_lie_are_refused(self, tmp_path):
        for key, value in (
            ("NAXIS1", 1400),
            ("NAXIS1", 10**12),
            ("BITPIX", 32),
            ("BITPIX", -64),
            ("NAXIS", 9),
        ):
            path = tmp_path / "a.fits"
            s1d(path)
            raw = path.read_bytes()
            at = raw.index(key.encode().ljust(8) + b"=")
            path.write_bytes(raw[: at + 10] + str(value).rjust(20).encode() + raw[at + 30 :])
            assert refusal(path).reason in ("truncated", "unreadable"), key

    def test_axis_cards_that_are_gone_are_refused(self, tmp_path):
        for key in ("CRVAL1", "CDELT1"):
            s1d(tmp_path / "a.fits")
            fits.delval(tmp_path / "a.fits", key)
            assert refusal(tmp_path / "a.fits").reason == "wavelength"


class TestSurveys:
    @pytest.mark.parametrize("name", ["lamost", "sdss"])
    def test_a_header_against_the_wavelength_column(self, tmp_path, name):
        path = tmp_path / "a.fits"
        truth = LAYOUTS[name][0](path)
        fits.setval(path, "COEFF1", value=0.0002)
        if name == "lamost":  # CRVAL1 and CD1_1 still agree with the column
            spectrum = only(path)
            assert "COEFF0/COEFF1" in spectrum.warnings[0]
            np.testing.assert_allclose(spectrum.wavelength, truth.wavelength, rtol=2e-9)
            fits.setval(path, "CRVAL1", value=3.6682)
        spectrum = only(path)  # a uniform column is no damage
        assert "the column is used" in spectrum.warnings[0]
        np.testing.assert_allclose(spectrum.wavelength, truth.wavelength, rtol=1e-7)

    def test_a_column_that_is_not_uniform_and_contradicted_is_refused(self, tmp_path):
        path = tmp_path / "a.fits"
        LAYOUTS["lamost"][0](path)
        with fits.open(path, mode="update") as units:
            units[1].data["WAVELENGTH"][0, 700:] += 3
        assert "remove the keywords" in str(refusal(path))

    def test_a_column_that_is_rounded_where_it_begins_is_healthy(self, tmp_path):
        path = tmp_path / "a.fits"
        truth = LAYOUTS["lamost"][0](path)
        for shift, near in ((0.017, True), (0.3, False)):  # of a pixel
            with fits.open(path, mode="update") as units:
                table = next(unit for unit in units if unit.name == "COADD")
                table.data["WAVELENGTH"][0] = (truth.wavelength * 10 ** (1e-4 * shift)).astype(np.float32)
            spectrum = only(path)
            assert "column is used" in spectrum.warnings[0]
            assert ("differs by 0.02 pixel" in spectrum.warnings[0]) is near
            np.testing.assert_allclose(
                spectrum.wavelength, truth.wavelength * 10 ** (1e-4 * shift), rtol=1e-7
            )

    def test_without_keywords_the_rounded_column_is_made_regular(self, tmp_path):
        path = tmp_path / "a.fits"
        truth = LAYOUTS["sdss"][0](path)
        fits.delval(path, "COEFF0")
        fits.delval(path, "COEFF1")
        velocity = 299792.458 * (only(path).wavelength / truth.wavelength - 1)
        assert np.abs(velocity).max() < 0.005  # km/s; the column itself is off by 0.08

    def test_old_lamost_without_its_wavelengths(self, tmp_path):
        path = tmp_path / "a.fits"
        truth = LAYOUTS["lamost-old"][0](path)
        with fits.open(path, mode="update") as units:
            units[0].data[2] = 0
        spectrum = only(path)
        np.testing.assert_allclose(spectrum.wavelength, truth.wavelength, rtol=1e-9)
        assert "header" in spectrum.warnings[0]

    def test_masks_reject_what_matters_and_no_more(self, tmp_path):
        LAYOUTS["sdss"][0](tmp_path / "a.fits")
        good = only(tmp_path / "a.fits").good
        assert np.flatnonzero(~good).tolist() == list(range(10, 20))
        LAYOUTS["apogee"][0](tmp_path / "b.fits")
        assert np.flatnonzero(~only(tmp_path / "b.fits").good).tolist() == [7]

    def test_a_file_cut_behind_its_spectrum_keeps_it(self, tmp_path):
        path = tmp_path / "a.fits"
        truth = LAYOUTS["sdss"][0](path)
        path.write_bytes(path.read_bytes()[:-9000])
        np.testing.assert_array_equal(only(path).flux, truth.flux)


class TestImages:
    def write(self, path: Path, flux: np.ndarray, **cards: object) -> Path:
        unit = fits.PrimaryHDU(flux)
        unit.header.update(cards)
        unit.writeto(path, overwrite=True)
        return path

    def test_several_used_rows_are_not_guessed(self, tmp_path):
        flux, _ = values()
        path = self.write(tmp_path / "a.fits", np.stack([flux, flux + 1]), CRVAL1=5000.0, CDELT1=0.1)
        error = refusal(path)
        assert error.reason == "ambiguous"
        assert "row" in str(error)
        np.testing.assert_array_equal(only(path, row=1).flux, flux + 1)
        assert refusal(path, row=5).reason == "ambiguous"

    @pytest.mark.parametrize(
        ("start", "step", "unit", "first"),
        [
            (500.0, 0.01, "", 5000.0),
            (500.0, 0.01, "nm", 5000.0),
            (0.5, 1e-5, "", 5000.0),
            (0.5, 1e-5, "um", 5000.0),
            (5e-7, 1e-11, "m", 5000.0),
            (5000.0, 0.1, "Angstrom", 5000.0),
            (3.699, 1e-5, "", 10**3.699),
            (np.log(5000.0), 1e-5, "", 5000.0),
        ],
    )
    def test_units_and_logarithms(self, tmp_path, start, step, unit, first):
        cards = {"CUNIT1": unit} if unit else {}
        spectrum = only(
            self.write(tmp_path / "a.fits", values()[0], CRVAL1=start, CDELT1=step, CRPIX1=1.0, **cards)
        )
        assert spectrum.wavelength[0] == pytest.approx(first, rel=1e-12)
        assert bool(unit) or any("taken as" in warning for warning in spectrum.warnings)

    @pytest.mark.parametrize(
        ("start", "step", "unit"),
        [
            (1500.0, 0.1, ""),
            (150.0, 0.1, "m"),
            (-5.0, 0.1, ""),
            (1e300, 1e290, ""),
            (5000.0, 0.0, ""),
            (5000.0, 1e9, ""),
        ],
    )
    def test_axes_that_no_spectrum_has(self, tmp_path, start, step, unit):
        cards = {"CUNIT1": unit} if unit else {}
        path = self.write(tmp_path / "a.fits", values()[0], CRVAL1=start, CDELT1=step, CRPIX1=1.0, **cards)
        assert refusal(path).reason == "wavelength"

    @pytest.mark.parametrize(("start", "step", "unit"), [(5000.0, 0.1, "nm"), (500.0, 0.01, "Angstrom")])
    def test_a_wrong_unit_gives_way_to_what_the_values_can_be(self, tmp_path, start, step, unit):
        cards = {"CRVAL1": start, "CDELT1": step, "CRPIX1": 1.0, "CUNIT1": unit}
        spectrum = only(self.write(tmp_path / "a.fits", values()[0], **cards))
        assert spectrum.wavelength[0] == pytest.approx(5000)
        assert "taken as" in spectrum.warnings[0]

    def test_rows_that_are_wavelength_flux_and_error(self, tmp_path):
        flux, sigma = values()
        wave = np.geomspace(0.65, 2.5, PIXELS)
        for number, rows in enumerate(([wave, flux, sigma], [wave[::-1], flux[::-1]], [[wave, flux, sigma]])):
            path = tmp_path / f"{number}.fits"
            fits.PrimaryHDU(np.array(rows).astype("f4")).writeto(path)
            spectrum = only(path)
            np.testing.assert_allclose(spectrum.wavelength, 1e4 * wave, rtol=1e-6)
            np.testing.assert_array_equal(spectrum.flux, flux)
            assert (spectrum.sigma is None) == (number == 1)
            assert "rows taken as wavelength" in " ".join(spectrum.warnings)
        turned = tmp_path / "columns.fits"
        fits.PrimaryHDU(np.array([wave, flux, sigma]).T.copy()).writeto(turned)
        np.testing.assert_allclose(only(turned).sigma, sigma)

    def test_two_rows_that_are_flux_and_error_on_the_axis_of_the_header(self, tmp_path):
        flux, sigma = values()
        axis = {"CRVAL1": 5000.0, "CDELT1": 0.1, "CRPIX1": 1.0}
        for number, rows in enumerate(([flux, sigma], [sigma, flux])):
            spectrum = only(self.write(tmp_path / f"{number}.fits", np.stack(rows), **axis))
            np.testing.assert_array_equal(spectrum.flux, flux)
            np.testing.assert_array_equal(spectrum.sigma, sigma)
            assert "flux and error by what is in them" in " ".join(spectrum.warnings)
        # a second star, a row of ones, a mask: nothing says what they are
        for other in (0.8 * flux, np.ones_like(flux), (flux > 900).astype("f4")):
            error = refusal(self.write(tmp_path / "b.fits", np.stack([flux, other]), **axis))
            assert (error.reason, "ARRAY1 = 'FLUX'" in str(error)) == ("ambiguous", True)

    def test_rows_without_any_wavelength_say_what_is_missing(self, tmp_path):
        error = refusal(self.write(tmp_path / "a.fits", np.stack(values())))
        assert error.reason == "wavelength"
        assert "add CRVAL1, CDELT1 and CUNIT1, or a row of wavelengths" in str(error)

    def test_rows_by_the_words_of_the_header(self, tmp_path):
        flux, sigma = values()
        wave = np.linspace(5000, 5100, PIXELS)
        names = {"ERROR": sigma, "WAVELENGTH": wave, "SKY": flux / 3, "FLUX": flux}
        for key in ("ARRAY", "ROW"):
            cards = {f"{key}{at}": name for at, name in enumerate(names, 1)}
            spectrum = only(self.write(tmp_path / f"{key}.fits", np.stack(list(names.values())), **cards))
            np.testing.assert_allclose(spectrum.wavelength, wave, rtol=1e-7)
            np.testing.assert_array_equal(spectrum.flux, flux)
            np.testing.assert_allclose(spectrum.sigma, sigma)
        axis = {"CRVAL1": 5000.0, "CDELT1": 0.1, "CRPIX1": 1.0, "ARRAY1": "Flux"}
        for name, row in (("ivar", sigma**-2.0), ("variance", sigma**2), ("S/N", flux / sigma)):
            path = self.write(tmp_path / "b.fits", np.stack([flux, row]), **axis, ARRAY2=name)
            np.testing.assert_allclose(only(path).sigma, sigma, rtol=1e-5)

    def test_error_before_flux(self, tmp_path):
        flux, sigma = values()
        wave = np.linspace(5000, 5100, PIXELS)
        path = self.write(tmp_path / "a.fits", np.stack([wave, sigma, flux]))
        np.testing.assert_array_equal(only(path).flux, flux)

    def test_the_infrared_as_spex_libraries_write_it(self, tmp_path):
        wave = np.geomspace(0.81, 5.03, PIXELS)
        flux, sigma = (1e-16 * row for row in values())
        cards = {"XUNITS": "um", "YUNITS": "Wm-2um-1", "WAVETYPE": "Vacuum", "OBJECT": "HD 26015"}
        spectrum = only(self.write(tmp_path / "a.fits", np.stack([wave, flux, sigma]).astype("f4"), **cards))
        np.testing.assert_allclose(spectrum.wavelength, 1e4 * wave, rtol=1e-6)
        assert (spectrum.medium, spectrum.target) == ("vacuum", "HD 26015")

    def test_rows_that_bandid_names(self, tmp_path):
        flux, sigma = values()
        unit = fits.PrimaryHDU(np.stack([flux, flux / 2, flux / 9, sigma])[:, None])
        unit.header.update({"CRVAL1": 5000.0, "CDELT1": 0.1, "CRPIX1": 1.0})
        names = (
            "spectrum - background fit",
            "raw - background fit",
            "background - fit",
            "sigma - background fit",
        )
        unit.header.update({f"BANDID{number}": name for number, name in enumerate(names, 1)})
        unit.writeto(tmp_path / "a.fits")
        spectrum = only(tmp_path / "a.fits")
        np.testing.assert_array_equal(spectrum.flux, flux)
        np.testing.assert_array_equal(spectrum.sigma, sigma)

    def test_decreasing_axes_are_turned_with_the_flux(self, tmp_path):
        flux, _ = values()
        spectrum = only(self.write(tmp_path / "a.fits", flux, CRVAL1=6000.0, CDELT1=-0.1, CRPIX1=1.0))
        np.testing.assert_array_equal(spectrum.flux, flux[::-1])
        assert spectrum.wavelength[-1] == 6000.0
        assert "turned" in " ".join(spectrum.warnings)

    def test_medium_as_the_standard_names_it(self, tmp_path):
        for kind, medium in (("AWAV", "air"), ("WAVE", "vacuum")):
            cards = {"CRVAL1": 5000.0, "CDELT1": 0.1, "CTYPE1": kind, "CUNIT1": "Angstrom", "CRPIX1": 1}
            spectrum = only(self.write(tmp_path / "a.fits", values()[0], **cards))
            assert (spectrum.medium, spectrum.warnings) == (medium, ())

    def test_compressed_images_go_to_astropy(self, tmp_path):
        flux = np.repeat(np.arange(1, 31, dtype=np.int32), 50)
        unit = fits.CompImageHDU(flux[None], compression_type="RICE_1")
        unit.header.update({"CRVAL1": 5000.0, "CDELT1": 0.1, "CRPIX1": 1.0})
        fits.HDUList([fits.PrimaryHDU(), unit]).writeto(tmp_path / "a.fits")
        np.testing.assert_array_equal(only(tmp_path / "a.fits").flux, flux)

    @pytest.mark.parametrize(
        ("cards", "chosen", "first", "why"),
        [
            ({"TELESCOP": "NASA IRTF"}, None, 15_000, "on the ground"),
            ({"AIRMASS": 1.3}, None, 15_000, "on the ground"),
            ({"TELESCOP": "IUE"}, None, 1_500, "in space"),
            ({"BUNIT": "erg/s/cm2/A"}, None, 1_500, "BUNIT counts flux per a"),
            ({"BUNIT": "W m-2 nm-1"}, None, 15_000, "BUNIT counts flux per nm"),
            ({}, "nm", 15_000, "as --wave-unit says"),
            ({"TELESCOP": "IUE"}, "nm", 15_000, "as --wave-unit says"),
            ({"CUNIT1": "Angstrom"}, "nm", 1_500, ""),
        ],
    )
    def test_numbers_that_are_nanometres_or_angstrom_need_evidence(self, tmp_path, cards, chosen, first, why):
        axis = {"CRVAL1": 1500.0, "CDELT1": 0.1, "CRPIX1": 1.0}
        path = self.write(tmp_path / "a.fits", values()[0], **axis, **cards)
        spectrum = only(path, wave_unit=chosen)
        assert spectrum.wavelength[0] == pytest.approx(first)
        assert why in spectrum.warnings[0]
        rows = np.stack([1500 + 0.1 * np.arange(PIXELS), *values()])
        assert only(self.write(tmp_path / "b.fits", rows, **cards), wave_unit=chosen).wavelength[
            0
        ] == pytest.approx(first)

    def test_without_evidence_the_refusal_names_the_option(self, tmp_path):
        axis = {"CRVAL1": 1500.0, "CDELT1": 0.1, "CRPIX1": 1.0}
        error = refusal(self.write(tmp_path / "a.fits", values()[0], **axis))
        assert "--wave-unit angstrom or --wave-unit nm" in str(error)
        text = tmp_path / "a.txt"
        text.write_text("".join(f"{1500 + i / 5} {9 + i % 7}\n" for i in range(99)))
        assert "--wave-unit nm" in str(refusal(text))
        assert only(text, wave_unit="nm").wavelength[0] == 15_000
        # from 800 on no star is seen in angstrom: hydrogen absorbs all
        nir = only(self.write(tmp_path / "b.fits", values()[0], CRVAL1=800.0, CDELT1=1.0, CRPIX1=1.0))
        assert nir.wavelength[0] == 8_000

    def test_an_axis_of_pixels_is_said_to_be_one(self, tmp_path):
        cards = {"CRVAL1": 1.0, "CDELT1": 1.0, "CRPIX1": 1.0, "DC-FLAG": -1}
        assert "dispcor" in str(refusal(self.write(tmp_path / "a.fits", values()[0], **cards)))


class TestTablesAndText:
    def test_variable_length_cells_go_to_astropy(self, tmp_path):
        wave, (flux, _) = 5000 + 0.1 * np.arange(PIXELS), values()
        cells = [
            fits.Column("WAVE", "PD()", unit="Angstrom", array=np.array([wave, wave[:5]], dtype=object)[:1]),
            fits.Column("FLUX", "PE()", array=np.array([flux, flux[:5]], dtype=object)[:1]),
        ]
        table = fits.BinTableHDU.from_columns(cells, name="SPECTRUM")
        table.header["TUCD1"] = "em.wl"
        table.writeto(tmp_path / "a.fits")
        np.testing.assert_array_equal(only(tmp_path / "a.fits").flux, flux)

    @pytest.mark.parametrize(
        ("head", "row", "last"),
        [
            ("", "{w:.3f} {f:.5f}", ""),
            ("wave;flux\n", "{w:.3f};{f:.5f}", "\n"),
            ("% a comment\nlambda[A]\tflux\n", "{w:.3f}\t{f:.5f}", "\n"),
            ("# made by hand\n; 2 columns\n", "  {w:.3f},   {f:.5f}", "\n"),
            ("", "{w:.8E} {f:.8E}".replace("E}", "e}"), "\n"),
        ],
    )
    def test_text_in_many_dresses(self, tmp_path, head, row, last):
        flux, _ = values()
        wave = 5000 + 0.1 * np.arange(PIXELS)
        rows = [row.format(w=w, f=f) for w, f in zip(wave, flux, strict=True)]
        (tmp_path / "a.txt").write_text(head + "\n".join(rows) + last)
        spectrum = only(tmp_path / "a.txt")
        np.testing.assert_allclose(spectrum.wavelength, wave, atol=1e-4)
        np.testing.assert_allclose(spectrum.flux, flux, atol=1e-4)

    def test_fortran_exponents_and_blank_fields(self, tmp_path):
        rows = [f"{5000 + i}.0D+00,{'' if i == 5 else '1.5D+02'}" for i in range(60)]
        (tmp_path / "a.csv").write_text("wavelength,flux\n" + "\n".join(rows) + "\n")
        spectrum = only(tmp_path / "a.csv")
        assert spectrum.flux[0] == 150
        assert np.flatnonzero(~spectrum.good).tolist() == [5]

    def test_text_that_was_cut_or_garbled(self, tmp_path):
        path = tmp_path / "a.txt"
        LAYOUTS["text"][0](path)
        whole = path.read_text()
        path.write_text(whole[:-25])
        assert refusal(path).reason == "truncated"
        path.write_text(whole[:-3])
        assert len(only(path)) == PIXELS - 1
        path.write_text(whole.replace("6010.0000", "60x0.0000"))
        assert refusal(path).reason == "unreadable"
        path.write_text(whole.replace("6010.0000", "6710.0000"))
        assert refusal(path).reason == "wavelength"

    def test_more_columns_need_names(self, tmp_path):
        path = tmp_path / "a.txt"
        path.write_text("".join(f"{5000 + i} 1 2 3 4\n" for i in range(99)))
        assert "the first two are taken" in only(path).warnings[0]
        assert only(path).sigma is None
        path.write_text("# wave flux sky err x\n" + "".join(f"{5000 + i} {9 + i} 2 3 4\n" for i in range(99)))
        assert only(path).sigma[0] == 3

    def test_wavelengths_with_too_few_digits_and_left_out_pixels(self, tmp_path):
        path, flux = tmp_path / "a.txt", values()[0]
        path.write_text("".join(f"{5000 + 0.004 * i:.2f} {f:.3f}\n" for i, f in enumerate(flux)))
        spectrum = only(path)
        np.testing.assert_allclose(spectrum.wavelength, 5000 + 0.004 * np.arange(PIXELS), atol=0.006)
        assert "rounded" in spectrum.warnings[-2] + spectrum.warnings[0]
        kept = np.delete(np.arange(PIXELS), [1, 2, 700, PIXELS - 3])
        path.write_text("".join(f"{5000 + 0.1 * i:.2f} {flux[i]:.3f}\n" for i in kept))
        assert len(only(path)) == PIXELS - 4


class TestStacks:
    def test_rows_carry_their_own_facts(self, tmp_path):
        LAYOUTS["npz"][0](tmp_path / "a.npz")
        found = list(read(tmp_path / "a.npz"))
        assert [(s.identifier, s.ra) for s in found] == [("a", 1.0), ("b", 2.0), ("c", 3.0)]

    def test_pickles_are_never_opened(self, tmp_path):
        np.savez(tmp_path / "a.npz", wavelength=np.arange(9.0), flux=np.array([{}] * 9, dtype=object))
        assert "objects" in str(refusal(tmp_path / "a.npz"))

    def test_a_flipped_byte_is_found_by_the_crc(self, tmp_path):
        LAYOUTS["npz"][0](tmp_path / "a.npz")
        raw = bytearray((tmp_path / "a.npz").read_bytes())
        raw[len(raw) // 2] ^= 4
        (tmp_path / "a.npz").write_bytes(raw)
        refusal(tmp_path / "a.npz")

    def test_bare_arrays(self, tmp_path):
        flux, sigma = values()
        wave = 5000 + 0.1 * np.arange(PIXELS)
        np.save(tmp_path / "a.npy", np.stack([wave, flux, sigma], axis=1))
        np.testing.assert_array_equal(only(tmp_path / "a.npy").sigma, sigma)
        np.save(tmp_path / "b.npy", np.ones((50, 60)))
        assert refusal(tmp_path / "b.npy").reason == "ambiguous"

    def test_one_bad_row_is_yielded_not_raised(self, tmp_path):
        wave = np.stack([5000 + np.arange(50.0), np.full(50, 7.0), 6000 + np.arange(50.0)])
        np.savez(tmp_path / "a.npz", wavelength=wave, flux=np.random.default_rng(0).normal(9, 1, wave.shape))
        first, second, third = read(tmp_path / "a.npz")
        assert second.reason == "wavelength"
        assert "row 1" in str(second)
        assert (first.identifier, third.identifier) == ("a#0", "a#2")

    def test_hdf5_without_h5py(self, tmp_path, monkeypatch):
        LAYOUTS["hdf5"][0](tmp_path / "a.h5")
        monkeypatch.setitem(sys.modules, "h5py", None)
        with pytest.raises(MissingExtra, match=r"astroprism\[hdf5\]"):
            list(read(tmp_path / "a.h5"))


class TestObjects:
    wave = 5000 + 0.1 * np.arange(PIXELS)
    flux, sigma = values()

    def check(self, spectrum: Spectrum) -> None:
        np.testing.assert_allclose(spectrum.wavelength, self.wave, rtol=1e-12)
        np.testing.assert_array_equal(spectrum.flux, self.flux)
        np.testing.assert_allclose(spectrum.sigma, self.sigma, rtol=1e-6)

    def test_arrays_dicts_and_tables(self):
        import pandas as pd
        from astropy import units as u
        from astropy.table import Table

        columns = {"wavelength": self.wave, "flux": self.flux, "error": self.sigma}
        things = [
            (self.wave, self.flux, self.sigma),
            columns,
            Table(columns),
            Table(columns | {"wavelength": self.wave / 10 * u.nm}),
            pd.DataFrame(columns),
            {"loglam": np.log10(self.wave), "flux": self.flux, "ivar": 1 / self.sigma**2},
            (self.wave[::-1] * 1e-4 * u.um, self.flux[::-1], self.sigma[::-1]),
        ]
        for thing in things:
            (spectrum,) = from_object(thing, medium="air", identifier="x", target="HD 1")
            self.check(spectrum)
            assert (spectrum.medium, spectrum.identifier, spectrum.target) == ("air", "x", "HD 1")

    def test_stacks_and_lists(self):
        many = from_object((self.wave, np.stack([self.flux, self.flux + 1])))
        assert [s.identifier for s in many] == ["spectrum#0", "spectrum#1"]
        assert len(from_object([many[0], (self.wave, self.flux)])) == 2
        assert len(from_object([(self.wave, self.flux), (self.wave, self.flux), (self.wave, self.flux)])) == 3

    def test_specutils(self):
        specutils = pytest.importorskip("specutils")
        from astropy import units as u
        from astropy.nddata import InverseVariance

        kind = getattr(specutils, "Spectrum", None) or specutils.Spectrum1D
        spectrum = kind(
            spectral_axis=self.wave / 10 * u.nm,
            flux=self.flux * u.Jy,
            uncertainty=InverseVariance(1 / self.sigma.astype(float) ** 2),
            mask=np.arange(PIXELS) == 4,
        )
        (found,) = from_object(spectrum)
        self.check(found)
        assert np.flatnonzero(~found.good).tolist() == [4]
        assert len(from_object(specutils.SpectrumList([spectrum, spectrum]))) == 2

    def test_what_is_no_spectrum_is_refused(self):
        for thing in (3, "text", {"a": [1, 2]}, ([1, 2, 3], [1, 2]), {"wave": [5000.0], "flux": [1.0]}):
            with pytest.raises(SpectrumError):
                from_object(thing)


SHARED = Path(os.environ.get("ASTROPRISM_SHARED", Path(__file__).parents[2] / "shared")) / "spectra"
# format, pixels, first and last wavelength, frame, medium, SNR, BERV of files of five observatories
REAL = {
    "ADP.2020-06-26T11_14_15.799": ("adp", 95093, 3281.967, 4562.999, "topocentric", "air", 44.55, -18.25),
    "ADP.2020-06-26T11_14_16.092": ("adp", 131068, 4726.848, 6835.073, "topocentric", "air", 124.21, -18.25),
    "HARPS.2003-12-13": ("s1d", 313149, 3781.75, 6913.23, "barycentric", "air", 29.1, 15.26),
    "HARPS.2006-09-08": ("s1d", 313120, 3781.37, 6912.56, "barycentric", "air", 191.2, -13.36),
    "HARPS.2010-09-18": ("s1d", 313114, 3781.19, 6912.32, "barycentric", "air", 40.9, -23.54),
    "LAMOST_dr10": ("lamost", 3909, 3699.985, 9099.133, "barycentric", "vacuum", 58.31, -24.26),
    "SDSS_spec-4961": ("sdss", 4619, 3569.439, 10337.131, "barycentric", "vacuum", 56.92, -8.26),
}


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="no real files here")
@pytest.mark.parametrize("start", REAL)
def test_real_files(start):
    (path,) = [path for path in SHARED.iterdir() if path.name.startswith(start)]
    spectrum = only(path)
    name, pixels, first, last, frame, medium, snr, berv = REAL[start]
    assert (spectrum.reader, len(spectrum), spectrum.frame, spectrum.medium) == (name, pixels, frame, medium)
    np.testing.assert_allclose(spectrum.wavelength[[0, -1]], [first, last], atol=6e-4)
    assert (spectrum.snr, spectrum.berv) == (pytest.approx(snr, abs=0.01), pytest.approx(berv, abs=0.01))
    assert spectrum.target
    assert np.isfinite([spectrum.ra, spectrum.dec, spectrum.time]).all()
    assert len(spectrum.keywords) > 50
    assert 0.94 < spectrum.good.mean() < 1
