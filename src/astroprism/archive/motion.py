"""The Earth's motion towards the star: from a keyword, else computed from the place, the time and the site.

BERV is the velocity to ADD to what the telescope measured; of barycentric data, the one that was added.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..grid import SPEED_OF_LIGHT
from .header import Facts, number
from .observatories import Site, site_of

FASTEST = 40.0  # km/s; the Earth and its surface move at no more than 31
NOTHING = (
    99.0,
    99.99,
    999.0,
    999.9,
    999.99,
    9999.0,
    9999.9,
    9999.99,
)  # written for a velocity that is unknown
NEAR = 1.0  # km/s within which a keyword and the computed velocity are one


class MotionKeyword(NamedTuple):
    """A keyword that holds BERV.

    sign     of the value to add: 1, or -1 where the keyword holds the Earth's velocity away from the star
    unit     in km/s
    sure     whether all who write it mean the same: else its sign is held against the computed velocity
    star     whether some write the star's own velocity there: then only a value near the computed one counts
    frame    of who writes it: barycentric where the wavelengths have been moved by it; '' where unsaid
    """

    name: str
    sign: int = 1
    unit: float = 1.0
    sure: bool = False
    star: bool = False
    frame: str = ""


# In the order of trying. docs/design/readers.md names the source of each convention.
KEYWORDS: tuple[MotionKeyword, ...] = (
    MotionKeyword("ESO QC VRAD BARYCOR", sure=True),
    MotionKeyword("ESO QC BERV", sure=True),
    MotionKeyword("ESO DRS BERV", sure=True),
    MotionKeyword("TNG QC BERV", sure=True),
    MotionKeyword("TNG DRS BERV", sure=True),
    MotionKeyword("OHP DRS BERV", sure=True),
    MotionKeyword("CARACAL BERV", sure=True),
    MotionKeyword("BERV", sure=True),
    MotionKeyword("ESO QC VRAD HELICOR", sure=True),
    MotionKeyword("BERV_FLUXWEIGHTED_FRD", unit=1e-3),
    MotionKeyword("BERV_MIDPOINT", unit=1e-3),
    MotionKeyword("HELIO_RV", sign=-1, sure=True, frame="barycentric"),
    MotionKeyword("BSS_VHEL", frame="barycentric"),
    MotionKeyword("BSS_RQVH", frame="topocentric"),
    MotionKeyword("BVCOR", frame="barycentric"),
    MotionKeyword("BARYEFF", frame="barycentric"),
    MotionKeyword("BARYCENTRIC CORRECTION (KM/S)"),
    MotionKeyword("BARYCORR"),
    MotionKeyword("BARYCOR"),
    MotionKeyword("BARYVEL"),
    MotionKeyword("BARY_VEL"),
    MotionKeyword("BCV"),
    MotionKeyword("VBARY"),
    MotionKeyword("V_BARY"),
    MotionKeyword("VHELIO_APPLIED", frame="barycentric"),
    MotionKeyword("HELCORR"),
    MotionKeyword("HELICORR"),
    MotionKeyword("HELVCOR"),
    MotionKeyword("HELVCORR"),
    MotionKeyword("HELIOCOR"),
    MotionKeyword("HELVEL", star=True),
    MotionKeyword("HELIOVEL"),
    MotionKeyword("VHELIO", star=True),
    MotionKeyword("HJDV", star=True),
    MotionKeyword("HCV"),
    MotionKeyword("SSBVEL", unit=1e-3),
)


class Motion(NamedTuple):
    """BERV in km/s (NaN: unknown), where it is from, the frame that its keyword implies, what was assumed.

    source  'keyword NAME', 'computed' or 'none'
    frame   'barycentric', 'topocentric' or ''
    """

    berv: float
    source: str
    frame: str
    warnings: tuple[str, ...]


UNKNOWN = Motion(np.nan, "none", "", ())


def motion_of(
    headers: Sequence[Facts],
    *,
    ra: float,
    dec: float,
    time: float,
    timed: bool = True,
    site: Site | None = None,
    distrust: tuple[str, ...] = (),
) -> Motion:
    """BERV as a keyword in one of the headers gives it, else computed where place, time and site are known.

    ra, dec   degrees
    time      modified Julian date, UTC, of mid-exposure; `timed` is False where only the day is known
    site      of the telescope; None: as the headers say
    distrust  keywords that are passed over

    Of a keyword that is written with either sign, the sign is held against the computed velocity.
    """
    stated: tuple[MotionKeyword, float] | None = None
    for keyword in (one for one in KEYWORDS if one.name not in distrust):
        value = next((v for header in headers if np.isfinite(v := _value(header, keyword))), np.nan)
        if abs(value) <= FASTEST and (keyword.sure or value != 0):
            if keyword.sure:
                return Motion(value, f"keyword {keyword.name}", keyword.frame, _scaled(headers, keyword))
            stated = keyword, value
            break
    computed = np.nan
    if np.isfinite([ra, dec, time]).all() and (place := site or site_of(headers)) is not None:
        computed = _computed(headers, ra, dec, time, place, timed=timed)
    if stated is None:
        if np.isnan(computed):
            return UNKNOWN._replace(warnings=hints(headers))
        day = () if timed else ("only the day of the exposure is known: BERV is good to 1 km/s",)
        return Motion(computed, "computed", "", day)
    keyword, value = stated
    name, near = keyword.name, NEAR if timed else 2 * NEAR
    if np.isnan(computed):
        doubt = f"{name} is taken as the velocity to add: the header allows no check of its sign"
        return Motion(value, f"keyword {name}", keyword.frame, (doubt,))
    if abs(value - computed) < near:
        return Motion(value, f"keyword {name}", keyword.frame, ())
    if abs(value + computed) < near:
        turned = f"{name} has the opposite of its usual sign by place and time: turned"
        return Motion(-value, f"keyword {name}", keyword.frame, (turned,))
    if keyword.star:
        odd = f"{name} = {value:.2f} km/s is no motion of the Earth then and there: BERV is computed"
        return Motion(computed, "computed", "", (odd,))
    odd = f"{name} = {value:.2f} km/s, by place and time {computed:.2f}: the keyword is used"
    return Motion(value, f"keyword {name}", keyword.frame, (odd,))


def hints(headers: Sequence[Facts]) -> tuple[str, ...]:
    """Keywords that look like the Earth's motion, of which no convention is known: never used, but told."""
    known = {keyword.name for keyword in KEYWORDS}
    for header in headers:
        for name, value in getattr(header, "numbers", {}).items():
            if name in known or not looks_like_motion(name) or abs(value) in NOTHING:
                continue
            if 0 < abs(value) <= 1e3 * FASTEST:
                return (
                    f"{name} may be the Earth's motion, but its sign and unit are not known here: if it is, "
                    "copy it to a keyword BERV (km/s, to add)",
                )
    return ()


@lru_cache(maxsize=8192)
def looks_like_motion(keyword: str) -> bool:
    """Whether a keyword's name speaks of a barycentric or heliocentric velocity."""
    return _MOTION.search(keyword.upper()) is not None


# not errors of it, nor times by the Sun's clock
_MOTION = re.compile(
    r"BERV(?!\w*ERR)|BARY\w*[ _-]?(COR|VEL|RV\b)|V_?BARY|HELIO[ _-]?(COR|VEL|RV\b|V\b)|V_?HELIO|V_?HEL\b"
    r"|HEL_?(COR|VEL|RV\b)|\b[BH]CV\b|EARTH[ _-]?V(EL)?\b"
)


def _scaled(headers: Sequence[Facts], keyword: MotionKeyword) -> tuple[str, ...]:
    """A warning where a value without a unit is too large for km/s."""
    for header in headers:
        raw = number(header, keyword.name)
        if keyword.unit * abs(raw) > FASTEST and "m/s" not in header.comment(keyword.name).lower().replace(
            " ", ""
        ):
            return (f"{keyword.name} = {raw:g} names no unit and is too large for km/s: taken as m/s",)
    return ()


def _value(header: Facts, keyword: MotionKeyword) -> float:
    """The velocity to add by this keyword, km/s; NaN where the header lacks it."""
    value = number(header, keyword.name)
    if np.isnan(value) or abs(value) in NOTHING:
        return np.nan
    if keyword.name == "VHELIO":  # IRAF: the velocity of the star, of which VOBS was measured
        measured = header.number("VOBS")
        value -= measured if np.isfinite(measured) else 0.0
    unit = keyword.unit
    comment = header.comment(keyword.name).lower().replace(" ", "")
    if "km/s" in comment or "kms" in comment:
        unit = 1.0
    elif "m/s" in comment or FASTEST < abs(value) <= 1000 * FASTEST:
        unit = 1e-3
    return keyword.sign * unit * value


def _computed(
    headers: Sequence[Facts], ra: float, dec: float, time: float, site: Site, *, timed: bool
) -> float:
    """The computed velocity, km/s; of a day alone, at the local midnight that it names best."""
    if not timed:
        time = np.floor(time) + (-site.longitude / 360.0) % 1.0
    equinox = next((e for h in headers if np.isfinite(e := h.number("EQUINOX", "EPOCH"))), 2000.0)
    if not 1850 < equinox < 2100:
        equinox = 2000.0
    return float(barycentric_velocity(ra, dec, time, site, equinox=equinox))


def barycentric_velocity(
    ra: ArrayLike, dec: ArrayLike, time: ArrayLike, site: Site, *, equinox: float = 2000.0
) -> NDArray[np.float64]:
    """The velocity to add, km/s, of any shape: the speed of the site towards (ra, dec) about the barycentre.

    ra, dec  degrees
    time     modified Julian date, UTC

    By ERFA, astropy's own engine: astropy's `radial_velocity_correction` does the same in a hundred times the
    time. UTC stands for UT1, which needs a table that is fetched; that is 0.03 m/s.
    """
    import erfa

    longitude, latitude = np.radians(site.longitude), np.radians(site.latitude)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 'dubious year': leap seconds that are still to be announced
        star, _ = erfa.apco13(
            2400000.5, np.asarray(time, dtype=np.float64), 0.0, longitude, latitude, site.height,
            0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
        )  # fmt: skip
    towards = erfa.s2c(np.radians(ra), np.radians(dec))
    if abs(equinox - 2000.0) > 0.01:
        precession = erfa.pmat76(2451545.0, 365.25 * (equinox - 2000.0))  # from J2000 to the equinox
        towards = towards @ precession
    speed: Any = SPEED_OF_LIGHT * np.sum(star["v"] * towards, axis=-1)
    return np.asarray(speed, dtype=np.float64)
