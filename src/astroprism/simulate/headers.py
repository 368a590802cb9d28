"""What headers say of an exposure beside the layout of its format: instrument, place and time, or not."""

from __future__ import annotations

from collections.abc import Sequence

from .fitswriter import Card
from .population import Exposure, iso_time, site

# Keywords that give the motion of the Earth, and those from which it could be computed.
_BERV = {"ESO DRS BERV", "ESO DRS BERVMX", "ESO QC VRAD BARYCOR", "HELIO_RV"}
_WHERE_AND_WHEN = {
    "MJD-OBS",
    "MJD-END",
    "MJD",
    "DATE",
    "DATE-OBS",
    "TMID",
    "TITLE",
    "PROV1",
    "ESO DRS BJD",
    "LMJD",
    "LMJMLIST",
    "TAI-BEG",
    "TAI-END",
    "TELESCOP",
    "LONGITUD",
    "LATITUDE",
    "ESO TEL GEOELEV",
    "ESO TEL GEOLAT",
    "ESO TEL GEOLON",
}


def visible(cards: Sequence[Card], exposure: Exposure) -> list[Card]:
    """The cards that this exposure's header holds: without those that `exposure.berv` leaves out."""
    left_out: set[str] = set()
    if exposure.berv != "given":
        left_out |= _BERV
    if exposure.berv == "hidden":
        left_out |= _WHERE_AND_WHEN
    return [card for card in cards if card.key not in left_out]


def instrument_cards(exposure: Exposure, *, without: frozenset[str] = frozenset()) -> list[Card]:
    """What an observer knows of the instrument, where it is simulated; not those of `without`."""
    if (one := exposure.instrument) is None:
        return []
    cards = [
        Card("SPID", int(one["spectrograph"]), "Spectrograph ID"),
        Card("FIBERID", int(one["fibre"]), "Fiber ID of Object"),
        Card("EXPNUM", int(one["exposure"]) + 1, "Number of the exposure"),
        Card("SEEING", one["seeing"], "[arcsec] Seeing during exposure"),
        Card("SKYRES", round(one["sky_fibres"], 4), "Mean residual of the sky fibres, in errors"),
        Card("AIRMASS", round(exposure.parameters["airmass"], 3), "Airmass"),
    ]
    return [card for card in cards if card.key not in without]


def place_cards(exposure: Exposure) -> list[Card]:
    """Star, time and observatory, for a format whose header says none of them."""
    longitude, latitude, height = site("image")
    return [
        Card("OBJECT", exposure.target, "Target description"),
        Card("RA", exposure.ra, "[deg] Right ascension (J2000)"),
        Card("DEC", exposure.dec, "[deg] Declination (J2000)"),
        Card("MJD-OBS", round(exposure.mjd, 8), "MJD start"),
        Card("DATE-OBS", iso_time(exposure.mjd), "Date of observation"),
        Card("EXPTIME", exposure.seconds, "[s] Total integration time"),
        Card("SPECSYS", "BARYCENT", "Frame of reference"),
        Card("TELESCOP", "ESO-3P6", "ESO Telescope Name"),
        Card("ESO TEL GEOELEV", height, "Elevation above sea level (m)"),
        Card("ESO TEL GEOLAT", latitude, "Tel geo latitute (+=North) (deg)"),
        Card("ESO TEL GEOLON", longitude, "Tel geo longitude (+=East) (deg)"),
    ]
