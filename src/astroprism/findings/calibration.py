"""What the smooth response that spectra were divided by follows: labels, or header keywords.

The response is no node, so it is matched apart: its strongest shapes over the archive, each as a number per
spectrum, with labels and with header keywords as nodes are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..measures.evidence import Floats
from ..measures.match import match_labels, sweep_keywords
from ..schema import ResponseShape, number

if TYPE_CHECKING:
    from ..model.data import Source
    from ..model.trained import TrainedModel

SHAPES = 3  # of the response that are matched
LEAST_SHARE = 0.02  # of its variance that a shape must make
BATCH = 256


def response_shapes(
    model: TrainedModel, source: Source, rows: NDArray[np.intp]
) -> tuple[Floats, list[float]] | None:
    """(scores (rows, shapes), share of the response's variance of each); None where none is taken out.

    Shapes are principal components of the logarithm of the response, its level taken off.
    """
    import torch

    if model.response is None or not rows.size:
        return None
    found = []
    with torch.no_grad():
        for start in range(0, len(rows), BATCH):
            batch = source.tensors(rows[start : start + BATCH]).to(model.device)
            curves = model.response.curves(batch.flux, batch.sigma, batch.good)[1]
            step = max(1, curves.shape[1] // 256)
            found.append(curves[:, step // 2 :: step].log().double().cpu().numpy())
    curves_of = np.concatenate(found)
    curves_of -= curves_of.mean(1, keepdims=True)
    curves_of -= np.median(curves_of, axis=0)
    # a single odd spectrum must not make a shape
    size = np.sqrt((curves_of**2).mean(1))
    weight = np.minimum(1.0, 3 * np.median(size) / np.maximum(size, 1e-12))
    _, values, axes = np.linalg.svd(curves_of * weight[:, None], full_matrices=False)
    shares = values**2 / max(float((values**2).sum()), 1e-300)
    count = int((shares[:SHAPES] >= LEAST_SHARE).sum())
    return curves_of @ axes[:count].T, [float(share) for share in shares[:count]]


def matched_shapes(
    scores: Floats,
    shares: list[float],
    *,
    labels: Mapping[str, Any],
    keywords: Mapping[str, Any],
    seed: int,
) -> list[ResponseShape]:
    """The shapes with the labels and keywords that explain them, the strongest first."""
    if not len(shares):
        return []
    of_labels = match_labels(scores, labels, seed=seed, conditional=False)
    of_keywords = sweep_keywords(scores, keywords, seed=seed)

    def explaining(matches: Any, i: int) -> list[Any]:
        return [pair.summary() for pair in matches.of_node(i) if pair.explains]

    return [
        ResponseShape(number(share), explaining(of_labels, i), explaining(of_keywords, i))
        for i, share in enumerate(shares)
    ]
