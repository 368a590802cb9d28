"""A network of one star with two lines, whose encoder takes one of them for the other."""

import torch

from astroprism.model.data import Tensors
from astroprism.network.prism import Look, Parts, Prism, PrismConfig

PIXELS, APART = 400, 60  # pixels between the two lines


class Doublet(Prism):
    """One star with two lines; its encoder takes the blue line for the red one wherever it is fooled."""

    def __init__(self, true, *, fooled, berv=False):
        super().__init__(PrismConfig(PIXELS, 5.0, n_latent=2, hidden=4, moving_air=berv, shift_gain=50.0))
        self.true, self.fooled = true, fooled

    def parts(self, z):
        at = torch.arange(self.config.width) - self.config.pad - PIXELS // 2
        lines = [0.6 * torch.exp(-0.5 * ((at - place) / 3.0) ** 2) for place in (-APART / 2, APART / 2)]
        star = (1 - lines[0] - 0.8 * lines[1]).expand(len(z), -1)
        width = self.config.width if self.config.moving_air else PIXELS
        return Parts(star, torch.ones(len(z), width), 10 * z[:, 0] * self.keep[0])

    def decode(self, z, *, berv=None):
        return self.join(self.parts(z), berv=berv)

    def look(self, flux, *, good=None, berv=None, at=None):
        shift = self.true - APART * self.fooled if at is None else at
        mean = torch.stack([shift / 10, torch.zeros_like(shift)], 1)
        return Look(mean, torch.full_like(mean, -4.0), shift)


def archive(n=40, *, berv=False):
    generator = torch.Generator().manual_seed(1)
    true = 50 * torch.rand(n, generator=generator) - 5
    fooled = torch.arange(n) % 4 == 0
    network = Doublet(true, fooled=fooled, berv=berv)
    air = 20 * torch.rand(n, generator=generator) if berv else None
    z = torch.stack([true / 10, torch.zeros(n)], 1)
    flux = network.decode(z, berv=air) + 0.01 * torch.randn(n, PIXELS, generator=generator)
    return network, Tensors(flux, torch.full_like(flux, 0.01), None, air), true, fooled
