"""The explorer on a made-up study of 300,000 spectra, 128 nodes, 327,680 pixels: how fast, how big.

The aims, on two cores: a first view in 2 s, from a slider to the decoded spectrum 100 ms (95th percentile),
neighbours in 30 ms (95th percentile), at most 3 GiB.

Run: python benchmarks/explorer.py [--keep FOLDER] [--spectra N] [--pixels P] [--requests N]

The study takes 1 GB of disk: its shards are links to one file, in which 1,000 rows share 8 spectra. `wall` is
what a user waits; `work` the processor time of the server, which other load on the machine does not stretch.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

NODES, INFORMATIVE, LABELS, REAL, PER_SHARD = 128, 24, 9, 8, 1000
LOW, HIGH = 3780.0, 6915.0


def made_up(folder: Path, *, spectra: int, pixels: int) -> None:
    """A study of that size, with random codes, labels that some of them follow, and an untrained network."""
    import pandas as pd

    from astroprism.grid import SPEED_OF_LIGHT, Grid

    rng = np.random.default_rng(0)
    step = SPEED_OF_LIGHT * np.expm1(np.log(HIGH / LOW) / (pixels - 1))
    grid = Grid("log", LOW, float(step), pixels, "vacuum")
    names = [f"ADP.{i:08d}" for i in range(spectra)]
    stars = rng.integers(0, spectra // 3, spectra)
    index = pd.DataFrame(
        {"row": np.arange(spectra), "spectrum_id": names, "target": [f"HD {i}" for i in stars]}
    )
    for name in ("ra", "dec", "berv", "time", "snr", "snr_file", "resolution", "scale"):
        index[name] = rng.uniform(1, 200, spectra)
    for name, text in (("name", "HD"), ("frame", "barycentric"), ("sigma_from", "file"), ("medium", "air")):
        index[name] = text
    index = index.assign(reader="adp", path=[f"/data/{one}.fits" for one in names], digest=names, warnings="")
    index = index.assign(n_good=pixels, n_spikes=0, n_native=pixels, item=0, copied=False)
    _store(folder / "store.zarr", grid, index)
    codes = rng.normal(size=(spectra, NODES)).astype(np.float32)
    _codes(folder, index, codes, rng)
    _model(folder / "model", pixels, float(step))
    _findings(folder, index, codes, grid, rng)


def _store(place: Path, grid: Any, index: Any) -> None:
    from astroprism.store.layout import (
        ARRAYS,
        Layout,
        array_metadata,
        crc32c,
        create_store,
        resize,
        shard_file,
    )

    layout = Layout(grid, PER_SHARD)
    assert array_metadata(layout, "flux", n_shards=1)
    create_store(place, layout, config={"frame": "file", "min_good": 0.5, "normalise": "median"})
    rng = np.random.default_rng(1)
    shards = -(-len(index) // PER_SHARD)
    for array in ARRAYS:
        stride, kind = layout.stride(array), layout.numpy_dtype(array)
        where = np.stack([np.arange(PER_SHARD) % REAL * stride, np.full(PER_SHARD, stride)], axis=1)
        content = where.astype("<u8").tobytes()
        first = Path(shard_file(place, array, 0))
        first.parent.mkdir(parents=True)
        with first.open("wb") as file:
            for _ in range(REAL):
                row = np.ones(grid.size, kind)
                if array == "flux":
                    row += rng.normal(0, 0.05, grid.size).astype(kind)
                elif array == "sigma":
                    row *= 0.05
                file.write(row.tobytes() + crc32c(row.view(np.uint8)))
            file.write(content + crc32c(np.frombuffer(content, np.uint8)))
        for shard in range(1, shards):
            link = Path(shard_file(place, array, shard))
            link.parent.mkdir(parents=True)
            os.link(first, link)
    index.to_parquet(place / "index.parquet")
    index[["row"]].to_parquet(place / "keywords.parquet")
    index[["spectrum_id"]].iloc[:0].to_parquet(place / "rejects.parquet")
    resize(place, shards, finished=True)


def _codes(folder: Path, index: Any, codes: Any, rng: Any) -> None:
    import pyarrow as pa

    from astroprism.artifacts import write_table
    from astroprism.schema import CODES

    columns = {name: pa.array(index[name], pa.string()) for name in ("spectrum_id", "target")}
    columns |= {f"mean_{i:03d}": codes[:, i] for i in range(NODES)}
    columns |= {f"sd_{i:03d}": rng.uniform(0.01, 0.1, len(codes)).astype(np.float32) for i in range(NODES)}
    made_from = {"network": "prism", "kept": list(range(NODES)), "weights": "made up", "polished": True}
    header = {**CODES.header, "made_from": made_from | {"relocked": True, "steps": 0}}
    write_table(folder / "codes.parquet", pa.table(columns), header=header)


def _model(folder: Path, pixels: int, step: float) -> None:
    from astroprism.model.checkpoint import write_model
    from astroprism.network import Prism
    from astroprism.network.prism import sized_for
    from astroprism.schema import Chi2, ModelFacts, NetworkFacts, Split, StoreFacts, TrainedOn

    network = Prism(replace(sized_for(pixels, step=step, moving_air=True), n_latent=NODES), seed=0)
    facts = ModelFacts(
        network=NetworkFacts("prism", asdict(network.config)),
        steps=0,
        seed=0,
        recipe={},
        asked={},
        store=StoreFacts("made up", 0, "made up", None),
        split=Split(0, 0.1, 0.1, 0, 0, 0),
        trained_on=TrainedOn(0, 0),
        precision="float32",
        chi2=Chi2(None, None),
        kept=list(range(NODES)),
        events=[],
        warnings=[],
    )
    write_model(folder, network, unpruned=network.state_dict(), facts=facts)


def _findings(folder: Path, index: Any, codes: Any, grid: Any, rng: Any) -> None:
    from astroprism.artifacts import write_json, write_table
    from astroprism.schema import FINDINGS, Counts, CountSummary, Findings, Match, Node

    def node(i: int) -> Node:
        numbers = dict.fromkeys(
            ("mi_low", "mi_high", "p", "q", "share_of_entropy", "conditional_mi_nats", "conditional_low")
        )
        match = Match(
            label=f"label{i}",
            mi_nats=2.0,
            **numbers,
            conditional_high=None,
            given=[],
            shadow_of=[],
            explains=True,
            n=len(codes),
        )
        return Node(
            node=i,
            information_nats=2.0,
            ablation_nats=100.0 - i,
            mad=None,
            dispersion_ratio=None,
            informative=True,
            informative_by=["statistical", "information"],
            doubtful=False,
            copies_of=None,
            response={},
            intervention=None,
            matches=[match] if i < LABELS else [],
            predicted_by_labels=None,
            unexplained=i >= LABELS,
            lines=[],
            survival=None,
            dossier=None,
            claimed=True,
        )

    counted = list(range(INFORMATIVE))
    count = CountSummary(k=INFORMATIVE, low=INFORMATIVE, high=INFORMATIVE, nodes=counted)
    findings = Findings(
        count=Counts(count, count, count, agree=True, spectra=len(codes)),
        nodes=[node(i) for i in counted],
        labels={},
        labels_left_out={},
        keywords_left_out=0,
        targets=len(codes),
        null_draws={},
        stability=None,
        warnings=[],
    )
    write_json(folder / "findings.json", findings.to_json() | FINDINGS.header)
    labels = {f"label{i}": codes[:, i] * 100.0 + rng.normal(size=len(codes)) for i in range(LABELS)}
    kinds = np.array(["G", "K", "M"], dtype=object)[rng.integers(0, 3, len(codes))]
    columns = {"spectrum_id": list(index["spectrum_id"]), **labels, "kind": kinds}
    write_table(folder / "findings" / "labels.parquet", columns, header=FINDINGS.header)
    profile = {
        f"{one}_{i:03d}": rng.uniform(size=grid.size) for i in range(INFORMATIVE) for one in ("star", "sky")
    }
    columns = {"wavelength": grid.wavelength, **profile}
    write_table(folder / "findings" / "derivatives.parquet", columns, header=FINDINGS.header)


class Client:
    """One server and how long its answers take."""

    def __init__(self, study: Path) -> None:
        begun = time.perf_counter()
        command = [sys.executable, "-m", "astroprism.cli", "explore", str(study), "--port", "0", "--json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        address = json.loads(self.process.stdout.readline())["url"].split("/")[2]
        self.started = time.perf_counter() - begun
        self.line = http.client.HTTPConnection(address, timeout=300)

    def get(self, path: str) -> tuple[float, float, bytes]:
        """(wall, work) in ms, and the answer."""
        work, wall = self.work(), time.perf_counter()
        self.line.request("GET", path)
        answer = self.line.getresponse()
        body = answer.read()
        assert answer.status == 200, (path, answer.status, body[:300])
        return 1e3 * (time.perf_counter() - wall), 1e3 * (self.work() - work), body

    def work(self) -> float:
        """Processor seconds of the server so far."""
        total = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:
                continue
        return total / 1e9

    def most(self) -> float:
        """GiB that it has held at once."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split("VmHWM:")[1].split()[0]) / 2**20

    def first_view(self) -> tuple[float, float]:
        """Page, study and decoded spectrum, one after the other: (wall, work) in s."""
        paths = ["/", "/static/app.js", "/static/app.css", "/api/study", "/api/decode?width=1200&parts=1"]
        found = [self.get(path)[:2] for path in paths]
        return sum(one[0] for one in found) / 1e3, sum(one[1] for one in found) / 1e3


def print_row(name: str, found: list[tuple[float, float]], aim: str = "") -> None:
    """Median and 95th percentile."""
    wall, work = np.array(found).T
    ends = [f"{np.quantile(one, q):7.1f}" for one in (wall, work) for q in (0.5, 0.95)]
    print(f"{name:<34}  {ends[0]} {ends[1]}   {ends[2]} {ends[3]}   {aim}", flush=True)


def main() -> None:
    """Make the study, serve it, send requests."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="work in this folder; a study that is there is used")
    parser.add_argument("--spectra", type=int, default=300_000)
    parser.add_argument("--pixels", type=int, default=327_680)
    parser.add_argument("--requests", type=int, default=200)
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="astroprism-explorer-"))
    folder.mkdir(parents=True, exist_ok=True)
    study = folder / "study"
    if not (study / "findings" / "derivatives.parquet").exists():
        begun = time.perf_counter()
        made_up(study, spectra=given.spectra, pixels=given.pixels)
        print(f"study made in {time.perf_counter() - begun:.0f} s", flush=True)
    server = Client(study)
    try:
        print(
            f"{given.spectra:,} spectra, {NODES} nodes ({INFORMATIVE} informative), {given.pixels:,} pixels"
        )
        print(f"address after {server.started:.1f} s; load of the machine {os.getloadavg()[0]:.1f}")
        cold, warm = server.first_view(), server.first_view()
        print(f"first view {cold[0]:.2f} s at once ({cold[1]:.2f}), {warm[0]:.2f} s ({warm[1]:.2f}) later")
        rng = np.random.default_rng(2)
        print(f"{'ms':<34}  {'wall 50':>7} {'95 %':>7}   {'work 50':>7} {'95 %':>7}")

        def slider(more: str) -> str:
            return f"/api/decode?z={rng.integers(INFORMATIVE)}:{rng.normal():.4f}&width=1200&parts=1{more}"

        server.get("/api/neighbours/1")
        for name, make, aim in (
            ("slider, whole range", lambda: slider(""), "aim: 95 % < 100"),
            ("slider, 20 angstrom", lambda: slider("&low=5880&high=5900"), "aim: 95 % < 100"),
            ("slider, of a spectrum", lambda: slider(f"&base={rng.integers(999)}"), "aim: 95 % < 100"),
            ("neighbours", lambda: f"/api/neighbours/{rng.integers(given.spectra)}", "aim: 95 % < 30"),
            ("spectrum", lambda: f"/api/spectrum/{rng.integers(given.spectra)}?width=1200", ""),
            (
                "map, 300,000 dots",
                lambda: f"/api/map?x=node:{rng.integers(24)}&y=node:1&colour=label:label2",
                "",
            ),
            ("map by principal components", lambda: "/api/map?x=pca:0&y=pca:1&colour=label:kind", ""),
            ("page on a node", lambda: f"/api/node/{rng.integers(INFORMATIVE)}", ""),
            (
                "traversal of a node",
                lambda: f"/api/node/{rng.integers(INFORMATIVE)}/traversal?width=1200",
                "",
            ),
            ("search", lambda: f"/api/search?text={rng.integers(10**6)}", ""),
        ):
            count = given.requests if aim else max(5, given.requests // 10)
            print_row(name, [server.get(make())[:2] for _ in range(count)], aim)
        print(f"memory {server.most():.2f} GiB at most (aim: 3)")
    finally:
        server.process.send_signal(signal.SIGINT)
        server.process.wait(timeout=60)


if __name__ == "__main__":
    main()
