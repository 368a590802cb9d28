"""Commands on spectra: simulate, ingest, info."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import AstroprismError, ConfigError, StoreError
from .common import Json, StudyPath, show


def simulate(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the files and truth.csv.")],
    spectra: Annotated[int | None, typer.Option(help="How many spectra.")] = None,
    factors: Annotated[
        str | None,
        typer.Option(help="What varies, by commas: rv,teff,feh,telluric,vsini,logg,tilt,alpha,activity ..."),
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="adp, s1d, lamost, lamost-old, sdss, apstar, image or csv.")
    ] = None,
    window: Annotated[str | None, typer.Option(metavar="LO:HI", help="Range in angstrom.")] = None,
    step: Annotated[
        str | None, typer.Option(metavar="5kms|0.01A", help="Pixel, in km/s (log) or angstrom (linear).")
    ] = None,
    resolution: Annotated[float | None, typer.Option(help="Resolving power.")] = None,
    snr: Annotated[str | None, typer.Option(metavar="LO:HI", help="Range of signal-to-noise.")] = None,
    visits: Annotated[
        str | None, typer.Option(help="uneven: few stars often, as surveys do; or one.")
    ] = None,
    nuisances: Annotated[str | None, typer.Option(help="Further causes, by commas: airmass,blaze.")] = None,
    oddities: Annotated[
        str | None, typer.Option(metavar="KIND:SHARE,..", help="sb2, emission, cosmic, wronglabel.")
    ] = None,
    distribution: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FACTOR=TEXT", help="Such as rv=uniform:-50:50 or teff=normal:5600:300. Repeatable."
        ),
    ] = None,
    survey: Annotated[
        str | None,
        typer.Option(
            help="Settings that go together: low (R 1,800), high (R 30,000), series (one star over many "
            "nights), band (O2 and H2O, BERV hidden)."
        ),
    ] = None,
    reality: Annotated[
        bool,
        typer.Option(
            "--reality",
            help="A real sky: spectrographs, wrong errors, sky residuals, hits, seeing, unequal visits.",
        ),
    ] = False,
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART[=VALUE]",
            help="A part of the real sky: alone (PART), or of this size (lsf=0.1; 0 for none). Repeatable.",
        ),
    ] = None,
    stars: Annotated[int | None, typer.Option(help="How many stars, where they are visited often.")] = None,
    nights: Annotated[int | None, typer.Option(help="Nights of a series.")] = None,
    orbit: Annotated[
        str | None, typer.Option(metavar="K:P[:E[:OMEGA]]", help="Orbit of a series: km/s, days, degrees.")
    ] = None,
    berv: Annotated[
        str | None,
        typer.Option(help="given, computable (from place, time and observatory) or hidden, in the headers."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file with these settings.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same files.")] = None,
    as_json: Json = False,
) -> None:
    """Write an archive whose answer is known: FITS files as the observatory would, and truth.csv."""
    from ..progress import staged
    from ..simulate import SimulationConfig, write_archive
    from .terminal import Display

    given = {
        "spectra": spectra,
        "factors": factors,
        "format": format,
        "window": window,
        **_step(step),
        "resolution": resolution,
        "snr": snr,
        "visits": visits,
        "nuisances": nuisances,
        "distributions": ",".join(distribution) if distribution else None,
        "oddities": oddities,
        "seed": seed,
        "survey": survey,
        "reality": _reality(reality, part),
        "stars": stars,
        "nights": nights,
        "orbit": orbit,
        "berv": berv,
    }
    if config is not None and survey is not None:
        raise ConfigError("--config and --survey are both given; write survey = '...' into the file")
    file = SimulationConfig.from_file(config).to_mapping() if config else {}
    chosen = {name: value for name, value in given.items() if value is not None}
    settings = SimulationConfig.from_mapping({**file, **chosen})
    with Display() as display:
        truth = write_archive(out, settings, progress=staged("simulate", display))
    result = {"spectra": settings.spectra, "folder": str(out), "truth": str(truth), "format": settings.format}
    show(result, as_json, f"{settings.spectra:,} spectra in {out}, what is true of them in {truth}")


def ingest(
    study: StudyPath,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH..", help="Files, or folders of files.")],
    grid: Annotated[str, typer.Option(help="auto, paper, or LO:HI:STEPkms (vacuum angstrom).")] = "auto",
    frame: Annotated[str | None, typer.Option(help="file (default), barycentric or observer.")] = None,
    normalise: Annotated[
        str | None, typer.Option(help="auto (default), median, paper-median or continuum.")
    ] = None,
    min_good: Annotated[
        float | None, typer.Option(help="Share of good pixels a spectrum must have (default 0.5).")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32 (default), or float16: half the disk.")] = None,
    medium: Annotated[str | None, typer.Option(help="air or vacuum, for files that do not say.")] = None,
    wave_unit: Annotated[
        str | None, typer.Option(help="angstrom, nm or um, for files that do not say.")
    ] = None,
    checksum: Annotated[
        str, typer.Option(help="verify: warn of files whose own checksum fails; refuse; or ignore.")
    ] = "verify",
    aliases: Annotated[
        Path | None, typer.Option(help="Table of names that mean one star, one row per star.")
    ] = None,
    targets: Annotated[
        Path | None,
        typer.Option(metavar="TABLE", help="Columns spectrum, target: counts before names and places."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Local processes (default: one per core; 0: no extra process).")
    ] = None,
    cluster: Annotated[str | None, typer.Option(help="Dask scheduler address, or local:N workers.")] = None,
    as_json: Json = False,
) -> None:
    """Bring any pile of spectra into the study's store; refusals are counted, with their reasons."""
    from ..ingest import IngestOptions
    from ..study import Study
    from .terminal import Display

    options = IngestOptions(
        grid=grid,
        frame=frame,
        normalise=normalise,
        min_good=min_good,
        dtype=dtype,
        medium=medium,
        wave_unit=wave_unit,
        checksum=checksum,
        aliases=None if aliases is None else str(aliases),
        targets=None if targets is None else str(targets),
        workers=workers,
        cluster=cluster,
    )
    with Display() as display:
        report = Study(study).ingest(paths, options=options, progress=display)
    result = report.as_dict()
    lines = [
        f"{report.met:,} spectra met in {report.files_new:,} new of {report.files_given:,} files: "
        f"{report.accepted:,} accepted, {report.refused:,} refused",
        *(f"  {count:>7,}  {reason}: {_reason(reason)}" for reason, count in report.reasons.items()),
    ]
    if report.refused:
        lines.append(f"  each with its file and why: {Study(study).store_path / 'rejects.parquet'}")
    lines += [f"  {count:>7,}  accepted with a warning: {text}" for text, count in report.warnings.items()]
    if report.berv:
        counts = ", ".join(f"{count:,} by {name}" for name, count in report.berv.items() if name != "none")
        unknown = report.berv.get("none", 0)
        text = f"{counts or 'of no spectrum'}{f'; unknown of {unknown:,}' if unknown and counts else ''}"
        lines.append(f"  the Earth's motion (BERV) is known: {text}")
    if report.passed_over:
        lines.append(f"  {report.passed_over:,} files passed over that are no spectra by their name")
    if report.targets:
        listed, missing, unknown = (report.targets[key] for key in ("listed", "missing", "unknown"))
        lines.append(
            f"  {listed:,} of {listed + missing:,} spectra have their target by the table of targets, "
            f"{unknown:,} of its {report.targets['rows']:,} rows name no spectrum here"
        )
    if report.n_target_doubts:
        lines.append(
            f"  {report.n_target_doubts:,} pairs of targets lie close but have other names: not merged, see "
            f"{Study(study).store_path / 'target-doubts.parquet'}"
        )
    lines.append(
        f"{study} now holds {report.n_spectra:,} spectra of {report.n_targets:,} targets on {report.grid}"
    )
    show(result, as_json, "\n".join(lines))


def info(
    path: Annotated[Path, typer.Argument(help="A study, a store, a spectrum file or a folder.")],
    picture: Annotated[
        Path | None, typer.Option(help="Draw some spectra of the store to this PNG or PDF file.")
    ] = None,
    labels: Annotated[
        list[Path] | None, typer.Option(help="Say how this label table would join. Repeatable.")
    ] = None,
    verify: Annotated[bool, typer.Option(help="Check every row of the store against its checksum.")] = False,
    as_json: Json = False,
) -> None:
    """Say what this study, store, folder or spectrum file is."""
    from ..info import info as info_of
    from .terminal import facts

    result = info_of(path)
    own = {name: value for name, value in result.items() if name not in ("kind", "path")}
    rooms = {name: own.pop(name) for name in list(own) if name == "model" or name.startswith("codes")}
    text = [f"{result['path']}: {result['kind']}", facts(own.items())]
    for name, found in rooms.items():
        text += [f"  {name}:", facts(found.items(), indent=4)]
    if result["kind"] in ("study", "store"):
        from ..store import Store

        store = Store(path / "store.zarr" if result["kind"] == "study" else path)
        if verify:
            damaged = store.verify()
            result["damaged_rows"] = [int(row) for row in damaged]
            if damaged:
                names = store.index["spectrum_id"].iloc[damaged[:5]].tolist()
                raise StoreError(
                    f"{len(damaged)} of {len(store):,} spectra in {store.path} are damaged on disk (first: "
                    f"{', '.join(names)}); restore the store from a copy, or ingest into a new study"
                )
            text.append(f"  verified: all {len(store):,} spectra are as they were written")
        if len(store):
            text += _drawing(store)
        if picture is not None:
            from ..figures.archive import spectra_figure

            try:
                spectra_figure(store).savefig(picture, dpi=150)
            except (OSError, ValueError) as error:
                raise ConfigError(
                    f"--picture {picture}: {error}; give a PNG or PDF file in a folder that is there"
                ) from None
            result["picture"] = str(picture)
            text.append(f"  some spectra drawn in {picture}")
        if labels:
            from ..study import Study

            reports = [Study(path).labels(table).report for table in labels]
            result["labels"] = [report.to_dict() for report in reports]
            text += [report.text() for report in reports]
    elif picture is not None or labels or verify:
        raise ConfigError(f"{path} is a {result['kind']}; --picture, --labels and --verify are for a study")
    show(result, as_json, "\n".join(text))


def fetch() -> None:
    """Reserved for archive access by TAP and DataLink."""
    raise AstroprismError("fetch is not available in this version; download files and use: astroprism ingest")


def _drawing(store: Any) -> list[str]:
    """A spectrum of median SNR as braille dots, with the ends of its axis."""
    import numpy as np

    from .terminal import braille

    position = int(np.argsort(store.index["snr"].to_numpy(), kind="stable")[len(store) // 2])
    batch = store.read([position])
    row = store.index.iloc[position]
    flux = np.where(batch.good[0], batch.flux[0], np.nan)
    low, high = store.grid.wavelength[[0, -1]]
    ends = f"{low:.0f} A"
    return [
        f"  {row['spectrum_id']} ({row['target']}), the spectrum of median S/N, {row['snr']:.0f}:",
        *(f"  {line}" for line in braille(flux)),
        f"  {ends}{f'{high:.0f} A':>{76 - len(ends)}}",
    ]


def _reason(reason: str) -> str:
    from ..errors import REASONS

    return REASONS[reason]


def _reality(everything: bool, parts: list[str] | None) -> Any:
    """The parts of a real sky: all, those named alone, or all named with sizes of their own."""
    import tomllib

    if not parts:
        return everything or None
    from ..simulate.reality import Reality

    sizes = [one.partition("=") for one in parts]
    named = [name.strip() for name, equals, _ in sizes if not equals]
    if everything and named:
        raise ConfigError(f"--reality holds {named[0]!r} already; give --part {named[0]} alone, or a size")
    start = Reality() if everything else Reality.only(name.strip() for name, _, _ in sizes)
    try:
        given = {name.strip(): tomllib.loads(f"x = {size}")["x"] for name, equals, size in sizes if equals}
    except tomllib.TOMLDecodeError:
        raise ConfigError("--part: a size reads lsf=0.1, errors=[0.8, 1.5] or population=false") from None
    return {**start.to_mapping(), **given}


def _step(text: str | None) -> dict[str, Any]:
    """5kms or 0.01A as the simulator's step and its unit."""
    if text is None:
        return {}
    for ending, unit in (("kms", "kms"), ("km/s", "kms"), ("AA", "angstrom"), ("A", "angstrom")):
        if text.endswith(ending):
            try:
                return {"step": float(text.removesuffix(ending)), "step_unit": unit}
            except ValueError:
                break
    raise ConfigError(f"--step {text!r}: expected a number with its unit, such as 5kms or 0.01A")
