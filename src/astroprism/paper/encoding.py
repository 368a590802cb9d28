"""Codes of FITS spectra by the authors' network: read, brought to the paper's grid, encoded."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..archive import read
from ..artifacts import blame, write_bytes
from ..errors import CatalogError, SpectrumError
from ..grid import PAPER, PAPER_DEAD
from ..progress import Listener, count, silent
from ..spectrum import Spectrum
from ..store.prepare import PrepareOptions, prepare
from ..targets.catalog import join
from ..targets.group import group_targets
from .release import IDENTIFIER, LABELS, ReleaseError, check_columns, numeric

if TYPE_CHECKING:
    import pandas as pd

BATCH = 4  # spectra together: some 200 MB of activations


@dataclass(frozen=True, eq=False)
class Encoded:
    """Codes of spectra in the order of their files.

    mean, sd  (spectra, nodes)
    spectra   a row per spectrum: spectrum_id, file, target (as grouped), scale (the median divided by)
    refused   a row a refusal: file, reason, message
    """

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    spectra: pd.DataFrame
    refused: pd.DataFrame

    @property
    def reasons(self) -> dict[str, int]:
        """How many were refused, by reason."""
        return dict(Counter(self.refused["reason"])) if len(self.refused) else {}


def encode_spectra(
    weights: str | os.PathLike[str],
    files: Sequence[str | os.PathLike[str]],
    *,
    device: str = "cpu",
    progress: Listener = silent,
) -> Encoded:
    """Encode every spectrum of `files` with the released weights; what cannot be used is listed with why.

    As the release does: trimmed and padded, divided by the median in which masked zeros count, both ends and
    the gap between the chips at 0; nothing else is masked. progress counts files.
    """
    import pandas as pd
    import torch

    from ..model.data import Tensors
    from ..model.trained import TrainedModel
    from ..network import load_released

    model = TrainedModel(load_released(Path(weights)), device=device)
    means: list[NDArray[np.float32]] = []
    sds: list[NDArray[np.float32]] = []
    facts: list[dict[str, Any]] = []
    refused: list[dict[str, str]] = []
    waiting: list[NDArray[np.float32]] = []

    def flush() -> None:
        if not waiting:
            return
        flux = torch.from_numpy(np.stack(waiting))
        batch = model.to_device(Tensors(flux, torch.ones_like(flux), None, None))
        codes = model.encode(batch, relock=False, polished=False)
        means.append(codes.mean.cpu().numpy())
        sds.append(codes.sd.cpu().numpy())
        waiting.clear()

    known: set[str] = set()
    for done, path in enumerate(files, start=1):
        for flux, fact in _rows(path, refused):
            if fact["spectrum_id"] in known:
                _refuse(refused, path, "duplicate", f"{fact['spectrum_id']} was read before")
                continue
            known.add(fact["spectrum_id"])
            waiting.append(flux)
            facts.append(fact)
            if len(waiting) == BATCH:
                flush()
        progress(count(done, len(files)))
    flush()
    table = pd.DataFrame(refused, columns=["file", "reason", "message"])
    if not facts:
        reasons = ", ".join(f"{n} {reason}" for reason, n in Counter(table["reason"]).items())
        first = f"; the first: {table['message'].iloc[0]}" if len(table) else ""
        raise ReleaseError(
            f"none of {len(files)} files gave a spectrum to encode ({reasons or 'no files'}){first}"
        )
    mean, sd = np.concatenate(means).astype(np.float64), np.concatenate(sds).astype(np.float64)
    if not (np.isfinite(mean).all() and np.isfinite(sd).all()):
        raise ReleaseError(f"{weights}: gives codes that are not finite; see whether the weights are whole")
    spectra = pd.DataFrame(facts)
    grouped = group_targets(
        spectra["name"].tolist(), spectra.pop("ra").to_numpy(), spectra.pop("dec").to_numpy(),
        identifiers=spectra["spectrum_id"].tolist(),
    )  # fmt: skip
    spectra["target"] = grouped.target
    return Encoded(mean, sd, spectra, table)


def _rows(
    path: str | os.PathLike[str], refused: list[dict[str, str]]
) -> Iterator[tuple[NDArray[np.float32], dict[str, Any]]]:
    """Every spectrum of a file as the network reads it (327,680,), and what is known of it."""
    options = PrepareOptions(normalise="paper-median")
    try:
        for found in read(path):
            if isinstance(found, SpectrumError):
                _refuse(refused, path, found.reason, str(found))
                continue
            try:
                prepared = prepare(found, PAPER, options=options)
            except SpectrumError as error:
                _refuse(refused, path, error.reason, str(error))
                continue
            flux = prepared.flux
            for dead in PAPER_DEAD:
                flux[dead] = 0
            yield flux, _fact(found, path, prepared.facts["scale"])
    except SpectrumError as error:
        _refuse(refused, path, error.reason, str(error))


def _fact(spectrum: Spectrum, path: str | os.PathLike[str], scale: float) -> dict[str, Any]:
    return {
        "spectrum_id": spectrum.identifier,
        "file": os.fspath(path),
        "name": spectrum.target,
        "scale": scale,
        "ra": spectrum.ra,
        "dec": spectrum.dec,
    }


def _refuse(refused: list[dict[str, str]], path: str | os.PathLike[str], reason: str, message: str) -> None:
    refused.append({"file": os.fspath(path), "reason": reason, "message": message})


def labels_of(
    encoded: Encoded, table: pd.DataFrame, *, source: str, names: Sequence[str] | None = None
) -> pd.DataFrame | None:
    """The labels of encoded spectra, joined by `dp_id`, NaN where blank; None where no row is theirs."""
    wanted = list(names) if names else list(LABELS)
    check_columns(table, [IDENTIFIER, *wanted], source=source)
    try:
        joined = join(encoded.spectra, table, on="id", id_column=IDENTIFIER, columns=wanted)
    except CatalogError as error:
        if "matches no spectrum" in str(error):
            return None
        raise
    return numeric(joined.labels[wanted], source=source)


def write_encoded(encoded: Encoded, out: Path) -> None:
    """codes.npy and sd.npy, spectra.csv (a row each) and refused.csv, into folder `out`."""
    with blame(out):
        out.mkdir(parents=True, exist_ok=True)
    for name, values in (("codes", encoded.mean), ("sd", encoded.sd)):
        content = io.BytesIO()
        np.save(content, values.astype(np.float32), allow_pickle=False)
        write_bytes(out / f"{name}.npy", content.getvalue())
    for name, table in (("spectra", encoded.spectra), ("refused", encoded.refused)):
        write_bytes(out / f"{name}.csv", table.to_csv(index=False).encode())
