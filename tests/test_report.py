"""The report: whole, self-contained, safe to open whatever files say; its figures are functions."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from astroprism import Study, TrainOptions
from astroprism.errors import REASONS, AstroprismError, ConfigError
from astroprism.figures import cards as report_cards
from astroprism.figures import dossier as report_dossier
from astroprism.figures import fit as report_archive
from astroprism.figures import nodes as report_nodes
from astroprism.figures.style import binned, files_of, inline_svg, plain_text, spread_labels
from astroprism.figures.words import chance, label_axis, node_title, ranged
from astroprism.report.collect import thin
from astroprism.report.html import cell, document, table, text

EVIL = "<script>alert('x')</script>$\\frac{"
VOID = {"meta", "img", "br", "use", "image", "path", "input", "link", "hr"}


class Page(HTMLParser):
    """Reads a page and remembers what a browser would fetch, run or jump to."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.headings: list[int] = []
        self.unnamed = 0
        self.handlers: list[str] = []

    def handle_starttag(self, tag, attrs):
        got = dict(attrs)
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.handlers += [name for name in got if name.startswith("on")]
        self.fetched += [got[name] for name in ("src", "srcset", "data", "poster") if name in got]
        if tag in ("image", "use", "link"):
            self.fetched.append(got.get("xlink:href") or got.get("href") or "")
        if tag == "a":
            self.links.append(got.get("href", ""))
        if "id" in got:
            self.ids.append(got["id"])
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if (tag == "img" and not got.get("alt")) or (tag == "svg" and not got.get("aria-label")):
            self.unnamed += 1

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open, f"</{tag}> closes nothing"
            assert self.open.pop() == tag, f"</{tag}> closes another"


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Figures of few pixels, which take less time."""
    monkeypatch.setattr("astroprism.figures.style.DPI", 40)


def read_page(study: Study) -> Page:
    page = Page()
    page.feed((study.path / "report.html").read_text())
    page.close()
    return page


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Study:
    """Ninety stars ingested, one with markup for a name, and a file that is none."""
    from astropy.io import fits

    from astroprism.ingest import IngestOptions
    from astroprism.simulate import SimulationConfig, write_archive

    folder = tmp_path_factory.mktemp("report")
    write_archive(
        folder / "archive",
        SimulationConfig(spectra=90, window=(5885.0, 5905.0), step=5.0, visits="one", seed=5),
    )
    first = sorted((folder / "archive").rglob("*.fits"))[0]
    fits.setval(first, "OBJECT", value="<script>alert(1)</script>")
    (folder / "archive" / "a<img src=x onerror=alert(1)>.fits").write_bytes(b"SIMPLE  =  nonsense" * 300)
    study = Study(folder / "study")
    study.ingest(folder / "archive", options=IngestOptions(checksum="ignore", workers=0))
    return study


@pytest.fixture(scope="module")
def trained(fresh) -> Study:
    """The same with a network that has learned little."""
    recipe = fresh.path / "quick.toml"
    recipe.write_text("batch = 8\nprune_at = []\nprune_kl = []\ngive_back = []\n")
    fresh.train(options=TrainOptions(steps=20, config=recipe, device="cpu", valid=0.25, test=0.25))
    fresh.encode()
    return fresh


def pair(label: str, nats: float, *, explains: bool) -> dict:
    return {
        "label": label,
        "mi_nats": nats,
        "mi_low": nats - 0.1,
        "mi_high": nats + 0.1,
        "p": 1e-5,
        "q": 1e-4,
        "share_of_entropy": 0.4,
        "conditional_mi_nats": nats / 2,
        "conditional_low": 0.1,
        "conditional_high": 0.9,
        "given": ["teff"],
        "shadow_of": [],
        "explains": explains,
        "n": 40,
    }


def plain_node(number: int) -> dict:
    return {
        "node": number,
        "information_nats": 0.1,
        "ablation_nats": 0.5,
        "mad": 0.2,
        "dispersion_ratio": 0.3,
        "informative": False,
        "informative_by": [],
        "doubtful": False,
        "copies_of": None,
        "response": {},
        "matches": [],
        "predicted_by_labels": None,
        "unexplained": False,
        "lines": [],
        "survival": None,
        "dossier": None,
    }


@pytest.fixture(scope="module")
def found(trained) -> Study:
    """Findings as `find` writes them: node 0 is explained, 1 unexplained, 2 doubtful, 3 a copy."""
    from astroprism.artifacts import digest as digest_of
    from astroprism.report.collect import Gathered

    study = trained
    folder = study.path / "findings"
    folder.mkdir()
    wave = study.store.grid.wavelength
    counted = {"k": 2, "low": 2, "high": 3, "nodes": [0, 1]}
    told = {
        "count": {
            "statistical": counted | {"bound_nats": 50.0},
            "information": counted | {"bound_nats": 0.5},
            "mad": counted | {"threshold": 0.02},
            "agree": True,
            "spectra": 40,
        },
        "nodes": [plain_node(number) for number in range(32)],
        "targets": 40,
        "null_draws": {"labels": 1000},
        "provenance": {
            "version": "0",
            "store": study.store.fingerprint,
            "weights": digest_of(study.model_path / "unpruned.safetensors"),
            "codes": "c",
            "labels": None,
            "seed": 0,
        },
    }
    rng = np.random.default_rng(0)
    labels = pd.DataFrame(
        {"spectrum_id": study.index["spectrum_id"], EVIL: rng.normal(size=len(study.index))}
    )
    labels["kind"] = np.where(labels[EVIL] > 0, "F <b>", "G & K")
    labels.to_parquet(folder / "labels.parquet")
    lines = [
        {
            "name": "Na I",
            "element": "Na",
            "frame": "star",
            "enrichment": 5.0,
            "p": 1e-3,
            "q": 1e-2,
            "p_alone": 1e-3,
            "named": True,
            "lines_in_window": 2,
            "top": [
                {"wavelength": 5891.58, "line": "Na D2", "value": 0.3},
                {"wavelength": 5897.56, "line": "Na D1", "value": 0.2},
            ],
        }
    ]
    codes = study.codes(unpruned=True)
    names = study.index["spectrum_id"].tolist()
    held = [names[i] for i in Gathered(study).held]
    ends = [
        {"spectrum_id": held[i], "target": "<i>T</i>", "code": float(codes["mean_001"].iloc[i])}
        for i in range(2)
    ]
    keyword = {
        "label": "<svg onload=alert(1)>",
        "mi_nats": 0.5,
        "mi_low": 0.4,
        "mi_high": 0.6,
        "q": 1e-3,
        "n": 40,
    }
    trend = {
        "spearman": 0.1,
        "p": 0.3,
        "spreads_a_year": 0.02,
        "low": -0.1,
        "high": 0.14,
        "years": 15.0,
        "n": 40,
    }
    nodes = told["nodes"]
    for node in nodes[:4]:
        node |= {"informative": True, "doubtful": False, "informative_by": ["statistical", "information"]}
        node |= {"ablation_nats": 900.0 - 100 * node["node"], "lines": lines, "copies_of": None}
        node["predicted_by_labels"] = {"value": 0.8, "low": 0.7, "high": 0.9, "n": 40}
        node["matches"] = [pair(EVIL, 1.2, explains=True), pair("kind", 0.3, explains=True)]
    change = {
        "value": 0.4,
        "low": 0.3,
        "high": 0.5,
        "null": 0.1,
        "share": 0.9,
        "share_low": 0.8,
        "share_high": 1.0,
        "share_null": 0.1,
    }
    nodes[0] |= {
        "response": {"doppler_per_kms": change, "noise_per_halving": {"value": 0.1}},
        "survival": 0.9,
    }
    nodes[0] |= {"survival_interval": [0.8, 0.95], "returns": True}
    made = {"asked": 5.0, "made": 4.9, "made_low": 4.8, "made_high": 5.0, "error_share": 0.1}
    nodes[0]["intervention"] = {"change": "doppler_per_kms", "moves": [made | {"error_share_null": 2.0}]}
    told["stability"] = {"retrainings": 3, "null": 0.1, "targets": 40, "returns_from": 0.5}
    nodes[1] |= {
        "unexplained": True,
        "matches": [],
        "dossier": {
            "lowest": ends[:1],
            "highest": ends[1:],
            "trend": trend,
            "keywords": [keyword],
            "lines": lines,
            "lines_tested": 9,
        },
    }
    nodes[2] |= {"doubtful": True, "informative": False, "informative_by": ["information"], "lines": []}
    nodes[2] |= {"survival": 0.2, "survival_interval": [0.1, 0.3], "returns": False}
    nodes[3] |= {"copies_of": 0}
    told["labels"] = {
        EVIL: {
            "n": 40,
            "best_node": 0,
            "shadow_of": [],
            "r2_linear": 0.5,
            "r2_knn": 0.4,
            "r2_linear_interval": [0.4, 0.6],
            "r2_knn_interval": [0.3, 0.5],
        },
        "kind": {
            "n": 40,
            "best_node": None,
            "shadow_of": ["teff"],
            "r2_linear": None,
            "r2_knn": None,
            "named_rightly": {"value": 0.7, "low": 0.6, "high": 0.8, "n": 40},
            "guessed_rightly": 0.5,
        },
    }
    told["labels_left_out"] = {"<u>empty</u>": "known for 0 targets; 25 are needed"}
    told["warnings"] = ["<marquee>careful</marquee>"]
    (study.path / "findings.json").write_text(json.dumps(told))
    pairs = [
        {
            "node": node,
            "label": label,
            "nats": 1.0,
            "low": 0.9,
            "high": 1.1,
            "screen": 0.9,
            "q": 1e-4,
            "explains": True,
            "shadow_of": "",
        }
        for node in range(3)
        for label in (EVIL, "kind")
    ]
    tables = {
        "matches": pd.DataFrame(pairs),
        "keywords": pd.DataFrame(pairs).assign(label="<svg onload=alert(1)>"),
        "bins": pd.DataFrame(
            {
                "label": EVIL,
                "node": 0,
                "bins": [5, 10, 20],
                "nats": [0.8, 1.0, 1.4],
                "null_mean": [0.1, 0.2, 0.5],
                "null_high": [0.2, 0.3, 0.6],
                "n": 40,
            }
        ),
        "derivatives": pd.DataFrame(
            {"wavelength": wave}
            | {f"{frame}_00{i}": np.abs(np.sin(wave)) for frame in ("star", "sky") for i in (0, 1)}
        ),
    }
    scores = pd.DataFrame(nodes)[["node", "ablation_nats", "information_nats", "mad"]]
    for column in ("statistical", "information", "mad"):
        scores[f"{column}_low"], scores[f"{column}_high"] = 0.1, 1000.0
    tables["nodes"] = scores
    for name, one in tables.items():
        one.to_parquet(folder / f"{name}.parquet")
    return study


def whole(study: Study) -> tuple[str, Page]:
    """The page's text, checked to be whole, safe and self-contained."""
    words = (study.path / "report.html").read_text()
    page = read_page(study)
    assert page.open == []
    assert all(one.startswith(("data:image/png;base64,", "#")) for one in page.fetched)
    assert not re.search(r"https?://|@import|url\((?!#)", words)
    assert not {"script", "iframe", "object", "embed", "form", "base", "marquee", "u", "i", "b"} & set(
        page.tags
    )
    assert page.handlers == []
    assert page.unnamed == 0
    assert len(page.ids) == len(set(page.ids))
    inside = {one.removeprefix("#") for one in page.links if one.startswith("#")}
    assert inside <= set(page.ids)
    for one in page.links:
        assert one.startswith("#") or (study.path / one).exists(), one
    steps = np.diff(page.headings)
    assert page.headings.count(1) == 1
    assert (steps <= 1).all(), "a heading skips a level"
    assert len(words) < 15e6
    return words, page


def test_a_study_of_spectra_alone_says_what_was_refused_and_what_is_missing(fresh):
    made = fresh.report()
    assert made.made
    assert made.missing == [f"no model: astroprism train {fresh.path}"]
    words, _ = whole(fresh)
    assert "90 accepted + 1 refused = 91 spectra met" in words
    assert any(f">{reason}<" in words for reason in REASONS)
    assert "&lt;img src=x onerror=alert(1)&gt;" in words
    assert "astroprism train study" in words
    assert {"archive", "examples"} == set(made.figures) == set(fresh.figures())


def test_nothing_new_nothing_done_and_equal_studies_give_equal_pages(fresh):
    made = fresh.report()
    files = [fresh.path / "report.html", fresh.path / "report" / "figures" / f"{made.figures[0]}.pdf"]
    before = [path.read_bytes() for path in files]
    assert not fresh.report().made
    (fresh.path / "report" / "figures" / "gone.png").write_bytes(b"old")
    assert fresh.report(again=True).made
    assert [path.read_bytes() for path in files] == before
    assert not (fresh.path / "report" / "figures" / "gone.png").exists()
    (fresh.path / "report.html").write_text("spoilt")
    assert fresh.report().made


def test_the_command(fresh, capsys):
    from typer.testing import CliRunner

    from astroprism.cli import app

    done = CliRunner().invoke(app, ["report", str(fresh.path), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["page"] == str(fresh.path / "report.html")
    done = CliRunner().invoke(app, ["report", str(fresh.path)])
    assert "nothing to do" in done.stdout


def test_a_trained_study_without_findings_says_so(trained):
    made = trained.report()
    assert made.missing == [f"no findings: astroprism find {trained.path}"]
    words, _ = whole(trained)
    assert "astroprism find study" in words
    assert {"training", "chi2", "residuals", "reconstructions"} <= set(made.figures)


def test_the_whole_report(found):
    made = found.report()
    words, _ = whole(found)
    assert not made.missing
    for number in (0, 1, 2):
        assert f'id="node-{number}"' in words
    assert 'id="node-3"' not in words
    assert "copy of node 0" in words
    assert {
        f"node-001-{kind}" for kind in ("traversal", "lines", "codes", "extremes", "keywords", "time")
    } <= set(made.figures)
    assert "&lt;script&gt;alert" in words
    assert "no label explains it; moves Na I" in words
    assert "Doppler shift" in words
    assert "4.90 [4.80, 5.00]" in words
    assert "it does not return: not claimed" in words
    assert "node 2 did not return" in words
    assert "survival" in made.figures
    for name in made.figures:
        for kind in ("png", "pdf"):
            assert (found.path / "report" / "figures" / f"{name}.{kind}").stat().st_size > 1000
        assert (found.path / "report" / "data" / f"{name}.parquet").exists()
        assert f"figure(&#x27;{name}&#x27;)" in words
    refusals = pd.read_csv(found.path / "report" / "data" / "refusals.csv")
    assert len(refusals) == 1


def test_a_figure_is_drawn_by_its_name(found):
    from matplotlib.figure import Figure

    names = found.figures()
    assert all(isinstance(words, str) and words for words in names.values())
    assert isinstance(found.figure("node-000-label"), Figure)
    with pytest.raises(ConfigError, match="no figure 'nonsense'; it has archive"):
        found.figure("nonsense")


def test_findings_of_another_model_are_refused(found, tmp_path):
    path = found.path / "findings.json"
    held = path.read_text()
    told = json.loads(held)
    told["provenance"]["weights"] = "another"
    path.write_text(json.dumps(told))
    try:
        with pytest.raises(AstroprismError, match="another model"):
            found.report()
    finally:
        path.write_text(held)


# --- views


def profile(pixels: int = 5000) -> pd.DataFrame:
    wave = np.linspace(5000, 5100, pixels)
    flux = {
        report_cards.column(q): 1 - 0.1 * q * np.exp(-((wave - 5050) ** 2)) for q in report_cards.QUANTILES
    }
    return pd.DataFrame({"wavelength": wave, **flux})


def test_views_draw_what_is_odd_or_missing():
    empty = pd.DataFrame()
    none = pd.DataFrame({"title": []})
    no_label = pd.DataFrame({"code": [0.0, 1.0], "label": [np.nan, np.nan]})
    figures = [
        report_archive.archive_figure(pd.DataFrame({"snr": [np.nan, 0.0], "target": ["a", "a"]})),
        report_archive.archive_figure(
            pd.DataFrame({"snr": [5.0, 5.0], "target": ["a", "b"], "time": [5e4, 5e4]})
        ),
        report_archive.examples_figure(pd.DataFrame({"snr": [], "spectrum_id": []})),
        report_archive.chi2_figure(pd.DataFrame({"chi2": [np.nan], "snr": [1.0]})),
        report_archive.reconstructions_figure(none),
        report_nodes.matches_figure(empty, titles={}),
        report_nodes.readout_figure(empty),
        report_nodes.sweep_figure(empty, unbiased=empty),
        report_cards.scatter_figure(no_label, node=0, label=EVIL, words="$"),
        report_cards.scatter_figure(
            pd.DataFrame({"code": np.arange(40.0), "label": ["G", EVIL] * 20}), node=0, label="type", words=""
        ),
        report_cards.derivative_figure(
            pd.DataFrame({"wavelength": [1.0, 2.0], "star": np.nan, "sky": np.nan}), named=empty
        ),
        report_cards.traversal_figure(profile(), zooms=pd.DataFrame({"line": []}), codes=[0, 1, 2, 3, 4]),
        report_dossier.extremes_figure(none),
        report_dossier.keywords_figure(pd.DataFrame({"label": []}), node=1),
        report_dossier.trend_figure(pd.DataFrame({"time": [np.nan], "code": [1.0]}), node=1, trend=None),
        report_dossier.outliers_figure(pd.DataFrame({"p": [np.nan]})),
    ]
    for figure in figures:
        figure.draw_without_rendering()


def test_128_nodes_are_drawn():
    rng = np.random.default_rng(0)
    nodes = pd.DataFrame({"node": range(128), "ablation_nats": 10 ** rng.uniform(-3, 5, 128)})
    nodes["information_nats"], nodes["mad"] = rng.uniform(-0.1, 5, 128), rng.uniform(0, 1, 128)
    for name, value in (("ablation", "ablation_nats"), ("information", "information_nats"), ("mad", "mad")):
        nodes[f"{name}_low"], nodes[f"{name}_high"] = nodes[value] * 0.9, nodes[value] * 1.1
    nodes["state"] = rng.choice(["informative", "copy", "doubtful", "below"], 128)
    figure = report_nodes.counts_figure(nodes, bounds={"ablation": 50.0, "information": 0.5, "mad": 0.02})
    figure.draw_without_rendering()
    labels = [item.get_text() for item in figure.axes[-1].get_xticklabels()]
    assert 0 < len(labels) <= 40


def test_a_long_spectrum_keeps_its_lines():
    wave = np.linspace(3800, 6900, 327_680)
    flux = np.ones(wave.size)
    flux[200_000] = 0.1
    flux[1000:3000] = np.nan
    place, shown = binned(wave, flux)
    assert place.size == shown.size < 1500
    assert np.nanmin(shown) == 0.1
    assert np.isnan(shown).any()
    assert (np.diff(place) >= 0).all()
    short = thin(pd.DataFrame({"wavelength": wave, "flux": flux, "sigma": 1.0}))
    assert len(short) < 1500
    assert list(short) == ["wavelength", "flux", "sigma"]


def test_labels_of_lines_do_not_overlap():
    places = [10.0, 10.1, 10.2, 50.0, 99.9, 99.95]
    told = spread_labels(places, low=0.0, high=100.0, gap=3.0)
    assert (np.diff(told) >= 3 - 1e-9).all()
    assert told[0] >= 0
    assert told[-1] <= 100
    assert abs(told[3] - 50) < 0.1
    assert spread_labels([], low=0, high=1, gap=1) == []


def test_names_are_shown_and_not_obeyed():
    assert plain_text("a$b$\n c") == r"a\$b\$ c"
    assert plain_text("\u6f22") == "\u25a1"
    assert len(plain_text("x" * 500)) == 40
    assert text("<b>\x00&\"'") == "&lt;b&gt; &amp;&quot;&#x27;"
    made = table({"<b>": ["<i>", 1], "n": [float("nan"), True]}, caption="<u>")
    assert not re.search(r"<[biu]>", made)
    assert cell(True) == "yes"
    assert cell(None) == cell(float("nan")) == ""
    page = document("<title>", body="", contents=[(2, "a", "A"), (3, "b", "<b>"), (2, "c", "C")])
    assert page.count("<ol>") == page.count("</ol>") == 2
    assert page.count("<li>") == page.count("</li>") == 3


def test_figures_are_equal_files_with_ids_of_their_own():
    tables = profile(), pd.DataFrame({"line": []})
    made = [
        files_of(report_cards.traversal_figure(tables[0], zooms=tables[1], codes=[0, 1, 2, 3, 4]))
        for _ in "ab"
    ]
    assert made[0] == made[1]
    first, second = (inline_svg(made[0]["svg"], name=name, alt='"<x>') for name in ("one", "two"))
    ids = [set(re.findall(r' id="([^"]+)"', one)) for one in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert "http" not in first
    assert 'aria-label="&quot;&lt;x&gt;"' in first
    assert "var(--ink)" in first


def test_numbers_and_titles_in_words():
    assert ranged(1.4861, 1.411, 1.5613) == "1.49 [1.41, 1.56]"
    assert ranged(174133.05, 159731.0, 188534.9) == "174,133 [159,731, 188,535]"
    assert ranged(None, 1, 2) == ""
    assert ranged(1.0, None, 2) == "1 (no interval)"
    assert chance(1e-5) == "1.0e-5"
    assert label_axis("teff") == "teff (K)"
    assert label_axis("mystery") == "mystery"
    node = {"node": 3, "matches": [pair("rv", 2.0, explains=True)], "lines": [], "copies_of": None}
    assert node_title(node) == "node 3: radial velocity"
    bare = node_title(node | {"matches": []})
    assert bare == "node 3: no single label explains it; moves no line of our tables"
    assert node_title(node | {"copies_of": 1}) == "node 3: copy of node 1"


def test_every_view_says_what_it_takes():
    for module in (report_archive, report_nodes, report_cards, report_dossier):
        for name in dir(module):
            if name.endswith("_figure"):
                assert getattr(module, name).__doc__, name
    assert Path(report_archive.__file__).exists()
