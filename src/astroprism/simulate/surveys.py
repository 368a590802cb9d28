"""Files as LAMOST, SDSS and APOGEE give them: one function a format, from an Exposure to bytes.

Layouts and keywords are facts of the data models (LAMOST DR10; SDSS DR17 `spec` and `apStar`); every
value comes from the simulation. Wavelengths are in vacuum, errors are inverse variances (APOGEE: errors).
HELIO_RV of LAMOST and SDSS is the velocity of the Earth away from the star: minus what is to be added.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .distribution import stream
from .fitswriter import Card, Unit, fits_bytes
from .headers import instrument_cards, visible
from .population import LAMOST_FIRST, THING_FIRST, Exposure, iso_time, site

# Ranges in which each survey's bands lie, angstrom, for the signal-to-noise ratios in headers.
BANDS = {"U": (3000, 4000), "G": (4000, 5500), "R": (5500, 7000), "I": (7000, 8200), "Z": (8200, 9200)}


def lamost(exposure: Exposure) -> bytes:
    """LAMOST DR8 and later: table COADD, one row of vector cells; the last pixels may be zero."""
    pixels = exposure.flux.size
    flux = _cut_end(exposure)
    names = ("FLUX", "IVAR", "WAVELENGTH", "ANDMASK", "ORMASK", "NORMALIZATION")
    zeros = np.zeros(pixels)
    mask = (flux == 0).astype(float)
    level = float(np.median(exposure.flux)) or 1.0
    cells = (flux, _inverse_variance(exposure), exposure.wavelength, zeros, mask, exposure.flux / level)
    table = [
        Card("XTENSION", "BINTABLE", "Binary table written by MWRFITS v1.11b"),
        Card("BITPIX", 8, "Required value"),
        Card("NAXIS", 2, "Required value"),
        Card("NAXIS1", 4 * pixels * len(names), "Number of bytes per row"),
        Card("NAXIS2", 1, "Number of rows"),
        Card("PCOUNT", 0, "Normally 0 (no varying arrays)"),
        Card("GCOUNT", 1, "Required value"),
        Card("TFIELDS", len(names), "Number of columns in table"),
        Card("EXTNAME", "COADD", "The extension name"),
        *(Card(f"TTYPE{k}", name) for k, name in enumerate(names, 1)),
        *(Card(f"TFORM{k}", f"{pixels}E") for k in range(1, len(names) + 1)),
    ]
    primary = [
        Card("SIMPLE", True, "Primary Header created by MWRFITS v1.11b"),
        Card("BITPIX", 16),
        Card("NAXIS", 0, "Number of array dimensions"),
        Card("EXTEND", True),
        *_lamost_header(exposure),
    ]
    data = b"".join(np.asarray(cell).astype(">f4").tobytes() for cell in cells)
    return fits_bytes([Unit(visible(primary, exposure)), Unit(table, data)])


def lamost_old(exposure: Exposure) -> bytes:
    """LAMOST up to DR7: an image of five rows (flux, inverse variance, wavelength, and-mask, or-mask)."""
    flux = _cut_end(exposure)
    rows = np.zeros((5, flux.size), dtype=">f4")
    rows[0], rows[1], rows[2] = flux, _inverse_variance(exposure), exposure.wavelength
    rows[4] = flux == 0
    cards = [
        Card("SIMPLE", True, "file does conform to FITS standard"),
        Card("BITPIX", -32, "number of bits per data pixel"),
        Card("NAXIS", 2, "number of data axes"),
        Card("NAXIS1", flux.size),
        Card("NAXIS2", 5),
        Card("EXTEND", True),
        *_lamost_header(exposure),
        Card("ARRAY1", "FLUX"),
        Card("ARRAY2", "INVERSE VARIANCE"),
        Card("ARRAY3", "WAVELENGTH"),
        Card("ARRAY4", "ANDMASK"),
        Card("ARRAY5", "ORMASK"),
    ]
    return fits_bytes([Unit(visible(cards, exposure), rows.tobytes())])


def _lamost_header(exposure: Exposure) -> list[Card]:
    plan, spectrograph, fibre = exposure.row // 4000, exposure.row // 250 % 16 + 1, exposure.row % 250 + 1
    seeing, time = 3.4, exposure.mjd
    if (one := exposure.instrument) is not None:
        plan, spectrograph, fibre = (int(one[name]) for name in ("exposure", "spectrograph", "fibre"))
        seeing, time = one["seeing"], exposure.middle
    longitude, latitude, _ = site("lamost")
    ratios = signal_to_noise(exposure)
    start, step = log10_axis(exposure)
    minutes = [round((exposure.mjd + 8 / 24) * 1440 + wait) for wait in (0, exposure.seconds / 60)]
    return [
        Card("COMMENT", None, "--------FILE INFORMATION"),
        Card("FILENAME", exposure.file.rsplit("/", 1)[-1]),
        Card("OBSID", LAMOST_FIRST + exposure.row, "Unique number ID of this spectrum"),
        Card("AUTHOR", "LAMOST Pipeline", "Who compiled the information"),
        Card("DATA_V", "LAMOST DR10", "Data release version"),
        Card("ORIGIN", "NAOC-LAMOST", "Organization responsible for creating this file"),
        Card("TELESCOP", "LAMOST", "GuoShouJing Telescope"),
        Card("LONGITUD", longitude, "[deg] Longitude of site"),
        Card("LATITUDE", latitude, "[deg] Latitude of site"),
        Card("DATE-OBS", iso_time(time), "The observation median UTC"),
        Card("LMJD", int(exposure.mjd + 1 / 3), "Local Modified Julian Day"),
        Card("MJD", int(exposure.mjd), "Modified Julian Date"),
        Card("LMJMLIST", f"{minutes[0]}-{minutes[1]}", "Local Modified Julian Minute list"),
        Card("PLANID", f"SIM{plan:05d}V01", "Plan ID in use"),
        Card("RA", exposure.ra, "[deg] Right ascension of object"),
        Card("DEC", exposure.dec, "[deg] Declination of object"),
        Card("DESIG", exposure.target, "Designation of LAMOST target"),
        Card("FIBERID", fibre, "Fiber ID of Object"),
        Card("OBJNAME", str(10**14 + exposure.row), "Name of object"),
        Card("OBJTYPE", "Star", "Object type from input catalog"),
        Card("FIB_TYPE", "Obj", "Fiber type of object"),
        Card("FIB_MASK", 0, "Bitmask of warning values, 0 means good"),
        Card("MAG_PS_G", -999.0, "[mag] Magnitude of object"),
        Card("OBS_TYPE", "OBJ", "The type of target (OBJ, FLAT, ARC or BIAS)"),
        Card("RADECSYS", "FK5", "Equatorial coordinate system"),
        Card("EQUINOX", 2000.0, "Equinox in years"),
        Card("NEXP", 3, "Number of valid exposures"),
        Card("EXPTIME", exposure.seconds, "[s] Minimum of exposure time for all cameras"),
        Card("SPID", spectrograph, "Spectrograph ID"),
        Card("SEEING", seeing, "[arcsec] Seeing during exposure"),
        Card("TEMP_AIR", exposure.weather["temperature"], "[deg] Temperature outside dome"),
        Card("HUMIDITY", exposure.weather["humidity"]),
        Card("HELIO", True, "Heliocentric correction"),
        Card("HELIO_RV", -exposure.parameters["berv"], "[km/s] Heliocentric correction"),
        Card("VACUUM", True, "Wavelengths are in vacuum"),
        Card("NWORDER", 2, "Number of linear-log10 coefficients"),
        Card("WFITTYPE", "LOG-LINEAR", "Linear-log10 dispersion"),
        Card("COEFF0", start, "Central wavelength (log10) of first pixel"),
        Card("COEFF1", step, "Log10 dispersion per pixel"),
        Card("WAT0_001", "system=linear"),
        Card("WAT1_001", "wtype=linear label=Wavelength units=Angstroms"),
        Card("CRVAL1", start, "Central wavelength (log10) of first pixel"),
        Card("CD1_1", step, "Log10 dispersion per pixel"),
        Card("CRPIX1", 1, "Starting pixel (1-indexed)"),
        Card("CTYPE1", "LINEAR"),
        Card("DC-FLAG", 1, "Log-linear flag"),
        Card("CLASS", "STAR", "Class of object"),
        Card("Z", round(exposure.parameters["rv"] / 299_792.458, 8), "Redshift of object"),
        *(Card(f"SNR{band}", value, f"SNR of {band.lower()} filter") for band, value in ratios.items()),
        *instrument_cards(exposure, without=frozenset(("SPID", "FIBERID", "SEEING"))),
    ]


def sdss(exposure: Exposure) -> bytes:
    """SDSS/BOSS `spec` file: table COADD of one row per pixel, then SPALL, SPZLINE and single exposures."""
    plate, fibre, mjd = 3600 + exposure.row // 1000, exposure.row % 1000 + 1, int(exposure.mjd)
    if (seen := exposure.instrument) is not None:
        plate, fibre = 3600 + int(seen["exposure"]), int(seen["fibre"])
    start, step = log10_axis(exposure)
    ratio = np.array(list(signal_to_noise(exposure).values()))
    single = ("B1-00100001-00100002-00100003", "R1-00100001-00100002-00100003")
    primary = [
        Card("SIMPLE", True, "conforms to FITS standard"),
        Card("BITPIX", 8, "array data type"),
        Card("NAXIS", 0, "number of array dimensions"),
        Card("EXTEND", True),
        Card("TELESCOP", "SDSS 2.5-M", "Sloan Digital Sky Survey"),
        Card("FLAVOR", "science", "exposure type, SDSS spectro style"),
        Card("MJD", mjd, "APO fMJD day at start of exposure"),
        Card("PLATEID", plate, "The currently loaded plate"),
        # the boresight of the plate, up to 1.5 degrees from the object: not the place of the star
        Card("RA", round((exposure.ra + 0.7) % 360, 6), "RA of telescope boresight (deg)"),
        Card("DEC", round(exposure.dec - 0.6, 6), "Dec of telescope boresight (deg)"),
        Card("EQUINOX", 2000.0),
        Card("RADECSYS", "FK5"),
        Card("TAI-BEG", exposure.mjd * 86_400, "MJD(TAI) seconds at start of exposure"),
        Card("TAI-END", exposure.mjd * 86_400 + exposure.seconds, "MJD(TAI) seconds at end of exposure"),
        Card("AIRTEMP", exposure.weather["temperature"], "airTempPT"),
        Card("HUMIDITY", exposure.weather["humidity"], "humidity"),
        Card("EXPTIME", exposure.seconds, "Minimum of exposure times for all cameras"),
        Card("HELIO_RV", -exposure.parameters["berv"], "Heliocentric correction (added to velocities)"),
        Card("VACUUM", True, "Wavelengths are in vacuum"),
        Card("NWORDER", 2, "Linear-log10 coefficients"),
        Card("WFITTYPE", "LOG-LINEAR", "Linear-log10 dispersion"),
        Card("COEFF0", start, "Central wavelength (log10) of first pixel"),
        Card("COEFF1", step, "Log10 dispersion per pixel"),
        Card("DC-FLAG", 1, "Log-linear flag"),
        Card("BUNIT", "1E-17 erg/cm^2/s/Ang"),
        Card("PLUG_RA", exposure.ra, "RA of object [deg]"),
        Card("PLUG_DEC", exposure.dec, "dec of object [deg]"),
        Card("THING_ID", THING_FIRST + exposure.star, "Unique object identifier"),
        Card("FIBERID", fibre, "Fiber number (1-1000)"),
        Card("NEXP", len(single), "Number of individual exposures"),
        *(Card(f"EXPID{k:02d}", name.lower()) for k, name in enumerate(single, 1)),
        *instrument_cards(exposure, without=frozenset(("FIBERID",))),
    ]
    pixel = np.dtype(
        [(name, ">f4") for name in ("flux", "loglam", "ivar")]
        + [("and_mask", ">i4"), ("or_mask", ">i4")]
        + [(name, ">f4") for name in ("wdisp", "sky", "model")]
    )
    coadd = np.zeros(exposure.flux.size, dtype=pixel)
    coadd["flux"], coadd["loglam"] = exposure.flux, np.log10(exposure.wavelength)
    coadd["ivar"], coadd["wdisp"], coadd["model"] = _inverse_variance(exposure), 1.0, exposure.flux
    spall = np.zeros(1, dtype=_SPALL)
    spall["PLATE"], spall["MJD"], spall["FIBERID"] = plate, mjd, fibre
    spall["RA"] = spall["PLUG_RA"] = exposure.ra
    spall["DEC"] = spall["PLUG_DEC"] = exposure.dec
    spall["CLASS"], spall["Z"] = b"STAR", exposure.parameters["rv"] / 299_792.458
    spall["SN_MEDIAN"], spall["SN_MEDIAN_ALL"] = ratio, exposure.snr
    lines = np.zeros(2, dtype=[("LINENAME", "S13"), ("LINEWAVE", ">f8"), ("LINEZ", ">f4")])
    lines["LINENAME"], lines["LINEWAVE"] = (b"H_beta", b"H_alpha"), (4862.69, 6564.61)
    units = [
        Unit(visible(primary, exposure)),
        table_unit("COADD", coadd),
        table_unit("SPALL", spall),
        table_unit("SPZLINE", lines),
    ]
    noise = stream(exposure.seed, "single exposures", exposure.row)
    for name in single:  # noisier by the square root of their number
        one = coadd.copy()
        one["flux"] += (exposure.sigma * noise.standard_normal(one.size)).astype(np.float32)
        one["ivar"] = coadd["ivar"] / 2
        units.append(table_unit(name, one))
    return fits_bytes(units)


_SPALL = np.dtype(
    [(name, ">i4") for name in ("PLATE", "MJD", "FIBERID")]
    + [(name, ">f8") for name in ("RA", "DEC", "PLUG_RA", "PLUG_DEC")]
    + [("CLASS", "S6"), ("Z", ">f4"), ("SN_MEDIAN", ">f4", (5,)), ("SN_MEDIAN_ALL", ">f4")]
)


def apstar(exposure: Exposure) -> bytes:
    """APOGEE `apStar` file: images of flux, error and mask; two combinations, then the visits."""
    start, step = log10_axis(exposure)
    visits = 2 + exposure.row % 3
    noise = stream(exposure.seed, "apstar visits", exposure.row)
    flux = np.zeros((2 + visits, exposure.flux.size), dtype=">f4")
    error = np.zeros_like(flux)
    flux[:2], error[:2] = exposure.flux, exposure.sigma
    # visits whose mean is the combination, each noisier by the square root of their number
    wobble = noise.standard_normal((visits, exposure.flux.size)) * math.sqrt(visits)
    flux[2:] = exposure.flux + exposure.sigma * (wobble - wobble.mean(axis=0))
    error[2:] = exposure.sigma * math.sqrt(visits)
    mask = np.zeros(flux.shape, dtype=">i2")
    primary = [
        Card("SIMPLE", True),
        Card("BITPIX", 8),
        Card("NAXIS", 0),
        Card("EXTEND", True),
        Card("OBJID", exposure.target, "Object ID"),
        Card("TELESCOP", "apo25m"),
        Card("RA", exposure.ra, "right ascension, deg, J2000"),
        Card("DEC", exposure.dec, "declination, deg, J2000"),
        Card("NVISITS", visits, "Number of visit spectra combined"),
        Card("SNR", round(exposure.snr, 3), "final median Signal/Noise ratio"),
        Card("VHELIO", 0.0, "mean heliocentric radial velocity"),
    ]
    for visit in range(1, visits + 1):
        primary += [
            Card(f"SFILE{visit}", f"apVisit-r12-{7000 + exposure.row}-{int(exposure.mjd)}-{visit:03d}.fits"),
            Card(f"DATE{visit}", iso_time(exposure.mjd + 30 * (visit - 1))),
            Card(f"JD{visit}", exposure.mjd + 30 * (visit - 1) + 2_400_000.5),
            Card(f"BC{visit}", exposure.parameters["berv"], "Barycentric correction (km/s)"),
            Card(f"SNRVIS{visit}", round(exposure.snr / math.sqrt(visits), 3), "Signal/Noise ratio"),
        ]
    primary += instrument_cards(exposure)
    axis = [
        Card("CRVAL1", start),
        Card("CDELT1", step),
        Card("CRPIX1", 1),
        Card("CTYPE1", "LOG-LINEAR"),
        Card("DC-FLAG", 1),
    ]
    units = [Unit([*primary, *axis, Card("NWAVE", exposure.flux.size)])]
    for array, unit in ((flux, "Flux (10^-17 erg/s/cm^2/Ang)"), (error, "Err (10^-17 erg/s/cm^2/Ang)")):
        units.append(_image_unit(array, -32, [*axis, Card("BUNIT", unit)]))
    units.append(_image_unit(mask, 16, [*axis, Card("BUNIT", "Pixel mask")]))
    return fits_bytes(units)


def table_unit(name: str, rows: NDArray[Any]) -> Unit:
    """A binary table from a structured array of big-endian or byte-string fields."""
    letters = {">f4": "E", ">f8": "D", ">i4": "J"}
    cards: list[Card] = [
        Card("XTENSION", "BINTABLE", "binary table extension"),
        Card("BITPIX", 8, "array data type"),
        Card("NAXIS", 2, "number of array dimensions"),
        Card("NAXIS1", rows.dtype.itemsize, "length of dimension 1"),
        Card("NAXIS2", rows.size, "length of dimension 2"),
        Card("PCOUNT", 0, "number of group parameters"),
        Card("GCOUNT", 1, "number of groups"),
        Card("TFIELDS", len(rows.dtype.names or ()), "number of table fields"),
    ]
    for number, field in enumerate(rows.dtype.names or (), 1):
        base, shape = rows.dtype[field].base, rows.dtype[field].shape
        count = math.prod(shape) if shape else 1
        form = f"{base.itemsize}A" if base.kind == "S" else f"{count if count > 1 else ''}{letters[base.str]}"
        cards += [Card(f"TTYPE{number}", field), Card(f"TFORM{number}", form)]
    return Unit([*cards, Card("EXTNAME", name)], rows.tobytes())


def signal_to_noise(exposure: Exposure) -> dict[str, float]:
    """Median flux over sigma in each of BANDS; -9999 where the spectrum does not reach."""
    ratios = {}
    for band, (low, high) in BANDS.items():
        inside = (exposure.wavelength >= low) & (exposure.wavelength < high) & (exposure.sigma > 0)
        ratio = exposure.flux[inside] / exposure.sigma[inside]
        ratios[band] = round(float(np.median(ratio)), 2) if ratio.size else -9999.0
    return ratios


def log10_axis(exposure: Exposure) -> tuple[float, float]:
    """log10 of the first pixel and the step in it, without the dust of the last digits."""
    low, high = np.log10(exposure.wavelength[[0, -1]])
    return round(float(low), 12), round(float((high - low) / (exposure.wavelength.size - 1)), 14)


def _cut_end(exposure: Exposure) -> NDArray[np.float32]:
    """Flux whose last pixels are zero in two files of three, with the inverse variance left as it was."""
    flux = exposure.flux.copy()
    cut = int(stream(exposure.seed, "zero pixels", exposure.row).integers(0, 3)) * 3
    if cut and flux.size > 100:
        flux[-cut:] = 0
    return flux


def _inverse_variance(exposure: Exposure) -> NDArray[np.float32]:
    variance = exposure.sigma.astype(np.float64) ** 2
    inverse = np.zeros_like(variance)
    np.divide(1, variance, out=inverse, where=variance > 0)
    return inverse.astype(np.float32)


def _image_unit(rows: NDArray[Any], bitpix: int, cards: list[Card]) -> Unit:
    start = [
        Card("XTENSION", "IMAGE", "IMAGE extension"),
        Card("BITPIX", bitpix),
        Card("NAXIS", 2),
        Card("NAXIS1", rows.shape[1]),
        Card("NAXIS2", rows.shape[0]),
        Card("PCOUNT", 0),
        Card("GCOUNT", 1),
    ]
    return Unit(start + cards, rows.tobytes())
