"""Where tensors live: names of devices, and the best one that is here."""

from __future__ import annotations

import os

from .checks import check_choice
from .errors import ConfigError

DEVICES = ("auto", "cpu", "cuda", "mps")
BATCH_PIXELS = {"cpu": 2**20, "cuda": 2**24, "mps": 2**22}  # that go through a network at once


def check_device(name: str) -> None:
    """Refuse a name that is none of DEVICES; torch is not needed to say so."""
    check_choice("device", name, DEVICES)


def device_for(name: str) -> str:
    """cpu, cuda or mps; auto is the best that is here."""
    import torch

    check_device(name)
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    chosen = next(device for device, there in here.items() if there) if name == "auto" else name
    if not here[chosen]:
        raise ConfigError(f"device {name!r}: torch {torch.__version__} finds none here; use cpu or auto")
    return chosen


def first_process() -> bool:
    """False in the other processes that torchrun started: only the first one writes."""
    return os.environ.get("RANK", "0") == "0"
