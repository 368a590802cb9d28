"""Spectra made ready, and the store that keeps them: one wavelength grid, a row a spectrum.

A spectrum is masked, moved to the grid and normalised (prepare), written to Zarr shards that a kill cannot
harm (shards, tables), and read back in any order (rows, reading); layout knows how it lies on disk.
"""

from .store import Store, open_store

__all__ = ["Store", "open_store"]
