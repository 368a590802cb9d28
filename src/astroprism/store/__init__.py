"""Spectra made ready, and the store that keeps them: one wavelength grid, a row per spectrum.

A spectrum is masked (mask), moved to the grid (rebin) and normalised (prepare), written to Zarr shards that a
kill cannot harm (write), and read back in any order (read, store); layout knows how it lies on disk.
"""

from .store import Store, open_store

__all__ = ["Store", "open_store"]
