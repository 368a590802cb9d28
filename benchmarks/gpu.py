"""What a GPU makes of both networks at 327,680 pixels, and whether the disk keeps up; one command, 8 minutes.

1. the device: memory bandwidth (a big copy) and arithmetic (a big product of matrices, float32 and bfloat16)
2. spectra per second of a training step and of encoding, float32 and bf16-mixed, as written and compiled; and
   which share of that bandwidth and arithmetic they use. Bytes are those that the operations of a step read
   and write one by one, so a compiled step, which joins operations, moves fewer than are counted here
3. what 267,000 spectra for 182 epochs would take
4. the share of a training step spent waiting for spectra from a store on disk, by number of reading threads

Needs torch, numpy, pandas, pyarrow and google-crc32c; the package itself need not be installed. The last line
is JSON.

Run: python benchmarks/gpu.py [--device cuda] [--seconds 150] [--batch 32] [--folder /tmp] [--no-compile]
     python benchmarks/gpu.py --device cpu --seconds 20         (the same on a CPU, to see that it runs)
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
for place in (HERE, HERE.parent / "src"):
    if str(place) not in sys.path:
        sys.path.append(str(place))  # an installed package goes first

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch._dynamo  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from networks import KINDS, MOVING, PAPER, Rig, rig  # noqa: E402

SPECTRA, EPOCHS = 267_000, 182  # of the seed paper
REQUIRED = 0.1  # share of a step
READERS = (1, 2, 4, 8, 16)
LONGEST = 240  # seconds after which nothing more is compiled
GIB = 2**30


class Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write, each on its own."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not getattr(func, "is_view", False):
            for value in torch.utils._pytree.tree_leaves((args, kwargs, out)):
                if isinstance(value, torch.Tensor):
                    self.bytes += value.numel() * value.element_size()
        return out


def wait(device: str) -> None:
    """Wait until the device has done its work."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def rate(work: Callable[[], object], *, seconds: float, device: str) -> float:
    """Calls per second, after a warm-up; at least twice."""
    work()
    wait(device)
    done, begun = 0, time.perf_counter()
    while done < 2 or time.perf_counter() - begun < seconds:
        for _ in range(3 if device.startswith("cuda") else 1):  # so that the device never waits for us
            work()
            done += 1
        wait(device)
    return done / (time.perf_counter() - begun)


def measured(device: str, *, seconds: float) -> dict[str, float]:
    """Bytes per second of a copy, read and written; operations per second of a product of matrices."""
    big = device.startswith("cuda")
    source = torch.zeros((2 * GIB if big else GIB // 8) // 4, device=device)
    target = torch.empty_like(source)
    copies = rate(lambda target=target: target.copy_(source), seconds=seconds, device=device)
    found = {"bandwidth": copies * 2 * source.numel() * 4}
    del target
    for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        n = (8192 if big else 512) if name == "bf16" or not big else 4096
        a = torch.randn(n, n, device=device).to(dtype)
        b = torch.randn(n, n, device=device).to(dtype)
        found[name] = rate(lambda a=a, b=b: a @ b, seconds=seconds, device=device) * 2 * n**3
    return found


def mixed(on: bool, device: str) -> contextlib.AbstractContextManager[Any]:
    """Autocast to bfloat16, as training on a GPU has it."""
    kind = torch.device(device).type
    return torch.autocast(kind, dtype=torch.bfloat16) if on else contextlib.nullcontext()


def stepper(one: Rig, *, half: bool, compiled: bool, device: str) -> Callable[..., None]:
    """A training step, on its own batch or on one that comes in."""
    objective = torch.compile(one.objective) if compiled else one.objective

    def step(batch: Any = None) -> None:
        # a store at rest has no barycentric velocities
        batch = one.batch if batch is None else batch._replace(berv=one.batch.berv)
        with mixed(half, device):
            loss = objective(batch, one.noise, one.terms)
        loss.total.backward()
        one.optimizer.step()
        one.optimizer.zero_grad(set_to_none=True)

    return step


def encoder(one: Rig, *, half: bool, compiled: bool, device: str) -> Callable[[], None]:
    """Codes of a batch."""
    encode = torch.compile(one.network.encode) if compiled else one.network.encode

    def work() -> None:
        with torch.no_grad(), mixed(half, device):
            encode(one.batch.flux, good=one.batch.good, berv=one.batch.berv)

    return work


def counted(work: Callable[[], None], device: str) -> tuple[float, float]:
    """Operations of matrix products and convolutions, and bytes, of one call."""
    with FlopCounterMode(display=False) as operations:
        work()
    wait(device)
    with Traffic() as traffic:
        work()
    wait(device)
    return float(operations.get_total_flops()), float(traffic.bytes)


WAYS = {"training": stepper, "encoding": encoder}


def plans(compiled: bool) -> Iterator[dict[str, Any]]:
    """Rows to measure, the paper's before ours; compiled ones, which take long to begin, last."""
    for how in (False, True) if compiled else (False,):
        for half in (False, True):
            for way in WAYS:
                for kind in KINDS if not how else (PAPER, MOVING):
                    yield {
                        "network": kind,
                        "way": way,
                        "precision": "bf16" if half else "float32",
                        "compiled": how,
                    }


def speeds(options: argparse.Namespace, device: dict[str, float]) -> list[dict[str, Any]]:
    """Spectra a second of every row."""
    print(f"\n{'network':18} {'':9} {'precision':8} {'':9} spectra/s  bandwidth  arithmetic  of paper's  "
          f"{SPECTRA:,} x {EPOCHS}")  # fmt: skip
    rows: list[dict[str, Any]] = []
    todo, begun = list(plans(options.compile)), time.perf_counter()
    for row in todo:
        label = f"{row['network']:18} {row['way']:9} {row['precision']:8} "
        label += f"{'compiled' if row['compiled'] else '':9} "
        if row["compiled"] and time.perf_counter() - begun > LONGEST:
            row["error"] = "left out: no time"
        else:
            try:
                row |= speed(row, options, device, seconds=options.seconds / len(todo))
            except Exception as error:  # a compiler's failure is a result too
                row["error"] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:90]}"
        rows.append(row)
        if "error" in row:
            print(label + row["error"], flush=True)
            continue
        same = ("way", "precision", "compiled")
        paper = next(other for other in rows if all(other[key] == row[key] for key in same))
        row["of_paper"] = row["spectra_per_s"] / paper.get("spectra_per_s", float("nan"))
        print(
            f"{label}{row['spectra_per_s']:9.1f}  {row['bandwidth_share']:8.1%}  "
            f"{row['arithmetic_share']:9.1%}  x {row['of_paper']:8.2f}  "
            + (f"{row['hours']:8.1f} h" if "hours" in row else ""),
            flush=True,
        )
    return rows


def speed(
    row: dict[str, Any], options: argparse.Namespace, device: dict[str, float], *, seconds: float
) -> dict[str, Any]:
    """One row measured."""
    torch._dynamo.reset()  # else it gives up compiling what it has compiled for other networks
    where, batch = options.device, options.batch
    one = rig(row["network"], pixels=options.pixels, batch=batch, device=where)
    how = {"half": row["precision"] == "bf16", "device": where}
    flops, moved = counted(WAYS[row["way"]](one, compiled=False, **how), where)
    work = WAYS[row["way"]](one, compiled=row["compiled"], **how)
    begun = time.perf_counter()
    work()
    wait(where)
    found = {"first_s": time.perf_counter() - begun}
    if where.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    times = rate(work, seconds=seconds, device=where)
    found |= {
        "spectra_per_s": times * batch,
        "bandwidth_share": times * moved / device["bandwidth"],
        "arithmetic_share": times * flops / device[row["precision"]],
        "gib_moved": moved / batch / GIB,
        "gflop": flops / batch / 1e9,
    }
    if where.startswith("cuda"):
        found["peak_gib"] = torch.cuda.max_memory_allocated() / GIB
    if row["way"] == "training":
        found["hours"] = SPECTRA * EPOCHS / found["spectra_per_s"] / 3600
    return found


def feeding(options: argparse.Namespace, best: dict[str, Any]) -> dict[str, Any]:
    """Waiting at the fastest training there was, by reading threads; from memory the disk lent, and cold."""
    from astroprism.model.data import Draws, Feed, Source
    from feeding import build
    from store_reads import chill

    where, batch = options.device, options.batch
    found: dict[str, Any] = {"network": best["network"], "precision": best["precision"], "share": {}}
    steps = max(4, int(options.seconds / 30 * best["spectra_per_s"] / batch))
    steps = min(steps, 40 if where.startswith("cuda") else 4)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="gpu-") as name:
        begun = time.perf_counter()
        with build(Path(name) / "store.zarr", rows=options.rows, pixels=options.pixels) as store:
            source = Source.from_store(store, memory=0)
            print(f"\n{len(source)} rows, {len(source) * store.layout.row_bytes / 1e9:.1f} GB, written in "
                  f"{time.perf_counter() - begun:.0f} s; fed to {best['network']}, {best['precision']}, "
                  f"{steps} steps of {batch}")  # fmt: skip
            draws = Draws(source.targets, np.arange(len(source)), batch=batch, seed=0)
            one = rig(best["network"], pixels=options.pixels, batch=batch, device=where)
            work = stepper(one, half=best["precision"] == "bf16", compiled=best["compiled"], device=where)
            work(one.batch)
            for state in ("warm", "cold"):
                for readers in READERS:
                    if readers > max(2, os.cpu_count() or 1):
                        break
                    if state == "cold":
                        chill(Path(name))
                    feed = Feed(
                        source, draws, first=0, last=steps + 2, device=where, ahead=max(3, 2 * readers)
                    )
                    with feed:
                        # Feed reads with one thread; would more keep up?
                        assert feed._pool is not None
                        feed._pool._max_workers = readers
                        share, speed = fed(feed, work, batch=batch, device=where)
                    found["share"][f"{state}, {readers}"] = share
                    print(f"{state}  {readers:2} reading threads  waiting {share:6.1%}  {speed:8.1f} "
                          f"spectra/s  {'met' if share < REQUIRED else 'MISSED'}", flush=True)  # fmt: skip
    for state in ("warm", "cold"):
        enough = [n for n in READERS if found["share"].get(f"{state}, {n}", 1.0) < REQUIRED]
        found[f"enough_{state}"] = enough[0] if enough else None
        print(f"{state}: waiting falls below {REQUIRED:.0%} with "
              + (f"{enough[0]} reading threads" if enough else "no number tried"))  # fmt: skip
    return found


def fed(feed: Any, work: Callable[[Any], None], *, batch: int, device: str) -> tuple[float, float]:
    """Share of the time spent waiting, and spectra per second, after the first two steps."""
    begun, waited, steps = 0.0, 0.0, 0
    for number, one in enumerate(feed):
        if number == 2:
            wait(device)
            begun, waited, steps = time.perf_counter(), feed.waited, 0
        work(one)
        wait(device)  # so that only waiting for the disk counts as waiting
        steps += 1
    took = time.perf_counter() - begun
    return (feed.waited - waited) / took, steps * batch / took


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--pixels", type=int, default=327_680)
    parser.add_argument("--batch", type=int, help="32 on a GPU, 1 on a CPU")
    parser.add_argument("--seconds", type=float, default=150.0, help="of timing, all rows together")
    parser.add_argument("--rows", type=int, help="of the store; 1500 on a GPU (4.4 GB), 24 on a CPU")
    parser.add_argument("--folder", default=tempfile.gettempdir())
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=None)
    options = parser.parse_args()
    cuda = options.device.startswith("cuda")
    options.batch = options.batch or (32 if cuda else 1)
    options.rows = options.rows or (1500 if cuda else 24)
    options.compile = cuda if options.compile is None else options.compile
    begun = time.perf_counter()
    name = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    print(f"{name}, torch {torch.__version__}; {options.pixels} pixels, batch {options.batch}, "
          f"{os.cpu_count()} cores")  # fmt: skip
    device = measured(options.device, seconds=min(2.0, options.seconds / 20))
    print(f"copy {device['bandwidth'] / 1e9:.0f} GB/s; products {device['float32'] / 1e12:.2f} TFLOP/s in "
          f"float32, {device['bf16'] / 1e12:.2f} in bfloat16")  # fmt: skip
    rows = speeds(options, device)
    ran = [row for row in rows if "spectra_per_s" in row and row["way"] == "training"]
    ours = [row for row in ran if row["network"] == MOVING] or ran
    waiting = feeding(options, max(ours, key=lambda row: row["spectra_per_s"])) if ours else None
    took = time.perf_counter() - begun
    print(f"\n{took:.0f} s in all")
    about = {"device": name, "torch": torch.__version__, "pixels": options.pixels, "batch": options.batch}
    print(json.dumps(about | {"measured": device, "rows": rows, "feeding": waiting, "seconds": took}))


if __name__ == "__main__":
    main()
