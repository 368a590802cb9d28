"""The prism network: a star moved by one learned Doppler node, times an atmosphere moved by a known velocity.

    reconstruction = shift(star(z), s(z)) * shift(atmosphere(z), barycentric velocity)

Where no one tells the barycentric velocity and the spectra show that the atmosphere moves, a second node
stands for it (`free_air`).

The encoder looks twice: the first look finds the shift, the second reads the spectrum moved back to rest.
On a log-wavelength grid a Doppler shift is a translation, so both moves are one function (doppler.py).

    PrismConfig, sized_for    sizes, and what physics the network knows
    Fold, Unfold, Residual    layers: patches of pixels folded into few numbers, and back
    Encoder, Decoder          spectra to codes, codes to star, atmosphere and shift
    Prism                     both, with the standardisation of the input and the nodes that are on
    drift, whitening          what training and `calibrate` compute of a sample

Shapes: b spectra, p pixels, w pixels with room for a shift on both sides, h hidden features, n nodes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..checks import check_positive
from ..errors import ConfigError
from .doppler import LONG, fast_length, pixels_of, shift, velocity_of
from .turn import Turn

BODY, LEAST_BODY, PER_FEATURE = 256, 32, 8  # features of a decoder; spectra that each needs
LEAST_OF_ONE, PER_FEATURE_OF_ONE = 6, 32  # the same of one star, whose spectra differ by little
SECOND = 0.1  # of its usual start, for the part of star and atmosphere that comes second
PATCH = 128  # pixels of `drift`: wide enough for some lines


@dataclass(frozen=True)
class PrismConfig:
    """Sizes of the network and what physics it knows."""

    pixels: int  # of a spectrum
    step: float  # km/s per pixel, of a grid uniform in log wavelength
    n_latent: int = 32  # nodes: several times the causes hoped for; what is not needed is pruned
    hidden: int = 256  # features between pixels and codes; 512 cost twice and gained nothing
    body: int = 256  # the same of the decoder: as many spectra can be learned by heart, noise and all
    patch: int = 64  # pixels per patch; each has its own small basis: cost and parameters grow as the pixels
    rank: int = 16  # numbers per patch; up to patch / 2
    most: int = 2048  # numbers that reach a dense layer; more are folded again
    # principal components, each scaled to unit spread, so that the first look can read weak causes
    whitened: int = 128
    shift_gain: float = 100.0  # km/s of shift per unit of the Doppler node, at the start; learned
    shift_room: float = (
        320.0  # km/s of star kept beyond each end, so that a shift brings in star, not nothing
    )
    # relative flux per unit of the decoder's outputs: unit outputs make lines of usual depth
    depth: float = 0.15
    splines: int = (
        0  # of the smooth response that each spectrum is divided by (model/response.py); 0: by none
    )
    agnostic: bool = False  # no physics in the decoder: no shift, no star times atmosphere
    moving_air: bool = False  # spectra come in the barycentric frame, their barycentric velocities known
    free_air: bool = False  # the atmosphere moves by what nothing tells: node 1 is its velocity
    air_gain: float = 25.0  # km/s of the atmosphere's shift per unit of that node: the Earth's is 30 at most
    turned: bool = False  # codes are read on other axes than those of the training (turn.py)
    # radians per unit of z, of the agnostic decoder's sines
    rates: tuple[float, ...] = (1.5, 3.0, 6.0, 12.0, 20.0)
    min_logvar: float = -20.0  # a velocity good to 1e-4 of the prior's spread has -18
    max_logvar: float = 4.0  # no node need be vaguer than e^2 priors

    def __post_init__(self) -> None:
        for name, least in (
            ("pixels", 16),
            ("n_latent", 2),
            ("hidden", 1),
            ("body", 1),
            ("rank", 1),
            ("whitened", 1),
        ):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} {getattr(self, name)} must be at least {least}")
        for name in ("step", "shift_gain", "shift_room", "depth", "air_gain"):
            check_positive(name, getattr(self, name))
        if 2 * self.rank > self.patch:
            raise ConfigError(
                f"rank {self.rank} of a patch of {self.patch} pixels folds nothing; take half or less"
            )
        if self.most < 2 * self.rank:
            raise ConfigError(f"most {self.most} must be at least twice the rank, {2 * self.rank}")
        if self.agnostic and (self.moving_air or self.free_air):
            raise ConfigError("an agnostic network knows no atmosphere that could move: drop one of the two")
        if self.moving_air and self.free_air:
            raise ConfigError(
                "moving_air knows how the atmosphere moves, free_air does not: drop one of them"
            )
        if self.n_latent <= self.moves:
            raise ConfigError(f"{self.n_latent} nodes, {self.moves} of which move: none is left for the rest")
        if not self.min_logvar < self.max_logvar:
            raise ConfigError(f"min_logvar {self.min_logvar} must lie below max_logvar {self.max_logvar}")

    @property
    def moves(self) -> int:
        """Nodes that are velocities, the first ones: of the star, and of a free atmosphere."""
        return 0 if self.agnostic else 1 + self.free_air

    @property
    def gain(self) -> float:
        """shift_gain in pixels."""
        return self.shift_gain / self.step

    @property
    def width(self) -> int:
        """Pixels of a star with room on both sides, such that the length is quick to transform."""
        return fast_length(self.pixels + 2 * math.ceil(self.shift_room / self.step))

    @property
    def pad(self) -> int:
        """Pixels of that room on the blue side; the red side has as many, or one more."""
        return (self.width - self.pixels) // 2


def sized_for(
    pixels: int,
    *,
    step: float,
    agnostic: bool = False,
    moving_air: bool = False,
    free_air: bool = False,
    splines: int = 0,
    spectra: int | None = None,
    one_star: bool = False,
) -> PrismConfig:
    """The sizes that were tried: those of the defaults, and leaner ones for long spectra.

    At 327,680 pixels rank 8 and 16 components make 13.9 M parameters; the defaults would make twice that, and
    a basis of 42 M numbers. Long spectra repeat each cause in many lines, so a patch needs less of its own.
    """
    long = pixels > 65_536
    least, each = (LEAST_OF_ONE, PER_FEATURE_OF_ONE) if one_star else (LEAST_BODY, PER_FEATURE)
    return PrismConfig(
        pixels,
        step,
        # An agnostic decoder draws moving lines: 16 numbers for 64 pixels leave chi2 2 to 6 by themselves.
        patch=128 if agnostic and not long else 64,
        rank=8 if long else 64 if agnostic else 16,
        whitened=16 if long else 128,
        body=BODY if spectra is None or agnostic else min(BODY, max(least, spectra // each)),
        splines=splines,
        agnostic=agnostic,
        moving_air=moving_air,
        free_air=free_air,
    )


# --- layers


class Fold(nn.Module):
    """A linear map of its own for every patch: (b, pixels) -> (b, patches * rank). Cost: rank per pixel."""

    def __init__(self, pixels: int, patch: int, rank: int) -> None:
        super().__init__()
        self.patch, self.count = patch, -(-pixels // patch)
        self.fill = self.count * patch - pixels
        self.weight = nn.Parameter(torch.randn(self.count, patch, rank) / math.sqrt(patch))
        self.out_features = self.count * rank

    def forward(self, x: Tensor) -> Tensor:
        """(b, pixels) -> (b, patches * rank)."""
        patches = functional.pad(x, (0, self.fill)).view(len(x), self.count, self.patch).transpose(0, 1)
        return torch.bmm(patches, self.weight).transpose(0, 1).reshape(len(x), self.out_features)


class Unfold(nn.Module):
    """The way back: (b, patches * rank) -> (b, pixels)."""

    def __init__(self, pixels: int, patch: int, rank: int) -> None:
        super().__init__()
        self.pixels, self.rank, self.count = pixels, rank, -(-pixels // patch)
        self.weight = nn.Parameter(torch.randn(self.count, rank, patch) / math.sqrt(rank))
        self.bias = nn.Parameter(torch.zeros(pixels))
        self.in_features = self.count * rank

    def forward(self, x: Tensor) -> Tensor:
        """(b, patches * rank) -> (b, pixels)."""
        patches = x.view(len(x), self.count, self.rank).transpose(0, 1)
        whole = torch.bmm(patches, self.weight).transpose(0, 1).reshape(len(x), -1)
        return whole[:, : self.pixels] + self.bias


def reader(pixels: int, *, config: PrismConfig) -> nn.Sequential:
    """(b, pixels) -> (b, h): patches folded until at most `most` numbers remain, then one dense layer."""
    layers: list[nn.Module] = []
    while not layers or pixels > config.most:
        fold = Fold(pixels, config.patch, config.rank)
        layers.append(fold)
        pixels = fold.out_features
    return nn.Sequential(*layers, nn.Linear(pixels, config.hidden))


def writer(pixels: int, *, config: PrismConfig) -> nn.Sequential:
    """(b, h) -> (b, pixels): the reader's mirror image."""
    layers: list[nn.Module] = []
    while not layers or pixels > config.most:
        unfold = Unfold(pixels, config.patch, config.rank)
        layers.insert(0, unfold)
        pixels = unfold.in_features
    return nn.Sequential(nn.Linear(config.hidden, pixels), *layers)


class Residual(nn.Module):
    """h + W2 gelu(W1 norm(h)). No norm in the decoder, where it would amplify the noise of dead nodes."""

    def __init__(self, width: int, *, norm: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.up, self.down = nn.Linear(width, width), nn.Linear(width, width)
        if not norm:
            with torch.no_grad():
                self.down.weight.mul_(0.5)
                self.down.bias.zero_()

    def forward(self, h: Tensor) -> Tensor:
        """(b, width) -> (b, width)."""
        out: Tensor = h + self.down(functional.gelu(self.up(self.norm(h))))
        return out


def trunk(width: int) -> nn.Sequential:
    """What both looks of the encoder do with what a reader gave them, (b, h) -> (b, h)."""
    return nn.Sequential(nn.GELU(), Residual(width, norm=True), nn.LayerNorm(width))


# --- spectra to codes, codes to spectra


class Look(NamedTuple):
    """What the encoder gives."""

    mean: Tensor  # (b, n)
    logvar: Tensor  # (b, n)
    first_shift: Tensor  # (b,) pixels, the star's by the first look; training ties it to the decoder's
    first_air: Tensor | None = None  # (b,) the same of a free atmosphere


class Parts(NamedTuple):
    """What the decoder multiplies, before anything is moved."""

    star: Tensor  # (b, w), at rest
    atmosphere: Tensor  # (b, p), still; (b, w) where it is to be moved
    shift: Tensor  # (b,) pixels, of the star
    air_shift: Tensor | None = None  # (b,) pixels, of a free atmosphere


class Encoder(nn.Module):
    """Standardised spectra (b, p) -> codes."""

    basis: Tensor

    def __init__(self, config: PrismConfig) -> None:
        super().__init__()
        c, h = config, config.hidden
        self.config = c
        # Weak causes are hundreds of times fainter in the pixels than strong ones; in whitened components
        # all have unit spread.
        self.register_buffer("basis", torch.zeros(c.pixels, c.whitened))
        self.white = nn.Linear(c.whitened, h)
        self.read = reader(c.pixels, config=c)
        self.look = trunk(h)
        if not c.agnostic:
            # reads all features: the search for the shifts is tied to no node
            self.velocity = nn.Linear(h, c.moves)
            nn.init.normal_(self.velocity.weight, 0, 0.02)
            nn.init.zeros_(self.velocity.bias)
            self.second = reader(c.width, config=c)
            if c.free_air:
                self.third = reader(c.width, config=c)
            self.first = nn.Linear(h, h)
            self.join = trunk(h)
        self.heads = nn.Linear(h + c.whitened, 2 * c.n_latent)  # the components also reach the codes directly
        with torch.no_grad():
            self.heads.weight[c.n_latent :] *= 0.1
            self.heads.bias[c.n_latent :] = -3.0  # codes start well above their noise

    def forward(
        self, x: Tensor, *, log_gain: Tensor | None, air: Tensor | None, at: Tensor | None = None
    ) -> Look:
        """x (b, p); air (b,) the atmosphere's shift in pixels, at (b,) the star's where it is given."""
        c = self.config
        h, first_shift, first_air = self.features(x, air=air, at=at)
        with torch.autocast(x.device.type, enabled=False):
            mean, logvar = self.heads(h).chunk(2, 1)  # (b, n) each
            if log_gain is not None:
                # Node 0 is the Doppler node: the first look's shift, corrected by the second.
                doppler = (first_shift / c.gain + 0.05 * mean[:, 0]) / log_gain.exp()
                moving = [doppler[:, None]]
                if first_air is not None:
                    moving.append((first_air * c.step / c.air_gain + 0.05 * mean[:, 1])[:, None])
                mean = torch.cat([*moving, mean[:, c.moves :]], 1)
        return Look(mean, logvar.clamp(c.min_logvar, c.max_logvar), first_shift, first_air)

    def features(
        self, x: Tensor, *, air: Tensor | None, at: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """What the heads read, (b, h + whitened), and the first look's shifts (b,); all float32."""
        c = self.config
        # Tellurics do not move in the observer's frame: the first look is made there.
        observed = x if air is None else moved(x, -air, config=c)
        with torch.autocast(x.device.type, enabled=False):
            scores = observed @ self.basis  # (b, whitened)
        h = self.look(self.read(observed) + self.white(scores))  # (b, h)
        first_shift, first_air = x.new_zeros(len(x)), None
        if not c.agnostic:
            # bfloat16 would round a shift to a quarter of a pixel
            with torch.autocast(x.device.type, enabled=False):
                found = self.velocity(h.float())
                first_shift = c.gain * found[:, 0]
            if air is not None:
                first_shift = first_shift + air
            first_shift = first_shift if at is None else at
            wide = widened(x, config=c)  # (b, w)
            again = self.second(shift(wide, -first_shift)) + self.first(h)
            if c.free_air:
                first_air = c.air_gain / c.step * found[:, 1]
                again = again + self.third(shift(wide, -first_air))
            h = self.join(again)
        return torch.cat([h.float(), scores], 1), first_shift, first_air


class Decoder(nn.Module):
    """Codes (b, n) -> spectra (b, p)."""

    rates: Tensor
    gauge: Tensor  # (h + 1,)

    def __init__(self, config: PrismConfig) -> None:
        super().__init__()
        c = replace(config, hidden=config.body)
        h = c.hidden
        self.config = c
        if c.agnostic:
            # A line that moves by many widths is a fast function of its node: sines of every node at
            # several rates.
            self.register_buffer("rates", torch.tensor(c.rates), persistent=False)
            self.flux = writer(c.pixels, config=c)
        else:
            self.star = writer(c.width, config=c)
            self.air = writer(c.width if c.moving_air or c.free_air else c.pixels, config=c)
            self.log_gain = nn.Parameter(torch.zeros(()))
            # what the star lies off its own zero, in pixels, read from the body: set once training is over
            self.register_buffer("gauge", torch.zeros(h + 1))
            with torch.no_grad():
                # the star explains what it can before the atmosphere does
                self.air[-1].get_parameter("weight").mul_(SECOND)
        inputs = c.n_latent * (1 + 2 * len(c.rates)) if c.agnostic else c.n_latent - c.moves
        self.body = nn.Sequential(nn.Linear(inputs, h), nn.GELU(), Residual(h, norm=False), nn.GELU())

    @torch.no_grad()
    def air_first(self) -> None:
        """Let the atmosphere explain what it can before the star does; of a new network."""
        self.air[-1].get_parameter("weight").div_(SECOND)
        self.star[-1].get_parameter("weight").mul_(SECOND)

    @torch.no_grad()
    def begin(self, star: Tensor, air: Tensor) -> None:
        """Let a new decoder draw this star and this atmosphere, (w,) each, where all its codes are 0."""
        at_zero = self.body(star.new_zeros(1, self.config.n_latent - self.config.moves))
        if self.air[-1].get_parameter("bias").shape != air.shape:  # one that stands still needs no room
            air = cut(air[None], config=self.config)[0]
        for write, wanted in ((self.star, star), (self.air, air)):
            away = (wanted - 1) / self.config.depth
            write[-1].get_parameter("bias").add_(away - write(at_zero)[0])

    def parts(self, z: Tensor) -> Parts:
        """z (b, n) -> star at rest, atmosphere, shift.

        A velocity changes neither star nor atmosphere: the body does not read the nodes that move them.
        """
        c = self.config
        b = self.body(z[:, c.moves :])
        star, air = self.star(b).float(), self.air(b).float()
        place = self.pixels(z) - self.off(b)
        sky = c.air_gain / c.step * z[:, 1] if c.free_air else None
        return Parts(1 + c.depth * star, 1 + c.depth * air, place, sky)

    def pixels(self, z: Tensor) -> Tensor:
        """z (b, n) -> the star's velocity (b,) in pixels."""
        pixels: Tensor = self.config.gain * self.log_gain.exp() * z[:, 0]
        return pixels

    def off(self, features: Tensor) -> Tensor:
        """How far the star that the body's features (b, h) make lies off its own zero, (b,) pixels."""
        off: Tensor = features.float() @ self.gauge[:-1] + self.gauge[-1]
        return off

    def join(self, parts: Parts, *, air: Tensor | None) -> Tensor:
        """Star and atmosphere moved, cut to the spectrum's pixels and multiplied, (b, p)."""
        c = self.config
        sky = seen_air(parts, air=air, config=c)
        return cut(shift(parts.star, parts.shift), config=c) * sky

    def forward(self, z: Tensor, *, air: Tensor | None) -> Tensor:
        """Spectra (b, p); air (b,) the atmosphere's shift in pixels."""
        c = self.config
        if not c.agnostic:
            return self.join(self.parts(z), air=air)
        angle = (z[:, None, :] * self.rates[:, None]).flatten(1)
        # minus 1, so that a pruned node, 0, gives nothing at all
        waves = torch.cat([z, 0.3 * torch.sin(angle), 0.3 * (torch.cos(angle) - 1)], 1)
        spectra: Tensor = 1 + c.depth * self.flux(self.body(waves)).float()
        return spectra


class Prism(nn.Module):
    """Spectra over their median (b, p) -> mean and log-variance (b, n), and back.

    `good` (b, p) is False where a pixel carries nothing: it may hold NaN. `berv` (b,) in km/s is the
    correction that took each spectrum to the barycentric frame, 0 where it is still in the observer's; only
    with `moving_air`.
    """

    keep: Tensor  # (n,) 1, or 0 for a pruned node, which the decoder then reads as 0
    mean: Tensor
    scale: Tensor
    usual: Tensor  # (p,) the mean star that responses are measured against
    scatter: Tensor  # (p,) variance that stated errors do not explain, relative flux^2
    excess: Tensor  # (p,) its running mean while it is learned
    scales: Tensor  # (2,) mean and spread between spectra (a variance) of log scale^2 of the stated errors
    seen_scales: Tensor  # (3,) running means of log scale^2, of its square and of its error's
    learns_noise: Tensor  # whether errors are learned (model/noise.py)
    gauged: Tensor  # whether the star's zero has been measured (`Decoder.gauge`)

    def __init__(self, config: PrismConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.turn = Turn(config.n_latent) if config.turned else None
        self.register_buffer("keep", torch.ones(config.n_latent))
        self.register_buffer("mean", torch.ones(config.pixels))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("usual", torch.ones(config.pixels))
        self.register_buffer("scatter", torch.zeros(config.pixels))
        self.register_buffer("excess", torch.full((config.pixels,), 0.01**2))
        self.register_buffer("scales", torch.zeros(2))
        self.register_buffer("seen_scales", torch.zeros(3))
        self.register_buffer("learns_noise", torch.zeros((), dtype=torch.bool))
        self.register_buffer("gauged", torch.zeros((), dtype=torch.bool))

    def encode(
        self, flux: Tensor, *, good: Tensor | None = None, berv: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """flux (b, p) -> mean and log-variance, (b, n) each."""
        look = self.look(flux, good=good, berv=berv)
        return look.mean, look.logvar

    def look(
        self,
        flux: Tensor,
        *,
        good: Tensor | None = None,
        berv: Tensor | None = None,
        at: Tensor | None = None,
    ) -> Look:
        """As `encode`, with the first look's shift; or the second look at a given shift `at` (b,), pixels."""
        log_gain = None if self.config.agnostic else self.decoder.log_gain
        look: Look = self.encoder(self._standard(flux, good), log_gain=log_gain, air=self._air(berv), at=at)
        look = look if self.config.agnostic or not self.gauged else self._raised(look)
        if self.turn is None:
            return look
        mean, logvar = self.turn(look.mean, look.logvar)
        return look._replace(mean=mean, logvar=logvar)

    def to_axes(self, nodes: Sequence[int], middle: Tensor, matrix: Tensor) -> None:
        """From now on read codes of `nodes`, none of which moves, on other axes; once training is over."""
        self.config = replace(self.config, turned=True)
        self.turn = Turn(self.config.n_latent).to(self.keep.device)
        self.turn.to_axes(nodes, middle, matrix)

    def trained_axes(self) -> Tensor:
        """How codes move where one node of the training does, by one: (n, n), a row per node."""
        return torch.eye(self.config.n_latent).to(self.keep) if self.turn is None else self.turn.there.T

    def _read(self, z: Tensor) -> Tensor:
        """What the decoder reads of codes (b, n)."""
        z = z * self.keep
        return z if self.turn is None else self.turn.trained(z)

    def _raised(self, look: Look) -> Look:
        """The look, on the axes of the training, with the Doppler node's mean where the gauge has put it."""
        decoder = self.decoder
        features = decoder.body((look.mean * self.keep)[:, self.config.moves :])
        raise_by = decoder.off(features) / (self.config.gain * decoder.log_gain.exp())
        mean = torch.cat([(look.mean[:, 0] + raise_by)[:, None], look.mean[:, 1:]], 1)
        return look._replace(mean=mean)

    def features(self, flux: Tensor, *, good: Tensor | None = None, berv: Tensor | None = None) -> Tensor:
        """What the heads of the codes read, (b, h + whitened)."""
        return self.encoder.features(self._standard(flux, good), air=self._air(berv))[0]

    def decode(self, z: Tensor, *, berv: Tensor | None = None) -> Tensor:
        """z (b, n) -> spectra over their median (b, p)."""
        spectra: Tensor = self.decoder(self._read(z), air=self._air(berv))
        return spectra

    def parts(self, z: Tensor) -> Parts:
        """Star and atmosphere apart, before they are moved; not of an agnostic network."""
        if self.config.agnostic:
            raise ConfigError("an agnostic network does not separate star and atmosphere; train with physics")
        return self.decoder.parts(self._read(z))

    def join(self, parts: Parts, *, berv: Tensor | None = None) -> Tensor:
        """The spectra (b, p) that `parts` make: `decode` in two steps, for those who need both."""
        return self.decoder.join(parts, air=self._air(berv))

    def velocity(self, z: Tensor) -> Tensor:
        """z (b, n) -> the star's velocity (b,) in km/s against the mean star, in the frame of the spectra."""
        if self.config.agnostic:
            raise ConfigError("an agnostic network has no velocity; train with physics")
        velocity: Tensor = velocity_of(self.decoder.pixels(z * self.keep), self.config.step)
        return velocity

    def air_velocity(self, z: Tensor) -> Tensor:
        """z (b, n) -> the atmosphere's velocity (b,) in km/s against its mean, where a node is that."""
        if not self.config.free_air:
            raise ConfigError("this network's atmosphere does not move by a node of its own")
        speed: Tensor = self.config.air_gain * z[:, 1] * self.keep[1]
        return speed

    def forward(
        self,
        flux: Tensor,
        *,
        good: Tensor | None = None,
        berv: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction (b, p), mean and log-variance; at mean + sd * noise where noise (b, n) is given."""
        mean, logvar = self.encode(flux, good=good, berv=berv)
        z = mean if noise is None else mean + (0.5 * logvar).exp() * noise
        return self.decode(z, berv=berv), mean, logvar

    @torch.no_grad()
    def calibrate(
        self, flux: Tensor, *, sigma: Tensor, good: Tensor | None = None, berv: Tensor | None = None
    ) -> None:
        """Set the input's mean, scale and whitened components from a sample (s, p) of the training spectra.

        A thousand to three thousand spectra do: the cost is an eigenproblem of their number.
        """
        good = torch.ones_like(flux, dtype=torch.bool) if good is None else good.bool()
        count = good.sum(0).clamp(min=1)
        mean = torch.where(good, flux, 0).sum(0) / count
        self.mean.copy_(torch.where(good.any(0), mean, 1.0))  # a pixel that is never good counts as continuum
        residual = torch.where(good, flux - self.mean, 0)
        variance = (residual**2).sum() / good.sum().clamp(min=1)
        self.scale.copy_(variance.sqrt().clamp(min=1e-6))
        noise = (torch.where(good, sigma, 0) ** 2).sum() / good.sum().clamp(min=1) / self.scale**2
        x, air = self._standard(flux, good), self._air(berv)
        x = x if air is None else moved(x, -air, config=self.config)
        found = whitening(x, count=self.config.whitened, noise=float(noise))
        self.encoder.basis.zero_()
        self.encoder.basis[:, : found.shape[1]] = found

    @torch.no_grad()
    def begin(self, star: Tensor, air: Tensor) -> None:
        """Let a new network begin with this star and this atmosphere, (w,) each, and no velocity."""
        self.decoder.begin(star, air)
        self.encoder.velocity.weight.zero_()

    def still(self, flux: Tensor, *, good: Tensor | None, air: Tensor) -> Tensor:
        """Spectra (b, p) with their atmosphere, at the shifts `air` (b,) in pixels, moved back to rest."""
        return self.mean + self.scale * moved(self._standard(flux, good), -air, config=self.config)

    def places(self, nodes: Sequence[int]) -> list[tuple[Tensor, int, Tensor]]:
        """Where nodes live: (parameter, dimension, indices) of their own rows and columns.

        Optimisers hold their moments in the same places. The Doppler node's shift has log_gain alone.
        """
        c, first = self.config, self.decoder.body[0].get_parameter("weight")
        own = torch.tensor(sorted(nodes), dtype=torch.long, device=first.device)
        heads = torch.cat([own, own + c.n_latent])
        copies, width = 1 + 2 * len(c.rates) if c.agnostic else 1, c.n_latent - c.moves
        into = own[own >= c.moves] - c.moves
        columns = torch.cat([into + j * width for j in range(copies)])
        return [
            (self.encoder.heads.weight, 0, heads),
            (self.encoder.heads.bias, 0, heads),
            (first, 1, columns),
        ]

    @torch.no_grad()
    def renew(self, nodes: Sequence[int], *, seed: int, quiet: bool = False) -> None:
        """Switch pruned nodes on again with new weights: the encoder's drawn, the decoder's zero.

        Nodes that move keep their weights. quiet: their codes start near zero, for where too few steps are
        left to bring the KL of an idle node down.
        """
        c = self.config
        again = sorted({int(i) for i in nodes} - set(range(c.moves)))
        generator = torch.Generator().manual_seed(seed)
        (weight, _, rows), (bias, _, _), (first, _, columns) = self.places(again)
        bound = (0.2 if quiet else 1.0) / math.sqrt(weight.shape[1])
        fresh = (2 * torch.rand(len(rows), weight.shape[1], generator=generator) - 1) * bound
        fresh[len(again) :] *= 0.1
        weight[rows] = fresh.to(weight)
        bias[rows[: len(again)]] = 0.0
        bias[rows[len(again) :]] = 0.0 if quiet else -1.0
        first[:, columns] = 0.0
        self.keep[list({int(i) for i in nodes})] = 1.0

    def _standard(self, flux: Tensor, good: Tensor | None) -> Tensor:
        """(flux - mean) / scale, 0 where not good, (b, p)."""
        x = (flux - self.mean) / self.scale
        return x if good is None else torch.where(good.bool(), x, 0)

    def _air(self, berv: Tensor | None) -> Tensor | None:
        """The atmosphere's shift in pixels (b,): a line at rest on Earth lies at +berv."""
        if (berv is not None) != self.config.moving_air:
            raise ConfigError(
                "this network's atmosphere is fixed (moving_air is off), but berv was given: leave it out"
                if berv is not None
                else "this network's atmosphere moves: give berv in km/s for every spectrum, "
                "0 in the observer's frame"
            )
        return None if berv is None else pixels_of(berv, self.config.step)


# --- moving spectra, and what is computed from a sample of them


def widened(x: Tensor, *, config: PrismConfig) -> Tensor:
    """Standardised spectra (b, p) -> (b, w), with zeros, the mean spectrum, on both sides."""
    return functional.pad(x, (config.pad, config.width - config.pixels - config.pad))


def seen_air(parts: Parts, *, air: Tensor | None, config: PrismConfig) -> Tensor:
    """The atmosphere where the spectra have it, (b, p); air (b,) its shift in pixels where that is known."""
    place = air if parts.air_shift is None else parts.air_shift
    return parts.atmosphere if place is None else cut(shift(parts.atmosphere, place), config=config)


def cut(x: Tensor, *, config: PrismConfig) -> Tensor:
    """(b, w) -> (b, p), the way back."""
    return x[:, config.pad : config.pad + config.pixels]


def moved(x: Tensor, pixels: Tensor, *, config: PrismConfig) -> Tensor:
    """Standardised spectra x (b, p) moved by `pixels` (b,), which are data: no gradient reaches them.

    Long spectra have pixels finer than any line and are moved by whole ones: copying takes 0.3 ms, a filter
    3.
    """
    if config.pixels > LONG:
        wide, first = widened(x, config=config), config.pad - pixels.round().long()
        rows = first.clamp(0, config.width - config.pixels).tolist()
        return torch.stack([row[at : at + config.pixels] for row, at in zip(wide, rows, strict=True)])
    return cut(shift(widened(x, config=config), pixels), config=config)


def drift(
    star: Tensor, mean: Tensor, *, patch: int = PATCH, power: float = 0.5, quality: float = 0.0
) -> Tensor:
    """How far each star (b, w) lies from the mean star (w,), in pixels (b,), to first order.

    Doppler node and star share a freedom that leaves the likelihood unchanged: a star that moves with
    temperature, undone by the velocity. Training penalises this drift, which fixes it.

    In each patch, level and tilt taken off, star = a mean - b slope: its lines lie at b / a. The drift is the
    median over patches, weighted by (a^2 slope^2)^power: no one blend decides (Ca II H beside H epsilon reads
    -24 km/s in K stars, +22 in A stars by plain least squares), and a patch whose lines are gone has no vote.
    One reweighting about the median stands for it, so that it is smooth in training.

    quality  power of the patches' own misfit that weights are divided by: other lines than the mean's are bad
             witnesses. Not in training: a line that has moved off would lose its pull
    """
    slope: Tensor = 0.5 * (mean[2:] - mean[:-2])
    patch = min(patch, slope.shape[0])
    count = slope.shape[0] // patch
    tilt = torch.linspace(-1, 1, patch, device=star.device, dtype=star.dtype)
    tilt = tilt / tilt.norm()

    def pieces(x: Tensor) -> Tensor:
        x = x[..., : count * patch].reshape(*x.shape[:-1], count, patch)
        x = x - x.mean(-1, keepdim=True)
        level: Tensor = x - (x @ tilt)[..., None] * tilt
        return level

    h, m, s = pieces(star[:, 1:-1]), pieces(mean[1:-1]), pieces(slope)
    mm, ss, ms = (m * m).sum(-1), (s * s).sum(-1), (m * s).sum(-1)
    hm, hs = (h * m).sum(-1), (h * s).sum(-1)  # (b, patches)
    det = mm * ss - ms**2 + 1e-9
    a, b = ((hm * ss - hs * ms) / det).detach(), -(hs * mm - hm * ms) / det
    v = b * a / (a * a + 0.05**2)
    with torch.no_grad():
        weight = ((a.clamp(min=0) ** 2 + 1e-4) * ss) ** power
        if quality:
            misfit = ((h - a[..., None] * m + b[..., None] * s) ** 2).sum(-1)
            weight = weight / (misfit + 1e-4) ** quality
        order = v.argsort(1)
        summed = weight.gather(1, order).cumsum(1)
        middle = v.gather(1, order).gather(1, (summed < summed[:, -1:] / 2).sum(1, keepdim=True))
        weight = weight / ((v - middle) ** 2 + 0.1**2).sqrt()
        weight = weight / weight.sum(1, keepdim=True).clamp(min=1e-30)
    return (weight * v).sum(1)


def whitening(x: Tensor, *, count: int, noise: float) -> Tensor:
    """Basis (p, at most count) whose products with the rows of x (s, p) have unit spread.

    Components fainter than the noise, of variance `noise` per pixel, are scaled by the noise instead.
    """
    values, vectors = torch.linalg.eigh(
        (x @ x.T) / len(x)
    )  # of the spectra, not the pixels: cheap for long spectra
    values, vectors = values.flip(0)[:count].clamp(min=1e-12), vectors.flip(1)[:, :count]
    axes: Tensor = (x.T @ vectors) / (values * len(x)).sqrt()  # (p, count), orthonormal
    basis: Tensor = axes / values.clamp(min=max(noise, 1e-12)).sqrt()
    return basis
