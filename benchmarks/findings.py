"""Known answers for `find`: counts, matches and false discoveries on archives whose causes are known.

For each number of causes and each seed an archive of its own (12,000 spectra of 2,048 pixels, 2,000 of them
held out), a training with the default recipe, and `find` on the model with all nodes back. With five causes
also: does every label go to the right node, is a noisy copy of the temperature told from the temperature, do
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


def trained(data: dict[str, Any], *, seed: int, folder: Path | None, paper: int = 0) -> tuple[Any, float]:
    """(network with all nodes, floor of its errors): from `folder`, or trained and put there."""
    from astroprism.model.checkpoint import read_model, write_model
    from astroprism.model.data import Source
    from astroprism.model.loop import Training
    from astroprism.model.recipe import PaperRecipe, Recipe
    from astroprism.network import PaperConfig, PaperNetwork, Prism, sized_for

    recipe = PaperRecipe(steps=paper) if paper else Recipe()
    floor = recipe.floor_at(1.0)
    if folder is not None and (folder / "model.json").exists():
        return read_model(folder, unpruned=True)[0], floor
    pixels = data["flux"].shape[1]
    network = (
        PaperNetwork(PaperConfig(pixels), seed=seed)
        if paper
        else Prism(sized_for(pixels, step=data["step"], moving_air=data["berv"] is not None), seed=seed)
    )
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
    unpruned = training.finish()
    if folder is not None:
        write_model(folder, network, unpruned=unpruned, about={"recipe": recipe.as_dict()})
    network.load_state_dict(unpruned)
    return network.eval(), floor


def evidence_of(network: Any, data: dict[str, Any], *, floor: float, labels: dict[str, Any]) -> Any:
    """What `find` gathers from a study, from arrays."""
    from astroprism.findings.assemble import Evidence
    from astroprism.findings.effects import measure
    from astroprism.model import nodes
    from astroprism.model.data import Source
    from astroprism.model.fit import fitted
    from astroprism.model.sampling import load

    rows = np.arange(TRAIN, len(data["flux"]))
    source = fitted(
        Source.from_arrays(
            data["flux"], data["sigma"], step=data["step"], targets=data["targets"], berv=data["berv"]
        ),
        network,
    )
    mean, logvar = nodes.codes(network, load(rows, source, network=network))
    effects = measure(
        network, source, rows, mean=mean.double().numpy(), floor=floor, wavelength=data["wavelength"]
    )
    return Evidence(
        identifiers=np.array([f"spectrum {row}" for row in rows], dtype=object),
        targets=data["targets"][rows],
        mean=mean.double().numpy(),
        sd=(logvar / 2).exp().double().numpy(),
        effects=replace(effects, rows=effects.rows - TRAIN),
        wavelength=data["wavelength"],
        labels=labels,
    )


def counts(content: dict[str, Any]) -> dict[str, Any]:
    """Both counts, with their ranges."""
    told = content["count"]
    return {
        name: [told[name][key] for key in ("k", "low", "high")]
        for name in ("statistical", "information", "mad")
    } | {"agree": told["agree"]}


def dead_nats(evidence: Any, content: dict[str, Any], truth: dict[str, Any]) -> tuple[float, int]:
    """(most nats that any node without a cause tells of any label, number of such nodes)."""
    from astroprism.measures import mutual_information, sampled_codes

    z = sampled_codes(evidence.mean, evidence.sd, seed=0)
    dead = [one["node"] for one in content["nodes"] if not (one["informative"] or one["doubtful"])]
    nats = [mutual_information(z[:, i], v, null=0).nats for i in dead for v in truth.values()]
    return max(nats, default=0.0), len(dead)


def matched(evidence: Any, content: dict[str, Any], truth: dict[str, Any]) -> dict[str, Any]:
    """For each true cause: the right node, the node named, and what is said of the pair."""
    from astroprism.measures import sampled_codes

    z = sampled_codes(evidence.mean, evidence.sd, seed=0)
    found: dict[str, Any] = {}
    for name, values in truth.items():
        shares = [share_of(z[:, i], values) for i in range(z.shape[1])]
        right, named = int(np.argmax(shares)), content["labels"][name]["best_node"]
        said = next(one for one in content["nodes"][right]["matches"] if one["label"] == name)
        found[name] = {
            "right": right,
            "named": named,
            "share": round(max(shares), 3),
            "second_share": round(float(np.sort(shares)[-2]), 3),
            "nats": said["mi_nats"],
            "given_others": said["conditional_mi_nats"],
            "explains": said["explains"],
            "shadow_of": said["shadow_of"],
        }
    found["all right"] = all(one["right"] == one["named"] for one in found.values())
    found["nodes apart"] = len({found[name]["right"] for name in truth}) == len(truth)
    found["explained at all"] = {
        one["node"]: [
            m["label"] + " (shadow)" * bool(m["shadow_of"]) for m in one["matches"] if m["explains"]
        ]
        for one in content["nodes"]
        if one["informative"]
    }
    return found


def copied(evidence: Any, content: dict[str, Any], truth: dict[str, Any], *, seed: int) -> dict[str, Any]:
    """A noisy copy of the temperature beside it: what is said of both on the temperature's node."""
    from astroprism.findings.assemble import assemble

    rng = np.random.default_rng(seed)
    teff = truth["teff"]
    copy = teff + NOISE * teff.std() * rng.standard_normal(teff.size)
    told, _ = assemble(replace(evidence, labels={**truth, COPY: copy}))
    node = content["labels"]["teff"]["best_node"]
    pairs = {one["label"]: one for one in told["nodes"][node]["matches"]} if node is not None else {}
    return {
        name: {
            key: pairs[name][key]
            for key in ("mi_nats", "conditional_mi_nats", "conditional_low", "conditional_high", "shadow_of")
        }
        for name in ("teff", COPY)
        if name in pairs
    } | {
        "copy is a shadow of": told["labels"][COPY]["shadow_of"],
        "teff of": told["labels"]["teff"]["shadow_of"],
    }


def shuffled(evidence: Any, content: dict[str, Any], truth: dict[str, Any], *, trials: int) -> dict[str, Any]:
    """False discoveries: all labels shuffled, and one shuffled among true ones."""
    from astroprism.measures import sampled_codes
    from astroprism.measures.match import EXPLAINS_Q, match_labels

    z = sampled_codes(evidence.mean, evidence.sd, seed=0)
    asked = [one["node"] for one in content["nodes"] if one["informative"] or one["doubtful"]]
    first = next(iter(truth))
    any_of_all, any_of_one, shares, explained, least = 0, 0, [], 0, 1.0
    for trial in range(trials):
        order = np.random.default_rng(trial).permutation(len(z))
        mixed = {name: values[order] for name, values in truth.items()}
        pairs = match_labels(z, mixed, nodes=asked, seed=trial).pairs
        any_of_all += any(one.q <= EXPLAINS_Q for one in pairs)
        explained += any(one.explains for one in pairs)
        least = min(least, *(one.p for one in pairs))
        beside = match_labels(
            z, {**truth, "shuffled": mixed[first]}, nodes=asked, seed=trial, conditional=False
        ).pairs
        passed = [one for one in beside if one.q <= EXPLAINS_Q]
        false = sum(one.label == "shuffled" for one in passed)
        any_of_one += false > 0
        explained += any(one.explains for one in beside if one.label == "shuffled")
        shares.append(false / max(len(passed), 1))
    return {
        "trials": trials,
        "pairs": len(asked) * len(truth),
        "families with a discovery, all shuffled": any_of_all / trials,
        "families with a false discovery, one shuffled": any_of_one / trials,
        "false discovery rate, one shuffled": float(np.mean(shares)),
        "shuffled labels that explain": explained,
        "least p": least,
    }


def measured(network: Any, data: dict[str, Any], *, floor: float, seed: int, shuffles: int) -> dict[str, Any]:
    """All of it for one network."""
    from astroprism.findings.assemble import assemble

    truth = {name: values[TRAIN:] for name, values in data["truth"].items()}
    evidence = evidence_of(network, data, floor=floor, labels=truth)
    content, _ = assemble(evidence)
    most, dead = dead_nats(evidence, content, truth)
    alive = [one for one in content["nodes"] if one["informative"] or one["doubtful"]]
    rest = [one for one in content["nodes"] if one not in alive]
    found: dict[str, Any] = {
        "counts": counts(content),
        "bound_nats": evidence.effects.bound,
        "alive": [
            [one["node"], one["information_nats"], one["ablation_nats"], one["copies_of"]] for one in alive
        ],
        "dead": {
            "nodes": dead,
            "label_nats": most,
            "information_nats": max((one["information_nats"] for one in rest), default=0.0),
            "ablation_nats": max((one["ablation_nats"] for one in rest), default=0.0),
        },
        "matches": matched(evidence, content, truth),
        "unexplained": [one["node"] for one in content["nodes"] if one["unexplained"]],
    }
    if "teff" in truth:
        found["copy"] = copied(evidence, content, truth, seed=seed)
    if shuffles:
        found["shuffled"] = shuffled(evidence, content, truth, trials=shuffles)
    return found


def told(value: Any) -> Any:
    """Four digits are enough, and JSON knows no numpy."""
    if isinstance(value, dict):
        return {str(key): told(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [told(item) for item in value]
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
    asked = parser.parse_args()
    torch.set_num_threads(1)
    right: dict[tuple[str, int], list[bool]] = {}
    for factors in asked.factors:
        for seed in asked.seeds:
            data = archive(factors, seed=seed)
            networks = [("prism", 0)]
            if asked.paper and factors == 5 and seed == asked.seeds[0]:
                networks.append(("paper", asked.paper))
            for kind, steps in networks:
                begun = time.monotonic()
                folder = None if asked.models is None else asked.models / f"{kind}_{factors}_{seed}"
                network, floor = trained(data, seed=seed, folder=folder, paper=steps)
                shuffles = asked.shuffles if factors == 5 else 0
                found = measured(network, data, floor=floor, seed=seed, shuffles=shuffles)
                line = {"network": kind, "factors": factors, "seed": seed} | found
                line["minutes"] = (time.monotonic() - begun) / 60
                line = told(line)
                print(json.dumps(line), flush=True)
                if asked.out:
                    with asked.out.open("a") as file:
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
