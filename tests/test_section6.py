"""Section 6 of the seed paper on a made-up release whose answer is known."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from astroprism.errors import AstroprismError, CatalogError
from astroprism.measures import EvidenceError
from astroprism.measures.binned import BINS, plug_in, read_back, running_median, sigma_clipped
from astroprism.paper import LABELS, ReleaseError, read_codes, read_release, section6
from astroprism.paper.section6 import even_information, implied_noise

SIX = (2, 5, 7, 11, 12, 15)  # nodes with something to say, of 16
FOLDED, MONOTONE, TINY = 5, 7, 9


def made_up(n: int = 800, *, seed: int = 0) -> tuple[np.ndarray, pd.DataFrame]:
    """Codes (n, 16) and the ten labels: RV as an N, Teff falling, a dead node whose tiny mean knows Teff."""
    rng = np.random.default_rng(seed)
    teff, rv = rng.uniform(3500, 9000, n), rng.normal(5, 40, n)
    codes = rng.normal(0, 0.003, (n, 16))
    codes[:, TINY] = (teff - 6000) * 1e-6 + rng.normal(0, 1.5e-3, n)
    codes[:, MONOTONE] = -0.8 * np.tanh((teff - 5800) / 1500) + rng.normal(0, 0.1, n)
    fold = np.where(rv < -25, -50 - rv, np.where(rv > 45, 90 - rv, rv))
    codes[:, FOLDED] = 0.02 * (fold - 10) + rng.normal(0, 0.06, n)
    for node, spread in ((2, 0.9), (11, 0.8), (12, 0.15), (15, 0.05)):
        codes[:, node] = rng.normal(0, spread, n)
    labels = pd.DataFrame(
        {
            "radvel": rv,
            "Teff": teff,
            **{name: rng.normal(0, 1, n) for name in LABELS[2:9]},
            "spec_type_no": np.digitize(teff, [4500.0, 6000.0, 7500.0]).astype(float),
        }
    )
    labels.loc[rng.random(n) < 0.3, "radvel"] = np.nan
    labels.loc[3, "radvel"] = 4000.0
    return codes, labels[list(LABELS)]


@pytest.fixture(scope="module")
def result():
    codes, labels = made_up()
    return section6(codes, labels[["radvel", "Teff", "airmass", "spec_type_no"]], permutations=4, null=1000)


def test_dispersion_counts_the_six_and_says_how_it_hangs_on_the_measure(result):
    assert result.informative == SIX
    assert result.informative_by_mean == (2, 5, 7, 11)
    codes = result.codes
    np.testing.assert_allclose(result.nodes["mad"], np.median(np.abs(codes - np.median(codes, 0)), axis=0))
    np.testing.assert_allclose(result.nodes["mean_deviation"], np.abs(codes - codes.mean(0)).mean(0))
    assert "6 nodes (2, 5, 7, 11, 12, 15)" in result.verdict[0]
    assert "6 against 4" in result.verdict[0]


def test_the_plug_in_estimate_is_the_paper_s():
    codes, labels = made_up(400)
    label = labels["Teff"].to_numpy()
    found, _ = plug_in(codes[:, :3], label, permutations=0)
    for number, bins in enumerate(BINS):
        for node in range(3):
            table = np.histogram2d(codes[:, node], label, bins=bins)[0] / len(label)
            outer = table.sum(1, keepdims=True) * table.sum(0, keepdims=True)
            filled = table > 0
            nats = (table[filled] * np.log(table[filled] / outer[filled])).sum()
            assert found[number, node] == pytest.approx(nats, abs=0.02)


def test_the_null_is_what_permutations_of_these_bins_give():
    """Its exact mean is the expected mutual information of the two binned columns (Vinh et al. 2009)."""
    from sklearn.metrics import mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(500, 1)), rng.exponential(size=500)
    found, null = plug_in(x, y, bins=(10, 40), permutations=40)
    for number, bins in enumerate((10, 40)):
        binned = [np.minimum((bins * (v - v.min()) / np.ptp(v)).astype(int), bins - 1) for v in (x[:, 0], y)]
        table = contingency_matrix(*binned, sparse=True, dtype=np.int64)
        expected = expected_mutual_information(table, 500)
        assert found[number, 0] == pytest.approx(mutual_info_score(*binned))
        assert null[:, number, 0].mean() == pytest.approx(
            expected, abs=4 * null[:, number, 0].std() / 40**0.5
        )


def test_maps_are_scaled_by_their_largest_node_and_drown_in_chance(result):
    assert (result.plugin.groupby(["label", "bins"])["scaled"].max() == 1).all()
    airmass = result.plugin[(result.plugin["label"] == "airmass") & (result.plugin["bins"] == 160)]
    assert airmass["scaled"].median() > 0.8  # bright throughout, where no node knows anything
    assert (airmass["plugin_nats"] < airmass["null_nats"] + 4 * airmass["null_sd"]).all()
    exact = result.matches[result.matches["label"] == "airmass"]
    assert (exact["q"] > 0.05).all()
    assert exact["mi_nats"].abs().max() < 0.08


def test_labels_find_their_nodes_and_the_fold_is_named(result):
    top = result.labels.set_index("label")
    assert (top.loc["radvel", "top_ksg"], top.loc["Teff", "top_ksg"]) == (FOLDED, MONOTONE)
    assert top.loc["spec_type_no", "kind"] == "classes"
    assert top.loc["radvel", "clipped"] == 1
    matches = result.matches.set_index(["label", "node"])
    rv, teff = matches.loc[("radvel", FOLDED)], matches.loc[("Teff", MONOTONE)]
    assert rv["node_from_label"] > 0.8 > 0.6 > rv["label_from_node"]
    assert teff["label_from_node"] > 0.8
    assert teff["spearman"] < -0.9
    assert rv["q"] < 0.05
    verdict = " ".join(result.verdict)
    assert f"Node {FOLDED} follows radvel" in verdict
    assert "No label given explains 4 nodes (2, 11, 12, 15)" in verdict


def test_a_dead_node_that_knows_a_label_is_no_match(result):
    tiny = result.matches.set_index(["label", "node"]).loc[("Teff", TINY)]
    assert tiny["mi_low"] > 0.1
    assert any("ignores scale" in line and f"({TINY})" in line for line in result.verdict)


def test_noise_follows_from_the_mean_squares():
    rng = np.random.default_rng(0)
    mean = np.column_stack([rng.normal(0, spread, 5000) for spread in (0.9, 0.1, 0.0)])
    noise = implied_noise(mean)
    np.testing.assert_allclose(noise**2, 1 - (mean**2).mean(0))
    most = even_information(mean, noise)
    assert most[0] == pytest.approx(0.5 * np.log(1 / (1 - 0.81)), abs=0.05)
    assert most[1] < 0.01
    assert most[2] == 0
    assert implied_noise(3 * mean) is None


def test_a_network_of_another_kind_has_no_implied_noise():
    codes, labels = made_up(200)
    result = section6(10 * codes, labels[["Teff"]], permutations=2, null=200)
    assert result.noise == "unknown"
    assert result.nodes["information_nats"].isna().all()


def test_with_sd_sampled_codes_are_measured_on_one_row_per_target():
    codes, labels = made_up(700, seed=3)
    sd = np.full(codes.shape, 1.0)
    sd[:, list(SIX)] = 0.05
    groups = np.arange(700) // 2
    result = section6(codes, labels[["Teff"]], sd=sd, targets=groups, permutations=2, null=1000)
    assert len(result.codes) == 350
    assert any("350 targets" in note for note in result.notes)
    matches = result.matches.set_index("node")
    assert matches.loc[TINY, "heard_high"] < 0.15 < matches.loc[TINY, "mi_nats"]
    assert matches.loc[MONOTONE, "heard_low"] > 0.5
    assert abs(result.nodes.loc[TINY, "information_nats"]) < 0.05


def test_clipping_goes_on_until_nothing_is_cut_off():
    from astropy.stats import sigma_clip

    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=500), [40.0, 900.0, np.nan]])
    clipped = sigma_clip(np.ma.masked_invalid(values), sigma=5)
    np.testing.assert_array_equal(sigma_clipped(values), ~clipped.mask)


def test_reading_back_is_a_share_of_variance():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 2000)
    assert read_back(x, x**2) > 0.97
    assert read_back(x**2, x) < 0.1
    assert np.isnan(read_back(x, np.ones(2000)))
    centres, medians = running_median(x, x)
    np.testing.assert_allclose(centres, medians)


def write_release(folder: Path, *, rows: int = 60, labels: pd.DataFrame | None = None) -> tuple[Path, Path]:
    """A release of 40 codes out of `rows` rows of the table."""
    codes, table = made_up(rows)
    table = table if labels is None else labels
    table.insert(0, "dp_id", [f"ADP.2014-09-16T11:03:31.{i:03d}" for i in range(rows)])
    table.insert(1, "unique_subset", np.where(np.arange(rows) % 3 < 2, 1.0, np.nan))
    table.to_csv(folder / "labels.csv", index=False)
    np.save(folder / "codes.npy", codes[np.arange(rows) % 3 < 2].astype(np.float32))
    return folder / "codes.npy", folder / "labels.csv"


def test_codes_follow_the_rows_of_the_unique_subset(tmp_path):
    release = read_release(*write_release(tmp_path))
    assert release.codes.shape == (40, 16)
    assert release.identifiers[2] == "ADP.2014-09-16T11:03:31.003"
    teff = made_up(60)[1]["Teff"].to_numpy()[np.arange(60) % 3 < 2]
    np.testing.assert_allclose(release.labels["Teff"], teff)


def test_rows_that_do_not_match_are_refused_with_both_numbers(tmp_path):
    codes, labels = write_release(tmp_path)
    array = np.load(codes)
    for changed, message in (
        (array[:30], "30 rows, .* 40 with a unique_subset .*of different sets"),
        (np.vstack([array, array]), "more codes than spectra"),
        (array.T.copy(), "on their side"),
    ):
        np.save(codes, changed)
        with pytest.raises(ReleaseError, match=message):
            read_release(codes, labels)
    np.save(codes, np.vstack([array, array])[:60])
    assert "whole label table" in read_release(codes, labels).notes[0]


def test_missing_columns_name_the_nearest(tmp_path):
    codes, labels = write_release(tmp_path)
    table = pd.read_csv(labels).rename(columns={"Teff": "teff", "[M/H]": "M/H"})
    table.to_csv(labels, index=False)
    with pytest.raises(
        CatalogError, match=r"'Teff' \(the nearest is 'teff'\), '\[M/H\]' \(the nearest is 'M/H'\)"
    ):
        read_release(codes, labels)
    assert list(read_release(codes, labels, names=["radvel"]).labels) == ["radvel"]


def test_files_that_are_no_codes_are_refused(tmp_path):
    path = tmp_path / "codes.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ReleaseError, match="can run code"):
        read_codes(path)
    for array, message in (
        (np.zeros(5), "codes are"),
        (np.zeros((5, 0)), "codes are"),
        (np.array([["a"]]), "of type"),
        (np.full((4, 2), np.nan), "4 of 4 rows"),
    ):
        np.save(path, array)
        with pytest.raises(ReleaseError, match=message):
            read_codes(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ReleaseError, match=r"codes\.npy"):
        read_codes(path)
    np.savez(tmp_path / "two.npz", a=np.zeros(3))
    with pytest.raises(ReleaseError, match="npz"):
        read_codes(tmp_path / "two.npz")
    with pytest.raises(ReleaseError, match="no such file"):
        read_codes(tmp_path / "none.npy")


def test_arrays_that_do_not_fit_are_refused():
    codes, labels = made_up(60)
    with pytest.raises(ReleaseError, match="60 rows of codes and 59"):
        section6(codes, labels.iloc[:59])
    with pytest.raises(ReleaseError, match="sd must be"):
        section6(codes, sd=np.zeros((60, 16)))
    with pytest.raises(EvidenceError, match="too few"):
        section6(codes[:20])
    with pytest.raises(CatalogError, match="holds text"):
        section6(codes, pd.DataFrame({"name": ["a"] * 60}))
    labels.loc[10:, "Mass"] = np.nan
    left = section6(codes, labels[["Mass"]])
    assert "Mass is left out" in left.notes[0]
    assert len(left.matches) == 0
    assert len(left.verdict) >= 1


def test_the_command_writes_report_figures_and_tables(tmp_path, capsys):
    from typer.testing import CliRunner

    from astroprism.cli import app

    codes, labels = write_release(tmp_path, rows=150)
    command = ["paper", "--codes", codes, "--labels", labels, "--out", tmp_path / "out", "--permutations", 2]
    chosen = [*command, "--label", "Teff"]
    done = CliRunner().invoke(app, [str(word) for word in [*chosen, "--json"]])
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    assert content["informative"] == list(SIX)
    out = tmp_path / "out"
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 4
    assert "http" not in page.replace("http-equiv", "")
    assert {path.name for path in (out / "figures").iterdir()} == {
        *("dispersion.png", "bins.png", "map_Teff.png", "scatter_Teff.png")
    }
    for name in ("nodes", "labels", "plugin", "matches"):
        pd.testing.assert_frame_equal(
            pd.read_csv(out / "tables" / f"{name}.csv"),
            pd.read_parquet(out / "tables" / f"{name}.parquet"),
            check_dtype=False,
        )
    assert json.loads((out / "section6.json").read_text())["spectra"] == 100
    for words, message in (
        (["paper", "--codes", codes, "--out", out], "need --labels"),
        (["paper", "--out", out], "give --codes"),
        ([*command, "--weights", codes], "codes already"),
        ([*command[:-1], 1], "make no null"),
    ):
        refused = CliRunner().invoke(app, [str(word) for word in words])
        assert isinstance(refused.exception, AstroprismError)
        assert message in str(refused.exception)


def test_the_page_escapes_what_it_is_given(result):
    from astroprism.report.paper_page import page

    shown = page(result, {}, facts={"codes": "<b>mine</b>.npy"})
    assert "codes: &lt;b&gt;mine&lt;/b&gt;.npy" in shown
    assert "<b>" not in shown
    assert shown.count("<h3 id=") == len(result.labels)


def write_adp(path: Path, *, star: int) -> Path:
    """A phase-3 product of HARPS: one row of vector cells, 0 between the chips."""
    from astropy.io import fits

    rng = np.random.default_rng(star)
    wave = np.round(3783 + 0.01 * np.arange(313_000), 2)
    flux = 900 * (1 + 0.2 * np.sin(wave / (30 + star))) * rng.normal(1, 0.01, wave.size)
    flux[(wave > 5303.6) & (wave < 5338.1)] = 0
    primary = fits.PrimaryHDU()
    primary.header.update(
        {
            "ARCFILE": path.name,
            "OBJECT": f"HD {star}",
            "INSTRUME": "HARPS",
            "PRODCATG": "SCIENCE.SPECTRUM",
            "SPECSYS": "BARYCENT",
        }
    )
    columns = [
        fits.Column(name, f"{wave.size}{kind}", array=values[None], unit=unit)
        for name, kind, values, unit in (
            ("WAVE", "D", wave, "angstrom"),
            ("FLUX", "E", flux.astype(np.float32), "adu"),
            ("ERR", "E", np.full(wave.size, 9, dtype=np.float32), "adu"),
        )
    ]
    fits.HDUList([primary, fits.BinTableHDU.from_columns(columns)]).writeto(path)
    return path


def test_fits_spectra_are_encoded_as_the_release_does(tmp_path):
    torch = pytest.importorskip("torch")
    from astroprism.grid import PAPER_DEAD, PAPER_LENGTH
    from astroprism.network import PaperConfig, PaperNetwork
    from astroprism.paper.encoding import encode_spectra, labels_of, write_encoded

    network = PaperNetwork(PaperConfig(), seed=1).eval()
    torch.save({"state_dict": network.state_dict()}, tmp_path / "w.pth.tar")
    files = [write_adp(tmp_path / f"ADP.2014-09-16T11:03:31.12{i}.fits", star=i) for i in (7, 8)]
    broken = tmp_path / "broken.fits"
    broken.write_bytes(files[0].read_bytes()[:5000])
    encoded = encode_spectra(tmp_path / "w.pth.tar", [*files, broken, files[0]])
    assert encoded.mean.shape == encoded.sd.shape == (2, 128)
    assert sum(encoded.reasons.values()) == 2
    assert encoded.reasons["duplicate"] == 1

    from astropy.io import fits

    with fits.open(files[0]) as hdus:
        wave, flux = (hdus[1].data[name][0].astype(float) for name in ("WAVE", "FLUX"))
    first = int(np.argmin(np.abs(wave - 3785)))
    padded = np.zeros(PAPER_LENGTH)
    padded[7589 : 7589 + 312_501] = flux[first : first + 312_501]
    for dead in PAPER_DEAD:
        padded[dead] = 0
    padded /= np.median(padded)
    with torch.no_grad():
        mean, _ = network.encode(torch.from_numpy(padded[None].astype(np.float32)))
    np.testing.assert_allclose(encoded.mean[0], mean[0], atol=0.02 * float(mean.std()))

    write_encoded(encoded, tmp_path / "out")
    assert read_codes(tmp_path / "out" / "codes.npy").shape == (2, 128)
    assert len(pd.read_csv(tmp_path / "out" / "refused.csv")) == 2
    table = pd.DataFrame({"dp_id": encoded.spectra["spectrum_id"][::-1], "Teff": [5000.0, 6000.0]})
    joined = labels_of(encoded, table, source="labels", names=["Teff"])
    assert joined["Teff"].tolist() == [6000.0, 5000.0]
    assert labels_of(encoded, table.assign(dp_id=["x1", "x2"]), source="labels", names=["Teff"]) is None
    with pytest.raises(ReleaseError, match="none of 1 files"):
        encode_spectra(tmp_path / "w.pth.tar", [broken])
