"""All visits, not one per target: whose variance a node's is, and stars that can be followed in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..measures.evidence import Floats, column_values
from ..measures.keywords import INDEX, meaning, plain
from ..measures.series import FEWEST, SURE, Periodogram, sinusoid, vary
from ..measures.variance import FEWEST_REPEATS, PARTS, nights, repeated, split_variance
from ..schema import Series, VariancePart, VarianceSplit, Varying

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from ..model.data import Tensors
    from ..model.trained import TrainedModel

ENOUGH = 30  # held-out targets with repeats from which the training targets are not needed
MOST_SERIES = 6  # stars that are followed, the most visited ones
MOST_NAMES = 3  # keywords that may name the instrument, for the table
STARS_PER_NAME = 3
BATCH = 256
CLEAR_SLOPE = 0.1  # of velocity against BERV: how near to -1 or 0 it must be, beside its error

Table = dict[str, list[Any]]


@dataclass(frozen=True)
class Visits:
    """Every encoded spectrum; n of them.

    mean, sd             (n, nodes)
    time, berv           (n,) MJD, km/s; NaN where unknown; frame (n,) of the wavelengths
    held                 (n,) whether the target was held out of training
    names                keyword -> (n,) values that may name the instrument, the best first
    velocity, velocity_sd   (n,) km/s, of stars that can be followed; None where the network has no velocity
    """

    identifiers: NDArray[np.object_]
    targets: NDArray[np.object_]
    mean: Floats
    sd: Floats
    time: Floats
    berv: Floats
    frame: NDArray[np.object_]
    held: NDArray[np.bool_]
    names: Mapping[str, Any] = field(default_factory=dict)
    velocity: Floats | None = None
    velocity_sd: Floats | None = None


def visits_of(
    index: pd.DataFrame,
    keywords: pd.DataFrame,
    *,
    mean: Floats,
    sd: Floats,
    held: NDArray[np.bool_],
    model: TrainedModel | None = None,
    polished: tuple[Floats, Floats] | None = None,
    spectra: Callable[[NDArray[np.intp]], Tensors] | None = None,
) -> Visits:
    """The visits of a store: rows of index, keywords, codes and `held` belong together, n of each.

    model, polished  a network, and mean and sd of its polished codes: velocities are read from them, which
                     are several times more precise than the encoder's first look
    spectra          gives the spectra of rows, from which follows how sure these codes are; without them
                     their sd say so
    """

    def numbers(name: str) -> Floats:
        return index[name].to_numpy(np.float64) if name in index else np.full(len(index), np.nan)

    targets = index["target"].to_numpy(dtype=object)
    found = Visits(
        identifiers=index["spectrum_id"].to_numpy(dtype=object),
        targets=targets,
        mean=mean,
        sd=sd,
        time=numbers("time"),
        berv=numbers("berv"),
        frame=index["frame"].to_numpy(dtype=object) if "frame" in index else np.full(len(index), "unknown"),
        held=held,
        names=_instruments(index, keywords, targets),
    )
    if model is None or not model.moves_star:
        return found
    mean, sd = (mean, sd) if polished is None else polished
    rows = np.flatnonzero(np.isin(targets, followed(found)))
    velocity, error = np.full((2, len(index)), np.nan)
    for start in range(0, rows.size, BATCH):
        some = rows[start : start + BATCH]
        batch = None if spectra is None else spectra(some)
        velocity[some], error[some] = _velocities(model, mean[some], sd[some], batch=batch)
    return replace(found, velocity=velocity, velocity_sd=error)


def followed(visits: Visits) -> list[str]:
    """Stars with enough dated spectra to be followed in time, the most visited first; six at most."""
    names, counts = np.unique(visits.targets[np.isfinite(visits.time)].astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [str(names[one]) for one in order if counts[one] >= FEWEST][:MOST_SERIES]


# --- whose variance


def split_visits(
    visits: Visits, nodes: Sequence[int], *, seed: int = 0
) -> tuple[dict[int, VarianceSplit], Table, str]:
    """(node -> its variance; a row per node, naming keyword and part; a sentence on the visits)."""
    repeats = repeated(visits.targets)
    if repeats < FEWEST_REPEATS or not nodes:
        return (
            {},
            {},
            (
                f"no variance is split: {repeats} target{'s have' if repeats != 1 else ' has'} more than one "
                f"spectrum, and {FEWEST_REPEATS} are needed"
            ),
        )
    rows, evidence = np.arange(len(visits.targets)), "all targets"
    if repeated(visits.targets[visits.held]) >= ENOUGH:
        rows, evidence = np.flatnonzero(visits.held), "held-out targets"
    chosen = list(nodes)
    given: dict[str, Any] = {"targets": visits.targets[rows].astype(str), "seed": seed}
    if np.isfinite(visits.time[rows]).any():
        given["nights"] = nights(visits.time[rows], given["targets"])
    mean, noise = visits.mean[rows][:, chosen], visits.sd[rows][:, chosen] ** 2
    splits: dict[int, VarianceSplit] = {}
    table: Table = {}
    for keyword in list(visits.names)[:MOST_NAMES] or [""]:
        if keyword:
            given["instruments"] = np.asarray(visits.names[keyword])[rows]
        for node, split in zip(chosen, split_variance(mean, noise, **given), strict=True):
            told = replace_split(split, by=plain(keyword), evidence=evidence)
            splits.setdefault(node, told)
            _add_rows(table, node, told)
    first = next(iter(splits.values()))
    words = (
        f"variance is split on {first.spectra:,} spectra of {first.targets:,} targets "
        f"({'held out of training' if evidence == 'held-out targets' else 'trained on or not'}), "
        f"{first.repeated:,} of them seen more than once"
    )
    words += f"; instruments are told apart by {first.by}" if first.instrument is not None else ""
    return splits, table, words


def replace_split(split: VarianceSplit, *, by: str, evidence: str) -> VarianceSplit:
    """The split with what names its instruments and what it was made on."""
    import msgspec

    return msgspec.structs.replace(split, by=by if split.instrument is not None else "", evidence=evidence)


def _add_rows(table: Table, node: int, split: VarianceSplit) -> None:
    for name in PARTS:
        part: VariancePart | None = getattr(split, name)
        if part is None:
            continue
        row = {"node": node, "by": split.by, "part": name} | {
            one: getattr(part, one) for one in VariancePart.__struct_fields__
        }
        for key, value in (row | {"spectra": split.spectra, "targets": split.targets}).items():
            table.setdefault(key, []).append(value)
    noise = {"node": node, "by": split.by, "part": "code noise", "variance": split.code_noise}
    noise |= {"share": split.code_noise_share, "spectra": split.spectra, "targets": split.targets}
    for key in table:
        table[key].append(noise.get(key))


def _instruments(index: pd.DataFrame, keywords: pd.DataFrame, targets: NDArray[np.object_]) -> dict[str, Any]:
    """Keywords that may name the instrument of a spectrum -> values; the best named first."""
    stars = len(set(targets.tolist()))
    columns = {str(name): keywords[name] for name in keywords if name != "row"}
    columns |= {f"{INDEX}{name}": index[name] for name in ("reader",) if name in index}
    found = []
    for name, given in columns.items():
        rank = meaning(name).rank
        if rank is None:
            continue
        values = np.array([_named(one) for one in column_values(given).tolist()], dtype=object)
        levels = len(set(values.tolist()))
        if 2 <= levels <= stars / STARS_PER_NAME:
            found.append((rank, name, values))
    return {name: values for _, name, values in sorted(found, key=lambda one: one[:2])}


def _named(value: Any) -> str:
    if value is None or value != value:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


# --- in time


def follow(visits: Visits, nodes: Sequence[int], *, seed: int = 0) -> tuple[list[Series], dict[str, Table]]:
    """(what each star does in time, tables: `series` by spectrum and quantity, `periodograms`)."""
    found: list[Series] = []
    tables: dict[str, Table] = {}
    for target in followed(visits):
        rows = np.flatnonzero((visits.targets.astype(str) == target) & np.isfinite(visits.time))
        rows = rows[np.argsort(visits.time[rows], kind="stable")]
        time = visits.time[rows]
        if not np.ptp(time) > 0:
            continue
        night = nights(time, np.zeros(rows.size))
        columns = [(node, f"node {node}") for node in nodes]
        values, errors = visits.mean[rows][:, list(nodes)], visits.sd[rows][:, list(nodes)]
        frame = "none"
        remarks: list[str] = []
        if visits.velocity is not None and visits.velocity_sd is not None:
            speed, frame, remarks = _moved(visits, rows)
            kept = [place for place, node in enumerate(nodes) if node != 0]  # node 0 is the velocity itself
            values = np.column_stack([speed, values[:, kept]])
            errors = np.column_stack([visits.velocity_sd[rows], errors[:, kept]])
            columns = [(0, "velocity"), *(columns[place] for place in kept)]
        if not columns:
            continue
        varying, periodograms = vary(
            time, values, errors, nights=night, names=columns, berv=visits.berv[rows], seed=seed
        )
        found.append(
            Series(
                target=target,
                spectra=int(rows.size),
                nights=int(night.max()) + 1,
                first=float(time[0]),
                last=float(time[-1]),
                frame=frame,
                shortest=float(1 / max(one.frequency[-1] for one in periodograms)),
                longest=float(np.ptp(time)),
                series=varying,
                remarks=[*remarks, *_remarks(varying)],
            )
        )
        _add_series(tables, visits, rows, night, values, errors, varying, periodograms, target=target)
    return found, tables


def _velocities(
    model: TrainedModel, mean: Floats, sd: Floats, *, batch: Tensors | None
) -> tuple[Floats, Floats]:
    """Velocity of codes (b, n) in km/s, and its sd: from the spectra if they are given, else from theirs."""
    import torch

    from ..model.nodes import code_errors

    def tensor(codes: Floats) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(codes, dtype=np.float32)).to(model.device)

    def speed(codes: Floats) -> Floats:
        found = model.decode(tensor(codes)).velocity
        assert found is not None
        return found.double().cpu().numpy()

    nodes = sorted({0, *model.kept})
    if batch is not None:
        sure = code_errors(
            model.network, tensor(mean), model.to_device(batch), nodes=nodes, floor=model.floor
        )
        sd = sd.copy()
        sd[:, nodes] = sure.double().cpu().numpy()
    middle, variance = speed(mean), np.zeros(len(mean))
    for node in nodes:
        moved = mean.copy()
        moved[:, node] += sd[:, node]
        variance += (speed(moved) - middle) ** 2
    return middle, np.sqrt(np.maximum(variance, 1e-12))


def _moved(visits: Visits, rows: NDArray[np.intp]) -> tuple[Floats, str, list[str]]:
    """A star's velocities (km/s), in the barycentre's frame where that can be had; the frame; remarks."""
    assert visits.velocity is not None
    speed, berv, frame = visits.velocity[rows], visits.berv[rows], visits.frame[rows]
    if np.isin(frame, ["barycentric"]).all():
        return speed, "barycentric", []
    if (frame == "rest").any():
        return (
            speed,
            "apparent",
            ["the files were moved to the star's rest: what is left of its velocity is the error of that"],
        )
    observed = frame == "topocentric"
    known = observed & np.isfinite(berv) | (frame == "barycentric")
    if known.all():
        return (
            speed + np.where(observed, berv, 0),
            "barycentric",
            ["velocities are the apparent ones plus BERV"],
        )
    if not np.isfinite(berv).all() or np.ptp(berv) < 1:
        return (
            speed,
            "apparent",
            [
                "frame or BERV of some spectra is not known: velocities are as they appear, and hold up to "
                "30 km/s of the Earth's motion within a year"
            ],
        )
    slope, error = _slope(berv, speed)
    told = (
        f"the frame is not stated; velocities change by {slope:.3f} +- {error:.3f} km/s for each km/s of BERV"
    )
    if abs(slope + 1) < CLEAR_SLOPE and error < CLEAR_SLOPE:
        return speed + berv, "barycentric", [f"{told}: spectra are as observed, and BERV was added"]
    if abs(slope) < CLEAR_SLOPE and error < CLEAR_SLOPE:
        return speed, "barycentric", [f"{told}: they are barycentric already"]
    return speed, "apparent", [f"{told}, which does not say it: they are told as they appear"]


def _slope(x: Floats, y: Floats) -> tuple[float, float]:
    """Least-squares slope and its standard error."""
    centred = x - x.mean()
    slope = float(centred @ y / (centred @ centred))
    rest = y - y.mean() - slope * centred
    return slope, float(np.sqrt(rest @ rest / max(len(x) - 2, 1) / (centred @ centred)))


def _remarks(varying: Sequence[Varying]) -> list[str]:
    """What to be wary of, in sentences."""
    found = []
    for one in varying:
        period = one.period
        if period is not None and period.significant and period.near:
            found.append(
                f"{one.quantity}: the period of {period.period:.5g} d cannot be told from {period.near}, "
                "which the Earth, the Moon or the sampling also make"
            )
        if one.berv_p is not None and one.berv_p < SURE and abs(one.berv_correlation or 0.0) > 0.3:
            found.append(
                f"{one.quantity} follows BERV (rank correlation {one.berv_correlation:.2f}): the atmosphere, "
                "or a frame other than the one stated, may be in it"
            )
    return found


def _add_series(
    tables: dict[str, Table],
    visits: Visits,
    rows: NDArray[np.intp],
    night: NDArray[Any],
    values: Floats,
    errors: Floats,
    varying: Sequence[Varying],
    periodograms: Sequence[Periodogram],
    *,
    target: str,
) -> None:
    """Rows of the tables `series` and `periodograms` of one star."""
    series, spectra = tables.setdefault("series", {}), visits.identifiers[rows].tolist()
    powers = tables.setdefault("periodograms", {})
    for column, (one, power) in enumerate(zip(varying, periodograms, strict=True)):
        count, time = rows.size, visits.time[rows]
        model = np.full(count, np.nan) if one.period is None else sinusoid(time, one.period)
        _extend(
            series,
            target=[target] * count,
            spectrum_id=spectra,
            node=[one.node] * count,
            quantity=[one.quantity] * count,
            time=time.tolist(),
            night=night.tolist(),
            berv=visits.berv[rows].tolist(),
            value=values[:, column].tolist(),
            sd=errors[:, column].tolist(),
            sinusoid=model.tolist(),
        )
        count = power.frequency.size
        _extend(
            powers,
            target=[target] * count,
            node=[one.node] * count,
            quantity=[one.quantity] * count,
            period=(1 / power.frequency).tolist(),
            power=power.power.tolist(),
        )


def _extend(table: Table, **columns: list[Any]) -> None:
    for name, values in columns.items():
        table.setdefault(name, []).extend(values)
