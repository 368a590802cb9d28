"""Distributions of numbers, written as text such as `uniform:-150:150` (see `_FORMS`).

Values come from a quantile function, so that the i-th value depends on the i-th uniform number alone:
an archive does not change where a distribution needs more draws than another.
"""

from __future__ import annotations

import difflib
import math
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ConfigError

_FORMS = {
    "uniform": "uniform:lo:hi",
    "loguniform": "loguniform:lo:hi",
    "normal": "normal:mean:sd or normal:mean:sd:lo:hi",
    "lognormal": "lognormal:median:sigma:lo:hi",
    "fixed": "fixed:value",
    "choice": "choice:a:b:..",
}
_ARGUMENTS = {
    "uniform": (2, 2),
    "loguniform": (2, 2),
    "normal": (2, 4),
    "lognormal": (4, 4),
    "fixed": (1, 1),
    "choice": (1, 999),
}


@dataclass(frozen=True)
class Distribution:
    """One distribution of a number; `kind` and `values` as in its text."""

    kind: str
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.kind not in _FORMS:
            raise ConfigError(f"distribution {self.kind!r} is not known{_nearest(self.kind, _FORMS)}")
        least, most = _ARGUMENTS[self.kind]
        if not least <= len(self.values) <= most or (self.kind == "normal" and len(self.values) == 3):
            raise ConfigError(f"distribution {self.text!r} should read {_FORMS[self.kind]}")
        if not all(map(math.isfinite, self.values)):
            raise ConfigError(f"distribution {self.text!r} holds a number that is not finite")
        low, high = self.support
        if self.kind in ("uniform", "loguniform") and not low < high:
            raise ConfigError(f"distribution {self.text!r}: the first bound must be below the second")
        if self.kind == "loguniform" and low <= 0:
            raise ConfigError(f"distribution {self.text!r}: both bounds must be positive")
        if self.kind == "normal" and (self.values[1] <= 0 or not low < high):
            raise ConfigError(f"distribution {self.text!r}: sd must be positive and lo below hi")
        if self.kind == "lognormal" and not (min(self.values) > 0 and low < high):
            raise ConfigError(f"distribution {self.text!r}: all numbers must be positive, and lo below hi")

    @property
    def text(self) -> str:
        """The form that `parse_distribution` reads."""
        return ":".join([self.kind, *(f"{value:.12g}" for value in self.values)])

    @property
    def support(self) -> tuple[float, float]:
        """Least and greatest value that can occur."""
        if self.kind == "normal":
            return (self.values[2], self.values[3]) if len(self.values) == 4 else (-math.inf, math.inf)
        if self.kind == "lognormal":
            return self.values[2], self.values[3]
        if self.kind in ("uniform", "loguniform"):
            return self.values[0], self.values[1]
        return min(self.values), max(self.values)

    @property
    def varies(self) -> bool:
        """False where every draw is the same number."""
        return len(set(self.values)) > 1 or self.kind == "normal"

    def quantile(self, uniform: ArrayLike) -> NDArray[np.float64]:
        """Values at the probabilities `uniform` in [0, 1), any shape."""
        u = np.asarray(uniform, dtype=np.float64)
        if self.kind == "fixed":
            return np.full(u.shape, self.values[0])
        if self.kind == "choice":
            values = np.asarray(self.values, dtype=np.float64)
            chosen: NDArray[np.float64] = values[np.minimum((u * values.size).astype(int), values.size - 1)]
            return chosen
        low, high = self.support
        if self.kind == "uniform":
            return np.asarray(low + (high - low) * u)
        if self.kind == "loguniform":
            return np.asarray(low * (high / low) ** u)
        from scipy.special import ndtr, ndtri

        mean, sd = self.values[:2]
        if self.kind == "lognormal":
            mean, low, high = math.log(mean), math.log(low), math.log(high)
        below, above = ndtr((np.array([low, high]) - mean) / sd)
        inside = mean + sd * ndtri(np.clip(below + (above - below) * u, 1e-300, 1 - 1e-16))
        inside = np.clip(inside, low, high)
        return np.asarray(np.exp(inside) if self.kind == "lognormal" else inside)

    def sample(self, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        """`n` values, shape (n,)."""
        return self.quantile(rng.random(n))


def parse_distribution(text: str) -> Distribution:
    """The distribution that `text` describes."""
    kind, *numbers = str(text).strip().split(":")
    try:
        values = tuple(float(number) for number in numbers)
    except ValueError:
        raise ConfigError(f"distribution {text!r}: a number in it cannot be read") from None
    return Distribution(kind.strip().lower(), values)


def stream(seed: int, name: str, *key: int) -> np.random.Generator:
    """The random stream `name` of `seed`; `key` (a spectrum's or a star's index) splits it further."""
    sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()), *key))
    return np.random.Generator(np.random.SFC64(sequence))


class RowStreams:
    """The random streams of single rows, at a tenth of the cost of making each from its seed.

    Philox numbers depend on a key and a counter alone (Salmon et al. 2011), so a row is a place of the
    counter.
    """

    def __init__(self, seed: int, name: str) -> None:
        sequence = np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()),))
        self._bits = np.random.Philox(key=sequence.generate_state(2, np.uint64))
        self._start = self._bits.state
        self._generator = np.random.Generator(self._bits)

    def at(self, row: int) -> np.random.Generator:
        """The generator, wound to the start of `row`; the next call winds it on."""
        self._start["state"]["counter"][:] = (0, 0, row, 0)
        self._bits.state = self._start
        return self._generator


def _nearest(word: str, known: dict[str, str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {_FORMS[close[0]]!r}?" if close else f"; known: {', '.join(_FORMS.values())}"
