"""The whole path on a simulated archive whose answer is known, with the answer beside the truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..pipeline import DONE, SKIPPED, Outcome, RunOptions, RunReport, Step
from ..progress import Listener, Progress, staged
from ..schema import Findings, Split

if TYPE_CHECKING:
    import pandas as pd

# the order in which the factors are switched on
FACTORS = ("rv", "teff", "feh", "telluric", "vsini", "logg", "tilt")
WORDS = {
    "rv": "radial velocity",
    "teff": "temperature",
    "feh": "[Fe/H]",
    "telluric": "water vapour",
    "vsini": "rotation",
    "logg": "surface gravity",
    "tilt": "continuum tilt",
}
FOLLOWS = 0.5  # share of a factor's variance from which a node is said to follow it


@dataclass(frozen=True)
class Node:
    """A node that `find` calls informative or doubtful, beside the true cause that is its own.

    label, nats   the label that shares most with it, after training; nats, low, high with its 90 % interval
    factor        the true cause that it follows; None where none is left for it
    share         of that factor's variance, by the means in bins of the code, on held-out stars
    """

    node: int
    label: str | None
    nats: float | None
    low: float | None
    high: float | None
    factor: str | None
    share: float
    doubtful: bool
    copies_of: int | None
    unexplained: bool


@dataclass(frozen=True)
class Answer:
    """What was found, beside the truth."""

    report: RunReport
    varied: tuple[str, ...]
    labels: Path
    truth: Path
    nodes: tuple[Node, ...]

    @property
    def missed(self) -> list[str]:
        """True causes that no node follows."""
        return [name for name in self.varied if name not in {node.factor for node in self.nodes}]

    @property
    def right(self) -> bool:
        """Both counts are the truth, and every cause has a node of its own."""
        count = self.report.findings.count
        both = [method.k for method in (count.statistical, count.information) if method is not None]
        return both == [len(self.varied)] * 2 and not self.missed

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            **self.report.as_dict(),
            "known_k": len(self.varied),
            "varied": list(self.varied),
            "truth": str(self.truth),
            "labels": str(self.labels),
            "nodes": [asdict(node) for node in self.nodes],
            "missed": self.missed,
            "right": self.right,
        }


def run_demo(
    folder: Path,
    *,
    factors: int,
    spectra: int,
    steps: int | None,
    config: Path | None,
    seed: int,
    progress: Listener,
) -> Answer:
    """Simulate, then run; progress as in `Study.run`."""
    from ..model.recipe import TrainOptions
    from ..study import Study

    if not 1 <= factors <= len(FACTORS):
        raise ConfigError(f"--factors {factors}: between 1 and {len(FACTORS)} causes can vary")
    varied = FACTORS[:factors]
    truth, labels = folder / "archive" / "truth.csv", folder / "labels.csv"
    progress(Progress("start", "simulate"))
    simulated = Step.timed(
        "simulate",
        lambda progress: _simulate(folder, varied, spectra=spectra, seed=seed, progress=progress),
        progress,
    )
    progress(Progress("end", "simulate", message=simulated.outcome, detail=simulated))
    study = Study(folder)
    options = RunOptions(train=TrainOptions(steps=steps, config=config, seed=seed))
    report = study.run([folder / "archive"], labels=[labels], options=options, progress=progress)
    report = RunReport(report.study, (simulated, *report.steps), report.findings)
    nodes = beside_truth(
        report.findings,
        study.finding_table("crossfit") if report.findings.rests_on.folds else study.codes(unpruned=True),
        truth_table(truth),
        varied,
        split=study.require_model().split,
    )
    return Answer(report, varied, labels, truth, nodes)


def _simulate(
    folder: Path, varied: tuple[str, ...], *, spectra: int, seed: int, progress: Listener
) -> Outcome:
    """The archive, and its true factors as a table of labels that is read after training."""
    from ..artifacts import write_bytes
    from ..simulate import SimulationConfig, write_archive

    simulation = SimulationConfig.from_mapping(
        {
            "spectra": spectra,
            "factors": varied,
            "window": (5780.0, 5980.8),  # 2,048 pixels
            "step": 5.0,
            "snr": (40.0, 300.0),
            "format": "adp",
            "seed": seed,
        }
    )
    there: list[int] = []

    def listener(event: Progress) -> None:
        if event.kind == "count":
            there.append(event.done)
        progress(event)

    truth = write_archive(folder / "archive", simulation, progress=staged("simulate", listener))
    labels = folder / "labels.csv"
    content = truth_table(truth)[["spectrum_id", *varied]].to_csv(index=False)
    if not labels.exists() or labels.read_text() != content:
        write_bytes(labels, content.encode())
    text = f"{spectra:,} spectra, SNR 40 to 300; {len(varied)} causes vary: {', '.join(varied)}"
    state = SKIPPED if there and there[0] == spectra else DONE
    return state, text, {"truth": str(truth)}


def truth_table(path: Path) -> pd.DataFrame:
    """What is true of each spectrum."""
    import pandas as pd

    return pd.read_csv(path)


def beside_truth(
    findings: Findings,
    codes: pd.DataFrame,
    truth: pd.DataFrame,
    factors: tuple[str, ...],
    *,
    split: Split,
) -> tuple[Node, ...]:
    """Informative and doubtful nodes, each with the true factor that is its own: at most one factor per node.

    codes are those that the findings read, split that of the model. Shares are taken of held-out targets,
    or of all where the codes are out of fold.
    """
    from scipy.optimize import linear_sum_assignment

    from ..targets.split import as_trained

    found = [node for node in findings.nodes if node.counted]
    both = codes.merge(truth, on="spectrum_id", suffixes=("", "_of_truth"))
    held = both if findings.rests_on.folds else both[as_trained(both, split) != "train"]
    shares = np.array(
        [
            [share(held[f"mean_{node.node:03d}"].to_numpy(), held[name].to_numpy(float)) for name in factors]
            for node in found
        ]
    ).reshape(len(found), len(factors))
    # a copy may not take the factor of the node it copies
    rank = shares + np.array([[0.0 if node.copies_of is None else -1.0] for node in found]).reshape(-1, 1)
    own = dict(zip(*(part.tolist() for part in linear_sum_assignment(-rank)), strict=True))
    beside = []
    for place, node in enumerate(found):
        pairs = [pair for pair in node.matches if pair.explains]
        best = max(pairs, key=lambda pair: pair.mi_nats or 0.0, default=None)
        column = own.get(place)
        much = 0.0 if column is None else float(shares[place, column])
        beside.append(
            Node(
                node=node.node,
                label=None if best is None else best.label,
                nats=None if best is None else best.mi_nats,
                low=None if best is None else best.mi_low,
                high=None if best is None else best.mi_high,
                factor=factors[column] if column is not None and much >= FOLLOWS else None,
                share=much,
                doubtful=node.doubtful,
                copies_of=node.copies_of,
                unexplained=node.unexplained,
            )
        )
    order = {name: place for place, name in enumerate(factors)}
    return tuple(sorted(beside, key=lambda one: (order.get(one.factor or "", 99), one.node)))


def share(code: NDArray[Any], label: NDArray[Any], *, most: int = 25) -> float:
    """Share of a label's variance that its means in equal-count bins of a code explain, beyond chance.

    Any curve will do, not only a straight line: the correlation ratio, adjusted for its bins.
    """
    n = len(code)
    bins = min(most, n // 8)
    if bins < 2 or not label.var() > 0:
        return 0.0
    place = np.argsort(np.argsort(code, kind="stable"), kind="stable") * bins // n
    means = np.array([label[place == i].mean() for i in range(bins)])
    within = ((label - means[place]) ** 2).sum() / (n - bins)
    return float(max(0.0, 1 - within / label.var(ddof=1)))


def answer_text(answer: Answer) -> str:
    """The answer beside the truth, for a terminal."""
    from .terminal import span

    findings, k = answer.report.findings, len(answer.varied)
    ways = {
        "by switching nodes off": findings.count.statistical,
        "by information": findings.count.information,
    }
    lines = ["", f"How many causes? The truth is {k}."]
    for words, one in ways.items():
        assert one is not None
        mark = "right" if one.k == k else "WRONG"
        lines.append(f"  {words:<23} {one.k:>2}   ({one.low} to {one.high})   {mark}")
    lines += [
        "",
        "Which? Labels came after training: the network was trained without them.",
        "  node  best label   nats [90 % interval]   true cause         share of it that the node explains",
    ]
    lines += [_line(node) for node in answer.nodes]
    unexplained = [str(node.node) for node in answer.nodes if node.unexplained]
    lines.append(f"  unexplained by any label: {', '.join(unexplained) or 'none'}")
    lines += _field_lines(findings)
    if answer.missed:
        lines.append(f"  NOT FOUND: {', '.join(WORDS[name] for name in answer.missed)}")
    lines += [f"  warning: {one}" for one in findings.warnings]
    study = answer.report.study
    lines += [
        "",
        f"  report   {study / 'report.html'}",
        f"  explore  astroprism explore {study}",
        f"  truth    {answer.truth}",
        f"  in all   {span(answer.report.seconds)}",
    ]
    return "\n".join(lines)


def _field_lines(findings: Findings) -> list[str]:
    """How single the nodes are by the measures of the field; each measure's own 90 % interval."""
    if findings.field is None:
        return []
    lines = [
        "",
        "How single are the nodes? By the measures of the field, with 90 % intervals; 1 is best:",
    ]
    lines += [
        f"  {name:<22} {value:.2f} [{low:.2f}, {high:.2f}]"
        for name, (value, low, high) in findings.field.scores.items()
    ]
    return lines


def _line(node: Node) -> str:
    if node.label is None:
        match = f"{'-':<12} {'':<21}"
    else:
        match = f"{node.label:<12} {f'{node.nats:.2f} [{node.low:.2f}, {node.high:.2f}]':<21}"
    if node.copies_of is not None:
        what = f"copy of node {node.copies_of}"
    elif node.factor is None:
        what = "none of its own" + (" (doubtful)" if node.doubtful else "")
    else:
        bar = "█" * round(20 * node.share)
        what = f"{WORDS[node.factor]:<17}  {node.share:4.2f} {bar}{' (doubtful)' if node.doubtful else ''}"
    return f"  {node.node:>4}  {match}  {what}"
