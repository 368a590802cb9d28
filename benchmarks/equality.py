"""Digests of all that a small fixed archive becomes, so that two versions of the code can be compared.

    python benchmarks/equality.py WORK OUT.json          # make the studies in WORK, write their digests
    python benchmarks/equality.py --compare A.json B.json

The archive mixes ADP, s1d and LAMOST layouts and is seeded. Each network is trained for a few steps, on the
same store; what depends on the clock, the versions or the folder is left out of the digests.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
GRID = "5865:5945:5kms"
COUNTS = {"adp": 200, "s1d": 100, "lamost": 20}
STEPS = {"prism": 600, "paper": 150}
# fmt: off
VOLATILE = {
    "version", "versions", "code_version", "provenance", "minutes", "seconds", "when", "spectra_per_s",
    "waited", "study", "path", "page", "made_from", "of", "digest", "weights", "runs", "codes", "file",
}
# fmt: on


def astroprism(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "astroprism.cli", *words], check=True, stdout=subprocess.DEVNULL)


def simulate(folder: Path) -> None:
    for seed, (layout, count) in enumerate(COUNTS.items()):
        visits = "uneven" if layout == "lamost" else "one"
        words = ["--spectra", str(count), "--format", layout, "--window", "5860:5950", "--snr", "30:90"]
        astroprism("simulate", str(folder / layout), *words, "--visits", visits, "--seed", str(40 + seed))
    import pandas as pd

    truth = pd.concat(pd.read_csv(folder / name / "truth.csv", dtype={"spectrum_id": str}) for name in COUNTS)
    truth[["spectrum_id", "rv", "teff", "feh", "vsini", "water"]].to_csv(folder / "labels.csv", index=False)


def study(folder: Path, archive: Path, network: str) -> None:
    """The whole path, each step by its command."""
    astroprism("ingest", str(folder), *(str(archive / name) for name in COUNTS), "--grid", GRID)
    steps = str(STEPS[network])
    held_out = ("--valid", ".2", "--test", ".2")
    astroprism("train", str(folder), "--network", network, "--steps", steps, *held_out)
    astroprism("encode", str(folder))
    astroprism("find", str(folder), "--labels", str(archive / "labels.csv"))
    astroprism("report", str(folder))
    if network == "prism":
        astroprism("apply", str(folder), str(archive / "s1d"), "--out", str(folder / "applied.parquet"))


def table_digests(path: Path) -> Iterator[tuple[str, str]]:
    """A digest for each column, whatever the order of columns."""
    import pandas as pd

    table = pd.read_parquet(path)
    for name in table:
        if name in VOLATILE:
            continue
        values = table[name]
        numeric = values.dtype.kind in "fiub"
        content = values.to_numpy().tobytes() if numeric else repr(values.tolist()).encode()
        yield str(name), digest(content)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def without_volatile(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_volatile(item) for key, item in value.items() if key not in VOLATILE}
    return [without_volatile(item) for item in value] if isinstance(value, list) else value


def digests(folder: Path) -> Iterator[tuple[str, str]]:
    import numpy as np
    import zarr
    from safetensors.numpy import load_file

    group = zarr.open_group(folder / "store.zarr", mode="r")
    for name in ("flux", "sigma", "good", "wavelength"):
        yield f"store/{name}", digest(np.ascontiguousarray(group[name][:]).tobytes())
    for path in sorted(folder.rglob("*.parquet")):
        for name, value in table_digests(path):
            yield f"{path.relative_to(folder)}:{name}", value
    for path in sorted((folder / "model").glob("*.safetensors")):
        for name, array in sorted(load_file(path).items()):
            yield f"model/{path.name}:{name}", digest(array.tobytes())
    for name in ("model/model.json", "findings.json"):
        for key, value in without_volatile(json.loads((folder / name).read_text())).items():
            yield f"{name}:{key}", digest(json.dumps(value, sort_keys=True).encode())
    page = (folder / "report.html").read_text()
    yield "report.html:words", str(len(page.split()))


def compare(first: Path, second: Path) -> int:
    """Print what differs; 0 where nothing does."""
    a, b = (json.loads(path.read_text()) for path in (first, second))
    wrong = [name for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)]
    for name in wrong:
        print(f"{name}: {a.get(name, 'not there')} -> {b.get(name, 'not there')}")
    print(f"{len(a.keys() | b.keys()) - len(wrong)} equal, {len(wrong)} differ")
    return bool(wrong)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--networks", nargs="+", default=list(STEPS))
    words = parser.parse_args()
    if words.compare:
        return compare(words.first, words.second)
    archive = words.first / "archive"
    if not archive.exists():
        simulate(archive)
    found = {}
    for network in words.networks:
        folder = words.first / network
        study(folder, archive, network)
        found |= {f"{network}/{name}": value for name, value in digests(folder)}
    words.second.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{len(found):,} digests in {words.second}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
