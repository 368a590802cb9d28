"""The smooth part of each spectrum that is no cause of interest: flux calibration, blaze, reddening.

A survey's flux calibration changes from spectrum to spectrum by far more than the noise, smoothly over
thousands of km/s. Left in, it takes the first nodes, its misfit drowns the lines, and velocities go with
them. So each spectrum is divided by its *response*: a curve of few cubic B-splines, wider than any line,
fitted in closed form to the ratio of the spectrum to the archive's mean star.

    Response      the splines and the mean star: `curves` of spectra
    measured      the response of an archive, and the evidence for taking it out

Shapes: b spectra, p pixels, k splines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import BSpline
from torch import Tensor

from ..network import PaperNetwork, Prism
from .data import Tensors

KNOTS = 10_000.0  # km/s between knots: wider than the wings of any line, Balmer lines of A stars included
PARTS, LEAST_KNOTS = 8, 5_000.0  # a range of fewer such parts has knots closer together, down to that
FEWEST, SHORTEST = 5, 5_000.0  # splines, and the range in km/s that wings of one line may fill
BINS = 2048  # the products of splines are summed over that many bins at least
SOFT = 10.0  # prior sd of a spline's coefficient: none where anything is measured
FLOOR = 0.03  # relative flux: what the mean star leaves unexplained in a pixel, added to sigma in the fit
CAUCHY = 2.0  # sigma, from which a pixel loses weight
LEAST = 0.05  # of the response
REFITS = 3  # of each fit: with plain weights, then with Cauchy's
ROUNDS = 6  # of fitting responses and averaging
# of the star's own level: fits, relative flux below it from which a pixel is a line's, weight of those
LEVELS, ABOVE, BELOW = 10, 0.005, 0.02

# the evidence
DROWNS = 0.25  # share of the archive's signal, from which the smooth part drowns the lines
VISIBLE = 0.02  # rms of what lines do not tell of the smooth part, relative flux
UNTOLD = 0.25  # the same, of the rms of the smooth part: surveys have .5 to .6, stars alone .1
COMPONENTS, SQUARES = 12, 4  # of the lines, that predict the smooth part; the first few squared as well
SHAPES, POINTS = 4, 64  # of the smooth part
FOLDS, RIDGE = 5, 0.01


def spline_count(pixels: int, step: float) -> int:
    """How many splines a range of so many pixels of `step` km/s has; 0 where it is too short for any."""
    wide = pixels * step
    if wide < SHORTEST:
        return 0
    knots = min(KNOTS, max(LEAST_KNOTS, wide / PARTS))
    return max(FEWEST, int(wide / knots) + 3)


class Response:
    """Smooth curves of spectra against a mean star.

    star  (p,) the archive's mean star
    """

    def __init__(self, star: Tensor, *, count: int) -> None:
        self.star, self.count = star, count
        pixels = len(star)
        inner = np.linspace(0, pixels - 1, count - 2)
        knots = np.r_[[inner[0]] * 3, inner, [inner[-1]] * 3]
        self.width = max(1, pixels // BINS)  # pixels per bin
        self.bins = -(-pixels // self.width)
        centre = np.minimum(np.arange(self.bins) * self.width + 0.5 * (self.width - 1), pixels - 1)

        def basis(places: np.ndarray) -> Tensor:
            matrix = BSpline.design_matrix(places, knots, 3).toarray()
            return torch.tensor(matrix, dtype=torch.float32, device=star.device)

        self.binned, self.fine = basis(centre), basis(np.arange(pixels, dtype=np.float64))
        i, j = torch.triu_indices(count, count)
        self.upper, self.products = (i, j), (self.binned[:, i] * self.binned[:, j]).contiguous()

    def coefficients(self, flux: Tensor, weight: Tensor) -> Tensor:
        """min over c of sum weight (flux - star (B c))^2 + |c - 1|^2 / SOFT^2, (b, k)."""
        star = self.star
        squares = self._sums(weight * star * star) @ self.products  # (b, k (k + 1) / 2)
        matrix = squares.new_zeros(len(flux), self.count, self.count)
        i, j = self.upper
        matrix[:, i, j] = squares
        matrix[:, j, i] = squares
        prior = torch.eye(self.count, device=flux.device) / SOFT**2
        right = self._sums(weight * star * (flux - star)) @ self.binned
        found: Tensor = 1 + torch.linalg.solve(matrix + prior, right)
        return found

    def curves(self, flux: Tensor, sigma: Tensor, good: Tensor | None) -> tuple[Tensor, Tensor]:
        """(coefficients (b, k), curves (b, p)) of spectra; pixels far from the fit lose their weight."""
        noise = sigma**2 + FLOOR**2
        plain = 1 / (sigma**2 + 0.02**2)
        if good is not None:
            plain = plain.masked_fill(~good, 0)
            flux = flux.masked_fill(~good, 0)
        weight = plain
        for turn in range(REFITS):
            c = self.coefficients(flux, weight)
            curve = c @ self.fine.T
            if turn < REFITS - 1:
                z2 = (flux - self.star * curve) ** 2 / noise
                weight = plain / (1 + z2 / CAUCHY**2)
        return c, curve.clamp(min=LEAST)

    def _sums(self, x: Tensor) -> Tensor:
        """Sums of x (b, p) over bins, (b, bins)."""
        if self.width == 1:
            return x
        fill = self.bins * self.width - x.shape[1]
        return torch.nn.functional.pad(x, (0, fill)).view(len(x), self.bins, self.width).sum(2)

    def divided(self, batch: Tensors) -> Tensors:
        """Spectra over their response, errors likewise."""
        flux, sigma = [], []
        for _, x in batch.pieces():
            curve = self.curves(x.flux, x.sigma, x.good)[1]
            if x.good is not None:
                curve = curve.masked_fill(~x.good, 1.0)
            flux.append(x.flux / curve)
            sigma.append(x.sigma / curve)
        return batch._replace(flux=torch.cat(flux), sigma=torch.cat(sigma))


def response_of(network: Prism | PaperNetwork) -> Response | None:
    """The response that a network's spectra are divided by, None where they are not."""
    count = getattr(network.config, "splines", 0)
    if not count or not isinstance(network, Prism):
        return None
    return Response(network.usual, count=count)


@dataclass(frozen=True)
class Evidence:
    """Why the response is taken out, or left in."""

    share: float  # of the archive's signal, in nats, that the smooth part takes
    rms: float  # typical rms of the smooth part, relative flux, its own noise taken off
    free: float  # rms of what lines do not tell of it: no star's colour, but calibration and dust

    @property
    def drowns(self) -> bool:
        """Whether a smooth part that is no property of the star hides the lines."""
        return self.share > DROWNS and self.free > max(VISIBLE, UNTOLD * self.rms)

    def text(self) -> str:
        """In words."""
        found = (
            f"a smooth part of {self.rms:.1%} rms makes up {self.share:.0%} of what varies, and lines "
            f"predict all but {self.free:.1%} rms of it"
        )
        if self.drowns:
            return f"{found}: each spectrum is divided by its own response"
        return f"{found}: no response is taken out"


@torch.no_grad()
def measured(sample: Tensors, *, count: int) -> tuple[Response, Evidence]:
    """The response of an archive from a sample of its spectra, and what it is worth."""
    flux, sigma = sample.flux, sample.sigma
    good = torch.ones_like(flux, dtype=torch.bool) if sample.good is None else sample.good
    seen = good.any(0)
    star = torch.ones(flux.shape[1], device=flux.device)

    def averaged(flux: Tensor, sigma: Tensor) -> Tensor:
        weight = torch.where(good, 1 / (sigma**2 + 0.05**2), 0)
        mean = (weight * flux).sum(0) / weight.sum(0).clamp(min=1e-9)
        return torch.where(seen, mean, 1.0)

    for turn in range(ROUNDS):
        if turn == ROUNDS - 1:
            star = _levelled(star, seen, count=count)
        over = Response(star, count=count).divided(sample)
        star = averaged(over.flux, over.sigma)
    response = Response(star, count=count)
    over = response.divided(sample)

    # Nats by which the spectra differ from their mean, before and after; a level alone is no response.
    def signal(flux: Tensor, sigma: Tensor) -> float:
        weight = torch.where(good, 1 / (sigma**2 + 0.01**2), 0)
        mean = averaged(flux, sigma)
        level = (weight * flux * mean).sum(1) / (weight * mean**2).sum(1).clamp(min=1e-9)
        spread = (flux / level[:, None] - mean) ** 2 - sigma**2
        return float((0.5 * spread * weight).sum(1).mean())

    before, after = signal(flux, sigma), signal(over.flux, over.sigma)
    smooth = torch.where(good, flux / over.flux.clamp(min=1e-3), 0)
    count_good = good.sum(1).clamp(min=1)
    level = smooth.sum(1) / count_good
    rms = torch.where(good, smooth / level[:, None] - 1, 0).pow(2).sum(1).div(count_good)
    noise = (torch.where(good, sigma, 0) ** 2).sum(1) / count_good * count / count_good
    typical = float((rms - noise).clamp(min=0).median().sqrt())
    share = max(0.0, 1 - after / before) if before > 0 else 0.0
    return response, Evidence(share, typical, typical * _untold(smooth, over, good) ** 0.5)


def _levelled(star: Tensor, seen: Tensor, *, count: int) -> Tensor:
    """The mean star (p,) over the smooth curve through its highest parts.

    The fits tell the star only up to a smooth factor, for the responses take up its inverse. A bend that is
    left in the star moves with it, and is undone by a node that follows the velocity.
    """
    flat = Response(torch.ones_like(star), count=count)
    curve = torch.ones_like(star)
    for _ in range(LEVELS):
        above = star > curve * (1 - ABOVE)
        weight = torch.where(above, 1.0, BELOW).masked_fill(~seen, 0) / ABOVE**2
        curve = (flat.coefficients(star[None], weight[None]) @ flat.fine.T)[0].clamp(min=LEAST)
    return torch.where(seen, star / curve, 1.0)


def _untold(smooth: Tensor, over: Tensors, good: Tensor) -> float:
    """Share of the smooth part's variance that the lines do not predict, on spectra set aside.

    A star's colour is told by its lines, a calibration is not. Shapes of the smooth part (b, p) by principal
    components of the spectra over it, the first few squared as well: ridge regression.
    """
    step = max(1, smooth.shape[1] // POINTS)
    curves = smooth.clamp(min=LEAST)[:, step // 2 :: step].log()
    known = good[:, step // 2 :: step]
    curves = torch.where(known, curves, 0.0)
    curves = curves - curves.sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)
    curves = torch.where(known, curves, 0.0)
    curves = curves - curves.median(0).values
    size = curves.pow(2).mean(1).sqrt()
    curves = curves * (3 * size.median() / size.clamp(min=1e-12)).clamp(max=1)[:, None]  # no odd one decides
    u, s, _ = torch.linalg.svd(curves, full_matrices=False)
    shapes = (u * s)[:, :SHAPES]

    weight = torch.where(good, 1 / (over.sigma**2 + FLOOR**2).sqrt(), 0)
    left = ((over.flux - (weight * over.flux).sum(0) / weight.sum(0).clamp(min=1e-9)) * weight).clamp(-20, 20)
    vectors = torch.linalg.eigh(left @ left.T).eigenvectors
    scores = vectors.flip(1)[:, :COMPONENTS]
    scores = scores / scores.std(0).clamp(min=1e-12)
    x = torch.cat([scores, scores[:, :SQUARES] ** 2, torch.ones_like(scores[:, :1])], 1)
    fold = torch.arange(len(x), device=x.device) % FOLDS
    missed = torch.zeros_like(shapes)
    for one in range(FOLDS):
        fit, rest = fold != one, fold == one
        ridge = RIDGE * int(fit.sum()) * torch.eye(x.shape[1], device=x.device)
        weights = torch.linalg.solve(x[fit].T @ x[fit] + ridge, x[fit].T @ shapes[fit])
        missed[rest] = shapes[rest] - x[rest] @ weights
    total = (shapes - shapes.mean(0)).pow(2).sum()
    return float((missed.pow(2).sum() / total.clamp(min=1e-12)).clamp(0, 1))
