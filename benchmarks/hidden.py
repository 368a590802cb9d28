"""A cause without a label: is its node reported unexplained, and does its dossier name the right thing?

Each line of the result is one archive (its own stars, noise and forest of weak lines) that goes the whole
path of a study: simulate, ingest, train, encode, find with the labels of all causes but one. Truth is used to
say which node follows the hidden cause, and for nothing else.

Run: python benchmarks/hidden.py [--cases activity alpha telluric] [--seeds 3001 ..] [--steps N] [--out FILE]
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SURE = 0.01  # p of a line or keyword, from which it counts as named


@dataclass(frozen=True)
class Case:
    """An archive and what its dossier should say.

    hidden   the cause without a label
    window   vacuum angstrom
    wanted   groups of lines of which one must be named, all surely
    only     groups that may be named at all: any other is a false name
    keyword  parts of keywords of which one must be named; () where none is needed
    """

    hidden: str
    factors: tuple[str, ...]
    window: tuple[float, float]
    wanted: tuple[str, ...]
    only: tuple[str, ...]
    keyword: tuple[str, ...] = ()
    nuisances: tuple[str, ...] = ()


ALPHA = ("Mg I", "Si I", "Si II", "Ca I", "Ca II", "Ti I", "Ti II")
SKY = ("O2", "H2O")
CASES = {
    "activity": Case(
        "activity", ("rv", "teff", "feh", "activity"), (3910.0, 3995.0), ("Ca II",), ("Ca II", "H I")
    ),
    "alpha": Case("alpha", ("rv", "teff", "feh", "alpha"), (5130.0, 5308.0), ALPHA, ALPHA),
    "telluric": Case(
        "telluric",
        ("rv", "teff", "feh", "telluric"),
        (5780.0, 5980.0),
        SKY,
        SKY,
        keyword=("AIRM", "RHUM"),
        nuisances=("airmass",),
    ),
}


def run(
    case: Case, *, seed: int, folder: Path, spectra: int = 3000, steps: int | None = None, write: Any = print
) -> dict[str, Any]:
    """One archive, the whole path; what was found of the hidden cause."""
    import pandas as pd

    from astroprism import IngestOptions, SimulationConfig, Study, TrainOptions, write_archive

    config = SimulationConfig(
        spectra=spectra,
        factors=case.factors,
        nuisances=case.nuisances,
        window=case.window,
        step=10.0,
        snr=(40.0, 300.0),
        format="adp",
        seed=seed,
        lines_seed=seed,
    )
    truth = pd.read_csv(write_archive(folder / "archive", config, workers=1))

    def listener(event: Any) -> None:
        if event.kind != "count":
            write(str(event))

    study = Study(folder / "study")
    study.ingest([folder / "archive"], options=IngestOptions(workers=0))
    trained = study.train(options=TrainOptions(steps=steps, seed=seed, device="cpu"), progress=listener)
    study.encode()
    labels = folder / "labels.csv"
    known = [name for name in case.factors if name != case.hidden]
    truth[["spectrum_id", *known]].to_csv(labels, index=False)
    report = study.find([labels])
    write(report.text())
    return judged(case, study, truth, findings=report.findings) | {
        "seed": seed,
        "minutes": round(trained.minutes, 2),
        "chi2": trained.model.chi2.valid,
    }


def judged(case: Case, study: Any, truth: Any, *, findings: Any) -> dict[str, Any]:
    """What the findings say of the node that follows the hidden cause."""
    from astroprism.cli.demo import share

    both = study.codes(unpruned=True).merge(truth, on="spectrum_id", suffixes=("", "_of_truth"))
    cause = both[case.hidden].to_numpy(float)
    if case.hidden == "telluric":
        cause = cause * both["airmass"].to_numpy(float)  # the column of water along the line of sight
    alive = {node.node: node for node in findings.informative}
    follows = {number: share(both[f"mean_{number:03d}"].to_numpy(), cause) for number in alive}
    best = max(follows, key=lambda number: follows[number]) if follows else None
    node = None if best is None else alive[best]
    dossier = None if node is None else node.dossier
    lines = [] if dossier is None else dossier.lines
    keywords = [] if dossier is None else dossier.keywords
    sure = {one.name for one in lines if one.p < SURE}
    named = [
        one.label for one in keywords if one.p < SURE and any(part in one.label for part in case.keyword)
    ]
    unexplained = node is not None and node.unexplained
    share_of = None if node is None else node.predicted_by_labels
    right = unexplained and any(name in sure for name in case.wanted)
    return {
        "k": [findings.count.statistical.k, findings.count.information.k],
        "true_k": len(case.factors),
        "node": best,
        "share": round(follows[best], 3) if best is not None else 0.0,
        "others_unexplained": [one for one in alive if alive[one].unexplained and one != best],
        "predicted_by_labels": None if share_of is None else share_of.to_json(),
        "unexplained": unexplained,
        "lines": {one.name: one.p for one in lines},
        "top": [line.line for one in lines for line in one.top[:2]],
        "false_names": [one.name for one in lines if one.name not in case.only],
        "keywords": [one.label for one in keywords],
        "passed": bool(right and (named or not case.keyword)),
    }


def row_of(name: str, found: dict[str, Any]) -> str:
    """One line of the table."""
    share = found["predicted_by_labels"]
    predicted = "-" if share is None else f"{share['value']:.2f}"
    lines = ", ".join(f"{group} {p:.4f}" for group, p in found["lines"].items()) or "no line"
    return (
        f"{name:9} {found['seed']:5} {found['true_k']} {found['k'][0]}/{found['k'][1]} "
        f"{'-' if found['node'] is None else found['node']:>4} {found['share']:5.2f} {predicted:>9} "
        f"{'yes' if found['unexplained'] else 'no':>11} {'yes' if found['passed'] else 'NO':>6}  {lines}"
        f" ({', '.join(found['top'][:4])})"
        + (f"; {', '.join(found['keywords'])}" if found["keywords"] else "")
    )


HEAD = (
    "case       seed k found node share predicted unexplained passed  lines named, with p (what moves most)"
)


if __name__ == "__main__":
    import argparse
    import json

    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[3001, 3002, 3003, 3004, 3005])
    parser.add_argument("--spectra", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--folder", type=Path, default=None, help="where the studies stay; else they go")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = []
    for name in options.cases:
        for seed in options.seeds:
            begun = time.process_time()
            place = Path(tempfile.mkdtemp()) if options.folder is None else options.folder / f"{name}_{seed}"
            found = run(
                CASES[name],
                seed=seed,
                folder=place,
                spectra=options.spectra,
                steps=options.steps,
                progress=None if options.quiet else print,
            )
            found |= {"case": name, "cpu_minutes": round((time.process_time() - begun) / 60, 2)}
            if options.folder is None:
                shutil.rmtree(place, ignore_errors=True)
            table.append(row_of(name, found))
            print(HEAD, table[-1], sep="\n", flush=True)
            if options.out is not None:
                with options.out.open("a") as file:
                    file.write(json.dumps(found, default=float) + "\n")
    print("", HEAD, *table, sep="\n")
