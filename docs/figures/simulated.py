"""Draws simulated.png: python docs/figures/simulated.py"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from astroprism.simulate.star import Synthesiser

TEFF = np.array([4200.0, 5000.0, 5777.0, 7000.0, 9500.0])
WINDOWS = (
    (3920, 3950, "Ca II K"),
    (5160, 5192, "Mg b"),
    (5884, 5904, "Na D, with H2O of the Earth's atmosphere"),
)

figure, axes = plt.subplots(4, 1, figsize=(10, 11), layout="constrained")
colours = ["#a3171f", "#e8743b", "#c9a400", "#3f8fbf", "#243f9b"]
wavelength = np.arange(3790.0, 6900.0, 0.5)
low = Synthesiser(wavelength, resolution=4000).noiseless({"teff": TEFF})
for row, teff, colour in zip(low, TEFF, colours, strict=True):
    axes[0].plot(wavelength, row, lw=0.6, color=colour, label=f"{teff:.0f} K")
axes[0].set(ylabel="flux", title="R = 4,000, log g 4.44, solar abundances", ylim=(0, 1.9))
axes[0].legend(ncols=5, frameon=False)
for axis, (start, stop, title) in zip(axes[1:], WINDOWS, strict=True):
    wavelength = np.arange(start, stop, 0.01)
    parameters = {"teff": TEFF, "activity": np.array([0.3, 0.3, 0.0, 0.0, 0.0]), "water": np.full(5, 8.0)}
    flux = Synthesiser(wavelength, resolution=115_000).noiseless(parameters)
    for number, (row, colour) in enumerate(zip(flux, colours, strict=True)):
        axis.plot(wavelength, row / np.percentile(row, 98) + 0.9 * number, lw=0.6, color=colour)
    axis.set(xlim=(start, stop), ylim=(0, 4.9), ylabel="flux + offset", title=f"{title}, R = 115,000")
axes[3].set_xlabel("wavelength, vacuum (angstrom)")
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)
