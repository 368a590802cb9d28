"""The explorer's server: right answers, to those who may use it, whatever they send."""

import base64
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from fastapi.testclient import TestClient

from astroprism import EncodeOptions, Study
from astroprism.errors import ConfigError
from astroprism.explorer import Viewer, create_app, start
from astroprism.explorer.data.cache import Cache
from astroprism.explorer.data.curves import detail, window
from astroprism.explorer.data.decoder import Decoder
from astroprism.explorer.refusals import Refused, tidy, without_folders
from astroprism.explorer.server.answers import as_csv, as_json, packed, unpacked
from astroprism.explorer.server.guard import Guard
from astroprism.explorer.server.uploads import safe_name
from astroprism.schema import CodesFacts
from doublet import archive
from learned import learned_findings
from quick import quick_options
from requests_to_an_explorer import malformed
from studies import write_findings

HOME = "http://127.0.0.1:8765"
MARKUP = "<img src=x onerror=alert(1)>"
FORMULA = '=HYPERLINK("http://x","y")'


@pytest.fixture(scope="module")
def study(ninety_stars, tmp_path_factory) -> Study:
    """Ninety stars, a network that has learned little, and labels that a stranger wrote."""
    folder = tmp_path_factory.mktemp("explorer")
    study = Study(shutil.copytree(ninety_stars, folder / "study"))
    study.train(options=quick_options(folder, steps=20, valid=0.25, test=0.25))
    study.encode(options=EncodeOptions(device="cpu", polish=False))
    index = study.index
    findings, tables = learned_findings(
        identifiers=index["spectrum_id"], targets=index["target"], wavelength=study.store.grid.wavelength
    )
    kinds = np.array([MARKUP, FORMULA, "plain"], dtype=object)
    tables["labels"]["kind"] = kinds[np.random.default_rng(0).integers(0, 3, 90)]
    write_findings(study.path, findings, tables)
    return study


@pytest.fixture(scope="module")
def client(study) -> TestClient:
    return TestClient(create_app(study, guard=Guard(port=8765, upload=1 << 20)), base_url=HOME)


@pytest.fixture(scope="module")
def viewer(study) -> Viewer:
    return Viewer(study)


def arrays_of(answer):
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    return unpacked(answer.content)


# --- parts


def test_a_window_of_many_pixels_keeps_lows_and_highs_in_their_order():
    rng = np.random.default_rng(1)
    flux = rng.normal(size=10_003).astype(np.float32)
    flux[500:900] = np.nan
    grid = np.linspace(5000, 6000, flux.size)
    made = detail(grid, {"flux": flux, "good": np.isfinite(flux), "sigma": np.ones_like(flux)}, width=100)
    assert made.facts["binned"]
    k = made.facts["pixels_a_bin"]
    assert len(made.wavelength) <= 2 * 100 + 2
    assert (np.diff(made.wavelength) > 0).all()
    pairs = made.values["flux"].reshape(-1, 2)
    for number, pair in enumerate(pairs):
        inside = flux[number * k : (number + 1) * k]
        if np.isnan(inside).all():
            assert np.isnan(pair).all()
            assert not made.values["good"][2 * number]
        else:
            low, high = np.nanargmin(inside), np.nanargmax(inside)
            assert pair.tolist() == [inside[min(low, high)], inside[max(low, high)]]
    assert made.values["sigma"].max() == 1
    few = detail(grid[:150], {"flux": flux[:150]}, width=100)
    assert not few.facts["binned"]
    np.testing.assert_array_equal(few.values["flux"], flux[:150])


def test_a_window_is_never_too_narrow_and_never_outside():
    grid = np.linspace(5000, 6000, 1001)
    assert window(grid, None, None) == slice(0, 1001)
    assert window(grid, 5500.2, 5500.3).stop - window(grid, 5500.2, 5500.3).start == 8
    assert window(grid, 4000, 5001).start == 0
    assert window(grid, 5999.5, 7000) == slice(993, 1001)
    for low, high in ((5500, 5400), (5500, 5500), (7000, 8000), (1, 2)):
        with pytest.raises(Refused):
            window(grid, low, high)


def test_binary_answers_are_laid_out_as_written():
    arrays = {"a": np.arange(5, dtype=np.float32), "b": np.ones(3, np.uint8), "c": np.array([1.5])}
    content = packed(arrays, {"name": "x", "bad": float("nan")})
    length = int.from_bytes(content[:4], "little")
    assert (4 + length) % 8 == 0
    assert len(content) % 8 == 0
    found, facts = unpacked(content)
    assert facts == {"name": "x", "bad": None}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_texts_from_files_are_tamed():
    assert tidy("a\nb\x00\u202ec" + "x" * 500) == ("a b c" + "x" * 500)[:198] + ".."
    assert tidy("\ud800") == "?" or "\ud800" not in tidy("\ud800")
    assert without_folders(ValueError("cannot open /home/me/secret/a.fits, or C:\\Users\\me\\b.fits")) == (
        "cannot open a.fits, or b.fits"
    )
    assert json.loads(as_json({"x": np.float64("inf"), "y": [np.nan, np.int64(3)]})) == {
        "x": None,
        "y": [None, 3],
    }
    cells = [["=1+1"], ["-3.5"], ["@x"], [float("nan")], ["+cmd|' /C calc'!A0"]]
    assert as_csv(["a"], cells).splitlines() == ["a", "'=1+1", "-3.5", "'@x", '""', "'+cmd|' /C calc'!A0"]
    for name in ("../../etc/passwd", "..\\x", "/", "", "a\x00b.fits", ".hidden", "x" * 300 + ".fits"):
        safe = safe_name(name)
        assert safe
        assert not safe.startswith(".")
        assert not set(safe) & set("/\\\0")
        assert len(safe) <= 80


def test_a_value_is_computed_by_one_of_many_threads():
    made, cache = [], Cache()

    def make():
        time.sleep(0.02)
        made.append(1)
        return 5

    threads = [threading.Thread(target=cache, args=("key", make)) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert made == [1]
    recent = Cache(size=2)
    for key in "abc":
        recent.put(key, key)
    assert [recent.get(key) for key in "abc"] == [None, "b", "c"]
    with pytest.raises(ZeroDivisionError):
        cache("bad", lambda: 1 / 0)
    assert cache("bad", lambda: 7) == 7


# --- answers


def test_the_summary_of_a_study(client, study):
    content = client.get("/api/study").json()
    assert content["spectra"] == 90
    assert content["targets"] == 90
    assert [one["node"] for one in content["nodes"]] == [0, 3, 5, 7]
    assert [one["label"] for one in content["nodes"]] == ["rv", "teff", None, None]
    assert [one["nuisance"] for one in content["nodes"]] == [True, False, False, False]
    first = content["nodes"][1]
    assert first["unit"] == "K"
    assert len(first["quantiles"]) == len(first["label_curve"]) == 7
    assert first["low"] < first["median"] < first["high"]
    assert {one["name"]: one["kind"] for one in content["labels"]} == {
        "kind": "text",
        "rv": "number",
        "teff": "number",
    }
    assert content["has"] == {
        "model": True, "codes": True, "findings": True, "labels": True, "outliers": False,
        "umap": content["has"]["umap"], "apply": True,
    }  # fmt: skip
    assert any(line["kind"] == "atom" for line in content["lines"])
    low, high = content["grid"]["low"], content["grid"]["high"]
    assert all(low <= line["wavelength"] <= high for line in content["lines"])
    for query in content["start"].values():
        assert client.get(f"/api/python?{query}").status_code == 200


def test_decoding_is_the_network(client, study, viewer):
    import torch

    arrays, facts = arrays_of(client.get("/api/decode?z=3:0.5,5:-0.25&parts=1&compare=1"))
    code, _ = viewer.base_code(None)
    base = code.copy()
    code[3], code[5] = 0.5, -0.25
    network = study.model(unpruned=viewer.columns.unpruned).network
    berv = torch.zeros(2) if network.config.moving_air else None
    with torch.no_grad():
        made = network.decode(torch.from_numpy(np.stack([code, base])), berv=berv).numpy()
    np.testing.assert_allclose(arrays["flux"], made[0], atol=2e-5)
    np.testing.assert_allclose(arrays["reference"], made[1], atol=2e-5)
    np.testing.assert_allclose(arrays["star"] * arrays["air"], arrays["flux"], atol=1e-5)
    np.testing.assert_allclose(arrays["wavelength"], study.store.grid.wavelength)
    assert facts["z"]["3"] == 0.5
    near, facts = arrays_of(client.get("/api/decode?low=5890&high=5893&base=4"))
    assert near["wavelength"][0] <= 5890
    assert near["wavelength"][-1] >= 5893
    assert facts["pixels"] == len(near["flux"])
    assert facts["z"]["3"] == pytest.approx(float(viewer.columns.mean(3)[4]))


def test_uploads_are_encoded_with_a_second_look_at_other_velocities():
    """As `encode` does: else a velocity that took one line of a doublet for the other would stay."""
    from astroprism.model.trained import TrainedModel

    network, batch, true, fooled = archive(1)
    assert fooled.all()
    model, flux, sigma = TrainedModel(network), batch.flux[0].numpy(), batch.sigma[0].numpy()
    good = np.ones(flux.shape, dtype=bool)
    for relocked, polished in ((True, True), (True, False), (False, True), (False, False)):
        facts = CodesFacts(
            spectra=1, nodes=2, network="prism", kept=[0, 1], weights="", polished=polished, relocked=relocked
        )
        mean, sd = Decoder(model, codes=facts).encode(flux, sigma, good, berv=0.0)
        expected = model.encode(batch, relock=relocked, polished=polished)
        np.testing.assert_array_equal(mean, expected.mean[0].numpy())
        np.testing.assert_array_equal(sd, expected.sd[0].numpy())
        assert (abs(10 * mean[0] - float(true[0])) < 0.5) == relocked
    mean, _ = Decoder(model).encode(flux, sigma, good, berv=0.0)
    assert abs(10 * mean[0] - float(true[0])) < 0.5


def test_uploads_are_encoded_as_the_codes_of_the_study(study, viewer):
    facts = viewer.columns.codes_facts
    assert not facts.polished
    read = study.store.read([3, 40])
    for row, flux, sigma, good in zip([3, 40], read.flux, read.sigma, read.good, strict=True):
        mean, sd = viewer.decoder.encode(flux, sigma, good, berv=viewer.columns.air(row))
        known = [float(viewer.columns.mean(node)[row]) for node in range(facts.nodes)]
        np.testing.assert_allclose(mean, known, atol=1e-4)
        known = [float(viewer.columns.sd(node)[row]) for node in range(facts.nodes)]
        np.testing.assert_allclose(sd, known, rtol=1e-3)


def test_maps_have_one_point_per_spectrum(client, study, viewer):
    arrays, facts = arrays_of(client.get("/api/map?x=node:3&y=pca:0&colour=label:kind"))
    assert all(len(one) == 90 for one in arrays.values())
    np.testing.assert_array_equal(
        arrays["x"], study.codes(unpruned=viewer.columns.unpruned)["mean_003"].to_numpy()
    )
    names = facts["colour"]["categories"]
    assert set(names) == {MARKUP, FORMULA, "plain"}
    labels = study.finding_table("labels")["kind"]
    assert [names[int(one)] for one in arrays["colour"]] == labels.tolist()
    for key in ("label:teff", "snr", "index:n_good", "berv"):
        arrays, facts = arrays_of(client.get(f"/api/map?x=node:0&y=node:3&colour={key}"))
        assert facts["colour"]["kind"] == "number"
    np.testing.assert_allclose(viewer.column("pca:0").values @ viewer.column("pca:1").values, 0, atol=1e-3)
    for wrong in (
        "x=node:0",
        "x=node:0&y=label:kind",
        "x=node:0&y=what",
        "x=node:0&y=node:99",
        "x=&y=",
        "x=node:0&y=pca:7",
    ):
        assert client.get(f"/api/map?{wrong}").status_code in (400, 404)


def test_a_spectrum_its_reconstruction_and_its_residual(client, study):
    arrays, facts = arrays_of(client.get("/api/spectrum/7"))
    read = study.store.read([7])
    use = arrays["good"].astype(bool)
    np.testing.assert_array_equal(arrays["flux"][use], read.flux[0][use])
    residual = (arrays["flux"] - arrays["reconstruction"]) / arrays["sigma"]
    np.testing.assert_allclose(arrays["residual"][use], residual[use], rtol=1e-3, atol=1e-3)
    assert facts["chi2"] == pytest.approx(float(np.mean(residual[use] ** 2)), rel=1e-3)
    assert facts["spectrum_id"] == study.index["spectrum_id"].iloc[7]
    assert facts["labels"]["teff"] == pytest.approx(study.finding_table("labels")["teff"].iloc[7])
    assert [one["node"] for one in facts["codes"]] == [0, 3, 5, 7]
    assert facts["part"] in ("train", "valid", "test")
    assert facts["seen_in_training"] == (facts["part"] == "train")


def test_neighbours_are_those_of_brute_force(client, study, viewer):
    found = client.get("/api/neighbours/7?n=5&nodes=3,5").json()
    codes = viewer.columns.means([3, 5]).astype(np.float64)
    spread = codes / codes.std(0)
    assert found["left_out"] == {"0": "velocity: rv"}
    assert found["nodes"] == [3, 5]
    found = client.get("/api/neighbours/7?n=5&nodes=3,5&nuisances=1").json()
    apart = np.sqrt(((spread - spread[7]) ** 2).sum(1))
    apart[7] = np.inf
    assert [one["row"] for one in found["neighbours"]] == np.argsort(apart)[:5].tolist()
    np.testing.assert_allclose(
        [one["distance"] for one in found["neighbours"]], np.sort(apart)[:5], rtol=1e-4
    )
    assert client.get("/api/neighbours/7").json()["nodes"] == [3, 5]
    assert client.get("/api/neighbours/7?nodes=0").json()["nodes"] == [0]
    for wrong in ("7?nodes=1", "7?n=0", "7?n=1e9", "90", "-1", "x", "7?nodes=,"):
        assert client.get(f"/api/neighbours/{wrong}").status_code in (400, 404), wrong


def test_a_node_has_a_page(client, study):
    page = client.get("/api/node/3").json()
    assert page["title"] == "node 3: effective temperature"
    assert sum(page["histogram"]["counts"]) == 90
    codes = [one["value"] for one in page["lowest"]]
    assert codes == sorted(codes)
    arrays, _ = arrays_of(client.get("/api/node/3/derivative"))
    assert set(arrays) == {"wavelength", "star", "air"}
    arrays, facts = arrays_of(client.get("/api/node/3/traversal?low=5888&high=5892"))
    assert set(arrays) == {"wavelength", *(f"flux_{i}" for i in range(7))}
    assert len(facts["values"]) == len(facts["labels"]) == 7
    arrays, facts = arrays_of(client.get("/api/node/3/scatter?label=teff"))
    assert len(arrays["code"]) == len(arrays["label"]) == facts["total"] == 90
    assert client.get("/api/node/1").status_code == 404
    assert client.get("/api/node/3/scatter?label=x").status_code == 404


def test_search_and_selection(client, study):
    name = study.index["target"].iloc[3]
    found = client.get("/api/search", params={"text": name.lower()}).json()
    assert [one["row"] for one in found["found"]] == [3]
    assert client.get("/api/search?text=").status_code == 400
    assert client.get("/api/search", params={"text": "(.*"}).json()["total"] == 0
    answer = client.post("/api/selection", json={"rows": [3, 80, 3]})
    assert "attachment" in answer.headers["content-disposition"]
    table = answer.text.splitlines()
    assert table[0].startswith("row,spectrum_id,target,file,snr,")
    assert len(table) == 4
    assert "/" not in table[1].split(",")[3]
    everything = client.post("/api/selection", json={"rows": list(range(90))}).text
    assert ",=HYPERLINK" not in everything
    assert ',"=HYPERLINK' not in everything
    assert client.post("/api/selection", json={"rows": []}).status_code == 200
    for rows in ([90], [-1], [1.5], ["1"], [True], None, {}):
        assert client.post("/api/selection", json={"rows": rows}).status_code in (400, 404)
    assert (
        client.post("/api/selection", content="{", headers={"content-type": "application/json"}).status_code
        == 400
    )
    assert (
        client.post(
            "/api/selection", content="[" * 100_000, headers={"content-type": "application/json"}
        ).status_code
        == 400
    )
    assert client.post("/api/selection", content=b"rows=1").status_code == 415


def test_no_answer_names_a_folder_of_this_machine(client, study):
    home = str(study.path.parent)
    paths = [
        "/api/study",
        "/api/node/3",
        "/api/neighbours/3",
        "/api/search?text=S",
        "/api/python",
        "/api/node/9",
    ]
    paths += ["/api/spectrum/3", "/api/spectrum/1000", "/api/decode?base=100", "/nothing", "/static/../../x"]
    for path in paths:
        answer = client.get(path)
        assert home.encode() not in answer.content, path
    assert home not in client.post("/api/selection", json={"rows": [1, 2]}).text


@pytest.mark.parametrize(
    "query",
    [
        "",
        "view=sliders&z=3:0.5&base=2&parts=1&compare=1&low=5888&high=5895",
        "view=map&x=node:0&y=pca:0&colour=label:kind",
        "view=map&x=node:0&y=node:3&colour=label:teff&lasso=-9:-9,9:-9,9:9,-9:9",
        "view=spectrum&row=3&n=4&nodes=3,5",
        "view=node&node=3&ui.open=1",
    ],
)
def test_the_python_of_a_view_runs(client, study, query, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / study.path.name).symlink_to(study.path)
    answer = client.get(f"/api/python?{query}")
    assert answer.status_code == 200
    exec(compile(answer.text, "view", "exec"), {})
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_views_are_checked_before_they_become_python(client):
    for query in (
        "view=what",
        "view=map",
        "view=map&x=a&y=b&lasso=1:2,3",
        "view=sliders&z=0:__import__('os')",
        "view=spectrum",
        "view=spectrum&row=1;x",
        "view=node&node=1)",
        "view=map&x=node:0&y=node:0&evil=1",
    ):
        assert client.get(f"/api/python?{query}").status_code == 400, query
    text = client.get("/api/python", params={"view": "map", "x": "');import os#", "y": "\n\nimport os"}).text
    assert "\nimport os" not in text
    compile(text, "view", "exec")


# --- files that are dropped


def dropped(client, content, name="a.fits"):
    return client.post("/api/drop", files={"file": (name, content)})


def test_a_dropped_file_gets_its_answer(client, study, tmp_path):
    from astropy.io import fits

    path = study.index["path"].iloc[12]
    with fits.open(path) as file:
        file[0].header["OBJECT"] = MARKUP
        for part in file[1:]:
            if "OBJECT" in part.header:
                part.header["OBJECT"] = MARKUP
        file.writeto(tmp_path / "a.fits", checksum=True)
    answer = dropped(client, (tmp_path / "a.fits").read_bytes(), name="../<b>é.fits")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    found = answer.json()
    assert found["name"] == "_b__.fits"
    assert found["spectra"] == 1
    assert found["target"] == MARKUP  # as text: the page puts it into textContent
    assert found["neighbours"][0]["row"] == 12
    assert [one["node"] for one in found["codes"]] == [0, 3, 5, 7]
    assert str(study.path.parent) not in answer.text
    again = client.get(f"/api/dropped/{found['key']}/answer").json()
    assert again == found
    arrays, facts = arrays_of(client.get(f"/api/dropped/{found['key']}?low=5888&high=5892"))
    assert facts["spectrum_id"] == found["spectrum_id"]
    assert np.isfinite(arrays["residual"]).any()
    assert client.get("/api/dropped/0000").status_code == 404
    assert client.get(f"/api/python?view=drop&key={found['key']}").status_code == 200


def test_files_that_cannot_be_used_are_refused(client, study):
    assert dropped(client, b"").status_code == 422
    answer = dropped(client, b"\x00" * 3000)
    assert answer.status_code == 422
    assert "astroprism-drop" not in answer.text
    assert dropped(client, b"x" * (2 << 20)).status_code == 413
    for body, kind in (
        (b"", "multipart/form-data"),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x"),
        (b"abc", "text/plain"),
        (
            b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
    ):
        answer = client.post("/api/drop", content=body, headers={"content-type": kind})
        assert answer.status_code in (400, 415), answer.text


def test_a_file_that_fills_memory_or_time_ends_its_reader_only(client, study, monkeypatch):
    from astroprism.explorer.server import file_reader

    header = [
        f"SIMPLE  = {'T':>20}",
        f"BITPIX  = {-64:>20}",
        f"NAXIS   = {1:>20}",
        f"NAXIS1  = {10**9:>20}",
        "END",
    ]
    block = "".join(f"{card:<80}" for card in header).ljust(2880).encode()
    bomb = gzip.compress(block + bytes(300 << 20), compresslevel=1)
    assert len(bomb) < 2 << 20
    large = TestClient(create_app(study, guard=Guard(port=8765, upload=4 << 20), warm=False), base_url=HOME)
    answer = dropped(large, bomb, name="bomb.fits.gz")
    assert answer.status_code == 422
    monkeypatch.setattr(file_reader, "SECONDS", 0.05)
    begun = time.monotonic()
    answer = dropped(client, b"5000 1\n" * 1000, name="slow.txt")
    assert answer.status_code == 422
    assert "stopped" in answer.text
    assert time.monotonic() - begun < 10


# --- who may use it


def test_requests_from_elsewhere_are_refused(client, study):
    ok = client.get("/api/study")
    assert ok.status_code == 200
    policy = ok.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert ok.headers["referrer-policy"] == "no-referrer"
    assert ok.headers["cache-control"] == "no-store"
    for host in (
        "evil.example:8765",
        "127.0.0.1:80",
        "127.0.0.1",
        "",
        "localhost:8765.evil.example",
        "[::1",
        "10.0.0.1:8765",
    ):
        answer = client.get("/api/study", headers={"host": host})
        assert answer.status_code == 403, host
        assert answer.headers["x-content-type-options"] == "nosniff"
    for host in ("localhost:8765", "LOCALHOST:8765", "[::1]:8765"):
        assert client.get("/api/study", headers={"host": host}).status_code == 200
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9", "http://127.0.0.1", "file://"):
        assert client.get("/api/study", headers={"origin": origin}).status_code == 403, origin
        assert client.post("/api/selection", json={"rows": []}, headers={"origin": origin}).status_code == 403
    assert client.post("/api/selection", json={"rows": []}, headers={"origin": HOME}).status_code == 200
    elsewhere = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert client.get("/api/study", headers=elsewhere).status_code == 403
    assert client.get("/api/study", headers=elsewhere | {"sec-fetch-mode": "navigate"}).status_code == 200
    assert client.put("/api/study").status_code == 405
    assert client.delete("/api/selection").status_code == 405
    assert client.get("/api/selection").status_code == 405
    assert client.get("/api/study?" + "x" * 40_000).status_code == 400
    for path in ("/docs", "/openapi.json", "/redoc"):
        assert client.get(path).status_code == 404


def test_a_token_is_needed_where_others_could_reach_it(study):
    guard = Guard(port=8765, host="0.0.0.0", token="secret-token")
    open_to = TestClient(create_app(study, guard=guard, warm=False), base_url="http://192.168.0.7:8765")
    assert open_to.get("/api/study").status_code == 403
    assert open_to.get("/?token=wrong").status_code == 403
    assert open_to.get("/?token=ünï").status_code == 403
    assert open_to.get("/api/study", headers={"authorization": "Bearer secret-token"}).status_code == 200
    assert open_to.get("/api/study", headers={"authorization": "Bearer x"}).status_code == 403
    came = open_to.get("/?token=secret-token&view=map", follow_redirects=False)
    assert came.status_code == 303
    assert came.headers["location"] == "/?view=map"
    cookie = came.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert open_to.get("/api/study").status_code == 200  # by the cookie
    assert open_to.get("/api/study", headers={"host": "evil.example:8765"}).status_code == 403
    content = open_to.get("/?token=secret-token&x=%0d%0aset-cookie:a", follow_redirects=False)
    assert "\r" not in content.headers["location"]


def test_notebooks_of_this_machine_may_frame_it(study):
    assert "frame-ancestors 'self' http://127.0.0.1:* http://localhost:*" in str(
        Guard(port=1, inline=True).headers()
    )
    assert "x-frame-options" not in str(Guard(port=1, inline=True).headers())
    assert "DENY" in str(Guard(port=1).headers())


# --- malformed requests


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("decode?what=1", 400, "unknown key 'what'; known: low, high, width, z, base, berv, parts, compare"),
        ("study?x=1", 400, "unknown key 'x'; known: none"),
        ("decode?low=1&low=2", 400, "low is given twice"),
        ("search?text=" + "A" * 20_001, 400, "text is too long, 20,001 characters"),
        ("decode?z=3", 400, "'3' is not NODE:VALUE, such as 21:1.3"),
        ("decode?z=3:1,3:2", 400, "node 3 is set twice"),
        ("decode?z=999:1", 404, "there is no node 999"),
        ("decode?low=nan", 400, "low 'nan': input should be a finite number"),
        ("decode?width=15", 400, "width 15 is outside of 16 .. 4096"),
        ("decode?width=+100", 400, "no whole number, 0 or more"),
        ("decode?base=1.0", 400, "base '1.0': no whole number, 0 or more"),
        ("decode?parts=yes", 400, "parts 'yes': neither 0 nor 1"),
        ("neighbours/7?n=201", 400, "n 201 is outside of 1 .. 200"),
        ("map?x=node:0", 400, "a map needs x and y, such as x=node:0&y=pca:0"),
        ("spectrum/x", 404, "there is no spectrum 'x'"),
        ("spectrum/+7", 404, "there is no spectrum '+7'"),
        ("spectrum/1000", 404, "there is no spectrum 1000; the store has 0 .. 89"),
        ("node/x/derivative", 404, "there is no node 'x'"),
        ("node/x?what=1", 400, "unknown key 'what'"),
        ("python?view=spectrum", 400, "row is missing"),
        ("python?view=what", 400, "view 'what' is none of sliders, map, spectrum, node, drop"),
        ("nothing", 404, "there is nothing here"),
    ],
)
def test_a_refusal_is_one_sentence(client, path, status, words):
    answer = client.get(f"/api/{path.replace('+', '%2B')}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    assert words in answer.json()["error"]
    assert len(answer.text.splitlines()) == 1


def test_empty_values_and_keys_of_the_page_count_as_left_out(client):
    same = client.get("/api/decode").content[-800:]
    for query in ("low=&high=&width=&z=&base=&berv=&parts=&compare=", "ui.open=1&ui.open=2", "base=mean"):
        assert client.get(f"/api/decode?{query}").content[-800:] == same


def test_a_body_has_a_largest_size(client, study):
    body = b'{"rows":[' + b"1," * 2_000_000 + b"1]}"
    options = {"content": body, "headers": {"content-type": "application/json"}}
    answer = client.post("/api/selection", **options)
    assert answer.status_code == 413
    assert "more than 1 MB" in answer.json()["error"]
    assert answer.headers["connection"] == "close"
    chunks = (body[start : start + 2**16] for start in range(0, len(body), 2**16))  # of unannounced length
    answer = client.post("/api/selection", **options | {"content": chunks})
    assert answer.status_code == 413
    assert "more than 1 MB" in answer.json()["error"]
    assert answer.headers["connection"] == "close"
    large = TestClient(create_app(study, guard=Guard(port=8765, upload=8 << 20), warm=False), base_url=HOME)
    answer = large.post("/api/selection", **options)
    assert answer.status_code == 413
    assert answer.json()["error"] == "2,000,001 rows; at most 2,000,000"


def storm(client, count, *, seed):
    slowest, answers = 0.0, {}
    for method, path, options in malformed(count, seed=seed):
        begun = time.monotonic()
        answer = client.request(method, path, **options)
        slowest = max(slowest, time.monotonic() - begun)
        answers[answer.status_code] = answers.get(answer.status_code, 0) + 1
        assert answer.status_code < 500, (method, path, options, answer.text)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "Traceback" not in answer.text[:2000]
    assert slowest < 60
    return answers


def test_malformed_requests_are_answered(client):
    answers = storm(client, 200, seed=1)
    assert answers.get(400, 0) > 30


@pytest.mark.full
def test_two_thousand_malformed_requests_leave_nothing_behind(client):
    import resource

    storm(client, 300, seed=2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    files, threads = len(os.listdir("/dev/fd")), threading.active_count()
    answers = storm(client, 2000, seed=3)
    assert sum(answers.values()) == 2000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
    assert len(os.listdir("/dev/fd")) <= files + 10
    assert threading.active_count() <= threads + 45
    assert client.get("/api/study").status_code == 200


# --- served


def fetched(url, **headers):
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.status, answer.read()


def test_it_is_served_and_stopped(study):
    running = study.explore()
    try:
        assert running.url.startswith("http://127.0.0.1:")
        assert running.token is None
        assert fetched(f"{running.url}api/study")[0] == 200
        with pytest.raises(urllib.error.HTTPError) as refused:
            fetched(f"{running.url}api/study", Host="evil.example")
        assert refused.value.code == 403
        refused.value.close()
        assert f'src="{running.url}"' in running._repr_html_()
        taken = int(running.url.rsplit(":", 1)[1].rstrip("/"))
        with pytest.raises(ConfigError, match="cannot be used"):
            start(study, port=taken)
    finally:
        running.stop()
    assert not running.running
    with pytest.raises(ConfigError, match="port"):
        start(study, port=70_000)
    with pytest.raises(ConfigError, match="no address"):
        start(study, host="no.such.host.invalid")


def test_the_command_serves_until_it_is_interrupted(study):
    command = [sys.executable, "-m", "astroprism.cli", "explore", str(study.path), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = json.loads(process.stdout.readline())["url"]
            assert fetched(f"{url}api/search?text=S")[0] == 200
        finally:
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


def test_a_study_without_a_model_has_pages(study, tmp_path):
    bare = Study(tmp_path / "bare")
    bare.path.mkdir()
    bare.store_path.symlink_to(study.store_path)
    client = TestClient(create_app(bare, guard=Guard(port=8765)), base_url=HOME)
    content = client.get("/api/study").json()
    assert content["network"] is None
    assert content["nodes"] == []
    arrays, facts = arrays_of(client.get("/api/spectrum/3"))
    assert "reconstruction" not in arrays
    assert facts["labels"] == {}
    assert client.get("/api/decode").status_code == 409
    assert client.get("/api/neighbours/3").status_code == 409
    assert client.get("/api/map?x=snr&y=index:ra").status_code == 200
    assert dropped(client, base64.b64decode(b"AAAA")).status_code == 409


def test_outlier_scores_are_those_of_the_study(study, tmp_path):
    judged = Study(shutil.copytree(study.path, tmp_path / "study"))
    frame = judged.outliers(device="cpu").set_index("spectrum_id")
    viewer = Viewer(judged)
    assert viewer.summary["has"]["outliers"]
    assert "outlier" in [one["key"] for one in viewer.summary["axes"]]
    name = judged.index["spectrum_id"].iloc[7]
    facts = viewer.spectrum_facts(7)["outlier"]
    assert facts["p"] == pytest.approx(frame.loc[name, "p"], rel=1e-6)
    assert viewer.column("outlier").values[7] == pytest.approx(frame.loc[name, "surprise"], rel=1e-6)
