"""Files as ESO's archive and plain folders hold them: one function a format, from an Exposure to bytes.

The layouts and keywords are facts of the formats (ESO Science Data Products Standard, issue 8; HARPS
user manual); every value comes from the simulation.
"""

from __future__ import annotations

import math

import numpy as np

from ..grid import SPEED_OF_LIGHT
from .fitswriter import Card, Unit, fits_bytes
from .headers import instrument_cards, place_cards, visible
from .population import Exposure, iso_time, site

_STANDARD = (
    Card("COMMENT", None, "  FITS (Flexible Image Transport System) format is defined in 'Astronomy"),
    Card("COMMENT", None, "  and Astrophysics', volume 376, page 359; bibcode: 2001A&A...376..359H"),
)
_CONAD = 1.36  # electrons per ADU of the HARPS detectors
_AIR = "em.wl;obs.atmos"  # the UCD by which an ADP says that its wavelengths are in air

_FLUX = "phot.flux.density"


def adp(exposure: Exposure) -> bytes:
    """ESO phase-3 product: a header without data, and a table SPECTRUM of one row of vector cells."""
    wave, pixels = exposure.wavelength, exposure.wavelength.size
    low, high = float(wave[0]), float(wave[-1])
    primary = [
        Card("SIMPLE", True, "file does conform to FITS standard"),
        Card("BITPIX", 8, "number of bits per data pixel"),
        Card("NAXIS", 0, "number of data axes"),
        Card("EXTEND", True, "FITS dataset may contain extensions"),
        *_STANDARD,
        *_observation(exposure),
        Card("ARCFILE", f"{exposure.identifier}.fits", "Archive File Name"),
        Card("PRODCATG", "SCIENCE.SPECTRUM", "Data product category"),
        Card("PRODLVL", 2, "Product level: 1-raw 2-science grade 3-advanced"),
        Card("DISPELEM", "GRISM", "Dispersive element name"),
        Card("SPECSYS", "BARYCENT" if exposure.frame == "barycentric" else "TOPOCENT", "Frame of reference"),
        Card("EXT_OBJ", False, "TRUE if extended"),
        Card("TEXPTIME", exposure.seconds, "[s] Total integration time of all exposures"),
        Card("MJD-END", exposure.mjd + exposure.seconds / 86_400, "End of observations"),
        Card("PROG_ID", "072.C-0488(E)", "ESO programme identification"),
        Card("OBID1", exposure.row + 200_000_000, "Observation block ID"),
        Card("M_EPOCH", False, "TRUE if resulting from multiple epochs"),
        Card("PROV1", f"HARPS.{iso_time(exposure.mjd)}.fits", "Originating science file"),
        Card("PROCSOFT", "HARPS_3.5", "ESO pipeline version"),
        Card("OBSTECH", "ECHELLE", "Technique of observation"),
        Card("FLUXCAL", "UNCALIBRATED", "Certifies the validity of fluxes"),
        Card("CONTNORM", False, "TRUE if normalised to the continuum"),
        Card("WAVELMIN", low / 10, "[nm] Minimum wavelength"),
        Card("WAVELMAX", high / 10, "[nm] Maximum wavelength"),
        Card("SPEC_BIN", (high - low) / (pixels - 1) / 10, "[nm] Wavelength bin size"),
        Card("TOT_FLUX", False, "TRUE if photometric conditions"),
        Card("FLUXERR", -2, "Uncertainty in flux scale (%)"),
        Card("NCOMBINE", 1, "# of combined raw science data files"),
        Card("REFERENC", "", "Reference publication"),
        Card("SNR", round(exposure.snr, 1), "Median signal to noise ratio per order"),
        Card("SPEC_RES", round(exposure.resolution, 1), "Reference spectral resolving power"),
        *_telescope(exposure),
        *_reduction(exposure),
    ]
    if exposure.frame == "topocentric":
        berv = exposure.parameters["berv"]
        primary.append(Card("ESO QC VRAD BARYCOR", berv, "Barycentric correction (km/s)"))
    if exposure.instrument is not None:
        primary.append(Card("ESO TEL AMBI FWHM START", exposure.instrument["seeing"], "[arcsec] Seeing"))
    primary += instrument_cards(exposure)
    columns = (
        ("WAVE", "D", "angstrom", _AIR, "spec:Data.SpectralAxis.Value"),
        ("FLUX", "E", "adu", f"{_FLUX};em.wl;src.net;meta.main", "spec:Data.FluxAxis.Value"),
        ("ERR", "E", "adu", f"stat.error;{_FLUX};meta.main", "spec:Data.FluxAxis.Accuracy.StatError"),
    )
    table = [
        Card("XTENSION", "BINTABLE", "binary table extension"),
        Card("BITPIX", 8, "array data type"),
        Card("NAXIS", 2, "number of array dimensions"),
        Card("NAXIS1", 16 * pixels, "length of dimension 1"),
        Card("NAXIS2", 1, "length of dimension 2"),
        Card("PCOUNT", 0, "number of group parameters"),
        Card("GCOUNT", 1, "number of groups"),
        Card("TFIELDS", len(columns), "number of table fields"),
    ]
    for number, (name, letter, unit, ucd, utype) in enumerate(columns, 1):
        table += [
            Card(f"TTYPE{number}", name),
            Card(f"TFORM{number}", f"{pixels}{letter}"),
            Card(f"TUNIT{number}", unit),
            Card(f"TUCD{number}", ucd),
            Card(f"TUTYP{number}", utype),
        ]
    table += [
        Card("TDMIN1", low, "Start in spectral coordinate"),
        Card("TDMAX1", high, "Stop in spectral coordinate"),
        Card("EXTNAME", "SPECTRUM", "extension name"),
        Card("VOCLASS", "SPECTRUM V2.0", "VO Data Model"),
        Card("VOPUB", "ESO/SAF", "VO Publishing Authority"),
        Card("OBJECT", exposure.target, "Target designation"),
        Card("RA", exposure.ra, "[deg] Spectroscopic target position (J2000)"),
        Card("DEC", exposure.dec, "[deg] Spectroscopic target position (J2000)"),
        Card("APERTURE", 0.000277778, "[deg] Aperture diameter"),
        Card("TELAPSE", exposure.seconds, "[s] Total elapsed time"),
        Card("TMID", exposure.mjd + exposure.seconds / 172_800, "[d] MJD mid exposure"),
        Card("SPEC_VAL", (low + high) / 20, "[nm] Mean Wavelength"),
        Card("SPEC_BW", (high - low) / 10, "[nm] Bandpass Width Wmax - Wmin"),
        Card("NELEM", pixels, "Length of the data arrays"),
        Card("TITLE", f"{exposure.target}_{iso_time(exposure.mjd)}", "Dataset title"),
    ]
    row = np.empty(1, dtype=[("wave", ">f8", pixels), ("flux", ">f4", pixels), ("err", ">f4", pixels)])
    row["wave"], row["flux"], row["err"] = wave, exposure.flux, exposure.sigma
    units = [Unit(visible(primary, exposure), checksum=True)]
    return fits_bytes([*units, Unit(visible(table, exposure), row.tobytes(), checksum=True)])


def s1d(exposure: Exposure) -> bytes:
    """The HARPS pipeline's own 1-D product: an image, no errors, no checksum, and does not name the frame."""
    cards = [
        Card("SIMPLE", True, "file does conform to FITS standard"),
        Card("BITPIX", -32, "number of bits per data pixel"),
        Card("NAXIS", 1, "number of data axes"),
        Card("NAXIS1", exposure.flux.size, "length of data axis 1"),
        Card("EXTEND", True, "FITS dataset may contain extensions"),
        *_STANDARD,
        Card("CRPIX1", 1.0, "Reference pixel"),
        Card("CRVAL1", float(exposure.wavelength[0]), "Coordinate at reference pixel"),
        Card("CDELT1", exposure.step, "Coordinate increment par pixel"),
        Card("CTYPE1", "Angstrom", "Units of coordinate"),
        Card("BUNIT", "Relative Flux", "Units of data values"),
        *_observation(exposure),
        *_telescope(exposure),
        *_reduction(exposure),
        *_dispersion(exposure),
        *instrument_cards(exposure),
    ]
    return fits_bytes([Unit(visible(cards, exposure), exposure.flux.astype(">f4").tobytes())])


def image(exposure: Exposure) -> bytes:
    """A plain image with a wavelength axis and next to nothing else in its header."""
    first, step = float(exposure.wavelength[0]), exposure.step
    if exposure.log:
        first = math.log10(first)
        step = (math.log10(float(exposure.wavelength[-1])) - first) / (exposure.wavelength.size - 1)
    cards = [
        Card("SIMPLE", True),
        Card("BITPIX", -32),
        Card("NAXIS", 1),
        Card("NAXIS1", exposure.flux.size),
        Card("CRVAL1", first),
        Card("CDELT1", step),
        Card("CRPIX1", 1),
    ]
    if exposure.log:
        cards.append(Card("DC-FLAG", 1))
    if exposure.instrument is not None or exposure.berv == "computable":
        cards += [*place_cards(exposure), *instrument_cards(exposure)]
    return fits_bytes([Unit(visible(cards, exposure), exposure.flux.astype(">f4").tobytes())])


def csv(exposure: Exposure) -> bytes:
    """Text: wavelength, flux, error, below comments and a line of names."""
    lines = [f"# object: {exposure.target}", "# wavelength in angstrom (air)", "wavelength,flux,error"]
    columns = zip(exposure.wavelength.tolist(), exposure.flux.tolist(), exposure.sigma.tolist(), strict=True)
    lines += [f"{wave:.4f},{flux:.6e},{sigma:.4e}" for wave, flux, sigma in columns]
    return ("\n".join(lines) + "\n").encode("ascii")


def _observation(exposure: Exposure) -> list[Card]:
    return [
        Card("ORIGIN", "ESO", "European Southern Observatory"),
        Card("DATE", iso_time(exposure.mjd + (exposure.seconds + 60) / 86_400), "Date this file was written"),
        Card("TELESCOP", "ESO-3P6", "ESO Telescope Name"),
        Card("INSTRUME", "HARPS", "Instrument used"),
        Card("OBJECT", exposure.target, "Target description"),
        Card("RA", exposure.ra, "RA (J2000) pointing (deg)"),
        Card("DEC", exposure.dec, "DEC (J2000) pointing (deg)"),
        Card("EQUINOX", 2000.0, "Standard FK5 (years)"),
        Card("RADECSYS", "FK5", "Coordinate reference frame"),
        Card("EXPTIME", exposure.seconds, "Total integration time"),
        Card("MJD-OBS", round(exposure.mjd, 8), "MJD start"),
        Card("DATE-OBS", iso_time(exposure.mjd), "Date of observation"),
        Card("PI-COI", "UNKNOWN", "PI-COI name."),
    ]


def _telescope(exposure: Exposure) -> list[Card]:
    airmass, weather = exposure.parameters["airmass"], exposure.weather
    altitude = math.degrees(math.asin(min(1.0, 1 / airmass)))
    longitude, latitude, height = site("adp")
    return [
        Card("ESO DPR CATG", "SCIENCE", "Observation category"),
        Card("ESO DPR TECH", "ECHELLE", "Observation technique"),
        Card("ESO DPR TYPE", "STAR,DARK", "Observation type"),
        Card("ESO OBS TARG NAME", exposure.target, "OB target name"),
        Card("ESO TEL AIRM START", round(airmass, 3), "Airmass at start"),
        Card("ESO TEL AIRM END", round(airmass + 1e-5 * exposure.seconds, 3), "Airmass at end"),
        Card("ESO TEL ALT", round(altitude, 3), "Alt angle at start (deg)"),
        Card("ESO TEL AMBI PRES START", weather["pressure"], "Ambient air pressure"),
        Card("ESO TEL AMBI PRES END", weather["pressure"], "Ambient air pressure"),
        Card("ESO TEL AMBI RHUM", weather["humidity"], "Ambient relative humidity"),
        Card("ESO TEL AMBI TEMP", weather["temperature"], "Ambient temperature"),
        Card("ESO TEL GEOELEV", height, "Elevation above sea level (m)"),
        Card("ESO TEL GEOLAT", latitude, "Tel geo latitute (+=North) (deg)"),
        Card("ESO TEL GEOLON", longitude, "Tel geo longitude (+=East) (deg)"),
        # observers leave it out in some of their blocks, and the sentinel goes into the archive
        Card(
            "ESO TEL TARG RADVEL",
            -99999.0 if exposure.row % 10 == 9 else round(exposure.parameters["rv"], 1),
            "Radial velocity",
        ),
    ]


def _reduction(exposure: Exposure) -> list[Card]:
    berv = exposure.parameters["berv"]
    middle = exposure.mjd + 2_400_000.5 + exposure.seconds / 172_800
    return [
        Card("ESO DRS VERSION", "HARPS_3.5", "DRS version"),
        Card("ESO DRS CCD SIGDET", 4.74, "CCD Readout Noise [e-]"),
        Card("ESO DRS CCD CONAD", _CONAD, "CCD conv factor [e-/ADU]"),
        Card("ESO DRS SPE EXT SN10", round(0.4 * exposure.snr, 1), "S_N order center10"),
        Card("ESO DRS SPE EXT SN50", round(exposure.snr, 1), "S_N order center50"),
        Card("ESO DRS BERV", berv, "Barycentric Earth Radial Velocity"),
        Card("ESO DRS BJD", middle, "Barycentric Julian Day"),
        Card("ESO DRS BERVMX", 30.0, "Maximum BERV"),
    ]


def _dispersion(exposure: Exposure) -> list[Card]:
    """Polynomials (four coefficients an order) of the first and last order, between which the spectrum lies.

    In the frame of the telescope; the merged spectrum of the pipeline begins 2 angstrom into the first.
    """
    still = 1 + exposure.parameters["berv"] / SPEED_OF_LIGHT
    low, high = float(exposure.wavelength[0]) / still, float(exposure.wavelength[-1]) / still
    name, slope = "ESO DRS CAL TH COEFF LL", 0.017
    last = (high - 4095 * slope, slope, 0.0, 0.0)
    return [
        Card(f"{name}0", low - 2.0, "coeff LL(0,0)"),
        *(Card(f"{name}{284 + power}", value, f"coeff LL({power},71)") for power, value in enumerate(last)),
    ]


def counts_scale(snr: float) -> float:
    """Level in ADU of a spectrum whose photon noise alone gives this signal-to-noise ratio."""
    return float(np.round(snr**2 / _CONAD, 3))
