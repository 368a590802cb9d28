from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astroprism.targets.names import catalogue, component, name_text, normalise_name

ONE_STAR = [
    [
        "HD 189733",
        "HD189733",
        "hd-189733",
        "HD_189733",
        "HD 0189733",
        "HDE 189733",
        "HD–189733",
        " hd  189733 ",
    ],
    ["HD 000142", "HD142", "HD 142"],
    ["Gl 581", "GL581", "GJ 581", "Gliese 581", "gj-0581", "Gl581"],
    ["GJ 15 A", "Gl15A", "GL 015A"],
    ["BD+33 2642", "BD+33_2642", "BD+332642", "BD +33 2642", "BD+33d2642", "BD+33°2642", "bd+33 02642"],
    ["BD-03 2525", "BD −03 2525", "BD-3 2525", "BD-032525", "BD-03-2525"],
    ["CD-44 1234", "CoD-44 1234", "CD-44d1234", "CD -44_1234"],
    ["CPD-60 980", "CP-60 980"],
    [
        "alf Cen A",
        "* alf Cen A",
        "Alpha Centauri A",
        "α Cen A",
        "alfCenA",
        "ALPHA-CEN-A",
        "αCen A",
        "alpha_Cen_A",
    ],
    ["alf02 CMa", "alf2 CMa", "alpha-2 CMa", "α² CMa"],
    ["tau Cet", "TauCeti", "Tau Ceti", "* tau Cet", "τ Cet"],
    ["mu. Cas", "* mu. Cas", "µ Cas"],
    ["V645 Cen", "V* V645 Cen", "V0645 Cen"],
    ["NAME Proxima Centauri", "Proxima Cen", "ProximaCen", "Proxima-Centauri"],
    ["61 Cyg A", "61CygA", "* 61 Cyg A"],
    ["51 Peg", "51Peg", "51 Pegasi", "* 51 Peg"],
    ["TYC 0123-00456-1", "TYC 123-456-1", "TYC_123_456_1"],
    ["2MASS J12345678-0123456", "2M12345678-0123456", "2MASSJ12345678-0123456"],
    ["Gaia DR3 4295806720", "GaiaEDR3_4295806720"],
    ["L 98-59", "L98-59", "L 98 59"],
    ["K2-18", "K2 18", "k2_18"],
    ["TRAPPIST-1", "TRAPPIST 1", "Trappist1"],
    ["Barnard's star", "Barnards Star", "NAME Barnard's star"],
    ["HAT-P-11", "HAT P 11", "HATP11"],
    ["SIM-00012", "sim12", "SIM 00012"],
]
DIFFERENT = [
    ("HD 189733 A", "HD 189733 B"),
    ("HD 189733", "HD 189733 A"),
    ("HD 1897", "HD 18973"),
    ("BD+33 2642", "BD+3 32642"),
    ("BD+33 2642", "BD-33 2642"),
    ("BD+33 2642", "BD 33 2642"),  # a sign that was lost is not guessed
    ("BD+33 2642", "CD+33 2642"),
    ("J1234+5678", "J1234-5678"),
    ("PG 1234+567", "PG 1234+568"),
    ("Gaia DR2 4295806720", "Gaia DR3 4295806720"),
    ("mu. Cas", "V* MU Cas"),
    ("alf Cen A", "alf Cen B"),
    ("alf Cen", "bet Cen"),
    ("TYC 1234-567-1", "TYC 1234-567-2"),
    ("HIP 142", "HD 142"),
    ("HD 10 0", "HD 100"),
    ("HD 189733 b", "HD 189733 B"),  # the planet, or a careless B
    ("V645 Cen", "V645 Cep"),
]
NO_STAR = [
    *(
        "",
        " ",
        "-",
        "--",
        "...",
        "unknown",
        "SKY",
        "CALIB",
        "OBJECT",
        "STD",
        "WAVE,THAR",
        "no name",
        "No Name",
        "star",
    ),
    *(
        "test",
        "LAMP,WAVE,THAR",
        "STD,FLUX",
        "N/A",
        "nan",
        "None",
        "NULL",
        "-9999",
        "0",
        None,
        float("nan"),
        b"SKY",
    ),
]


@pytest.mark.parametrize("spellings", ONE_STAR, ids=lambda group: group[0])
def test_spellings_of_one_star_are_one(spellings: list[str]) -> None:
    assert len({normalise_name(name) for name in spellings}) == 1
    assert normalise_name(spellings[0])


def test_stars_of_the_list_are_not_mixed_up() -> None:
    assert len({normalise_name(group[0]) for group in ONE_STAR}) == len(ONE_STAR)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_stars_stay_apart(one: str, other: str) -> None:
    assert normalise_name(one) != normalise_name(other)


@pytest.mark.parametrize("name", NO_STAR, ids=repr)
def test_placeholders_name_no_star(name: object) -> None:
    assert normalise_name(name) == ""


@pytest.mark.parametrize("name", ["Vega", "Sun", "Moon", "Test 12", "Star 12", "A", "日本", "STARGATE"])
def test_a_name_is_not_taken_for_a_placeholder(name: str) -> None:
    assert normalise_name(name)


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=30) | st.from_regex(r"[A-Za-z*+\- _.0-9]{0,20}", fullmatch=True))
def test_any_text_has_one_normal_form(name: str) -> None:
    once = normalise_name(name)
    assert normalise_name(once) == once


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 400_000), st.sampled_from(["HD{}", "hd {:06d}", "HD_{}", "HD-{}"]), st.sampled_from("ABC ")
)
def test_numbers_are_kept_to_the_last_digit(number: int, form: str, letter: str) -> None:
    assert normalise_name(form.format(number) + letter) == f"HD{number}{letter.strip()}"


def test_accents_and_marks_are_spelling() -> None:
    assert normalise_name("Bételgeuse") == normalise_name("Betelgeuse")
    assert normalise_name(normalise_name("A¯")) == normalise_name("A¯")


def test_components() -> None:
    assert component("HD189733B") == ("HD189733", "B")
    assert component("ALFCENA") == ("ALFCEN", "A")
    assert component("HD1AB") == ("HD1", "AB")
    assert component(normalise_name("eps Ind Ba")) == ("EPSIND", "B")
    assert component("VEGA") == ("VEGA", "")


def test_catalogues() -> None:
    names = [
        "HD 1",
        "BD+33 2642",
        "Gl 581",
        "alf Cen A",
        "61 Cyg",
        "RR Lyr",
        "Vega",
        "J1234+5678",
        "Gaia DR3 12",
    ]
    found = [catalogue(normalise_name(name)) for name in names]
    assert found == ["HD", "BD", "GJ", "Bayer", "Flamsteed", "variable", "", "", "GAIADR3"]


def test_text_for_people() -> None:
    assert name_text("BD+33_2642 ") == "BD+33 2642"
    assert name_text(b"HD 1\0\0") == "HD 1"
