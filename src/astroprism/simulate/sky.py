"""The Earth's atmosphere: optical depth of O2 and H2O at the zenith, at rest with the observer.

O2 lines lie where the rotational structure of the b-X bands puts them (constants of the HITRAN
literature, e.g. Gordon et al. 2011, JQSRT 112, 2310; term formulas of Schlapp 1937, Phys. Rev. 51,
342); H2O, an asymmetric top without such formulas, is drawn once and for all by a fixed seed inside
its real bands.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..grid import SPEED_OF_LIGHT
from .broadening import InternalGrid

Array = NDArray[np.float64]

# name, origin (cm-1), rotational constants B' and D' of the upper state, band strength
# (cm-1 / (molecule cm-2), 296 K)
_OXYGEN = (
    ("O2 gamma", 15902.42, 1.35442, 5.6e-6, 7.5e-25),
    ("O2 B", 14525.66, 1.37296, 5.5e-6, 1.50e-23),
    ("O2 A", 13120.91, 1.39125, 5.4e-6, 2.24e-22),
)
_LOWER_B, _LOWER_D, _SPIN, _SPIN_ROTATION = 1.437677, 4.84e-6, 1.98475, -0.008425
_OXYGEN_COLUMN = 4.5e24  # molecules/cm2 above sea level
_OXYGEN_TEMPERATURE = 255.0  # K, mean of the column
_OXYGEN_WIDTH = 0.030  # cm-1, half width at half depth, pressure-broadened, mean of the column

# name, low, high (vacuum angstrom), lines an angstrom, strongest central optical depth a millimetre
_WATER = (
    ("H2O 5700", 5680.0, 5760.0, 0.6, 0.012),
    ("H2O 5900", 5880.0, 5982.0, 1.0, 0.10),
    ("H2O 6300", 6270.0, 6340.0, 0.6, 0.010),
    ("H2O 6500", 6470.0, 6590.0, 1.0, 0.12),
    ("H2O 7200", 6940.0, 7420.0, 1.6, 2.0),
    ("H2O 8200", 8100.0, 8360.0, 1.6, 3.0),
    ("H2O 9400", 8900.0, 9820.0, 2.0, 40.0),
)
_WATER_SEED = 18  # the molecule's mass number: the sky is the same in every archive
_WATER_DECADES = 3.0
_WATER_WIDTH = 0.055  # cm-1
_PHASES = 8  # sub-pixels at which the depth is kept; linear between them
_WING = 60.0  # half widths; beyond, a line's wing is cut


@dataclass(frozen=True)
class TelluricTable:
    """Lines of the atmosphere, arrays (l,) sorted by wavelength.

    band        name of the band, starting with 'O2' or 'H2O' (str)
    wavelength  vacuum angstrom
    area        optical depth integrated over velocity, km/s: at airmass 1, H2O a millimetre as well
    doppler     most probable velocity of the molecules, km/s
    lorentz     pressure half width, km/s
    """

    band: NDArray[np.str_]
    wavelength: Array
    area: Array
    doppler: Array
    lorentz: Array

    def __len__(self) -> int:
        return len(self.wavelength)


def oxygen_lines() -> TelluricTable:
    """Four branches (PP, PQ, RR, RQ) of each O2 band, odd N up to 41."""
    parts = []
    for name, origin, upper_b, upper_d, strength in _OXYGEN:
        n = np.arange(1, 42, 2, dtype=np.float64)
        b, lam = _LOWER_B, _SPIN
        f2 = b * n * (n + 1) - _LOWER_D * (n * (n + 1)) ** 2  # J = N
        above, below = (2 * n + 3) * b, (2 * n - 1) * b
        # Schlapp: the components J = N + 1 and J = N - 1 of the spin triplet.
        f1 = f2 + above - lam - np.sqrt(above**2 + lam**2 - 2 * lam * b) + _SPIN_ROTATION * (n + 1)
        f3 = f2 - below - lam + np.sqrt(below**2 + lam**2 - 2 * lam * b) - _SPIN_ROTATION * n
        # (upper N = J of the singlet, lower term, share of the line strength after Hoenl and London)
        # Watson-like shares; the last vanishes for N = 1, since J = 0 to 0 is forbidden.
        branches = ((n + 1, f2, n + 1), (n + 1, f1, n + 2), (n - 1, f2, n), (n - 1, f3, n - 1))
        position = np.concatenate(
            [origin + upper_b * j * (j + 1) - upper_d * (j * (j + 1)) ** 2 - low for j, low, _ in branches]
        )
        weight = np.concatenate(
            [share * np.exp(-1.4388 * low / _OXYGEN_TEMPERATURE) for _, low, share in branches]
        )
        depth = _OXYGEN_COLUMN * strength * weight / weight.sum()  # integrated over wavenumber
        per_wavenumber = SPEED_OF_LIGHT / position
        parts.append((np.full(position.size, name), 1e8 / position, depth * per_wavenumber, per_wavenumber))
    band, wavelength, area, per_wavenumber = (np.concatenate(part) for part in zip(*parts, strict=True))
    doppler = np.full(wavelength.size, 0.12895 * np.sqrt(_OXYGEN_TEMPERATURE / 32.0))
    return _sorted(band, wavelength, area, doppler, _OXYGEN_WIDTH * per_wavenumber)


def water_lines() -> TelluricTable:
    """Seeded lines of the H2O bands, three decades of strength, strongest in the middle of a band."""
    parts = []
    for number, (name, low, high, density, strongest) in enumerate(_WATER):
        random = np.random.default_rng([_WATER_SEED, number])
        count = int(density * (high - low))
        place = random.random(count)
        envelope = np.sin(np.pi * np.clip(place, 0.02, 0.98)) ** 0.5
        central = strongest * envelope * 10 ** (-_WATER_DECADES * random.random(count) ** 0.7)
        parts.append((np.full(count, name), low + (high - low) * place, central))
    band, wavelength, central = (np.concatenate(part) for part in zip(*parts, strict=True))
    lorentz = _WATER_WIDTH * SPEED_OF_LIGHT * wavelength / 1e8
    doppler = np.full(wavelength.size, 0.12895 * np.sqrt(265.0 / 18.0))
    # Peak of a Voigt profile of unit area, close enough (Whiting 1968) for drawn strengths.
    width = 0.5346 * 2 * lorentz + np.sqrt(0.2166 * (2 * lorentz) ** 2 + (1.6651 * doppler) ** 2)
    return _sorted(band, wavelength, central * width * 1.25, doppler, lorentz)


@functools.cache
def telluric_lines() -> TelluricTable:
    """All lines of the atmosphere, 5,680..9,820 angstrom."""
    oxygen, water = oxygen_lines(), water_lines()
    return _sorted(
        *(
            np.concatenate([getattr(oxygen, name), getattr(water, name)])
            for name in TelluricTable.__dataclass_fields__
        )
    )


def telluric_bands() -> list[tuple[str, float, float]]:
    """(name, low, high) of each band, vacuum angstrom: where a spectrum may show the atmosphere."""
    table = telluric_lines()
    bands = []
    for name in [row[0] for row in _OXYGEN] + [row[0] for row in _WATER]:
        inside = table.wavelength[(table.band == name) & (table.area > 1e-4)]
        bands.append((str(name), float(inside.min()) - 0.2, float(inside.max()) + 0.2))
    return sorted(bands, key=lambda band: band[1])


def optical_depth(wavelength: Array) -> tuple[Array, Array]:
    """Zenith optical depth (O2, H2O a millimetre) at sorted vacuum wavelengths in angstrom, (n,) each."""
    from scipy.special import voigt_profile

    table = telluric_lines()
    depths = (np.zeros(len(wavelength)), np.zeros(len(wavelength)))
    log_wavelength = np.log(wavelength)
    centre = np.log(table.wavelength)
    # A saturated line's wing reaches further than a weak one's.
    reach = table.lorentz * _WING * np.clip(np.sqrt(table.area), 0.3, 6.0) / SPEED_OF_LIGHT
    first = np.searchsorted(log_wavelength, centre - reach)
    last = np.searchsorted(log_wavelength, centre + reach)
    for line in np.flatnonzero(last > first):
        span = slice(int(first[line]), int(last[line]))
        velocity = (log_wavelength[span] - centre[line]) * SPEED_OF_LIGHT
        profile = voigt_profile(velocity, table.doppler[line] / np.sqrt(2), table.lorentz[line])
        edge = 1 - (velocity / (reach[line] * SPEED_OF_LIGHT)) ** 2  # to zero without a step
        water = 1 if table.band[line].startswith("H2O") else 0
        depths[water][span] += table.area[line] * profile * np.clip(edge, 0, 1)
    return depths


class ShiftableSky:
    """Transmission of the atmosphere, moved by fractions of a pixel of the opacity grid.

    Optical depths are kept at eighths of a pixel, one row an eighth, so that a shifted spectrum is made of
    contiguous slices, and only where the atmosphere absorbs at all.
    """

    def __init__(self, grid: InternalGrid, reach: float) -> None:
        """`reach`: farthest shift, km/s."""
        self._size = grid.fine_size
        self._reach = int(reach / (grid.fine_step * SPEED_OF_LIGHT)) + 2
        count = self._size + 2 * self._reach + 1
        place = np.arange(count * _PHASES) / _PHASES - self._reach
        wavelength = np.exp(grid.start + grid.fine_step * place)
        self._depth = [
            np.ascontiguousarray(depth.reshape(count, _PHASES).T, dtype=np.float32)
            for depth in optical_depth(wavelength)
        ]
        absorbs = [depth.max(axis=0) > 0 for depth in self._depth]
        self._spans = [_spans(mask, self._reach, self._size) for mask in absorbs]
        self._any = _spans(absorbs[0] | absorbs[1], self._reach, self._size)

    def __bool__(self) -> bool:
        """Whether the atmosphere absorbs anywhere in the grid."""
        return bool(self._any)

    def transmission(self, shift: Array, *, oxygen: Array, water: Array) -> NDArray[np.float32]:
        """Transmission moved by `shift` pixels (b,), optical depths times these factors (b,); (b, n)."""
        result = np.ones((len(shift), self._size), dtype=np.float32)
        product = np.empty(self._size, dtype=np.float32)
        for row, out in enumerate(result):
            for span in self._any:
                out[span] = 0
            place = (self._reach - shift[row]) * _PHASES
            index = int(np.floor(place))
            fraction = place - index
            for depth, factor, spans in zip(
                self._depth, (-oxygen[row], -water[row]), self._spans, strict=True
            ):
                for number, weight in ((index, 1 - fraction), (index + 1, fraction)):
                    pixel, phase = divmod(number, _PHASES)
                    for span in spans:
                        moved = depth[phase, pixel + span.start : pixel + span.stop]
                        np.multiply(moved, np.float32(factor * weight), out=product[span])
                        out[span] += product[span]
            for span in self._any:
                np.exp(out[span], out=out[span])
        return result


def _spans(mask: NDArray[np.bool_], reach: int, size: int) -> list[slice]:
    """Stretches of a grid of `size` pixels that hold a True of `mask` for some shift of at most `reach`."""
    places = np.flatnonzero(mask) - reach
    if not places.size:
        return []
    gaps = np.flatnonzero(np.diff(places) > 4 * reach + 256)
    first = np.concatenate([places[:1], places[gaps + 1]]) - reach - 1
    last = np.concatenate([places[gaps], places[-1:]]) + reach + 2
    pairs = zip(np.clip(first, 0, size), np.clip(last, 0, size), strict=True)
    return [slice(int(low), int(high)) for low, high in pairs if high > low]


def _sorted(
    band: NDArray[np.str_],
    wavelength: Array,
    area: Array,  # five arrays of one row, straight into the table
    doppler: Array,
    lorentz: Array,
) -> TelluricTable:
    order = np.argsort(wavelength, kind="stable")
    return TelluricTable(band[order], wavelength[order], area[order], doppler[order], lorentz[order])
