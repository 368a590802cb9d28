"""The report: whole, self-contained, safe to open whatever files say; its figures are functions."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from astroprism import Study
from astroprism.artifacts import digest, write_json
from astroprism.errors import REASONS, AstroprismError, ConfigError
from astroprism.figures import archive, cards, overview, reconstruction, training, visits
from astroprism.figures.style import binned, files_of, plain_text, spread_labels
from astroprism.figures.words import chance, label_axis, node_title, plus_minus, ranged
from astroprism.findings.visits import Visits
from astroprism.report import report
from astroprism.report.collect import ReportData
from astroprism.report.page import Heading, cell, environment, svg_picture
from astroprism.report.pixel_tables import thin
from astroprism.schema import Line, LineGroup
from quick import quick_options
from studies import findings_of, write_findings

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
    fresh.train(options=quick_options(fresh.path, steps=20, valid=0.35, test=0.35))
    fresh.encode()
    return fresh


LINES = [
    LineGroup(
        name="Na I",
        element="Na",
        frame="star",
        enrichment=5.0,
        p=1e-3,
        q=1e-2,
        p_alone=1e-3,
        named=True,
        lines_in_window=2,
        top=[Line(5891.58, "Na D2", 0.3), Line(5897.56, "Na D1", 0.2)],
    )
]
DOPPLER = {
    "value": 0.4,
    "low": 0.3,
    "high": 0.5,
    "null": 0.1,
    "share": 0.9,
    "share_low": 0.8,
    "share_high": 1.0,
    "share_null": 0.1,
}
MOVE = {
    "asked": 5.0,
    "made": 4.9,
    "made_low": 4.8,
    "made_high": 5.0,
    "error_share": 0.1,
    "error_share_null": 2.0,
}


def made_up_codes(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd (rows, 32): nodes 0, 1 and 3 vary, the others are noise."""
    rng = np.random.default_rng(0)
    mean, sd = 0.01 * rng.normal(size=(rows, 32)), np.ones((rows, 32))
    mean[:, [0, 1, 3]], sd[:, [0, 1, 3]] = rng.normal(size=(rows, 3)), 0.05
    return mean, sd


def made_up_visits() -> Visits:
    """A star of evil name with an orbit, in 60 nights of two spectra, and 30 stars seen twice."""
    rng = np.random.default_rng(3)
    night = np.repeat(np.arange(60), 2)
    star = np.concatenate([np.zeros(120, int), 1 + np.repeat(np.arange(30), 2)])
    time = np.concatenate([55000 + 5.3 * night + np.tile([0, 0.1], 60), 55000 + rng.uniform(0, 300, 60)])
    speed = np.where(star == 0, 12 * np.cos(2 * np.pi * time / 17.3), 20 * rng.normal(size=31)[star])
    mean = rng.normal(size=(180, 32))
    mean[:, 0] = speed / 20
    return Visits(
        identifiers=np.array([f"v{i}" for i in range(180)], dtype=object),
        targets=np.array([f"<b>star {one}</b> $" for one in star], dtype=object),
        mean=mean,
        sd=np.full((180, 32), 0.1),
        time=time,
        berv=np.full(180, np.nan),
        frame=np.full(180, "unknown", dtype=object),
        held=np.ones(180, bool),
        names={"<i>SPID</i>": np.array(["1", "<2>"], dtype=object)[rng.integers(0, 2, 180)]},
        velocity=speed + 0.1 * rng.normal(size=180),
        velocity_sd=np.full(180, 0.1),
    )


@pytest.fixture(scope="module")
def found(trained) -> Study:
    """Findings of made-up codes: node 0 is explained, 1 unexplained, 2 doubtful, 3 a copy."""
    study = trained
    data = ReportData(study)
    held = study.index.iloc[data.held]
    mean, sd = made_up_codes(len(held))
    rng = np.random.default_rng(1)
    number = mean[:, 0] + 0.1 * rng.normal(size=len(held))
    labels = {EVIL: number, "kind": np.where(number > 0, "F <b>", "G & K").astype(object)}
    findings, tables = findings_of(
        mean,
        sd,
        informative=[0, 1, 3],
        doubtful=[2],
        copies={3: 0},
        labels=labels | {"<u>empty</u>": np.full(len(held), np.nan)},
        keywords={"<svg onload=alert(1)>": mean[:, 1] + 0.05 * rng.normal(size=len(held))},
        identifiers=held["spectrum_id"].tolist(),
        targets=[f"<i>{name}</i>" for name in held["target"]],
        time=data.time(),
        visits=made_up_visits(),
        warnings=("<marquee>careful</marquee>",),
        provenance={
            "version": "0",
            "store": study.store.fingerprint,
            "weights": digest(study.model_path / "unpruned.safetensors"),
            "codes": "c",
            "labels": None,
        },
    )
    nodes = list(findings.nodes)
    assert [node.unexplained for node in nodes[:4]] == [False, True, False, False]
    nodes[0] = replace(
        nodes[0],
        lines=LINES,
        response={"doppler_per_kms": DOPPLER, "noise_per_halving": {"value": 0.1}},
        intervention={"change": "doppler_per_kms", "moves": [MOVE]},
        survival=0.9,
        survival_interval=[0.8, 0.95],
        returns=True,
    )
    nodes[1] = replace(nodes[1], lines=LINES, matches=[], dossier=replace(nodes[1].dossier, lines=LINES))
    nodes[2] = replace(nodes[2], matches=[], survival=0.2, survival_interval=[0.1, 0.3], returns=False)
    kind = replace(findings.labels["kind"], best_node=None, shadow_of=["teff"])
    findings = replace(
        findings,
        nodes=nodes,
        labels=findings.labels | {"kind": kind},
        stability={"retrainings": 3, "null": 0.1, "targets": 40, "returns_from": 0.5},
    )
    wave = study.store.grid.wavelength
    profiles = {f"{frame}_00{i}": np.abs(np.sin(wave)) for frame in ("star", "sky") for i in (0, 1)}
    tables["derivatives"] = {"wavelength": wave} | profiles
    tables["labels"] = {"spectrum_id": held["spectrum_id"].to_numpy()} | labels
    write_findings(study.path, findings, tables)
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
    events = []
    assert report(fresh, again=True, progress=events.append).made
    assert [(event.done, event.total) for event in events] == [(0, 2), (1, 2), (2, 2)]
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
    assert {"outliers", "strangest"} <= set(made.figures)
    assert [run["command"] for run in found.history][-2:] == ["outliers", "report"]
    assert not found.report().made
    for number in (0, 1, 2):
        assert f'id="node-{number}"' in words
    assert 'id="node-3"' not in words
    assert "copy of node 0" in words
    assert {
        f"node-001-{kind}" for kind in ("traversal", "lines", "codes", "extremes", "keywords", "time")
    } <= set(made.figures)
    assert "&lt;script&gt;alert" in words
    assert "no label explains it; moves Na I; follows the keyword &lt;svg onload=alert(1)&gt;" in words
    assert "What header keywords explain" in words
    assert "Repeat visits: variance is split on" in words
    assert {"node-000-variance", "series-00-curve", "series-00-periodogram", "series-00-folded"} <= set(
        made.figures
    )
    assert "&lt;b&gt;star 0&lt;/b&gt; $</a> was followed in time, in 120 spectra: velocity" in words
    assert "as they appear, the Earth's motion included" in words
    assert "Doppler shift" in words
    assert "4.90 [4.80, 5.00]" in words
    assert "it does not return: not claimed" in words
    assert "node 2 did not return" in words
    assert "survival" in made.figures
    for name in made.figures:
        for kind in ("png", "pdf"):
            assert (found.path / "report" / "figures" / f"{name}.{kind}").stat().st_size > 1000
        assert (found.path / "report" / "data" / f"{name}.parquet").exists()
        assert f"figure(&#39;{name}&#39;)" in words
    refusals = pd.read_csv(found.path / "report" / "data" / "refusals.csv")
    assert len(refusals) == 1


def test_a_figure_is_drawn_by_its_name(found):
    from matplotlib.figure import Figure

    names = found.figures()
    assert all(isinstance(words, str) and words for words in names.values())
    assert isinstance(found.figure("node-000-label"), Figure)
    with pytest.raises(ConfigError, match="no figure 'nonsense'; it has archive"):
        found.figure("nonsense")


def test_findings_of_another_model_are_refused(found):
    path, findings = found.findings_path, found.findings()
    held = path.read_text()
    write_json(path, replace(findings, provenance=findings.provenance | {"weights": "another"}).to_json())
    try:
        with pytest.raises(AstroprismError, match="another model"):
            found.report()
    finally:
        path.write_text(held)


# --- views


def profile(pixels: int = 5000) -> pd.DataFrame:
    wave = np.linspace(5000, 5100, pixels)
    flux = {cards.column(q): 1 - 0.1 * q * np.exp(-((wave - 5050) ** 2)) for q in cards.QUANTILES}
    return pd.DataFrame({"wavelength": wave, **flux})


def test_views_draw_what_is_odd_or_missing():
    empty = pd.DataFrame()
    none = pd.DataFrame({"title": []})
    no_label = pd.DataFrame({"code": [0.0, 1.0], "label": [np.nan, np.nan]})
    figures = [
        archive.archive_figure(pd.DataFrame({"snr": [np.nan, 0.0], "target": ["a", "a"]})),
        archive.archive_figure(pd.DataFrame({"snr": [5.0, 5.0], "target": ["a", "b"], "time": [5e4, 5e4]})),
        archive.examples_figure(pd.DataFrame({"snr": [], "spectrum_id": []})),
        reconstruction.chi2_figure(pd.DataFrame({"chi2": [np.nan], "snr": [1.0]})),
        reconstruction.reconstructions_figure(none),
        overview.matches_figure(empty, titles={}),
        overview.readout_figure(empty),
        overview.sweep_figure(empty, unbiased=empty),
        cards.scatter_figure(no_label, node=0, label=EVIL, words="$"),
        cards.scatter_figure(
            pd.DataFrame({"code": np.arange(40.0), "label": ["G", EVIL] * 20}), node=0, label="type", words=""
        ),
        cards.derivative_figure(
            pd.DataFrame({"wavelength": [1.0, 2.0], "star": np.nan, "sky": np.nan}), named=empty
        ),
        cards.traversal_figure(profile(), zooms=pd.DataFrame({"line": []}), codes=[0, 1, 2, 3, 4]),
        cards.keywords_figure(pd.DataFrame({"label": []}), node=1),
        cards.trend_figure(pd.DataFrame({"time": [np.nan], "code": [1.0]}), node=1, trend=None),
        reconstruction.outliers_figure(pd.DataFrame({"p": [np.nan]})),
    ]
    for figure in figures:
        figure.draw_without_rendering()


def test_128_nodes_are_drawn():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"node": range(128), "ablation_nats": 10 ** rng.uniform(-3, 5, 128)})
    table["information_nats"], table["mad"] = rng.uniform(-0.1, 5, 128), rng.uniform(0, 1, 128)
    for name, value in (("ablation", "ablation_nats"), ("information", "information_nats"), ("mad", "mad")):
        table[f"{name}_low"], table[f"{name}_high"] = table[value] * 0.9, table[value] * 1.1
    table["state"] = rng.choice(["informative", "copy", "doubtful", "below"], 128)
    figure = overview.counts_figure(table, bounds={"ablation": 50.0, "information": 0.5, "mad": 0.02})
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
    made = environment().from_string(
        '{% from "macros.html.j2" import frame_table with context %}{{ frame_table(frame, "<u>") }}{{ name }}'
    )
    frame = pd.DataFrame({"<b>": ["<i>", 1], "n": [float("nan"), True]})
    shown = made.render(frame=frame, name="<b>\x00&\"'", figures={}, study="")
    assert shown.endswith("&lt;b&gt; &amp;&#34;&#39;")
    assert "&lt;i&gt;" in shown
    assert not re.search(r"<[biu]>", shown)
    assert cell(True) == "yes"
    assert cell(None) == cell(float("nan")) == ""


def test_contents_are_nested_lists():
    page = environment().from_string(
        '{% extends "document.html.j2" %}{% block title %}{{ title }}{% endblock %}'
        "{% block main %}{% endblock %}"
    )
    contents = [Heading("a", "A", [Heading("b", "<b>")]), Heading("c", "C")]
    shown = page.render(title="<title>", contents=contents)
    assert shown.count("<ol>") == shown.count("</ol>") == 2
    assert shown.count("<li>") == shown.count("</li>") == 3
    assert "<title>&lt;title&gt;</title>" in shown


def test_templates_let_nothing_through_unescaped():
    loader = environment().loader
    assert loader is not None
    for name in loader.list_templates():
        source = loader.get_source(environment(), name)[0]
        assert not re.search(r"\|\s*safe|autoescape", source), name


def test_figures_are_equal_files_with_ids_of_their_own():
    tables = profile(), pd.DataFrame({"line": []})
    made = [files_of(cards.traversal_figure(tables[0], zooms=tables[1], codes=[0, 1, 2, 3, 4])) for _ in "ab"]
    assert made[0] == made[1]
    first, second = (svg_picture(made[0]["svg"], name=name).svg for name in ("one", "two"))
    ids = [set(re.findall(r' id="([^"]+)"', one)) for one in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert "http" not in first
    assert "var(--ink)" in first


def test_figures_say_what_they_show_to_those_who_cannot_see_them():
    made = environment().from_string(
        '{% from "macros.html.j2" import picture with context %}{{ picture(one, alt) }}'
    )
    drawing = svg_picture(b'<?xml?><svg viewBox="0 0 9 9"><g/></svg>', name="n")
    shown = made.render(one=drawing, alt='"<x>', figures={}, study="")
    assert 'aria-label="&#34;&lt;x&gt;"' in shown
    assert shown.endswith("<g/></svg>")


def test_numbers_in_words():
    assert ranged(1.4861, 1.411, 1.5613) == "1.49 [1.41, 1.56]"
    assert ranged(174133.05, 159731.0, 188534.9) == "174,133 [159,731, 188,535]"
    assert ranged(None, 1, 2) == ""
    assert ranged(1.0, None, 2) == "1 (no interval)"
    assert chance(1e-5) == "1.0e-5"
    assert label_axis("teff") == "teff (K)"
    assert label_axis("mystery") == "mystery"


def test_titles_of_nodes_in_words(found):
    node = found.findings().nodes[0]
    named = replace(node, matches=[replace(node.matches[0], label="rv")])
    assert node_title(named) == "node 0: radial velocity"
    bare = replace(node, matches=[], lines=[])
    assert node_title(bare) == "node 0: no single label explains it; moves no line or band beyond chance"
    assert node_title(replace(bare, copies_of=1)) == "node 0: copy of node 1"


def test_a_number_has_the_digits_of_its_error():
    assert plus_minus(17.36812, 0.0123) == "17.368 \u00b1 0.012"
    assert plus_minus(1234.6, 25.0) == "1,235 \u00b1 25"
    assert plus_minus(1.0, float("nan")) == ""


def test_every_view_says_what_it_takes():
    for module in (archive, training, reconstruction, overview, cards, visits):
        for name in dir(module):
            if name.endswith("_figure"):
                assert getattr(module, name).__doc__, name
