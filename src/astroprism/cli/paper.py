"""The command on the seed paper's own files: paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ConfigError
from .common import Json, Seed, show

if TYPE_CHECKING:
    import pandas as pd

    from ..paper import Section6


_LABELS_HEAD = (
    "  label             n  map: 1st node, fewest/most bins  chance in it  unbiased: node, nats        q"
)


def paper(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for report, figures and tables.")],
    codes: Annotated[
        Path | None, typer.Option(metavar="NPY", help="The released codes, (spectra, nodes).")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="CSV", help="The released table of metadata and labels.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="PTH", help="The released weights, with --spectra.")
    ] = None,
    spectra: Annotated[
        list[Path] | None,
        typer.Option(metavar="FITS", help="A file or folder to encode, instead of --codes. Repeatable."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A label to take. Repeatable. Default: the ten.")
    ] = None,
    permutations: Annotated[int, typer.Option(help="Behind the null of the paper's estimate.")] = 20,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps, to encode.")] = "auto",
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Section 6 of the seed paper from its release files, and which of its results hold."""
    from ..paper import read_release, section6
    from ..progress import staged
    from ..report.paper_page import write_section6
    from .terminal import Display, messages

    _checked(codes, labels, weights, spectra, permutations)
    facts: dict[str, Any] = {}
    sd: Any = None
    targets: Any = None
    table: pd.DataFrame | None = None
    if codes is not None and labels is not None:
        release = read_release(codes, labels, names=label)
        mean, table = release.codes, release.labels
        facts |= {"codes": str(codes), "labels": str(labels)}
        for note in release.notes:
            messages.print(f"note: {note}")
            facts["note"] = note
    else:
        assert weights is not None
        assert spectra is not None
        mean, sd, targets, table, more = _encoded(weights, spectra, labels, out, names=label, device=device)
        facts |= more
    with Display() as display:
        result = section6(
            mean,
            table,
            sd=sd,
            targets=targets,
            permutations=permutations,
            seed=seed,
            progress=staged("section 6", display),
        )
        files = write_section6(result, out, facts=facts, progress=staged("figures", display))
    made = {"report": str(out / "report.html"), "files": [str(file) for file in files]}
    show(facts | result.summary() | made, as_json, _text(result, out))


def _checked(
    codes: Path | None,
    labels: Path | None,
    weights: Path | None,
    spectra: list[Path] | None,
    permutations: int,
) -> None:
    """Refuse options that contradict each other."""
    if codes is not None and (spectra or weights is not None):
        raise ConfigError(
            "--codes are codes already; give --weights and --spectra instead, or leave them out"
        )
    if codes is not None and labels is None:
        raise ConfigError("--codes need --labels: the table says which spectrum each row is of")
    if codes is None and not (spectra and weights is not None):
        raise ConfigError(
            "give --codes and --labels, or --weights and --spectra (and --labels, if you have any)"
        )
    if permutations < 2:
        raise ConfigError(f"{permutations} permutations make no null; give 2 or more")


def _encoded(
    weights: Path,
    spectra: list[Path],
    labels: Path | None,
    out: Path,
    *,
    names: list[str] | None,
    device: str,
) -> tuple[Any, Any, Any, pd.DataFrame | None, dict[str, Any]]:
    """Codes, sd, targets and labels of FITS spectra; codes.npy and its tables are written to `out`."""
    from ..device import device_for
    from ..ingest.listing import list_files
    from ..paper.encoding import encode_spectra, labels_of, write_encoded
    from ..progress import staged
    from ..tables import read_table
    from .terminal import Display, messages

    listing = list_files(spectra)
    known = None if labels is None else read_table(labels)
    with Display() as display:
        encoded = encode_spectra(
            weights,
            [entry.path for entry in listing.files],
            device=device_for(device),
            progress=staged("encode", display),
        )
    write_encoded(encoded, out)
    refused = ", ".join(f"{count} {reason}" for reason, count in encoded.reasons.items())
    messages.print(
        f"{len(encoded.mean):,} spectra of {len(listing.files):,} files encoded: {out / 'codes.npy'}"
        + (f"; refused: {refused}, see {out / 'refused.csv'}" if refused else "")
    )
    table = None
    if known is not None:
        table = labels_of(encoded, known, source=str(labels), names=names)
        if table is None:
            messages.print(f"note: no dp_id of {labels} is one of these spectra: section 6.1 only")
    facts = {
        "weights": str(weights),
        "labels": "none" if table is None else str(labels),
        "encoded": len(encoded.mean),
        "refused": encoded.reasons,
    }
    return encoded.mean, encoded.sd, encoded.spectra["target"].to_numpy(), table, facts


def _text(result: Section6, out: Path) -> str:
    """The report on the terminal: nodes, labels, verdict."""
    from ..paper.verdict import explained

    best = explained(result).groupby("node").head(1) if len(result.matches) else None
    lines = [f"{len(result.codes):,} spectra, {result.codes.shape[1]} nodes, {len(result.labels)} labels", ""]
    lines.append("  node    MAD  mean dev.  best label     nats [90 %]              q  read back")
    by_node = {} if best is None else {int(row["node"]): row for row in best.to_dict(orient="records")}
    for node in result.nodes[result.nodes["informative"]].to_dict(orient="records"):
        row = f"  {node['node']:4d}  {node['mad']:5.3f}  {node['mean_deviation']:9.3f}"
        match = by_node.get(int(node["node"]))
        if match is None:
            lines.append(f"{row}  none")
            continue
        span = f"{match['mi_nats']:5.2f} [{match['mi_low']:.2f}, {match['mi_high']:.2f}]"
        lines.append(
            f"{row}  {match['label']:<12}  {span}  {match['q']:8.2g}  {match['label_from_node']:9.0%}"
        )
    if len(result.labels):
        lines += ["", _LABELS_HEAD]
    for one in result.labels.to_dict(orient="records"):
        tops = f"{one['top_coarse']} / {one['top_fine']}"
        lines.append(
            f"  {one['label']:<12} {one['n']:>6,}  {tops:>31}  {one['floor_share']:>12.0%}"
            f"  {one['top_ksg']:>10d}, {one['ksg_nats']:8.2f}  {one['q']:7.2g}"
        )
    lines += ["", *[f"- {line}" for line in result.verdict], *[f"note: {line}" for line in result.notes]]
    return "\n".join([*lines, "", f"report  {out / 'report.html'}"])
