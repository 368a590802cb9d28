"""What the command line shows: aligned facts, a progress line, a spectrum in braille dots."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from ..model.history import Moment
    from ..pipeline import RunReport, Step

# progress and remarks go to stderr: stdout holds the result alone
messages = Console(stderr=True, highlight=False, soft_wrap=True)
NOTED_WAIT = 0.1  # share of its time that a training waits for spectra, from which it is told


def facts(pairs: Iterable[tuple[str, Any]], *, indent: int = 2) -> str:
    """Name and value in two columns; lists and counts written out in words."""
    rows = [(name.replace("_", " "), _words(value)) for name, value in pairs]
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{'':{indent}}{name:<{width}}  {value}" for name, value in rows)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count:,} {key}" for key, count in value.items()) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None:
        return "unknown"
    if isinstance(value, list | tuple) and all(isinstance(item, int | str) for item in value):
        return ", ".join(str(item) for item in value) or "none"
    if isinstance(value, list | tuple):
        return " .. ".join(_words(item) for item in value) or "none"
    return str(value)


def _bar(*columns: ProgressColumn) -> Bar:
    """Progress for a person at a terminal; silent where nobody watches."""
    return Bar(*columns, console=messages, transient=True, disable=not messages.is_terminal)


@contextmanager
def ingest_bar() -> Iterator[Any]:
    """A progress line for an ingest: files done, rate, time left, accepted and refused so far."""
    columns = (
        TextColumn("ingest"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[counts]}"),
    )
    with _bar(*columns) as bar:
        task = bar.add_task("ingest", total=None, rate="", counts="")
        start: list[tuple[float, int]] = []

        def show(state: Any) -> None:
            now = time.monotonic()
            start[:] = start or [(now, state.done)]
            elapsed = now - start[0][0]
            rate = f"{(state.done - start[0][1]) / elapsed:.0f} files/s" if elapsed > 1 else ""
            counts = f"{state.accepted:,} accepted, {state.refused:,} refused"
            bar.update(task, completed=state.done, total=state.total, rate=rate, counts=counts)

        yield show


@contextmanager
def counting_bar(name: str) -> Iterator[Any]:
    """A progress line for something that is counted; yields a function of (done, total)."""
    columns = (TextColumn(name), BarColumn(bar_width=28), MofNCompleteColumn(), TimeRemainingColumn())
    with _bar(*columns) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def training_bar() -> Iterator[Any]:
    """A progress line for a training; yields a function of (moment, steps).

    Where nobody watches, a plain line is printed each time that chi2 is told.
    """
    columns = (
        TextColumn("train"),
        BarColumn(bar_width=18),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with _bar(*columns) as bar:
        task = bar.add_task("train", total=None, state="")
        begun: list[tuple[float, int]] = []
        told: list[float] = []

        def show(moment: Moment, steps: int) -> None:
            now = time.monotonic()
            begun[:] = begun or [(now, moment.step)]
            (start, first), left = begun[0], ""
            if moment.step > first:
                left = f", {span((now - start) / (moment.step - first) * (steps - moment.step))} left"
            if moment.chi2_valid == moment.chi2_valid:
                told[:] = [moment.chi2_valid]
            held = f" ({told[0]:.3g} held out)" if told else ""
            wait = f", waiting {moment.waited:.0%}" if moment.waited > NOTED_WAIT else ""
            pace = f"{moment.spectra_per_s:,.0f}/s{wait}{left}"
            state = f"chi2 {moment.chi2:.3g}{held}, {moment.active} nodes, {pace}"
            bar.update(task, completed=moment.step, total=steps, state=state)
            if bar.disable and (moment.chi2_train == moment.chi2_train or moment.step == steps):
                messages.print(f"  step {moment.step:,} of {steps:,}: {state}")

        yield show


def span(seconds: float) -> str:
    """A time in words."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if minutes < 100 else f"{hours:.1f} h"


def step_line(step: Step) -> str:
    """A step of a run in one aligned line: name, state, what came of it, and how long it took."""
    took = span(step.seconds) if step.state == "done" else ""
    return f"  {step.name:<8}  {step.state:<7}  {took:>6}  {step.told}"


def run_text(report: RunReport) -> str:
    """The end of a run: what was found, where it lies, how long it took."""
    from ..findings.assemble import text_of

    return "\n".join(
        [
            "",
            text_of(report.findings),
            "",
            f"  report   {report.study / 'report.html'}",
            f"  explore  astroprism explore {report.study}",
            f"  in all   {span(report.seconds)}",
        ]
    )


@contextmanager
def run_stage(name: str) -> Iterator[Any]:
    """The progress line that fits a step of a run."""
    bars = {"ingest": ingest_bar, "train": training_bar, "find": waiting_bar}
    with bars[name]() if name in bars else counting_bar(name) as watch:
        yield watch


@contextmanager
def waiting_bar(name: str = "find") -> Iterator[Any]:
    """A moving line for a step that cannot tell how far it is."""
    with _bar(TextColumn(name), BarColumn(bar_width=28), TimeElapsedColumn()) as bar:
        bar.add_task(name, total=None)
        yield lambda *_: None


def braille(values: NDArray[Any], *, width: int = 76, height: int = 6) -> list[str]:
    """A curve as lines of braille characters, each cell 2 x 4 dots; NaN leaves a hole."""
    columns, rows = 2 * width, 4 * height
    edges = np.linspace(0, values.size, columns + 1).astype(int)
    with np.errstate(all="ignore"):
        pieces = [values[low : max(high, low + 1)] for low, high in pairwise(edges)]
        spans = [_reach(piece) for piece in pieces]
    finite = [value for span in spans if span for value in span]
    if not finite:
        return ["(nothing to draw)"]
    bottom, top = min(finite), max(finite)
    scale = (rows - 1) / (top - bottom) if top > bottom else 0.0
    dots = np.zeros((rows, columns), dtype=bool)
    for column, span in enumerate(spans):
        if span:
            low, high = (round((value - bottom) * scale) for value in span)
            dots[rows - 1 - high : rows - low, column] = True
    return [
        "".join(_cell(dots[4 * r : 4 * r + 4, 2 * c : 2 * c + 2]) for c in range(width))
        for r in range(height)
    ]


def _reach(piece: NDArray[Any]) -> tuple[float, float] | None:
    finite = piece[np.isfinite(piece)]
    return (float(finite.min()), float(finite.max())) if finite.size else None


# dots of a braille cell in the order of its bits (Unicode 15, block U+2800)
_BITS: Sequence[tuple[int, int]] = ((0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (3, 0), (3, 1))


def _cell(dots: NDArray[np.bool_]) -> str:
    return chr(0x2800 + sum(1 << bit for bit, place in enumerate(_BITS) if dots[place]))
