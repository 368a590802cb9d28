"""How training goes: what changes with the step and when, and what a user may choose. No torch here.

Schedules depend on the fraction of the steps done, so that a short and a long training take the same course,
and on the data: `beta` and every bound are in nats, and nats grow with pixels and SNR.

    TrainOptions     of the command line and the Python interface
    Recipe, sized    of the prism; `sized` fits the default to the spectra at hand
    PaperRecipe      of the seed paper's network; `released` is its authors' own
    read_config      fields of a recipe from a TOML file
"""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from ..checks import check_choice, check_positive, name_hint
from ..device import check_device
from ..errors import ConfigError
from ..targets import split
from ..targets.plan import TEST, VALID, check_folds

Points = tuple[tuple[float, float], ...]  # (fraction of the steps, value): a curve, straight in the logarithm

RELAX = 0.15  # of the steps, over which `blur_lock` gives way to `lock`


@dataclass(frozen=True)
class Recipe:
    """The prism's training. One default for every archive: `sized` fits it to the spectra at hand.

    Fractions are of the steps. The signal is the nats per spectrum that the archive's variance is worth; the
    misfit those that the network does not explain yet. docs/design/training.md explains each part.
    """

    # --- length and optimiser
    steps: int = 3000
    batch: int = 128
    rate: float = 3e-3  # of AdamW; 1e-3 is slower, 5e-3 loses the Doppler node
    velocity_rate: float = 3.0  # times that, for the gain of the shift
    warm_up: float = 0.06  # fraction in which the rate rises
    last_rate: float = 0.01  # of the rate, where the cosine ends
    decay: float = 0.0  # AdamW's weight decay
    betas: tuple[float, float] = (0.9, 0.99)  # AdamW's

    # --- coarse to fine: a line beside its model gives no gradient until both are blurred into each other
    blur: Points = ((0.0, 60.0), (0.08, 2.0))  # km/s, of the residuals; after the last point there is none

    # --- beta, the weight of KL per nat: as a share of the signal, then never below `least_beta`. Strong
    # causes are learned first, while their misfit hides weak ones.
    beta: Points = ((0.06, 0.018), (0.25, 1.4e-3), (0.38, 2.6e-4), (0.5, 9e-5), (0.7, 3.5e-5))
    least_beta: float = 2.0
    # Of beta, what nodes that move star or atmosphere pay where the latter moves most: a faint star before a
    # deep atmosphere, which rules the signal, would not be worth the five nats that its velocity takes.
    move_share: float = 0.1
    # The lock: beta is never below misfit / lock. A node whose codes cost 3 nats must then explain a tenth of
    # what is unexplained; without it, the misfit of strong causes feeds every node before they are fitted.
    lock: float = 32.0
    blur_lock: float = 32.0  # the same while residuals are blurred
    most_beta: float = 0.018  # the largest beta that the lock may set, as a share of the signal
    # relative flux, added to sigma: what need not be explained; the learned scatter takes its place
    floor: Points = ((0.5, 0.01), (0.7, 0.003))
    scatter_from: float = 0.5  # fraction from which the scatter per pixel is learned
    scatter_rate: float = 0.05  # of its running mean, per step
    scatter_watched: float = 0.04  # fraction in which it is measured before it is used: no more is granted

    # --- the velocity first: until `alone` only the Doppler node is on, against one mean star. A velocity
    # that several nodes share is never put together again.
    alone: float = 0.1
    seek: float = 0.02  # of the signal per pixel: pull towards the shift that cross-correlation finds

    # --- nodes: weak ones and copies are switched off, all come back to a cleaner residual
    prune_at: tuple[float, ...] = (0.38, 0.6, 0.75)  # fractions
    prune_kl: tuple[float, ...] = (0.3, 0.5, 0.5)  # nats of KL that a node must carry, as to be counted
    prune_share: float = 0.02  # of the misfit that a node must explain, where that is more than `prune_bound`
    overlap: float = 0.5  # of what two nodes do to the spectra, from which the weaker is a copy
    give_back: tuple[float, ...] = (0.48, 0.62, 0.78)  # fractions; after the last, none is pruned
    seeds: int = 2  # nodes that start on a lead in the residuals when nodes come back
    # whether nodes come, and come back, without a lead, too; of one star spectra differ by so little
    # that the noise of thirty idle nodes hides it
    crowd: bool = True
    # fraction in which these pay little: the encoder has them at once, the decoder must learn what they do
    spare: float = 0.05

    # --- penalties
    agree: float = 10.0  # nats per pixel by which the first look must agree with the decoder's shift
    still: float = 1000.0  # nats per pixel^2 by which the star must not drift against the mean star

    air: float = 0.01  # pull of the atmosphere towards 1, as a share of a pixel's usual weight

    # --- velocity whitening: spectra are moved at random by up to this, so that star and air separate
    whiten: float = 0.0  # km/s

    def __post_init__(self) -> None:
        _positive(self, "steps", "batch", "rate", "velocity_rate", "least_beta", "lock", "overlap")
        _positive(self, "blur_lock", "most_beta", "move_share")
        _rising("scatter_watched", (self.scatter_watched,))
        _rising("spare", (self.spare,))
        for name in ("beta", "floor", "blur"):
            _rising(name, [at for at, _ in getattr(self, name)])
        _rising("prune_at", self.prune_at)
        _rising("give_back", self.give_back)
        if len(self.prune_kl) != len(self.prune_at):
            raise ConfigError(
                f"prune_at has {len(self.prune_at)} moments, prune_kl {len(self.prune_kl)} bounds; one each"
            )

    def rate_at(self, step: int) -> float:
        """Learning rate of a step: a warm-up, then a cosine."""
        return _warm_cosine(step, self)

    def beta_at(self, fraction: float, *, signal: float, misfit: float) -> float:
        """Weight of KL per nat; signal and misfit in nats per spectrum."""
        planned = _interpolate(self.beta, fraction) * signal
        sharp = self.blur[-1][0] if self.blur else 0.0
        lock = _interpolate(((sharp, self.blur_lock), (sharp + RELAX, self.lock)), fraction)
        locked = min(misfit / lock, self.most_beta * signal)
        return max(planned, locked, self.least_beta)

    def move_beta(self, beta: float) -> float:
        """What nodes that move star or atmosphere pay, where others pay `beta`."""
        return min(beta, max(self.move_share * beta, self.least_beta))

    def floor_at(self, fraction: float) -> float:
        """Error floor in relative flux."""
        return _interpolate(self.floor, fraction)

    def blur_at(self, fraction: float) -> float:
        """Width in km/s by which the residuals are smoothed, 0 for not at all."""
        over = not self.blur or fraction >= self.blur[-1][0]
        return 0.0 if over else _interpolate(self.blur, fraction)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


# Without physics in the decoder, a velocity is a straight line in the space of spectra only while lines are
# wide: so a wide and long blur, with beta so high that a second node cannot pay for the rest of the curve.
AGNOSTIC: Mapping[str, Any] = {
    "steps": 8000,
    "alone": 0.0,
    "beta": ((0.0, 3.5e-5),),
    "blur_lock": 8.0,
    "lock": 512.0,  # its decoder has to draw moving lines, and leaves misfit that no node explains
    "most_beta": 0.03,
    "blur": ((0.0, 400.0), (0.08, 300.0), (0.32, 10.0), (0.4, 2.0)),
    "scatter_from": 0.85,  # until then it still draws lines, and what it misses is no scatter
    "prune_at": (0.48, 0.7, 0.82),
    "give_back": (0.6, 0.9),
}


FEWEST_BATCHES = 16  # per epoch


def _power_of_two(x: int) -> int:
    """The largest power of two that is no more than x, at least 1."""
    return 1 << (max(1, x).bit_length() - 1)


def sized(
    overrides: Mapping[str, Any] | None = None,
    *,
    spectra: int,
    pixels: int,
    agnostic: bool = False,
    one_star: bool = False,
) -> Recipe:
    """The default recipe for that many training spectra of that many pixels.

    overrides  fields that the user set; an unknown one is an error
    agnostic   for a network without physics
    one_star  for series of one star
    """
    plan: Mapping[str, Any] = AGNOSTIC if agnostic else {}
    steps = plan.get("steps", 3000)
    # A small archive in large batches is drawn hundreds of times and learned by heart: of 1,160 spectra,
    # chi2 .86 in training and 1.17 held out with 128, .94 and 1.08 with 64.
    most = min(128, _power_of_two(2**24 // pixels), max(16, _power_of_two(spectra // FEWEST_BATCHES)))
    size: dict[str, Any] = {
        **plan,
        "batch": max(16, most),
        # more spectra deserve more steps, though not in proportion: each is drawn less often
        "steps": round(steps * min(12.0, max(1.0, spectra / 10_000)) ** 0.5 / 100) * 100,
        "crowd": agnostic or not one_star,
    }
    return from_mapping(Recipe, {**size, **(overrides or {})})


@dataclass(frozen=True)
class PaperRecipe:
    """Training of the seed paper's network: the schedule under which it fits; `released` has the authors'."""

    steps: int = 6500
    batch: int = 16
    rate: float = 2e-3  # of Adam
    likelihood: bool = True  # noise-weighted loss; False for the absolute difference, weighted by kl and ramp
    # Weight of KL per nat, of the likelihood: fit first, then squeeze nodes out, then fit with the others.
    beta: Points = ((0.15, 10.0), (0.35, 300.0), (0.75, 300.0), (0.9, 30.0))
    floor: Points = ((0.0, 0.01),)  # relative flux, added to sigma in the likelihood
    clip: float = 10.0  # norm of the gradient of the loss per pixel, from which it is cut; 0 for never
    kl: float = 0.3  # of the absolute difference: last weight of the KL's mean over nodes
    ramp: tuple[float, float] = (0.1, 0.4)  # fractions; 0 before the first, `kl` after the second
    betas: tuple[float, float] = (0.9, 0.999)
    decay: float = 0.0
    warm_up: float = 0.03  # fraction in which the rate rises
    last_rate: float = 0.02  # of the rate, where the cosine ends; 1 for none
    whiten: float = 0.0
    # INERT: a network of one kind of layers has no shift, no nodes with places of their own, nothing to prune
    alone: float = 0.0
    seek: float = 0.0
    velocity_rate: float = 1.0
    prune_at: tuple[float, ...] = ()
    prune_kl: tuple[float, ...] = ()
    give_back: tuple[float, ...] = ()
    prune_share: float = 0.0
    overlap: float = 1.0
    seeds: int = 0
    crowd: bool = True
    spare: float = 0.0
    agree: float = 0.0
    still: float = 0.0
    air: float = 0.0
    scatter_from: float = 1.0
    scatter_rate: float = 0.0
    scatter_watched: float = 0.0

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
        """Weight of KL, or of its mean over nodes without likelihood; it depends on the fraction alone."""
        if self.likelihood:
            return _interpolate(self.beta, fraction)
        begin, full = self.ramp
        return self.kl * min(1.0, max(0.0, (fraction - begin) / (full - begin)))

    def move_beta(self, beta: float) -> float:
        """The same: no node of it moves anything."""
        return beta

    def clip_at(self, pixels: int) -> float:
        """Norm from which the gradient of the loss is cut, 0 for never; a likelihood sums over pixels."""
        return self.clip * (pixels if self.likelihood else 1)

    def floor_at(self, fraction: float) -> float:
        """Error floor in relative flux, of the likelihood."""
        return _interpolate(self.floor, fraction)

    def blur_at(self, fraction: float) -> float:
        """The residuals are never blurred."""
        return 0.0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


# fmt: off
INERT = ("alone", "velocity_rate", "prune_at", "prune_kl", "give_back", "prune_share", "overlap", "seeds",
         "crowd", "spare", "agree", "still", "air", "scatter_from", "scatter_rate", "scatter_watched")
# fmt: on


def released(**overrides: Any) -> PaperRecipe:
    """The authors' own: absolute difference and KL at .3, Adam at 1e-4 throughout, batches of 32.

    They took 1,500,000 steps, with the ramp of KL from 5,000 to 20,000; here the ramp is in fractions. In
    thousands of steps it collapses: no node carries anything.
    """
    theirs = {"batch": 32, "rate": 1e-4, "likelihood": False, "clip": 0.0, "warm_up": 0.0, "last_rate": 1.0}
    return from_mapping(PaperRecipe, theirs | overrides)


# --- what a user chooses


@dataclass(frozen=True)
class TrainOptions:
    """What is trained, on what, for how long."""

    network: str = "prism"  # or 'paper', the seed paper's, for any grid
    steps: int | None = None  # None: the recipe's own number
    minutes: float | None = None  # instead of steps: turned into a number of steps at the start, then kept
    seed: int = 0  # of the weights' start, of every draw and of the split
    device: str = "auto"  # cpu, cuda or mps
    balance: str = "target"  # each star counts as one; 'none': each spectrum
    agnostic: bool = False  # a prism without physics: no shift, no star times atmosphere
    whiten: float = 0.0  # km/s: spectra are moved at random by up to this in training
    config: str | os.PathLike[str] | None = None  # TOML file that fills fields of the recipe
    valid: float = VALID  # share of the targets on which training is judged
    # share of the targets that training does not read; None: a tenth, or less where evidence is cross-fitted
    test: float | None = None
    folds: int | None = None  # of cross-fitting; None: where too few targets would be held out; 0: never

    def __post_init__(self) -> None:
        check_choice("network", self.network, tuple(RECIPES))
        check_device(self.device)
        check_choice("balance", self.balance, ("target", "none"))
        if self.steps is not None and self.minutes is not None:
            raise ConfigError("steps and minutes are both given; give one")
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"{self.steps} steps; at least 1 is needed")
        if self.minutes is not None and not (self.minutes > 0 and math.isfinite(self.minutes)):
            raise ConfigError(f"{self.minutes} minutes; a positive number is needed")
        if self.seed < 0:
            raise ConfigError(f"seed {self.seed} must be at least 0")
        if not (self.whiten >= 0 and math.isfinite(self.whiten)):
            raise ConfigError(f"whiten {self.whiten} km/s must be at least 0")
        if self.agnostic and self.network == "paper":
            raise ConfigError("the paper's network has no physics to leave out: drop agnostic")
        if self.whiten and self.agnostic:
            raise ConfigError(
                "whiten moves the atmosphere by a known velocity, which an agnostic network does not read: "
                "drop one of the two"
            )
        # refuses shares that make no split
        split.assign([], self.seed, valid=self.valid, test=TEST if self.test is None else self.test)
        check_folds(self.folds)

    def in_file(self) -> dict[str, Any]:
        """What the configuration file sets."""
        return {} if self.config is None else read_config(self.config, network=self.network)

    def recipe(self, *, spectra: int, pixels: int, one_star: bool = False) -> Recipe | PaperRecipe:
        """The recipe for that many training spectra; options go before the file, the file before defaults."""
        found = self.in_file()
        if self.minutes is not None:
            found.pop("steps", None)
        if self.steps is not None:
            found["steps"] = self.steps
        found["whiten"] = self.whiten
        if self.network == "prism":
            return sized(found, spectra=spectra, pixels=pixels, agnostic=self.agnostic, one_star=one_star)
        if found.get("likelihood", True):
            return from_mapping(PaperRecipe, found)
        return released(**found)  # the absolute difference comes with the authors' schedule


RECIPES: dict[str, type[Recipe | PaperRecipe]] = {"prism": Recipe, "paper": PaperRecipe}


def read_config(path: str | os.PathLike[str], *, network: str) -> dict[str, Any]:
    """Fields of a network's recipe from a TOML file (in a table [train], or at the top)."""
    try:
        content: dict[str, Any] = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}") from None
    content = content.get("train", content)
    # `whiten` is an option of its own
    other = ("whiten", *(INERT if network == "paper" else ()))
    defaults = {field.name: field.default for field in fields(RECIPES[network]) if field.name not in other}
    for key, value in content.items():
        if key not in defaults:
            raise ConfigError(
                f"{path}: the recipe of the {network} network has no key {key!r}; {name_hint(key, defaults)}"
            )
        if not _alike(value, defaults[key]):
            example = json.dumps(defaults[key])
            raise ConfigError(f"{path}: {key} = {value!r}; something like {example} is needed")
    return content


def from_mapping(kind: type[AnyRecipe], mapping: Mapping[str, Any]) -> AnyRecipe:
    """A recipe from plain values, lists for tuples, as TOML and JSON give them."""
    known = [field.name for field in fields(kind)]
    for key in mapping:
        if key not in known:
            raise ConfigError(f"unknown key {key!r} in the recipe; {name_hint(key, known)}")
    try:
        return kind(**{key: _tuples(value) for key, value in mapping.items()})
    except (TypeError, IndexError) as error:
        raise ConfigError(f"a value of the wrong kind in the recipe: {error}") from None


AnyRecipe = TypeVar("AnyRecipe", bound=Recipe | PaperRecipe)


# --- curves and checks


def _warm_cosine(step: int, recipe: Recipe | PaperRecipe) -> float:
    rise = max(1.0, recipe.warm_up * recipe.steps)
    fall = 0.5 * (1 + math.cos(math.pi * min(1.0, step / recipe.steps)))
    return recipe.rate * min(1.0, (step + 1) / rise) * (recipe.last_rate + (1 - recipe.last_rate) * fall)


def _interpolate(points: Points, fraction: float) -> float:
    """The curve through `points`, straight in the logarithm and flat beyond its ends."""
    if fraction <= points[0][0]:
        return points[0][1]
    for (low, a), (high, b) in pairwise(points):
        if fraction < high:
            t = (fraction - low) / (high - low)
            return math.exp((1 - t) * math.log(a) + t * math.log(b))
    return points[-1][1]


def _positive(recipe: object, *names: str) -> None:
    for name in names:
        check_positive(name, getattr(recipe, name))


def _rising(name: str, fractions: tuple[float, ...] | list[float]) -> None:
    wrong = any(not 0 <= at <= 1 for at in fractions) or any(a >= b for a, b in pairwise(fractions))
    if wrong:
        raise ConfigError(f"{name} at {list(fractions)}: fractions of the training must rise from 0 to 1")


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


def _alike(value: Any, default: Any) -> bool:
    """Is `value` of the kind of a field's default?"""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, tuple):
        return isinstance(value, list) and all(_alike(item, default[0]) for item in value if default)
    if isinstance(default, int):
        return isinstance(value, int)
    return isinstance(value, int | float)
