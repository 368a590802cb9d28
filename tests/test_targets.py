from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from astroprism.errors import CatalogError
from astroprism.targets.group import group_targets, read_aliases
from astroprism.targets.positions import (
    chord,
    friends,
    known_coordinates,
    position_name,
    separation,
    unit_vectors,
)

NAN = np.nan
ARCSEC = 1 / 3600


def groups(targets) -> list[int]:
    """Targets as small numbers in order of appearance."""
    number: dict[str, int] = {}
    return [number.setdefault(name, len(number)) for name in targets.target]


def test_names_aliases_and_places_join_and_carry_through():
    names = ["HD 189733", "HD189733", "V452 Vul", "", "Gl 581", "GJ 581", "HO Lib", "unknown"]
    ra = [300.1819, NAN, 300.1821, 300.1827, NAN, 229.86, NAN, NAN]
    dec = [22.7108, NAN, 22.7108, 22.7112, NAN, -7.72, NAN, NAN]
    out = group_targets(names, ra, dec, aliases=[("V* HO Lib", "GJ581", "BD-07 4003")])
    assert groups(out) == [0, 0, 0, 0, 1, 1, 1, 2]
    assert out.target[0] == "HD 189733"
    assert out.target[4] == "Gl 581"
    assert (out.count, out.unnamed, out.unplaced) == (3, 2, 4)
    assert (out.merged_by_name, out.merged_by_alias, out.merged_by_position) == (2, 1, 2)
    assert out.doubts.empty


def test_chains_carry_through_names_and_places():
    # name joins 0-1, place joins 1-2, alias joins 2-3, place joins 3-4
    out = group_targets(
        ["HD 10", "HD10", "HIP 7", "GJ 9", ""],
        [NAN, 10.0, 10.0 + 3 * ARCSEC, 50.0, 50.0],
        [NAN, 0.5, 0.5, 5.0, 5.0 + 4 * ARCSEC],
        aliases=[("HIP 7", "X 1"), ("X1", "GJ 9")],
    )
    assert groups(out) == [0] * 5
    # carried through by a friend in the middle
    out = group_targets(["", "", ""], np.array([0, 4, 8]) * ARCSEC + 7, [0.0, 0.0, 0.0])
    assert groups(out) == [0, 0, 0]


@pytest.mark.parametrize(("arcsec", "same"), [(4.99, True), (5.01, False)])
@pytest.mark.parametrize("dec", [0.0, 60.0, -89.9])
def test_the_radius_is_an_angle_on_the_sky(arcsec, same, dec):
    ra = [
        123.4,
        123.4 + np.degrees(2 * np.arcsin(np.sin(np.radians(arcsec * ARCSEC / 2)) / np.cos(np.radians(dec)))),
    ]
    out = group_targets(["HD 1", "V1 Cyg"], ra, [dec, dec])
    assert (out.count == 1) is same
    assert len(out.doubts) == (0 if same else 1)


def test_seam_and_poles():
    out = group_targets(["", "", "", ""], [359.9997, 0.0003, 12.0, 190.0], [0.0, 0.0, 89.9999, 89.9999])
    assert groups(out) == [0, 0, 1, 1]


def test_near_pairs_are_reported_and_not_joined():
    out = group_targets(
        ["Gl 581", "HO Lib", "HD 1", "Vega"],
        [229.86, 229.86 + 20 * ARCSEC, 229.86, 229.86],
        [0.0, 0.0, 31 * ARCSEC, -29 * ARCSEC],
    )
    assert out.count == 4
    reported = {(row.target_a, row.target_b) for row in out.doubts.itertuples()}
    assert reported == {("Gl 581", "HO Lib"), ("Gl 581", "Vega")}
    assert out.doubts["separation"].tolist() == pytest.approx([20, 29], abs=0.01)
    assert not out.doubts["merged"].any()


def test_components_at_one_place_stay_apart():
    out = group_targets(
        ["alf Cen A", "alf Cen B", "* alf Cen A"], [219.9, 219.9, 219.9], [-60.83, -60.83, -60.83]
    )
    assert groups(out) == [0, 1, 0]
    assert "components A and B" in out.doubts["reason"][0]
    # but a user who says that they are one is believed
    out = group_targets(["HD 5 A", "HD 5 B"], [1.0, 1.0], [1.0, 1.0], aliases=[("HD 5A", "HD 5B")])
    assert out.count == 1


def test_a_parking_position_joins_no_stars():
    names = [f"HD {i}" for i in range(1, 41)] + ["", ""]
    ra, dec = np.full(42, 180.0), np.full(42, -24.6)
    ra[0], dec[0] = 11.0, 11.0  # HD 1 has a place of its own, and is parked once as well
    names.append("HD1")
    out = group_targets(names, [*ra, 180.0], [*dec, -24.6])
    assert out.count == 42
    assert out.target[-1] == "HD 1"
    assert out.doubts["reason"].str.contains("shared by 40").sum() == 39
    assert len(set(out.target)) == 42


def test_many_names_of_one_star_are_no_parking_position():
    names = [
        "Proxima",
        "GJ551",
        "HIP 70890",
        "Gl551",
        "V645 Cen",
        "Prox Cen",
        "alf Cen C",
        "LHS 49",
        "2MASS J14294291-6240465",
    ]
    out = group_targets(names, [217.4289] * 9, [-62.6795] * 9)
    assert out.count == 1
    assert out.target[0] == "Proxima"
    assert out.doubts.empty


def test_a_pair_of_one_catalogue_at_one_place_is_joined_and_reported():
    out = group_targets(["HD 137107", "HD 137108"], [230.8, 230.8], [30.29, 30.29])
    assert out.count == 1
    assert out.doubts["merged"].tolist() == [True]
    assert out.doubts.loc[0, ["name_a", "name_b"]].tolist() == ["HD 137107", "HD 137108"]


def test_stale_coordinates_do_not_join_stars_that_have_others():
    # both were once written with the position of a field where neither is
    out = group_targets(["HD 1", "V5 Cyg", "HD 1", "V5 Cyg"], [10.0, 20.0, 99.0, 99.0], [1.0, 2.0, 3.0, 3.0])
    assert groups(out) == [0, 1, 0, 1]
    assert out.doubts["reason"].str.contains("elsewhere").any()
    assert out.doubts["reason"].str.contains("one name at places").sum() == 2


def test_sentinel_coordinates_are_unknown():
    ra = [0.0, 0.0, -99999.0, 400.0, NAN, 10.0, np.inf, -9999.0]
    dec = [0.0, 0.0, -99999.0, 10.0, 5.0, 99.0, 1.0, -9999.0]
    out = group_targets([f"V{i} Cyg" for i in range(8)], ra, dec)
    assert out.count == 8
    assert out.unplaced == 8
    assert known_coordinates([0.0, 0.0, 360.0], [0.0, 1.0, -90.0])[2].tolist() == [False, True, True]


def test_spectra_without_name_and_place_are_targets_of_their_own():
    out = group_targets(["", "SKY", None], [NAN] * 3, [NAN] * 3, identifiers=["a", "b", "c"])
    assert out.target.tolist() == ["unnamed a", "unnamed b", "unnamed c"]


def test_names_are_the_first_in_row_order_and_stay_as_rows_are_added():
    names = ["", "hd_189733", "HD 189733", "Vega"]
    ra, dec = [300.1821, 300.1821, NAN, 279.23], [22.71, 22.71, NAN, 38.78]
    before = group_targets(names, ra, dec)
    after = group_targets([*names, "HD 189733", "Deneb"], [*ra, 1.0, 310.36], [*dec, 1.0, 45.28])
    assert before.target.tolist() == ["hd 189733", "hd 189733", "hd 189733", "Vega"]
    assert after.target[:4].tolist() == before.target.tolist()


def test_position_names():
    assert position_name(300.18186, 22.70883) == "J200043.64+224231.7"
    assert position_name(0.0, -0.5) == "J000000.00-003000.0"
    assert position_name(360.0, 90.0) == "J000000.00+900000.0"
    out = group_targets([""], [241.436933], [32.35524])
    assert out.target[0] == "J160544.86+322118.8"


def test_groups_do_not_depend_on_the_order_of_rows():
    rng = np.random.default_rng(4)
    star = rng.integers(0, 60, 400)
    ra = rng.uniform(0, 360, 60)[star] + rng.normal(0, 0.3, 400) * ARCSEC
    dec = rng.uniform(-60, 60, 60)[star]
    names = [f"HD {s}" if u < 0.5 else "" for s, u in zip(star, rng.random(400), strict=True)]
    out = group_targets(names, ra, dec)
    assert len({*zip(star.tolist(), groups(out), strict=True)}) == out.count == np.unique(star).size
    order = rng.permutation(400)
    shuffled = group_targets([names[i] for i in order], ra[order], dec[order])
    pairs = {*zip(np.array(groups(out))[order].tolist(), groups(shuffled), strict=True)}
    assert len(pairs) == out.count


def test_friends_agrees_with_all_pairs():
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rng = np.random.default_rng(5)
    # crowded enough for cells of many points, at a density where chains just begin
    points = unit_vectors(40 + rng.uniform(0, 200, 1500) * ARCSEC, rng.uniform(0, 200, 1500) * ARCSEC)
    reach = chord(5.0)
    near = np.linalg.norm(points[:, None] - points[None], axis=2) <= reach
    expected = connected_components(coo_array(near), directed=False)[1]
    found = friends(points, reach)
    assert (
        len({*zip(found.tolist(), expected.tolist(), strict=True)}) == expected.max() + 1 == found.max() + 1
    )
    assert 20 < expected.max() < 1000


def test_separation_is_exact_for_small_angles():
    for arcsec in (0.01, 1.0, 5.0, 30.0, 3600.0):
        assert separation(chord(arcsec)) == pytest.approx(arcsec, rel=1e-6)


def test_a_star_of_very_many_spectra_is_quick():
    rng = np.random.default_rng(6)
    n = 60_000
    star = rng.integers(0, 30, n)
    ra = rng.uniform(0, 360, 30)[star] + rng.normal(0, 1.0, n) * ARCSEC
    start = time.process_time()
    out = group_targets([""] * n, ra % 360, rng.uniform(-50, 50, 30)[star])
    assert out.count == 30
    assert time.process_time() - start < 10


def test_the_same_in_another_process():
    code = (
        "import numpy as np; from astroprism.targets.group import group_targets\n"
        "r = np.random.default_rng(1); k = r.integers(0, 50, 300)\n"
        "t = group_targets([f'S{i}' if i % 3 else '' for i in k], k * 1.0, k * 0.5)\n"
        "print('|'.join(t.target), t.count)"
    )
    outs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[1] / "src")},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outs) == 1


def test_nothing_gives_nothing():
    out = group_targets([], [], [])
    assert out.count == 0
    assert out.target.shape == (0,)
    assert out.doubts.empty


def test_lengths_must_agree():
    with pytest.raises(CatalogError, match="2 names"):
        group_targets(["a", "b"], [1.0], [1.0])


def test_alias_tables(tmp_path):
    table = tmp_path / "aliases.csv"
    table.write_text(
        "\ufeffmain_id,alias1,alias2\n# hosts\nHD 189733,V452 Vul,\n\nGl 581,HO Lib|BD-07 4003\nVega\n"
    )
    assert read_aliases(table) == [("HD 189733", "V452 Vul"), ("Gl 581", "HO Lib", "BD-07 4003"), ("Vega",)]
    table.write_text("HD 189733; V452 Vul\n")
    assert read_aliases(table) == [("HD 189733", "V452 Vul")]
    for content, message in [(b"", "no row"), (b"Vega\nDeneb\n", "no row"), (b"\x89HDF\0\0", "not a text")]:
        table.write_bytes(content)
        with pytest.raises(CatalogError, match=message) as caught:
            read_aliases(table)
        assert str(table) in str(caught.value)
    with pytest.raises(CatalogError, match="cannot be read"):
        read_aliases(tmp_path / "absent.csv")


def test_aliases_may_be_a_frame():
    import pandas as pd

    rows = pd.DataFrame({"name": ["HD 1", "HD 2"], "alias": ["V1 Cyg", None]})
    assert group_targets(["HD 1", "V1 Cyg", "HD 2"], [NAN] * 3, [NAN] * 3, aliases=rows).count == 2


def far(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.linspace(10, 200, n), np.linspace(-40, 60, n)


@pytest.mark.parametrize(
    "name", ["Object Observed", "STAR", "sky", "Unknown", "TARGET", "test", "-", "0", "12", ""]
)
def test_a_placeholder_joins_no_spectra(name):
    assert group_targets([name] * 6, [NAN] * 6, [NAN] * 6).count == 6
    assert group_targets([name] * 6, *far(6)).count == 6


def test_a_name_at_places_that_disagree_joins_none():
    ra, dec = far(8)
    out = group_targets(["Halo survey"] * 8 + ["HD 1"] * 2, [*ra, 300, 300], [*dec, 5, 5])
    assert (out.count, out.disputed) == (9, ("Halo survey",))
    assert groups(out)[-2:] == [8, 8]
    assert len(set(out.target)) == 9
    # the spectra of one place still are of one star
    out = group_targets(["Halo survey"] * 4, [ra[0], ra[0], ra[1], ra[1]], [dec[0], dec[0], dec[1], dec[1]])
    assert groups(out) == [0, 0, 1, 1]


def test_a_stale_pointing_alone_leaves_its_star():
    names = ["HD 189733"] * 3 + ["Alpha"] * 5
    ra = [300.18, NAN, 10.0, 20.0, 20.0, 20.0, 99.0, NAN]
    dec = [22.71, NAN, 10.0, 20.0, 20.0, 20.0, 9.0, NAN]
    assert groups(group_targets(names, ra, dec)) == [0, 0, 1, 2, 2, 2, 3, 2]


def test_a_table_of_targets_counts_before_names_and_places(tmp_path):
    import pandas as pd

    from astroprism.targets.assignment import assign, read_assignment

    table = pd.DataFrame({"Spectrum": ["a", "b.fits", 17, "gone", None], "target": ["X", "X", 5, "Y", "Z"]})
    expected = {"a": "X", "b.fits": "X", "17": "5", "gone": "Y"}
    table.astype("str").to_csv(tmp_path / "t.csv", index=False)
    assert {k: v for k, v in read_assignment(tmp_path / "t.csv").items() if k != "None"} == expected
    assert read_assignment(table) == expected
    index = pd.DataFrame({"spectrum_id": ["a", "b", "17", "c"], "path": ["/1.txt", "/in/b.fits", "/3", "/4"]})
    out = assign(index, np.array(["p", "q", "r", "s"], dtype=object), expected)
    assert (out.target.tolist(), out.listed, out.unknown) == (["X", "X", "5", "s"], 3, ("gone",))
    assert "1 is not in it" in out.line()
    assert "1 of its 4 rows name no spectrum here (first: gone)" in out.line()
    with pytest.raises(CatalogError, match="two targets"):
        read_assignment(pd.DataFrame({"spectrum": ["a", "a"], "target": ["X", "Y"]}))
    with pytest.raises(CatalogError, match="no column 'target'"):
        read_assignment(pd.DataFrame({"spectrum": ["a"], "teff": [1]}))
