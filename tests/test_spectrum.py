import pickle

import numpy as np
import pytest

from astroprism import errors
from astroprism.errors import BadSpectrum, SpectrumError
from astroprism.spectrum import Spectrum

WAVELENGTH = np.linspace(5000.0, 5100.0, 101)


def test_a_spectrum_is_frozen_and_leaves_its_maker_free():
    flux = np.ones(101)
    spectrum = Spectrum(wavelength=WAVELENGTH, flux=flux, keywords={"A": 1.0})
    with pytest.raises(ValueError, match="read-only"):
        spectrum.flux[0] = 2
    with pytest.raises(TypeError):
        spectrum.keywords["B"] = 2.0  # type: ignore[index]
    flux[0] = 3  # the caller's own array stays writable
    assert len(spectrum) == 101


def test_big_endian_and_integer_input_become_native_floats():
    spectrum = Spectrum(wavelength=WAVELENGTH.astype(">f8"), flux=np.arange(101, dtype=">i2"))
    assert spectrum.wavelength.dtype == np.float64
    assert spectrum.flux.dtype == np.float64
    assert Spectrum(wavelength=WAVELENGTH, flux=np.ones(101, ">f4")).flux.dtype == np.float32


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"wavelength": WAVELENGTH[::-1]}, "wavelength"),
        ({"wavelength": np.r_[WAVELENGTH[:50], WAVELENGTH[49], WAVELENGTH[51:]]}, "wavelength"),
        ({"wavelength": np.where(np.arange(101) == 7, np.nan, WAVELENGTH)}, "wavelength"),
        ({"wavelength": WAVELENGTH - 6000}, "wavelength"),
        ({"wavelength": WAVELENGTH[:1], "flux": np.ones(1)}, "empty"),
        ({"flux": np.ones(100)}, "unreadable"),
        ({"sigma": np.ones(100)}, "unreadable"),
        ({"medium": "water"}, "wavelength"),
        ({"frame": "galactic"}, "wavelength"),
    ],
)
def test_what_is_no_spectrum_is_refused_with_its_reason(change, reason):
    with pytest.raises(BadSpectrum) as caught:
        Spectrum(**{"wavelength": WAVELENGTH, "flux": np.ones(101), **change})
    assert caught.value.reason == reason


def test_every_error_has_one_base():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert all(issubclass(kind, errors.AstroprismError) for kind in kinds)
    assert all(kind.__name__ in (errors.__doc__ or "") for kind in kinds)


def test_a_refusal_keeps_its_reason_through_a_process_pool():
    error = pickle.loads(pickle.dumps(BadSpectrum("too dark", reason="noise-only")))
    assert (type(error), str(error), error.reason) == (BadSpectrum, "too dark", "noise-only")
    with pytest.raises(ValueError, match="unknown refusal reason"):
        SpectrumError("x", reason="mood")
