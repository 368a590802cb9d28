"""Every C kernel against its twin in numpy, against plain loops where that is short, and with odd buffers."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from astroprism import kernels, numpy_kernels

compiled = pytest.importorskip("astroprism._kernels", reason="no C compiler was there")
KERNELS = sorted(set(kernels.__all__) - {"COMPILED", "SLOW"})
BOTH = pytest.mark.parametrize("made", [compiled, numpy_kernels], ids=["C", "numpy"])

ODD = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-30, 3e38, -1.0, 1.0]


def pixels(seed, n, *, odd=0.1, good=0.9):
    """flux, sigma and good of n pixels, some of them odd, with runs of zeros and of bad ones."""
    rng = np.random.default_rng(seed)
    flux = rng.normal(1, 0.1, n).astype(np.float32)
    sigma = rng.uniform(0.05, 0.2, n).astype(np.float32)
    for values in (flux, sigma):
        where = rng.random(n) < odd
        values[where] = rng.choice(np.array(ODD, np.float32), int(where.sum()))
    for start in rng.integers(0, max(n, 1), n // 200):
        flux[start : start + rng.integers(1, 6)] = 0
    return flux, sigma, rng.random(n) < good


CASES = [(seed, n, odd) for seed, n in enumerate((0, 1, 2, 3, 5, 511, 512, 513, 4_099)) for odd in (0.0, 0.1)]


def same(a, b):
    """Equal to the last bit; of NaN only the place counts."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype
    assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if a.dtype.kind == "f":
        assert np.array_equal(np.signbit(a[~np.isnan(a)]), np.signbit(b[~np.isnan(b)]))


def test_both_offer_the_same_functions():
    for name in KERNELS:
        assert callable(getattr(compiled, name))
        assert callable(getattr(numpy_kernels, name))
    assert (os.environ.get("ASTROPRISM_NO_KERNELS") != "1") == kernels.COMPILED


@BOTH
@pytest.mark.parametrize(("kind", "width"), [(">f4", 4), (">f8", 8), (">i4", 4)])
@pytest.mark.parametrize("count", [0, 1, 7, 20_000, 100_001])
def test_big_endian_values_arrive_native_with_their_sum(tmp_path, made, kind, width, count):
    values = np.random.default_rng(0).integers(0, 2**31, count * width // 4).astype(">u4").view(kind)
    (tmp_path / "raw").write_bytes(b"ten bytes!" + values.tobytes())
    out = np.empty(count, dtype=np.dtype(kind).newbyteorder("="))
    fd = os.open(tmp_path / "raw", os.O_RDONLY)
    try:
        got, total = made.read_swapped(fd, 10, out.view(np.uint8).data, width)
        assert got == values.nbytes
        assert out.tobytes() == values.astype(out.dtype).tobytes()
        assert total == int(np.frombuffer(values.tobytes(), ">u4").sum(dtype=np.uint64))
        short, _ = made.read_swapped(fd, 10 + 8, out.view(np.uint8).data, width)
        assert short == max(0, values.nbytes - 8)  # the file ended: reported, not invented
    finally:
        os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        made.read_swapped(fd, 0, np.empty(1).view(np.uint8).data, 8)
    with pytest.raises(ValueError, match="width must be 4 or 8"):
        made.read_swapped(fd, 0, np.empty(1).view(np.uint8).data, 5)


@BOTH
def test_spacing_is_that_of_a_plain_loop_and_knows_nan(made):
    rng = np.random.default_rng(1)
    for n in (2, 3, 9, 1000, 10_001):
        wavelength = np.sort(rng.uniform(4000, 5000, n))
        step = np.diff(wavelength)
        assert made.spacing(wavelength, False) == (step.min(), step.max())
        ratio = step / wavelength[:-1]
        assert made.spacing(wavelength, True) == pytest.approx((ratio.min(), ratio.max()), rel=1e-12)
        for place in (0, n // 2, n - 1):
            holed = wavelength.copy()
            holed[place] = np.nan
            assert np.isnan(made.spacing(holed, False)).all()
    assert np.isnan(made.spacing(np.ones(1), False)).all()
    assert np.isnan(made.spacing(np.ones(0), True)).all()


@pytest.mark.parametrize(("seed", "n", "odd"), CASES)
@pytest.mark.parametrize("errors", [True, False])
@pytest.mark.parametrize("gaps", [True, False])
def test_survey(seed, n, odd, errors, gaps):
    flux, sigma, good = pixels(seed, n, odd=odd)
    mine, other = good.copy(), good.copy()
    for limits in ((1e-10, 1e4, 1e-3, 1e9), (0.0, float(np.finfo(np.float32).max), 0.0, 3.4e38)):
        words = gaps, *limits
        counts = compiled.survey(flux, sigma if errors else None, mine, *words)
        assert numpy_kernels.survey(flux, sigma if errors else None, other, *words) == counts
        same(mine, other)
    assert counts[2] == np.count_nonzero(mine)


@pytest.mark.parametrize(("seed", "n", "odd"), CASES)
def test_rim(seed, n, odd):
    flux, _, good = pixels(seed, n, odd=odd)
    mine, other = good.copy(), good.copy()
    assert compiled.rim(flux, mine) == numpy_kernels.rim(flux, other) == n
    same(mine, other)


def test_rim_at_the_ends():
    for made in (compiled, numpy_kernels):
        good = np.ones(8, bool)
        made.rim(np.array([0, 0, 1, 1, 1, 0, 0, 0], np.float32), good)
        # pixels 0, 1 and 4; within a run of three the ends go too: zeros are masked elsewhere
        assert good.tolist() == [True, True, False, True, False, False, True, False]


@pytest.mark.parametrize(("seed", "n", "odd"), CASES)
def test_spikes(seed, n, odd):
    flux, sigma, good = pixels(seed, n, odd=odd)
    rng = np.random.default_rng(seed)
    flux[rng.random(n) < 0.02] += 30
    for scatter in (0.0, 0.1, 0.7):
        mine, other = good.copy(), good.copy()
        found = compiled.spikes(flux, sigma, mine, scatter, 6.0, 0.2)
        assert numpy_kernels.spikes(flux, sigma, other, scatter, 6.0, 0.2) == found
        same(mine, other)
        assert found == good.sum() - mine.sum()
    assert found > 0 or n < 511 or odd


@pytest.mark.parametrize(("seed", "n", "odd"), CASES)
def test_scaled(seed, n, odd):
    flux, _, good = pixels(seed, n, odd=odd)
    for mask in (None, good):
        for by in (3.7, 1e-40, -2.0):
            mine, other = np.empty(n, np.float32), np.empty(n, np.float32)
            compiled.scaled(mine, flux, mask, by)
            numpy_kernels.scaled(other, flux, mask, by)
            same(mine, other)


@pytest.mark.parametrize(("seed", "n", "odd"), CASES)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.97, 1.0])
def test_bridge(seed, n, odd, share):
    flux, _, good = pixels(seed, n, odd=odd, good=share)
    mine, other = flux.copy(), flux.copy()
    compiled.bridge(mine, good)
    numpy_kernels.bridge(other, good)
    same(mine, other)
    same(mine[good], flux[good])


def test_a_bridge_is_a_straight_line():
    for made in (compiled, numpy_kernels):
        flux = np.array([9, 1, 9, 9, 4, 9], np.float32)
        made.bridge(flux, np.array([0, 1, 0, 0, 1, 0], bool))
        assert flux.tolist() == [1, 1, 2, 3, 4, 4]


@pytest.mark.parametrize(("seed", "n", "odd"), CASES)
def test_between(seed, n, odd):
    flux, _, good = pixels(seed, n, odd=odd)
    for mask in (None, good):
        mine, other = np.empty(n + 1, np.float32), np.empty(n + 1, np.float32)
        found = compiled.between(flux, mask, 0.9, 1.05, mine)
        assert numpy_kernels.between(flux, mask, 0.9, 1.05, other) == found
        same(mine[: found[1]], other[: found[1]])


@pytest.mark.parametrize(("seed", "n", "odd"), CASES)
@pytest.mark.parametrize("widths", [(2, 2), (3, 3), (0, 5), (1, 40)])
def test_rebin(seed, n, odd, widths):
    flux, sigma, good = pixels(seed, n, odd=odd)
    if widths == (3, 3):
        good[:] = True
    rng = np.random.default_rng(seed)
    m = n // 2
    count = np.minimum(rng.integers(widths[0], widths[1] + 1, m), n)
    start = np.sort(rng.integers(0, n - count + 1)).clip(max=n - count).astype(np.int32)
    first = np.concatenate(([0], np.cumsum(count))).astype(np.int32)
    weight = rng.random(first[-1]).astype(np.float32)
    results = []
    for made in (compiled, numpy_kernels):
        out = np.empty(m, np.float32), np.empty(m, np.float32), np.empty(m, bool)
        made.rebin(first, start, weight, flux, sigma, good, 0.5, *out)
        results.append(out)
    for mine, other in zip(*results, strict=True):
        same(mine, other)


@BOTH
def test_weights_outside_the_spectrum_are_refused(made):
    flux, sigma, good = pixels(0, 8, odd=0)
    out = np.empty(1, np.float32), np.empty(1, np.float32), np.empty(1, bool)
    one = np.ones(2, np.float32)
    for first, start in (([0, 2], [7]), ([0, 2], [-1]), ([0, 3], [0]), ([2, 0], [0])):
        with pytest.raises(ValueError, match="outside the spectrum"):
            made.rebin(
                np.array(first, np.int32), np.array(start, np.int32), one, flux, sigma, good, 0.5, *out
            )


CARDS = [
    "SIMPLE  =                    T / conforms",
    "EXPTIME =               1.5E+2 / s",
    "OBJECT  = 'HD 1 = x'           / = name",
    "MJD     = 37_81",
    "HIERARCH ESO DRS BERV = -1.25 / km/s",
    "COMMENT = 3 no value",
    "COMMENT  a = 5",
    "HUGE    =                1E999",
    "EMPTY   =",
    "DOT     =                    .",
    "D       =                1.0D3",
    "ODD\xe9    =                   -7",
    "TAB     =\t1",
]


def test_cards_of_a_header():
    raw = "".join(card.ljust(80) for card in CARDS).encode("latin-1")
    for block in (raw, raw[:-80], raw[3:], raw[:79], b""):
        found = compiled.cards(block)
        assert repr(numpy_kernels.cards(block)) == repr(found)
    numbers = {name: number for name, _, number in compiled.cards(raw)}
    assert numbers["EXPTIME"] == 150
    assert numbers["HIERARCH ESO DRS BERV"] == -1.25
    assert np.isnan(numbers["MJD"])


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="latin-1"), min_size=0, max_size=72))
def test_any_card(value):
    raw = ("KEY     =" + value)[:80].ljust(80).encode("latin-1")
    assert repr(numpy_kernels.cards(raw)) == repr(compiled.cards(raw))


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32) | st.sampled_from([0.0, 1.0])),
    st.data(),
)
def test_any_pixels(flux, data):
    draw = hnp.arrays(bool, flux.size)
    good = data.draw(draw)
    sigma = data.draw(hnp.arrays(np.float32, flux.size, elements=st.floats(width=32)))
    out = [], []
    for made, results in zip((compiled, numpy_kernels), out, strict=True):
        masks = [good.copy() for _ in range(3)]
        results.append(made.survey(flux, sigma, masks[0], True, 1e-3, 1e6, 0.0, 1e3))
        results.append(made.rim(flux, masks[1]))
        results.append(made.spikes(flux, sigma, masks[2], 0.1, 6.0, 0.2))
        line, scale = flux.copy(), np.empty_like(flux)
        made.bridge(line, good)
        made.scaled(scale, flux, good, 1.5)
        near = np.empty(flux.size + 1, np.float32)
        results.append(made.between(flux, good, 0.0, 2.0, near))
        results += [*masks, line, scale, near[: results[-1][1]]]
    for mine, other in zip(*out, strict=True):
        same(mine, other)


@BOTH
def test_buffers_that_do_not_fit_are_refused(made):
    flux, good = np.ones(4, np.float32), np.ones(5, bool)
    for call in (
        lambda: made.rim(flux, good),
        lambda: made.bridge(flux, good),
        lambda: made.survey(flux, None, good, True, 0.0, 1.0, 0.0, 1.0),
        lambda: made.survey(np.ones(5, np.float32), flux, good, True, 0.0, 1.0, 0.0, 1.0),
        lambda: made.spikes(flux, flux, good, 0.1, 6.0, 0.2),
        lambda: made.scaled(flux, np.ones(5, np.float32), None, 1.0),
        lambda: made.between(flux, None, 0.0, 1.0, np.empty(4, np.float32)),
    ):
        with pytest.raises(ValueError, match="bytes, expected"):
            call()
    with pytest.raises((ValueError, BufferError)):
        made.rim(flux[::2], np.ones(2, bool))
    made.keep_memory()


INGEST = """
import sys
from astroprism import kernels
from astroprism.ingest import IngestOptions, ingest
events = []
options = IngestOptions(workers=0, grid="5882:5920:7kms")
ingest(sys.argv[1], sys.argv[2:], options=options, progress=events.append)
print(kernels.COMPILED, sum(event.message == kernels.SLOW for event in events))
"""


def test_a_store_has_the_same_bytes_without_the_extension(archive, tmp_path):
    stores = []
    for word in ("0", "1"):
        store = tmp_path / f"store-{word}"
        ran = subprocess.run(
            [sys.executable, "-c", INGEST, store, *sorted((archive / "spectra").iterdir())[:12]],
            env=os.environ | {"ASTROPRISM_NO_KERNELS": word},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stdout.strip() == {"0": "True 0", "1": "False 1"}[word]  # and it says so once
        stores.append({p.relative_to(store): p.read_bytes() for p in store.rglob("*") if p.is_file()})
    assert len(stores[0]) > 8
    assert stores[0] == stores[1]


def test_the_package_builds_without_a_compiler(tmp_path):
    pytest.importorskip("setuptools")
    words = [sys.executable, "setup.py", "build_ext", "--build-lib", tmp_path, "--build-temp", tmp_path / "t"]
    ran = subprocess.run(
        words,
        cwd=Path(__file__).parents[1],
        env=os.environ | {"CC": str(tmp_path / "no-compiler")},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert not list(tmp_path.rglob("*.so"))
