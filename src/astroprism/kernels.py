"""The inner loops of reading and preparing spectra: compiled where the C extension is there, else numpy's.

An installation without a C compiler has no extension; it works the same, more slowly. ASTROPRISM_NO_KERNELS=1
in the environment leaves the extension aside, for tests.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

__all__ = [
    "COMPILED",
    "SLOW",
    "between",
    "bridge",
    "cards",
    "keep_memory",
    "read_swapped",
    "rebin",
    "rim",
    "scaled",
    "spacing",
    "spikes",
    "survey",
]

if TYPE_CHECKING or os.environ.get("ASTROPRISM_NO_KERNELS") != "1":
    try:
        from ._kernels import (
            between,
            bridge,
            cards,
            keep_memory,
            read_swapped,
            rebin,
            rim,
            scaled,
            spacing,
            spikes,
            survey,
        )

        COMPILED = True
    except ImportError:
        COMPILED = False
else:
    COMPILED = False
if not COMPILED and not TYPE_CHECKING:
    from .numpy_kernels import (
        between,
        bridge,
        cards,
        keep_memory,
        read_swapped,
        rebin,
        rim,
        scaled,
        spacing,
        spikes,
        survey,
    )

SLOW = (
    "the compiled kernels are missing, so files are read and prepared more slowly, with equal results; "
    "install astroprism again where there is a C compiler"
)
