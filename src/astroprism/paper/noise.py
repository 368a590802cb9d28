"""How loud a node speaks beside the noise that training added to it.

A dead node still has a mean code, tiny and deterministic, and mutual information is blind to scale: such a
mean can tell much of a label that the decoder never hears. Mean codes alone, as released, do not say how much
noise there was. But the first layer of the decoder is linear, so scaling a node up there and down here
changes nothing but the KL term, and where that is least, mean(mean^2) + mean(sd^2) = 1 for every node,
whatever its weight and whatever the loss. So the mean noise can be told from the means; not how it is shared
out among spectra.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# A trained node's mean square is below 1; more, beyond the scatter of a sample, and the codes are of another
# kind of network, of whose noise nothing is known.
MOST_SQUARE = 1.2


def implied_noise(mean: ArrayLike) -> Floats | None:
    """The sd of each node's posterior, (nodes,), from mean codes (spectra, nodes); None where that cannot be.

    It is the root mean square over spectra: a node may be sharp for some and dumb for others.
    """
    square = (np.asarray(mean, dtype=np.float64) ** 2).mean(axis=0)
    if square.max() > MOST_SQUARE:
        return None
    return np.asarray(np.sqrt(np.maximum(1 - square, 0.0)))


def even_information(mean: ArrayLike, noise: ArrayLike) -> Floats:
    """The most that a node tells of its spectrum, nats, if its noise is the same for all: a Gaussian channel.

    mean (spectra, nodes); noise, its sd (nodes,). Infinite where there is none. A node that is sharp for some
    spectra and dumb for the rest can tell more.
    """
    variance = np.asarray(mean, dtype=np.float64).var(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        most = 0.5 * np.log1p(variance / np.asarray(noise, dtype=np.float64) ** 2)
    return np.asarray(np.where(variance > 0, most, 0.0))
