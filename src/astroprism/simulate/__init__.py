"""Archives whose answer is known: stars, weather and noise in, files and truth.csv out."""

from .batches import Batch, spectra
from .config import FACTORS, NATIVE, ODDITIES, Sampling, SimulationConfig
from .distribution import Distribution, parse_distribution
from .population import Population, populate
from .presets import SURVEYS
from .reality import Reality
from .writing import truth, write_archive

__all__ = [
    "FACTORS",
    "NATIVE",
    "ODDITIES",
    "SURVEYS",
    "Batch",
    "Distribution",
    "Population",
    "Reality",
    "Sampling",
    "SimulationConfig",
    "parse_distribution",
    "populate",
    "spectra",
    "truth",
    "write_archive",
]
