import numpy as np
import pytest

from astroprism.errors import BadSpectrum, ConfigError
from astroprism.grid import PAPER, PAPER_DEAD, log_grid, parse_grid
from astroprism.spectrum import Spectrum
from astroprism.store.mask import estimate_sigma, fast_median
from astroprism.store.prepare import PrepareOptions, prepare

GRID = log_grid(5000, 5200, step=5.0)


def star(rng, *, snr=100.0, scale=1000.0, n=22_000, **more):
    wavelength = 4990 + 0.01 * np.arange(n)
    lines = 1 - 0.5 * np.exp(-0.5 * ((wavelength % 3 - 1.5) / 0.05) ** 2)
    flux = scale * (lines + rng.normal(0, 1 / snr, n))
    return Spectrum(
        **{
            "wavelength": wavelength,
            "flux": flux.astype(np.float32),
            "sigma": np.full(n, scale / snr, np.float32),
            "medium": "vacuum",
            **more,
        }
    )


def test_flux_is_in_units_of_its_median_and_sigma_with_it():
    row = prepare(star(np.random.default_rng(0)), GRID)
    assert np.median(row.flux[row.good]) == pytest.approx(1, abs=1e-6)
    assert row.good.all()
    assert row.facts["sigma_from"] == "file"
    assert row.facts["scale"] == pytest.approx(1000, rel=0.02)
    # eight native pixels make one of the grid
    assert np.median(row.sigma) == pytest.approx(0.01 / np.sqrt(8.4), rel=0.05)


@pytest.mark.parametrize("scale", [1e-17, 1e12])
def test_units_of_any_size_come_out_alike(scale):
    rng = np.random.default_rng(0)
    row, unit = prepare(star(rng, scale=scale), GRID), prepare(star(np.random.default_rng(0)), GRID)
    assert np.allclose(row.flux, unit.flux, rtol=1e-5)
    assert np.allclose(row.sigma, unit.sigma, rtol=1e-4)


def test_the_paper_grid_is_the_release_bit_for_bit():
    """Trim, pad and divide as the release does, written out here once more from its description."""
    rng = np.random.default_rng(3)
    wavelength = 3781.37 + 0.01 * np.arange(313_120)
    flux = rng.gamma(40, 25, wavelength.size).astype(np.float32)
    sigma = np.full(flux.size, 160, np.float32)
    spectrum = Spectrum(wavelength=wavelength, flux=flux, sigma=sigma, medium="air", frame="barycentric")
    inside = (wavelength >= 3785 - 1e-5) & (wavelength <= 6910 + 1e-5)
    padded = np.pad(flux[inside], (7589, 7590))
    mask = np.ones(327_680, np.float32)
    mask[:7589] = mask[320_090:] = mask[159_453:162_894] = 0
    released = padded / np.median(padded * mask)
    ours = prepare(spectrum, PAPER, options=PrepareOptions(normalise="paper-median"))
    assert np.array_equal(ours.flux, released)
    assert np.array_equal(ours.good, mask.astype(bool))
    follow_up = padded / np.median(padded[mask > 0])
    assert np.array_equal(prepare(spectrum, PAPER).flux, follow_up)
    assert all(not ours.good[dead].any() for dead in PAPER_DEAD)


def test_fast_median_is_numpys():
    rng = np.random.default_rng(1)
    for n in (2, 5, 1000, 1001, 8192, 20_001, 312_501):
        for values in (rng.normal(size=n), rng.integers(0, 3, n), np.sort(rng.normal(size=n)), np.ones(n)):
            flux = values.astype(np.float32)
            good = rng.random(n) > 0.2
            good[:2] = True
            assert fast_median(flux, good) == np.median(flux[good])
            assert fast_median(flux, np.ones(n, bool)) == np.median(flux)


def test_gaps_nan_and_flagged_pixels_are_masked_and_their_neighbours_kept():
    spectrum = star(np.random.default_rng(0))
    flux, sigma, flags = spectrum.flux.copy(), spectrum.sigma.copy(), np.ones(len(spectrum), bool)
    flux[5000:6000] = sigma[5000:6000] = 0  # a chip gap
    flux[8000:8020] = np.nan
    flux[9000:9020] = np.inf
    flags[12_000:12_050] = False
    flux[12_000:12_050] = 1.234e4
    sigma[13_000:13_040] = 0  # values without error are no measurement
    row = prepare(star(np.random.default_rng(0), flux=flux, sigma=sigma, good=flags), GRID)
    assert np.isfinite(row.flux).all()
    assert np.isfinite(row.sigma).all()
    for low, high in (
        (5040.1, 5049.9),
        (5070.03, 5070.17),
        (5080.03, 5080.17),
        (5110.03, 5110.47),
        (5120.03, 5120.37),
    ):
        assert not row.good[GRID.window(low, high)].any()
    assert row.good.mean() > 0.93
    assert np.all(row.sigma[row.good] > 0)
    assert row.flux[row.good].max() < 1.2


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda flux: flux * 0 + 7, "constant"),
        (lambda flux: flux * 0, "constant"),
        (lambda flux: flux * np.nan, "masked"),
        (lambda flux: -flux, "noise-only"),
        (lambda flux: np.where(np.arange(flux.size) % 5 == 0, 1.6e21, flux), "insane"),
        (lambda flux: np.where(np.arange(flux.size) < 15_000, np.nan, flux), "masked"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(make, reason):
    spectrum = star(np.random.default_rng(0))
    for sigma in (spectrum.sigma, None):
        with pytest.raises(BadSpectrum) as caught:
            prepare(
                star(np.random.default_rng(0), flux=make(spectrum.flux).astype(np.float32), sigma=sigma), GRID
            )
        assert caught.value.reason in (reason, "masked" if sigma is None else reason)


def test_noise_around_zero_is_refused_or_masked_never_scaled_up():
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 1, 22_000).astype(np.float32)
    with pytest.raises(BadSpectrum) as caught:
        prepare(star(rng, flux=noise - np.median(noise) - 0.01, sigma=np.ones(22_000)), GRID)
    assert caught.value.reason == "noise-only"


def test_pure_noise_is_refused_whatever_its_sign():
    rng = np.random.default_rng(6)
    wavelength = np.linspace(4995, 5205, 4000)
    for sigma in (np.ones(4000), None):
        for _ in range(40):
            noise = Spectrum(wavelength=wavelength, flux=rng.normal(0, 1, 4000), sigma=sigma)
            with pytest.raises(BadSpectrum) as caught:
                prepare(noise, GRID)
            assert caught.value.reason == "noise-only"
    faint = Spectrum(wavelength=wavelength, flux=rng.normal(0.5, 1, 4000), sigma=np.ones(4000))
    assert prepare(faint, GRID).facts["snr"] < 2


def test_damage_outside_the_grid_refuses_the_file():
    spectrum = star(np.random.default_rng(0))
    flux = spectrum.flux.copy()
    flux[16_000::3] = 1e18
    window = log_grid(5000, 5100, step=5.0)
    with pytest.raises(BadSpectrum, match="whole file") as caught:
        prepare(star(np.random.default_rng(0), flux=flux), window)
    assert caught.value.reason == "insane"


def test_other_ranges_are_refused_with_advice():
    with pytest.raises(BadSpectrum, match="choose another --grid") as caught:
        prepare(star(np.random.default_rng(0), wavelength=8000 + 0.01 * np.arange(22_000)), GRID)
    assert caught.value.reason == "no-overlap"
    with pytest.raises(BadSpectrum) as caught:
        prepare(star(np.random.default_rng(0), wavelength=4850 + 0.01 * np.arange(22_000)), GRID)
    assert caught.value.reason == "no-overlap"


def test_a_few_wild_values_are_masked_and_do_not_leak():
    flux = star(np.random.default_rng(0)).flux.copy()
    flux[[3000, 9000, 15_000]] = 1.6e21, -3e30, 4e8
    row = prepare(star(np.random.default_rng(0), flux=flux), GRID)
    assert np.abs(row.flux).max() < 2
    assert row.good.mean() > 0.99


def test_single_pixel_spikes_are_masked_lines_are_not():
    """A spike narrower than any line profile is a fault; a line two pixels wide is light."""
    rng = np.random.default_rng(7)
    pixel = np.arange(len(GRID.wavelength))
    flux = 1 + rng.normal(0, 0.005, pixel.size)
    narrow = 0.5 * np.exp(-4 * np.log(2) * ((pixel - 500) / 2.0) ** 2)
    emission = 3 * np.exp(-4 * np.log(2) * ((pixel - 900) / 2.0) ** 2)
    flux = flux - narrow + emission
    flux[[1200, 1300]] += 0.4, -0.3
    row = prepare(Spectrum(wavelength=GRID.wavelength, flux=flux, sigma=np.full(pixel.size, 0.005)), GRID)
    assert row.facts["n_spikes"] == 2
    assert list(np.flatnonzero(~row.good)) == [1200, 1300]


@pytest.mark.parametrize("snr", [20, 200])
def test_sigma_is_estimated_where_the_file_has_none(snr):
    spectrum = star(np.random.default_rng(0), snr=snr, sigma=None)
    estimated = estimate_sigma(spectrum.flux, np.ones(len(spectrum), bool))
    assert np.median(estimated) == pytest.approx(1000 / snr, rel=0.1)
    row = prepare(spectrum, GRID)
    assert row.facts["sigma_from"] == "scatter"
    hollow = prepare(star(np.random.default_rng(0), snr=snr, sigma=np.full(22_000, np.nan)), GRID)
    assert hollow.facts["sigma_from"] == "scatter"
    assert "no usable errors" in hollow.facts["warnings"]
    assert np.array_equal(row.flux, hollow.flux)


def test_frames_are_changed_by_the_known_berv_only():
    rng = np.random.default_rng(0)
    wavelength = np.arange(4980.0, 5220.0, 0.01)
    flux = 1 - 0.5 * np.exp(-0.5 * ((wavelength - 5100) / 0.2) ** 2) + rng.normal(0, 1e-4, wavelength.size)
    common = {"wavelength": wavelength, "flux": flux, "sigma": np.full(wavelength.size, 1e-4), "berv": 20.0}

    def centre(frame, wanted):
        row = prepare(Spectrum(frame=frame, **common), GRID, options=PrepareOptions(frame=wanted))
        window = GRID.window(5097, 5103)
        depth = 1 - row.flux[window] / np.median(row.flux)
        at = np.sum(depth * GRID.wavelength[window]) / depth.sum()
        return (at / 5100 - 1) * 299_792.458, row.facts

    assert centre("topocentric", "barycentric")[0] == pytest.approx(20, abs=0.3)
    assert centre("barycentric", "observer")[0] == pytest.approx(-20, abs=0.3)
    assert centre("barycentric", "observer")[1]["frame"] == "topocentric"
    assert centre("barycentric", "barycentric")[0] == pytest.approx(0, abs=0.3)
    shift, facts = centre("unknown", "barycentric")
    assert shift == pytest.approx(0, abs=0.3)
    assert facts["frame"] == "unknown"
    assert "frame stays unknown" in facts["warnings"]


def test_continuum_normalisation_takes_the_slope_out_and_leaves_the_lines():
    grid = log_grid(4000, 6000, step=20.0)
    rng = np.random.default_rng(0)
    wavelength = np.arange(3990.0, 6010.0, 0.1)
    lines = 1 - 0.5 * np.exp(-0.5 * ((wavelength % 30 - 15) / 0.5) ** 2)
    slope = 3 + np.sin(wavelength / 300) + wavelength / 2000
    common = {"wavelength": wavelength, "sigma": np.full(wavelength.size, 0.01)}
    noise = rng.normal(0, 0.01, wavelength.size)
    options = PrepareOptions(normalise="continuum")
    row = prepare(Spectrum(flux=lines * slope + noise, **common), grid, options=options)
    upper = [np.quantile(piece, 0.9) for piece in np.array_split(row.flux, 20)]
    assert np.abs(np.array(upper) - 1).max() < 0.05
    assert np.std(upper) < 0.02
    assert row.flux.min() == pytest.approx(0.5, abs=0.08)


def test_options_that_make_no_sense_are_refused():
    for bad in ({"frame": "moon"}, {"normalise": "max"}, {"min_good": 0.0}, {"min_good": 2.0}):
        with pytest.raises(ConfigError):
            PrepareOptions(**bad)


def test_a_bad_pixel_on_the_slope_of_a_line_does_not_bend_the_line():
    wavelength = 4990 + 0.05 * np.arange(4400)
    flux = 1 - 0.7 * np.exp(-0.5 * ((wavelength % 3 - 1.5) / 0.15) ** 2)
    common = {"wavelength": wavelength, "sigma": np.full(wavelength.size, 0.002)}
    rng = np.random.default_rng(2)
    good = rng.random(wavelength.size) > 0.1
    whole, holed = (
        prepare(Spectrum(flux=flux, good=flags, **common), GRID) for flags in (np.ones(flux.size, bool), good)
    )
    both = whole.good & holed.good
    ratio = holed.facts["scale"] / whole.facts["scale"]
    assert both.mean() > 0.85
    assert np.abs(holed.flux[both] * ratio - whole.flux[both]).max() < 0.06
    # errors grow where pixels are missing
    assert np.all(holed.sigma[both] * ratio >= whole.sigma[both] * 0.999)


def test_a_wild_error_does_not_weigh_a_pixel_without_bound():
    spectrum = star(np.random.default_rng(0))
    sigma = spectrum.sigma.copy()
    sigma[[500, 3000, 7000]] = 1e-12, 1e-30, 1e30
    row = prepare(star(np.random.default_rng(0), sigma=sigma), GRID)
    assert row.sigma[row.good].min() > 0.5 * np.median(row.sigma[row.good])
    hopeless = prepare(star(np.random.default_rng(0), sigma=np.full(22_000, 1e-12)), GRID)
    assert hopeless.facts["sigma_from"] == "scatter"


class TestErrorsThatAreNone:
    """Columns of errors that the scatter of the flux rules out are told and replaced; others never."""

    wave = 5000 * np.exp(np.arange(4000) * 10 / 299792.458)

    def row(self, column, *, snr=80.0, level=1.0, depth=0.6, seed=0):
        """A spectrum full of lines, with errors that `column` makes of the right ones."""
        random = np.random.default_rng(seed)
        lines = np.zeros(self.wave.size)
        for centre in random.uniform(0, self.wave.size, 150):
            lines += random.uniform(0, depth) * np.exp(
                -0.5 * ((np.arange(self.wave.size) - centre) / 2.5) ** 2
            )
        true = level * np.exp(-lines)
        sigma = np.full(true.size, level / snr)
        flux = true + sigma * random.normal(size=true.size)
        spectrum = Spectrum(wavelength=self.wave, flux=flux, sigma=column(flux, sigma), medium="vacuum")
        return prepare(spectrum, parse_grid("5050:5650:10kms"))

    @pytest.mark.parametrize(
        ("column", "level", "word"),
        [
            (lambda f, s: np.abs(f) / s, 1.0, "S/N"),
            (lambda f, s: np.abs(f) / s, 1e-15, "S/N"),
            (lambda f, s: 1 / s**2, 1.0, "inverse variance"),
            (lambda f, s: s**2, 1.0, "variance"),
            (lambda f, s: 100 * s / np.abs(f), 1.0, "per cent"),
            (lambda f, s: np.ones_like(f), 1.0, "times the scatter"),
            (lambda f, s: 10 * s, 1.0, "times the scatter"),
            (lambda f, s: s / 100, 1.0, "times the errors"),
        ],
    )
    def test_are_told_and_replaced(self, column, level, word):
        row = self.row(column, level=level, depth=0.05)
        assert row.facts["sigma_from"] == "scatter"
        assert word in row.facts["warnings"]
        assert "estimated from the scatter" in row.facts["warnings"]
        assert row.facts["snr"] == pytest.approx(80, rel=0.4)

    @pytest.mark.parametrize(
        "column", [lambda f, s: 0 * f, lambda f, s: 0 * f + 1e-20, lambda f, s: 0 * f + np.nan]
    )
    def test_empty_columns_are_as_before(self, column):
        row = self.row(column)
        assert row.facts["sigma_from"] == "scatter"

    @pytest.mark.parametrize("snr", [3.0, 20.0, 300.0, 1600.0])
    @pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
    def test_right_ones_and_factors_of_three_stay(self, snr, factor):
        for seed in range(3):
            row = self.row(lambda f, s: factor * s, snr=snr, seed=seed)
            assert row.facts["sigma_from"] == "file"
            assert row.facts["warnings"] == ""

    def test_ten_times_the_errors_are_found_among_lines(self):
        """Lines look like scatter, but for the fourth differences of white noise."""
        for snr in (30.0, 100.0, 200.0):
            row = self.row(lambda f, s: 10 * s, snr=snr)
            assert row.facts["sigma_from"] == "scatter", snr
            assert "times the scatter" in row.facts["warnings"]

    @pytest.mark.parametrize("width", [0.5, 0.7, 1.0, 1.5, 2.0, 3.0])
    def test_correlated_noise_is_no_wrong_error(self, width):
        from scipy.ndimage import gaussian_filter1d

        noise = gaussian_filter1d(np.random.default_rng(0).normal(size=4000), width)
        flux = 1 + 0.02 * noise / noise.std()
        spectrum = Spectrum(wavelength=self.wave, flux=flux, sigma=np.full(4000, 0.02), medium="vacuum")
        assert prepare(spectrum, parse_grid("5050:5650:10kms")).facts["sigma_from"] == "file"

    def test_a_template_without_noise_keeps_its_errors(self):
        flux = 1 - 0.5 * np.exp(-0.5 * ((np.arange(4000) - 2000) / 30) ** 2)
        spectrum = Spectrum(wavelength=self.wave, flux=flux, sigma=np.full(4000, 0.01), medium="vacuum")
        assert prepare(spectrum, parse_grid("5050:5650:10kms")).facts["sigma_from"] == "file"
