"""IRAF's multispec: every dispersion function against its closed form, and the images that carry them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from astroprism.archive import ReadOptions, read
from astroprism.errors import SpectrumError

PIXELS = 1200
INDEX = np.arange(1, PIXELS + 1)
N = (INDEX - (1 + PIXELS) / 2) / ((PIXELS - 1) / 2)


def header(*specs: str) -> fits.Header:
    """Attributes cut into cards as IRAF does, blanks at their ends lost."""
    text = "wtype=multispec " + " ".join(f'spec{at} = "{spec}"' for at, spec in enumerate(specs, 1))
    cards = fits.Header({"CTYPE1": "MULTISPE", "WCSDIM": 2, "OBJECT": "HD 1", "RA": 10.0, "DEC": 20.0})
    cards["WAT0_001"] = "system=multispec"
    cards["WAT1_001"] = "wtype=multispec label=Wavelength units=angstroms"
    for number, at in enumerate(range(0, len(text), 68), 1):
        cards[f"WAT2_{number:03d}"] = text[at : at + 68].rstrip()
    return cards


def spec(functions: str = "", *, kind: int = 2, w1: float = 5000.0, dw: float = 0.1, z: float = 0.0) -> str:
    return f"1 1 {kind} {w1!r} {dw!r} {PIXELS} {z!r} 20.5 31.5 {functions}".strip()


def write(path: Path, cards: fits.Header, flux: np.ndarray | None = None) -> Path:
    if flux is None:
        flux = np.random.default_rng(0).normal(100, 1, PIXELS)
    fits.PrimaryHDU(flux.astype("f4"), cards).writeto(path, overwrite=True)
    return path


def wavelengths(path: Path) -> np.ndarray:
    (spectrum,) = read(path)
    return spectrum.wavelength


def spline(pieces: int, order: int) -> tuple[str, np.ndarray]:
    """Coefficients, and the spline as IRAF's page writes it, pixel by pixel."""
    c = 5000 + 30.0 * np.arange(pieces + order) + np.random.default_rng(1).normal(0, 0.3, pieces + order)
    if order == 3:
        c /= 6  # the four weights of a cubic sum to six
    out = []
    for p in INDEX:
        s = (p - 1) / (PIXELS - 1) * pieces
        j = min(int(s), pieces - 1)
        a, b = j + 1 - s, s - j
        x = (a, b) if order == 1 else (a**3, 1 + 3 * a * (1 + a * b), 1 + 3 * b * (1 + a * b), b**3)
        out.append(sum(c[i + j] * x[i] for i in range(order + 1)))
    return f"{4 if order == 1 else 3} {pieces} 1. {PIXELS}. " + " ".join(map(repr, map(float, c))), np.array(
        out
    )


ARRAY = [round(5000 + 0.1 * i + 1e-6 * i * i, 6) for i in INDEX.tolist()]
FUNCTIONS = {
    "chebyshev": (
        f"1 4 1. {PIXELS}. 5060. 60. -0.5 0.02",
        5060 + 60 * N - 0.5 * (2 * N**2 - 1) + 0.02 * (4 * N**3 - 3 * N),
    ),
    "legendre": (f"2 3 1. {PIXELS}. 5060. 60. -0.5", 5060 + 60 * N - 0.5 * (3 * N**2 - 1) / 2),
    "linear spline": spline(7, 1),
    "cubic spline": spline(7, 3),
    "pixel array": (f"5 {PIXELS} " + " ".join(map(str, ARRAY)), np.array(ARRAY)),
    "sampled array": ("6 3 0. 1. 5000. 601. 5060. 1201. 5120.", 5000 + 0.1 * (INDEX - 1.0)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(tmp_path, name):
    text, truth = FUNCTIONS[name]
    cards = header(spec(f"1. 0. {text}"))
    np.testing.assert_allclose(wavelengths(write(tmp_path / "a.fits", cards)), truth, rtol=2e-9)


def test_weights_zero_points_and_the_doppler_factor(tmp_path):
    two = f"0.75 1.5 1 2 1. {PIXELS}. 5060. 60. 0.25 -0.5 2 2 1. {PIXELS}. 5064. 60."
    path = write(tmp_path / "a.fits", header(spec(two, z=1e-4)))
    truth = (0.75 * (1.5 + 5060) + 0.25 * (5064 - 0.5) + 60 * N) / (1 + 1e-4)
    np.testing.assert_allclose(wavelengths(path), truth, rtol=1e-12)
    (spectrum,) = read(path)
    assert "Doppler factor z = 0.0001" in " ".join(spectrum.warnings)


def test_linear_and_logarithmic(tmp_path):
    path = write(tmp_path / "a.fits", header(spec(kind=0)))
    np.testing.assert_allclose(wavelengths(path), 5000 + 0.1 * (INDEX - 1))
    path = write(tmp_path / "a.fits", header(spec(kind=1, w1=3.7, dw=1e-5)))
    np.testing.assert_allclose(wavelengths(path), 10 ** (3.7 + 1e-5 * (INDEX - 1)))


def test_a_section_keeps_its_wavelengths(tmp_path):
    cards = header(spec(f"1. 0. {FUNCTIONS['legendre'][0]}"))
    cards["LTV1"], cards["LTM1_1"] = -99.0, 1.0
    flux = np.random.default_rng(0).normal(100, 1, 500)
    found = wavelengths(write(tmp_path / "a.fits", cards, flux))
    np.testing.assert_allclose(found, FUNCTIONS["legendre"][1][99:599], rtol=1e-12)


def test_the_line_that_a_one_dimensional_image_kept(tmp_path):
    cards = header(spec(kind=0), spec(kind=0, w1=6000.0))
    cards["WAXMAP01"] = "1 0 0 1"
    assert wavelengths(write(tmp_path / "a.fits", cards))[0] == 6000


def test_bands_of_apall(tmp_path):
    flux = np.random.default_rng(0).normal(100, 1, PIXELS)
    bands = np.stack([flux, 2 * flux, flux / 9, np.ones(PIXELS)])[:, None]
    cards = header(spec(kind=0))
    for at, name in enumerate(
        ("spectrum - background fit, weights variance", "raw", "background", "sigma"), 1
    ):
        cards[f"BANDID{at}"] = name
    (spectrum,) = read(write(tmp_path / "a.fits", cards, bands))
    np.testing.assert_allclose(spectrum.flux, flux, rtol=1e-6)
    np.testing.assert_allclose(spectrum.sigma, 1)


def test_stars_beside_each_other_are_spectra_of_their_own(tmp_path):
    flux = np.random.default_rng(0).normal(100, 1, (3, PIXELS))
    cards = header(*(spec(kind=0, w1=5000.0 + 3 * at) for at in range(3)))
    for at in range(1, 4):
        cards[f"APID{at}"] = f"Star {at}"
    found = list(read(write(tmp_path / "a.fits", cards, flux)))
    assert [one.target for one in found] == ["Star 1", "Star 2", "Star 3"]
    assert [one.identifier for one in found] == ["a#0", "a#1", "a#2"]
    assert [one.wavelength[0] for one in found] == [5000, 5003, 5006]
    assert np.isnan([one.ra for one in found]).all()  # the header's place is the field's
    even = fits.Header({"WAT0_001": "system=equispec", "CRVAL1": 5000.0, "CDELT1": 0.1, "CRPIX1": 1.0})
    assert len(list(read(write(tmp_path / "b.fits", even, flux)))) == 3


def test_orders_are_refused_with_what_to_do(tmp_path):
    flux = np.random.default_rng(0).normal(100, 1, (3, PIXELS))
    cards = header(*(spec(kind=0, w1=5000.0 + 100 * at) for at in range(3)))
    path = write(tmp_path / "a.fits", cards, flux)
    with pytest.raises(SpectrumError, match=r"3 orders, .* scombine") as caught:
        list(read(path))
    assert caught.value.reason == "ambiguous"
    (second,) = read(path, options=ReadOptions(row=1))
    assert second.wavelength[0] == 5100


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (spec(kind=-1), "no wavelengths"),
        ("1 1 2 5000.", "4 of 9 numbers"),
        (spec("1. 0. 1 4 1. 1200. 5060."), "incomplete"),
        (spec("1. 0. 9 4 1. 1200. 5060."), "incomplete"),
        (spec(), "without a dispersion function"),
        (spec("1. 0. x"), "no number"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(tmp_path, text, word):
    with pytest.raises(SpectrumError, match=word) as caught:
        list(read(write(tmp_path / "a.fits", header(text))))
    assert caught.value.reason == "wavelength"
