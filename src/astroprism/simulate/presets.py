"""Surveys by name: settings that go together, each of which can be given otherwise."""

from __future__ import annotations

from typing import Any

# Rotation is no factor of either: at R 1,800 it does not show, and at R 30,000 it does what a broader profile
# of the instrument does, so that no one could tell how many causes there are.
_FACTORS = ("rv", "teff", "feh", "logg", "telluric")
# R 1,800 on pixels of 69 km/s, as LAMOST has them
_LOW: dict[str, Any] = {
    "format": "lamost",
    "factors": _FACTORS,
    "window": (3800.0, 8900.0),
}
# R 30,000 on pixels of 5 km/s about H alpha: [O I] and OH lines of the sky, O2 and H2O of the air lie in it.
_HIGH: dict[str, Any] = {
    "format": "adp",
    "factors": _FACTORS,
    "window": (6262.0, 6588.0),
    "step": 5.0,
    "resolution": 30_000.0,
}
SURVEYS: dict[str, dict[str, Any]] = {
    "low": _LOW,
    "high": _HIGH,
    # one star, and the sky above it
    "series": {
        "spectra": 200,
        "format": "adp",
        "factors": ("rv", "telluric"),
        "window": (5780.0, 5980.0),
        "step": 5.0,
        "snr": (100.0, 100.0),
        "visits": "series",
    },
    # bands of O2 and H2O that move by BERV, which no keyword gives
    "band": {
        "format": "adp",
        "factors": ("rv", "teff", "feh", "telluric"),
        "window": (6860.0, 7090.0),
        "step": 5.0,
        "berv": "hidden",
    },
}
