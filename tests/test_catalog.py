from __future__ import annotations

import json
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy import units
from astropy.table import Table

from astroprism.errors import CatalogError
from astroprism.targets.catalog import combine, join, label_tables
from astroprism.targets.group import group_targets
from astroprism.targets.spectral_types import parse

NAN = np.nan
ARCSEC = 1 / 3600


def make_index() -> pd.DataFrame:
    """Eight spectra of five stars, named as archives name them."""
    rows = [
        (
            "ADP.2014-09-16T11:03:31.127",
            "HD189733",
            300.18186,
            22.70883,
            "a/ADP.2014-09-16T11_03_31.127.fits",
        ),
        ("ADP.2014-09-16T11:03:31.128", "HD 189733", 300.1819, 22.7088, "a/ADP.2014-09-16T11_03_31.128.fits"),
        (
            "HARPS.2010-09-18T23:42:36.178",
            "Gl581",
            229.8635,
            -7.7222,
            "b/HARPS.2010-09-18T23_42_36.178_s1d_A.fits",
        ),
        ("HARPS.2006-09-08T02:12:38.604", "GJ 581", NAN, NAN, "b/HARPS.2006-09-08T02_12_38.604_s1d_A.fits"),
        ("spec-59522-03-194", "", 341.305842, 7.653881, "c/spec-59522-03-194.fits.gz"),
        ("tower#0", "alf Cen A", 219.9, -60.83, "d/tower.fits"),
        ("tower#1", "alf Cen B", 219.9, -60.83, "d/tower.fits"),
        ("sky", "SKY", NAN, NAN, "e/sky.fits"),
    ]
    index = pd.DataFrame(rows, columns=["spectrum_id", "name", "ra", "dec", "file"])
    grouped = group_targets(index["name"], index["ra"], index["dec"], identifiers=index["spectrum_id"])
    return index.assign(target=grouped.target)


def check(report) -> None:
    """Every row and every spectrum is accounted for."""
    assert report.rows == report.matched + report.duplicates + sum(report.unmatched.values())
    for label in report.labels:
        assert label.n + label.missing == report.spectra
        assert label.n <= report.labelled
    assert json.loads(json.dumps(report.to_dict()))["matched"] == report.matched
    assert max(map(len, report.text().splitlines())) < 400


@pytest.mark.parametrize(
    "keys",
    [
        ["ADP.2014-09-16T11:03:31.128", "HARPS.2010-09-18T23:42:36.178"],
        ["ADP.2014-09-16T11_03_31.128", "HARPS.2010-09-18T23_42_36.178"],
        ["ADP.2014-09-16T11_03_31.128.fits", "HARPS.2010-09-18T23_42_36.178_s1d_A.fits"],
        ["/data/x/ADP.2014-09-16T11:03:31.128.fits.gz", "HARPS.2010-09-18T23:42:36.178_s1d_A"],
    ],
)
def test_identifiers_in_every_spelling(keys):
    table = pd.DataFrame(
        {"what": [*keys, "ADP.1999-01-01T00:00:00.000"], "teff": [5040, 3480, 1], "rv": [1.5, 2.5, 3]}
    )
    out = join(make_index(), table)
    check(out.report)
    assert out.report.key == "id"
    np.testing.assert_array_equal(out.labels["teff"], [NAN, 5040, 3480, *[NAN] * 5])
    assert out.report.unmatched == {"no spectrum has this identifier": 1}
    assert out.report.labelled == 2


def test_the_row_of_a_file_of_several_spectra():
    index = make_index()
    out = join(index, pd.DataFrame({"id": ["tower#1", "tower.fits#0", "sky"], "teff": [5200, 5800, 1]}))
    np.testing.assert_array_equal(out.labels["teff"][5:], [5800, 5200, 1])
    # the name of the file alone means two spectra: refused, not guessed
    out = join(
        index, pd.DataFrame({"file": ["tower.fits", "spec-59522-03-194.fits.gz", "sky"], "teff": [1, 2, 3]})
    )
    check(out.report)
    assert out.labels["teff"][5:7].isna().all()
    assert out.report.unmatched == {"more than one spectrum has this identifier": 1}


def test_names_give_their_values_to_all_spectra_of_the_target():
    table = pd.DataFrame(
        {
            "Planet": ["b", "b", "c", "d"],
            "hostname": ["hd-189733", "Gliese 581", "* alf Cen B", "HD 1"],
            "teff": [5040, 3480, 5200, 6000],
            "binary": ["yes", "no", "maybe", "no"],
        }
    )
    out = join(make_index(), table)
    check(out.report)
    assert out.report.key == "name"
    assert out.report.key_columns == ("hostname",)
    np.testing.assert_array_equal(out.labels["teff"], [5040, 5040, 3480, 3480, NAN, NAN, 5200, NAN])
    assert isinstance(out.labels["binary"].dtype, pd.CategoricalDtype)
    assert out.labels["binary"].astype(object).tolist()[:4] == ["yes", "yes", "no", "no"]
    assert out.labels["binary"].cat.categories.tolist() == ["maybe", "no", "yes"]
    assert out.report.unmatched == {"no target has this name": 1}
    assert (out.report.targets, out.report.targets_labelled) == (6, 3)
    kinds = {label.name: label.kind for label in out.report.labels}
    assert kinds == {"Planet": "categorical", "teff": "numeric", "binary": "categorical"}


def test_the_name_column_is_found_by_its_values():
    table = pd.DataFrame({"a": ["x", "y"], "b": ["GJ 581", "HD 189733"], "v": [1.0, 2.0]})
    assert join(make_index(), table).report.key_columns == ("b",)


def test_columns_of_catalogue_numbers():
    table = pd.DataFrame({"HD": [189733, None, 10.0], "GJ": [None, 581, None], "teff": [5040, 3480, 1]})
    out = join(make_index(), table)
    np.testing.assert_array_equal(out.labels["teff"][:4], [5040, 5040, NAN, NAN])
    out = join(make_index(), table, name_column="GJ", columns=["teff"])
    np.testing.assert_array_equal(out.labels["teff"][:4], [NAN, NAN, 3480, 3480])
    assert out.report.unmatched == {"the row gives no identifier or name": 2}


def test_aliases_and_lists_of_names():
    table = pd.DataFrame({"star": ["HO Lib", "V452 Vul"], "teff": [3480, 5040]})
    with pytest.raises(CatalogError, match="matches no spectrum"):
        join(make_index(), table)
    out = join(make_index(), table, aliases=[("HO Lib", "BD-07 4003"), ("BD-07 4003", "Gl 581")])
    np.testing.assert_array_equal(out.labels["teff"], [NAN, NAN, 3480, 3480, NAN, NAN, NAN, NAN])
    table = pd.DataFrame({"ids": ["HIP 98505|HD 189733|V452 Vul", "alf Cen A|alf Cen B"], "teff": [5040, 1]})
    out = join(make_index(), table)
    np.testing.assert_array_equal(out.labels["teff"], [5040, 5040, *[NAN] * 6])
    assert out.report.unmatched == {"the name belongs to more than one target": 1}


def test_positions_within_the_radius():
    table = pd.DataFrame(
        {
            "ra": [300.18186, 229.8635 + 4 * ARCSEC, 341.305842, 219.9, NAN, 0.0],
            "dec": [22.70883 + 6 * ARCSEC, -7.7222, 7.653881, -60.83, 1.0, 0.0],
            "teff": [5040, 3480, 4000, 5500, 1, 2],
        }
    )
    out = join(make_index(), table)
    check(out.report)
    assert out.report.key == "position"
    np.testing.assert_array_equal(out.labels["teff"], [NAN, NAN, 3480, 3480, 4000, NAN, NAN, NAN])
    assert out.report.unmatched == {
        "no target lies within the radius": 1,
        "more than one target lies within the radius": 1,
        "the row gives no usable coordinates": 2,
    }
    wide = join(make_index(), table, radius=8)
    assert wide.labels["teff"][0] == 5040


def test_positions_across_the_seam():
    index = pd.DataFrame({"spectrum_id": ["x"], "target": ["x"], "ra": [359.9999], "dec": [0.0]})
    out = join(index, pd.DataFrame({"RAJ2000": [0.0001, 50.0], "DEJ2000": [0.0, 0.0], "v": [1.0, 2.0]}))
    assert out.labels["v"].tolist() == [1.0]


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame(
            {"RA": ["20:00:43.6", "15:19:27.3"], "Dec": ["+22:42:31.8", "-07:43:20"], "teff": [5040, 3480]}
        ),
        pd.DataFrame(
            {"RA": ["20 00 43.6", "15 19 27.3"], "Dec": ["+22 42 31.8", "-07 43 20"], "teff": [5040, 3480]}
        ),
        pd.DataFrame(
            {"RA": ["20h00m43.6s", "15h19m27.3s"], "Dec": ["22d42m31.8s", "-7d43m20s"], "teff": [5040, 3480]}
        ),
        pd.DataFrame({"ra_hours": [20.0121, 15.3242], "dec": [22.7088, -7.7222], "teff": [5040, 3480]}),
        pd.DataFrame(
            {"ra": [20.0121, 15.3242], "dec": [22.7088, -7.7222], "teff": [5040, 3480]}
        ),  # the sky tells
        Table({"ra": [20.0121, 15.3242] * units.hourangle, "dec": [22.7088, -7.7222], "teff": [5040, 3480]}),
        Table(
            {
                "ra": np.radians([300.1819, 229.8635]) * units.rad,
                "dec": np.radians([22.7088, -7.7222]) * units.rad,
                "teff": [5040, 3480],
            }
        ),
    ],
    ids=["colons", "blanks", "letters", "title", "bare", "hourangle", "radians"],
)
def test_hours_and_sexagesimals(table):
    out = join(make_index(), table, on="position")
    np.testing.assert_array_equal(out.labels["teff"][:4], [5040, 5040, 3480, 3480])
    assert any("was read as" in note for note in out.report.notes)


def test_negative_declinations_near_zero_keep_their_sign():
    index = pd.DataFrame(
        {"spectrum_id": ["x", "y"], "target": ["x", "y"], "ra": [15.0, 15.0], "dec": [-0.5, 0.5]}
    )
    out = join(index, pd.DataFrame({"ra": ["01:00:00"], "dec": ["-00:30:00"], "v": [1.0]}))
    assert out.labels["v"].tolist()[0] == 1.0


def test_hours_or_degrees_that_the_sky_cannot_tell_are_refused():
    index = pd.DataFrame(
        {"spectrum_id": ["x", "y"], "target": ["x", "y"], "ra": [10.0, 150.0], "dec": [1.0, 1.0]}
    )
    with pytest.raises(CatalogError, match="hours or degrees"):
        join(index, pd.DataFrame({"ra": [10.0], "dec": [1.0], "v": [1.0]}))
    with pytest.raises(CatalogError, match="no coordinates"):
        join(index, pd.DataFrame({"ra": ["east"], "dec": ["north"], "v": [1.0]}), on="position")


def test_rows_that_contradict_each_other_are_refused():
    table = pd.DataFrame(
        {
            "name": ["HD 189733", "HD189733", "Gl 581", "GJ 581", "alf Cen A", "alf Cen A"],
            "teff": [5040, 5050, 3480, 3480, 5800, NAN],
            "feh": [0.0, 0.0, -0.1, -0.1, 0.2, 0.2],
        }
    )
    out = join(make_index(), table)
    check(out.report)
    np.testing.assert_array_equal(out.labels["teff"], [NAN, NAN, 3480, 3480, *[NAN] * 4])
    assert out.labels["feh"].notna().sum() == 2
    assert out.report.duplicates == 1
    assert out.report.unmatched == {"rows contradict each other about one spectrum or target": 4}
    assert out.report.refused == 3
    assert "HD 189733" in next(iter(out.report.examples.values()))
    assert any("contradict each other in: teff" in note for note in out.report.notes)
    # the columns in which they agree can be had
    out = join(make_index(), table, columns=["feh"])
    np.testing.assert_array_equal(out.labels["feh"][[0, 1, 5]], [0.0, 0.0, 0.2])
    assert out.report.duplicates == 3


def test_one_name_of_two_targets_is_refused():
    index = make_index().assign(target=list("abcdefgh"))
    out = join(index, pd.DataFrame({"name": ["HD 189733", "alf Cen A"], "v": [1.0, 2.0]}), on="name")
    assert out.report.unmatched == {"the name belongs to more than one target": 1}
    assert out.labels["v"].notna().tolist() == [False] * 5 + [True, False, False]


def test_missing_values_and_useless_labels_are_reported():
    table = pd.DataFrame(
        {
            "name": ["HD 189733", "GJ 581", "alf Cen A", "HD 1"],
            "feh": ["0.1", "-9999", "0.3", "--"],
            "same": [1.0, 1.0, 1.0, 2.0],
            "none": ["-", "null", " ", "~"],
            "word": ["x", "x", "x", "y"],
            "limits": ["1.5", "<2", "3.0", "4"],
        }
    )
    out = join(make_index(), table)
    check(out.report)
    label = {label.name: label for label in out.report.labels}
    assert (label["feh"].n, label["feh"].missing) == (3, 5)
    assert label["feh"].sentinels == {"-9999": 1, "--": 1}
    assert label["feh"].usable
    assert "has 1.0" in label["same"].reason
    assert label["none"].reason == "no spectrum has a value"
    assert "has x" in label["word"].reason
    assert "'<2'" in label["limits"].reason
    assert out.usable == ["feh"]
    text = out.report.text()
    assert "-9999 x 1" in text
    assert "NOT USABLE" in text


def test_identifiers_are_no_labels():
    index = pd.DataFrame(
        {"spectrum_id": [f"S{i:04d}" for i in range(40)], "target": [f"T{i}" for i in range(40)]}
    )
    table = pd.DataFrame(
        {
            "": range(40),
            "spectrum_id": index["spectrum_id"],
            "file": index["spectrum_id"] + ".fits",
            "HIP": range(40, 80),
            "comment": [f"by hand {i}" for i in range(40)],
            "teff": np.linspace(4000, 6000, 40),
            "oddity": ["binary", None] * 20,
        }
    ).rename(columns={"": "Unnamed: 0"})
    out = join(index, table)
    assert out.labels.columns.tolist() == ["teff", "oddity"]
    assert set(out.report.left_out) == {"Unnamed: 0", "spectrum_id", "file", "HIP", "comment"}
    assert join(index, table, columns=["HIP"]).labels["HIP"].tolist() == list(range(40, 80))


def test_labels_stay_aligned_with_the_index():
    index = make_index().iloc[[4, 0, 2]]
    out = join(index, pd.DataFrame({"name": ["GJ 581", "HD 189733"], "v": [1.0, 2.0]}))
    assert out.labels.index.tolist() == [4, 0, 2]
    np.testing.assert_array_equal(out.labels["v"], [NAN, 2.0, 1.0])


def test_nothing_matches_and_the_error_helps():
    table = pd.DataFrame(
        {
            "object": ["HD 1", "HD 2", "HD 3", "HD 4"],
            "ra": [1.0, 30, 40, 50],
            "dec": [2.0, 3, 4, 5],
            "v": [1, 2, 3, 4],
        }
    )
    with pytest.raises(CatalogError) as caught:
        join(make_index(), table)
    text = str(caught.value)
    for part in (
        "'HD 1', 'HD 2', 'HD 3'",
        "table ra",
        "index spectrum_id",
        "'HD189733', 'HD 189733', 'Gl581'",
        "rename the column",
        "aliases",
    ):
        assert part in text


def test_short_numbers_do_not_match_by_accident():
    index = pd.DataFrame(
        {"spectrum_id": [str(i) for i in range(100)], "target": [f"HD {i + 500}" for i in range(100)]}
    )
    table = pd.DataFrame(
        {"rank": range(98, 298), "star": [f"HD {i}" for i in range(501, 701)], "v": np.arange(200.0)}
    )
    out = join(index, table)
    assert out.report.key == "name"
    assert out.labels["v"][1] == 0.0
    assert join(index, table, id_column="rank").labels["v"][99] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on": "place"}, "none of"),
        ({"name_column": "nmae"}, "did you mean 'name'"),
        ({"columns": ["tef"]}, "did you mean 'teff'"),
        ({"ra_column": "teff"}, "give both"),
        ({"on": "id", "name_column": "name"}, "one way only"),
        ({"columns": []}, "no labels"),
    ],
)
def test_contradictions_are_refused(options, message):
    with pytest.raises(CatalogError, match=message):
        join(make_index(), pd.DataFrame({"name": ["HD 189733"], "teff": [1.0]}), **options)


def test_tables_one_after_the_other(tmp_path):
    index = make_index()
    (tmp_path / "a.csv").write_text("name,teff,rv\nHD 189733,5040,1\nGJ 581,3480,\n")
    (tmp_path / "b.csv").write_text("name,teff,kind\nHD 189733,5040,star\nGJ 581,3480,dwarf\n")
    (tmp_path / "c.csv").write_text("name,teff\nHD 189733,5041\nGJ 581,3480\n")
    a, b, c = (join(index, tmp_path / f"{name}.csv") for name in "abc")
    both = combine([a, b])
    assert both.columns.tolist() == ["teff", "rv", "kind"]
    np.testing.assert_array_equal(both["teff"][:4], [5040, 5040, 3480, 3480])
    with pytest.raises(CatalogError, match="'teff'") as caught:
        combine([a, b, c])
    assert "a.csv" in str(caught.value)
    assert "c.csv" in str(caught.value)
    assert "2 spectra" in str(caught.value)


def test_a_table_cut_after_it_was_read_keeps_its_account(tmp_path):
    from astroprism.targets.catalog import read_table

    (tmp_path / "t.csv").write_text("name,feh\nHD 189733,-9999\nGJ 581,0.1\nHD 1,0.5\n")
    frame = read_table(tmp_path / "t.csv")
    out = join(make_index(), frame[frame["name"] != "HD 1"])
    assert out.report.labels[0].sentinels == {"-9999": 1}
    assert out.report.rows == 2


def test_the_page_for_users_says_what_happens(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).resolve().parents[1] / "docs" / "labels.md").read_text()
    monkeypatch.chdir(tmp_path)
    exec("\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)), {})
    assert capsys.readouterr().out == re.findall(r"```text\n(.*?)```", page, flags=re.DOTALL)[0]


def test_large_tables_join_in_seconds():
    rng = np.random.default_rng(1)
    n = 60_000
    ra, dec = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    index = pd.DataFrame(
        {
            "spectrum_id": [f"ADP.{i:07d}" for i in range(n)],
            "target": [f"TIC {i}" for i in range(n)],
            "ra": ra,
            "dec": dec,
        }
    )
    order = rng.permutation(n)
    values = np.arange(n, dtype=np.float64)[order]
    for table, way in (
        (pd.DataFrame({"dp_id": index["spectrum_id"].to_numpy()[order], "v": values}), "id"),
        (pd.DataFrame({"star": [f"TIC{i:09d}" for i in order], "v": values}), "name"),
        (pd.DataFrame({"ra": ra[order], "dec": dec[order], "v": values}), "position"),
    ):
        start = time.process_time()
        out = join(index, table)
        assert time.process_time() - start < 6
        assert out.report.key == way
        # two of the random places may lie within 5 arcsec
        assert out.report.matched > n - 20
        has = out.labels["v"].notna().to_numpy()
        np.testing.assert_array_equal(out.labels["v"][has], np.arange(n)[has])


def test_a_join_is_reported_in_a_line():
    index = pd.DataFrame({"spectrum_id": ["a", "b", "c"], "target": ["s", "t", "u"]})
    table = pd.DataFrame({"spectrum_id": ["a", "b", "b"], "teff": [1.0, 2.0, 3.0], "one": [7.0, 7.0, 7.0]})
    line = join(index, table).report.line()
    assert "1 of 3 spectra by id" in line
    assert "left out: " in line
    assert "1 refused: rows contradict each other" in line


def test_tables_as_people_hold_them():
    """By an index of identifiers, as a dict; a doubled title and what is no table are refused."""
    frame = pd.DataFrame({"rv": [1.0, 2.0, 3.0]}, index=["s1", "s2", "s3"])
    index = pd.DataFrame({"spectrum_id": ["s3", "s1", "s2"], "target": ["c", "a", "b"]})
    assert join(index, frame).labels["rv"].tolist() == [3.0, 1.0, 2.0]
    assert join(index, {"id": ["s1", "s2", "s3"], "rv": [1, 2, 3]}).labels["rv"].tolist() == [3, 1, 2]
    twice = join(index, pd.concat([frame, 2 * frame], axis=1))
    assert twice.labels["rv_2"].tolist() == [6.0, 2.0, 4.0]
    assert any("second column 'rv'" in note for note in twice.report.notes)
    with pytest.raises(CatalogError, match="type int"):
        join(index, label_tables(5)[0])
    assert len(label_tables([frame, frame])) == 2


# --- text as labels


def stars(n: int) -> pd.DataFrame:
    """An index of n stars, one spectrum each."""
    return pd.DataFrame(
        {"spectrum_id": [f"s{i}" for i in range(n)], "target": [f"star {i}" for i in range(n)]}
    )


@pytest.mark.parametrize(
    ("text", "subclass", "luminosity"),
    [
        ("K3III", 53, 3),
        ("sdM4", 64, 6),
        ("F5V+?", 35, 5),
        ("B9.5IV-V", 19.5, 4.5),
        ("kA5hA8mF4", 28, NAN),
        ("G8IIIb Fe-1", 48, 3),
        ("dM3e", 63, 5),
        ("A0", 20, NAN),
        ("M2-III", 62, 3),
        ("F5V:", 35, 5),
        ("A3/5V", 24, 5),
        ("F8/G0V", 39, 5),
        ("K0III+F0V", 50, 3),
        ("M1Ia-ab", 61, 1),
        ("O6.5V((f))", 6.5, 5),
        ("ApSi", NAN, NAN),
        ("L1.5", 71.5, NAN),
        ("gM5", 65, 3),
        ("GV", NAN, 5),
        ("M5Vvar", 65, 5),
        *[
            (text, NAN, NAN)
            for text in ("DA2", "WN5", "C5,4", "N", "S6/2", "Carbon", "WD", "M31", "Galaxy", "")
        ],
    ],
)
def test_mk_types(text, subclass, luminosity):
    np.testing.assert_equal(parse(text), (subclass, luminosity))


def test_spectral_types_become_two_numbers():
    kinds = ["K3III", "F5V", "DA2", None, "M2-III", "G2V"] * 10
    out = join(stars(60), stars(60).assign(SpType=kinds).drop(columns="target"))
    assert out.usable == ["SpType_subclass", "SpType_luminosity"]
    np.testing.assert_equal(out.labels["SpType_subclass"].tolist()[:6], [53, 35, NAN, NAN, 62, 42])
    np.testing.assert_equal(out.labels["SpType_luminosity"].tolist()[:6], [3, 5, NAN, NAN, 3, 5])
    assert "40 of 50" in out.report.left_out["SpType"]
    assert "MK types, read as SpType_subclass" in out.report.line()
    kept = join(stars(60), stars(60).assign(SpType=kinds), columns=["SpType"])
    assert kept.usable == ["SpType"]


def test_codes_that_look_like_types_are_none():
    out = join(stars(60), stars(60).assign(camera=["B1", "B2", "G1"] * 20).drop(columns="target"))
    assert out.usable == ["camera"]


def test_rare_classes_are_pooled_and_told():
    kinds = ["dwarf"] * 30 + ["giant"] * 20 + [f"odd {i // 2}" for i in range(10)]
    out = join(stars(60), stars(60).assign(kind=kinds).drop(columns="target"))
    assert out.labels["kind"].value_counts().to_dict() == {"dwarf": 30, "giant": 20, "other": 10}
    told = "5 classes of fewer than 5 targets each, 10 together are pooled as 'other'"
    assert out.report.labels[0].pooled == told
    assert told in out.report.text()
    assert told in out.report.line()
    few = join(stars(6), stars(6).assign(kind=list("aabbcd")).drop(columns="target"))
    assert few.labels["kind"].nunique() == 4


def test_a_class_has_targets_as_members_not_spectra():
    index = stars(60).assign(target=[f"star {i // 2}" for i in range(60)])
    kinds = ["dwarf"] * 30 + ["giant"] * 14 + ["odd"] * 8 + ["rare"] * 8
    out = join(index, index.assign(kind=kinds).drop(columns="target"))
    assert set(out.labels["kind"]) == {"dwarf", "giant", "other"}


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([f"plate {i // 4}" for i in range(200)], "50 classes for 200 targets, more than a tenth"),
        ([f"2019-0{1 + i % 9}-11" for i in range(200)], "dates or times"),
        ([f"2019-0{1 + i % 9}-11T01:02:03.5" for i in range(200)], "dates or times"),
        ([f"night{i % 9}.fits.gz" for i in range(200)], "names of files"),
        ([f"/data/{i % 3}/a b.txt" for i in range(200)], "names of files"),
        (
            pd.to_datetime("2019-01-01") + pd.to_timedelta(np.arange(200) % 7, unit="D"),
            "give days as numbers",
        ),
    ],
)
def test_text_that_is_no_class(values, why):
    out = join(stars(200), stars(200).assign(what=values, v=np.arange(200.0)).drop(columns="target"))
    assert out.usable == ["v"]
    assert why in out.report.labels[0].reason


@pytest.mark.parametrize("dtype", ["str", "string[python]", "string[pyarrow]", "category", "object"])
def test_every_kind_of_text_column(dtype):
    text = pd.Series(["a", "b", None, "c"] * 15).astype("object" if dtype == "object" else dtype)
    table = stars(60).assign(kind=text).drop(columns="target")
    table["spectrum_id"] = table["spectrum_id"].astype("object" if dtype == "object" else dtype)
    if dtype == "object":
        table["kind"] = table["kind"].mask(table["kind"].isna(), pd.NA)
    out = join(stars(60), table)
    assert out.usable == ["kind"]
    assert out.labels["kind"].isna().sum() == 15
    assert out.report.labels[0].levels == 3


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "boolean", "int64[pyarrow]", "category", "object"])
def test_every_kind_of_number_column(dtype):
    numbers = pd.Series([1, 0, None, 1] * 15, dtype="Int64").astype("object" if dtype == "object" else dtype)
    out = join(stars(60), stars(60).assign(flag=numbers).drop(columns="target"))
    assert out.usable == ["flag"]
    np.testing.assert_equal(out.labels["flag"].tolist()[:4], [1, 0, NAN, 1])
