"""Trainings on simulated archives whose answer is known: how many causes come back, and how well.

Each line of the result is one training with the default recipe on an archive of its own (another seed for
stars, noise and the forest of weak lines), judged by spectra that the training did not read.

With --reality: archives with a real sky (docs/simulating.md) at R 1,800 and R 30,000, each from files to
findings as `astroprism run` does. The number of causes that should come back is that of the star and its air
(k) plus those of one dimension that the instrument and its sky add (width of the profile, pattern of the
flat field, residual of the sky: 3). The smooth response, the errors, correlated noise and hits are none:
they are to be taken out, or to be borne. Strengths: mean nats by which spectra change where a cause is set to
its median, and the median of what no other cause and no response could do as well.

Run: python benchmarks/known_answer.py [--factors 1 2 3 5 7] [--seeds 1001 1002 ..] [--out FILE.jsonl]
     python benchmarks/known_answer.py --reality [--factors 2 3 5] [--surveys low high] [--seeds 1 2 ..]
     [--spectra 3000] [--steps N] [--folder FOLDER] [--out FILE.jsonl]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

FACTORS = ("rv", "teff", "feh", "telluric", "vsini", "logg", "tilt")
KEYS = {"telluric": "water"}


def archive(
    factors: int,
    *,
    seed: int,
    train: int = 10_000,
    test: int = 2_000,
    pixels: int = 2_048,
    snr: tuple[float, float] = (40.0, 300.0),
    frame: str | None = None,
    middle: float = 5890.0,
    visits: str = "one",
    concentration: tuple[float, float] = (0.8, 0.05),
    step: float = 5.0,
) -> dict[str, Any]:
    """Spectra over their median, on 5 km/s pixels, with everything that is true of them."""
    from astroprism.grid import SPEED_OF_LIGHT
    from astroprism.simulate import SimulationConfig, populate, spectra

    low = middle * np.exp(-0.55 * pixels * step / SPEED_OF_LIGHT)
    high = low * np.exp((pixels + 0.5) * step / SPEED_OF_LIGHT)
    config = SimulationConfig(
        spectra=train + test,
        factors=FACTORS[:factors],
        window=(low, high),
        step=step,
        snr=snr,
        visits=visits,
        concentration=concentration,
        frame=frame,
        seed=seed,
        lines_seed=seed,
    )
    people = populate(config)
    flux, sigma, clean = [], [], []
    for batch in spectra(config):
        middle_flux = np.median(batch.flux, axis=1, keepdims=True)
        flux.append(batch.flux[:, :pixels] / middle_flux)
        sigma.append(batch.sigma[:, :pixels] / middle_flux)
        clean.append(batch.noiseless[:, :pixels] / middle_flux)
    truth = {name: np.asarray(people.parameters[KEYS.get(name, name)]) for name in FACTORS[:factors]}
    berv = np.asarray(people.berv)
    if frame == "topocentric":  # what moves the star's lines there
        truth["rv"] = truth["rv"] - berv
    return {
        "flux": np.concatenate(flux),
        "sigma": np.concatenate(sigma),
        "clean": np.concatenate(clean),
        "truth": truth,
        "berv": None if frame == "topocentric" else berv.astype(np.float32),
        "snr": np.asarray(people.snr),
        "targets": np.array([f"star {i}" for i in people.star]),
        "step": step,
        "wavelength": config.sampling().vacuum[:pixels],
    }


def share_of(code: np.ndarray, label: np.ndarray, bins: int = 40) -> float:
    """Share of a label's variance that equal-count bins of the code explain."""
    place = np.argsort(np.argsort(code)) * bins // len(code)
    means = np.array([label[place == i].mean() for i in range(bins)])
    return float(((means[place] - label.mean()) ** 2).mean() / label.var())


def curve_error(code: np.ndarray, label: np.ndarray) -> tuple[float, bool]:
    """Robust error of a label read from a code by a smooth curve (fitted on half); is it monotone?"""
    from scipy.interpolate import LSQUnivariateSpline

    half = np.arange(len(code)) % 2 == 0
    order = np.argsort(code[half])
    x, y = code[half][order], label[half][order]
    curve = LSQUnivariateSpline(x, y, np.quantile(x, np.linspace(0, 1, 10)[1:-1]))
    left = label[~half] - curve(code[~half])
    grid = np.linspace(*np.quantile(x, [0.002, 0.998]), 400)
    slope = np.diff(curve(grid))
    error = 1.4826 * np.median(np.abs(left - np.median(left)))
    return float(error), bool((slope > 0).all() or (slope < 0).all())


def linear(codes: np.ndarray, label: np.ndarray) -> float:
    """R^2 of a ridge fitted on half, measured on the other half."""
    half = len(codes) // 2
    spread = codes[:half].std(0) + 1e-9
    x = np.c_[(codes - codes[:half].mean(0)) / spread, np.ones(len(codes))]
    weight = np.linalg.solve(x[:half].T @ x[:half] + 1e-3 * np.eye(x.shape[1]), x[:half].T @ label[:half])
    return float(1 - ((label[half:] - x[half:] @ weight) ** 2).mean() / label[half:].var())


def fisher(clean: np.ndarray, sigma: np.ndarray, step: float) -> float:
    """Median over spectra of the smallest possible velocity error, km/s."""
    slope = np.gradient(clean, axis=1) / step
    return float(np.median(1 / np.sqrt((slope**2 / sigma**2).sum(1))))


def vasicek(z: np.ndarray) -> float:
    n, m = len(z), int(np.sqrt(len(z)))
    s, i = np.sort(z), np.arange(len(z))
    high, low = np.minimum(i + m, n - 1), np.maximum(i - m, 0)
    return float(np.mean(np.log(np.maximum(s[high] - s[low], 1e-12) * n / (high - low))))


def measure(
    network: Any, data: dict[str, Any], test: np.ndarray, *, floor: float, pca: bool
) -> dict[str, Any]:
    """All that the trials report, on the spectra at `test`, of the unpruned network."""
    import torch

    from astroprism.model import nodes
    from astroprism.model.data import Tensors
    from astroprism.model.loss import chi2_per_pixel, prune_bound, residual
    from astroprism.model.trained import polish

    moving = getattr(network.config, "moving_air", False)
    berv = torch.from_numpy(data["berv"][test]) if moving else None
    good = data.get("good")
    batch = Tensors(
        torch.from_numpy(data["flux"][test]),
        torch.from_numpy(data["sigma"][test]),
        None if good is None else torch.from_numpy(good[test]),
        berv,
    )
    mean, logvar = nodes.codes(network, batch)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(1))
    sampled = mean + noise * (logvar / 2).exp()
    info = np.array(
        [
            vasicek(sampled[:, i].numpy()) - float((0.5 * (np.log(2 * np.pi * np.e) + logvar[:, i])).mean())
            for i in range(mean.shape[1])
        ]
    )
    share = nodes.counts_for(batch, floor=floor)[:, None]
    rise = (share * nodes.ablation(network, mean, batch, floor=floor)).mean(0).numpy()
    bound = prune_bound(batch.sigma, good=batch.good, floor=floor)  # the trials count by it, too
    by_info, by_rise = np.flatnonzero(info > 0.5), np.flatnonzero(rise > bound)
    both = np.intersect1d(by_info, by_rise)

    def chi2(z: Any) -> np.ndarray:
        out = []
        for rows, x in batch.pieces():
            made = network.decode(z[rows], berv=x.berv)
            out.append(chi2_per_pixel(residual(x.flux, made, good=x.good), x.sigma, good=x.good))
        return torch.cat(out).detach().numpy()

    result: dict[str, Any] = {
        "information": len(by_info),
        "ablation": len(by_rise),
        "chi2": float(np.median(chi2(mean))),
        "chi2_mean": float(np.mean(chi2(mean))),
        "chi2_sampled": float(np.median(chi2(sampled))),
        "bound": bound,
    }
    labels = {name: value[test] for name, value in data["truth"].items()}
    z = mean.numpy()
    result["nodes"] = [
        [int(i), round(float(info[i]), 2), round(float(rise[i]), 1)]
        + [round(share_of(z[:, i], v), 2) for v in labels.values()]
        for i in np.argsort(-rise)[: max(len(by_info), len(by_rise)) + 3]
    ]
    some = slice(0, 64)
    over = nodes.overlaps(nodes.derivatives(network, mean[some], batch.at(some), nodes=both.tolist()))
    np.fill_diagonal(o := over.numpy(), 0)
    result["overlap"] = round(float(o.max()), 2) if len(both) > 1 else 0.0
    if "rv" in labels and len(both):
        shares = np.array([share_of(z[:, i], labels["rv"]) for i in both])
        best = int(both[shares.argmax()])
        error, monotone = curve_error(z[:, best], labels["rv"])
        result |= {
            "rv_share": float(shares.max()),
            "rv_second": float(np.sort(shares)[-2]) if len(shares) > 1 else 0.0,
            "rv_error": error,
            "rv_monotone": monotone,
            "fisher": fisher(data["clean"][test], data["sigma"][test], data["step"]),
        }
        result["linear"] = {name: round(linear(z[:, both], v), 3) for name, v in labels.items()}
        polished = polish(network, mean, batch, nodes=both.tolist(), floor=floor)
        result["polished_chi2"] = float(np.median(chi2(polished)))
        result["polished_rv_error"], _ = curve_error(polished[:, best].numpy(), labels["rv"])
        result["polished_linear"] = {
            name: round(linear(polished[:, both].numpy(), v), 3) for name, v in labels.items()
        }
    if pca:
        train = data["flux"][:4000]
        middle = train.mean(0)
        axes = np.linalg.svd(train - middle, full_matrices=False)[2]
        for d in (max(len(both), 1), 128):
            scores = (data["flux"][test] - middle) @ axes[:d].T
            result[f"pca_{d}"] = {name: round(linear(scores, v), 3) for name, v in labels.items()}
    return result


def run(
    data: dict[str, Any],
    *,
    seed: int,
    write: Any = print,
    recipe: dict[str, Any] | None = None,
    network: dict[str, Any] | None = None,
    train: int = 10_000,
    pca: bool = False,
    threads: int = 1,
) -> dict[str, Any]:
    """Train on the first `train` spectra with the default recipe and measure on the rest."""
    import torch

    from astroprism.model.data import Source
    from astroprism.model.loop import Training
    from astroprism.model.recipe import Recipe, sized
    from astroprism.network import Prism, sized_for
    from astroprism.targets.split import assign

    torch.set_num_threads(threads)
    source = Source.from_arrays(
        data["flux"],
        data["sigma"],
        good=data.get("good"),
        step=data["step"],
        targets=data["targets"],
        berv=None if (network or {}).get("agnostic") else data["berv"],
    )
    moving = source.berv is not None
    given = {
        key: tuple(tuple(p) if isinstance(p, list) else p for p in v) if isinstance(v, list) else v
        for key, v in (recipe or {}).items()
    }
    agnostic = bool((network or {}).get("agnostic"))
    settings = (
        sized(given, spectra=train, pixels=source.pixels, agnostic=True) if agnostic else Recipe(**given)
    )
    config = sized_for(source.pixels, step=data["step"], moving_air=moving, **(network or {}))
    rows, test = np.arange(train), np.arange(train, len(source))
    if len(set(data["targets"])) < len(source):  # visits of one star stay on one side
        part = assign(data["targets"], seed, valid=0.0, test=0.2)
        rows, test = np.flatnonzero(part == "train"), np.flatnonzero(part == "test")
    start = time.monotonic()
    training = Training(
        source,
        Prism(config, seed=seed),
        recipe=settings,
        train=rows,
        valid=test[:250],
        seed=seed,
    )
    write(f"  signal {training.status.signal:.0f} nats")
    for moment in training.run():
        if moment.event or moment.chi2_train == moment.chi2_train:
            write(
                f"  {moment.step:6d} chi2 {moment.chi2:8.3f} misfit {moment.misfit:8.0f} train "
                f"{moment.chi2_train:.3f} valid {moment.chi2_valid:.3f} kl {moment.kl:.2f} "
                f"active {moment.active} beta {moment.beta:.3g} {moment.spectra_per_s:.0f}/s {moment.event}"
            )
    minutes = (time.monotonic() - start) / 60
    unpruned = training.finish()
    write(f"  {training.status.moments[-1]['event']}")
    kept = [int(i) for i in training.network.keep.nonzero()[:, 0]]
    training.network.load_state_dict(unpruned)
    found = measure(training.network.eval(), data, test, floor=settings.floor[-1][1], pca=pca)
    return {"minutes": round(minutes, 2), "kept": kept, **found}


# --- archives with a real sky


def sky_archive(survey: str, factors: int, *, seed: int, spectra: int) -> Any:
    """An archive with a real sky: the survey's first `factors` causes, and its instrument."""
    from astroprism.simulate import SURVEYS, SimulationConfig

    chosen = SURVEYS[survey]["factors"][:factors]
    settings = {"survey": survey, "factors": chosen, "spectra": spectra, "reality": True}
    return SimulationConfig.from_mapping({**settings, "seed": seed, "lines_seed": seed})


def splines(config: Any) -> np.ndarray:
    """Of the smooth response, (k, n)."""
    from astroprism.simulate.instrument import make_curves

    return make_curves(config.reality, config.sampling(), seed=config.seed).spline


def strengths(config: Any, *, rows: int = 64) -> dict[str, tuple[float, float]]:
    """Nats by which each cause changes what was seen when it is set to its median, means over some spectra.

    The second number is what is left of it where the directions of all other causes and a smooth response are
    free in each spectrum, the median: below a few nats a cause cannot be told from the others.
    """
    from astroprism.simulate import populate
    from astroprism.simulate.batches import Maker

    people = populate(config)
    maker = Maker(config, population=people)
    seen = maker.block(0)
    rows = min(rows, seen.rows.size)
    level = np.median(seen.noiseless, axis=1, keepdims=True)
    sigma, causes = seen.true_sigma[:rows], [n for n in config.varying if n != "snr"]
    sigma = np.where(sigma > 0, sigma, np.inf)
    causes += config.instrument_causes

    def change(name: str, share: float) -> np.ndarray:
        """Of the spectra over their noise, where the cause goes by this share of its way to the median."""
        key = KEYS.get(name, name)
        instrument, parameters = people.instrument, dict(people.parameters)

        def moved(values: np.ndarray) -> np.ndarray:
            return values + share * (np.median(values) - values)

        if key in parameters:
            parameters[key] = moved(parameters[key])
            if name == "lsf":
                parameters["wing"] = moved(parameters["wing"])
        else:
            instrument = dataclasses.replace(instrument, **{name: (1 - share) * getattr(instrument, name)})
        changed = dataclasses.replace(people, parameters=parameters, instrument=instrument)
        without = maker.of(changed).block(0).noiseless
        ratio = seen.noiseless / level - without / np.median(without, axis=1, keepdims=True)
        return (ratio * level)[:rows].astype(np.float64) / sigma

    whole = {name: change(name, 1.0) for name in causes}
    slight = {name: change(name, 0.05) for name in causes}
    spline = splines(config).astype(np.float64)
    found = {}
    for name in causes:
        left = []
        for row in range(rows):
            smooth = spline * (seen.noiseless[row] / sigma[row])
            others = np.array([*(slight[other][row] for other in causes if other != name), *smooth]).T
            size = np.linalg.norm(others, axis=0)
            others = others[:, size > 0] / size[size > 0]
            fit, *_ = np.linalg.lstsq(others, whole[name][row], rcond=1e-8)
            left.append(0.5 * ((whole[name][row] - others @ fit) ** 2).sum())
        mean = 0.5 * (whole[name] ** 2).sum(axis=1).mean()
        found[name] = (round(float(mean), 1), round(float(np.median(left)), 1))
    return found


def velocity_errors(code: np.ndarray, table: Any, *, least: int = 20) -> dict[str, Any]:
    """Robust error of the velocity read from a node by one straight line, and its zero point per kind."""
    rv, single = table["rv"].to_numpy(float), table["oddity"].fillna("").to_numpy() != "sb2"
    keep = single.copy()
    for _ in range(10):
        line = np.polyfit(code[keep], rv[keep], 1)
        left = rv - np.polyval(line, code)
        spread = 1.4826 * np.median(np.abs(left[single] - np.median(left[single])))
        keep = single & (np.abs(left - np.median(left[single])) < 4 * spread)
    middle = float(np.median(left[single]))
    kinds = table["kind"].to_numpy()
    zero = {
        str(kind): round(float(np.median(left[single & (kinds == kind)]) - middle), 2)
        for kind in sorted(set(kinds))
        if (single & (kinds == kind)).sum() >= least
    }
    return {"rv_error": round(float(spread), 2), "rv_zero": zero}


def called(node: Any) -> str:
    """What the findings hold to be behind a node, and the keyword that says so; '' where none is."""
    origin = getattr(node, "origin", None)
    return "" if origin is None else f"{origin.verdict} by {origin.keyword}"


def sky_run(config: Any, *, folder: Path, seed: int, steps: int | None) -> dict[str, Any]:
    """From files to findings as `run` does, and what came back beside the truth."""
    import pandas as pd

    from astroprism.cli.demo import share
    from astroprism.model.recipe import TrainOptions
    from astroprism.pipeline import RunOptions
    from astroprism.simulate import write_archive
    from astroprism.study import Study
    from astroprism.targets.split import as_trained

    truth = write_archive(folder / "archive", config)
    table = pd.read_csv(truth, dtype={"spectrum_id": str})
    stars = [name for name in config.varying if name != "snr"]
    table[["spectrum_id", *stars]].to_csv(folder / "labels.csv", index=False)
    study, start = Study(folder / "study"), time.monotonic()
    options = RunOptions(train=TrainOptions(steps=steps, seed=seed))
    report = study.run([folder / "archive"], labels=[folder / "labels.csv"], options=options)
    minutes = (time.monotonic() - start) / 60
    findings, model = report.findings, study.require_model()
    codes = study.codes(unpruned=True)
    both = codes.merge(table, on="spectrum_id", suffixes=("", "_of_truth"))
    parts = pd.Series(as_trained(study.index, model.split), index=study.index["spectrum_id"])
    held = both if findings.rests_on.folds else both[both["spectrum_id"].map(parts).to_numpy() != "train"]
    counted = [node for node in findings.nodes if node.counted]
    causes = (*stars, *config.instrument_causes)
    shares = {
        name: sorted(
            (
                (
                    round(share(held[f"mean_{one.node:03d}"].to_numpy(), held[name].to_numpy(float)), 3),
                    one.node,
                )
                for one in counted
            ),
            reverse=True,
        )[:2]
        for name in causes
    }
    expected = len(causes)
    ways = {"ablation": findings.count.statistical, "information": findings.count.information}
    counts = {
        name: {"k": way.k, "low": way.low, "high": way.high, "holds": way.low <= expected <= way.high}
        for name, way in ways.items()
        if way is not None
    }
    result: dict[str, Any] = {
        "k": len(stars),
        "expected": expected,
        "counts": counts,
        "right": bool(counts) and all(one["k"] == expected for one in counts.values()),
        "shares": shares,
        "called": {one.node: word for one in counted if (word := called(one))},
        "nodes": len(counted),
        "chi2": {"train": model.chi2.train, "held out": model.chi2.valid},
        "minutes": round(minutes, 2),
        "warnings": findings.warnings,
    }
    if "rv" in stars and shares["rv"]:
        result |= velocity_errors(held[f"mean_{shares['rv'][0][1]:03d}"].to_numpy(), held)
    return result


def sky_line(result: dict[str, Any]) -> str:
    """One line for a terminal."""
    counts = ", ".join(
        f"{name} {one['k']} ({one['low']} to {one['high']})" for name, one in result["counts"].items()
    )
    best = " ".join(
        f"{name} {pairs[0][0]:.2f}@{pairs[0][1]}" for name, pairs in result["shares"].items() if pairs
    )
    velocity = f"rv {result['rv_error']} km/s, zero {result['rv_zero']}" if "rv_error" in result else ""
    return (
        f"  {result['expected']} expected ({result['k']} of star and air): {counts} "
        f"{'right' if result['right'] else 'WRONG'}; {best}; {velocity}; chi2 {result['chi2']}; "
        f"{result['minutes']} min"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--reality", action="store_true", help="archives with a real sky, from files to findings"
    )
    parser.add_argument("--factors", type=int, nargs="+")
    parser.add_argument("--surveys", nargs="+", default=["low", "high"])
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--spectra", type=int, default=3000)
    parser.add_argument("--steps", type=int, help="of training; the recipe's own number where not given")
    parser.add_argument("--folder", type=Path, help="archives and studies are kept there")
    parser.add_argument("--out", type=Path, help="a line of JSON a run is added to this file")
    options = parser.parse_args()
    lines = reality_lines(options) if options.reality else clean_lines(options)
    for line in lines:
        if options.out is not None:
            with options.out.open("a") as file:
                file.write(json.dumps(line) + "\n")


def clean_lines(options: argparse.Namespace) -> Any:
    """A result per number of causes and seed, by photon noise alone."""
    for factors in options.factors or (1, 2, 3, 5, 7):
        for seed in options.seeds or (1001, 1002, 1003, 1004, 1005):
            print(f"{factors} causes, seed {seed}", flush=True)
            recipe = None if options.steps is None else {"steps": options.steps}
            found = run(archive(factors, seed=seed), seed=seed, recipe=recipe)
            print(f"  information {found['information']}, ablation {found['ablation']}", flush=True)
            yield {"factors": factors, "seed": seed, **found}


def reality_lines(options: argparse.Namespace) -> Any:
    """A result per survey, number of causes and seed, under a real sky."""
    for survey in options.surveys:
        for factors in options.factors or (2, 3, 5):
            for seed in options.seeds or (1, 2, 3, 4, 5):
                config = sky_archive(survey, factors, seed=seed, spectra=options.spectra)
                strength = strengths(config)
                print(f"{survey}, seed {seed}: strengths {strength}", flush=True)
                with tempfile.TemporaryDirectory() as scratch:
                    folder = (options.folder or Path(scratch)) / f"{survey}-{factors}-{seed}"
                    folder.mkdir(parents=True, exist_ok=True)
                    found = sky_run(config, folder=folder, seed=seed, steps=options.steps)
                print(sky_line(found), flush=True)
                yield {"survey": survey, "seed": seed, "strength": strength, **found}


if __name__ == "__main__":
    main()
