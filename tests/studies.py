"""Findings for tests, made by the assembler from codes and a few words on what nodes do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astroprism.artifacts import write_json, write_table
from astroprism.findings.assemble import Evidence, assemble
from astroprism.findings.effects import Effects
from astroprism.schema import FINDINGS, Findings

BOUND = 100.0  # nats


def findings_of(
    mean: np.ndarray,
    sd: np.ndarray,
    *,
    informative: Sequence[int],
    doubtful: Sequence[int] = (),
    copies: Mapping[int, int] | None = None,
    labels: Mapping[str, Any] | None = None,
    keywords: Mapping[str, Any] | None = None,
    wavelength: np.ndarray | None = None,
    identifiers: Sequence[str] | None = None,
    targets: Sequence[str] | None = None,
    provenance: Mapping[str, Any] | None = None,
    seed: int = 0,
    **more: Any,
) -> tuple[Findings, dict[str, dict[str, Any]]]:
    """Findings and their tables for codes (targets, nodes).

    informative  nodes whose ablation lies far above the bound; those not doubtful need codes that vary, too
    doubtful     nodes whose ablation lies just above the bound whatever their codes say
    copies       node -> the stronger node that does the same to the spectrum
    more         further fields of `Evidence`
    """
    n, nodes = mean.shape
    rise = np.full((n, nodes), 0.01 * BOUND)
    for rank, node in enumerate(informative):
        rise[:, node] = BOUND * (100 - rank)
    for node in doubtful:
        rise[:, node] = 2 * BOUND
    overlap = np.eye(nodes)
    for node, original in (copies or {}).items():
        overlap[node, original] = overlap[original, node] = 0.9
        rise[:, node] = BOUND * 5
    names = [f"s{i}" for i in range(n)] if identifiers is None else list(identifiers)
    stars = names if targets is None else list(targets)
    nothing = np.zeros((min(n, 300), nodes))
    evidence = Evidence(
        identifiers=np.array(names, dtype=object),
        targets=np.array(stars, dtype=object),
        mean=np.asarray(mean, np.float64),
        sd=np.asarray(sd, np.float64),
        effects=Effects(np.arange(n), rise, nothing, BOUND, overlap, {}, {}, np.zeros(0)),
        wavelength=np.linspace(5000, 5100, 50) if wavelength is None else wavelength,
        labels=dict(labels or {}),
        keywords=dict(keywords or {}),
        **more,
    )
    given = {"seed": seed, "label_tables": {}, **(provenance or {})}
    return assemble(evidence, provenance=given, seed=seed)


def write_findings(folder: Path, findings: Findings, tables: Mapping[str, Mapping[str, Any]]) -> None:
    """Into a study's folder, as `find` writes them; `tables` may name tables of the caller's, too."""
    for name, columns in tables.items():
        write_table(folder / "findings" / f"{name}.parquet", columns, header=FINDINGS.header)
    write_json(folder / "findings.json", findings.to_json())
