"""Nodes and labels whose dependence is known, among others that know nothing."""

import numpy as np
import pytest

from astroprism.measures import EvidenceError
from astroprism.measures.binned import BINS, bin_sweep
from astroprism.measures.match import match_labels, sweep_keywords
from astroprism.measures.readout import moves_at_labels, predicted_by_labels, read_out, share_of_variance

N = 300


@pytest.fixture(scope="module")
def sky():
    """Five nodes: velocity, temperature, metallicity, one that no label knows, one dead; and their labels."""
    rng = np.random.default_rng(0)
    rv, teff = rng.uniform(-150, 150, N), rng.normal(5700, 400, N)
    feh = 0.1 * (teff - 5700) / 400 + rng.normal(0, 0.25, N)
    noise = rng.normal(size=(5, N))
    codes = np.column_stack(
        [
            rv / 80 + 0.02 * noise[0],
            np.tanh((teff - 5700) / 500) + 0.1 * noise[1],
            feh / 0.25 + 0.2 * noise[2],
            rng.exponential(size=N) + 0.05 * noise[3],
            noise[4],
        ]
    )
    kind = np.array(["K", "G", "F"], dtype=object)[np.digitize(teff, [5400, 6000])]
    kind[::11] = None
    labels = {
        "rv": rv,
        "teff": teff,
        "feh": feh,
        "teff_copy": teff + rng.normal(0, 120, N),
        "kind": kind,
        "shuffled": rng.permutation(teff),
        "constant": np.ones(N),
        "few": np.where(np.arange(N) < 10, 1.0, np.nan),
        "names": np.array([f"HD {i}" for i in range(N)], dtype=object),
    }
    return codes, labels


@pytest.fixture(scope="module")
def matches(sky):
    return match_labels(sky[0], sky[1])


def test_each_label_goes_to_its_node(matches):
    best = {label: matches.of_label(label)[0].node for label in ("rv", "teff", "feh", "kind", "teff_copy")}
    assert best == {"rv": 0, "teff": 1, "feh": 2, "kind": 1, "teff_copy": 1}
    for label in ("rv", "teff", "feh", "kind"):
        pair = matches.of_label(label)[0]
        assert pair.explains
        assert pair.p < 1e-3
        assert 0.1 < pair.low < pair.nats < pair.high
        assert 0.2 < pair.share <= 1
    assert matches.of_label("kind")[0].n == N - len(range(0, N, 11))
    assert matches.of_node(0)[0].label == "rv"


def test_what_knows_nothing_explains_nothing(matches):
    assert not any(pair.explains for pair in matches.of_label("shuffled"))
    assert not any(pair.explains for node in (3, 4) for pair in matches.of_node(node))


def test_a_copy_of_a_label_is_its_shadow(matches):
    by_name = {pair.label: pair for pair in matches.of_node(1)}
    assert by_name["teff_copy"].explains
    assert by_name["teff_copy"].shadow_of == ("teff",)
    assert by_name["teff"].shadow_of == ()
    assert by_name["teff"].conditional > 0.1 > by_name["teff_copy"].conditional
    assert "teff" in by_name["teff_copy"].given
    assert "teff_copy" not in by_name["teff_copy"].given


@pytest.mark.parametrize("classes", [8, 24])
def test_a_number_takes_the_title_of_its_text_twin(classes):
    """Classes made from a temperature are its shadow, whichever of the two came out stronger by chance."""
    rng = np.random.default_rng(classes)
    teff = rng.uniform(4000, 8000, 600)
    codes = np.column_stack([teff / 1000 + 0.2 * rng.normal(size=600), rng.normal(size=600)])
    kind = np.array([f"c{one}" for one in ((teff - 4000) / 4000 * classes).astype(int)], dtype=object)
    found = match_labels(codes, {"kind": kind, "teff": teff, "noise": rng.normal(size=600)}, nodes=[0])
    by_name = {pair.label: pair for pair in found.pairs}
    assert by_name["kind"].shadow_of == ("teff",)
    assert by_name["teff"].shadow_of == ()
    assert abs(by_name["kind"].conditional) < 0.05


def test_a_shadow_is_of_the_label_that_says_the_same():
    """Coarse types are the temperature's shadow, not that of a gravity which follows it, too."""
    rng = np.random.default_rng(6)
    teff = rng.uniform(4000, 8000, 400)
    labels = {
        "types": np.round(teff / 150),
        "teff": teff + rng.normal(0, 40, 400),
        "logg": teff / 2000 + rng.normal(0, 0.3, 400),
    }
    found = match_labels((teff / 1000 + 0.15 * rng.normal(size=400))[:, None], labels)
    cast = {pair.label: pair.shadow_of for pair in found.pairs}
    assert cast == {"teff": (), "types": ("teff",), "logg": ("teff",)}


def test_classes_keep_the_title_where_the_number_says_less():
    rng = np.random.default_rng(1)
    kind = rng.integers(0, 3, 600)
    codes = (kind + 0.1 * rng.normal(size=600))[:, None]
    labels = {"kind": np.array(["a", "b", "c"])[kind], "faint": kind + 1.0 * rng.normal(size=600)}
    found = {pair.label: pair for pair in match_labels(codes, labels).pairs}
    assert found["faint"].explains
    assert found["faint"].shadow_of == ("kind",)
    assert found["kind"].shadow_of == ()


def test_hundreds_of_classes_take_no_credit():
    """A library of 983 stars has 452 strings of spectral types: they named the stars."""
    rng = np.random.default_rng(2)
    teff, logg = rng.uniform(0, 1, 983), rng.normal(size=983)
    types = np.array([f"{a}{b}" for a, b in zip((90 * teff).astype(int), np.round(2 * logg), strict=True)])
    assert np.unique(types).size > 300
    found = match_labels((2 * teff + 0.1 * logg)[:, None], {"types": types, "teff": teff, "logg": logg})
    assert "more than a tenth" in found.left_out["types"]
    assert {pair.label for pair in found.pairs if pair.shadow_of == ()} >= {"teff"}
    assert not any("types" in pair.shadow_of for pair in found.pairs)


def test_classes_of_few_targets_are_pooled_and_told():
    rng = np.random.default_rng(3)
    kind = np.array(["F"] * 150 + ["G"] * 130 + [f"odd{i // 2}" for i in range(20)], dtype=object)
    kind[5] = None
    codes = (np.where(kind == "F", 1.0, 0.0) + 0.1 * rng.normal(size=300))[:, None]
    found = match_labels(codes, {"kind": kind})
    assert found.pooled == {
        "kind": "10 classes of fewer than 5 targets each, 20 together are pooled as 'other'"
    }
    assert found.pairs[0].n == 299
    assert found.pairs[0].explains
    odd = np.array([f"odd{i // 4}" for i in range(40)] + [None] * 260, dtype=object)
    assert match_labels(codes, {"odd": odd}).left_out == {"odd": "no class of 5 targets or more"}


def test_every_kind_of_label_column_matches():
    """pandas' text, categories, nullable numbers and pd.NA, in frames and on their own."""
    import pandas as pd

    rng = np.random.default_rng(4)
    x = rng.normal(size=200)
    text = pd.Series(np.where(x > 0, "a", "b")).mask(np.arange(200) % 20 == 0)
    flag = pd.Series(x > 0).astype("boolean").mask(np.arange(200) % 20 == 0)
    number = pd.Series(np.round(x * 9)).astype("Int64").mask(np.arange(200) % 20 == 0)
    missing = text.astype(object).mask(text.isna(), pd.NA)
    labels = {
        "str": text.astype("str"),
        "python": text.astype("string[python]"),
        "arrow": text.astype("string[pyarrow]"),
        "array": text.astype("string[pyarrow]").array,
        "category": text.astype("category"),
        "categorical": text.astype("category").array,
        "object": missing,
        "bare": missing.to_numpy(),
        "flag": flag,
        "flags": flag.array,
        "arrow flag": flag.astype("boolean[pyarrow]"),
        "number": number,
        "numbers": number.array,
        "float": number.astype("Float64"),
    }
    for given in (labels, pd.DataFrame(labels)):
        found = match_labels(x[:, None], given, conditional=False)
        assert {pair.label for pair in found.pairs} == set(labels)
        assert {pair.n for pair in found.pairs} == {190}
        same = {pair.nats for pair in found.pairs if not pair.label.startswith(("n", "f"))}
        assert max(same) - min(same) < 1e-9


def test_labels_that_cannot_be_matched_say_why(matches):
    assert matches.left_out == {
        "constant": "has one value only",
        "few": "known for 10 targets; 25 are needed",
        "names": "differs from target to target",
    }


def test_the_table_holds_every_pair(matches):
    table = matches.table()
    assert len(table["node"]) == 5 * 6
    assert {"nats", "q", "explains", "given"} <= set(table)
    assert matches.of_node(0)[0].summary().mi_nats == matches.of_node(0)[0].nats


def test_visits_are_no_evidence():
    """Forty stars, up to 200 visits; the label is a star's own and knows nothing of the code."""
    rng = np.random.default_rng(3)
    wrong = 0
    for trial in range(20):
        visits = rng.integers(1, 60, 40)
        star = np.repeat(np.arange(40), visits)
        codes = rng.normal(size=(40, 1))[star] + 0.01 * rng.normal(size=(star.size, 1))
        label = rng.normal(size=40)[star]
        found = match_labels(codes, {"label": label}, targets=star, seed=trial, conditional=False)
        assert found.pairs[0].n == 40
        wrong += found.pairs[0].q <= 0.05
    assert wrong <= 4


def test_a_sweep_over_keywords_finds_the_one(sky):
    rng = np.random.default_rng(5)
    codes, _ = sky
    keywords = {f"KEY{i}": rng.normal(size=N) for i in range(30)}
    keywords["AIRMASS"] = codes[:, 3] + rng.normal(0, 0.3, N)
    keywords["AIRMASS"][:30] = np.nan
    found = sweep_keywords(codes, keywords, nodes=[3, 4])
    passed = [(pair.node, pair.label) for pair in found.pairs if pair.q <= 0.05]
    assert (3, "AIRMASS") in passed
    assert len(passed) <= 2
    assert found.of_node(3)[0].label == "AIRMASS"
    assert found.of_node(3)[0].nats > 0.5
    assert np.isnan(found.of_node(4)[-1].nats)


def test_the_papers_bins_and_what_they_make_up(sky):
    codes, labels = sky
    swept = bin_sweep(codes, labels, nodes=[0, 4], null=5)
    dead = (swept["node"] == 4) & (swept["label"] == "rv")
    assert swept["bins"][dead].tolist() == list(BINS)
    assert (swept["nats"][dead] < swept["null_high"][dead] * 1.3 + 0.02).all()
    assert swept["nats"][dead][-1] > 2
    live = (swept["node"] == 0) & (swept["label"] == "rv")
    assert (swept["nats"][live] > swept["null_high"][live]).all()
    assert "kind" not in swept["label"]


def test_how_much_of_a_node_all_labels_predict(sky):
    codes, labels = sky
    shares = predicted_by_labels(
        codes, {name: labels[name] for name in ("rv", "teff", "kind", "shuffled")}, nodes=[0, 1, 3]
    )
    assert shares[0].low > 0.9
    assert shares[1].low > 0.8
    assert shares[3].high < 0.5
    none = predicted_by_labels(codes, {}, nodes=[3])
    assert (none[3].value, none[3].n) == (0, 0)


def test_how_codes_move_where_the_labels_stay():
    """Metals have a label, alpha has none; the axes are both together, and their difference."""
    rng = np.random.default_rng(8)
    teff, metals, alpha = (rng.uniform(-1, 1, 500) for _ in range(3))
    noise = rng.normal(size=(4, 500)) * 0.05
    codes = np.column_stack([3 * teff + teff**2, metals + 0.5 * alpha, alpha - metals, 0 * teff]) + noise.T
    found = moves_at_labels(codes, {"teff": teff, "metals": metals, "empty": 0 * teff}, nodes=[0, 1, 2, 3])
    assert set(found) == {1, 2, 3}  # of the temperature's node the labels leave nothing
    assert found[2] == pytest.approx([0, 0.5, 1, 0], abs=0.03)
    assert found[1][2] == pytest.approx(2, abs=0.2)
    assert found[3].tolist() == [0, 0, 0, 1]
    assert moves_at_labels(codes, {}, nodes=[0, 1]) == {}


def test_a_label_is_read_from_the_codes(sky):
    codes, labels = sky
    found = read_out(codes[:, :3], labels["rv"])
    assert found.linear.low > 0.98
    assert found.nearest.value > 0.8
    folded = read_out(codes[:, :1] ** 2, labels["rv"] ** 2)
    assert folded.nearest.value > 0.95
    named = read_out(codes[:, :3], labels["kind"])
    assert named.categorical
    assert named.nearest.low > named.guessed
    assert read_out(codes, labels["few"]) is None


def test_targets_are_kept_apart():
    """Two hundred stars of nine visits; only the star's name, not the code, determines the label."""
    rng = np.random.default_rng(6)
    star = np.repeat(np.arange(200), 9)
    codes = rng.normal(size=(200, 3))[star] + 0.001 * rng.normal(size=(star.size, 3))
    label = rng.normal(size=200)[star]
    assert read_out(codes, label, targets=star).nearest.value < 0.1
    assert read_out(codes, label).nearest.value > 0.9  # what ignoring stars would have claimed


def test_the_interval_of_a_share_holds_it():
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(200):
        predicted = rng.normal(size=300)
        share = share_of_variance(predicted + rng.normal(size=300), predicted)
        held += share.low <= 0.5 <= share.high
    assert 165 <= held <= 195


def test_what_is_no_evidence_is_refused():
    with pytest.raises(EvidenceError, match="node 7"):
        match_labels(np.zeros((50, 2)), {}, nodes=[7])
    with pytest.raises(EvidenceError, match="codes must be finite"):
        match_labels(np.full((50, 2), np.nan), {})
    with pytest.raises(EvidenceError, match="has 3 rows"):
        match_labels(np.zeros((50, 2)), {"rv": [1.0, 2, 3]})
    with pytest.raises(EvidenceError, match="give each its target"):
        match_labels(np.zeros((50, 2)), {}, targets=["a"])
