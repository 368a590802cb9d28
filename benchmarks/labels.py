"""Labels that say nothing and labels that say the same: false explanations, shadows, conditional information.

Half of the trials shuffle every label, so that none says anything: every explanation is false. The others
give a temperature, a metallicity and a flag that are true, shuffled ones, and one copy of the temperature:
text, on another scale, noisy, bent, classes. The copy must be the temperature's shadow, the temperature the
title of its node, and the copy's information beyond it 0.

Run: python benchmarks/labels.py [--trials 1000] [--targets 300] [--first 0]     (half a second a trial)
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from astroprism.measures import conditional_mutual_information
from astroprism.measures.match import EXPLAINS_Q, match_labels

COPIES = ("text", "rank", "noisy", "bent", "classes")
Columns = dict[str, Any]


def sky(rng: np.random.Generator, n: int) -> tuple[Any, Columns]:
    """Codes (n, 5): of temperature, metallicity, a flag, something that no label knows, nothing."""
    teff, feh, flag = rng.uniform(4000, 8000, n), rng.normal(0, 0.25, n), rng.random(n) < 0.4
    noise = rng.normal(size=(5, n))
    codes = np.column_stack(
        [
            np.tanh((teff - 6000) / 1500) + 0.1 * noise[0],
            feh / 0.25 + 0.4 * noise[1],
            flag + 0.3 * noise[2],
            rng.exponential(size=n) + 0.1 * noise[3],
            noise[4],
        ]
    )
    return codes, {"teff": teff, "feh": feh, "flag": flag.astype(float)}


def copy_of(teff: Any, kind: str, rng: np.random.Generator) -> Any:
    """The temperature once more."""
    if kind == "text":
        return np.array([f"T{one:.0f}" for one in np.round(teff / 250)], dtype=object)
    if kind == "rank":
        return np.log(teff)
    if kind == "noisy":
        return teff + rng.normal(0, 100, teff.size)
    if kind == "bent":
        return np.sin(teff / 300)
    return np.array(["M", "K", "G", "F", "A"], dtype=object)[np.digitize(teff, [4700, 5400, 6200, 7100])]


def shuffled(labels: Columns, rng: np.random.Generator) -> Columns:
    """Labels that say nothing, classes of uneven size and a copy of each other among them."""
    teff = rng.permutation(labels["teff"])
    kinds = rng.choice(["F", "G", "K", "M", "R"], teff.size, p=[0.4, 0.3, 0.2, 0.09, 0.01]).astype(object)
    return {
        "no teff": teff,
        "no text": copy_of(teff, "text", rng),
        "no kind": kinds,
        "no feh": rng.permutation(labels["feh"]),
    }


def null_trial(seed: int, n: int, seen: Counter[str]) -> None:
    """Nothing is true."""
    rng = np.random.default_rng([1, seed])
    codes, labels = sky(rng, n)
    found = match_labels(codes, shuffled(labels, rng), seed=seed)
    seen["null"] += 1
    seen["null family"] += any(pair.q <= EXPLAINS_Q for pair in found.pairs)
    seen["null explains"] += any(pair.explains for pair in found.pairs)


def copy_trial(seed: int, n: int, seen: Counter[str], beyond: dict[str, list[Any]]) -> None:
    """Three labels are true, some say nothing, one is a copy."""
    rng = np.random.default_rng([2, seed])
    codes, labels = sky(rng, n)
    kind = COPIES[seed % len(COPIES)]
    given = labels | shuffled(labels, rng) | {"copy": copy_of(labels["teff"], kind, rng)}
    found = match_labels(codes, given, seed=seed)
    true = {(0, "teff"), (0, "copy"), (1, "feh"), (2, "flag")}
    seen["copied"] += 1
    seen["discoveries"] += sum(pair.q <= EXPLAINS_Q for pair in found.pairs)
    seen["false discoveries"] += sum(
        pair.q <= EXPLAINS_Q and (pair.node, pair.label) not in true for pair in found.pairs
    )
    seen["false explanations"] += sum(
        pair.explains and (pair.node, pair.label) not in true for pair in found.pairs
    )
    pairs = {(pair.node, pair.label): pair for pair in found.pairs}
    seen["found"] += sum(pairs[node, label].explains for node, label in true if label != "copy")
    copied = pairs[0, "copy"]
    seen[f"{kind}"] += 1
    titled = not pairs[0, "teff"].shadow_of and pairs[0, "teff"].explains
    shadow = copied.shadow_of == ("teff",) or not copied.explains
    seen[f"{kind} right"] += bool(shadow and titled)
    one = conditional_mutual_information(codes[:, 0], given["copy"], labels["teff"], seed=seed)
    beyond.setdefault(kind, []).append((one.nats, one.low, one.high))


def main(trials: int, targets: int, first: int) -> None:
    """Run, and print after every hundred trials."""
    seen: Counter[str] = Counter()
    beyond: dict[str, list[Any]] = {}
    for trial in range(first, first + trials // 2):
        null_trial(trial, targets, seen)
        copy_trial(trial, targets, seen, beyond)
        if (trial + 1 - first) % 50 == 0:
            told(seen, beyond)
    if trials // 2 % 50:
        told(seen, beyond)


def told(seen: Counter[str], beyond: dict[str, list[Any]]) -> None:
    """Print what was seen so far."""
    n = seen["null"]
    error = 1.96 * np.sqrt(0.05 * 0.95 / n)
    print(f"{n} trials with every label shuffled, 20 pairs each")
    print(f"  any pair at q <= .05 in {seen['null family'] / n:.3f} (stated: .05 +- {error:.3f} or less)")
    print(f"  any explanation in {seen['null explains'] / n:.3f}")
    n, made = seen["copied"], seen["discoveries"]
    print(f"{n} trials with true, shuffled and copied labels")
    print(f"  of {made} pairs at q <= .05 {seen['false discoveries']} are false, ", end="")
    print(f"{seen['false discoveries'] / made:.4f} (stated: .05 or less)")
    print(
        f"  {seen['false explanations']} false explanations; "
        f"{seen['found'] / (3 * n):.4f} of the true ones found"
    )
    for kind, found in beyond.items():
        value, low, high = np.array(found).T
        print(
            f"  {kind:8} x {seen[kind]:4}  title and shadow right {seen[kind + ' right'] / seen[kind]:.3f}  "
            f"beyond the temperature {value.mean():+.4f} nat, sd {value.std():.4f}, most "
            f"{np.abs(value).max():.3f}; held {np.mean((low <= 0) & (high >= 0)):.3f}",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1_000)
    parser.add_argument("--targets", type=int, default=300)
    parser.add_argument(
        "--first", type=int, default=0, help="seed to begin with, so that machines share the work"
    )
    options, _ = parser.parse_known_args()
    main(options.trials, options.targets, options.first)
