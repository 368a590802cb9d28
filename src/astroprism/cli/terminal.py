"""What the command line shows: aligned facts, a progress line, a spectrum in braille dots."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

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

from ..progress import Progress

if TYPE_CHECKING:
    from ..pipeline import RunReport, Step

# progress and remarks go to stderr: stdout holds the result alone
messages = Console(stderr=True, highlight=False, soft_wrap=True)
NOTED_WAIT = 0.1  # share of its time that a training waits for spectra, above which the share is displayed


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


class Display:
    """A listener that shows events at a terminal: one progress line at a time, messages above it.

    As a context it puts the line away at the end. Where stderr is no terminal, a training prints a
    plain line each time that its chi2 is measured.
    """

    def __init__(self, *, indent: str = "") -> None:
        self.indent = indent
        self.line: _Line | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __call__(self, event: Progress) -> None:
        """Show an event."""
        if event.kind == "start":
            self._close()
            self._open(event.stage)
        elif event.kind == "end":
            self._close()
            messages.print(step_line(event.detail))
        elif event.kind == "count":
            if self.line is None or not self.line.takes(event):
                self._close()
                self._open("train" if _is_training(event) else event.stage)
            assert self.line is not None
            self.line.show(event)
        else:
            prefix = "warning: " if event.kind == "warning" else ""
            messages.print(f"{self.indent}{prefix}{event.message}")

    def _open(self, stage: str) -> None:
        kinds: dict[str, type[_Line]] = {"ingest": _IngestLine, "train": _TrainLine, "find": _WaitingLine}
        self.line = kinds.get(stage, _CountLine)(stage)

    def _close(self) -> None:
        if self.line is not None:
            self.line.bar.stop()
        self.line = None


def _is_training(event: Progress) -> bool:
    """Whether it is a `Moment` of a training, of the first one or of a retraining."""
    return hasattr(event.detail, "chi2_valid")


class _Line:
    """A progress line of one kind of job; invisible where stderr is no terminal."""

    columns: tuple[ProgressColumn, ...] = ()

    def __init__(self, stage: str) -> None:
        columns = (TextColumn(stage), *self.columns)
        self.bar = Bar(*columns, console=messages, transient=True, disable=not messages.is_terminal)
        self.task = self.bar.add_task(stage, total=None, rate="", state="")
        self.start: tuple[float, int] | None = None  # when the first count came, and how far it was
        self.last = 0  # how far the last count was
        self.bar.start()

    def takes(self, event: Progress) -> bool:
        """Whether a count of this kind can be shown on this line."""
        return not _is_training(event)

    def since_start(self, done: int) -> tuple[float, int]:
        """Seconds and counts since the first count, of this training where one follows another."""
        now = time.monotonic()
        if self.start is None or done < self.last:
            self.start = now, done
        self.last = done
        return now - self.start[0], done - self.start[1]

    def show(self, event: Progress) -> None:
        """Show a count."""
        self.bar.update(self.task, completed=event.done, total=event.total)


class _CountLine(_Line):
    """Something that is counted."""

    columns = (BarColumn(bar_width=28), MofNCompleteColumn(), TimeRemainingColumn())


class _WaitingLine(_Line):
    """A step that cannot know how far it is."""

    columns = (BarColumn(bar_width=28), TimeElapsedColumn())


class _IngestLine(_Line):
    """Files done, rate, time left, spectra accepted and refused so far."""

    columns = (
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )

    def show(self, event: Progress) -> None:
        """Show the counts of an ingest."""
        elapsed, files = self.since_start(event.done)
        rate = f"{files / elapsed:.0f} files/s" if elapsed > 1 else ""
        state = f"{event.detail.accepted:,} accepted, {event.detail.refused:,} refused"
        self.bar.update(self.task, completed=event.done, total=event.total, rate=rate, state=state)


class _TrainLine(_Line):
    """Chi2, nodes, speed and time left of a training."""

    columns = (BarColumn(bar_width=18), MofNCompleteColumn(), TextColumn("{task.fields[state]}"))
    chi2_held_out = float("nan")

    def takes(self, event: Progress) -> bool:
        """Whether it is a training's count."""
        return _is_training(event)

    def show(self, event: Progress) -> None:
        """Show a moment of a training."""
        moment = event.detail
        elapsed, steps = self.since_start(moment.step)
        left = f", {span(elapsed / steps * (event.total - moment.step))} left" if steps else ""
        if moment.chi2_valid == moment.chi2_valid:
            self.chi2_held_out = moment.chi2_valid
        held_out = f" ({self.chi2_held_out:.3g} held out)" if self.chi2_held_out == self.chi2_held_out else ""
        wait = f", waiting {moment.waited:.0%}" if moment.waited > NOTED_WAIT else ""
        pace = f"{moment.spectra_per_s:,.0f}/s{wait}{left}"
        state = f"chi2 {moment.chi2:.3g}{held_out}, {moment.active} nodes, {pace}"
        self.bar.update(self.task, completed=moment.step, total=event.total, state=state)
        if self.bar.disable and (moment.chi2_train == moment.chi2_train or moment.step == event.total):
            messages.print(f"  step {moment.step:,} of {event.total:,}: {state}")


def span(seconds: float) -> str:
    """A time in words."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if minutes < 100 else f"{hours:.1f} h"


def step_line(step: Step) -> str:
    """A step of a run in one aligned line: name, state, what came of it, and how long it took."""
    took = span(step.seconds) if step.state == "done" else ""
    return f"  {step.name:<8}  {step.state:<7}  {took:>6}  {step.outcome}"


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
