import numpy as np
import pytest

torch = pytest.importorskip("torch")

from astroprism.model import response
from astroprism.model.data import Tensors
from astroprism.model.response import Response, measured, spline_count

PIXELS, STEP = 3000, 69.0


def archive(n=120, *, tilt=0.3, seed=0):
    """Spectra of lines of varying depth under a smooth curve of their own; (spectra, lines, curves)."""
    random = np.random.default_rng(seed)
    at = np.arange(PIXELS)
    lines = np.ones((n, PIXELS))
    depth = random.uniform(0.1, 0.4, n)
    for place in random.uniform(0, PIXELS, 80):
        lines -= depth[:, None] * np.exp(-0.5 * ((at - place) / 2) ** 2)
    x = np.linspace(-1, 1, PIXELS)
    curves = (
        1 + tilt * (random.normal(size=(n, 1)) * x + 0.5 * random.normal(size=(n, 1)) * np.sin(5 * x)) / 2
    )
    curves = np.clip(curves, 0.3, None)
    flux = lines * curves + 0.01 * random.normal(size=(n, PIXELS))
    return tuple(torch.tensor(x, dtype=torch.float32) for x in (flux, lines, curves))


def batch_of(flux, good=None):
    return Tensors(flux, torch.full_like(flux, 0.01), good, None)


def test_splines_are_wider_than_lines_and_a_very_short_range_has_none():
    assert spline_count(3822, 69.0) == 29
    assert spline_count(3048, 5.0) == 6
    assert spline_count(2048, 5.0) == 5
    assert spline_count(500, 5.0) == 0


def test_a_mean_star_has_no_bend_of_its_own():
    star = 1 - 0.7 * np.exp(-0.5 * ((np.arange(PIXELS) - 0.9 * PIXELS) / (0.005 * PIXELS)) ** 2)
    star[::37] -= 0.1  # lines
    bent = star * (1 + 0.3 * np.linspace(-1, 1, PIXELS) ** 2)
    seen = torch.ones(PIXELS, dtype=torch.bool)
    seen[:10] = False
    count = spline_count(PIXELS, STEP)
    level = response._levelled(torch.tensor(bent, dtype=torch.float32), seen, count=count)
    clear = star > 0.99
    assert float((level.numpy()[10:][clear[10:]] - 1).std()) < 0.01
    assert float(level[9]) == 1


def test_a_response_that_drowns_the_lines_is_taken_out():
    flux, lines, _ = archive()
    response, evidence = measured(batch_of(flux), count=spline_count(PIXELS, STEP))
    assert evidence.drowns
    assert "divided" in evidence.text()
    over = response.divided(batch_of(flux))
    ratio = over.flux / lines
    ratio = ratio / ratio.median(1, keepdim=True).values
    smooth = torch.nn.functional.avg_pool1d(ratio[:, None], 101, 50)[:, 0]
    assert float(smooth.std()) < 0.01
    assert float((flux / lines).std()) > 0.05
    torch.testing.assert_close(over.flux / over.sigma, flux / 0.01, rtol=1e-4, atol=1e-2)


def test_lines_alone_are_no_response():
    flux, _, _ = archive(tilt=0.0)
    assert not measured(batch_of(flux), count=spline_count(PIXELS, STEP))[1].drowns


def test_masked_pixels_take_no_part_and_stay_as_they_are():
    flux, _, _ = archive(n=30)
    good = torch.ones_like(flux, dtype=torch.bool)
    good[:, 500:900] = False
    spoiled = flux.masked_fill(~good, 1e4)
    count = spline_count(PIXELS, STEP)
    response, _ = measured(batch_of(flux.masked_fill(~good, 0), good), count=count)
    clean = response.curves(flux, torch.full_like(flux, 0.01), good)[1]
    dirty = response.curves(spoiled, torch.full_like(flux, 0.01), good)[1]
    torch.testing.assert_close(clean, dirty)
    out = response.divided(batch_of(flux.masked_fill(~good, 0), good))
    assert bool((out.flux[~good] == 0).all())


def test_long_spectra_are_summed_in_bins():
    _, _, curves = archive(n=10)
    fine = Response(torch.ones(PIXELS), count=12)
    long = Response(torch.ones(3 * PIXELS), count=12)
    assert long.width > fine.width == 1
    sigma = torch.full_like(curves, 0.01)
    short = fine.curves(curves, sigma, None)[1]
    wide = long.curves(curves.repeat_interleave(3, 1), sigma.repeat_interleave(3, 1), None)[1]
    torch.testing.assert_close(wide[:, 1::3], short, rtol=5e-3, atol=5e-3)


def test_a_study_of_real_looking_spectra_is_judged_over_its_response(tmp_path):
    from typer.testing import CliRunner

    from astroprism import IngestOptions, Study
    from astroprism.cli import app
    from astroprism.explorer.data.viewer import Viewer
    from quick import quick_options

    files = tmp_path / "archive"
    made = ["simulate", str(files), "--survey", "low", "--reality", "--spectra", "40", "--seed", "5"]
    assert CliRunner().invoke(app, made).exit_code == 0
    study = Study(tmp_path / "study")
    study.ingest(files / "spectra", options=IngestOptions(workers=0))
    study.train(options=quick_options(tmp_path))
    facts = study.model_facts()
    assert facts is not None
    assert "divided by its own response" in facts.response
    assert facts.chi2.stated_train is not None
    study.encode()
    curves = Viewer(study).spectrum(0)
    over, made = curves.values["flux"], curves.values["reconstruction"]
    assert float(np.nanstd(over / made)) < 0.5 * float(np.nanstd(study.store.read([0]).flux[0] / made))


def test_a_colour_that_the_lines_tell_is_no_response():
    """Stars whose slope follows the depth of their lines."""
    flux, lines, _ = archive(n=300, tilt=0.0)
    depth = (1 - lines).amax(1)
    slope = torch.linspace(-1, 1, PIXELS) * (depth - depth.mean())[:, None] / depth.std()
    evidence = measured(batch_of(flux * (1 + 0.2 * slope)), count=spline_count(PIXELS, STEP))[1]
    assert evidence.share > 0.25
    assert not evidence.drowns
