"""The C loops against numpy, and against buffers that do not fit."""

import os

import numpy as np
import pytest

from astroprism._kernels import read_swapped, spacing


@pytest.mark.parametrize(("kind", "width"), [(">f4", 4), (">f8", 8), (">i4", 4)])
@pytest.mark.parametrize("count", [0, 1, 7, 20_000, 100_001])
def test_big_endian_values_arrive_native_with_their_sum(tmp_path, kind, width, count):
    values = np.random.default_rng(0).integers(0, 2**31, count * width // 4).astype(">u4").view(kind)
    (tmp_path / "raw").write_bytes(b"ten bytes!" + values.tobytes())
    out = np.empty(count, dtype=np.dtype(kind).newbyteorder("="))
    fd = os.open(tmp_path / "raw", os.O_RDONLY)
    try:
        got, total = read_swapped(fd, 10, out.view(np.uint8).data, width)
        assert got == values.nbytes
        assert out.tobytes() == values.astype(out.dtype).tobytes()
        assert total == int(np.frombuffer(values.tobytes(), ">u4").sum(dtype=np.uint64))
        short, _ = read_swapped(fd, 10 + 8, out.view(np.uint8).data, width)
        assert short == max(0, values.nbytes - 8)  # the file ended: told, not invented
    finally:
        os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        read_swapped(fd, 0, np.empty(1).view(np.uint8).data, 8)


def test_spacing_is_that_of_numpy_and_knows_nan():
    rng = np.random.default_rng(1)
    for n in (2, 3, 9, 1000, 10_001):
        wavelength = np.sort(rng.uniform(4000, 5000, n))
        step = np.diff(wavelength)
        assert spacing(wavelength, False) == (step.min(), step.max())
        ratio = step / wavelength[:-1]
        assert spacing(wavelength, True) == pytest.approx((ratio.min(), ratio.max()), rel=1e-12)
        for place in (0, n // 2, n - 1):
            holed = wavelength.copy()
            holed[place] = np.nan
            assert np.isnan(spacing(holed, False)).all()
    assert np.isnan(spacing(np.ones(1), False)).all()
