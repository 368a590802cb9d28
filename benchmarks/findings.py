"""Known answers for `find`: counts, matches and false discoveries on archives whose causes are known.

For each number of causes and each seed an archive of its own (12,000 spectra of 2,048 pixels, 2,000 of them
held out), a training with the default recipe, and `find` on the model with all nodes back. With five causes
also: does every label go to the right node, is a noisy copy of the temperature distinguished from it, do
shuffled labels match nothing; and the same on the codes of the seed paper's network.

Run: python benchmarks/findings.py [--factors 1 2 3 5 7] [--seeds 2001 2002 ..] [--shuffles 200]
     [--paper 6500] [--models FOLDER] [--out FILE.jsonl]
     (paper: steps of the paper's network, 0 leaves it out; models: networks are kept there, and those that
     are there already are not trained again)
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from known_answer import archive, share_of

TRAIN = 10_000
NOISE = 0.5  # of the noisy copy, in standard deviations of the temperature
COPY = "teff copied noisily"


def trained(data: dict[str, Any], *, seed: int, folder: Path | None, paper: int = 0) -> Any:
    """The model with all nodes: its weights from `folder`, or trained and put there."""
    from safetensors.torch import load_file, save_file

    from astroprism.model.data import Source
    from astroprism.model.loop import Training
    from astroprism.model.recipe import PaperRecipe, Recipe
    from astroprism.model.trained import TrainedModel
    from astroprism.network import PaperConfig, PaperNetwork, Prism, sized_for

    recipe = PaperRecipe(steps=paper) if paper else Recipe()
    pixels = data["flux"].shape[1]
    network = (
        PaperNetwork(PaperConfig(pixels), seed=seed)
        if paper
        else Prism(sized_for(pixels, step=data["step"], moving_air=data["berv"] is not None), seed=seed)
    )
    weights = None if folder is None else folder / "unpruned.safetensors"
    if weights is not None and weights.exists():
        network.load_state_dict(load_file(weights))
    else:
        source = Source.from_arrays(
            data["flux"],
            data["sigma"],
            step=data["step"],
            targets=data["targets"],
            berv=None if paper else data["berv"],
        )
        training = Training(source, network, recipe=recipe, train=np.arange(TRAIN), seed=seed)
        for _ in training.run():
            pass
        network.load_state_dict(training.finish())
        if weights is not None:
            weights.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: value.contiguous() for name, value in network.state_dict().items()}, weights)
    model = TrainedModel(network)
    model.floor = recipe.floor_at(1.0)
    return model


def evidence_of(model: Any, data: dict[str, Any], *, labels: dict[str, Any]) -> Any:
    """What `find` gathers from a study, from arrays."""
    from astroprism.findings.assemble import Evidence
    from astroprism.findings.effects import measure
    from astroprism.model import nodes
    from astroprism.model.data import Source

    rows = np.arange(TRAIN, len(data["flux"]))
    source = model.source(
        Source.from_arrays(
            data["flux"], data["sigma"], step=data["step"], targets=data["targets"], berv=data["berv"]
        )
    )
    mean, logvar = nodes.codes(model.network, model.to_device(source.tensors(rows)))
    effects = measure(model, source, rows, mean=mean.double().numpy(), wavelength=data["wavelength"])
    return Evidence(
        identifiers=np.array([f"spectrum {row}" for row in rows], dtype=object),
        targets=data["targets"][rows],
        mean=mean.double().numpy(),
        sd=(logvar / 2).exp().double().numpy(),
        effects=replace(effects, rows=effects.rows - TRAIN),
        wavelength=data["wavelength"],
        labels=labels,
    )


def counts(findings: Any) -> dict[str, Any]:
    """Both counts, with their ranges."""
    both = findings.count
    found = {
        name: [getattr(both, name).k, getattr(both, name).low, getattr(both, name).high]
        for name in ("statistical", "information", "mad")
    }
    return found | {"agree": both.agree}


def dead_nats(evidence: Any, findings: Any, truth: dict[str, Any]) -> tuple[float, int]:
    """(most nats that any node without a cause shares with any label, number of such nodes)."""
    from astroprism.measures import mutual_information, sampled_codes

    z = sampled_codes(evidence.mean, evidence.sd, seed=0)
    dead = [node.node for node in findings.nodes if not node.counted]
    nats = [mutual_information(z[:, i], v, null=0).nats for i in dead for v in truth.values()]
    return max(nats, default=0.0), len(dead)


def matched(evidence: Any, findings: Any, truth: dict[str, Any]) -> dict[str, Any]:
    """For each true cause: the right node, the node named, and what was found of the pair."""
    from astroprism.measures import sampled_codes

    z = sampled_codes(evidence.mean, evidence.sd, seed=0)
    found: dict[str, Any] = {}
    for name, values in truth.items():
        shares = [share_of(z[:, i], values) for i in range(z.shape[1])]
        right = int(np.argmax(shares))
        match = next(one for one in findings.nodes[right].matches if one.label == name)
        found[name] = {
            "right": right,
            "named": findings.labels[name].best_node,
            "share": round(max(shares), 3),
            "second_share": round(float(np.sort(shares)[-2]), 3),
            "nats": match.mi_nats,
            "given_others": match.conditional_mi_nats,
            "explains": match.explains,
            "shadow_of": match.shadow_of,
        }
    found["all right"] = all(one["right"] == one["named"] for one in found.values())
    found["nodes apart"] = len({found[name]["right"] for name in truth}) == len(truth)
    found["explained at all"] = {
        node.node: [m.label + " (shadow)" * bool(m.shadow_of) for m in node.matches if m.explains]
        for node in findings.nodes
        if node.informative
    }
    return found


def copied(evidence: Any, findings: Any, truth: dict[str, Any], *, seed: int) -> dict[str, Any]:
    """A noisy copy of the temperature beside it: what is found of both on the temperature's node."""
    from astroprism.findings.assemble import assemble

    rng = np.random.default_rng(seed)
    teff = truth["teff"]
    copy = teff + NOISE * teff.std() * rng.standard_normal(teff.size)
    both, _ = assemble(replace(evidence, labels={**truth, COPY: copy}))
    node = findings.labels["teff"].best_node
    pairs = {} if node is None else {one.label: one for one in both.nodes[node].matches}
    keys = ("mi_nats", "conditional_mi_nats", "conditional_low", "conditional_high", "shadow_of")
    return {
        name: {key: getattr(pairs[name], key) for key in keys} for name in ("teff", COPY) if name in pairs
    } | {
        "copy is a shadow of": both.labels[COPY].shadow_of,
        "teff of": both.labels["teff"].shadow_of,
    }


def shuffled(evidence: Any, findings: Any, truth: dict[str, Any], *, trials: int) -> dict[str, Any]:
    """False discoveries: all labels shuffled, and one shuffled among true ones."""
    from astroprism.measures import sampled_codes
    from astroprism.measures.match import EXPLAINS_Q, match_labels

    z = sampled_codes(evidence.mean, evidence.sd, seed=0)
    alive = [node.node for node in findings.nodes if node.counted]
    first = next(iter(truth))
    any_of_all, any_of_one, shares, explained, least = 0, 0, [], 0, 1.0
    for trial in range(trials):
        order = np.random.default_rng(trial).permutation(len(z))
        mixed = {name: values[order] for name, values in truth.items()}
        pairs = match_labels(z, mixed, nodes=alive, seed=trial).pairs
        any_of_all += any(one.q <= EXPLAINS_Q for one in pairs)
        explained += any(one.explains for one in pairs)
        least = min(least, *(one.p for one in pairs))
        beside = match_labels(
            z, {**truth, "shuffled": mixed[first]}, nodes=alive, seed=trial, conditional=False
        ).pairs
        passed = [one for one in beside if one.q <= EXPLAINS_Q]
        false = sum(one.label == "shuffled" for one in passed)
        any_of_one += false > 0
        explained += any(one.explains for one in beside if one.label == "shuffled")
        shares.append(false / max(len(passed), 1))
    return {
        "trials": trials,
        "pairs": len(alive) * len(truth),
        "families with a discovery, all shuffled": any_of_all / trials,
        "families with a false discovery, one shuffled": any_of_one / trials,
        "false discovery rate, one shuffled": float(np.mean(shares)),
        "shuffled labels that explain": explained,
        "least p": least,
    }


def measured(model: Any, data: dict[str, Any], *, seed: int, shuffles: int) -> dict[str, Any]:
    """All of it for one network."""
    from astroprism.findings.assemble import assemble

    truth = {name: values[TRAIN:] for name, values in data["truth"].items()}
    evidence = evidence_of(model, data, labels=truth)
    findings, _ = assemble(evidence)
    most, dead = dead_nats(evidence, findings, truth)
    alive = [node for node in findings.nodes if node.counted]
    rest = [node for node in findings.nodes if not node.counted]
    found: dict[str, Any] = {
        "counts": counts(findings),
        "bound_nats": evidence.effects.bound,
        "alive": [[one.node, one.information_nats, one.ablation_nats, one.copies_of] for one in alive],
        "dead": {
            "nodes": dead,
            "label_nats": most,
            "information_nats": max((one.information_nats for one in rest), default=0.0),
            "ablation_nats": max((one.ablation_nats for one in rest), default=0.0),
        },
        "matches": matched(evidence, findings, truth),
        "unexplained": [node.node for node in findings.unexplained],
    }
    if "teff" in truth:
        found["copy"] = copied(evidence, findings, truth, seed=seed)
    if shuffles:
        found["shuffled"] = shuffled(evidence, findings, truth, trials=shuffles)
    return found


def rounded(value: Any) -> Any:
    """Plain values of four digits."""
    if isinstance(value, dict):
        return {str(key): rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--factors", type=int, nargs="+", default=[1, 2, 3, 5, 7])
    parser.add_argument("--seeds", type=int, nargs="+", default=[2001, 2002, 2003, 2004, 2005])
    parser.add_argument("--shuffles", type=int, default=200)
    parser.add_argument("--paper", type=int, default=6500)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    right: dict[tuple[str, int], list[bool]] = {}
    for factors in options.factors:
        for seed in options.seeds:
            data = archive(factors, seed=seed)
            networks = [("prism", 0)]
            if options.paper and factors == 5 and seed == options.seeds[0]:
                networks.append(("paper", options.paper))
            for kind, steps in networks:
                begun = time.monotonic()
                folder = None if options.models is None else options.models / f"{kind}_{factors}_{seed}"
                model = trained(data, seed=seed, folder=folder, paper=steps)
                shuffles = options.shuffles if factors == 5 else 0
                found = measured(model, data, seed=seed, shuffles=shuffles)
                line = {"network": kind, "factors": factors, "seed": seed} | found
                line["minutes"] = (time.monotonic() - begun) / 60
                line = rounded(line)
                print(json.dumps(line), flush=True)
                if options.out:
                    with options.out.open("a") as file:
                        file.write(json.dumps(line) + "\n")
                both = line["counts"]
                right.setdefault((kind, factors), []).append(
                    both["statistical"][0] == both["information"][0] == factors
                )
    print("\nboth counts equal the truth")
    for (kind, factors), ones in right.items():
        print(f"  {kind}, {factors} causes: {sum(ones)} of {len(ones)}")


if __name__ == "__main__":
    main()
