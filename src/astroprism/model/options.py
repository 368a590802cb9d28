"""What a training is asked: options of the command line, and a TOML file that fills the recipe."""

from __future__ import annotations

import difflib
import json
import math
import os
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..device import check_device
from ..errors import ConfigError
from ..targets import split
from .recipe import PaperRecipe, Recipe

RECIPES: dict[str, type[Recipe | PaperRecipe]] = {"prism": Recipe, "paper": PaperRecipe}
# what other options set, or what a network of one kind of layers does not have: no key of its file
SET_ELSEWHERE = ("whiten",)
INERT = (
    "alone",
    "velocity_rate",
    "prune_at",
    "prune_kl",
    "give_back",
    "prune_share",
    "overlap",
    "seeds",
    "agree",
    "still",
)


@dataclass(frozen=True)
class TrainOptions:
    """What is trained, on what, for how long."""

    network: str = "prism"  # or 'paper', the seed paper's, for any grid
    steps: int | None = None  # None: the recipe's own number
    minutes: float | None = None  # instead of steps: turned into a number of steps once, then kept
    seed: int = 0  # of the weights' start, of every draw and of the split
    device: str = "auto"  # cpu, cuda or mps
    balance: str = "target"  # each star counts once; 'none': each spectrum
    agnostic: bool = False  # a prism without physics: no shift, no star times atmosphere
    whiten: float = 0.0  # km/s: spectra are thrown about by up to this in training
    config: str | os.PathLike[str] | None = None  # TOML file that fills fields of the recipe
    valid: float = 0.1  # share of the targets that tells how training goes
    test: float = 0.1  # share of the targets that training never touches

    def __post_init__(self) -> None:
        if self.network not in RECIPES:
            raise ConfigError(f"network {self.network!r} is neither 'prism' nor 'paper'")
        check_device(self.device)
        if self.balance not in ("target", "none"):
            raise ConfigError(f"balance {self.balance!r} is neither 'target' nor 'none'")
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
        split.assign([], self.seed, valid=self.valid, test=self.test)

        if self.whiten and self.agnostic:
            raise ConfigError(
                "whiten moves the atmosphere by a known velocity, which an agnostic network cannot be told: "
                "drop one of the two"
            )

    def in_file(self) -> dict[str, Any]:
        """What the configuration file sets."""
        return {} if self.config is None else read_config(self.config, network=self.network)

    def overrides(self) -> dict[str, Any]:
        """Fields of the recipe that the configuration file and the options set; options go before."""
        found = self.in_file()
        if self.minutes is not None:
            found.pop("steps", None)
        if self.steps is not None:
            found["steps"] = self.steps
        return found | {"whiten": self.whiten}


def read_config(path: str | os.PathLike[str], *, network: str) -> dict[str, Any]:
    """Fields of a network's recipe from a TOML file (in a table [train], or at the top)."""
    try:
        content: dict[str, Any] = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}") from None
    content = content.get("train", content)
    kind = RECIPES[network]
    inert = SET_ELSEWHERE + (INERT if network == "paper" else ())
    defaults = {field.name: field.default for field in fields(kind) if field.name not in inert}
    for key, value in content.items():
        if key not in defaults:
            close = difflib.get_close_matches(key, defaults, n=1)
            known = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(defaults)}"
            raise ConfigError(f"{path}: the recipe of the {network} network has no key {key!r}; {known}")
        if not _alike(value, defaults[key]):
            raise ConfigError(f"{path}: {key} = {value!r}; something like {_shown(defaults[key])} is needed")
    return content


def _alike(value: Any, default: Any) -> bool:
    """Is `value` of the kind of a field's default?"""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, tuple):
        return isinstance(value, list) and all(_alike(item, default[0]) for item in value if default)
    if isinstance(default, int):
        return isinstance(value, int)
    return isinstance(value, int | float)


def _shown(default: Any) -> str:
    return json.dumps(default)
