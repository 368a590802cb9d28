"""Inner loops in C; see _kernels.c for what each does."""

from typing import Any

from numpy.typing import NDArray

Buffer = NDArray[Any] | memoryview

def read_swapped(fd: int, offset: int, out: Buffer, width: int, /) -> tuple[int, int]: ...
def spacing(wavelength: Buffer, relative: bool, /) -> tuple[float, float]: ...
def survey(
    flux: Buffer,
    sigma: Buffer | None,
    good: Buffer,
    gaps: bool,
    tiny: float,
    limit: float,
    least: float,
    most: float,
    /,
) -> tuple[int, int, int, int, int]: ...
def rim(flux: Buffer, good: Buffer, /) -> int: ...
def spikes(
    flux: Buffer, sigma: Buffer, good: Buffer, scatter: float, factor: float, flat: float, /
) -> int: ...
def scaled(out: Buffer, values: Buffer, good: Buffer | None, by: float, /) -> None: ...
def cards(raw: bytes, /) -> list[tuple[str, str, float]]: ...
def keep_memory() -> None: ...
def bridge(flux: Buffer, good: Buffer, /) -> None: ...
def between(
    values: Buffer, good: Buffer | None, low: float, high: float, out: Buffer, /
) -> tuple[int, int]: ...
def rebin(
    first: Buffer,
    start: Buffer,
    weight: Buffer,
    flux: Buffer,
    sigma: Buffer,
    good: Buffer,
    least: float,
    out_flux: Buffer,
    out_sigma: Buffer,
    out_good: Buffer,
    /,
) -> None: ...
