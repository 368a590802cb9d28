"""The whole path on a simulated archive whose answer is known, with the answer beside the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError
from .study import Study

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
class Followed:
    """One true factor, and the kept node whose code tells most of it on held-out targets."""

    factor: str
    node: int | None  # None where no node was kept
    share: float  # of the factor's variance, by the means in bins of the code


def run_demo(
    folder: Path, *, factors: int, spectra: int, steps: int, config: Path | None, seed: int
) -> tuple[dict[str, Any], str]:
    """Simulate, ingest, train, encode; returns the result and the text that tells it beside the truth."""
    from .fitting_options import TrainOptions
    from .ingest import IngestOptions
    from .simulate import SimulationConfig, write_archive
    from .terminal import counting_bar, ingest_bar, messages, training_bar
    from .views.figures import spectra_figure

    if not 1 <= factors <= len(FACTORS):
        raise ConfigError(f"--factors {factors}: between 1 and {len(FACTORS)} causes can vary")
    varied = FACTORS[:factors]
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
    messages.print(f"1 simulate  {spectra:,} spectra, {factors} causes vary: {', '.join(varied)}")
    with counting_bar("simulate") as progress:
        truth = write_archive(folder / "archive", simulation, progress=progress)
    study = Study(folder)
    messages.print("2 ingest    files to a store")
    with ingest_bar() as watch:
        study.ingest([folder / "archive"], options=IngestOptions(), watch=watch)
    spectra_figure(study.store).savefig(folder / "spectra.png", dpi=150)
    messages.print("3 train     without labels; the same command goes on if you stop it")
    with training_bar() as watch:
        trained = study.train(options=TrainOptions(steps=steps, config=config, seed=seed), watch=watch)
    messages.print("4 encode    codes of every spectrum")
    with counting_bar("encode") as progress:
        study.encode(watch=progress)
    model = trained.model
    answer = followed(study.codes(), truth_table(truth), varied, kept=model["kept"], asked=model["split"])
    result = {
        "study": str(folder),
        "truth": str(truth),
        "n_spectra": len(study.store),
        "known_k": factors,
        "kept": model["kept"],
        "chi2": model["chi2"],
        "minutes": trained.minutes,
        "followed": [vars(one) for one in answer],
    }
    return result, _text(folder, result, answer)


def truth_table(path: Path) -> pd.DataFrame:
    """What is true of each spectrum."""
    import pandas as pd

    return pd.read_csv(path)


def followed(
    codes: pd.DataFrame,
    truth: pd.DataFrame,
    factors: tuple[str, ...],
    *,
    kept: list[int],
    asked: dict[str, Any],
) -> list[Followed]:
    """For each factor the kept node that follows it best, on targets that training did not see."""
    from .split import assign

    both = codes.merge(truth, on="spectrum_id", suffixes=("", "_of_truth"))
    parts = assign(both["target"].tolist(), asked["seed"], valid=asked["valid"], test=asked["test"])
    held = both[parts != "train"]
    found = []
    for factor in factors:
        label = held[factor].to_numpy(dtype=float)
        shares = {node: share(held[f"mean_{node:03d}"].to_numpy(), label) for node in kept}
        best = max(shares, key=lambda node: shares[node]) if shares else None
        found.append(Followed(factor, best, 0.0 if best is None else shares[best]))
    return found


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


def _text(folder: Path, result: dict[str, Any], answer: list[Followed]) -> str:
    chi2 = {name: "-" if value is None else f"{value:.2f}" for name, value in result["chi2"].items()}
    kept = result["kept"]
    lines = [
        "",
        f"{len(kept)} nodes stayed, {result['known_k']} causes vary; chi2 a pixel {chi2['train']} in "
        f"training, {chi2['valid']} held out",
        "",
        "  true cause         node   share of it that the node tells, on held-out stars",
    ]
    for one in answer:
        node = "-" if one.node is None else str(one.node)
        bar = "█" * round(30 * one.share)
        weak = "" if one.share >= FOLLOWS else "  not followed"
        lines.append(f"  {WORDS[one.factor]:<17}  {node:>4}   {one.share:4.2f} {bar}{weak}")
    idle = sorted(set(kept) - {one.node for one in answer if one.share >= FOLLOWS})
    if idle:
        lines.append(f"  nodes that follow none of these: {', '.join(map(str, idle))}")
    lines += [
        "",
        f"  codes    {folder / 'codes.parquet'}",
        f"  truth    {result['truth']}",
        f"  figures  {folder / 'spectra.png'}, {folder / 'model' / 'history.png'}",
    ]
    return "\n".join(lines)
