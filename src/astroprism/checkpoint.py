"""Models and unfinished trainings on disk: safetensors and JSON, never pickles; written aside, then renamed.

model/weights.safetensors     the network with weak nodes off
model/unpruned.safetensors    the same training with every node on: what the counts read
model/model.json              what the network is and what it was made from
model/checkpoint/state.safetensors   an unfinished training, whole
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from . import __version__
from .errors import ModelError
from .layout import blame, read_json, write_aside
from .network import PaperConfig, PaperNetwork, Prism, PrismConfig

FORMAT, VERSION = "astroprism-model", 1
KINDS: dict[str, tuple[type[nn.Module], type]] = {
    "prism": (Prism, PrismConfig),
    "paper": (PaperNetwork, PaperConfig),
}


def versions() -> dict[str, str]:
    """What the numbers may hang on besides the code."""
    return {"astroprism": __version__, "torch": torch.__version__, "python": platform.python_version()}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], *, about: Mapping[str, Any]) -> None:
    """Tensors and a JSON object in one file, all or nothing."""
    with blame(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    held = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_aside(path, save(held, metadata={"about": json.dumps(about)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the object of `write_tensors`."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise ModelError(f"{path} is not there; run: astroprism train") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is damaged or no safetensors file ({error}); train again") from None
    if not isinstance(about, dict):
        raise ModelError(f"{path} was not written by astroprism: it does not say what it is; train again")
    return tensors, about


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All that an optimiser holds of its parameters, as 'optimizer.<number>.<name>'."""
    return {
        f"optimizer.{i}.{key}": torch.as_tensor(value).detach().clone()
        for i, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give back what `optimizer_tensors` took."""
    plain = optimizer.state_dict()
    plain["state"] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, i, key = name.split(".")
            plain["state"].setdefault(int(i), {})[key] = value.clone()
    optimizer.load_state_dict(plain)


def kind_of(network: nn.Module) -> str:
    """'prism' or 'paper'."""
    return next(name for name, (kind, _) in KINDS.items() if isinstance(network, kind))


def network_facts(network: Prism | PaperNetwork) -> dict[str, Any]:
    """What rebuilds an untrained network like this one."""
    return {"kind": kind_of(network), "config": asdict(network.config)}


def build_network(facts: Mapping[str, Any], *, where: Path) -> Prism | PaperNetwork:
    """An untrained network from `network_facts`."""
    try:
        network, config = KINDS[facts["kind"]]
        settings = {key: tuple(v) if isinstance(v, list) else v for key, v in facts["config"].items()}
        built: Prism | PaperNetwork = network(config(**settings))  # type: ignore[assignment]
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{where} names no network that this version can build ({error}); it may come from another "
            f"version of astroprism ({__version__} here): train again"
        ) from None
    return built


def write_model(
    folder: Path, network: Prism | PaperNetwork, *, unpruned: Mapping[str, Tensor], about: Mapping[str, Any]
) -> None:
    """A finished training: both weights, then model.json, whose presence says that all is there."""
    facts = {"format": FORMAT, "format_version": VERSION, "network": network_facts(network), **about}
    write_tensors(folder / "weights.safetensors", network.state_dict(), about=facts)
    write_tensors(folder / "unpruned.safetensors", unpruned, about=facts)
    write_aside(
        folder / "model.json", (json.dumps(facts | {"versions": versions()}, indent=1) + "\n").encode()
    )


def read_model(folder: Path, *, unpruned: bool = False) -> tuple[Prism | PaperNetwork, dict[str, Any]]:
    """The trained network, ready to encode, and model.json."""
    path = folder / "model.json"
    if not path.exists():
        raise ModelError(f"{folder} holds no finished model; run: astroprism train {folder.parent}")
    about = read_json(path)
    if about.get("format") != FORMAT or about.get("format_version") != VERSION:
        raise ModelError(
            f"{path} is of format {about.get('format')!r} {about.get('format_version')}; this version of "
            f"astroprism reads {FORMAT!r} {VERSION}: train again"
        )
    network = build_network(about["network"], where=path)
    weights = folder / ("unpruned.safetensors" if unpruned else "weights.safetensors")
    load_weights(network, read_tensors(weights)[0], where=weights)
    return network.eval(), about


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], *, where: Path) -> None:
    """Set a network's weights; names and shapes must be its own."""
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    if expected != found:
        wrong = sorted(
            name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
        )
        raise ModelError(
            f"{where} does not fit its network: {len(wrong)} tensors differ, first {wrong[0]} (expected "
            f"{expected.get(wrong[0], 'none')}, found {found.get(wrong[0], 'none')}); train again"
        )
    network.load_state_dict(dict(tensors))
