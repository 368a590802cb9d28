"""Mutual information of codes with labels: nearest neighbours against scikit-learn's on the same pairs.

The aim is at most scikit-learn's time at 20,000 rows, better a third; and 300,000 spectra x 128 nodes x 10
labels in 10 minutes and 4 GiB. Processor time of one core decides, so that a busy machine does not.

Run: python benchmarks/information.py [--pairs 6] [--full]     (--full makes the large run, minutes)
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

NODES, LABELS = 128, 10


def table(rows: int, *, nodes: int, labels: int) -> tuple[Any, Any]:
    """Codes (rows, nodes) of which a few carry labels (rows, labels), from nothing to .95 correlated."""
    import numpy as np

    rng = np.random.default_rng(3)
    known = rng.standard_normal((rows, labels))
    codes = rng.standard_normal((rows, nodes))
    for node in range(min(nodes, labels)):
        rho = 0.95 * node / labels
        codes[:, node] = rho * known[:, node] + np.sqrt(1 - rho**2) * codes[:, node]
    return codes, known


def processor(work: Callable[[], object]) -> float:
    """Seconds of processor time."""
    start = time.process_time()
    work()
    return time.process_time() - start


def against_sklearn(rows: int, pairs: int) -> None:
    """The same pairs in turns, so that both meet the same machine."""
    import numpy as np
    from sklearn.feature_selection import mutual_info_regression

    from astroprism.measures import mutual_information

    codes, known = table(rows, nodes=pairs, labels=pairs)
    ours, theirs, apart = 0.0, 0.0, 0.0
    mutual_information(codes[:100, 0], known[:100, 0], null=0)  # imports and tables
    for one in range(pairs):
        x, y = codes[:, one], known[:, one]
        found: list[Any] = []
        ours += processor(lambda x=x, y=y, found=found: found.append(mutual_information(x, y, null=0)))
        theirs += processor(
            lambda x=x, y=y, found=found: found.append(
                mutual_info_regression(x[:, None], y, n_neighbors=5, random_state=0)[0]
            )
        )
        apart = max(apart, abs(found[0].nats + found[0].bias - np.float64(found[1])))
    print(
        f"{rows:7d} rows  {1e3 * ours / pairs:7.1f} ms per pair with interval and screen  scikit-learn "
        f"{1e3 * theirs / pairs:7.1f} ms  ratio {ours / theirs:.2f}  apart by at most {apart:.3f} nats",
        flush=True,
    )


def full(rows: int) -> None:
    """Every node with every label, p-values from 100,000 draws included."""
    from astroprism.measures import mutual_information

    codes, known = table(rows, nodes=NODES, labels=LABELS)
    start = time.perf_counter()
    seconds = processor(lambda: [mutual_information(x, y) for y in known.T for x in codes.T])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    print(
        f"{rows} x {NODES} x {LABELS}: {seconds:.0f} s of processor, {time.perf_counter() - start:.0f} s "
        f"wall, peak {peak:.2f} GiB",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--full", action="store_true")
    options, _ = parser.parse_known_args()
    for count in (4_000, 20_000):
        against_sklearn(count, options.pairs)
    if options.full:
        full(300_000)
