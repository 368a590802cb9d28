"""What is odd is found, and sound spectra are called odd at the stated rate."""

import numpy as np
import pytest

from astroprism.apply.residuals import Residuals, measure_residuals, model_error
from astroprism.apply.scores import (
    REASONS,
    WITHOUT_LABELS,
    HeldOutScores,
    isolation,
    oddness,
    reasons_text,
    scores_of,
)
from astroprism.apply.training_range import TrainingRange, two_sided, warnings_of

P = 300


def spectra(n, *, seed, snr=50.0):
    rng = np.random.default_rng(seed)
    made = np.ones((n, P), np.float32)
    made[:, 100:110] -= 0.5
    sigma = np.full((n, P), 1 / snr, np.float32)
    flux = (made + sigma * rng.standard_normal((n, P))).astype(np.float32)
    return flux, sigma, np.ones((n, P), bool), made


def test_noise_is_one_and_what_stands_off_is_found():
    flux, sigma, good, made = spectra(200, seed=1)
    flux[0, 50:53] += 0.4
    flux[1, 200:240] -= 0.05
    good[2, 40:60] = False
    flux[2, 45] = 1e6
    found = measure_residuals(flux, sigma, good, made=made, error=np.zeros(P))
    assert abs(found.chi2[2:].mean() - 1) < 0.05
    assert found.worst[0] > 15
    assert 50 <= found.first[0] <= found.last[0] <= 52
    assert found.worst[1] < -10
    assert found.first[1] >= 192
    assert found.last[1] <= 248
    assert np.abs(found.worst[2]) < 6
    assert abs(np.mean(found.broader)) < 0.4
    assert abs(np.mean(found.ripple)) < 0.4


def test_broader_lines_are_reported():
    flux, sigma, good, made = spectra(5, seed=2, snr=200.0)
    wide = made.copy()
    wide[:, 1:-1] += 0.1 * (made[:, 2:] - 2 * made[:, 1:-1] + made[:, :-2])
    found = measure_residuals(flux - made + wide, sigma, good, made=made, error=np.zeros(P))
    assert (found.broader > 8).all()
    assert (found.air_broader == 0).all()
    air = np.sqrt(made)  # half of the lines are the atmosphere's
    found = measure_residuals(flux - made + wide, sigma, good, made=made, error=np.zeros(P), air=air)
    assert (found.air_broader > 8).all()


def test_the_models_own_error_is_found_and_taken_for_no_oddity():
    flux, sigma, good, made = spectra(400, seed=3)
    rng = np.random.default_rng(3)
    flux[:, 150:160] += 0.1 * rng.standard_normal((400, 1)).astype(np.float32)
    flux[0, 20] += 50.0
    error = model_error(flux, sigma, good, made=made)
    assert 0.07 < error[150:160].mean() < 0.12
    assert error[20] < 0.02
    assert error[:100].mean() < 0.01
    found = measure_residuals(flux, sigma, good, made=made, error=error)
    assert abs(np.median(found.chi2) - 1) < 0.1


def test_p_holds_what_it_says():
    rng = np.random.default_rng(4)
    known = HeldOutScores.from_scores(rng.standard_normal(999))
    p = known.p(rng.standard_normal(4000))
    assert abs((p <= 0.05).mean() - 0.05) < 0.02
    assert np.isnan(known.p(np.array([np.nan]))[0])
    surprise = known.surprise(np.array([0.0, 3.0, 6.0, 12.0]))
    assert (np.diff(surprise) > 0).all()


def test_odd_spectra_among_the_usual_do_not_hide_others():
    rng = np.random.default_rng(5)
    sound = rng.standard_normal(980)
    mixed = HeldOutScores.from_scores(np.concatenate([sound, np.full(20, 50.0)]))
    assert mixed.values.max() < 6
    assert HeldOutScores.from_scores(sound).values.size >= 975


def test_the_reasons_together_keep_the_rate():
    rng = np.random.default_rng(6)

    def scores(n):
        return {name: rng.standard_normal(n) for name in REASONS}

    first = scores(900)
    known = {name: HeldOutScores.from_scores(values) for name, values in first.items()}
    alone = oddness(first, known, together=None)
    bare = np.max([alone.surprise[name] for name in WITHOUT_LABELS], axis=0)
    together = HeldOutScores.from_scores(bare), HeldOutScores.from_scores(alone.surprise_all)
    odd = oddness(scores(5000), known, together=together)
    assert abs((odd.p_all <= 0.05).mean() - 0.05) < 0.02


def test_isolated_codes():
    rng = np.random.default_rng(7)
    rows = rng.standard_normal((500, 2))
    keys = np.arange(1, 501)
    isolated = isolation(np.array([[0.0, 0.0], [9.0, 9.0]]), rows, keys=None, row_keys=keys)
    assert isolated[1] > isolated[0] + 2
    copies = np.repeat([[9.0, 9.0]], 20, axis=0)  # visits of one star are no company
    own = isolation(
        copies[:1], np.concatenate([rows, copies[:1]]), keys=np.array([7]), row_keys=np.append(keys, 7)
    )
    assert own[0] > 1


def test_words_name_the_pixels():
    found = Residuals(
        *(np.array([v]) for v in (5.0, 20.0)),
        np.array([10]),
        np.array([11]),
        *(np.zeros(1) for _ in range(3)),
    )
    known = {name: HeldOutScores(np.linspace(0, 1, 300)) for name in REASONS}
    odd = oddness(scores_of(found, np.array([0.5]), None), known, together=None)
    text = reasons_text(0, odd=odd, residuals=found, wavelength=np.linspace(5000, 5001, 100))
    assert "cosmic ray" in text
    assert "5000.10..5000.11" in text
    assert "chi2 a pixel 5" in text


def run_text(
    first, last, *, step=69.0, element=166.0, worst=20.0, start=3700.0, pixels=3800, medium="vacuum"
):
    """What is said of a run of pixels on a grid of `step` km/s."""
    found = Residuals(
        *(np.array([v]) for v in (1.0, worst)),
        np.array([first]),
        np.array([last]),
        *(np.zeros(1) for _ in range(3)),
    )
    known = {name: HeldOutScores(np.linspace(0, 1, 300)) for name in REASONS}
    odd = oddness(scores_of(found, np.array([0.5]), None), known, together=None)
    wavelength = start * np.exp(np.arange(pixels) * step / 299_792.458)
    return reasons_text(0, odd=odd, residuals=found, wavelength=wavelength, element=element, medium=medium)


def test_a_misfit_is_called_by_its_width():
    """1,100 angstrom are no emission line, at whatever resolution."""
    assert "a cosmic ray or a narrow line" in run_text(500, 502)
    assert "as wide as a broad line" in run_text(500, 512)
    wide = run_text(500, 563, element=430.0, step=215.0, start=8000.0, pixels=1500)
    assert "as wide as a band" in wide
    assert "64 pixels or more" in wide
    assert "km/s where a narrow line has 430" in wide
    assert "too wide for lines: continuum" in run_text(100, 131, step=3000.0, element=6000.0, pixels=150)
    assert "a narrow line that the model lacks" in run_text(500, 502, worst=-20.0)
    for text in (wide, run_text(100, 131, step=3000.0, element=6000.0, pixels=150), run_text(500, 512)):
        assert "emission line" not in text
        assert "cosmic ray" not in text


def test_a_misfit_is_named_after_a_line_where_chance_would_not():
    alpha = round(np.log(6564.61 / 3700.0) * 299_792.458 / 69.0)
    assert "near H alpha" in run_text(alpha - 1, alpha + 1)
    assert "near H" not in run_text(alpha - 41, alpha - 39)
    # in air the line lies 1.8 angstrom, 83 km/s, to the blue
    assert "near H alpha" in run_text(alpha - 2, alpha, medium="air")
    # where an element is so wide that much of the spectrum is near a line, nothing is named
    coarse = round(np.log(6564.61 / 3700.0) * 299_792.458 / 1500.0)
    assert "near" not in run_text(coarse, coarse, step=1500.0, element=3000.0, pixels=180)


@pytest.mark.parametrize(
    ("fact", "word"),
    [
        ({}, ""),
        ({"snr": 5.0}, "SNR 5 lies below"),
        ({"frame": "rest"}, "frame 'rest'"),
        ({"berv": np.nan}, "barycentric velocity is unknown"),
        ({"resolution": 9000.0}, "resolving power 9,000"),
        ({"resolution": np.nan}, "does not tell its resolving power"),
        ({"hole": True}, "5000.2..5000.5 angstrom is missing"),
        ({"broader": 30.0}, "lines are broader"),
        ({"air_broader": 30.0}, "the atmosphere's lines are broader"),
        ({"ripple": 30.0}, "from pixel to pixel"),
        ({"chi2_p": 0.001}, "does not reproduce"),
        ({"density_p": 0.001}, "lies apart"),
    ],
)
def test_warnings(fact, word):
    many = np.sort(np.random.default_rng(8).standard_normal(999))
    trained = TrainingRange(
        snr=np.array([40.0, 300.0]),
        resolution=np.array([30_000.0, 30_000.0]),
        good=0.99,
        frames=("barycentric",),
        covered=np.ones(100),
        broader=many,
        air_broader=many,
        ripple=many,
        moving_air=True,
    )
    good = np.ones((1, 100), bool)
    good[0, 20:50] = not fact.get("hole", False)
    one = {name: np.array([fact.get(name, 0.0)]) for name in ("broader", "air_broader", "ripple")}
    pixel = np.zeros(1, int)
    found = Residuals(chi2=np.ones(1), worst=np.ones(1), first=pixel, last=pixel, **one)
    texts = warnings_of(
        trained,
        [{"snr": 100.0, "frame": "barycentric", "berv": 3.0} | fact],
        resolution=np.array([fact.get("resolution", 30_000.0)]),
        good=good,
        residuals=found,
        chi2_p=np.array([fact.get("chi2_p", 0.5)]),
        density_p=np.array([fact.get("density_p", 0.5)]),
        wavelength=5000 + np.arange(100) / 100,
    )[0]
    assert len(texts) == bool(word)
    assert word in "".join(texts)


def test_two_sided_p():
    many = np.arange(99.0)
    assert two_sided(np.array([-5.0, 49.0, 200.0]), many).tolist() == [0.02, 1.0, 0.02]
