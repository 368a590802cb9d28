"""The Earth's motion: keywords and signs, places, times, and the computed velocity against astropy's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from archive_layouts import LAMOST_HEADER, lamost
from astroprism.archive import read
from astroprism.archive.exposure import exposure_of, time_of
from astroprism.archive.header import Header, degrees, sexagesimal
from astroprism.archive.motion import KEYWORDS, barycentric_velocity, motion_of
from astroprism.archive.observatories import OBSERVATORIES, Site, observatory, site_of

PARANAL = Site(-70.4022, -24.6253, 2648.0)
WAVE, FLUX = 5000 + 0.1 * np.arange(900), 100 + np.random.default_rng(0).normal(size=900)


def cards(content: dict[str, object] | None = None, **more: object) -> Header:
    """A header with these cards; long names and those with blanks are HIERARCH keywords."""
    made = fits.Header()
    for name, value in ((content or {}) | more).items():
        made[name if len(name) <= 8 and " " not in name else f"HIERARCH {name}"] = value
    return Header(made.tostring(endcard=False, padding=False).encode("latin-1"))


def by_astropy(ra: float, dec: float, mjd: float, site: Site) -> float:
    """The velocity to add, by astropy's other calls: no table is fetched."""
    import astropy.units as u
    from astropy.coordinates import EarthLocation, SkyCoord
    from astropy.time import Time
    from astropy.utils import iers

    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("iers_degraded_accuracy", "ignore"):
        place = EarthLocation.from_geodetic(site.longitude * u.deg, site.latitude * u.deg, site.height * u.m)
        star = SkyCoord(ra * u.deg, dec * u.deg)
        speed = star.radial_velocity_correction(obstime=Time(mjd, format="mjd"), location=place)
        return float(speed.to_value(u.km / u.s))


class TestComputed:
    def test_is_that_of_astropy(self):
        random = np.random.default_rng(1)
        for _ in range(12):
            ra, dec, mjd = random.uniform(0, 360), np.degrees(np.arcsin(random.uniform(-1, 1))), 0.0
            mjd, site = (
                random.uniform(45_000, 60_500),
                OBSERVATORIES[random.integers(len(OBSERVATORIES))].site,
            )
            assert float(barycentric_velocity(ra, dec, mjd, site)) == pytest.approx(
                by_astropy(ra, dec, mjd, site), abs=0.01
            )

    def test_is_that_of_two_observatories(self):
        # UVES, 2008-08-06, and HARPS, 2010-09-18, as their pipelines have written them into the headers
        uves = barycentric_velocity(237.999331, 32.94831, 54684.95944770, Site(-70.4048, -24.6272, 2648.0))
        harps = barycentric_velocity(229.863516, -7.72219, 55457.993127, Site(-70.7345, -29.2584, 2400.0))
        assert float(uves) == pytest.approx(-18.249904, abs=0.01)
        assert float(harps) == pytest.approx(-23.544, abs=0.01)

    def test_many_at_once_and_in_an_old_equinox(self):
        times = np.linspace(54_000, 54_365, 50)
        together = barycentric_velocity(np.full(50, 123.0), np.full(50, 45.0), times, PARANAL)
        alone = [float(barycentric_velocity(123.0, 45.0, time, PARANAL)) for time in times]
        np.testing.assert_allclose(together, alone, atol=1e-9)
        assert 20 < np.ptp(together) < 62
        # B1950 of a star at 15 h 16 m 18 s, -7 32.3 in J2000
        new = barycentric_velocity(229.0750, -7.5383, 54_000.0, PARANAL)
        old = barycentric_velocity(228.4108, -7.3557, 54_000.0, PARANAL, equinox=1950.0)
        assert float(old) == pytest.approx(float(new), abs=0.03)

    def test_the_far_future_warns_of_nothing(self):
        assert abs(float(barycentric_velocity(10.0, 10.0, 70_000.0, PARANAL))) < 31

    def test_needs_neither_network_nor_astropy(self):
        code = (
            "import socket, sys\n"
            "def refuse(*_): raise OSError('no network')\n"
            "socket.socket.connect = refuse\n"
            "from astroprism.archive.motion import barycentric_velocity\n"
            "from astroprism.archive.observatories import observatory\n"
            "v = float(barycentric_velocity(10., 10., 60_900., observatory('ESO-3.6')))\n"
            "assert abs(v) < 31 and 'astropy.coordinates' not in sys.modules\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


class TestSites:
    @pytest.mark.parametrize(
        ("name", "site"),
        [
            *[
                (n, "La Silla")
                for n in ("ESO-3.6", "ESO-3P6", "ESO-NTT", "MPI-2.2", "MPG/ESO-2.2", "ESO 1.52m")
            ],
            *[(n, "Paranal") for n in ("ESO-VLT-U2", "ESO-VLTI-U1", "VLT", "Paranal")],
            *[("Keck I", "Keck"), ("W. M. Keck Observatory", "Keck"), ("LICK", "Lick"), ("APF-2.4m", "Lick")],
            *[
                ("OHP 1.93m", "Haute-Provence"),
                ("T193", "Haute-Provence"),
                ("TNG", "TNG"),
                ("CFHT 3.6m", "CFHT"),
            ],
            *[("CA-3.5", "Calar Alto"), ("Calar Alto 2.2", "Calar Alto"), ("LAMOST", "Xinglong")],
            *[("SDSS 2.5-M", "Apache Point"), ("apo25m", "Apache Point"), ("ARC 3.5m", "Apache Point")],
            *[("Clay_Mag_2", "Las Campanas"), ("lco25m", "Las Campanas"), ("KPNO 4.0-m", "Kitt Peak")],
            *[("CTIO 4.0-m telescope", "Cerro Tololo"), ("McDonald 2.7m", "McDonald"), ("mcd107", None)],
            *[
                ("Gemini-North", "Gemini North"),
                ("Gemini-South", "Gemini South"),
                ("SOAR 4.1m", "Gemini South"),
            ],
            *[("AAT", "Siding Spring"), ("Anglo-Australian Telescope", "Siding Spring"), ("NOT", "La Palma")],
            *[
                ("WHT", "La Palma"),
                ("INT", "La Palma"),
                ("Subaru", "Subaru"),
                ("MMT", "MMT"),
                ("SALT", "Sutherland"),
            ],
            *[
                ("TNO", "Thai National"),
                ("Hubble Space Telescope", None),
                ("Celestron C11", None),
                ("LCOGT", None),
            ],
        ],
    )
    def test_names_as_headers_have_them(self, name, site):
        found = observatory(name)
        assert found == next((one.site for one in OBSERVATORIES if one.name == site), None)

    def test_a_place_in_the_header_counts(self):
        east = cards(**{"ESO TEL GEOLON": -70.7345, "ESO TEL GEOLAT": -29.2584, "ESO TEL GEOELEV": 2400.0})
        assert site_of([east]) == pytest.approx((-70.7345, -29.2584, 2400.0))
        words = cards(SITELONG="-70:42:05", SITELAT="-29:00:12", SITEALT=2282.0)
        assert site_of([words]) == pytest.approx((-70.70139, -29.00333, 2282.0), abs=1e-4)
        assert site_of([cards({"LONG-OBS": 342.12, "LAT-OBS": 28.76, "ALT-OBS": 2327.0})]) == pytest.approx(
            (-17.88, 28.76, 2327.0)
        )

    def test_geocentric_metres_are_read(self):
        from astropy.coordinates import EarthLocation

        x, y, z = (axis.value for axis in EarthLocation.from_geodetic(*PARANAL[:2], PARANAL[2]).geocentric)
        found = site_of([cards({"OBSGEO-X": x, "OBSGEO-Y": y, "OBSGEO-Z": z})])
        assert found == pytest.approx(PARANAL, abs=1e-5)

    def test_a_longitude_counted_westward_is_turned(self):
        west = cards(TELESCOP="KPNO 4.0-m", SITELONG=111.6, SITELAT=31.963)
        assert site_of([west]).longitude == pytest.approx(-111.6)

    def test_the_instrument_says_it_last(self):
        assert site_of([cards(INSTRUME="SOPHIE")]) == observatory("OHP")
        assert site_of([cards(TELESCOP="C11", OBSERVER="me")]) is None


class TestTimes:
    @pytest.mark.parametrize(
        ("content", "time"),
        [
            ({"TMID": 54684.959, "MJD-OBS": 54684.9}, 54684.959),
            ({"MJD-OBS": 54000.25, "EXPTIME": 864.0}, 54000.255),
            ({"MJD-OBS": 54000.25, "MJD-END": 54000.27, "EXPTIME": 1.0}, 54000.26),
            ({"DATE-OBS": "2010-09-18T23:42:36.178", "EXPTIME": 900.0}, 55457.993127),
            ({"DATE-OBS": "2010-09-18", "UT": "23:42:36.178", "EXPTIME": 900.0}, 55457.993127),
            ({"DATE-OBS": "2010-09-18", "UTC": 85356.178, "EXPTIME": 900.0}, 55457.993127),
            ({"DATE-OBS": "18/09/95", "UT": "12:00:00"}, 49978.5),
            ({"DATE-AVG": "2010-09-18T12:00:00", "MJD-OBS": 55457.0}, 55457.5),
            ({"JD": 2455458.25}, 55457.75),
            ({"JD-OBS": "2455458.25", "EXPTIME": "864"}, 55457.755),
            ({"HJD": 55458.25}, 55457.75),
            ({"MJD": 55457.75, "DATE": "2020-01-01T00:00:00"}, 55457.75),
        ],
    )
    def test_mid_exposure(self, content, time):
        assert time_of([cards(content)]) == (pytest.approx(time, abs=1e-6), True)

    def test_of_a_day_alone_that_is_said(self):
        assert time_of([cards({"MJD": 55719})]) == (55719.0, False)
        assert time_of([cards({"DATE-OBS": "2010-09-18"})]) == (55457.0, False)
        assert np.isnan(time_of([cards({"DATE-OBS": "yesterday", "DATE": "2010-09-18T01:00:00"})])[0])


class TestPlaces:
    @pytest.mark.parametrize(
        ("ra", "dec"),
        [
            ("12:34:56.7", "+01:02:03"),
            ("12 34 56.7", "+01 02 03"),
            ("12h34m56.7s", "+01d02m03s"),
            ("12h 34m 56.7s", "1\u00b002'03\""),
            (188.73625, 1.0341667),
            ("188.73625", "1.0341667"),
        ],
    )
    def test_right_ascension_and_declination(self, ra, dec):
        content = {"RA": ra, "DEC": dec}
        found = degrees(_Words(content), ("RA", "DEC"))
        assert found == pytest.approx((188.73625, 1.0341667), abs=1e-6)

    def test_signs_hours_and_nonsense(self):
        assert sexagesimal("-00:00:36") == pytest.approx(-0.01)
        assert sexagesimal("-12 30 00") == -12.5
        assert sexagesimal("123d30m00s", hours=True) == 123.5
        for nonsense in ("", "star", "12:61:00", "a:b:c", "HD 1 2"):
            assert np.isnan(sexagesimal(nonsense))
        made = fits.Header([("RA", 12.5, "[h] right ascension in hours"), ("DEC", 3.0)])
        raw = Header(made.tostring(endcard=False, padding=False).encode())
        assert degrees(raw, ("RA", "DEC")) == (187.5, 3.0)

    def test_other_keywords(self):
        packed = exposure_of([cards({"ESO TEL TARG ALPHA": 72724.5, "ESO TEL TARG DELTA": -51314.2})])
        assert (packed.ra, packed.dec) == pytest.approx((111.852083, -5.220611), abs=1e-5)
        amateur = exposure_of([cards({"OBJCTRA": "12 34 56.7", "OBJCTDEC": "-01 02 03"})])
        assert (amateur.ra, amateur.dec) == pytest.approx((188.73625, -1.0341667), abs=1e-6)


class _Words:
    """Keywords without a header: FITS holds no degree sign."""

    def __init__(self, content: dict[str, object]) -> None:
        self.content = content

    def text(self, key: str, /) -> str:
        value = self.content.get(key, "")
        return value if isinstance(value, str) else ""

    def number(self, *keys: str) -> float:
        return next((float(v) for k in keys if isinstance(v := self.content.get(k), float | int)), np.nan)

    def comment(self, key: str, /) -> str:
        return ""


PLACED = {
    "RA": 237.999331,
    "DEC": 32.94831,
    "MJD-OBS": 54684.95910047,
    "EXPTIME": 60.0017,
    "TELESCOP": "ESO-VLT-U2",
}


class TestKeywords:
    @pytest.mark.parametrize("keyword", KEYWORDS, ids=lambda one: one.name)
    def test_each_is_read_with_its_sign_and_unit(self, keyword):
        true = -18.25
        content = {keyword.name: keyword.sign * true / keyword.unit}
        found = motion_of([cards(content)], ra=np.nan, dec=np.nan, time=np.nan)
        assert (found.berv, found.source) == (pytest.approx(true), f"keyword {keyword.name}")
        assert bool(found.warnings) is not keyword.sure
        checked = exposure_of([cards(PLACED | content)]).motion
        assert (checked.berv, checked.warnings) == (pytest.approx(true), ())

    def test_an_opposite_sign_is_found_by_place_and_time(self):
        for keyword in (one for one in KEYWORDS if not one.sure):
            found = exposure_of(
                [cards(PLACED | {keyword.name: -keyword.sign * -18.25 / keyword.unit})]
            ).motion
            assert found.berv == pytest.approx(-18.25)
            assert "opposite" in found.warnings[0]

    def test_the_velocity_of_the_star_is_not_taken_for_the_earths(self):
        found = exposure_of([cards(PLACED | {"VHELIO": 12.0})]).motion
        assert (found.source, found.berv) == ("computed", pytest.approx(-18.25, abs=0.02))
        found = exposure_of([cards(PLACED | {"VHELIO": 81.75, "VOBS": 100.0})]).motion
        assert (found.source, found.berv) == ("keyword VHELIO", pytest.approx(-18.25))

    def test_amateurs_say_what_they_have_applied_and_what_is_left(self, tmp_path):
        # BeSS: BSS_VHEL was applied, BSS_RQVH is required, a redshift to apply
        site = {"GEO_LONG": -70.4022, "GEO_LAT": -24.6253, "GEO_ELEV": 2648.0, "TELESCOP": "C11"}
        left = exposure_of([cards(PLACED | site | {"BSS_VHEL": 0, "BSS_RQVH": "-18.25"})])
        assert (left.motion.berv, left.motion.source) == (-18.25, "keyword BSS_RQVH")
        assert (left.frame("unknown"), left.motion.warnings) == ("topocentric", ())
        done = exposure_of([cards(PLACED | site | {"BSS_VHEL": -18.25, "BSS_RQVH": 0.0})])
        assert (done.motion.berv, done.frame("unknown")) == (-18.25, "barycentric")

    def test_metres_per_second_by_comment_or_size(self):
        made = fits.Header([("BARYCORR", -2500.0, "barycentric velocity correction [m/s]")])
        raw = Header(made.tostring(endcard=False, padding=False).encode())
        assert motion_of([raw], ra=np.nan, dec=np.nan, time=np.nan).berv == -2.5
        for nothing in (-99999.0, 9999.0, -999.0):
            assert motion_of([cards({"BERV": nothing})], ra=np.nan, dec=np.nan, time=np.nan).source == "none"

    def test_without_a_keyword_it_is_computed_or_unknown(self):
        found = exposure_of([cards(PLACED)]).motion
        assert (found.source, found.berv, found.warnings) == ("computed", pytest.approx(-18.25, abs=0.02), ())
        for lacking in ("RA", "MJD-OBS", "TELESCOP"):
            content = {key: value for key, value in PLACED.items() if key != lacking}
            assert exposure_of([cards(content)]).motion.source == "none"

    def test_a_keyword_that_nobody_knows_is_a_hint_where_the_motion_is_unknown(self):
        for name in ("VHELIOCO", "ESO XYZ BARYVEL", "HELIO_V", "EARTHVEL", "BARY_CORRECTION"):
            found = exposure_of([cards({name: 12.25})]).motion
            assert (found.source, np.isnan(found.berv)) == ("none", True), name
            assert found.warnings == (
                f"{name} may be the Earth's motion, but its sign and unit are not known here: if it is, "
                "copy it to a keyword BERV (km/s, to add)",
            )
        for name, value in (
            ("VHELIOCO", 0.0),
            ("VHELIOCO", 9999.0),
            ("BJD", 12.0),
            ("SHELVES", 3.0),
            ("DEV", 1.0),
        ):
            assert exposure_of([cards({name: value})]).motion.warnings == (), name
        assert exposure_of([cards({**PLACED, "VHELIOCO": 12.25})]).motion.warnings == ()

    def test_a_place_that_is_none_is_told(self):
        found = exposure_of([cards(RA=400.0, DEC=95.0)])
        assert np.isnan([found.ra, found.dec]).all()
        assert found.motion.warnings == ("RA = 400, DEC = 95 is no place on the sky: not used",)
        both = exposure_of([cards(RA=400.0, DEC=95.0, RA_OBJ=10.0, DEC_OBJ=20.0)])
        assert (both.ra, both.motion.warnings) == (10.0, ())
        assert exposure_of([cards(RA=10.0)]).motion.warnings == ()

    def test_of_a_day_alone_it_is_good_to_a_kilometre_per_second(self):
        content = {**PLACED, "MJD-OBS": 54684}
        found = exposure_of([cards(content)]).motion
        assert abs(found.berv + 18.25) < 1
        assert "only the day" in found.warnings[0]


class TestReaders:
    def image(self, path: Path, frame: str = "TOPOCENT", **more: object) -> Path:
        unit = fits.PrimaryHDU(FLUX.astype("f4"))
        unit.header.update({"CRVAL1": WAVE[0], "CDELT1": 0.1, "CRPIX1": 1.0, **PLACED, **more})
        if frame:
            unit.header["SPECSYS"] = frame
        unit.writeto(path, overwrite=True)
        return path

    def test_an_image_in_the_observers_frame_gets_the_velocity_to_add(self, tmp_path):
        (one,) = read(self.image(tmp_path / "a.fits", RA="15:51:59.84", DEC="+32:56:53.9"))
        assert (one.frame, one.berv_source) == ("topocentric", "computed")
        assert one.berv == pytest.approx(-18.25, abs=0.02)
        assert one.time == pytest.approx(54684.959448, abs=1e-5)

    def test_a_velocity_that_was_applied_names_the_frame(self, tmp_path):
        (one,) = read(self.image(tmp_path / "a.fits", frame="", HELIO_RV=18.25))
        assert (one.frame, one.berv, one.berv_source) == ("barycentric", -18.25, "keyword HELIO_RV")

    def test_tables_text_and_stacks(self, tmp_path):
        columns = [
            fits.Column("wave", "D", array=WAVE, unit="angstrom"),
            fits.Column("flux", "E", array=FLUX),
        ]
        units = fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)])
        units[0].header.update(PLACED | {"VACUUM": True})
        units.writeto(tmp_path / "t.fits")
        lines = [
            f"# {key} = {value}"
            for key, value in (PLACED | {"RA": "15:51:59.84", "DEC": "+32 56 53.9"}).items()
        ]
        lines += [f"{w:.3f} {f:.5f}" for w, f in zip(WAVE, FLUX, strict=True)]
        (tmp_path / "t.txt").write_text("\n".join(lines) + "\n")
        stack = {"ra": [237.999331], "dec": [32.94831], "time": [54684.959448], "observatory": ["Paranal"]}
        np.savez(tmp_path / "s.npz", wavelength=WAVE, flux=FLUX[None], **stack)
        for name in ("t.fits", "t.txt", "s.npz"):
            (one,) = read(tmp_path / name)
            assert (one.berv_source, one.berv) == ("computed", pytest.approx(-18.25, abs=0.02)), name

    def test_a_cut_list_of_exposures_spoils_lamosts_own(self, tmp_path):
        lamost(tmp_path / "a.fits")
        minutes = [85711495 + 12 * number for number in range(8)]
        text = "-".join(map(str, minutes))[:68]
        assert text.endswith("-85711")
        with fits.open(tmp_path / "a.fits", mode="update") as units:
            units[0].header["LMJMLIST"], units[0].header["NEXP"] = text, 8
        (one,) = read(tmp_path / "a.fits")
        assert (one.berv_source, one.frame) == ("computed", "barycentric")
        assert one.time == pytest.approx((minutes[0] + minutes[-1]) / 2 / 1440 - 8 / 24)
        site, place = observatory("LAMOST"), (LAMOST_HEADER["RA"], LAMOST_HEADER["DEC"])
        assert one.berv == pytest.approx(by_astropy(*place, one.time, site), abs=0.05)
        assert "LMJMLIST was cut" in one.warnings[0]


SHARED = Path(os.environ.get("ASTROPRISM_SHARED", Path(__file__).parents[2] / "shared")) / "spectra"


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="no real files here")
def test_real_files_agree_with_their_keywords():
    for path in sorted(path for path in SHARED.iterdir() if path.name.startswith(("ADP", "HARPS", "LAMOST"))):
        (one,) = read(path)
        assert one.berv_source.startswith("keyword")
        with fits.open(path) as units:
            head = units[0].header
            names = [("ESO TEL GEOLON", "ESO TEL GEOLAT"), ("LONGITUD", "LATITUDE")]
            place = next((head[east], head[north]) for east, north in names if east in head)
        computed = float(barycentric_velocity(one.ra, one.dec, one.time, Site(*place, 2000.0)))
        assert computed == pytest.approx(one.berv, abs=0.05), path.name
