"""Spectra that are not in the study: codes, labels with intervals, how odd they are, and warnings.

Shapes: n spectra of p pixels on the study's grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..archive import from_object
from ..archive.reader import CHECKSUMS, WAVE_UNITS
from ..checks import check_choice
from ..device import check_device
from ..errors import SpectrumError
from ..folder import StudyFolder
from ..measures.evidence import Floats
from ..measures.probe import Prediction, predict
from ..progress import Listener, silent
from ..spectrum import Spectrum
from ..store.prepare import Prepared, PrepareOptions, prepare
from .reference import CalibratedModel, calibrated_model
from .residuals import Residuals, in_sigma, measure_residuals
from .scores import Oddness, isolation, oddness, reasons_text, score_columns, scores_of
from .table import describe_columns, label_columns, renamed_labels
from .training_range import warnings_of

if TYPE_CHECKING:
    import pandas as pd
    from astropy.table import Table

LEAST_GOOD = 0.2  # share of the grid's pixels below which a spectrum is refused rather than warned of


@dataclass(frozen=True)
class ApplyOptions:
    """How files are read and where the network runs.

    medium     air or vacuum, for files that do not say which; None: as their format has it by custom
    wave_unit  angstrom, nm or um, for files that do not say which; None: as numbers and headers decide
    checksum   verify: files whose own checksum fails are read with a warning; refuse: they are refused;
               ignore: nobody looks
    """

    device: str = "auto"
    medium: str | None = None
    wave_unit: str | None = None
    checksum: str = "verify"

    def __post_init__(self) -> None:
        check_device(self.device)
        check_choice("medium", self.medium, (None, "air", "vacuum"))
        check_choice("wave_unit", self.wave_unit, (None, *WAVE_UNITS))
        check_choice("checksum", self.checksum, CHECKSUMS)


@dataclass(frozen=True)
class Refused:
    """A spectrum that could not be used, and why: `reason` is one of `errors.REASONS`."""

    identifier: str
    reason: str
    message: str


@dataclass(frozen=True, eq=False)
class Applied:
    """n spectra of p pixels on the study's grid, and what the study's model makes of them.

    frame           a row per spectrum: all of it but the pixels, as the tables on disk have it
    flux, sigma, good, reconstruction, residual   (n, p); the residual in sigma, the model's error in it
    mean, sd        (n, nodes of the network); those of `nodes` carry information
    labels          name -> prediction
    residuals, oddness   the residuals in a few numbers, and these against held-out spectra
    warnings        for each spectrum, in which ways it lies outside of what the model was trained on
    refused         spectra that could not be used
    renamed         label -> its column in the frame, where its name is that of a measured column
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
    residuals: Residuals
    oddness: Oddness
    warnings: list[list[str]]
    refused: list[Refused]
    renamed: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.identifiers)

    def table(self) -> Table:
        """The rows as an astropy Table, with what each column means."""
        from astropy.table import Table

        return describe_columns(Table.from_pandas(self.frame))


def spectra_from(thing: Any) -> list[Spectrum]:
    """Spectra from what Python programs hold: `Spectrum`, arrays, tables, specutils, or lists of these."""
    found: list[Spectrum] = from_object(thing)
    return [
        one if one.identifier else replace(one, identifier=f"spectrum {i}") for i, one in enumerate(found)
    ]


def preparation(config: Mapping[str, Any]) -> PrepareOptions:
    """How spectra are brought to the form of the store, with more pixels missing than it would take."""
    options = PrepareOptions(**config)
    return replace(options, min_good=min(LEAST_GOOD, options.min_good))


def apply_spectra(
    folder: StudyFolder,
    spectra: Sequence[Spectrum],
    *,
    device: str = "auto",
    progress: Listener = silent,
) -> Applied:
    """Apply the study's model to spectra; those that cannot be used are in `refused`, and nothing stops."""
    calibrated = calibrated_model(folder, device=device, progress=progress)
    grid, options = folder.store.grid, preparation(folder.store.config)
    rows: list[tuple[Spectrum, Prepared]] = []
    refused = []
    for spectrum in spectra:
        try:
            with np.errstate(all="ignore"):  # garbage in pixels; masks and checks deal with it
                rows.append((spectrum, prepare(spectrum, grid, options=options)))
        except SpectrumError as error:
            refused.append(Refused(spectrum.identifier, error.reason, str(error)))
    return apply_prepared(calibrated, rows, refused=refused)


def apply_prepared(
    calibrated: CalibratedModel,
    rows: Sequence[tuple[Spectrum, Prepared]],
    *,
    refused: Iterable[Refused] = (),
) -> Applied:
    """As `apply_spectra`, of spectra that are on the grid already."""
    reference, probe, wavelength = calibrated.reference, calibrated.probe, calibrated.wavelength
    n, p = len(rows), wavelength.size
    flux, sigma = np.zeros((n, p), np.float32), np.ones((n, p), np.float32)
    good = np.zeros((n, p), dtype=bool)
    for i, (_, one) in enumerate(rows):
        sound = one.good & np.isfinite(one.flux) & (one.sigma > 0) & np.isfinite(one.sigma)
        flux[i, sound], sigma[i, sound], good[i] = one.flux[sound], one.sigma[sound], sound
    facts = [one.facts for _, one in rows]
    berv = None
    if reference.trained.moving_air:
        known = [f["berv"] if f["frame"] == "barycentric" and np.isfinite(f["berv"]) else 0.0 for f in facts]
        berv = np.array(known, dtype=np.float32)
    mean, sd, made, air, flux, sigma = encode_and_decode(calibrated, flux, sigma, good, berv=berv)
    residuals = measure_residuals(flux, sigma, good, made=made, error=reference.error, air=air)
    residual = in_sigma(flux, sigma, good, made=made, error=reference.error).astype(np.float32)
    snr = np.array([f["snr"] for f in facts], dtype=np.float64)
    labels = predict(probe, mean, sd, snr=snr)
    isolated = isolation(probe.standard(mean), reference.codes, keys=None, row_keys=reference.keys)
    odd = oddness(scores_of(residuals, isolated, None), reference.scores, together=reference.together)
    warnings = warnings_of(
        reference.trained,
        facts,
        resolution=np.array([s.resolution for s, _ in rows], dtype=np.float64),
        good=good,
        residuals=residuals,
        chi2_p=odd.p["chi2"],
        density_p=odd.p["density"],
        wavelength=wavelength,
    )
    for i, texts in enumerate(warnings):
        edge = [name for name, one in labels.items() if one.outside[i]]
        if edge:
            texts.append(f"{', '.join(edge)}: beyond the labels that were learned from")
    frame = _frame(
        rows,
        wavelength=wavelength,
        element=calibrated.element,
        medium=calibrated.medium,
        codes={node: (mean[:, node], sd[:, node]) for node in calibrated.facts.kept},
        labels=labels,
        residuals=residuals,
        odd=odd,
        warnings=warnings,
    )
    return Applied(
        identifiers=np.array([s.identifier for s, _ in rows], dtype=object),
        frame=frame,
        wavelength=wavelength,
        flux=flux,
        sigma=sigma,
        good=good,
        reconstruction=made,
        residual=residual,
        mean=mean,
        sd=sd,
        nodes=probe.nodes,
        labels=labels,
        labels_missing=probe.left_out,
        residuals=residuals,
        oddness=odd,
        warnings=warnings,
        refused=list(refused),
        renamed=renamed_labels({name: one.categorical for name, one in labels.items()}),
    )


def encode_and_decode(
    calibrated: CalibratedModel,
    flux: NDArray[np.float32],
    sigma: NDArray[np.float32],
    good: NDArray[np.bool_],
    *,
    berv: NDArray[np.float32] | None,
) -> tuple[
    Floats, Floats, NDArray[np.float32], NDArray[np.float32] | None, NDArray[np.float32], NDArray[np.float32]
]:
    """Codes (n, nodes) and their sd, improved under the decoder as the study's own were; what they decode to.

    Returns mean, sd, reconstructions (n, p), the atmosphere in them where the network separates it, and flux
    and sigma as the model judges them: over the smooth response, with the learned errors.
    """
    import torch

    from ..model.data import Tensors

    model, facts = calibrated.model, calibrated.facts
    size = max(1, model.batch_pixels // flux.shape[1])
    means, sds = [np.zeros((0, model.nodes))], [np.zeros((0, model.nodes))]
    made, airs = [np.zeros((0, flux.shape[1]), np.float32)], [np.zeros((0, flux.shape[1]), np.float32)]
    fluxes, sigmas = [flux[:0]], [sigma[:0]]
    for start in range(0, len(flux), size):
        part = slice(start, start + size)
        tensors = [torch.from_numpy(array[part]) for array in (flux, sigma, good)]
        speed = None if berv is None else torch.from_numpy(berv[part])
        complete = bool(good[part].all())
        batch = model.to_device(Tensors(tensors[0], tensors[1], None if complete else tensors[2], speed))
        codes = model.encode(batch, relock=facts.relocked, polished=facts.kept if facts.polished else False)
        means.append(codes.mean.double().cpu().numpy())
        sds.append(codes.sd.double().cpu().numpy())
        fluxes.append(batch.flux.cpu().numpy())
        sigmas.append(batch.sigma.cpu().numpy())
        one, air = model.decode_array(means[-1], berv=None if berv is None else berv[part])
        made.append(one)
        airs += [] if air is None else [air]
    air_is_known = len(airs) == len(made)
    return (
        np.concatenate(means),
        np.concatenate(sds),
        np.concatenate(made),
        np.concatenate(airs) if air_is_known else None,
        np.concatenate(fluxes),
        np.concatenate(sigmas),
    )


def _frame(
    rows: Sequence[tuple[Spectrum, Prepared]],
    *,
    wavelength: Floats,
    element: float | None,
    medium: str,
    codes: Mapping[int, tuple[Floats, Floats]],
    labels: Mapping[str, Prediction],
    residuals: Residuals,
    odd: Oddness,
    warnings: Sequence[Sequence[str]],
) -> pd.DataFrame:
    """A row per spectrum; `codes` gives mean and sd (n,) of the nodes that are listed."""
    import pandas as pd

    def text(values: Iterable[str]) -> pd.Series[str]:
        return pd.Series(list(values), dtype="str")

    columns: dict[str, Any] = {
        "spectrum_id": text(s.identifier for s, _ in rows),
        "target": text(s.target for s, _ in rows),
        "warning": text("; ".join(texts) for texts in warnings),
        "snr": np.array([one.facts["snr"] for _, one in rows], dtype=np.float64),
        "sigma_from": text(str(one.facts["sigma_from"]) for _, one in rows),
        "n_good": np.array([one.facts["n_good"] for _, one in rows], dtype=np.int64),
    }
    names = label_columns({name: one.categorical for name, one in labels.items()})
    for label, one in labels.items():
        name = names[label]
        if one.categorical:
            columns |= {name: text(one.value), f"{name}_set": text(one.sets)}
        else:
            columns |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    columns |= {
        "outlier_p": odd.p_all,
        "outlier_surprise": odd.surprise_all,
        "outlier_reasons": text(
            reasons_text(
                i, odd=odd, residuals=residuals, wavelength=wavelength, element=element, medium=medium
            )
            for i in range(len(rows))
        ),
        **score_columns(residuals, odd, wavelength),
    }
    for node, (mean, sd) in codes.items():
        columns |= {f"mean_{node:03d}": mean, f"sd_{node:03d}": sd}
    return pd.DataFrame(columns)
