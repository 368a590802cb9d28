"""An orbit that was put in comes back; noise has no period, even where it is correlated within nights."""

import numpy as np
import pytest

from astroprism.findings.assemble import text_of
from astroprism.findings.visits import Visits
from astroprism.measures.evidence import EvidenceError
from astroprism.measures.series import SURE, folded, frequencies, sinusoid, vary
from astroprism.measures.variance import nights
from studies import findings_of

PERIOD, SPEED = 17.37, 12.0


def dates(rng, *, spectra=200, a_night=1, days=600):
    """Dates (MJD), rising: `a_night` spectra in a few hours of nights that are drawn from `days`."""
    first = rng.choice(days, spectra // a_night, replace=False)
    return np.sort((55000 + first[:, None] + rng.uniform(0, 0.3, (first.size, a_night))).ravel())


def of(time, values, error, **more):
    """What a quantity does in time."""
    found, _ = vary(
        time,
        values[:, None],
        np.full((len(time), 1), error),
        nights=nights(time, np.zeros(len(time))),
        names=[(0, "velocity")],
        **{"draws": 30, **more},
    )
    return found[0]


@pytest.mark.parametrize("speed", [0.1, 1.0, 30.0])
def test_an_orbit_comes_back(speed):
    rng = np.random.default_rng(int(10 * speed))
    time = dates(rng)
    truth = 3 + speed * np.cos(2 * np.pi * (time - 55100) / PERIOD)
    found = of(time, truth + 0.05 * rng.normal(size=time.size), 0.05)
    period = found.period
    assert period.significant
    assert abs(period.period - PERIOD) < 4 * period.period_sd
    assert abs(period.amplitude - speed) < 4 * period.amplitude_sd
    assert period.amplitude_sd == pytest.approx(0.05 * (2 / 200) ** 0.5, rel=0.3)
    assert abs((period.epoch - 55100 + PERIOD / 2) % PERIOD - PERIOD / 2) < 6 * period.epoch_sd
    assert period.level == pytest.approx(3, abs=0.03)
    assert 0.6 < period.chi2 < 1.5
    assert (period.near, period.aliases) == ("", [])
    assert sinusoid(time, period) == pytest.approx(truth, abs=0.05)
    late = folded(time, period) < 0.02
    assert np.all(truth[late] > 3 + 0.9 * speed)


def test_the_null_of_many_draws_is_astropys_periodogram():
    from astropy.timeseries import LombScargle

    from astroprism.measures.series import _highest

    rng = np.random.default_rng(0)
    time, error = dates(rng, a_night=4), rng.uniform(0.5, 2, 200)
    made = rng.normal(size=(3, 200))
    grid = frequencies(time, nights(time, np.zeros(200)))[:3000]
    weight = error**-2 / (error**-2).sum()
    found = _highest(time, [made], weight[:, None], grid)[0]
    wanted = [LombScargle(time, one, error).power(grid, method="slow").max() for one in made]
    assert found == pytest.approx(wanted, rel=1e-6)


def test_noise_has_no_period():
    """White noise, and noise with an offset and a slope of its own in every night."""
    chances = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        time = dates(rng, spectra=100, a_night=[1, 4, 10][seed % 3], days=200)
        night = nights(time, np.zeros(time.size))
        values = rng.normal(size=time.size)
        if seed % 2:
            of_night = rng.normal(size=(2, night.max() + 1))[:, night]
            values += 2 * of_night[0] + 10 * of_night[1] * (time - np.floor(time) - 0.15)
        chances.append(of(time, values, 1.0).period.false_alarm)
    assert min(chances) > SURE
    assert np.mean(np.array(chances) < 0.2) <= 0.5


def test_what_varies_within_the_night_is_told():
    rng = np.random.default_rng(5)
    time = dates(rng, spectra=120, a_night=6)
    night = nights(time, np.zeros(120))
    noise = 0.1 * rng.normal(size=120)
    still = of(time, rng.normal(size=20)[night] + noise, 0.1)
    assert not still.varies_within_night
    assert still.between_nights.p <= 0.05
    moving = of(time, 0.3 * rng.normal(size=120) + noise, 0.1)
    assert moving.varies_within_night
    assert moving.within_nights.variance == pytest.approx(0.09, rel=0.4)


def test_periods_that_the_earth_makes_are_told():
    rng = np.random.default_rng(6)
    time = dates(rng, days=1500)
    found = of(time, np.cos(2 * np.pi * time / 365.25) + 0.1 * rng.normal(size=200), 0.1)
    assert found.period.near == "a year"


def test_what_is_no_series_is_refused():
    with pytest.raises(EvidenceError, match="a series needs 20"):
        of(np.arange(10.0), np.zeros(10), 0.1)
    with pytest.raises(EvidenceError, match="positive errors"):
        of(np.arange(30.0), np.zeros(30), 0.0)


def single_star(*, frame="topocentric", seed=7):
    """One star, 200 visits: node 0 its orbit as it appears, node 1 noise."""
    rng = np.random.default_rng(seed)
    time = dates(rng, days=700)
    berv = 25 * np.cos(2 * np.pi * (time - 55030) / 365.25)
    orbit = SPEED * np.cos(2 * np.pi * (time - 55100) / PERIOD)
    speed = orbit + 0.1 * rng.normal(size=200) - (0 if frame == "barycentric" else berv)
    return Visits(
        identifiers=np.array([f"s{i}" for i in range(200)], dtype=object),
        targets=np.full(200, "HD 1", dtype=object),
        mean=np.column_stack([speed / 80, rng.normal(size=200)]),
        sd=np.column_stack([np.full(200, 0.1 / 80), np.full(200, 0.5)]),
        time=time,
        berv=berv,
        frame=np.full(200, frame, dtype=object),
        held=np.ones(200, bool),
        velocity=speed,
        velocity_sd=np.full(200, 0.1),
    )


@pytest.mark.parametrize("frame", ["topocentric", "barycentric", "unknown"])
def test_one_star_is_followed_in_the_barycentres_frame(frame):
    visits = single_star(frame=frame)
    found, tables = findings_of(visits.mean, visits.sd, informative=[0, 1], visits=visits)
    (star,) = found.series
    assert (star.target, star.spectra, star.frame) == ("HD 1", 200, "barycentric")
    velocity, other = star.series
    assert (velocity.quantity, other.quantity) == ("velocity", "node 1")
    assert abs(velocity.period.period - PERIOD) < 4 * velocity.period.period_sd
    assert abs(velocity.period.amplitude - SPEED) < 4 * velocity.period.amplitude_sd
    assert not other.period.significant
    series = tables["series"]
    assert len(series["time"]) == 400
    assert set(series["quantity"]) == {"velocity", "node 1"}
    if frame == "unknown":
        assert "spectra are as observed, and BERV was added" in star.remarks[0]
    text = text_of(found)
    assert f"HD 1 in time: 200 spectra in {star.nights} nights" in text
    assert "velocity: spread" in text
    assert "period 17.3" in text


def test_without_frame_and_berv_velocities_are_as_they_appear():
    from dataclasses import replace

    visits = replace(single_star(frame="unknown"), berv=np.full(200, np.nan))
    found, _ = findings_of(visits.mean, visits.sd, informative=[0, 1], visits=visits)
    (star,) = found.series
    assert star.frame == "apparent"
    assert "velocities are as they appear" in star.remarks[0]
