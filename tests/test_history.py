"""The history of a training: a table that comes back, and the state of a training."""

import math

import pytest

from astroprism.errors import ModelError
from astroprism.model.history import Moment, Status, read_history, to_table, write_history


def moments():
    first = Moment(10, 5.0, 1.2, 3.0, 2.0, 4, 80.0, 0.01, 120.0, 3e-3, 512.0, 0.1)
    return [first, Moment(**{**first.as_dict(), "step": 20, "chi2_valid": 1.1, "event": "pruned; merged"})]


def test_it_comes_back(tmp_path):
    write_history(moments(), tmp_path / "history.parquet")
    table = read_history(tmp_path / "history.parquet")
    assert list(table["step"]) == [10, 20]
    assert list(table["event"]) == ["", "pruned; merged"]
    assert math.isnan(table["chi2_valid"][0])
    assert table["chi2_valid"][1] == 1.1
    assert [x.name for x in tmp_path.iterdir()] == ["history.parquet"]
    assert list(to_table([]).columns) == list(table.columns)


def test_what_cannot_be_read_says_so(tmp_path):
    path = tmp_path / "history.parquet"
    with pytest.raises(ModelError, match=r"history\.parquet cannot be read .*train again"):
        read_history(path)
    path.write_bytes(b"PAR1 no")
    with pytest.raises(ModelError, match="cannot be read"):
        read_history(path)


def test_facts_share_nothing():
    status = Status(step=3, events=["a"], moments=[moments()[0].as_dict()])
    facts = status.facts()
    status.events.append("b")
    status.moments.append({})
    assert facts["events"] == ["a"]
    assert len(facts["moments"]) == 1
    assert Status(**facts).step == 3
