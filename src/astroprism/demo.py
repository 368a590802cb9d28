"""The whole path on a simulated archive whose answer is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import ConfigError
from .study import Study

# the order in which the factors are switched on
FACTORS = ("rv", "teff", "feh", "telluric", "vsini", "logg", "tilt")


def run_demo(folder: Path, *, factors: int, spectra: int, seed: int) -> tuple[dict[str, Any], str]:
    """Simulate, ingest and show; returns the result and the text that tells it."""
    from .about import about
    from .ingest import IngestOptions
    from .simulate import SimulationConfig, write_archive
    from .terminal import counting_bar, facts, ingest_bar, messages
    from .views.figures import spectra_figure

    if not 1 <= factors <= len(FACTORS):
        raise ConfigError(f"--factors {factors}: between 1 and {len(FACTORS)} causes can vary")
    varied = FACTORS[:factors]
    archive = folder / "archive"
    config = SimulationConfig.from_mapping(
        {
            "spectra": spectra,
            "factors": varied,
            "window": (5780.0, 5990.0),
            "step": 5.0,
            "resolution": 30_000.0,
            "visits": "uneven",
            "format": "adp",
            "seed": seed,
        }
    )
    messages.print(f"1. simulate: {spectra:,} spectra of which {', '.join(varied)} vary")
    with counting_bar("simulate") as progress:
        truth = write_archive(archive, config, progress=progress)
    messages.print("2. ingest")
    study = Study(folder)
    with ingest_bar() as watch:
        report = study.ingest([archive], options=IngestOptions(), say=messages.print, watch=watch)
    picture = folder / "spectra.png"
    spectra_figure(study.store).savefig(picture, dpi=150)
    found = about(folder)
    shown = ("spectra", "targets", "refused", "pixels", "step", "range_angstrom", "snr_5_50_95", "bytes")
    text = "\n".join(
        [
            f"{folder}: {report.n_spectra:,} of {spectra:,} spectra on one grid",
            facts((name, found[name]) for name in shown),
            f"  picture of some spectra   {picture}",
            f"  what is true of each      {truth}",
        ]
    )
    return {"study": str(folder), "truth": str(truth), "picture": str(picture), **report.as_dict()}, text
