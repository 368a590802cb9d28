"""Small files in every layout the readers know, written by astropy, numpy and h5py from one truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.io import fits

PIXELS = 1500


@dataclass(frozen=True)
class Truth:
    """What a reader must give back."""

    wavelength: np.ndarray
    flux: np.ndarray
    sigma: np.ndarray | None
    reader: str
    medium: str
    frame: str
    facts: dict[str, object] = field(default_factory=dict)
    spectra: int = 1


def values(seed: int = 0, *, pixels: int = PIXELS) -> tuple[np.ndarray, np.ndarray]:
    """A noisy spectrum with a line, and its errors, as float32."""
    random = np.random.default_rng(seed)
    index = np.arange(pixels)
    flux = 1000 * (1 - 0.6 * np.exp(-(((index - 700) / 9.0) ** 2))) + random.normal(0, 10, pixels)
    return flux.astype(np.float32), random.uniform(8, 12, pixels).astype(np.float32)


def adp(path: Path, *, checksum: bool = True, unit: str = "angstrom", ucd: str = "em.wl;obs.atmos") -> Truth:
    wave = 5000 + 0.01 * np.arange(PIXELS)
    flux, sigma = values()
    flux[200:230] = sigma[200:230] = 0  # as the gap of real files
    primary = fits.PrimaryHDU()
    primary.header.update(
        {
            "ARCFILE": "ADP.2014-09-16T11:03:31.127.fits",
            "OBJECT": "HD 189733",
            "INSTRUME": "HARPS",
            "PRODCATG": "SCIENCE.SPECTRUM",
            "RA": 300.18,
            "DEC": 22.7,
            "MJD-OBS": 54000.25,
            "SPECSYS": "BARYCENT",
            "WAVELMIN": wave[0] / 10,
            "WAVELMAX": wave[-1] / 10,
            "SNR": 87.5,
            "SPEC_RES": 115000.0,
            "HIERARCH ESO DRS BERV": -13.25,
            "HIERARCH ESO TEL AMBI RHUM": 17.0,
            "HIERARCH ESO TEL TARG RADVEL": -99999.0,
        }
    )
    cells = [
        fits.Column("WAVE", f"{PIXELS}D", unit=unit, array=wave[None]),
        fits.Column("FLUX", f"{PIXELS}E", array=flux[None]),
        fits.Column("ERR", f"{PIXELS}E", array=sigma[None]),
    ]
    table = fits.BinTableHDU.from_columns(cells, name="SPECTRUM")
    table.header.update({"VOCLASS": "SPECTRUM v2.0", "NELEM": PIXELS, "TMID": 54000.26, "TUCD1": ucd})
    table.header["TUCD2"] = "phot.flux.density;em.wl;src.net;meta.main"
    table.header["TUCD3"] = "stat.error;phot.flux.density;em.wl;src.net;meta.main"
    fits.HDUList([primary, table]).writeto(path, checksum=checksum, overwrite=True)
    facts = {
        "identifier": "ADP.2014-09-16T11:03:31.127",
        "target": "HD 189733",
        "ra": 300.18,
        "dec": 22.7,
        "berv": -13.25,
        "time": 54000.26,
        "snr": 87.5,
        "resolution": 115000.0,
    }
    return Truth(wave, flux, sigma, "adp", "air", "barycentric", facts)


def uves(path: Path) -> Truth:
    """Six columns, the calibrated ones last; topocentric; WAVE is not the first."""
    wave = np.concatenate([4700 + 0.014 * np.arange(800), 4800 + 0.017 * np.arange(PIXELS - 800)])
    flux, sigma = values(1)
    other = np.ones(PIXELS, np.float32)
    names = ("FLUX_REDUCED", "ERR_REDUCED", "BGFLUX_REDUCED", "FLUX", "ERR")
    cells = [
        fits.Column(name, f"{PIXELS}E", array=a[None])
        for name, a in zip(names, (other, other, other, flux, sigma), strict=True)
    ]
    cells.insert(3, fits.Column("WAVE", f"{PIXELS}D", unit="nm", array=wave[None] / 10))
    table = fits.BinTableHDU.from_columns(cells, name="SPECTRUM")
    table.header.update({"VOCLASS": "SPECTRUM v2.0", "TUCD4": "em.wl", "TUCD1": "phot.flux.density;em.wl"})
    primary = fits.PrimaryHDU()
    primary.header.update({"SPECSYS": "TOPOCENT", "OBJECT": "BD+33_2642", "INSTRUME": "UVES"})
    primary.header["HIERARCH ESO QC VRAD BARYCOR"] = -18.25
    fits.HDUList([primary, table]).writeto(path, overwrite=True)
    return Truth(wave, flux, sigma, "adp", "vacuum", "topocentric", {"berv": -18.25, "target": "BD+33_2642"})


def s1d(path: Path) -> Truth:
    wave = 5500.19 + 0.01 * np.arange(PIXELS)
    flux, _ = values(2)
    flux[:5] = -3.5
    primary = fits.PrimaryHDU(flux)
    primary.header.update(
        {
            "CRPIX1": 1.0,
            "CRVAL1": 5500.19,
            "CDELT1": 0.01,
            "CTYPE1": "Angstrom",
            "INSTRUME": "HARPS",
            "OBJECT": "Gl581",
        }
    )
    primary.header.update({"RA": 229.86, "DEC": -7.72, "MJD-OBS": 55457.98, "BUNIT": "Relative Flux"})
    primary.header["HIERARCH ESO DRS BERV"] = -23.54
    primary.header["HIERARCH ESO DRS SPE EXT SN50"] = 40.9
    primary.header["DATASUM"] = "         0"  # the stale stamp of real files
    primary.writeto(path, overwrite=True)
    facts = {"berv": -23.54, "snr": 40.9, "target": "Gl581", "ra": 229.86, "time": 55457.98}
    return Truth(wave, flux, None, "s1d", "air", "barycentric", facts)


LAMOST_HEADER = {
    "OBSID": 938503194,
    "TELESCOP": "LAMOST",
    "DESIG": "LAMOST J224513.40+073913.9",
    "RA": 341.3,
    "DEC": 7.65,
    "LMJD": 59522,
    "LMJMLIST": "85711495-85711522",
    "MJD": 59521,
    "HELIO": True,
    "HELIO_RV": 24.26,
    "VACUUM": True,
    "COEFF0": 3.5682,
    "COEFF1": 0.0001,
    "CRVAL1": 3.5682,
    "CD1_1": 0.0001,
    "CRPIX1": 1,
    "CTYPE1": "LINEAR",
    "DC-FLAG": 1,
    "SNRU": 2.3,
    "SNRG": 27.7,
    "SNRR": 58.3,
    "SNRI": 91.6,
    "SNRZ": -9999.0,
}
LAMOST_FACTS = {
    "identifier": "938503194",
    "target": "LAMOST J224513.40+073913.9",
    "berv": -24.26,
    "snr": 43.0,
    "ra": 341.3,
    "time": 85711508.5 / 1440 - 8 / 24,
}


def lamost(path: Path) -> Truth:
    wave = 10 ** (3.5682 + 0.0001 * np.arange(PIXELS))
    flux, sigma = values(3)
    flux[-3:] = 0
    zero = np.zeros(PIXELS, np.float32)
    arrays = {"FLUX": flux, "IVAR": 1 / sigma**2, "WAVELENGTH": wave, "ANDMASK": zero, "ORMASK": zero}
    cells = [fits.Column(name, f"{PIXELS}E", array=a[None].astype("f4")) for name, a in arrays.items()]
    primary = fits.PrimaryHDU()
    primary.header.update(LAMOST_HEADER)
    fits.HDUList([primary, fits.BinTableHDU.from_columns(cells, name="COADD")]).writeto(path, overwrite=True)
    return Truth(wave, flux, sigma, "lamost", "vacuum", "barycentric", LAMOST_FACTS)


def lamost_old(path: Path) -> Truth:
    wave = 10 ** (3.5682 + 0.0001 * np.arange(PIXELS))
    flux, sigma = values(4)
    rows = np.zeros((5, PIXELS), np.float32)
    rows[:3] = flux, 1 / sigma**2, wave
    primary = fits.PrimaryHDU(rows)
    primary.header.update(LAMOST_HEADER)
    primary.writeto(path, overwrite=True)
    return Truth(wave, flux, sigma, "lamost", "vacuum", "barycentric", LAMOST_FACTS)


def sdss(path: Path) -> Truth:
    logs = 3.5526 + 0.0001 * np.arange(PIXELS)
    flux, sigma = values(5)
    mask = np.zeros(PIXELS, np.int32)
    mask[10:20] = 1 << 23  # bright sky
    mask[30:300] = 1 << 20  # scattered light alone spoils no pixel
    arrays = {"flux": flux, "loglam": logs, "ivar": 1 / sigma**2}
    cells = [fits.Column(name, "E", array=a.astype("f4")) for name, a in arrays.items()]
    cells += [fits.Column("and_mask", "J", array=mask), fits.Column("or_mask", "J", array=mask + 1)]
    primary = fits.PrimaryHDU()
    primary.header.update(
        {
            "TELESCOP": "SDSS 2.5-M",
            "MJD": 55719,
            "PLATEID": 4961,
            "FIBERID": 378,
            "RA": 241.4,
            "DEC": 32.3,
            "PLUG_RA": 240.88,
            "PLUG_DEC": 31.05,
            "THING_ID": 377553100,
            "HELIO_RV": 8.26,
            "COEFF0": 3.5526,
            "COEFF1": 0.0001,
        }
    )
    spall = fits.BinTableHDU.from_columns(
        [fits.Column("SN_MEDIAN_ALL", "E", array=np.array([56.5]))], name="SPALL"
    )
    exposure = fits.BinTableHDU.from_columns(cells, name="B1-00131838")
    units = [primary, fits.BinTableHDU.from_columns(cells, name="COADD"), spall, exposure]
    fits.HDUList(units).writeto(path, overwrite=True)
    facts = {
        "identifier": "4961-55719-0378",
        "target": "SDSS THING_ID 377553100",
        "berv": -8.26,
        "snr": 56.5,
        "ra": 240.88,
        "dec": 31.05,
        "time": 55719.0,
    }
    return Truth(10**logs, flux, sigma, "sdss", "vacuum", "barycentric", facts)


def apogee(path: Path) -> Truth:
    flux, sigma = values(6)
    rows = np.stack([flux, 2 * flux, flux + 5])
    bad = np.zeros(rows.shape, np.int16)
    bad[0, 7] = 1
    primary = fits.PrimaryHDU()
    primary.header.update(
        {"OBJID": "2M00000002+7417074", "RA": 0.0001, "DEC": 74.28, "SNR": 120.0, "NVISITS": 1}
    )
    primary.header["HISTORY"] = "APSTAR: combined"
    axis = {"CRVAL1": 4.179, "CDELT1": 6e-6, "CRPIX1": 1, "CTYPE1": "LOG-LINEAR", "DC-FLAG": 1}
    units = [primary]
    for array in (rows, np.stack([sigma] * 3), bad):
        units.append(fits.ImageHDU(array))
        units[-1].header.update(axis)
    fits.HDUList(units).writeto(path, overwrite=True)
    facts = {"identifier": "2M00000002+7417074", "target": "2M00000002+7417074", "snr": 120.0, "dec": 74.28}
    return Truth(10 ** (4.179 + 6e-6 * np.arange(PIXELS)), flux, sigma, "apogee", "vacuum", "rest", facts)


def image(path: Path) -> Truth:
    flux, _ = values(7)
    primary = fits.PrimaryHDU(np.stack([np.zeros_like(flux), flux]))
    primary.header.update({"CRVAL1": 3525.0, "CD1_1": 0.9})
    primary.writeto(path, overwrite=True)
    return Truth(
        3525 + 0.9 * np.arange(PIXELS), flux, None, "image", "air", "unknown", {"identifier": path.stem}
    )


def image_log(path: Path) -> Truth:
    flux, sigma = values(8)
    primary = fits.PrimaryHDU(flux.astype(np.float64))
    primary.header.update({"CRVAL1": np.log(4000.0), "CDELT1": 1e-5, "CRPIX1": 1.0, "CTYPE1": "AWAV-LOG"})
    error = fits.ImageHDU(sigma, name="ERR")
    fits.HDUList([primary, error]).writeto(path, overwrite=True)
    wave = 4000 * np.exp(1e-5 * np.arange(PIXELS))
    return Truth(wave, flux.astype(np.float64), sigma, "image", "air", "unknown")


def table(path: Path) -> Truth:
    """As iSpec exports: one row per pixel, in nanometres without saying so."""
    flux, sigma = values(9)
    wave = 480 + 0.001 * np.arange(PIXELS)
    arrays = {"waveobs": wave, "flux": flux.astype("f8"), "err": sigma.astype("f8")}
    cells = [fits.Column(name, "D", array=a) for name, a in arrays.items()]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(cells)]).writeto(path, overwrite=True)
    return Truth(10 * wave, flux.astype("f8"), sigma.astype("f8"), "table", "air", "unknown")


def text(path: Path) -> Truth:
    flux, sigma = values(10)
    wave = 6000 + 0.05 * np.arange(PIXELS)
    lines = ["# OBJECT = HD 1", "% SNR: 44", "# wavelengths in vacuum", ""]
    lines += [f"{w:.4f}  {f:.6e}\t{e:.6e}" for w, f, e in zip(wave, flux, sigma, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return Truth(wave, flux, sigma, "text", "vacuum", "unknown", {"target": "HD 1", "snr": 44.0})


def csv(path: Path) -> Truth:
    """Decreasing nanometres with the columns in another order."""
    flux, sigma = values(11)
    wave = 600 + 0.005 * np.arange(PIXELS)
    lines = ["flux_err,flux,wavelength (nm)"]
    lines += [f"{e:.7g},{f:.7g},{w:.5f}" for w, f, e in zip(wave[::-1], flux[::-1], sigma[::-1], strict=True)]
    path.write_text("\n".join(lines) + "\n")
    return Truth(10 * wave, flux, sigma, "text", "air", "unknown")


def npz(path: Path) -> Truth:
    flux, sigma = values(12)
    logs = (3.6 + 1e-4 * np.arange(PIXELS)).astype(np.float32)
    stack = np.stack([flux, flux + 1, np.full(PIXELS, 7.0, np.float32)])
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            loglam=logs,
            flux=stack,
            ivar=np.stack([1 / sigma**2] * 3),
            ids=["a", "b", "c"],
            ra=[1.0, 2.0, 3.0],
        )
    wave = 10 ** (3.6 + 1e-4 * np.arange(PIXELS))
    return Truth(wave, flux, sigma, "numpy", "air", "unknown", {"identifier": "a", "ra": 1.0}, spectra=3)


def hdf5(path: Path) -> Truth:
    import h5py

    flux, sigma = values(13)
    wave = 15000 + 0.2 * np.arange(PIXELS)
    with h5py.File(path, "w") as file:
        group = file.create_group("spectra")
        group["wavelength"], group["flux"] = wave, np.stack([flux, -flux])
        group["sigma"], group["medium"] = np.stack([sigma, sigma]), "vacuum"
    return Truth(wave, flux, sigma, "hdf5", "vacuum", "unknown", {"identifier": f"{path.stem}#0"}, spectra=2)


LAYOUTS: dict[str, tuple[Callable[[Path], Truth], str]] = {
    "adp": (adp, "fits"),
    "uves": (uves, "fits"),
    "s1d": (s1d, "fits"),
    "lamost": (lamost, "fits"),
    "lamost-old": (lamost_old, "fits"),
    "sdss": (sdss, "fits"),
    "apogee": (apogee, "fits"),
    "image": (image, "fits"),
    "image-log": (image_log, "fits"),
    "table": (table, "fits"),
    "text": (text, "txt"),
    "csv": (csv, "csv"),
    "npz": (npz, "npz"),
    "hdf5": (hdf5, "h5"),
}
