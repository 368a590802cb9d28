"""Orbits of binaries and planets, and the velocity of the telescope with the Earth's rotation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Orbits:
    """One orbit a star, arrays (m,); amplitude 0 where there is none.

    amplitude     semi-amplitude of the velocity, km/s
    period        days
    eccentricity  0 to below 1
    omega         argument of periastron, radians
    periastron    MJD of a passage
    """

    amplitude: Float
    period: Float
    eccentricity: Float
    omega: Float
    periastron: Float

    def velocity(self, star: NDArray[np.int64], mjd: Float) -> Float:
        """Velocity of `star` (n,) at `mjd` (n,) against that of the centre of mass, km/s."""
        anomaly = 2 * np.pi * ((mjd - self.periastron[star]) / self.period[star] % 1)
        true = true_anomaly(anomaly, self.eccentricity[star])
        omega = self.omega[star]
        swing = np.cos(true + omega) + self.eccentricity[star] * np.cos(omega)
        return np.asarray(self.amplitude[star] * swing)


def true_anomaly(mean: Float, eccentricity: Float) -> Float:
    """True anomaly of a mean anomaly, radians: Kepler's equation by Newton's method."""
    eccentric = mean + eccentricity * np.sin(mean)
    for _ in range(30):
        error = eccentric - eccentricity * np.sin(eccentric) - mean
        eccentric = eccentric - error / (1 - eccentricity * np.cos(eccentric))
    half = np.sqrt((1 + eccentricity) / (1 - eccentricity)) * np.tan(eccentric / 2)
    return np.asarray(2 * np.arctan(half))


def telescope_velocity(
    ra: Float, dec: Float, *, mjd: Float, longitude: float, latitude: float, height: float
) -> Float:
    """Velocity of the telescope towards (ra, dec) degrees, km/s: the Earth's orbit and rotation.

    The orbit is that of the IAU's routines (Earth's barycentric velocity); polar motion, nutation and the
    difference between UTC and the times of the theory are left out: some m/s.
    """
    import erfa  # astropy's own; its coordinates would take seconds to set up

    kms = 149_597_870.7 / 86_400
    earth = erfa.epv00(2_400_000.5, mjd + 69.2 / 86_400)[1]["v"] * kms
    place = erfa.gd2gc(1, np.radians(longitude), np.radians(latitude), height) / 1000
    sidereal = erfa.gmst06(2_400_000.5, mjd, 2_400_000.5, mjd + 69.2 / 86_400)
    spin = 7.292115e-5  # radians a second
    angle = sidereal + np.arctan2(place[1], place[0])
    speed = spin * np.hypot(place[0], place[1])
    of_date = np.stack([-speed * np.sin(angle), speed * np.cos(angle), np.zeros_like(mjd)], axis=-1)
    matrix = erfa.pmat06(2_400_000.5, mjd)  # from the axes of the catalogue to those of date
    turned = np.einsum("nji,nj->ni", matrix, of_date)
    alpha, delta = np.radians(ra), np.radians(dec)
    towards = np.stack([np.cos(delta) * np.cos(alpha), np.cos(delta) * np.sin(alpha), np.sin(delta)], axis=-1)
    return np.asarray(np.round(((earth + turned) * towards).sum(axis=-1), 6))
