"""Where telescopes stand: a small table of observatories, and the keywords that give a place in the header.

The coordinates are those of the IRAF observatory database (noao/lib/obsdb.dat) and of astropy's list of
sites, else the observatories' own, to a kilometre or better: 0.1 m/s of the velocity towards a star.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .header import Facts, angle


class Site(NamedTuple):
    """A place on the Earth: geodetic longitude (east positive) and latitude in degrees, height in metres."""

    longitude: float
    latitude: float
    height: float


class Observatory(NamedTuple):
    """A site, and a pattern of its names in headers: capitals and digits alone, a point as P or gone."""

    name: str
    site: Site
    names: str


# IRAF: noao/lib/obsdb.dat. A: astropy-data, coordinates/sites.json. O: the observatory's own page or headers.
OBSERVATORIES: tuple[Observatory, ...] = (
    Observatory(  # IRAF eso36m
        "La Silla",
        Site(-70.72961, -29.25717, 2400.0),
        r"LASILLA|ESO(36|3P6|NTT|152|1P52|1M52|22|2P2)|MPI(ESO|G)?(22|2P2)|EULER|^NTT|^(HARPS|FEROS|CORALIE)$",
    ),
    Observatory(  # IRAF esovlt
        "Paranal",
        Site(-70.4022, -24.6253, 2648.0),
        r"PARANAL|VLT|^ESOVISTA|^(UVES|XSHOOTER|ESPRESSO|GIRAFFE|FLAMES|CRIRES|MUSE)$",
    ),
    Observatory(  # IRAF keck
        "Keck",
        Site(-155.47833, 19.82833, 4160.0),
        r"KECK|^(HIRES|ESI|DEIMOS|LRIS|KPF|NIRSPEC)$",
    ),
    Observatory("Subaru", Site(-155.47611, 19.82556, 4139.0), r"SUBARU|^HDS$"),  # A
    Observatory("CFHT", Site(-155.47167, 19.82667, 4215.0), r"CFHT|CANADAFRANCEHAWAII|^(ESPADONS|SPIROU)$"),
    Observatory("IRTF", Site(-155.472, 19.82622, 4168.0), r"IRTF|^(SPEX|ISHELL)$"),  # IRAF
    Observatory("Gemini North", Site(-155.46905, 19.8238, 4213.4), r"GEMININ|^(GRACES|MAROONX)$"),  # IRAF
    Observatory("Gemini South", Site(-70.73667, -30.24074, 2750.0), r"GEMINIS|PACHON|^SOAR|^GHOST$"),  # A
    Observatory("Mauna Kea", Site(-155.472, 19.8262, 4168.0), r"MAUNAKEA|^UKIRT|^UH(88|22)"),
    Observatory("Lick", Site(-121.63667, 37.34333, 1290.0), r"LICK|SHANE|^APF|AUTOMATEDPLANETFINDER"),  # IRAF
    Observatory(  # O: ELODIE and SOPHIE headers, OHP TEL GEOLON, GEOLAT, GEOELEV
        "Haute-Provence",
        Site(5.7125, 43.92944, 650.0),
        r"^OHP|HAUTEPROVENCE|^(T193|T152)|^(SOPHIE|ELODIE|AURELIE)$",
    ),
    Observatory("Pic du Midi", Site(0.1426, 42.9365, 2877.0), r"PICDUMIDI|BERNARDLYOT|^TBL|NARVAL"),  # O
    Observatory(  # O: HARPS-N headers, TNG TEL GEOLON, GEOLAT, GEOELEV
        "TNG", Site(-17.88906, 28.754, 2387.2), r"^TNG|TELESCOPIONAZIONALEGALILEO|^HARPN|HARPSN"
    ),
    Observatory(  # IRAF lapalma: all its telescopes lie within two kilometres
        "La Palma",
        Site(-17.88, 28.75833, 2327.0),
        r"LAPALMA|ROQUEDELOSMUCHACHOS|^(WHT|INT|JKT|NOT|GTC|ING)$|WILLIAMHERSCHEL|ISAACNEWTON|NORDICOPTICAL"
        r"|MERCATOR|LIVERPOOLTEL|GRANTECAN|^(FIES|IDS|ISIS)$",
    ),
    Observatory("Teide", Site(-16.51, 28.3, 2390.0), r"IZANA|TEIDE|STELLA(?!R)|^SONG"),  # O
    Observatory(
        "Calar Alto", Site(-2.54625, 37.22361, 2168.0), r"CALARALTO|CAHA|^CA[123]|DSAZ|CARMENES|^CAFE$"
    ),
    Observatory(  # IRAF BAO
        "Xinglong", Site(117.575, 40.39333, 950.0), r"LAMOST|XINGLONG|GUOSHOUJING|^BAO|^NAOC"
    ),
    Observatory("Lijiang", Site(100.03, 26.695, 3193.0), r"LIJIANG|GMG"),  # O
    Observatory("Apache Point", Site(-105.82, 32.78, 2798.0), r"SDSS|APACHEPOINT|^APO|ARC35|ARC3P5"),  # IRAF
    Observatory(  # IRAF lco
        "Las Campanas",
        Site(-70.70167, -29.00333, 2282.0),
        r"LASCAMPANAS|^LCO(?!GT)|DUPONT|MAGELLAN|^(CLAY|BAADE|SWOPE)|^(MIKE|MAGE|FIRE|PFS)$",
    ),
    Observatory(
        "Kitt Peak", Site(-111.6, 31.96333, 2120.0), r"KPNO|KITTPEAK|MAYALL|WIYN|^(NEID|DESI)$"
    ),  # IRAF
    Observatory("MDM", Site(-111.61667, 31.95, 1938.5), r"^MDM|HILTNER|MCGRAWHILL"),  # IRAF
    Observatory("Cerro Tololo", Site(-70.815, -30.16528, 2215.0), r"CTIO|TOLOLO|BLANCO|^CHIRON$"),  # IRAF
    Observatory(  # IRAF mcdonald
        "McDonald",
        Site(-104.02167, 30.67167, 2075.0),
        r"MCDONALD|^HET|HOBBYEBERLY|HARLANSMITH|OTTOSTRUVE|^HPF$",
    ),
    Observatory(  # IRAF aao
        "Siding Spring",
        Site(149.06609, -31.27704, 1164.0),
        r"ANGLOAUSTRALIAN|^AAT|^AAO|SIDINGSPRING|^SSO|^ANU|^UKST|^VELOCE$",
    ),
    Observatory("Mount Stromlo", Site(149.02433, -35.32065, 767.0), r"STROMLO"),  # IRAF
    Observatory("MMT", Site(-110.885, 31.68833, 2600.0), r"^MMT"),  # IRAF
    Observatory("Whipple", Site(-110.8775, 31.68094, 2320.0), r"WHIPPLE|FLWO|TILLINGHAST|^TRES$"),  # IRAF
    Observatory("LBT", Site(-109.8719, 32.7016, 2902.0), r"^LBT|LARGEBINOCULAR|^PEPSI$"),  # A
    Observatory("Palomar", Site(-116.863, 33.356, 1706.0), r"PALOMAR|HALETELESCOPE|^P200"),  # IRAF
    Observatory(
        "Sutherland", Site(20.81081, -32.37582, 1798.0), r"^SALT|SAAO|SUTHERLAND|SOUTHERNAFRICANLARGE"
    ),
    Observatory("Thai National", Site(98.4823, 18.5737, 2457.0), r"THAI|INTHANON|^TNO$|^TNT$"),  # O
    Observatory("Turkish National", Site(30.33333, 36.825, 2547.0), r"^TUG|TUBITAK|RTT150|TURKIYE"),  # IRAF
    Observatory("Lowell", Site(-111.535, 35.09667, 2198.0), r"LOWELL(?!DISC)|^PERKINS"),  # IRAF
    Observatory("Lowell Discovery", Site(-111.4223, 34.7444, 2361.0), r"^LDT|^DCT|DISCOVERYCHANNEL|^EXPRES$"),
    Observatory("DAO", Site(-123.41667, 48.52167, 229.0), r"^DAO|DOMINIONASTRO|PLASKETT"),  # IRAF
    Observatory("San Pedro Martir", Site(-115.48694, 31.02917, 2830.0), r"PEDROMARTIR|^OANSPM|^SPM"),  # IRAF
    Observatory("Asiago", Site(11.58113, 45.84859, 1413.0), r"ASIAGO|EKAR|COPERNICO"),  # IRAF
    Observatory("Rozhen", Site(24.74389, 41.69306, 1759.0), r"ROZHEN"),  # IRAF
    Observatory("Tautenburg", Site(11.7112, 50.98, 341.0), r"TAUTENBURG|^TLS"),  # O
    Observatory("Ondrejov", Site(14.7836, 49.9106, 525.0), r"ONDREJOV|^OES$"),  # O
    Observatory("Sierra Nevada", Site(-3.38472, 37.06417, 2896.0), r"SIERRANEVADA|^OSN"),  # IRAF
    Observatory("CASLEO", Site(-69.3, -31.79917, 2552.0), r"CASLEO|LEONCITO"),  # IRAF
    Observatory("Pico dos Dias", Site(-45.5825, -22.53444, 1864.0), r"PICODOSDIAS|^LNA|^OPD"),  # IRAF
    Observatory("Vainu Bappu", Site(78.8266, 12.57666, 725.0), r"VAINUBAPPU|^VBO|^VBT"),  # IRAF
    Observatory("Hanle", Site(78.96417, 32.7794, 4500.0), r"HANLE|^IAO|^HCT|HIMALAYANCHANDRA"),  # IRAF
    Observatory("Mount John", Site(170.465, -43.9867, 1029.0), r"M(OUN)?TJOHN|MCLELLAN|HERCULES"),  # O
    Observatory("Okayama", Site(133.5943, 34.5763, 372.0), r"OKAYAMA|^OAO|SEIMEI"),  # O
    Observatory("Bohyunsan", Site(128.9767, 36.1648, 1127.0), r"BOHYUNSAN|^BOAO|^BOES$"),  # O
)
_PATTERNS = tuple((re.compile(one.names), one.site) for one in OBSERVATORIES)

NAME_KEYS = ("OBSERVAT", "TELESCOP", "SITENAME", "SITE", "OBSERVATORY", "TELID", "INSTRUME")
# (longitude, latitude, heights) as headers call them; east is positive, or 180..360.
PLACE_KEYS = (
    *(
        (f"{who} TEL GEOLON", f"{who} TEL GEOLAT", (f"{who} TEL GEOELEV",))
        for who in ("ESO", "TNG", "OHP", "CAHA")
    ),
    *((f"ESO TEL{n} GEOLON", f"ESO TEL{n} GEOLAT", (f"ESO TEL{n} GEOELEV",)) for n in range(1, 5)),
    ("OBSGEO-L", "OBSGEO-B", ("OBSGEO-H",)),
    ("GEOLON", "GEOLAT", ("GEOELEV", "GEOALT")),
    ("GEO_LONG", "GEO_LAT", ("GEO_ELEV",)),
    ("BSS_LONG", "BSS_LAT", ("BSS_ELEV",)),
    ("SITELONG", "SITELAT", ("SITEALT", "SITEELEV", "OBSALT")),
    ("LONG-OBS", "LAT-OBS", ("ALT-OBS",)),
    ("OBSLONG", "OBSLAT", ("OBSALT", "OBSELEV")),
    ("OBS-LONG", "OBS-LAT", ("OBS-ELEV", "OBS-ALT")),
    ("OBS_LONG", "OBS_LAT", ("OBS_ELEV", "OBS_ALT")),
    ("LONGITUD", "LATITUDE", ("ELEVATIO", "ALTITUDE", "HEIGHT")),
    ("LONGITUDE", "LATITUDE", ("ELEVATION", "ALTITUDE", "HEIGHT")),
)
_NEAR = 1.0  # degrees within which a header's place and the table's are one


def site_of(headers: Sequence[Facts]) -> Site | None:
    """Where the telescope stood, by the coordinates in the header, else by its name; None where neither says.

    A longitude counted to the west is turned round where the telescope's name says so.
    """
    stated, named = _stated(headers), _named(headers)
    if stated is None or named is None:
        return stated or named
    turned = stated._replace(longitude=-stated.longitude)
    if not _together(stated, named) and _together(turned, named):
        return turned
    return stated


def observatory(name: str) -> Site | None:
    """The site that a telescope, observatory or instrument of this name belongs to."""
    plain = re.sub(r"[^A-Z0-9]", "", re.sub(r"(?<=\d)\.(?=\d)", "P", name.upper()))
    bare = re.sub(r"[^A-Z0-9]", "", name.upper())
    if not bare:
        return None
    return next((site for pattern, site in _PATTERNS if pattern.search(plain) or pattern.search(bare)), None)


def _named(headers: Sequence[Facts]) -> Site | None:
    for key in NAME_KEYS:
        for header in headers:
            if (text := header.text(key)) and (site := observatory(text)) is not None:
                return site
    return None


def _stated(headers: Sequence[Facts]) -> Site | None:
    for header in headers:
        x, y, z = (header.number(f"OBSGEO-{axis}") for axis in "XYZ")
        if 6.3e6 < np.sqrt(x * x + y * y + z * z) < 6.4e6:  # False where NaN
            import erfa

            longitude, latitude, height = erfa.gc2gd(1, np.array([x, y, z]))  # 1: WGS84
            return Site(float(np.degrees(longitude)), float(np.degrees(latitude)), float(height))
        for east, north, up in PLACE_KEYS:
            longitude, latitude = angle(header, east), angle(header, north)
            if -360 <= longitude <= 360 and -90 <= latitude <= 90 and (longitude or latitude):
                height = header.number(*up)
                wrapped = (longitude + 180) % 360 - 180
                return Site(wrapped, latitude, height if -500 < height < 9000 else 0.0)
    return None


def _together(one: Site, other: Site) -> bool:
    apart = (one.longitude - other.longitude + 180) % 360 - 180
    return abs(apart) < _NEAR and abs(one.latitude - other.latitude) < _NEAR
