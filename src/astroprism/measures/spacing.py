"""Entropies by spacing, and the information that a sampled code carries on its spectrum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma, ndtri

from .evidence import EvidenceError, Floats, codes_and_errors

LEVEL = 1.6448536269514722  # a normal deviate's 95 % point: intervals hold 90 %
FEWEST = 25  # rows below which no interval means anything


@dataclass(frozen=True)
class CodeInformation:
    """I(z_i; x) of each node in nats, with the 90 % interval over spectra; n spectra were used."""

    nats: Floats
    low: Floats
    high: Floats
    n: int


def spacing_terms(values: ArrayLike) -> Floats:
    """-log density at each of n values, nats, by Vasicek's spacing, in the order given.

    Spacings reach m = n^(1/3) steps to each side: with sqrt(n) codes in two clumps came out .04 nats high at
    500 spectra, and flat ones .03 low. The plain estimate is too low: where the density is flat, the mean log
    of a spacing of j steps is digamma(j) - digamma(n + 1), not log(j / n). That, and the true number of steps
    at the ends, are used here.
    """
    values = np.asarray(values, dtype=np.float64)
    n = values.size
    order = np.argsort(values)
    ordered = values[order]
    m = max(1, round(n ** (1 / 3)))
    below = np.maximum(np.arange(n) - m, 0)
    above = np.minimum(np.arange(n) + m, n - 1)
    width = ordered[above] - ordered[below]
    if not (width > 0).all():
        raise EvidenceError(
            f"{m} values in a row are equal ({ordered[below][np.argmin(width)]:.6g}): they have no density"
        )
    terms = np.empty(n)
    terms[order] = np.log(width) - digamma(above - below) + digamma(n + 1)
    return terms


def spacing_entropy(values: ArrayLike) -> float:
    """Differential entropy of a sample in nats (see spacing_terms)."""
    return float(spacing_terms(values).mean())


def spacing_offset(n: int) -> float:
    """What spacing_terms overstates for n normal deviates, whose tails are not flat, in nats.

    A dead node's code is such a sample: subtracting this brings it to 0.
    """
    ordered = ndtri((np.arange(n) + 0.5) / n)
    flat = spacing_terms(ordered) - spacing_terms(np.arange(n))  # the digammas cancel
    return float(flat.mean() + np.log(n) - 0.5 * np.log(2 * np.pi * np.e))


def sampled_codes(mean: ArrayLike, sd: ArrayLike, *, seed: int) -> Floats:
    """mean + sd * noise, (spectra, nodes): what the decoder read in training. The noise is a node's own."""
    mean, sd = codes_and_errors(mean, sd)
    return mean + sd * _noise(mean.shape, seed)


def _noise(shape: tuple[int, ...], seed: int) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape)


def code_information(mean: ArrayLike, sd: ArrayLike, *, seed: int) -> CodeInformation:
    """I(z_i; x) = H(z_i) - E[1/2 ln(2 pi e sd_i(x)^2)] of each node from sampled codes, in nats.

    mean, sd: (spectra, nodes), one spectrum per target. The interval is over spectra. The sampled noise is
    known, so what it adds by chance to H(z_i) is taken out again by regression: a dead node, whose code is
    that noise, comes out at 0 without scatter. Not cut at 0: a dead node may be slightly below.
    """
    mean, sd = codes_and_errors(mean, sd)
    n, nodes = mean.shape
    if n < FEWEST:
        raise EvidenceError(f"{n} spectra are too few for information in nats; give at least {FEWEST}")
    noise = _noise(mean.shape, seed)
    entropy = 0.5 * np.log(2 * np.pi * np.e)
    offset = spacing_offset(n)
    nats, error = np.empty(nodes), np.empty(nodes)
    for node in range(nodes):
        own = 0.5 * noise[:, node] ** 2 - 0.5  # its expectation is 0
        terms = spacing_terms(mean[:, node] + sd[:, node] * noise[:, node])
        terms -= entropy + np.log(sd[:, node]) + offset
        slope = np.clip(np.cov(terms, own)[0, 1] / own.var(ddof=1), 0.0, 1.0)
        terms -= slope * own
        nats[node], error[node] = terms.mean(), standard_error(terms)
    return CodeInformation(nats, nats - LEVEL * error, nats + LEVEL * error, n)


def standard_error(terms: NDArray[np.float64]) -> float:
    """Of the mean of independent terms."""
    return float(terms.std(ddof=1) / np.sqrt(terms.size))
