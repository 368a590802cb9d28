from __future__ import annotations

import contextlib
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy import units
from astropy.io.votable import from_table, writeto
from astropy.table import MaskedColumn, Table

from astroprism.cells import clean, sentinels
from astroprism.errors import CatalogError
from astroprism.tables import as_table, read_table

TEXT = """star,teff,feh,sptype,gaia
HD 189733,5040,-0.03,K2V,4295806720123456789
HD 142,-9999,99999,-,4295806720123456788
Gl 581,3480.5,,M3V,
Vega,9602,-0.5,A0V,4295806720123456780
"""


def stars() -> Table:
    return Table(
        {
            "star": ["HD 189733", "HD 142", "Gl 581", "Vega"],
            "teff": MaskedColumn([5040.0, -9999.0, 3480.5, 9602.0], unit=units.K),
            "feh": MaskedColumn([-0.03, 99999, 0, -0.5], mask=[False, False, True, False], dtype="f4"),
            "sptype": MaskedColumn(["K2V", "-", "M3V", "A0V"]),
            "gaia": MaskedColumn(
                [4295806720123456789, 4295806720123456788, 0, 4295806720123456780],
                mask=[False, False, True, False],
                dtype="i8",
            ),
        }
    )


def write(kind: str, path: Path) -> Path:
    if kind == "csv":
        path.write_text(TEXT)
    elif kind == "tsv":
        path.write_text(TEXT.replace(",", "\t"))
    elif kind == "csv of a spreadsheet":
        path.write_bytes(
            b"\xef\xbb\xbf" + TEXT.replace(",", ";").replace(".", ",").replace("\n", "\r\n").encode()
        )
    elif kind == "utf-16":
        path.write_bytes(TEXT.encode("utf-16"))
    elif kind == "commented":
        path.write_text("# made by hand\n" + TEXT.replace("\nVega", "\n\n# the standard\nVega"))
    elif kind == "gzip":
        path.write_bytes(gzip.compress(TEXT.encode()))
    elif kind == "ecsv":
        stars().write(path, format="ascii.ecsv")
    elif kind == "votable":
        writeto(from_table(stars()), str(path))
    elif kind == "votable binary":
        writeto(from_table(stars()), str(path), tabledata_format="binary2")
    elif kind == "fits":
        stars().write(path, format="fits")
    elif kind == "parquet":
        frame = pd.read_csv(pd.io.common.StringIO(TEXT), dtype={"gaia": "Int64"})
        frame.to_parquet(path)
    return path


KINDS = [
    "csv",
    "tsv",
    "csv of a spreadsheet",
    "utf-16",
    "commented",
    "gzip",
    "ecsv",
    "votable",
    "votable binary",
]


@pytest.mark.parametrize("kind", [*KINDS, "fits", "parquet"])
def test_every_format_gives_the_same_table(kind, tmp_path):
    # the name says nothing: the content does
    frame = read_table(write(kind, tmp_path / "labels.dat"))
    assert frame.columns.tolist() == ["star", "teff", "feh", "sptype", "gaia"]
    assert frame["star"].tolist() == ["HD 189733", "HD 142", "Gl 581", "Vega"]
    np.testing.assert_array_equal(frame["teff"], [5040, np.nan, 3480.5, 9602])
    np.testing.assert_allclose(frame["feh"], [-0.03, np.nan, np.nan, -0.5], rtol=1e-6)
    assert frame["sptype"].isna().tolist() == [False, True, False, False]
    # Gaia's numbers are longer than a float64 can hold
    assert frame["gaia"].dropna().tolist() == [
        "4295806720123456789",
        "4295806720123456788",
        "4295806720123456780",
    ]
    missing = frame.attrs["missing"]
    assert missing["teff"] == {"-9999": 1}
    assert sum(missing["feh"].values()) == 2
    assert missing["feh"]["99999"] == 1
    assert missing["sptype"] == {"-": 1}


def test_units_come_along(tmp_path):
    for kind in ("ecsv", "votable", "fits"):
        assert read_table(write(kind, tmp_path / kind)).attrs["units"]["teff"] == "K"


def test_vizier_lines_of_units_and_dashes(tmp_path):
    path = tmp_path / "vizier.tsv"
    path.write_text(
        "#RESOURCE=yCat\n\n_RAJ2000\tHD\tTeff\ndeg\t \tK\n----\t---\t---\n300.18\t189733\t5040\n1.0\t142\t\n"
    )
    frame = read_table(path)
    assert frame.attrs["units"] == {"_RAJ2000": "deg", "Teff": "K"}
    assert frame["Teff"].tolist()[0] == 5040
    assert frame["HD"].tolist() == [189733, 142]
    assert frame.attrs["missing"]["Teff"] == {"blank": 1}


def test_text_in_columns_of_blanks(tmp_path):
    path = tmp_path / "table.txt"
    path.write_text('# star   teff   feh\nHD142    5000  -0.1\n"HD 1"   6000   0.1\n')
    frame = read_table(path)
    assert frame["star"].tolist() == ["HD142", "HD 1"]
    assert frame["teff"].tolist() == [5000, 6000]


def test_identifiers_keep_their_zeros_and_commas_in_quotes(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('id,name,teff\n000142,"Doe, J.",5000\n000143,x,5100\n')
    frame = read_table(path)
    assert frame["id"].tolist() == ["000142", "000143"]
    assert frame["name"].tolist() == ["Doe, J.", "x"]


def test_vector_columns_are_left_out_and_told(tmp_path):
    table = stars()
    table["cov"] = np.zeros((4, 3))
    table.write(tmp_path / "t.fits")
    frame = read_table(tmp_path / "t.fits")
    assert "cov" not in frame
    assert "cov" in frame.attrs["notes"][0]


@pytest.mark.parametrize(
    ("values", "taken"),
    [
        ([5000, 6000, 9000, -9999], [-9999]),
        ([5000, 6000, 9000, 9999], []),  # a star may have 9999 K
        ([3000, 7000, 9999], []),
        ([0.1, -0.3, 9999], [9999]),
        ([0.1, -0.3, 99.0, 99.9, -99.99], [99.0, 99.9, -99.99]),
        ([10, 60, 99.0], []),  # km/s
        ([10, 60, -99.0, 120], []),
        ([500, 80_000, 99_999], []),  # counts
        ([500, 8_000, 99_999], [99_999]),
        ([-20_000, 20_000, -9999], []),
        ([-9999, -9999], [-9999]),
        ([999, 999], []),  # nothing to compare with: no more than a constant
        ([-9999, 99999, np.nan], [-9999, 99999]),
        ([3.8e33, 1e34, 2e33], []),  # luminosity in erg/s
        ([5000, 6000, 1e20], [1e20]),
        ([1, 5, 2, -2147483648], [-2147483648]),
        ([5000.0, np.nan, np.inf], []),
        ([], []),
    ],
)
def test_only_what_is_clearly_a_sentinel_is_taken(values, taken):
    values = np.array(values, dtype=np.float64)
    assert sorted(set(values[sentinels(values)])) == sorted(set(taken))


def test_single_precision_sentinels():
    values = np.array([0.1, 0.5, 99.99, -9999.9], dtype=np.float32)
    assert sentinels(values).tolist() == [False, False, True, True]


def test_missing_text_and_infinite_numbers_are_counted():
    frame = clean(
        pd.DataFrame(
            {
                "a": ["1.5", "--", "...", "nan", "null", "None", "", "2"],
                "b": [1.0, np.inf, -np.inf, np.nan, 2, 3, 4, 5],
                "c": pd.Categorical(["x", "y", None, "-", "x", "x", "y", "~"]),
                "d": [True, False] * 4,
            }
        )
    )
    np.testing.assert_array_equal(frame["a"], [1.5, *[np.nan] * 6, 2])
    assert frame.attrs["missing"]["a"] == {"--": 1, "...": 1, "nan": 1, "null": 1, "None": 1, "blank": 1}
    assert frame["b"].isna().sum() == 3
    assert frame.attrs["missing"]["b"] == {"masked": 1, "-inf": 1, "inf": 1}
    assert frame.attrs["missing"]["c"] == {"-": 1, "~": 1, "masked": 1}
    assert frame["d"].tolist() == [1.0, 0.0] * 4


DAMAGED = {
    "empty": (b"", "is empty"),
    "blank": (b"\n \n", "is empty"),
    "comments": (b"# nothing\n# here\n", "only comments"),
    "titles": (b"star,teff\n", "0 rows"),
    "one column": (b"star\nHD 1\nHD 2\n", "one column"),
    "no titles": (b"1.0,2.0\n3.0,4.0\n", "no line of column titles"),
    "cut off": (b"star,teff,feh\nHD 1,5000,0.1\nHD 2,50", "line 3 .* 2 fields"),
    "spreadsheet": (b"PK\x03\x04rest", "spreadsheet"),
    "hdf5": (b"\x89HDF\r\n\x1a\n", "HDF5"),
    "binary": (bytes(range(256)) * 4, "binary"),
    "gzip cut": (gzip.compress(TEXT.encode())[:-12], "cannot be read"),
    "parquet cut": (b"PAR1\0\0", "damaged"),
    "fits cut": (b"SIMPLE  =                    T", "damaged|no table"),
    "votable of an error": (
        b"<?xml version='1.0'?><VOTABLE version='1.3'><RESOURCE></RESOURCE></VOTABLE>",
        "no table",
    ),
    "votable cut": (b"<?xml version='1.0'?><VOTABLE version='1.3'><RESOURCE><TABLE>", "damaged|no table"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_one_error_that_names_the_file(case, tmp_path):
    content, message = DAMAGED[case]
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(CatalogError, match=message) as caught:
        read_table(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", ["csv", "ecsv", "votable", "votable binary", "fits", "parquet"])
def test_cut_files_never_escape_the_error_tree(kind, tmp_path):
    path = write(kind, tmp_path / "t")
    data = path.read_bytes()
    cut = tmp_path / "cut"
    for part in np.linspace(0, 0.98, 15):
        cut.write_bytes(data[: int(part * len(data))])
        with contextlib.suppress(CatalogError):  # anything else escapes, and fails
            assert len(read_table(cut)) <= 4


def test_absent_files_and_spectra(tmp_path):
    with pytest.raises(CatalogError, match="cannot be read"):
        read_table(tmp_path / "absent.csv")
    Table({"WAVE": np.zeros((1, 50)), "FLUX": np.zeros((1, 50))}).write(tmp_path / "adp.fits")
    with pytest.raises(CatalogError, match="this is a spectrum"):
        read_table(tmp_path / "adp.fits")


def test_tables_in_memory():
    assert as_table(stars())["teff"].isna().sum() == 1
    frame = pd.DataFrame({"star": ["a", "b"], 7: [1, -9999]})
    assert as_table(frame)["7"].isna().sum() == 1
    assert frame[7].tolist() == [1, -9999]  # the caller's own stays as it was
    with pytest.raises(CatalogError, match="dict"):
        as_table({"a": 1})


def test_a_row_of_units_is_no_star(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("star,teff,feh\n,K,dex\nHD 1,5000,-0.1\nHD 2,5100,n/a\n")
    table = read_table(path)
    assert table["teff"].tolist() == [5000, 5100]
    assert table.attrs["units"] == {"teff": "K", "feh": "dex"}
    assert "holds units" in table.attrs["notes"][0]
    for first in ("HD 0,<3,0.1", "HD 0,low,0.1", "HD 0,n/a,0.1", "HD 0,,"):
        path.write_text(f"star,teff,feh\n{first}\nHD 1,5000,-0.1\nHD 2,5100,0.2\n")
        assert len(read_table(path)) == 3
