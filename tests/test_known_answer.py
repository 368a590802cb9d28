"""The whole path on a simulated archive whose causes are known: how many there are, and the velocity."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from astroprism import Study, TrainOptions
from astroprism.grid import SPEED_OF_LIGHT
from astroprism.simulate import SimulationConfig, write_archive
from astroprism.targets.split import assign

FACTORS = ("rv", "teff", "feh")
PIXELS, STEP, MIDDLE = 512, 5.0, 5890.0  # the doublet of sodium: one line is easily taken for the other


def explained(code: np.ndarray, label: np.ndarray, bins: int = 20) -> float:
    """Share of a label's variance that equal-count bins of the code explain."""
    place = np.argsort(np.argsort(code)) * bins // len(code)
    means = np.array([label[place == i].mean() for i in range(bins)])
    return float(((means[place] - label.mean()) ** 2).mean() / label.var())


@pytest.mark.full
def test_three_causes_are_counted_and_the_velocity_is_on_one_node(tmp_path):
    """Two minutes on one core: a quarter of the spectra and pixels, half the steps of the trials."""
    torch = pytest.importorskip("torch")
    low = MIDDLE * np.exp(-0.55 * PIXELS * STEP / SPEED_OF_LIGHT)
    high = low * np.exp((PIXELS + 0.5) * STEP / SPEED_OF_LIGHT)
    config = SimulationConfig(
        spectra=2500, factors=FACTORS, window=(low, high), step=STEP, snr=(40, 300), seed=7, lines_seed=7
    )
    write_archive(tmp_path / "in", config)
    study = Study(tmp_path / "study")
    study.ingest(tmp_path / "in")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        report = study.train(options=TrainOptions(steps=1500, device="cpu", valid=0.1, test=0.2))
        study.encode()
    finally:
        torch.set_num_threads(threads)
    assert report.model.chi2.valid < 1.4  # the mean spectrum alone has some hundreds

    count = study.find().findings.count
    assert (count.statistical.k, count.information.k, count.agree) == (3, 3, True)
    assert sorted(count.statistical.nodes) == sorted(count.information.nodes)
    assert count.statistical.nodes[0] == 0  # the velocity is the strongest cause

    truth = pd.read_csv(tmp_path / "in" / "truth.csv", dtype={"spectrum_id": str}).set_index("spectrum_id")
    codes = study.codes(unpruned=True)
    codes = codes[assign(codes["target"], 0, valid=0.1, test=0.2) != "train"]
    share = pd.DataFrame(
        {
            name: {i: explained(codes[f"mean_{i:03d}"].to_numpy(), label) for i in count.statistical.nodes}
            for name, label in truth.loc[codes["spectrum_id"], list(FACTORS)].items()
            for label in [label.to_numpy()]
        }
    )
    assert share["rv"][0] >= 0.98
    assert share["rv"].drop(0).max() < 0.1
    assert share["teff"].max() > 0.8
    assert share["feh"].max() > 0.6
