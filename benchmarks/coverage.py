"""Mutual information against answers known in closed form or by quadrature: error, spread, coverage.

Prints for each case and number of rows the mean error in nats (with its own error), the spread, the share of
90 % intervals that hold the truth, and of those that miss, how many lie below and above it. Then the share of
independent pairs with p <= .05.

Run: python benchmarks/coverage.py [--trials 1] [--rows 500,4000,20000] [--case sine] [--nulls]
     --trials scales the number of trials; --case takes those whose name begins so; --nulls the p-values too
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from astroprism.measures import conditional_mutual_information, mutual_information

TRIALS = {500: 1_000, 4_000: 400, 20_000: 150}
Rng = np.random.Generator
Pair = tuple[Any, Any, Any]  # x, y and, for conditional cases, z


def entropy(density: Callable[[Any], Any], low: float, high: float) -> float:
    """Differential entropy by quadrature."""
    at = np.linspace(low, high, 6_001)
    p = np.maximum(density(at), 1e-300)
    p = p / p.sum() / (at[1] - at[0])
    return float(-(p * np.log(p)).sum() * (at[1] - at[0]))


def normal(at: Any, sd: float) -> Any:
    """A normal density."""
    return np.exp(-0.5 * (at / sd) ** 2) / sd / np.sqrt(2 * np.pi)


def noise_entropy(sd: float) -> float:
    """Of normal noise."""
    return float(0.5 * np.log(2 * np.pi * np.e * sd**2))


def gaussian(rho: float, skew: bool = False) -> tuple[float, Callable[[Rng, int], Pair]]:
    """A pair of correlation rho; `skew` makes it log-normal."""

    def draw(rng: Rng, n: int) -> Pair:
        x = rng.normal(size=n)
        y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=n)
        return (np.exp(2 * x), np.exp(y), None) if skew else (x, y, None)

    return float(-0.5 * np.log(1 - rho**2)), draw


def sine(noise: float, waves: int) -> tuple[float, Callable[[Rng, int], Pair]]:
    """y = sin(2 pi waves x) + noise, x even."""
    t = np.sin(2 * np.pi * (np.arange(2_000) + 0.5) / 2_000)
    truth = entropy(
        lambda at: np.mean([normal(at - one, noise) for one in t], axis=0), -1 - 8 * noise, 1 + 8 * noise
    )

    def draw(rng: Rng, n: int) -> Pair:
        x = rng.uniform(size=n)
        return x, np.sin(2 * np.pi * waves * x) + noise * rng.normal(size=n), None

    return truth - noise_entropy(noise), draw


def ring(width: float) -> tuple[float, Callable[[Rng, int], Pair]]:
    """A circle of radius 1 with normal noise on both coordinates."""
    from scipy.special import ive

    t = np.cos(2 * np.pi * (np.arange(2_000) + 0.5) / 2_000)
    one = entropy(
        lambda at: np.mean([normal(at - c, width) for c in t], axis=0), -1 - 8 * width, 1 + 8 * width
    )
    r = np.linspace(1e-6, 1 + 8 * width, 40_001)
    # density in the plane: normal noise around a circle (Rice)
    plane = np.exp(-((r - 1) ** 2) / (2 * width**2)) * ive(0, r / width**2) / (2 * np.pi * width**2)
    mass = 2 * np.pi * r * plane
    both = -(mass * np.log(np.maximum(plane, 1e-300))).sum() * (r[1] - r[0])

    def draw(rng: Rng, n: int) -> Pair:
        angle = rng.uniform(0, 2 * np.pi, n)
        return np.cos(angle) + width * rng.normal(size=n), np.sin(angle) + width * rng.normal(size=n), None

    return float(2 * one - both), draw


def censored(rho: float, at: float) -> tuple[float, Callable[[Rng, int], Pair]]:
    """A Gaussian pair, y no lower than `at` (a detection limit): a column half continuous, half one value."""
    from scipy.special import ndtr

    x = np.linspace(-9, 9, 3_001)
    step, spread = x[1] - x[0], np.sqrt(1 - rho**2)
    lost = ndtr((at - rho * x) / spread)
    atom = ndtr(at)
    nats = (normal(x, 1) * lost * np.log(np.maximum(lost, 1e-300) / atom)).sum() * step
    y = np.linspace(at, 9, 3_001)
    joint = normal(x, 1)[:, None] * normal(y - rho * x[:, None], spread)
    ratio = np.log(np.maximum(joint, 1e-300) / (normal(x, 1)[:, None] * normal(y, 1)))
    nats += (joint * ratio).sum() * step * (y[1] - y[0])

    def draw(rng: Rng, n: int) -> Pair:
        first = rng.normal(size=n)
        return first, np.maximum(rho * first + spread * rng.normal(size=n), at), None

    return float(nats), draw


def classes(text: bool) -> tuple[float, Callable[[Rng, int], Pair]]:
    """Three classes 1.5 sigma apart, as text (Ross) or as integers (ties)."""
    truth = entropy(lambda at: np.mean([normal(at - 1.5 * one, 1) for one in range(3)], axis=0), -8, 11)

    def draw(rng: Rng, n: int) -> Pair:
        kind = rng.integers(0, 3, n)
        return 1.5 * kind + rng.normal(size=n), np.array(["F", "G", "K"])[kind] if text else kind, None

    return truth - noise_entropy(1), draw


def bounded(width: float) -> tuple[float, Callable[[Rng, int], Pair]]:
    """x even between 0 and 1, y = x + noise even between -width and width: a density with edges."""
    truth = width - np.log(2 * width) if width <= 0.5 else 1 / (4 * width)

    def draw(rng: Rng, n: int) -> Pair:
        x = rng.uniform(size=n)
        return x, x + rng.uniform(-width, width, n), None

    return float(truth), draw


def given(rho: float, columns: int = 1) -> tuple[float, Callable[[Rng, int], Pair]]:
    """x and y of correlation rho beyond `columns` columns that both follow."""

    def draw(rng: Rng, n: int) -> Pair:
        z = rng.normal(size=(n, columns))
        x = rng.normal(size=n)
        y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=n)
        common = z.sum(axis=1) / np.sqrt(columns)
        return x + 2 * common, y - common, z

    return float(-0.5 * np.log(1 - rho**2)), draw


CASES: dict[str, tuple[float, Callable[[Rng, int], Pair]]] = (
    {f"gaussian {rho:g}": gaussian(rho) for rho in (0, 0.3, 0.6, 0.9, 0.99)}
    | {"log-normal .9": gaussian(0.9, skew=True)}
    | {f"sine {waves} {noise:g}": sine(noise, waves) for waves, noise in ((1, 0.3), (1, 0.1), (3, 0.3))}
    | {f"ring {width:g}": ring(width) for width in (0.3, 0.1)}
    | {f"bounded {width:g}": bounded(width) for width in (0.1, 0.75)}
    | {"censored .9": censored(0.9, -0.5), "classes": classes(True), "integers": classes(False)}
    | {f"given {rho:g}": given(rho) for rho in (0, 0.3, 0.6, 0.9)}
    | {f"given 5 columns {rho:g}": given(rho, 5) for rho in (0, 0.6, 0.9)}
)


def measured(name: str, rows: int, trials: int) -> str:
    """One line of the table."""
    truth, draw = CASES[name]
    found = []
    for trial in range(trials):
        x, y, z = draw(np.random.default_rng([rows, trial]), rows)
        if z is None:
            one = mutual_information(x, y, seed=trial, null=0)
        else:
            one = conditional_mutual_information(x, y, z, seed=trial)
        found.append((one.nats, one.low, one.high))
    value, low, high = np.array(found).T
    off = value - truth
    held = (low <= truth) & (truth <= high)
    share = held.mean()
    return (
        f"{name:18} {truth:6.3f} {rows:7d} x {trials:5d}  error {off.mean():+.4f} +-"
        f"{off.std() / np.sqrt(trials):.4f}  sd {off.std():.4f}  held {share:.3f} +-"
        f"{np.sqrt(max(share * (1 - share), 0.01) / trials):.3f}  "
        f"above {(low > truth).mean():.3f} below {(high < truth).mean():.3f}"
        f"  half-width {np.mean(high - low) / 2:.4f}"
    )


def nulls(trials: int) -> None:
    """The share of independent pairs with p <= .05."""
    for name in ("continuous 500", "continuous 4000", "ties 500", "classes 300", "visits 400"):
        kind, size = name.split()
        hits, n = 0, int(size)
        for trial in range(trials):
            rng = np.random.default_rng([77, trial])
            x, y, stars = rng.normal(size=n), rng.normal(size=n), None
            if kind == "ties":
                y = rng.integers(0, 4, n)
            elif kind == "classes":
                y = np.repeat(["a", "b", "c"], [n * 6 // 10, n * 3 // 10, n // 10])
            elif kind == "visits":
                stars = np.repeat(np.arange(n), rng.integers(1, 81, n))
                x, y = x[stars] + 0.1 * rng.normal(size=stars.size), y[stars]
            hits += mutual_information(x, y, targets=stars, seed=trial, null=100_000, rows=30).p <= 0.05
        error = 1.96 * np.sqrt(0.05 * 0.95 / trials)
        print(f"{name:18} p <= .05 in {hits / trials:.4f} of {trials:,} (.05 +- {error:.4f})", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=float, default=1.0)
    parser.add_argument("--rows", default="500,4000,20000")
    parser.add_argument("--case", default="")
    parser.add_argument("--nulls", action="store_true")
    options, _ = parser.parse_known_args()
    for many in [int(one) for one in options.rows.split(",") if one]:
        for case in CASES:
            if case.startswith(options.case):
                print(
                    measured(case, many, max(20, round(TRIALS.get(many, 100) * options.trials))), flush=True
                )
    if options.nulls:
        nulls(max(100, round(1_000 * options.trials)))
