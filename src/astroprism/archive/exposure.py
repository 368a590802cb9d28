"""Where a telescope pointed, when, and how it moved: what headers say of an exposure, in one vocabulary."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

import numpy as np

from .header import PLACES, Facts, angle, degrees, is_place, number, packed_degrees, plausible, sexagesimal
from .motion import UNKNOWN, Motion, motion_of

MJD_ZERO = date(1858, 11, 17).toordinal()
JULIAN = 2400000.5  # Julian date of MJD 0
EARLIEST, LATEST = 15_020.0, 88_000.0  # 1900 to 2099: what lies outside is no time of an exposure
LONGEST_EXPOSURE = 2 * 86_400.0  # seconds

MIDDLES = ("TMID", "MJD-MID", "MJDMID", "MJD_MID", "MJD-AVG", "MJDAVG")
MIDDLE_DATES = ("DATE-AVG", "DATE-MID", "DATE_MID", "DATE_AVG")
STARTS = ("MJD-OBS", "MJD_OBS", "MJDOBS", "MJD-BEG", "MJDSTART", "MJD-STR", "MJDATE")
ENDS = ("MJD-END", "MJDEND", "MJD_END")
DURATIONS = (
    "EXPTIME",
    "TEXPTIME",
    "EXPOSURE",
    "EXP_TIME",
    "EXPTIM",
    "ITIME",
    "ELAPTIME",
    "TELAPSE",
    "OHP CCD DKTM",
)
DATES = ("DATE-OBS", "DATE_OBS", "DATEOBS", "DATE-BEG", "UT-DATE", "UTDATE", "UTC-DATE", "DATE")
CLOCKS = (
    *("UTSTART", "UT-START", "UTC-OBS", "UT-TIME", "TIME-OBS", "TIME_OBS", "TIME-BEG", "UTOPEN", "UT", "UTC"),
    "UTCSTART",
)
JULIAN_DATES = (
    "JD",
    "JD-OBS",
    "JD_OBS",
    "JDMID",
    "JD-MID",
    "JD_UTC",
    "JUL-DATE",
    "JULDATE",
    "JD_UTC_FLUXWEIGHTED_FRD",
)
JULIAN_STARTS = ("JD-OBS", "JD_OBS")
# By the clock of the Sun or the barycentre: up to 8.4 minutes from the Earth's, 0.02 km/s of BERV.
LIGHT_TRAVELLED = (
    *("MID-HJD", "HJD-MID", "JD-HELIO"),
    *("HJD", "BJD", "BJD_TDB", "ESO QC BJD", "ESO DRS BJD", "TNG DRS BJD", "OHP DRS BJD", "CARACAL BJD"),
)


class Exposure(NamedTuple):
    """Place in degrees, time as MJD (UTC, mid-exposure where known), motion; NaN: unknown."""

    ra: float
    dec: float
    time: float
    motion: Motion

    def facts(self) -> dict[str, Any]:
        """What goes into a Spectrum as it is."""
        return {
            "ra": self.ra,
            "dec": self.dec,
            "time": self.time,
            "berv": self.motion.berv,
            "berv_source": self.motion.source,
        }

    def frame(self, stated: str) -> str:
        """The frame stated, or where none is, the one that the keyword of the motion implies."""
        return self.motion.frame if stated == "unknown" and self.motion.frame else stated


def exposure_of(
    headers: Sequence[Facts],
    *,
    place: tuple[float, float] | None = None,
    time: float = np.nan,
    moving: bool = True,
    distrust: tuple[str, ...] = (),
) -> Exposure:
    """What one or several headers say of an exposure; the first that knows counts.

    place     right ascension and declination, degrees, where the reader knows better than the usual keywords
    time      likewise
    moving    False of a spectrum that has no BERV, such as one combined from several visits
    distrust  keywords of BERV that are known to be wrong in this file
    """
    ra, dec = place or (np.nan, np.nan)
    remarks: tuple[str, ...] = ()
    if not np.isfinite([ra, dec]).all():
        found = [pair for header in headers for pair in (degrees(header, *PLACES), packed_degrees(header))]
        ra, dec = next((pair for pair in found if np.isfinite(pair[0])), (np.nan, np.nan))
        if np.isnan(ra):
            remarks = nowhere(headers)
    timed = True
    if not np.isfinite(time):
        time, timed = time_of(headers)
    elif time == np.floor(time):
        timed = False
    motion = UNKNOWN
    if moving:
        motion = motion_of(headers, ra=ra, dec=dec, time=time, timed=timed, distrust=distrust)
    return Exposure(ra, dec, time, motion._replace(warnings=remarks + motion.warnings))


def nowhere(headers: Sequence[Facts]) -> tuple[str, ...]:
    """What to know where a header has numbers for the place that are none on the sky."""
    for header in headers:
        for right, up in PLACES:
            ra, dec = angle(header, right, hours=True), angle(header, up)
            if np.isfinite([ra, dec]).all() and not is_place(ra, dec):
                return (f"{right} = {ra:g}, {up} = {dec:g} is no place on the sky: not used",)
    return ()


def time_of(headers: Sequence[Facts]) -> tuple[float, bool]:
    """(modified Julian date, whether the time of day is known): mid-exposure where the headers give it.

    A start gets half of the exposure added, of MJD-END, else of EXPTIME and its relatives.
    """
    for middle in (
        _first(headers, MIDDLES),
        *(_date(header.text(key)) for header in headers for key in MIDDLE_DATES),
    ):
        if _is_time(middle) and middle % 1:
            return middle, True
    start = _first(headers, STARTS)
    if _is_time(start) and start % 1:
        return start + _half(headers, start), True
    for header in headers:
        for key in DATES:
            day = _date(header.text(key))
            if not _is_time(day) or key == "DATE":  # DATE is when the file was written
                continue
            if not day % 1:
                clock = next((c for name in CLOCKS if (c := _clock(header, name)) >= 0), np.nan)
                if np.isnan(clock):
                    continue
                day += clock
            return day + _half(headers, day), True
    for keys in (JULIAN_DATES, LIGHT_TRAVELLED):
        julian = _first(headers, keys)
        for zero in (JULIAN, 0.5):  # JD, and JD - 2,400,000
            if _is_time(julian - zero):
                starts = julian == _first(headers, JULIAN_STARTS)
                return julian - zero + (_half(headers, julian - zero) if starts else 0.0), True
    plain = _first(headers, ("MJD",))
    if _is_time(plain) and plain % 1:
        return plain + _half(headers, plain), True
    days = (start, plain, *(_date(header.text(key)) for header in headers for key in DATES[:-1]))
    return next((day for day in days if _is_time(day)), np.nan), False


def _first(headers: Sequence[Facts], keys: Sequence[str]) -> float:
    values = (number(header, key) for header in headers for key in keys)
    return next((value for value in values if np.isfinite(value)), np.nan)


def _is_time(value: float) -> bool:
    return EARLIEST < value < LATEST


def _half(headers: Sequence[Facts], start: float) -> float:
    """Half of the exposure, days; 0 where its length is unknown."""
    end = _first(headers, ENDS)
    if 0 < (end - start) * 86_400 < LONGEST_EXPOSURE:
        return (end - start) / 2
    seconds = plausible(_first(headers, DURATIONS), 0.0, LONGEST_EXPOSURE)
    return 0.0 if np.isnan(seconds) else seconds / 2 / 86_400


_ISO = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?:[T ]+(\d{1,2}:\d{1,2}(?::\d{1,2}(?:\.\d*)?)?))?Z?")
_OLD = re.compile(r"(\d{1,2})[/-](\d{1,2})[/-](\d{2}|\d{4})")  # of FITS before 1999: day, month, year


def _date(text: str) -> float:
    """A date, with its time where it has one, as modified Julian date; NaN where it is none."""
    text = text.strip()
    try:
        if match := _ISO.fullmatch(text):
            day = date(int(match[1]), int(match[2]), int(match[3])).toordinal() - MJD_ZERO
            return day + (sexagesimal(match[4]) / 24 if match[4] else 0.0)
        if match := _OLD.fullmatch(text):
            year = int(match[3]) + (1900 if len(match[3]) == 2 else 0)
            return float(date(year, int(match[2]), int(match[1])).toordinal() - MJD_ZERO)
    except ValueError:  # no day of the calendar
        pass
    return np.nan


def _clock(header: Facts, key: str) -> float:
    """A time of day, in days: 'hh:mm:ss' or seconds; NaN where it is none."""
    text = header.text(key)
    if ":" in text:
        return plausible(sexagesimal(text) / 24, 0.0, 1.0)
    return plausible(header.number(key) / 86_400, 0.0, 1.0)
