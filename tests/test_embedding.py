"""An embedding that another library made, whose answer is known: tables of all kinds in, one table out."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from astropy.table import Table

from astroprism import count, describe_embedding
from astroprism.measures import EvidenceError

N = 300


@pytest.fixture(scope="module")
def latents():
    """Node 0 is the temperature, 1 nothing that is labelled, 2 dead; a quarter of the labels are unknown."""
    rng = np.random.default_rng(0)
    teff = rng.normal(5700, 400, N)
    codes = np.column_stack([(teff - 5700) / 400, rng.exponential(size=N), 0.02 * rng.normal(size=N)])
    sd = np.tile([0.1, 0.1, 1.0], (N, 1))
    labels = pd.DataFrame(
        {
            "teff": np.where(np.arange(N) % 4 == 0, -9999.0, teff),
            "kind": np.array(["K", "G", "F"], dtype=object)[np.digitize(teff, [5400, 6000])],
            "noise": rng.normal(size=N),
            "survey": "one",
            "star": [f"HD {i}" for i in range(N)],
        }
    )
    return codes, sd, labels


def test_the_answer_is_reported(latents):
    codes, sd, labels = latents
    found = describe_embedding(codes, labels, sd=sd, targets="star")
    assert found.count.information.nodes == (0, 1)
    assert (found.count.statistical, found.count.agree) == (None, None)
    table = found.table()
    assert len(table) == 3 * 3
    best = table.sort_values("mi_nats").iloc[-1]
    assert (best["node"], best["label"], best["n"]) == ("0", "teff", 225)
    assert best["mi_low"] < best["mi_nats"] < best["mi_high"]
    assert best["q"] < 1e-3
    assert set(table[table["explains"]]["label"]) == {"teff", "kind"}
    assert set(table[table["explains"]]["node"]) == {"0"}
    assert found.left_out == {"survey": "has one value only"}
    text = found.text()
    assert "2 causes by information" in text
    assert "needs a decoder" in text
    assert "teff: taken as missing: -9999 x 75" in text
    assert "no label explains it" in text


def test_tables_of_all_kinds_tell_the_same(latents):
    codes, _, labels = latents
    labels = labels[["teff", "noise"]]
    names = ["a", "b", "c"]
    frame = pd.DataFrame(codes, columns=names)
    wanted = describe_embedding(frame, labels).table()
    assert set(wanted["node"]) == set(names)
    for one, other in (
        (Table.from_pandas(frame), Table.from_pandas(labels)),
        (pa.Table.from_pandas(frame), pa.Table.from_pandas(labels)),
        (frame, {name: labels[name].to_numpy() for name in labels}),
        (frame.astype("Float64"), labels),
    ):
        pd.testing.assert_frame_equal(describe_embedding(one, other).table(), wanted)


def test_without_errors_nothing_is_counted_and_a_note_says_so(latents):
    codes, _, labels = latents
    broken = np.column_stack([codes, np.ones(N)])
    broken[3, 0] = np.nan
    found = describe_embedding(broken, labels[["teff"]])
    assert found.count is None
    assert (found.n, found.missing) == (N - 1, 1)
    assert found.left_out == {"3": "a node of one value only"}
    assert "no errors of the codes were given" in found.text()
    assert describe_embedding(codes[:, 0], labels[["teff"]]).names == ("0",)


def test_a_star_counts_once(latents):
    codes, sd, labels = latents
    star = np.repeat(np.arange(60), 5)
    found = describe_embedding(codes, labels[["teff"]], sd=sd, targets=star)
    assert (found.n, found.targets, found.count.n) == (N, 60, 60)


def test_counting_with_a_decoder_or_errors_alone(latents):
    codes, sd, _ = latents
    rise = np.abs(np.random.default_rng(1).normal(size=(N, 3))) + np.array([900.0, 300.0, 0.0])
    both = count(codes, sd, ablation=rise, bound=50)
    assert (both.agree, both.informative.tolist()) == (True, [True, True, False])
    assert "the two counts agree" in both.text()
    one = count(codes, ablation=rise, bound=50)
    assert one.information is None
    assert one.statistical.k == 2
    assert one.summary().information is None
    assert one.node(0)["information_nats"] is None
    assert "needs `sd`" in one.text()
    other = count(codes, sd)
    assert other.informative.tolist() == [True, True, False]
    assert not other.doubtful.any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"codes": np.zeros((N, 2, 3))}, "flatten"),
        ({"codes": np.full((N, 2), np.nan)}, "0 of 300 rows have finite codes"),
        ({"codes": np.zeros((10, 2)), "labels": None}, "10 of 10 rows"),
        ({"codes": pd.DataFrame({"a": ["x"] * N})}, "column 'a' of codes is not numeric"),
        ({"labels": {"teff": np.zeros(5)}}, r"label 'teff' is of shape \(5,\)"),
        ({"labels": pd.DataFrame({"teff": np.zeros(5)})}, "300 rows of codes and 5 of labels"),
        ({"targets": "nobody"}, "no column 'nobody'"),
        ({"targets": np.zeros(4)}, "4 targets"),
        ({"sd": np.ones((N, 1))}, "an error for each code"),
        ({"sd": np.zeros((N, 3))}, "no positive sd"),
    ],
)
def test_refusals(latents, change, words):
    codes, _, labels = latents
    given = {"codes": codes, "labels": labels} | change
    with pytest.raises(EvidenceError, match=words):
        describe_embedding(given.pop("codes"), given.pop("labels"), **given)


def test_codes_alone_cannot_be_counted(latents):
    with pytest.raises(EvidenceError, match="codes alone cannot be counted"):
        count(latents[0])
    with pytest.raises(EvidenceError, match="see ablation_bound"):
        count(latents[0], ablation=np.zeros((N, 3)))
    with pytest.raises(EvidenceError, match="10 spectra are too few"):
        count(np.zeros((10, 2)), np.ones((10, 2)))
