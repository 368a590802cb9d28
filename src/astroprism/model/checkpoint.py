"""Models and unfinished trainings on disk: safetensors and JSON, no pickles; written aside, then renamed.

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
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .. import __version__
from ..artifacts import Format, aside, differences, write_json
from ..errors import ModelError
from ..network import PaperConfig, PaperNetwork, Prism, PrismConfig
from ..schema import MODEL, ModelFacts, NetworkFacts

STATE = Format("astroprism-training", 1)
KINDS: dict[str, tuple[type[nn.Module], type]] = {
    "prism": (Prism, PrismConfig),
    "paper": (PaperNetwork, PaperConfig),
}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], *, about: Mapping[str, Any]) -> None:
    """Tensors and a JSON object in one file; what was there stays until all is on the disk."""
    held = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        with aside(path) as part:
            part.write_bytes(b"")
            rights = part.stat().st_mode  # as the user's files are: safetensors' own are for the owner alone
            save_file(held, part, metadata={"about": json.dumps(about)})  # `save` would hold it all twice
            part.chmod(rights)
    except SafetensorError as error:  # the library raises it for a full disk, too
        raise ModelError(f"{path} cannot be written ({error}); make room there, then run it again") from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the object of `write_tensors`."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise ModelError(f"{path} is not there; run: astroprism train") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{path} is damaged or no safetensors file ({error}); delete it and train again"
        ) from None
    if not isinstance(about, dict):
        raise ModelError(
            f"{path} was not written by astroprism: it does not say what it is; delete it and train again"
        )
    return tensors, about


class State(NamedTuple):
    """A training at one step: all that is needed to continue as if nothing had happened."""

    tensors: dict[str, Tensor]  # 'network.<name>', 'optimizer.<number>.<name>' and the training's own
    facts: dict[str, Any]  # for JSON


def state_tensors(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Copies of all that a network and its optimiser hold."""
    tensors = {f"network.{name}": value.detach().clone() for name, value in network.state_dict().items()}
    for i, state in optimizer.state_dict()["state"].items():
        for key, value in state.items():
            tensors[f"optimizer.{i}.{key}"] = torch.as_tensor(value).detach().clone()
    return tensors


def restore(network: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give back what `state_tensors` took."""
    plain = optimizer.state_dict()
    plain["state"] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, i, key = name.split(".")
            plain["state"].setdefault(int(i), {})[key] = value.clone()
    optimizer.load_state_dict(plain)
    network.load_state_dict(_of_network(tensors))


def write_state(path: Path, state: State, *, made_from: Mapping[str, Any]) -> None:
    """An unfinished training, whole."""
    about = {**STATE.header, "made_from": made_from, "facts": state.facts}
    write_tensors(path, state.tensors, about=about)


def read_state(
    path: Path, optimizer: torch.optim.Optimizer, *, like: State, made_from: Mapping[str, Any]
) -> State | list[str]:
    """The unfinished training at `path`; the names of what differs where it was made from something else.

    A file that is damaged, foreign or does not fit the training at hand, `like`, is an error.
    """
    tensors, about = read_tensors(path)
    whole = all(isinstance(about.get(key), dict) for key in ("made_from", "facts"))
    if not STATE.fits(about) or not whole:
        raise ModelError(
            f"{path} is of format {about.get('format')!r} {about.get('format_version')}, not an unfinished "
            f"training of this version, {STATE.name!r} {STATE.version}; delete it and train again"
        )
    if other := differences(about["made_from"], made_from):
        return other
    expected = {k: shape for k, shape in _shapes(like.tensors).items() if not k.startswith("optimizer.")}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if not any(name.startswith("optimizer.") for name in tensors):
        parameters = []  # an optimiser holds nothing before the first step
    for i, parameter in enumerate(parameters):
        for key in ("exp_avg", "exp_avg_sq", "step"):
            expected[f"optimizer.{i}.{key}"] = () if key == "step" else tuple(parameter.shape)
    _compare(tensors, expected, where=path)
    if like.facts.keys() != about["facts"].keys():
        raise ModelError(
            f"{path} is not the state of this training: expected {', '.join(sorted(like.facts))}, found "
            f"{', '.join(sorted(about['facts'])) or 'nothing'}; delete it and train again"
        )
    return State(tensors, about["facts"])


def network_facts(network: Prism | PaperNetwork) -> NetworkFacts:
    """What rebuilds an untrained network like this one."""
    kind = next(name for name, (kind, _) in KINDS.items() if isinstance(network, kind))
    return NetworkFacts(kind=kind, config=asdict(network.config))


def build_network(facts: NetworkFacts, *, where: Path) -> Prism | PaperNetwork:
    """An untrained network from `network_facts`."""
    try:
        network, config = KINDS[facts.kind]
        settings = {key: tuple(v) if isinstance(v, list) else v for key, v in facts.config.items()}
        built: Prism | PaperNetwork = network(config(**settings))  # type: ignore[assignment]
    except (KeyError, TypeError) as error:
        raise ModelError(
            f"{where} names no network that this version can build ({error}); it may come from another "
            f"version of astroprism ({__version__} here): train again"
        ) from None
    return built


def write_model(
    folder: Path, network: Prism | PaperNetwork, *, unpruned: Mapping[str, Tensor], facts: ModelFacts
) -> None:
    """A finished training: both weights, then model.json, whose presence means that all is there."""
    content = {name: value for name, value in facts.to_json().items() if name != "versions"} | MODEL.header
    write_tensors(folder / "weights.safetensors", network.state_dict(), about=content)
    write_tensors(folder / "unpruned.safetensors", unpruned, about=content)
    versions = {"astroprism": __version__, "torch": torch.__version__, "python": platform.python_version()}
    write_json(ModelFacts.path_in(folder), content | {"versions": versions})


def read_model(folder: Path, *, unpruned: bool = False) -> tuple[Prism | PaperNetwork, ModelFacts]:
    """The trained network, ready to encode, and model.json."""
    path = ModelFacts.path_in(folder)
    if not path.exists():
        raise ModelError(f"{folder} holds no finished model; run: astroprism train {folder.parent}")
    facts = ModelFacts.read(path)
    network = build_network(facts.network, where=path)
    weights = folder / ("unpruned.safetensors" if unpruned else "weights.safetensors")
    load_weights(network, read_tensors(weights)[0], where=weights)
    return network.eval(), facts


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], *, where: Path) -> None:
    """Set a network's weights; names and shapes must be its own."""
    _compare(tensors, _shapes(network.state_dict()), where=where)
    network.load_state_dict(dict(tensors))


def _of_network(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in tensors.items()}


def _compare(tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], *, where: Path) -> None:
    """Names and shapes must be those expected."""
    found = _shapes(tensors)
    wrong = sorted(name for name in expected.keys() | found if expected.get(name) != found.get(name))
    if wrong:
        raise ModelError(
            f"{where} does not fit its network: {len(wrong)} tensors differ, first {wrong[0]} (expected "
            f"{expected.get(wrong[0], 'none')}, found {found.get(wrong[0], 'none')}); "
            "delete it and train again"
        )
