"""Every benchmark in turn: `make bench`. Each prints ratios against a named rival in the same run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ORDER = (
    "kernels.py",
    "readers.py",
    "simulate.py",
    "ingest.py",
    "store_reads.py",
    "feeding.py",
    "networks.py",
    "information.py",
)

if __name__ == "__main__":
    for name in ORDER:
        print(f"\n== {name}", flush=True)
        subprocess.run([sys.executable, HERE / name, *sys.argv[1:]], check=True)
