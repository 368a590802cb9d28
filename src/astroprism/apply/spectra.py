"""What a study says of spectra it never saw: codes, labels with intervals, how odd they are, and warnings.

apply_spectra   of spectra in memory
apply_files     of files and folders, to a table; see `apply_files`
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..archive import from_object
from ..errors import SpectrumError
from ..measures.evidence import Floats
from ..measures.probe import Prediction, predict
from ..spectrum import Spectrum
from ..store.prepare import Prepared, PrepareOptions, prepare
from .coverage import warnings_of
from .outliers import Judged, judge, loneliness, scores_of, words
from .ranking import outlier_columns
from .reference import Kit, kit_of, made_by, silent
from .residuals import Left, in_sigma, look

if TYPE_CHECKING:
    import pandas as pd
    from astropy.table import Table

    from ..model.data import Tensors
    from ..store import Store

LEAST_GOOD = 0.2  # share of the grid's pixels below which a spectrum is refused rather than warned of
BATCH_PIXELS = {"cpu": 2**20, "cuda": 2**24, "mps": 2**22}  # that go through the network at once
MOST_KITS = 4  # studies whose kits stay in memory
_KITS: dict[tuple[str, str], tuple[tuple[int | None, ...], Kit]] = {}


class StudyLike(Protocol):
    """What is needed of a study."""

    @property
    def path(self) -> Path:
        """Its folder."""

    @property
    def store(self) -> Store:
        """Its spectra."""

    @property
    def model_path(self) -> Path:
        """Where its model lies."""


@dataclass(frozen=True)
class Refused:
    """A spectrum that could not be used, and why: `reason` is one of `errors.REASONS`."""

    identifier: str
    reason: str
    message: str


@dataclass(frozen=True, eq=False)
class Applied:
    """n spectra of p pixels on the study's grid, and what the study says of them.

    frame           a row a spectrum: all of it but the pixels, as the tables on disk have it
    flux, sigma, good, reconstruction, residual   (n, p); the residual in sigma, the model's error in it
    mean, sd        (n, nodes of the network); those of `nodes` mean something
    labels          name -> prediction
    left, judged    what the reconstruction leaves, and against what is usual
    warnings        of each spectrum, in which ways it lies outside what the model has seen
    refused         spectra of which nothing could be said
    """

    identifiers: NDArray[np.object_]
    frame: pd.DataFrame
    wavelength: Floats
    flux: NDArray[np.float32]
    sigma: NDArray[np.float32]
    good: NDArray[np.bool_]
    reconstruction: NDArray[np.float32]
    residual: NDArray[np.float32]
    mean: Floats
    sd: Floats
    nodes: tuple[int, ...]
    labels: dict[str, Prediction]
    labels_missing: dict[str, str]
    left: Left
    judged: Judged
    warnings: list[list[str]]
    refused: list[Refused]

    def __len__(self) -> int:
        return len(self.identifiers)

    def table(self) -> Table:
        """The rows as an astropy Table, with what each column means."""
        from astropy.table import Table

        from .columns import described

        return described(Table.from_pandas(self.frame))


def kit_for(study: StudyLike, *, device: str = "auto", say: Callable[[str], object] = silent) -> Kit:
    """The kit of a study, kept in memory while codes, model and findings stay as they are."""
    names = ("codes.parquet", "model/model.json", "findings.json", "findings/labels.parquet")
    stamp = tuple(path.stat().st_mtime_ns if (path := study.path / name).exists() else None for name in names)
    key = str(study.path.absolute()), device
    held = _KITS.get(key)
    if held is None or held[0] != stamp:
        kit = kit_of(study.store, study.model_path, out=study.path, device=device, say=say)
        held = stamp, kit
        _KITS.pop(next(iter(_KITS), key) if len(_KITS) >= MOST_KITS else key, None)
        _KITS[key] = held
    return held[1]


def spectra_from(thing: Any) -> list[Spectrum]:
    """Spectra from what Python programs hold: `Spectrum`, arrays, tables, specutils, or lists of these."""
    found: list[Spectrum] = from_object(thing)
    return [
        one if one.identifier else replace_identifier(one, f"spectrum {i}") for i, one in enumerate(found)
    ]


def replace_identifier(spectrum: Spectrum, identifier: str) -> Spectrum:
    """The same spectrum under another name."""
    return replace(spectrum, identifier=identifier)


def apply_spectra(
    study: StudyLike,
    spectra: Sequence[Spectrum],
    *,
    device: str = "auto",
    say: Callable[[str], object] = silent,
) -> Applied:
    """What the study says of spectra; those that cannot be used are in `refused`, and nothing stops."""
    kit = kit_for(study, device=device, say=say)
    options = preparation(study.store.config)
    grid = study.store.grid
    rows: list[tuple[Spectrum, Prepared]] = []
    refused = []
    for spectrum in spectra:
        try:
            with np.errstate(all="ignore"):  # garbage in pixels; masks and checks deal with it
                rows.append((spectrum, prepare(spectrum, grid, options=options)))
        except SpectrumError as error:
            refused.append(Refused(spectrum.identifier, error.reason, str(error)))
    return apply_prepared(kit, rows, refused=refused)


def preparation(config: Mapping[str, Any]) -> PrepareOptions:
    """How spectra are brought to the form of the store, with more pixels missing than it would take."""
    options = PrepareOptions(**config)
    return replace(options, min_good=min(LEAST_GOOD, options.min_good))


def apply_prepared(
    kit: Kit, rows: Sequence[tuple[Spectrum, Prepared]], *, refused: Iterable[Refused] = ()
) -> Applied:
    """As `apply_spectra`, of spectra that are on the grid already."""
    n, p = len(rows), kit.wavelength.size
    flux, sigma = np.zeros((n, p), np.float32), np.ones((n, p), np.float32)
    good = np.zeros((n, p), dtype=bool)
    for i, (_, one) in enumerate(rows):
        sound = one.good & np.isfinite(one.flux) & (one.sigma > 0) & np.isfinite(one.sigma)
        flux[i, sound], sigma[i, sound], good[i] = one.flux[sound], one.sigma[sound], sound
    facts = [one.facts for _, one in rows]
    berv = None
    if kit.reference.seen.moving_air:
        known = [f["berv"] if f["frame"] == "barycentric" and np.isfinite(f["berv"]) else 0.0 for f in facts]
        berv = np.array(known, dtype=np.float32)
    mean, sd, made, air = _through(kit, flux, sigma, good, berv)
    reference, probe = kit.reference, kit.probe
    left = look(flux, sigma, good, made=made, error=reference.error, air=air)
    residual = in_sigma(flux, sigma, good, made=made, error=reference.error).astype(np.float32)
    snr = np.array([f["snr"] for f in facts], dtype=np.float64)
    labels = predict(probe, mean, sd, snr=snr)
    lonely = loneliness(probe.standard(mean), reference.codes, keys=None, row_keys=reference.keys)
    judged = judge(scores_of(left, lonely, None), reference.usual, together=reference.together)
    resolution = np.array([s.resolution for s, _ in rows], dtype=np.float64)
    warnings = warnings_of(
        reference.seen,
        facts,
        resolution=resolution,
        good=good,
        left=left,
        chi2_p=judged.p["chi2"],
        density_p=judged.p["density"],
        wavelength=kit.wavelength,
    )
    for i, told in enumerate(warnings):
        edge = [name for name, one in labels.items() if one.outside[i]]
        if edge:
            told.append(f"{', '.join(edge)}: beyond the labels that were learned from")
    frame = _frame(kit, rows, mean=mean, sd=sd, labels=labels, left=left, judged=judged, warnings=warnings)
    return Applied(
        np.array([s.identifier for s, _ in rows], dtype=object),
        frame,
        kit.wavelength,
        flux,
        sigma,
        good,
        made,
        residual,
        mean,
        sd,
        probe.nodes,
        labels,
        probe.left_out,
        left,
        judged,
        warnings,
        list(refused),
    )


def _through(
    kit: Kit,
    flux: NDArray[np.float32],
    sigma: NDArray[np.float32],
    good: NDArray[np.bool_],
    berv: NDArray[np.float32] | None,
) -> tuple[Floats, Floats, NDArray[np.float32], NDArray[np.float32] | None]:
    """Codes (n, nodes) and their sd as `encode` would give them; reconstructions and their air (n, p)."""
    import torch

    from ..model.data import Tensors

    nodes = int(kit.network.config.n_latent)
    size = max(1, BATCH_PIXELS[torch.device(kit.device).type] // flux.shape[1])
    means, sds = [np.zeros((0, nodes))], [np.zeros((0, nodes))]
    made, airs = [np.zeros((0, flux.shape[1]), np.float32)], [np.zeros((0, flux.shape[1]), np.float32)]
    for start in range(0, len(flux), size):
        part = slice(start, start + size)
        here = [torch.from_numpy(array[part]).to(kit.device) for array in (flux, sigma, good)]
        air = None if berv is None else torch.from_numpy(berv[part]).to(kit.device)
        complete = bool(good[part].all())
        with torch.no_grad():
            mean, sd = _encoded(kit, Tensors(here[0], here[1], None if complete else here[2], air))
        means.append(mean.double().cpu().numpy())
        sds.append(sd.double().cpu().numpy())
        some = None if berv is None else berv[part]
        one, clear = made_by(kit.network, means[-1], berv=some, device=kit.device)
        made.append(one)
        airs += [] if clear is None else [clear]
    told_apart = len(airs) == len(made)
    return (
        np.concatenate(means),
        np.concatenate(sds),
        np.concatenate(made),
        np.concatenate(airs) if told_apart else None,
    )


def _encoded(kit: Kit, batch: Tensors) -> tuple[Any, Any]:
    """Mean and sd (b, nodes) of the codes, mended in the way that the study's codes were."""
    from ..model.trained import polish

    facts = kit.codes_facts
    mean, logvar = kit.network.encode(batch.flux, good=batch.good, berv=batch.berv)
    if facts.get("relocked"):
        from ..model.velocity import relocked

        mean, logvar = relocked(kit.network, mean, logvar, batch, floor=kit.floor)
    if facts.get("polished"):
        mean = polish(kit.network, mean, batch, nodes=facts["kept"], floor=kit.floor)
    return mean, (0.5 * logvar).exp()


def _frame(
    kit: Kit,
    rows: Sequence[tuple[Spectrum, Prepared]],
    *,
    mean: Floats,
    sd: Floats,
    labels: Mapping[str, Prediction],
    left: Left,
    judged: Judged,
    warnings: Sequence[Sequence[str]],
) -> pd.DataFrame:
    import pandas as pd

    wavelength = kit.wavelength

    def text(values: Iterable[str]) -> pd.Series[str]:
        return pd.Series(list(values), dtype="str")

    columns: dict[str, Any] = {
        "spectrum_id": text(s.identifier for s, _ in rows),
        "target": text(s.target for s, _ in rows),
        "warning": text("; ".join(told) for told in warnings),
        "snr": np.array([one.facts["snr"] for _, one in rows], dtype=np.float64),
        "sigma_from": text(str(one.facts["sigma_from"]) for _, one in rows),
        "n_good": np.array([one.facts["n_good"] for _, one in rows], dtype=np.int64),
    }
    for name, one in labels.items():
        if one.categorical:
            columns |= {name: text(one.value), f"{name}_set": text(one.sets)}
        else:
            columns |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    n = len(rows)
    columns |= {
        "outlier_p": judged.whole,
        "outlier_surprise": judged.rank_by,
        "outlier_reasons": text(
            words(i, judged=judged, left=left, wavelength=wavelength, labels=lambda _: "") for i in range(n)
        ),
        **outlier_columns(left, judged, wavelength),
    }
    for node in kit.codes_facts["kept"]:
        columns |= {f"mean_{node:03d}": mean[:, node], f"sd_{node:03d}": sd[:, node]}
    return pd.DataFrame(columns)
