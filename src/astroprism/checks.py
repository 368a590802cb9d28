"""Checks that options share: one of some words, a positive number, a share, a known name.

Each raises ConfigError, with the option's name and the value met.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence

from .errors import ConfigError


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """The value must be one of some words; None among them stands for 'not given'."""
    if value in choices:
        return
    words = [str(choice) for choice in choices if choice is not None]
    if len(words) == 2:
        raise ConfigError(f"{name} {value!r} is neither {words[0]!r} nor {words[1]!r}")
    raise ConfigError(f"{name} {value!r} is none of {', '.join(words)}")


def check_positive(name: str, value: float) -> None:
    """The value must be a positive, finite number."""
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"{name} {value} must be positive and finite")


def nearest_name(word: object, known: Iterable[str]) -> str | None:
    """The known name that a mistyped one is most like; None where none is alike."""
    return next(iter(difflib.get_close_matches(str(word), list(known), n=1)), None)


def name_hint(word: object, known: Iterable[str]) -> str:
    """What a message about an unknown name adds: the nearest known one, else all of them."""
    names = list(known)
    near = nearest_name(word, names)
    return f"did you mean {near!r}?" if near else f"known: {', '.join(names)}"
