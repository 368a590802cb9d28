"""Trainings of a second for tests: small batches and no pruning, for which so few steps are too short."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroprism import TrainOptions
from astroprism.model.recipe import PaperRecipe, Recipe
from astroprism.schema import Chi2, ModelFacts, Split, StoreFacts, TrainedOn

if TYPE_CHECKING:
    from astroprism.network import PaperNetwork, Prism

QUICK = "prune_at = []\nprune_kl = []\ngive_back = []\n"
STEPS = 40


def quick_options(folder: Path, *, batch: int = 8, more: str = "", **changes: Any) -> TrainOptions:
    """Options of a quick training; its configuration file, with `more` lines of TOML, is written in `folder`.

    Of the paper's network the batch alone is set, which prunes nothing anyway. Evidence is what is held out,
    without the trainings of folds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "quick.toml"
    recipe = "" if changes.get("network") == "paper" else QUICK
    path.write_text(f"batch = {batch}\n{recipe}{more}")
    return TrainOptions(**{"steps": STEPS, "config": path, "device": "cpu", "folds": 0, **changes})


def facts_of(network: Prism | PaperNetwork, **changes: Any) -> ModelFacts:
    """model.json of a network that was trained on no store."""
    from astroprism.model.checkpoint import network_facts

    described = network_facts(network)
    recipe = Recipe() if described.kind == "prism" else PaperRecipe()
    facts = ModelFacts(
        network=described,
        steps=recipe.steps,
        seed=0,
        recipe=recipe.as_dict(),
        asked={},
        store=StoreFacts(fingerprint="none", spectra=0, grid="none", normalise=None),
        split=Split(seed=0, valid=0.1, test=0.1, train_spectra=0, valid_spectra=0, test_spectra=0),
        trained_on=TrainedOn(spectra=0, targets=0),
        precision="32-true",
        chi2=Chi2(train=1.0, valid=1.0),
        kept=list(range(network.config.n_latent)),
        events=[],
        warnings=[],
    )
    return ModelFacts.from_json(facts.to_json() | changes)
