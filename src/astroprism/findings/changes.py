"""Physical changes of spectra: a Doppler shift, rotation, a deeper atmosphere, a tilted continuum.

Shapes: b spectra, p pixels, n nodes. docs/design/responses.md says what each change leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..grid import SPEED_OF_LIGHT
from ..measures.evidence import Floats
from ..measures.lines import AIRMASS, WATER_MM
from ..model.data import Tensors
from ..model.nodes import codes
from ..model.trained import TrainedModel
from ..network.doppler import fast_length, shift
from ..simulate.broadening import rotation_transform
from ..simulate.sky import optical_depth

DEEP = 0.005  # depth that an atmosphere must reach in the window to be changed
CLEAR = 0.2  # transmission below which a star's light is not recovered by dividing
REACH = 100.0  # km/s by which the atmosphere may be moved
HELD = 2**26  # pixels of changed spectra that are kept, so that nodes share them


class Observed(NamedTuple):
    """Spectra that changes are applied to."""

    flux: Tensor  # (b, p), without gaps
    air: Tensor | None  # (b, p) transmission of the atmosphere, where the network separates it from the star
    berv: Tensor  # (b,) km/s by which lines of the atmosphere are moved


class Changes:
    """Changes of spectra on one grid.

    wavelength  (p,) vacuum angstrom
    resolution  lambda over full width at half maximum; None: two pixels
    free_air    whether the atmosphere's lines can be moved, too
    """

    def __init__(
        self, wavelength: Floats, *, resolution: float | None = None, free_air: bool = False
    ) -> None:
        self.wavelength = np.asarray(wavelength, dtype=np.float64)
        place = np.log(self.wavelength)
        gaps = np.diff(place)
        self._step = float(gaps.min())
        self.uniform = bool(np.ptp(gaps) < 1e-4 * self._step)
        if self.uniform:
            self._step = float(gaps.mean())
        self.step = float(SPEED_OF_LIGHT * math.expm1(self._step))  # km/s per pixel, the finest
        self._place = place
        self._there: tuple[Tensor, Tensor] | None = None
        self._back: tuple[Tensor, Tensor] | None = None
        if not self.uniform:
            self._there, self._back = self._ways()
        slope = (self.wavelength - self.wavelength.mean()) / np.ptp(self.wavelength)
        self._slope = torch.from_numpy(slope.astype(np.float32))
        self._sky = _transmission(place, self.step, resolution)
        sizes = {
            "doppler_per_kms": max(1.0, 0.2 * self.step),
            "broadening_per_kms": max(5.0, 2.0 * self.step),
            **dict.fromkeys(self._sky[1], 0.2),
            "tilt_per_unit": 0.02,
        }
        if free_air:
            sizes["air_per_kms"] = sizes["doppler_per_kms"]
        self.sizes: dict[str, float] = sizes  # name -> amount that is injected

    def __call__(self, name: str, amount: float, observed: Observed) -> Tensor:
        """The spectra (b, p) with `amount` of change `name`, in its unit."""
        if name == "tilt_per_unit":
            return observed.flux * (1 + amount * self._slope.to(observed.flux.device))
        if name in self._sky[1]:
            return observed.flux * self._telluric(name, observed.berv, like=observed.flux).mul_(amount).exp_()
        if observed.air is None:
            return self._starlight(name, amount, observed.flux)
        clear = observed.air > CLEAR
        star = torch.where(clear, observed.flux / observed.air.clamp(min=CLEAR), 1.0)
        if name == "air_per_kms":
            moved = self._moved(observed.air, self._pixels(star.new_full((len(star),), amount))) * star
        else:
            moved = observed.air * self._starlight(name, amount, star)
        return torch.where(clear, moved, observed.flux)

    def noise_left(self, name: str, amount: float) -> float:
        """Share of the noise's variance that the change leaves; broadening smooths it."""
        if name != "broadening_per_kms":
            return 1.0
        return float((self._kernel(amount, 2048) ** 2).mean())

    def rest(self, flux: Tensor, velocity: Tensor) -> Tensor:
        """Spectra (b, p) moved back by velocities (b,) km/s."""
        return self._moved(flux, -self._pixels(velocity))

    def _pixels(self, velocity: Tensor) -> Tensor:
        return torch.log1p(velocity.double() / SPEED_OF_LIGHT).div(self._step).to(velocity)

    def _starlight(self, name: str, amount: float, star: Tensor) -> Tensor:
        if name == "doppler_per_kms":
            return self._moved(star, self._pixels(star.new_full((len(star),), amount)))
        return self._in_log(star, lambda wide: self._rotated(wide, amount))

    def _moved(self, flux: Tensor, pixels: Tensor) -> Tensor:
        return self._in_log(flux, lambda wide: shift(wide, pixels), reach=float(pixels.abs().max()))

    def _rotated(self, wide: Tensor, amount: float) -> Tensor:
        kernel = self._kernel(amount, wide.shape[1]).to(wide)
        out: Tensor = torch.fft.irfft(torch.fft.rfft(wide) * kernel, n=wide.shape[1])
        return out

    def _kernel(self, amount: float, length: int) -> Tensor:
        """Fourier transform of a rotation profile of v sin i `amount` (length // 2 + 1,)."""
        frequency = np.arange(length // 2 + 1) / length
        return torch.from_numpy(rotation_transform(2 * np.pi * frequency * amount / self.step))

    def _in_log(self, flux: Tensor, change: Callable[[Tensor], Tensor], *, reach: float = 0.0) -> Tensor:
        """`change` made on a grid uniform in log wavelength, with room on both sides; (b, p)."""
        fine = flux if self._there is None else _read(flux, self._there)
        pixels = fine.shape[1]
        room = min(pixels - 1, 64 + math.ceil(reach))
        right = min(pixels - 1, fast_length(pixels + 2 * room) - pixels - room)
        wide = functional.pad(fine, (room, right), mode="reflect")
        done = change(wide)[:, room : room + pixels]
        if self._back is None:
            return done
        return flux + _read(done - fine, self._back)

    def _ways(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Where a grid uniform in log wavelength, as fine as ours at its finest, reads ours; and back."""
        place = self._place
        fine = np.arange(place[0], place[-1], self._step)
        return _between(fine, place), _between(place, fine)

    def _telluric(self, name: str, berv: Tensor, *, like: Tensor) -> Tensor:
        """Log transmission of a column (b, p), moved by berv."""
        grid, depths = self._sky
        moved = np.log1p(berv.double().cpu().numpy() / SPEED_OF_LIGHT)
        rows = {speed: np.interp(self._place - speed, grid, depths[name]) for speed in set(moved.tolist())}
        return torch.from_numpy(np.stack([rows[speed] for speed in moved.tolist()])).to(like)


def _between(at: Floats, place: Floats) -> tuple[Tensor, Tensor]:
    """Index (n,) and weight (n,) of linear interpolation at `at` between rising `place`."""
    left = np.clip(np.searchsorted(place, at) - 1, 0, place.size - 2)
    weight = np.clip((at - place[left]) / (place[left + 1] - place[left]), 0, 1)
    return torch.from_numpy(left), torch.from_numpy(weight.astype(np.float32))


def _read(flux: Tensor, way: tuple[Tensor, Tensor]) -> Tensor:
    left, weight = way[0].to(flux.device), way[1].to(flux)
    return flux[:, left] * (1 - weight) + flux[:, left + 1] * weight


def _transmission(place: Floats, step: float, resolution: float | None) -> tuple[Floats, dict[str, Floats]]:
    """Log wavelengths, and by name the log transmission of a usual sky's column, smoothed as observed."""
    from scipy.ndimage import gaussian_filter1d

    edge = REACH / SPEED_OF_LIGHT
    fine = min(1.0, step / 2) / SPEED_OF_LIGHT
    grid = np.arange(place[0] - edge, place[-1] + edge, fine)
    width = 2 * step if resolution is None else math.hypot(SPEED_OF_LIGHT / resolution, step)
    oxygen, water = optical_depth(np.exp(grid))
    found = {}
    for name, depth in (
        ("oxygen_per_column", AIRMASS * oxygen),
        ("water_per_column", AIRMASS * WATER_MM * water),
    ):
        if depth.max() > 0:
            smooth = gaussian_filter1d(np.exp(-depth), width / 2.3548 / SPEED_OF_LIGHT / fine, mode="nearest")
            if 1 - smooth.min() > DEEP:
                found[name] = np.log(np.clip(smooth, 1e-6, 1.0))
    return grid, found


# --- a sample


@dataclass(frozen=True)
class Sample:
    """A sample of spectra with all that is needed to change it.

    mean  (b, n) codes
    made  (b, p) the decoder's spectra of them
    held  what `changed` gave before
    """

    model: TrainedModel
    changes: Changes
    batch: Tensors
    observed: Observed
    mean: Tensor
    made: Tensor
    held: dict[tuple[str, float], Tensor] = field(default_factory=dict)

    def part(self, count: int) -> Sample:
        """The first `count` spectra."""
        some = slice(count)
        observed = Observed(*(None if x is None else x[some] for x in self.observed))  # type: ignore[arg-type]
        return Sample(
            self.model, self.changes, self.batch.at(some), observed, self.mean[some], self.made[some]
        )

    def changed(self, name: str, amount: float) -> Tensor:
        """The decoder's spectra, changed: free of noise, (b, p)."""
        key = (name, round(amount, 6))
        if key not in self.held:
            if len(self.held) * self.made.numel() > HELD:
                self.held.clear()
            self.held[key] = self.changes(name, amount, self.observed._replace(flux=self.made))
        return self.held[key]

    def encoded(self, flux: Tensor) -> Tensor:
        """Mean codes (b, n) of other flux at the same pixels."""
        return codes(self.model.network, self.batch._replace(flux=flux))[0]

    def decoded(self, z: Tensor) -> Tensor:
        """Spectra (b, p) of other codes (b, n) of the same sample."""
        return decoded(self.model, z, self.batch)

    def slope(self, name: str, at: float = 0.0) -> Tensor:
        """Derivative of `changed` by the amount, in sigma, 0 where not good, (b, p)."""
        size = self.changes.sizes[name]
        low = at if name == "broadening_per_kms" else at - size
        rise = (self.changed(name, at + size) - self.changed(name, low)) / (at + size - low)
        return self.weighed(rise)

    def weighed(self, flux: Tensor, *, edge: int = 0) -> Tensor:
        """In sigma; 0 where not good and within `edge` pixels of the ends, where shifts add unknown flux."""
        scaled = flux / self.batch.sigma
        if self.batch.good is not None:
            scaled = scaled.masked_fill(~self.batch.good, 0)
        if edge:
            scaled[:, :edge] = 0
            scaled[:, -edge:] = 0
        return scaled


def decoded(model: TrainedModel, z: Tensor, batch: Tensors) -> Tensor:
    """Spectra (b, p) of codes (b, n), piece by piece."""
    with torch.no_grad():
        return torch.cat([model.network.decode(z[rows], berv=x.berv).float() for rows, x in batch.pieces()])


def transmission(model: TrainedModel, z: Tensor, batch: Tensors) -> Tensor | None:
    """The atmosphere (b, p) of codes; None where the network does not separate it from the star."""
    if not model.physical:
        return None
    out = []
    for rows, x in batch.pieces():
        air = model.decode(z[rows], berv=x.berv).air
        assert air is not None
        out.append(air)
    return torch.cat(out)


def median_interval(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Median of values (b, ...) over the first axis, and its 90 % interval by order statistics."""
    ordered = np.sort(values, axis=0)
    count = len(ordered)
    edge = max(0, math.floor(count / 2 - 0.8224 * math.sqrt(count)))
    return np.median(ordered, axis=0), ordered[edge], ordered[count - 1 - edge]
