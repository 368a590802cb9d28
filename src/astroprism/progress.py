"""What a long job reports on its way: one kind of event, sent to one listener.

    study.train(progress=print)

A listener is any function of a `Progress`. The verbs of a study take one and stamp its events with their
stage; everything below a verb makes events with `message`, `warning` and `count`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

Kind = Literal["start", "message", "warning", "count", "end"]


@dataclass(frozen=True)
class Progress:
    """Something that happened in a job.

    kind     start and end of a stage of a run, a message or warning for people, or a count
    stage    'ingest', 'train', 'encode', 'find', 'report', 'apply', 'outliers', 'similar' or 'simulate'
    message  for people; empty where only numbers changed
    done     of total, for a count
    detail   what the stage knows besides: a `Moment` of training, an `IngestCounts`, the `Step` that ended
    """

    kind: Kind
    stage: str = ""
    message: str = ""
    done: int = 0
    total: int = 0
    detail: Any = None

    def __str__(self) -> str:
        prefix = f"{self.stage}: " if self.stage else ""
        text = f"warning: {self.message}" if self.kind == "warning" else self.message
        if self.kind == "count" and not text:
            text = f"{self.done:,} of {self.total:,}"
        return prefix + (text or self.kind)


Listener = Callable[[Progress], object]


def silent(_: Progress) -> None:
    """The listener of those who did not ask for events."""


def message(text: str) -> Progress:
    """A remark for people."""
    return Progress("message", message=text)


def warning(text: str) -> Progress:
    """Something that a user must know before trusting the result."""
    return Progress("warning", message=text)


def count(done: int, total: int, *, detail: Any = None) -> Progress:
    """How far a job is."""
    return Progress("count", done=done, total=total, detail=detail)


def staged(stage: str, listener: Listener | None) -> Listener:
    """A listener that stamps events with their stage, those that have none yet."""
    if listener is None:
        return silent
    return lambda event: listener(event if event.stage else replace(event, stage=stage))


def once(listener: Listener, *, said: Iterable[str] = ()) -> Listener:
    """A listener that passes on counts, and of messages those that were not said before, numbers apart.

    For trainings of one kind in a row, which would tell of each what they told of the first. What they warn
    of the first has warned of.
    """
    known = {_without_numbers(text) for text in said}

    def listen(event: Progress) -> None:
        if event.kind == "warning":
            return
        if event.kind == "message":
            text = _without_numbers(event.message)
            if text in known:
                return
            known.add(text)
        listener(event)

    return listen


def _without_numbers(text: str) -> str:
    return re.sub(r"\d[\d,.]*", "#", text)
