"""Nodes that keywords explain are the instrument's or the sky's; what a label explains stays the star's."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from astroprism.figures.words import node_words
from astroprism.findings.assemble import text_of
from astroprism.findings.visits import Visits, followed
from astroprism.measures.keywords import meaning
from astroprism.measures.match import sweep_keywords
from astroprism.measures.origin import origin_words, origins
from studies import findings_of

N = 600


@pytest.mark.parametrize(
    ("keyword", "kind"),
    [
        ("SPECID", "instrument"),
        ("SPID", "instrument"),
        ("FIBERID", "instrument"),
        ("TEMPCCDB", "instrument"),
        ("ESO INS TEMP31 VAL", "instrument"),
        ("index reader", "instrument"),
        ("AIRMASS", "sky"),
        ("ESO TEL AMBI RHUM", "sky"),
        ("ESO TEL AMBI FWHM START", "sky"),
        ("MOONPHA", "sky"),
        ("TEMP_AIR", "sky"),
        ("ESO DRS BERV", "motion"),
        ("index berv", "motion"),
        ("HELIO_RV", "motion"),
        ("EXPTIME", "exposure"),
        ("index snr", "signal"),
        ("SNRG", "signal"),
        ("MAG_PS_G", "signal"),
        ("ESO DRS CCF RVC", "measured"),
        ("Z", "measured"),
        ("MJD-OBS", "time"),
        ("DEC_OBS", "position"),
        ("PIPEVAL", "unknown"),
        ("FIBERTYP", "instrument"),
        ("OBSERVER", "instrument"),
        ("GRISM", "instrument"),
        ("FILTER1", "instrument"),
        ("ESO DET READ MODE", "instrument"),
        ("VERSPIPE", "instrument"),
    ],
)
def test_keywords_are_known_by_their_names(keyword, kind):
    assert meaning(keyword).kind == kind


@pytest.fixture(scope="module")
def sky():
    """Node 0 follows the spectrograph's number, in no order; 1 the air's water; 2 the temperature alone, as
    the exposure does; 3 the temperature and the spectrograph; 4 an unknown keyword; 5 nothing."""
    rng = np.random.default_rng(4)
    spectrograph = rng.integers(1, 17, N)
    level = rng.permutation(np.linspace(-1.6, 1.6, 16))[spectrograph - 1]
    humidity, teff, odd = rng.uniform(5, 90, N), rng.normal(5500, 500, N), rng.normal(size=N)
    hot = (teff - 5500) / 500
    noise = 0.3 * rng.normal(size=(N, 6))
    mean = np.column_stack(
        [level, (humidity - 47) / 25, hot, 0.8 * hot + 0.8 * level, odd, rng.normal(size=N)]
    )
    keywords = {
        "SPID": spectrograph.astype(float),
        "HUMIDITY": humidity,
        "EXPTIME": 600 + 300 * hot + 200 * rng.normal(size=N),
        "XYZ": odd,
        "FIBERID": rng.integers(1, 250, N).astype(float),
        "CAMNAME": np.array([None, "blue", "red"], dtype=object)[rng.integers(0, 3, N)],
    }
    return findings_of(
        mean + noise,
        np.full(mean.shape, 0.1),
        informative=range(6),
        labels={"teff": teff},
        keywords=keywords,
    )[0]


def test_each_node_is_given_to_what_it_follows(sky):
    nodes = sky.nodes
    assert [one.origin and one.origin.verdict for one in nodes] == [
        "instrumental",
        "sky",
        None,  # the exposure follows the star: it adds nothing to the temperature
        "instrumental",
        "follows",
        None,
    ]
    assert [one.unexplained for one in nodes] == [False, False, False, nodes[3].unexplained, True, True]
    first = nodes[0].origin
    assert (first.keyword, first.categorical, first.star_too) == ("SPID", True, False)
    assert first.mi_low > 0.5
    assert first.q < 1e-3
    assert first.share.low > 0.7
    assert nodes[0].keywords[0].label == "SPID"


def test_a_node_of_star_and_instrument_says_both(sky):
    origin = sky.nodes[3].origin
    assert origin.star_too
    assert origin.labels == ["teff"]
    assert origin.beyond_labels.low > 0.1
    assert origin.label_beyond_keyword.low > 0.1
    words = node_words(sky.nodes[3])
    assert "effective temperature" in words
    assert "the spectrograph (SPID)" in words


def test_verdicts_are_in_titles_and_text(sky):
    assert node_words(sky.nodes[0]).startswith("instrumental: follows the spectrograph (SPID)")
    assert node_words(sky.nodes[1]).startswith("sky: follows the air's humidity (HUMIDITY)")
    assert "follows the keyword XYZ" in node_words(sky.nodes[4])
    text = text_of(sky)
    assert "INSTRUMENTAL: follows the spectrograph (SPID)" in text
    assert "SKY: follows the air's humidity (HUMIDITY)" in text


def test_numbers_that_are_names_are_tried_as_both():
    rng = np.random.default_rng(1)
    names, numbers = rng.integers(1, 17, N), rng.integers(1, 17, N)
    codes = np.column_stack([rng.permutation(16)[names - 1], numbers]) / 5 + 0.3 * rng.normal(size=(N, 2))
    found = sweep_keywords(codes, {"SPID": names.astype(float), "FOCUS": numbers.astype(float)})
    assert found.of_node(0)[0].categorical
    assert found.of_node(0)[0].nats > 1
    assert found.of_node(1)[0].label == "FOCUS"
    assert found.of_node(1)[0].nats > 1


def test_shuffled_keywords_make_no_verdict():
    rng = np.random.default_rng(2)
    keywords = {f"SPID{i}": rng.integers(1, 17, 300).astype(float) for i in range(12)}
    mean = rng.normal(size=(300, 6))
    found = findings_of(mean, np.full(mean.shape, 0.1), informative=range(6), keywords=keywords)[0]
    assert [one.origin for one in found.nodes] == [None] * 6


def test_the_earths_motion_is_told_by_its_name():
    rng = np.random.default_rng(3)
    berv = rng.uniform(-28, 28, N)
    mean = np.column_stack([rng.normal(size=N), berv / 16 + 0.1 * rng.normal(size=N)])
    found = findings_of(mean, np.full(mean.shape, 0.1), informative=[0, 1], keywords={"index berv": berv})[0]
    assert found.nodes[1].origin.verdict == "motion"
    assert "the atmosphere's motion (BERV)" in node_words(found.nodes[1])
    assert not found.nodes[1].unexplained


def visited(stars=60, *, seed=0):
    """Stars seen twice a night in two nights: node 0 is the star, 1 the night's instrument, 2 the hour."""
    rng = np.random.default_rng(seed)
    target = np.repeat(np.arange(stars), 4)
    night = np.repeat(np.arange(2 * stars), 2)
    by = rng.integers(0, 4, 2 * stars)[night]
    noise = 0.1 * rng.normal(size=(4 * stars, 3))
    mean = np.column_stack([rng.normal(size=stars)[target], by - 1.5, rng.normal(size=4 * stars)]) + noise
    return Visits(
        identifiers=np.array([f"s{i}" for i in range(target.size)], dtype=object),
        targets=np.array([f"t{i}" for i in target], dtype=object),
        mean=mean,
        sd=np.full(mean.shape, 0.1),
        time=55000 + 10.0 * night + np.tile([0.0, 0.1], 2 * stars),
        berv=np.full(target.size, np.nan),
        frame=np.full(target.size, "barycentric", dtype=object),
        held=target % 10 < 8,
        names={"SPID": by.astype(str).astype(object)},
    )


def test_repeat_visits_say_whose_variance_it_is():
    visits = visited()
    first = np.arange(0, 240, 4)
    found, tables = findings_of(visits.mean[first], visits.sd[first], informative=[0, 1, 2], visits=visits)
    star, instrument, hour = (found.nodes[i].variance for i in range(3))
    assert star.star.share_low > 0.9
    assert instrument.instrument.share_low > 0.8
    assert hour.within.share_low > 0.6
    assert star.by == "SPID"
    assert star.evidence == "held-out targets"
    assert star.spectra == 192
    assert set(tables["variance"]["part"]) == {"star", "night", "within", "instrument", "code noise"}
    text = text_of(found)
    assert "variance is split on 192 spectra of 48 targets (held out of training)" in text
    assert "between stars, " in text


def test_a_property_of_stars_is_not_the_instruments():
    """Each star is always seen by one of two telescopes, and the telescopes see other stars: no verdict."""
    visits = visited(200)
    rng = np.random.default_rng(0)
    hot = rng.normal(size=200)
    mean = visits.mean.copy()
    mean[:, 0] = np.repeat(hot, 4) + 0.1 * rng.normal(size=800)
    visits = replace(visits, mean=mean)
    first = np.arange(0, 800, 4)
    site = (hot + 0.5 * rng.normal(size=200) > 0).astype(float)
    found = findings_of(
        mean[first], visits.sd[first], informative=[0, 1], keywords={"SITELAT": site}, visits=visits
    )[0]
    assert found.nodes[0].origin.verdict == "follows"
    assert found.nodes[0].unexplained


def test_without_repeats_a_line_says_so():
    visits = visited()
    once = {name: getattr(visits, name)[::4] for name in ("identifiers", "targets", "mean", "sd", "time")}
    once |= {name: getattr(visits, name)[::4] for name in ("berv", "frame", "held")}
    visits = Visits(**once)
    found, tables = findings_of(visits.mean, visits.sd, informative=[0], visits=visits)
    assert found.repeats == ("no variance is split: 0 targets have more than one spectrum, and 10 are needed")
    assert found.nodes[0].variance is None
    assert "variance" not in tables
    assert followed(visits) == []


def test_a_text_keyword_is_a_cause_like_a_number():
    rng = np.random.default_rng(1)
    which = rng.integers(0, 6, N)
    names = np.array([f"spectrograph {letter}" for letter in "ABCDEF"], dtype=object)[which]
    names[rng.random(N) < 0.1] = None  # a header that does not say
    observers = np.array([f"Observer {number}" for number in range(300)], dtype=object)[
        rng.integers(0, 300, N)
    ]
    level = rng.permutation(np.linspace(-1.5, 1.5, 6))[which]
    mean = np.column_stack([level, rng.normal(size=N)]) + 0.3 * rng.normal(size=(N, 2))
    found = findings_of(
        mean,
        np.full(mean.shape, 0.1),
        informative=range(2),
        keywords={"SPECTROG": pd.Series(names, dtype="str"), "OBSERVER": observers},
    )[0]
    origin = found.nodes[0].origin
    assert (origin.verdict, origin.keyword, origin.categorical) == ("instrumental", "SPECTROG", True)
    assert origin.share.value > 0.7
    assert found.nodes[1].origin is None
    assert found.keywords_left_out == 1  # an observer for every second target is a name, not a cause


def test_a_moving_atmosphere_that_no_keyword_tells_is_no_question():
    """The decoder alone tells: there is no keyword, and no number of one."""
    rng = np.random.default_rng(1)
    codes = rng.normal(size=(N, 2))
    none = sweep_keywords(codes, {}, nodes=[0, 1])
    found = origins(
        codes, mean=codes, matches=none, keywords=none, labels={}, values={}, nodes=[0, 1], splits={}, air=[1]
    )
    assert list(found) == [1]
    assert found[1].explains
    assert found[1].keyword == ""
    assert origin_words(found[1]) == "the atmosphere's motion, which no keyword tells"
