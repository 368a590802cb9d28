"""The networks: `prism`, ours, and `paper`, the seed paper's. Importing this package loads torch.

Both are plain modules on tensors: they know no store, no files of spectra and no training.
"""

from __future__ import annotations

from ..errors import MissingExtra

try:
    import torch  # noqa: F401
except ImportError as error:  # pragma: no cover
    raise MissingExtra("the networks need torch: pip install 'astroprism[train]'") from error

from .paper import PaperConfig, PaperNetwork, load_released
from .prism import Prism, PrismConfig, sized_for

__all__ = ["PaperConfig", "PaperNetwork", "Prism", "PrismConfig", "load_released", "sized_for"]
