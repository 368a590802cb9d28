"""What a study judges spectra by: its model, its probe, and the scores of its held-out spectra.

    STUDY/probe.npz       labels from codes, with their calibration
    STUDY/reference.npz   usual scores, from held-out spectra, and the range of the training

Each is made when first needed, and again when codes, labels or model have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..artifacts import Format, differences, digest, read_arrays, write_arrays
from ..errors import ModelError, StoreError
from ..folder import StudyFolder
from ..measures.evidence import Floats
from ..measures.probe import Probe, fit, label_residuals, predict, read_probe, target_keys, write_probe
from ..model.data import Source
from ..model.encode import codes_facts
from ..progress import Listener, message, silent
from ..schema import CodesFacts, ModelFacts
from ..targets import split
from .codes import StudyCodes
from .residuals import Residuals, measure_residuals, model_error
from .scores import (
    REASONS,
    WITHOUT_LABELS,
    HeldOutScores,
    isolation,
    label_surprise,
    oddness,
    scores_of,
)
from .training_range import FEW, TrainingRange, bulk

if TYPE_CHECKING:
    import pandas as pd

    from ..model.trained import TrainedModel

REFERENCE = Format("astroprism-reference", 2)
MOST_HELD_OUT = 3_000  # held-out spectra that p is ranked among
MOST_CODES = 30_000  # codes among which isolation is measured
BLOCK_PIXELS = 2**22  # read and decoded at once
SAMPLE_PIXELS = 2**25  # whose residuals give the model's error
MOST_MODELS = 4  # studies whose calibrated models stay in memory
_MODELS: dict[tuple[str, str], tuple[tuple[int | None, ...], CalibratedModel]] = {}


@dataclass(frozen=True, eq=False)
class Reference:
    """What is usual, by held-out spectra.

    error         (p,) of the model, in units of the flux
    codes, keys   (m, k) standardised codes of training targets, and who they are
    scores        reason -> scores of held-out spectra
    label_scores  label -> distances of catalogue labels from predicted ones there
    together      the largest surprise of all reasons, without labels and with them
    trained       the range of the spectra that the model was trained on
    """

    error: Floats
    codes: Floats
    keys: NDArray[np.int64]
    scores: dict[str, HeldOutScores]
    label_scores: dict[str, HeldOutScores]
    together: tuple[HeldOutScores, HeldOutScores]
    trained: TrainingRange


@dataclass(frozen=True, eq=False)
class CalibratedModel:
    """A study's model with the probe and reference that its codes are judged by; threads may share it.

    facts       what the study's codes are, and how they were improved under the decoder
    wavelength  (p,) of the store's grid, in its medium
    element     full width at half maximum of a narrow line, km/s, as the findings have it; None: unknown
    """

    model: TrainedModel
    facts: CodesFacts
    probe: Probe
    reference: Reference
    wavelength: Floats
    medium: str = "vacuum"
    element: float | None = None


def calibrated_model(
    folder: StudyFolder, *, device: str = "auto", progress: Listener = silent
) -> CalibratedModel:
    """As `calibrate`, kept in memory while codes, model and findings stay as they are."""
    model = ModelFacts.path_in(folder.model_path)
    paths = [folder.codes_path(), model, folder.findings_path, folder.table_path("labels")]
    stamp = tuple(path.stat().st_mtime_ns if path.exists() else None for path in paths)
    key = str(folder.path.absolute()), device
    held = _MODELS.get(key)
    if held is None or held[0] != stamp:
        held = stamp, calibrate(folder, device=device, progress=progress)
        _MODELS.pop(next(iter(_MODELS), key) if len(_MODELS) >= MOST_MODELS else key, None)
        _MODELS[key] = held
    return held[1]


def calibrate(folder: StudyFolder, *, device: str = "auto", progress: Listener = silent) -> CalibratedModel:
    """The model of a study with its probe and reference, from their files or made and kept there."""
    model = folder.model(device=device)
    facts = codes_facts(folder.codes_path())
    weights = digest(folder.model_path / "weights.safetensors")
    if facts.weights != weights:
        raise ModelError(
            f"{folder.codes_path()} was made by another model; run: astroprism encode {folder.path}"
        )
    label_table = folder.label_table()
    nodes = counted_nodes(folder, facts)
    made_from = {
        "version": REFERENCE.version,
        "weights": weights,
        "codes": digest(folder.codes_path()),
        "labels": None if label_table is None else digest(folder.table_path("labels")),
        "nodes": nodes,
    }
    probe_path, reference_path = folder.path / "probe.npz", folder.path / "reference.npz"
    probe = read_probe(probe_path, facts=made_from)
    reference = read_reference(reference_path, made_from=made_from)
    if probe is None or reference is None:
        codes, shares = StudyCodes.read(folder), folder.require_model().split
        labels, part = codes.labels(label_table), codes.parts(shares)
        units = codes.units(shares)
        if probe is None:
            text = (
                "no labels: codes and outliers only" if label_table is None else "learning labels from codes"
            )
            progress(message(text))
            probe = fit(
                codes.mean.astype(np.float64),
                codes.sd.astype(np.float64),
                snr=codes.snr,
                labels={str(name): labels[name] for name in labels},
                targets=units,
                train=~split.held_out(part),
                nodes=nodes,
                seed=shares.seed,
                facts=made_from,
            )
            _keep(lambda: write_probe(probe_path, probe), progress)
        progress(message("scoring held-out spectra, by which others are judged"))
        reference = make_reference(folder, model, probe, codes, labels=labels, part=part, units=units)
        _keep(lambda: write_reference(reference_path, reference, made_from=made_from), progress)
    grid = folder.store.grid
    return CalibratedModel(model, facts, probe, reference, grid.wavelength, grid.medium, _element(folder))


def _element(folder: StudyFolder) -> float | None:
    coverage = folder.findings().line_coverage if folder.has_findings() else None
    return None if coverage is None else coverage.element_kms


def counted_nodes(folder: StudyFolder, facts: CodesFacts) -> list[int]:
    """Nodes that labels and distances are read from: the kept ones that findings count, copies left out."""
    if not folder.has_findings():
        return list(facts.kept)
    counted = {node.node for node in folder.findings().nodes if node.counted and node.copies_of is None}
    return [node for node in facts.kept if node in counted] or list(facts.kept)


def _keep(write: Callable[[], None], progress: Listener) -> None:
    """What cannot be kept is made again next time: a study that may only be read is no reason to stop."""
    try:
        write()
    except StoreError as error:
        progress(message(f"not kept for next time: {error}"))


# --- the reference


def make_reference(
    folder: StudyFolder,
    model: TrainedModel,
    probe: Probe,
    codes: StudyCodes,
    *,
    labels: pd.DataFrame,
    part: NDArray[np.str_],
    units: NDArray[np.object_],
) -> Reference:
    """Scores of held-out spectra, one per unit, and the range of the training.

    labels, part, units  of the codes; see `StudyCodes`
    """
    source = model.source(Source.from_store(folder.store, memory=0))
    snr, seed = codes.snr, 0
    one = split.one_per_target(units, seed)
    out = split.held_out(part)
    held, trained = one[out[one]], one[~out[one]]
    if not held.size or not trained.size:
        raise ModelError(
            "no target was held out of training, so nothing says what is usual: train again with --valid "
            "and --test above 0"
        )
    rng = np.random.default_rng(seed)
    held = np.sort(rng.permutation(held)[:MOST_HELD_OUT])
    some = np.sort(rng.permutation(held)[: max(64, SAMPLE_PIXELS // source.pixels)])
    decoded = [_read_and_decode(source, model, codes, rows) for rows in _blocks(some, source.pixels)]
    flux, sigma, good, made = (np.concatenate([block[i] for block in decoded]) for i in range(4))
    error = model_error(flux, sigma, good, made=made)
    del decoded, flux, sigma, good, made
    residuals = study_residuals(source, model, codes, held, error=error)

    mean, sd = codes.mean.astype(np.float64), codes.sd.astype(np.float64)
    x, keys = probe.standard(mean), target_keys(units)
    near = np.sort(rng.permutation(trained)[:MOST_CODES])
    isolated = isolation(x[held], x[near], keys=keys[held], row_keys=keys[near])
    predicted = predict(probe, mean[held], sd[held], snr=snr[held], targets=units[held])
    distances = label_residuals(predicted, {str(name): labels[name].iloc[held] for name in labels})
    label_scores = {name: HeldOutScores.from_scores(values) for name, values in distances.items()}
    scores = scores_of(residuals, isolated, label_surprise(distances, label_scores, held.size))
    known = {name: HeldOutScores.from_scores(scores[name]) for name in REASONS}
    odd = oddness(scores, known, together=None)
    bare = np.max([odd.surprise[name] for name in WITHOUT_LABELS], axis=0)
    labelled = odd.surprise_all[np.isfinite(odd.surprise["labels"])]

    index = codes.index.iloc[codes.rows[trained]]
    resolution = index.get("resolution", [np.nan])
    good_share = index["n_good"].to_numpy(np.float64) / source.pixels
    frames = index["frame"].value_counts(normalize=True)
    blocks = _blocks(some[:512], source.pixels)
    covered = np.mean(np.concatenate([folder.store.read(codes.rows[rows]).good for rows in blocks]), axis=0)
    return Reference(
        error,
        x[near],
        keys[near],
        known,
        label_scores,
        (
            HeldOutScores.from_scores(bare),
            HeldOutScores.from_scores(labelled if labelled.size else bare),
        ),
        TrainingRange(
            snr=bulk(snr[trained]),
            resolution=bulk(resolution),
            good=float(np.quantile(good_share, 0.005)),
            frames=tuple(sorted(str(name) for name, share in frames.items() if share >= FEW)),
            covered=np.asarray(covered, dtype=np.float64),
            broader=np.sort(residuals.broader),
            air_broader=np.sort(residuals.air_broader),
            ripple=np.sort(residuals.ripple),
            moving_air=model.moving_air,
        ),
    )


def study_residuals(
    source: Source, model: TrainedModel, codes: StudyCodes, rows: NDArray[np.intp], *, error: Floats
) -> Residuals:
    """Residuals of the spectra at `rows` of the codes, against what their codes decode to."""
    parts = []
    for some in _blocks(rows, source.pixels):
        flux, sigma, good, made, air = _read_and_decode(source, model, codes, some)
        parts.append(measure_residuals(flux, sigma, good, made=made, error=error, air=air))
    return Residuals.concatenate(parts)


def _blocks(rows: NDArray[np.intp], pixels: int) -> list[NDArray[np.intp]]:
    size = max(1, BLOCK_PIXELS // pixels)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _read_and_decode(
    source: Source, model: TrainedModel, codes: StudyCodes, rows: NDArray[np.intp]
) -> tuple[Any, Any, Any, Any, Any]:
    """Flux, sigma, good, reconstruction and the atmosphere in it (b, p), for rows of the codes."""
    place = codes.rows[rows]
    batch = model.to_device(source.tensors(place))
    flux, sigma = batch.flux.cpu().numpy(), batch.sigma.cpu().numpy()
    good = np.ones(flux.shape, bool) if batch.good is None else batch.good.cpu().numpy()
    berv = None if source.berv is None else source.berv[place]
    return flux, sigma, good, *model.decode_array(codes.mean[rows], berv=berv)


# --- on disk; the file calls the range of the training "seen" and the scores "usual" and "label"


def write_reference(path: Path, reference: Reference, *, made_from: Mapping[str, Any]) -> None:
    """Arrays and JSON in one npz file, as `probe.write_probe`."""
    trained = {entry.name: getattr(reference.trained, entry.name) for entry in fields(TrainingRange)}
    arrays = {f"seen.{name}": value for name, value in trained.items() if isinstance(value, np.ndarray)}
    arrays |= {"error": reference.error, "codes": reference.codes, "keys": reference.keys}
    arrays |= {f"usual.{name}": one.values for name, one in reference.scores.items()}
    arrays |= {f"label.{i}": one.values for i, one in enumerate(reference.label_scores.values())}
    arrays |= {f"together.{i}": one.values for i, one in enumerate(reference.together)}
    header = REFERENCE.header | {
        "facts": dict(made_from),
        "labels": list(reference.label_scores),
        "seen": {name: value for name, value in trained.items() if not isinstance(value, np.ndarray)},
    }
    write_arrays(path, arrays, header=header)


def read_reference(path: Path, *, made_from: Mapping[str, Any]) -> Reference | None:
    """The reference at `path` if it was made from this, else None."""
    held = read_arrays(path, kind=REFERENCE)
    if held is None or differences(held[1]["facts"], made_from):
        return None
    arrays, header = held
    trained: dict[str, Any] = {k.removeprefix("seen."): v for k, v in arrays.items() if k.startswith("seen.")}
    trained |= header["seen"] | {"frames": tuple(header["seen"]["frames"])}
    return Reference(
        arrays["error"],
        arrays["codes"],
        arrays["keys"],
        {name: HeldOutScores(arrays[f"usual.{name}"]) for name in REASONS},
        {name: HeldOutScores(arrays[f"label.{i}"]) for i, name in enumerate(header["labels"])},
        (HeldOutScores(arrays["together.0"]), HeldOutScores(arrays["together.1"])),
        TrainingRange(**trained),
    )
