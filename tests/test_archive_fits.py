"""Our FITS parser against astropy's, and against headers that should not be written."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archive_layouts import LAYOUTS
from astroprism.archive import Source
from astroprism.archive.axis import regular, require_smooth
from astroprism.archive.header import Header
from astroprism.errors import SpectrumError


def assorted(path: Path) -> None:
    """One file with every feature that the parser claims."""
    primary = fits.PrimaryHDU(np.arange(-6, 6, dtype=np.int16).reshape(3, 4))
    header = primary.header
    header["BLANK"] = -6
    header["TEXT"] = "it's quoted / and slashed"
    header["LONG"] = "a string that goes on " * 9
    header["HIERARCH ESO DET CHIP1 GAIN"] = (1.25, "electrons")
    header["HIERARCH ESO INS NAME"] = "HARPS = good"
    header["EMPTY"] = ""
    header["BIG"], header["SMALL"], header["FLAG"] = 12345678901234, -1.5e-30, True
    header["COMMENT"] = "X = 5 is no card"
    header["HISTORY"] = "Y = 6 / neither"
    header["UNDEF"] = None
    random = np.random.default_rng(0)
    columns = [
        fits.Column("short", "I", array=np.array([1, -2, 3]), null=3),
        fits.Column("unsigned", "J", array=np.array([1, 2, 2**32 - 1], dtype=np.uint32), bzero=2**31),
        fits.Column("long", "K", array=np.array([2**40, -1, 0])),
        fits.Column("real", "E", array=random.normal(size=3)),
        fits.Column("vector", "4D", array=random.normal(size=(3, 4))),
        fits.Column("bytes", "B", array=np.array([0, 1, 255], dtype=np.uint8)),
        fits.Column("name", "5A", array=np.array(["ab", "c", "defgh"])),
        fits.Column("truth", "L", array=np.array([True, False, True])),
        fits.Column("bits", "11X", array=np.zeros((3, 11), bool)),
        fits.Column("complex", "C", array=np.zeros(3, np.complex64)),
    ]
    table = fits.BinTableHDU.from_columns(columns, name="TABLE")
    images = [fits.ImageHDU(random.normal(size=(2, 5)).astype(kind)) for kind in ("f4", "f8")]
    images += [
        fits.ImageHDU(random.integers(0, 99, 7).astype(kind)) for kind in ("u1", "i4", "i8", "u2", "u4")
    ]
    fits.HDUList([primary, table, *images]).writeto(path, checksum=True, output_verify="ignore")


def same_headers(path: Path) -> int:
    """Compares every numeric and string card with astropy; returns how many there were."""
    count = 0
    with Source(path) as source, fits.open(path) as units:
        for index, unit in enumerate(units):
            ours = source.fits.unit(index).header
            numbers, strings = {}, {}
            for card in units[index]._header.cards if hasattr(unit, "_header") else unit.header.cards:
                if isinstance(card.value, str) and card.keyword not in ("COMMENT", "HISTORY", ""):
                    strings.setdefault(card.keyword, card.value.strip())
                elif isinstance(card.value, (int, float)) and not isinstance(card.value, bool):
                    numbers.setdefault(card.keyword, float(card.value))
            assert ours.numbers == numbers
            assert {key: ours.text(key) for key in strings} == strings
            count += len(numbers) + len(strings)
        assert source.fits.unit(len(units)) is None
    return count


def test_headers_as_astropy_reads_them(tmp_path):
    assorted(tmp_path / "a.fits")
    assert same_headers(tmp_path / "a.fits") > 60
    for name, (write, ending) in LAYOUTS.items():
        if ending == "fits":
            write(tmp_path / f"{name}.fits")
            assert same_headers(tmp_path / f"{name}.fits") > 5


def test_data_and_checksums_as_astropy_reads_them(tmp_path):
    assorted(tmp_path / "a.fits")
    with Source(tmp_path / "a.fits") as source, fits.open(tmp_path / "a.fits", checksum=True) as units:
        for index, unit in enumerate(units):
            ours = source.fits.unit(index)
            assert ours.verify()
            if index == 1:
                continue
            expected = unit.data.astype(np.float64)
            if index == 0:
                expected[0, 0] = np.nan  # BLANK
            np.testing.assert_array_equal(ours.image(), expected)
            assert ours.shape == unit.shape
        table, ours = units[1].data, source.fits.unit(1)
        assert ours.rows == 3
        for name in ("unsigned", "long", "real", "vector", "bytes"):
            np.testing.assert_array_equal(ours.column(name), table[name])
        np.testing.assert_array_equal(ours.column("short"), [1, -2, np.nan])
        assert ours.column("NAME").tolist() == [b"ab", b"c", b"defgh"]
        with pytest.raises(SpectrumError, match="no numbers"):
            ours.column("complex")


def test_scaled_integers(tmp_path):
    cells = [
        fits.Column(name, "I", array=np.array([1, 2, 3], dtype=np.int16)) for name in ("plain", "scaled")
    ]
    image = fits.ImageHDU(np.arange(5, dtype=np.int16))
    units = [fits.PrimaryHDU(), fits.BinTableHDU.from_columns(cells), image]
    fits.HDUList(units).writeto(tmp_path / "a.fits")
    raw = (tmp_path / "a.fits").read_bytes()
    blank = raw.index(b"END" + b" " * 77, 2880)
    scales = card("TSCAL2  = 0.5") + card("TZERO2  = 10") + card("END")
    raw = raw[:blank] + scales + raw[blank + len(scales) :]
    blank = raw.index(b"END" + b" " * 77, 3 * 2880)
    scales = card("BSCALE  = 2.0") + card("BZERO   = 100.0") + card("END")
    raw = raw[:blank] + scales + raw[blank + len(scales) :]
    (tmp_path / "a.fits").write_bytes(raw)
    with Source(tmp_path / "a.fits") as source, fits.open(tmp_path / "a.fits") as units:
        assert (
            source.fits.unit(1).column("scaled").tolist()
            == [10.5, 11.0, 11.5]
            == units[1].data["scaled"].tolist()
        )
        assert source.fits.unit(1).column("plain").tolist() == [1, 2, 3]
        assert source.fits.unit(2).image().tolist() == [100, 102, 104, 106, 108] == units[2].data.tolist()


def test_checksums_hold_whatever_was_read_before(tmp_path):
    LAYOUTS["adp"][0](tmp_path / "a.fits")
    for columns in ((), ("FLUX",), ("ERR", "WAVE"), ("WAVE", "FLUX", "ERR")):
        with Source(tmp_path / "a.fits") as source:
            unit = source.fits.unit(1)
            for name in columns:
                unit.column(name)
            assert unit.verify()


def card(text: str) -> bytes:
    return text.ljust(80).encode("latin-1")


def test_odd_cards():
    header = Header(
        card("KEY     = 1.5D+03 / Fortran")
        + card("KEY     = 7 / the first counts")
        + card("UNDER   = 1_000")
        + card("NOVALUE =")
        + card("NOTANUM = nan")
        + card("HUGE    = 1E999")
        + card("TAIL    = 12 with words")
        + card("GLUED   = 12abc")
        + card("COMMENT   FAKE = 3")
        + card("HIERARCH ESO A B   = 4. / blanks before the sign")
        + card("HIERARCH ESO A BC = 5")
        + card("FREE    =           'late'")
        + card("OPEN    = 'never closed")
    )
    assert header.numbers == {"KEY": 1500.0, "TAIL": 12.0, "ESO A B": 4.0, "ESO A BC": 5.0}
    assert (header.text("FREE"), header.text("OPEN"), header.text("ABSENT")) == ("late", "", "")
    assert header.integer("KEY") == 1500
    assert header.integer("ABSENT", 3) == 3
    for key in ("NOVALUE", "HUGE", "ABSENT", "UNDER"):
        with pytest.raises(SpectrumError, match=key):
            header.integer(key)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cards=st.lists(st.binary(min_size=80, max_size=80), max_size=20), data=st.data())
def test_no_header_brings_the_parser_down(tmp_path, cards, data):
    head = [b"SIMPLE  =                    T".ljust(80)]
    for key in ("BITPIX", "NAXIS", "NAXIS1", "NAXIS2"):
        value = data.draw(st.one_of(st.integers(-70, 70), st.floats(), st.text(max_size=20), st.integers()))
        head.append(
            f"{key:8}= {value!s:>20}".encode("latin-1", "replace").replace(b"\n", b" ").ljust(80)[:80]
        )
    raw = b"".join(head + cards) + b"END".ljust(80)
    (tmp_path / "a.fits").write_bytes(raw + b" " * (-len(raw) % 2880) + bytes(2880))
    try:
        with Source(tmp_path / "a.fits") as source:
            for index in range(3):
                unit = source.fits.unit(index)
                if unit is not None:
                    assert unit.header.numbers is not None
                    for action in (unit.verify, unit.image, lambda unit=unit: unit.columns):
                        try:
                            action()
                        except SpectrumError:
                            continue
    except SpectrumError:
        pass


def test_a_header_without_end_is_refused(tmp_path):
    LAYOUTS["adp"][0](tmp_path / "a.fits")
    raw = (tmp_path / "a.fits").read_bytes()
    end = b"END" + b" " * 77
    for count, word in ((1, "next one"), (2, "END")):
        (tmp_path / "b.fits").write_bytes(raw.replace(end, b" " * 80, count))
        with Source(tmp_path / "b.fits") as source:
            assert source.fits.unit(count - 1) is None
            assert word in str(source.fits.trouble)


def test_rounded_grids_are_found_again():
    grid = 3.5682 + 1e-4 * np.arange(3909)
    np.testing.assert_allclose(regular(grid.astype(np.float32)), grid, atol=1e-12)
    uneven = grid + 1e-5 * np.sin(np.arange(grid.size))
    assert regular(uneven.astype(np.float32)) is None
    assert regular(np.full(50, np.nan)) is None


def test_axes_of_real_instruments_pass_and_flipped_pixels_do_not():
    steps = np.concatenate([np.full(900, 0.0142), [80.0], np.full(900, 0.017)])  # two chips of UVES
    axes = {
        "two arms": 4726.8 + np.cumsum(steps),
        "log": 4000 * np.exp(1e-5 * np.arange(3000)),
        "rounded log": np.round(4000 * np.exp(2e-5 * np.arange(3000)), 2),
        "parabola": 4000 + 0.5 * np.arange(2000) + 1e-5 * np.arange(2000) ** 2,
        "pixels left out": np.delete(5000 + 0.1 * np.arange(500), [40, 41, 42, 77, 300]),
        "short": np.array([5000.0, 5001.0, 5003.0]),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for wave in axes.values():
            require_smooth(wave)
    for name in ("two arms", "log", "parabola"):
        for at in (0, 1, 100, len(axes[name]) - 1):
            spoilt = axes[name].copy()
            spoilt[at] += 0.4 * (spoilt[1] - spoilt[0])
            with pytest.raises(SpectrumError):
                require_smooth(spoilt)
