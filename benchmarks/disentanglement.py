"""Our measures of disentanglement beside published implementations, on the same arrays.

disent (its wheel is downloaded by pip; only its files of measures are loaded, so that nothing else of it is
needed) for DCI, MIG and SAP; the file of InfoMEC's authors (kylehkhsu/tripod, disentangle/metrics/infomec.py)
where it is given. Factors are classes of ten values, for which all of them are defined; SAP as for numbers.

Run: python benchmarks/disentanglement.py [--infomec FILE] [--rows 2000]
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from astroprism.measures import disentanglement as ours

WHEEL = "disent==0.8.0"


def draws(rows: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes (rows, 6) that mix four factors (rows, 4) of ten classes, bent, with noise."""
    random = np.random.default_rng(seed)
    factors = random.integers(0, 10, (rows, 4)).astype(float)
    mix = np.eye(4, 6) + 0.3 * random.normal(size=(4, 6))
    codes = (factors / 3 - 1.5) @ mix + 0.2 * random.normal(size=(rows, 6))
    return codes + 0.05 * codes**2, factors


def load(path: Path, name: str) -> Any:
    """A module from a file."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def stub(name: str, **members: Any) -> None:
    """An empty module in the place of what the measures import and do not use."""
    module = types.ModuleType(name)
    module.__path__ = []
    for key, value in members.items():
        setattr(module, key, value)
    sys.modules[name] = module


def disent(folder: Path) -> dict[str, Any]:
    """Its modules of DCI, MIG and SAP."""
    command = [sys.executable, "-m", "pip", "download", WHEEL, "--no-deps", "--quiet", "--dest", str(folder)]
    subprocess.run(command, check=True)
    with zipfile.ZipFile(next(folder.glob("disent-*.whl"))) as wheel:
        wheel.extractall(folder)
    stub("tqdm", tqdm=lambda iterable, **_: iterable)
    stub("disent")
    stub("disent.dataset", DisentDataset=object)
    stub("disent.metrics")
    stub("disent.util", to_numpy=np.asarray)
    stub("disent.util.function", wrapped_partial=lambda *_, **__: None)
    metrics = folder / "disent" / "metrics"
    sys.modules["disent.metrics"].utils = load(metrics / "utils.py", "disent.metrics.utils")  # type: ignore[attr-defined]
    return {name: load(metrics / f"_{name}.py", f"disent.metrics._{name}") for name in ("dci", "mig", "sap")}


def theirs_infomec(path: Path) -> Any:
    """Their module; an argument that scikit-learn has dropped since, which was the default, is left out."""
    text = path.read_text().replace("import ipdb\n", "").replace("        multi_class='multinomial',\n", "")
    module = types.ModuleType("infomec")
    exec(compile(text, str(path), "exec"), module.__dict__)
    return module


def compare(name: str, ours_: float, theirs: float) -> float:
    """One line; the difference."""
    print(f"  {name:24s} {ours_:8.4f} {theirs:8.4f} {ours_ - theirs:+9.1e}")
    return abs(ours_ - theirs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--infomec", type=Path, help="infomec.py of its authors")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    worst = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        modules = disent(Path(scratch))
        for seed in options.seeds:
            z, v = draws(options.rows, seed=seed)
            half = len(z) // 2
            print(f"seed {seed}: ours, theirs, difference")
            importance, _ = ours._importance(z[:half], v[:half], z[half:], seed=0)
            np.random.seed(0)  # noqa: NPY002 - their trees take no seed
            matrix, _, _ = modules["dci"]._compute_importance_gbt(
                z[:half].T, v[:half].T, z[half:].T, v[half:].T
            )
            shared = {
                "DCI disentanglement": (ours.disentanglement, modules["dci"]._disentanglement),
                "DCI completeness": (ours.completeness, modules["dci"]._completeness),
            }
            for name, (mine, their) in shared.items():
                # one importance matrix: their trees and ours differ by the seed alone
                worst = max(worst, compare(name, mine(matrix), float(their(matrix))))
            compare("  by own trees", ours.disentanglement(importance), ours.disentanglement(matrix))
            mig = modules["mig"]._compute_mig(z.T, v.T.astype(int))["mig.discrete_score"]
            worst = max(worst, compare("MIG", ours.mig(z, v).value, float(mig)))
            sap = modules["sap"]._compute_sap(z.T, v.T, z.T, v.T, True)["sap.score"]
            worst = max(worst, compare("SAP", ours.sap(z, v).value, float(sap)))
            if options.infomec is not None:
                np.random.seed(0)  # noqa: NPY002
                found = theirs_infomec(options.infomec).compute_infomec(v, z, False)
                mine = ours.info_mec(z, v)
                for name, key in (
                    ("modularity", "infom"),
                    ("explicitness", "infoe"),
                    ("compactness", "infoc"),
                ):
                    value = getattr(mine, name).value
                    worst = max(worst, compare(f"InfoMEC {name}", value, float(found[key])))
    print(f"largest difference where definitions agree: {worst:.1e}")


if __name__ == "__main__":
    main()
