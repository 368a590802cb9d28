"""Files of a study: written whole or not at all, known by digest and format."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from astroprism import artifacts
from astroprism.artifacts import (
    Format,
    aside,
    differences,
    digest,
    digest_of_json,
    jsonable,
    read_arrays,
    read_json,
    table_header,
    write_arrays,
    write_bytes,
    write_json,
    write_table,
)
from astroprism.errors import ModelError, StoreError

KIND = Format("astroprism-test", 3)


def test_what_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "file.txt"
    write_bytes(path, b"old")

    def fail() -> None:
        with aside(path) as part:
            part.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_errors_name_the_file_and_the_remedy(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match=r"file/below.*a file is where a folder should be"):
        write_bytes(tmp_path / "file" / "below", b"")
    with pytest.raises(StoreError, match=r"nothing.json.*it is missing"):
        read_json(tmp_path / "nothing.json")
    for content in ("{", "[1]"):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(StoreError, match=r"bad\.json is damaged"):
            read_json(tmp_path / "bad.json")


def test_json_holds_plain_values_and_no_nan(tmp_path):
    value = {
        "a": np.float32(1.5),
        "b": math.inf,
        "c": [np.int64(3), float("nan")],
        4: (True, None),
        "e": np.arange(2),
    }
    write_json(tmp_path / "x.json", value)
    assert read_json(tmp_path / "x.json") == {
        "a": 1.5,
        "b": None,
        "c": [3, None],
        "4": [True, None],
        "e": [0, 1],
    }
    assert json.loads(json.dumps(jsonable(value))) == read_json(tmp_path / "x.json")


def test_a_table_says_what_it_was_made_from(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(path, {"x": np.arange(3), "name": ["a", "b", "c"]}, header={**KIND.header, "of": "y"})
    assert pd.read_parquet(path)["x"].tolist() == [0, 1, 2]
    assert table_header(path) == {"format": "astroprism-test", "format_version": 3, "of": "y"}
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "foreign.parquet")
    assert table_header(tmp_path / "foreign.parquet") == {}
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises((ValueError, OSError)):
        table_header(path)


def test_arrays_come_back_where_they_are_of_the_kind_wanted(tmp_path):
    path = tmp_path / "a.npz"
    assert read_arrays(path, kind=KIND) is None
    write_arrays(path, {"x": np.eye(2)}, header=KIND.header | {"of": 1})
    arrays, header = read_arrays(path, kind=KIND)
    assert header["of"] == 1
    assert np.array_equal(arrays["x"], np.eye(2))
    assert read_arrays(path, kind=Format("astroprism-test", 4)) is None
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ModelError, match="is damaged"):
        read_arrays(path, kind=KIND)


def test_formats_are_required():
    KIND.require(KIND.header, "x.json", remedy="")
    for other in ({"format": "astroprism-test", "format_version": 2}, {}, None):
        assert not KIND.fits(other)
        with pytest.raises(ModelError, match=r"x.json is of format .*reads 'astroprism-test' 3: do it again"):
            KIND.require(other, "x.json", remedy="do it again")


def test_staleness_names_what_changed(tmp_path):
    assert differences({"a": 1, "b": [1, 2]}, {"b": (1, 2), "a": 1}) == []
    assert differences({"a": 1}, {"a": 2, "c": None}) == ["a"]
    assert differences({"a": 1, "d": 0}, {"a": 1}) == ["d"]
    assert digest_of_json({"a": 1, "b": 2}) == digest_of_json({"b": 2, "a": 1})
    write_bytes(tmp_path / "x", b"abc")
    assert digest(tmp_path / "x").startswith("ba7816bf")


def test_a_full_disk_is_one_clear_error(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifacts, "sync", full)
    with pytest.raises(StoreError, match="free some space"):
        write_json(tmp_path / "x.json", {})
    assert not list(tmp_path.iterdir())
