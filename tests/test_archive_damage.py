"""Damaged files end as correct spectra or as counted refusals: never as other errors, never slowly."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from archive_layouts import LAYOUTS, adp
from astroprism.archive import ReadOptions, read
from astroprism.errors import SpectrumError
from astroprism.grid import parse_grid
from astroprism.spectrum import Spectrum
from astroprism.store.prepare import prepare

CASES = 168
BLOCK, CARD = 2880, 80
# What lies in these cards of a bare image is said nowhere else in the file, so it cannot be noticed.
UNSAID = (b"CRVAL1", b"CDELT1", b"CD1_1", b"CRPIX1", b"CTYPE1", b"CUNIT1", b"BSCALE", b"BZERO")


def cards_of(raw: bytes) -> list[int]:
    """Where the cards of all headers begin."""
    starts, at = [], 0
    while raw[at : at + 8] in (b"SIMPLE  ", b"XTENSION"):
        while raw[at : at + 8] != b"END     ":
            starts.append(at)
            at += CARD
        at = raw.find(b"XTENSION", at)
        if at < 0:
            break
    return starts


def damage(raw: bytes, kind: str, random: np.random.Generator) -> tuple[bytes, bytes]:
    """The damaged bytes, and the card that was hit (where one was)."""
    spoilt = bytearray(raw)
    if kind == "cut":
        return raw[: random.integers(1, len(raw))], b""
    if kind == "flip":
        for at in random.integers(0, len(raw), random.integers(1, 4)):
            spoilt[at] ^= 1 << random.integers(0, 8)
    elif kind == "zeros":
        at = int(random.integers(0, len(raw)))
        spoilt[at : at + 3000] = bytes(len(spoilt[at : at + 3000]))
    elif kind == "noise":
        at = int(random.integers(0, len(raw)))
        spoilt[at : at + 300] = random.bytes(len(spoilt[at : at + 300]))
    elif kind == "twice":
        return raw + raw, b""
    elif kind == "lost":
        at, size = int(random.integers(0, len(raw))), int(random.integers(1, 5000))
        del spoilt[at : at + size]
    else:
        starts = cards_of(raw)
        if not starts:
            return damage(raw, "flip", random)
        at = int(random.choice(starts))
        card = raw[at : at + CARD]
        if kind == "card gone":
            spoilt[at : at + CARD] = b" " * CARD
        elif kind == "card garbled":
            place = at + int(random.integers(0, 31))
            spoilt[place] = random.integers(32, 127)
        elif kind == "card number":
            digits = [i for i in range(at + 9, at + 40) if raw[i : i + 1].isdigit()]
            if digits:
                spoilt[int(random.choice(digits))] = random.integers(48, 58)
        elif kind == "card value":
            values = (b"-1", b"0", b"1E300", b"99999999999999999999", b"'x'", b"T", b"", b"1e999", b"nan")
            spoilt[at + 10 : at + CARD] = values[random.integers(0, len(values))].ljust(CARD - 10)
        elif kind == "card twice":
            spoilt[at + CARD : at + 2 * CARD] = card
        return bytes(spoilt), card
    return bytes(spoilt), b""


KINDS = (
    *("cut", "flip", "zeros", "noise", "twice", "lost"),
    *("card gone", "card garbled", "card number", "card value", "card twice"),
)


def case(folder: Path, number: int) -> tuple[Path, list[Spectrum], str, str, bytes]:
    """File number `number`, damaged in its own way, with what it held before."""
    random = np.random.default_rng(number)
    name = list(LAYOUTS)[number % len(LAYOUTS)]
    kind = KINDS[number // len(LAYOUTS) % len(KINDS)]
    write, ending = LAYOUTS[name]
    path = folder / f"{name}-{number}.{ending}"
    write(path)
    before = [item for item in read(path) if isinstance(item, Spectrum)]
    spoilt, card = damage(path.read_bytes(), kind, random)
    path.write_bytes(spoilt)
    return path, before, name, kind, card


def attempt(path: Path) -> list[Spectrum | SpectrumError]:
    """What reading gives; [] where the file was refused, in words that name it."""
    found, refusals = [], []
    try:
        found = list(read(path, options=ReadOptions(checksum="refuse")))
    except SpectrumError as error:
        refusals.append(str(error))
    assert all(path.name in text and "gave up" not in text for text in refusals)
    return found


def differing(before: Spectrum, after: Spectrum) -> float:
    """Share of pixels that are wrong and called good: their wavelength or flux is not what it was."""
    size = min(len(before), len(after))
    if size < len(before) - 2 and after.reader != "text":
        return 1.0
    place = np.searchsorted(before.wavelength, after.wavelength).clip(0, len(before) - 1)
    place = np.where(
        np.abs(before.wavelength[place - 1] - after.wavelength)
        < np.abs(before.wavelength[place] - after.wavelength),
        place - 1,
        place,
    )
    shift = np.abs(after.wavelength / before.wavelength[place] - 1)
    moved = shift > 3e-7
    with np.errstate(all="ignore"):
        same = np.abs(after.flux - before.flux[place]) <= 1e-6 * np.abs(before.flux[place])
    wrong = moved | ~same
    good = np.ones(len(after), bool) if after.good is None else after.good
    return float((wrong & good).sum() / size)


@pytest.mark.parametrize("number", range(CASES))
def test_a_damaged_file_is_read_right_or_refused(tmp_path, number):
    path, before, name, kind, card = case(tmp_path, number)
    start = time.process_time()
    found = attempt(path)
    assert time.process_time() - start < 1
    for item in found:
        if isinstance(item, SpectrumError) or (
            name in ("image", "image-log", "s1d") and card.startswith(UNSAID)
        ):
            continue
        # without a checksum pixels that were overwritten cannot be distinguished from measured ones
        allowed = 0.06 if kind in ("noise", "zeros") else 0.005
        assert any(differing(one, item) < allowed for one in before), kind


@pytest.mark.parametrize("number", range(40))
def test_with_checksums_no_changed_pixel_passes(tmp_path, number):
    random = np.random.default_rng(number)
    truth = adp(tmp_path / "a.fits")
    raw = bytearray((tmp_path / "a.fits").read_bytes())
    raw[random.integers(0, len(raw))] ^= 1 << random.integers(0, 8)
    (tmp_path / "a.fits").write_bytes(raw)
    for found in attempt(tmp_path / "a.fits"):  # where the flip hit the checksum card itself
        np.testing.assert_array_equal(found.flux, truth.flux)
        np.testing.assert_array_equal(found.wavelength, truth.wavelength)


def test_a_checksum_that_fails_is_a_warning_unless_the_data_are_impossible(tmp_path):
    truth = adp(tmp_path / "a.fits")
    raw = (tmp_path / "a.fits").read_bytes()
    grid = parse_grid("5002:5012:1kms")
    for value, fate in ((truth.flux[700], "read"), (np.float32(1e21), "insane")):
        spoilt = truth.flux.astype(">f4")
        spoilt[300:330] = value
        (tmp_path / "a.fits").write_bytes(raw.replace(truth.flux.astype(">f4").tobytes(), spoilt.tobytes()))
        (spectrum,) = read(tmp_path / "a.fits")
        assert "do not match their DATASUM" in spectrum.warnings[0]
        if fate == "read":
            assert "DATASUM" in prepare(spectrum, grid).facts["warnings"]
        else:
            with pytest.raises(SpectrumError) as caught:
                prepare(spectrum, grid)
            assert caught.value.reason == fate


def test_flux_that_is_not_finite_is_not_good(tmp_path):
    for value in (np.nan, np.inf, -np.inf, 0.0):
        truth = adp(tmp_path / "a.fits", checksum=False)
        raw = (tmp_path / "a.fits").read_bytes()
        flux = truth.flux.astype(">f4")
        spoilt = flux.copy()
        spoilt[300:310] = value
        (tmp_path / "a.fits").write_bytes(raw.replace(flux.tobytes(), spoilt.tobytes()))
        (spectrum,) = read(tmp_path / "a.fits", options=ReadOptions())
        assert not spectrum.good[300:310].any()
        assert spectrum.good[310:].all()


def test_declared_sizes_are_not_allocated(tmp_path):
    import tracemalloc

    adp(tmp_path / "a.fits", checksum=False)
    raw = (tmp_path / "a.fits").read_bytes()
    at = raw.index(b"NAXIS1  =")
    for number in (b"1000000000000", b"99999999999999999999", b"2147483648"):
        (tmp_path / "b.fits").write_bytes(raw[: at + 10] + number.rjust(20) + raw[at + 30 :])
        tracemalloc.start()
        with pytest.raises(SpectrumError):
            list(read(tmp_path / "b.fits"))
        assert tracemalloc.get_traced_memory()[1] < 5e6
        tracemalloc.stop()
