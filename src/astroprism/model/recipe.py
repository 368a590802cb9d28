"""How training goes: what changes with the step, and when. Plain numbers, no torch.

Schedules hang on the fraction of the steps done, so that a short and a long training go the same way, and on
the data: `beta` and every bound are told in nats, and nats grow with pixels and SNR.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, TypeVar

from ..errors import ConfigError

Points = tuple[tuple[float, float], ...]

RELAX = 0.15  # of the steps, from blur_lock to lock
# Without a shift, a velocity is a straight line in the spectra's space only while lines are wide: so a wide
# and long blur, with beta held so high that a second node cannot pay for what the first leaves of the curve.
AGNOSTIC: Mapping[str, Any] = {
    "steps": 8000,
    "alone": 0.0,
    "beta": ((0.0, 3.5e-5),),
    "blur_lock": 8.0,
    "lock": 512.0,  # its decoder has to draw moving lines, and leaves misfit that no node explains
    "most_beta": 0.03,
    "blur": ((0.0, 400.0), (0.08, 300.0), (0.32, 10.0), (0.4, 2.0)),
    "prune_at": (0.48, 0.7, 0.82),
    "give_back": (0.6, 0.9),
}


@dataclass(frozen=True)
class Recipe:
    """The prism's training. One default for every archive: `sized` fits it to the spectra at hand."""

    steps: int = 3000
    batch: int = 128
    rate: float = 3e-3  # of AdamW; 1e-3 is slower, 5e-3 loses the Doppler node
    velocity_rate: float = 3.0  # times that for the shift's gain
    warm_up: float = 0.06  # share of the steps in which the rate rises
    last_rate: float = 0.01  # of the rate, where the cosine ends
    # Weight of KL a nat, as a share of the nats that the archive's variance is worth, then never below 2:
    # strong causes are found first, while weak ones drown in their misfit.
    beta: Points = ((0.06, 0.018), (0.25, 1.4e-3), (0.38, 2.6e-4), (0.5, 9e-5), (0.7, 3.5e-5))
    least_beta: float = 2.0
    # beta never below misfit / lock: a node whose codes cost 3 nats must explain a tenth of what is not yet
    # explained. Else the misfit of strong causes feeds every node before it is fitted.
    lock: float = 32.0
    blur_lock: float = 32.0  # the same while residuals are blurred
    most_beta: float = 0.018  # what the lock may make of beta, as a share of the archive's nats
    floor: Points = ((0.5, 0.01), (0.7, 0.003))  # relative flux, added to sigma: what need not be explained
    # The Doppler node begins alone, against one mean star: a velocity that several nodes have shared out
    # among themselves is never put together again. Fraction of the steps until which it is.
    alone: float = 0.1
    seek: float = 0.02  # of the signal, a pixel: pull towards what cross-correlation finds, while alone
    blur: Points = ((0.0, 60.0), (0.08, 2.0))  # km/s; from the last on there is none
    prune_at: tuple[float, ...] = (0.38, 0.6, 0.75)  # fractions; weak nodes and copies are switched off
    prune_kl: tuple[float, ...] = (0.3, 1.0, 1.0)  # nats a node must carry
    prune_share: float = 0.02  # of the misfit that a node must explain, where that is more than the bound
    overlap: float = 0.5  # of what two nodes do to the spectrum, from which they are copies
    give_back: tuple[float, ...] = (0.48, 0.85)  # all nodes come back; after the last, none is pruned
    seeds: int = 2  # nodes pointed at unexplained residuals when they first come back
    agree: float = 10.0  # nats a pixel by which the first look must agree with the decoder's shift
    still: float = 1000.0  # nats a pixel^2 by which the star must not drift against the mean star
    whiten: float = 0.0  # km/s; spectra are thrown about by up to this, so that star and air come apart
    decay: float = 0.0  # AdamW's weight decay
    betas: tuple[float, float] = (0.9, 0.99)  # AdamW's

    def __post_init__(self) -> None:
        _positive(self, "steps", "batch", "rate", "velocity_rate", "least_beta", "lock", "overlap")
        _positive(self, "blur_lock", "most_beta")
        for name in ("beta", "floor", "blur"):
            _rising(name, [at for at, _ in getattr(self, name)])
        _rising("prune_at", self.prune_at)
        _rising("give_back", self.give_back)
        if len(self.prune_kl) != len(self.prune_at):
            raise ConfigError(
                f"prune_at has {len(self.prune_at)} moments, prune_kl {len(self.prune_kl)} bounds; one each"
            )

    @property
    def likelihood(self) -> bool:
        """The loss is noise-weighted, always."""
        return True

    def rate_at(self, step: int) -> float:
        """Learning rate of a step: a warm-up, then a cosine."""
        return _warm_cosine(step, self)

    def beta_at(self, fraction: float, *, signal: float, misfit: float) -> float:
        """Weight of KL.

        signal  nats a spectrum that the archive's variance is worth
        misfit  nats a spectrum that the network does not explain yet
        """
        planned = _interpolate(self.beta, fraction, log=True) * signal
        sharp = self.blur[-1][0] if self.blur else 0.0
        lock = _interpolate(((sharp, self.blur_lock), (sharp + RELAX, self.lock)), fraction, log=True)
        locked = min(misfit / lock, self.most_beta * signal)
        return max(planned, locked, self.least_beta)

    def floor_at(self, fraction: float) -> float:
        """Error floor in relative flux."""
        return _interpolate(self.floor, fraction, log=True)

    def blur_at(self, fraction: float) -> float:
        """Width in km/s by which the residual is smoothed, 0 for not at all."""
        over = not self.blur or fraction >= self.blur[-1][0]
        return 0.0 if over else _interpolate(self.blur, fraction, log=True)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def sized(
    overrides: Mapping[str, Any] | None = None, *, spectra: int, pixels: int, agnostic: bool = False
) -> Recipe:
    """The default recipe for that many training spectra of that many pixels.

    overrides  fields that the user set; an unknown one is an error
    agnostic   for a network without physics
    """
    plan: Mapping[str, Any] = AGNOSTIC if agnostic else {}
    steps = plan.get("steps", 3000)
    size: dict[str, Any] = {
        **plan,
        "batch": max(16, min(128, 2 ** ((2**24 // pixels).bit_length() - 1))),
        # more spectra deserve more steps, though not in proportion: each is seen less often
        "steps": round(steps * min(12.0, max(1.0, spectra / 10_000)) ** 0.5 / 100) * 100,
    }
    return from_mapping(Recipe, {**size, **(overrides or {})})


def from_mapping(kind: type[AnyRecipe], mapping: Mapping[str, Any]) -> AnyRecipe:
    """A recipe from plain values, lists for tuples, as TOML and JSON give them."""
    known = [field.name for field in fields(kind)]
    for key in mapping:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
            raise ConfigError(f"unknown key {key!r} in the recipe; {hint}")
    try:
        return kind(**{key: _tuples(value) for key, value in mapping.items()})
    except (TypeError, IndexError) as error:
        raise ConfigError(f"a value of the wrong kind in the recipe: {error}") from None


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class PaperRecipe:
    """Training of the seed paper's network: the schedule under which it fits; `released` has the authors'."""

    steps: int = 6500
    batch: int = 16
    rate: float = 2e-3  # of Adam
    likelihood: bool = True  # noise-weighted loss; False for the absolute difference, weighted by kl and ramp
    # Weight of KL a nat, of the likelihood: fit first, then squeeze nodes out, then let those left fit.
    beta: Points = ((0.15, 10.0), (0.35, 300.0), (0.75, 300.0), (0.9, 30.0))
    floor: Points = ((0.0, 0.01),)  # relative flux, added to sigma in the likelihood
    clip: float = 10.0  # norm of the gradient of the loss a pixel, from which it is cut; 0 for never
    kl: float = 0.3  # of the absolute difference: last weight of the KL's mean over nodes
    ramp: tuple[float, float] = (0.1, 0.4)  # fractions; 0 before the first, `kl` after the second
    betas: tuple[float, float] = (0.9, 0.999)
    decay: float = 0.0
    warm_up: float = 0.03  # share of the steps in which the rate rises
    last_rate: float = 0.02  # of the rate, where the cosine ends; 1 for none
    alone: float = 0.0
    seek: float = 0.0
    # a network of one kind of layers has no shift, no bound nodes and nothing to prune
    velocity_rate: float = 1.0
    prune_at: tuple[float, ...] = ()
    prune_kl: tuple[float, ...] = ()
    give_back: tuple[float, ...] = ()
    prune_share: float = 0.0
    overlap: float = 1.0
    seeds: int = 0
    agree: float = 0.0
    still: float = 0.0
    whiten: float = 0.0

    def __post_init__(self) -> None:
        _positive(self, "steps", "batch", "rate", "kl")
        _rising("ramp", self.ramp)
        for name in ("beta", "floor"):
            _rising(name, [at for at, _ in getattr(self, name)])
        if any(not (weight > 0 and math.isfinite(weight)) for _, weight in self.beta):
            raise ConfigError(f"beta {self.beta}: every weight must be positive and finite")
        if not (self.clip >= 0 and math.isfinite(self.clip)):
            raise ConfigError(f"clip {self.clip} must be at least 0; 0 cuts no gradient")

    def rate_at(self, step: int) -> float:
        """Learning rate of a step."""
        return _warm_cosine(step, self)

    def beta_at(self, fraction: float, *, signal: float, misfit: float) -> float:
        """Weight of KL, or of its mean over nodes without likelihood; it hangs on the fraction alone."""
        if self.likelihood:
            return _interpolate(self.beta, fraction, log=True)
        begin, full = self.ramp
        return self.kl * min(1.0, max(0.0, (fraction - begin) / (full - begin)))

    def clip_at(self, pixels: int) -> float:
        """Norm from which the gradient of the loss is cut, 0 for never; a likelihood sums over pixels."""
        return self.clip * (pixels if self.likelihood else 1)

    def floor_at(self, fraction: float) -> float:
        """Error floor in relative flux, of the likelihood."""
        return _interpolate(self.floor, fraction, log=True)

    def blur_at(self, fraction: float) -> float:
        """The residual is never blurred."""
        return 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def released(**overrides: Any) -> PaperRecipe:
    """The authors' own: absolute difference and KL at .3, Adam at 1e-4 throughout, batches of 32.

    They took 1,500,000 steps, with the ramp of KL from 5,000 to 20,000; here it is told in fractions. In
    thousands of steps it collapses: no node carries anything.
    """
    theirs = {"batch": 32, "rate": 1e-4, "likelihood": False, "clip": 0.0, "warm_up": 0.0, "last_rate": 1.0}
    return from_mapping(PaperRecipe, theirs | overrides)


def _warm_cosine(step: int, recipe: Recipe | PaperRecipe) -> float:
    rise = max(1.0, recipe.warm_up * recipe.steps)
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / recipe.steps)))
    return recipe.rate * min(1.0, (step + 1) / rise) * (recipe.last_rate + (1 - recipe.last_rate) * fall)


def _interpolate(points: Points, fraction: float, *, log: bool) -> float:
    """The curve through `points`, flat beyond its ends; straight in the logarithm where `log`."""
    if fraction <= points[0][0]:
        return points[0][1]
    for (low, a), (high, b) in pairwise(points):
        if fraction < high:
            t = (fraction - low) / (high - low)
            return math.exp((1 - t) * math.log(a) + t * math.log(b)) if log else (1 - t) * a + t * b
    return points[-1][1]


def _positive(recipe: object, *names: str) -> None:
    for name in names:
        value = getattr(recipe, name)
        if not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"{name} {value} must be positive and finite")


def _rising(name: str, fractions: tuple[float, ...] | list[float]) -> None:
    wrong = any(not 0 <= at <= 1 for at in fractions) or any(a >= b for a, b in pairwise(fractions))
    if wrong:
        raise ConfigError(f"{name} at {list(fractions)}: fractions of the training must rise from 0 to 1")


AnyRecipe = TypeVar("AnyRecipe", Recipe, PaperRecipe)
