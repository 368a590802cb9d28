"""Stacks of spectra in one file: NumPy's npz and npy, and HDF5.

Arrays by name: wavelength (n,) or (spectra, n), or loglam; flux (n,) or (spectra, n); sigma or ivar
and mask likewise; ids, targets, ra, dec, berv, snr, time with a value per spectrum.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadSpectrum, MissingExtra, SpectrumError, UnreadableFile
from ..spectrum import FRAMES, MEDIA, Spectrum
from .header import plausible
from .image import assumed_medium
from .motion import motion_of
from .observatories import observatory
from .pixels import cells_of, roles_of
from .reader import Reader, ReadOptions, Yield
from .source import Source

NPY, ZIP, HDF = b"\x93NUMPY", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
LARGEST = 1 << 31  # bytes of one array that is unpacked whole
LIST = {
    "id": ("ids", "id", "identifier", "identifiers", "spectrum_id", "names"),
    "target": ("target", "targets", "object", "objects", "star", "name", "names"),
    "ra": ("ra",),
    "dec": ("dec",),
    "berv": ("berv",),
    "snr": ("snr", "sn"),
    "time": ("time", "mjd", "times"),
    "site": ("observatory", "site", "telescope"),
    "frame": ("frame", "frames"),
}
Lookup = Callable[[int], NDArray[Any]]


def sniff_numpy(source: Source) -> bool:
    """A zip of .npy members, or one .npy array."""
    return source.head.startswith(NPY) or (source.head.startswith(ZIP) and b".npy" in source.head[:4096])


def sniff_hdf5(source: Source) -> bool:
    """The HDF5 signature."""
    return source.head.startswith(HDF)


def read_numpy(source: Source, options: ReadOptions) -> Yield:
    """One spectrum per row of flux; nothing is unpickled."""
    arrays = _npy_arrays(source) if source.head.startswith(NPY) else _npz_arrays(source)
    yield from _spectra(source, arrays, "numpy", options)


def read_hdf5(source: Source, options: ReadOptions) -> Yield:
    """One spectrum per row of flux, row by row."""
    try:
        import h5py
    except ImportError as error:
        raise MissingExtra("HDF5 needs h5py: pip install 'astroprism[hdf5]'") from error
    if source.compressed:
        raise UnreadableFile("HDF5 inside gzip is not read; unpack it first")
    try:
        with h5py.File(source.path, "r") as file:
            arrays = _datasets(file, h5py, source.size)
            yield from _spectra(source, arrays, "hdf5", options)
    except (OSError, RuntimeError, KeyError) as error:  # what h5py raises on damage
        cut = "truncated" in str(error)
        raise UnreadableFile(f"HDF5: {error}", reason="truncated" if cut else "unreadable") from error


def _datasets(file: Any, h5py: Any, size: int) -> dict[str, Any]:
    """Datasets at the root, or those of its only group."""
    group = file
    if not any(isinstance(group[key], h5py.Dataset) for key in group) and len(group) == 1:
        group = group[next(iter(group))]
    found = {key: group[key] for key in group if isinstance(group[key], h5py.Dataset)}
    for key, value in found.items():
        row = int(np.prod(value.shape[1:], dtype=object)) if value.ndim > 1 else 1
        if max(row, 1) * value.dtype.itemsize > max(1 << 22, 200 * size):
            raise UnreadableFile(
                f"HDF5: dataset {key} of shape {value.shape} cannot come from {size:,} bytes"
            )
    return found


def _npz_arrays(source: Source) -> dict[str, Any]:
    """The arrays of a zip, each checked against its declared size and CRC before it is believed."""
    found: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(
            io.BytesIO(source.span(0, source.size)) if source.compressed else source.path
        ) as file:
            for member in file.infolist():
                if member.file_size > LARGEST:
                    raise UnreadableFile(
                        f"array {member.filename} of {member.file_size:,} bytes; use HDF5 for such sizes"
                    )
                if member.filename.endswith(".npy"):
                    found[member.filename[:-4]] = _npy(file.read(member), member.filename)
    except zipfile.BadZipFile as error:
        if "CRC" in str(error):
            raise UnreadableFile(f"npz: {error}; fetch it again", reason="checksum") from error
        raise UnreadableFile(f"npz: {error}; the file was cut or damaged", reason="truncated") from error
    except (EOFError, OSError, ValueError, NotImplementedError, RuntimeError, zipfile.zlib.error) as error:  # type: ignore[attr-defined]
        raise UnreadableFile(f"npz: {error}; the file is damaged") from error
    return found


def _npy(raw: bytes, name: str) -> NDArray[Any]:
    """One .npy array from its bytes, the declared shape held against them."""
    stream = io.BytesIO(raw)
    try:
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, kind = read(stream)
    except Exception as error:  # the header is Python source, and damaged source fails in many ways
        raise UnreadableFile(f"array {name}: its header cannot be read ({error})") from error
    if kind.hasobject:
        raise UnreadableFile(
            f"array {name} holds Python objects, which are never unpickled; save plain arrays"
        )
    count, left = int(np.prod(shape, dtype=object)), len(raw) - stream.tell()
    if min(shape, default=0) < 0 or count * kind.itemsize > left:
        raise UnreadableFile(
            f"array {name} of shape {shape} needs {count * kind.itemsize:,} bytes, {left:,} are there",
            reason="truncated",
        )
    if count * kind.itemsize < left:
        raise UnreadableFile(
            f"array {name} of shape {shape} leaves {left - count * kind.itemsize:,} bytes over"
        )
    flat = np.frombuffer(raw, kind, count, stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C")


def _npy_arrays(source: Source) -> dict[str, Any]:
    """A structured array with named fields, or 2 or 3 rows or columns: wavelength, flux, sigma."""
    if source.size > LARGEST:
        raise UnreadableFile(f"{source.size:,} bytes in one array; use HDF5 for such sizes")
    array = _npy(source.span(0, source.size), source.path.name)
    if array.dtype.names:
        return {name: array[name] for name in array.dtype.names}
    if array.ndim == 2 and array.shape[1] in (2, 3) and array.shape[0] > 3:
        array = array.T
    if array.ndim == 2 and array.shape[0] in (2, 3):
        return dict(zip(("wavelength", "flux", "sigma"), array, strict=False))
    raise BadSpectrum(
        f"a bare array of shape {array.shape} has no wavelengths; save (n, 2), (n, 3) or a named npz",
        reason="ambiguous",
    )


def _spectra(source: Source, arrays: Mapping[str, Any], reader: str, options: ReadOptions) -> Yield:
    """The spectra of a stack, one at a time."""
    roles, unit = roles_of(arrays)
    if "flux" not in roles or not ("wave" in roles or "loglam" in roles):
        raise BadSpectrum(
            f"arrays named {', '.join(arrays) or 'nothing'}; 'wavelength' (or 'loglam') and 'flux' needed",
            reason="ambiguous",
        )
    used = {role: arrays[name] for role, name in roles.items()}
    flux = used["flux"]
    if flux.ndim not in (1, 2) or flux.dtype.kind not in "fiu":
        raise UnreadableFile(
            f"flux of shape {flux.shape} and type {flux.dtype}; (spectra, pixels) of numbers is read"
        )
    rows = flux.shape[0] if flux.ndim == 2 else 1
    shapes = {role: array.shape for role, array in used.items()}
    for role, shape in shapes.items():
        fits = shape in (flux.shape, flux.shape[-1:]) if role in ("wave", "loglam") else shape == flux.shape
        if not fits or used[role].dtype.kind not in "fiub":
            raise UnreadableFile(
                f"{roles[role]} of shape {shape} does not go with flux of shape {flux.shape}"
            )
    lists = {role: _list(arrays, names, rows) for role, names in LIST.items()}
    ids = [str(value) for value in lists["id"]] if lists["id"] is not None else []
    if len(set(ids)) < rows or rows == 1:
        ids = (
            ids
            if rows == 1 and ids
            else [source.stem if rows == 1 else f"{source.stem}#{row}" for row in range(rows)]
        )
    stated = _text(arrays.get("medium"))
    unit = unit or _text(arrays.get("unit")) or _text(arrays.get("wavelength_unit"))
    for row in range(rows):
        try:
            parts = {
                role: np.asarray(array[row] if array.ndim == 2 else array[...])
                for role, array in used.items()
            }
            cells = cells_of(parts, unit=unit, evidence=options.unit_of())
            medium, assumed = assumed_medium(float(cells.wave[-1]))
            if stated in MEDIA or options.medium is not None:
                medium, assumed = stated if stated in MEDIA else str(options.medium), ()
        except SpectrumError as error:
            if rows == 1:
                raise
            yield type(error)(f"row {row}: {error}", reason=error.reason)
            continue
        yield Spectrum(
            wavelength=cells.wave,
            flux=cells.flux,
            sigma=cells.sigma,
            good=cells.good,
            identifier=ids[row],
            target=_text(lists["target"][row]) if lists["target"] is not None else "",
            ra=(ra := plausible(_number(lists["ra"], row), 0.0, 360.0)),
            dec=(dec := plausible(_number(lists["dec"], row), -90.0, 90.0)),
            medium=medium,
            frame=frame
            if (frame := _text(lists["frame"][row] if lists["frame"] else "")) in FRAMES
            else "unknown",
            time=(time := plausible(_number(lists["time"], row), 1.0, 1e5)),
            berv=(moved := _motion(lists, row, ra, dec, time))[0],
            berv_source=moved[1],
            snr=plausible(_number(lists["snr"], row), 0.0, 1e6),
            reader=reader,
            warnings=cells.warnings + assumed + _nowhere(lists, row, ra, dec),
        )


def _nowhere(lists: Mapping[str, list[Any] | None], row: int, ra: float, dec: float) -> tuple[str, ...]:
    """What to know where a place was given that is none on the sky."""
    given = _number(lists["ra"], row), _number(lists["dec"], row)
    if not np.isfinite(given).all() or np.isfinite([ra, dec]).all():
        return ()
    return (f"ra = {given[0]:g}, dec = {given[1]:g} is no place on the sky: not used",)


def _motion(
    lists: Mapping[str, list[Any] | None], row: int, ra: float, dec: float, time: float
) -> tuple[float, str]:
    """BERV of a row and where it is from: its own array, else computed where the observatory is named."""
    berv = plausible(_number(lists["berv"], row), -40.0, 40.0)
    if np.isfinite(berv):
        return berv, "keyword berv"
    names = lists["site"]
    site = observatory(_text(names[row if len(names) > 1 else 0])) if names else None
    if site is None:
        return np.nan, "none"
    found = motion_of((), ra=ra, dec=dec, time=time, timed=bool(time % 1), site=site)
    return found.berv, found.source


def _list(arrays: Mapping[str, Any], names: tuple[str, ...], rows: int) -> list[Any] | None:
    """A value per spectrum, decoded; None where there is no such array of that length."""
    lower = {name.lower(): name for name in arrays}
    for name in names:
        if name in lower and arrays[lower[name]].shape in ((rows,), ()):
            values = np.atleast_1d(arrays[lower[name]][...])
            return [_text(value) if isinstance(value, (bytes, str)) else value for value in values.tolist()]
    return None


def _text(value: Any) -> str:
    if value is None:
        return ""
    value = value[()] if hasattr(value, "shape") else value
    return value.decode("utf-8", "replace").strip() if isinstance(value, bytes) else str(value).strip()


def _number(values: list[Any] | None, row: int) -> float:
    value = values[row] if values is not None else None
    return float(value) if isinstance(value, (int, float)) else np.nan


NUMPY = Reader("npz or npy stack", sniff_numpy, read_numpy)
HDF5 = Reader("HDF5 stack", sniff_hdf5, read_hdf5)
