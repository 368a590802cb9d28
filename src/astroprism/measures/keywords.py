"""What a header keyword is about, by its name: the instrument, the sky, the Earth's motion, the star.

The words are those of the FITS standard's reserved keywords and of dictionaries of observatories (ESO, SDSS,
LAMOST, HARPS, Gemini, Keck); docs/finding.md shows the table. The first row that fits counts. A name that no
row knows is 'unknown': nothing is concluded from it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

INDEX = "index "  # what columns of the store's index are called beside keywords


class Meaning(NamedTuple):
    """What a keyword is about.

    kind  instrument, sky, motion, exposure, signal, measured, position, time or unknown
    what  in words
    rank  how well its values name the instrument of a spectrum, 0 best; None: they do not
    """

    kind: str
    what: str
    rank: int | None = None


# (pattern of the name in capitals, its words apart by a space; meaning), read from above
TABLE = (
    (
        r"BERV|BARY ?COR|HELIO ?(RV|COR|VEL)|\bVHELIO$|HELCOR|EARTH ?VEL|\b[BH]CV\b",
        Meaning("motion", "the Earth's motion"),
    ),
    (
        r"CCF|\bRVC?\b|RADVEL|\bTEFF\b|LOGG|\bFE ?H\b|^Z$|^Z ?(ERR|RAW)|REDSHIFT|CLASS|SPTYPE",
        Meaning("measured", "what a pipeline measured of the star"),
    ),
    (
        r"^SN[A-Z]?\d*$|\bS ?N\b|SNR|SIGNAL|\bEXT SN\d|COUNTS|^N GOOD$|FLUX ?(MED|MEAN|MAX)",
        Meaning("signal", "the signal"),
    ),
    (r"\bMAG", Meaning("signal", "the star's magnitude")),
    (r"SPEC(TROGRAPH)? ?ID|^SPID$|SPECTROG", Meaning("instrument", "the spectrograph", 0)),
    (
        r"^CAM(ERA)?( ?(ID|NUM|NAME))?$|DETECTOR|\bDET (ID|NAME|CHIP)|^CHIP|^CCD ?(ID|NUM|NAME)?$|\bAMP\w*$",
        Meaning("instrument", "the detector", 1),
    ),
    (
        r"TELESCOP|INSTRUME|OBSERVAT|^SITE|^LATITUDE|^LONGITUD|^READER$",
        Meaning("instrument", "the telescope and instrument", 2),
    ),
    (r"OBSERVER", Meaning("instrument", "the observer", 3)),
    (r"PLATE|^TILE|CARTID|PLUG|^FIELD ?ID", Meaning("instrument", "the plate", 3)),
    (r"FIB(ER|RE)|\bIFU|SLITLET|BUNDLE", Meaning("instrument", "the fibre", 4)),
    (
        r"MJD|\bJD\b|^[LHB]?M?JD|DATE|\bTIME\b|\bUTC?\b|^LST|\b(OBS|RUN) ?ID|EXP ?(NUM|NO)$|^BESTEXP",
        Meaning("time", "the time"),
    ),
    (
        r"EXPT|EXP ?TIME|EXPOSURE|^ITIME|\bN?DIT\d?\b|^NEXP|NCOMBINE|TELAPSE",
        Meaning("exposure", "the exposure"),
    ),
    (r"AIRM|SECZ|ZENITH|^ZD|\bALT$|ELEVAT", Meaning("sky", "the airmass")),
    (r"\bR?HUM|DEW|\bI?PWV|\bIWV|WATER", Meaning("sky", "the air's humidity")),
    (r"SEEING|FWHM|\bTAU0|\bDIMM", Meaning("sky", "the seeing")),
    (r"MOON|LUNA", Meaning("sky", "the Moon")),
    (r"SKY|SKIES|^SCHI2|SUN ?(ALT|ANG)|TWILIGHT|CLOUD|TRANSPAR|EXTINCT", Meaning("sky", "the sky")),
    (r"WIND", Meaning("sky", "the wind")),
    (r"\bPRES|BAROM", Meaning("sky", "the air's pressure")),
    (
        r"AMBI|OUT ?TEMP|TEMP ?(AIR|OUT|AMB|DOME)|AIR ?TEMP|DOME ?TEMP",
        Meaning("sky", "the air's temperature"),
    ),
    (r"TEMP|THERM|CRYO", Meaning("instrument", "the instrument's temperature")),
    (
        r"\bDET\b|CCD|GAIN|\bRON\b|R(EA)?D ?NOISE|BIAS|DARK|OVERSCAN|BINN",
        Meaning("instrument", "the detector's settings"),
    ),
    (
        r"\bINS\b|FOCUS|SLIT|GRAT|GRISM|PRISM|DISPERS|FILTER|\bARM\b|COLLIM|ROTAT|\bADC\b|LAMP|SHUTTER|MODE\b",
        Meaning("instrument", "the instrument's settings"),
    ),
    (
        r"^NORM$|^NSTD|^NWORDER|^SPEC ?RES|^RESOLUTION|^OFFSET",
        Meaning("instrument", "the instrument's settings"),
    ),
    (r"VERSION|^VERS|VERS$|PIPELINE|PROCVER|SOFTWARE|REDUC", Meaning("instrument", "the reduction")),
    (
        r"^COEFF\d|^CRVAL|^CRPIX|^CDELT|^CD\d|WAVE ?L?(MIN|MAX)|SPEC ?BIN|DISP",
        Meaning("instrument", "the wavelength axis"),
    ),
    (
        r"^(SP)?(RA|DEC)\b|GL(ON|AT)|\bGAL|TARG (ALPHA|DELTA)|^(RA|DEC)DEG|EQUINOX",
        Meaning("position", "the place in the sky"),
    ),
)
_PATTERNS = tuple((re.compile(pattern), found) for pattern, found in TABLE)


def meaning(keyword: str) -> Meaning:
    """What a keyword is about; `keyword` may be a column of the index ('index berv')."""
    name = re.sub(r"[^A-Z0-9]+", " ", keyword.removeprefix(INDEX).upper()).strip()
    for pattern, found in _PATTERNS:
        if pattern.search(name):
            return found
    return Meaning("unknown", "a keyword of unknown meaning")


def plain(keyword: str) -> str:
    """A keyword's name as it is shown."""
    return keyword.removeprefix(INDEX)
