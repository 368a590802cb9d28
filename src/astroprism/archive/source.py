"""A file as readers see it: bytes on demand, unpacked where it is gzip, FITS units parsed lazily."""

from __future__ import annotations

import os
import stat
import zlib
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import UnreadableFile
from ..kernels import read_swapped
from .fits import FitsFile, Unit

HEAD = 1 << 17  # bytes read at once: the headers of an ESO product and most small files whole
WHOLE = 1 << 20  # files up to this size are read in one go
UNPACKED_CAP = 1 << 27  # bytes; no 1-D spectrum comes near, so a larger unpacked size is damage or malice


class Source:
    """Random access to the bytes of `path`.

    Plain files are read piecewise, straight into the arrays that keep the values, which saves a copy
    of every pixel. They are not memory-mapped: a failing disk would then kill the process with
    SIGBUS, where a read raises an error that can be counted as a refusal.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            if not stat.S_ISREG(os.stat(self.path).st_mode):  # a pipe would be waited for without end
                raise UnreadableFile(f"{self.path}: no regular file; give the path of a file")
            self._file: IO[bytes] = open(self.path, "rb", buffering=0)  # noqa: SIM115 (closed by close)
            self.size = os.fstat(self._file.fileno()).st_size
            self.head = self._file.read(self.size if self.size <= WHOLE else HEAD) or b""
        except OSError as error:
            raise UnreadableFile(f"{self.path}: {error.strerror or error}", reason="unreadable") from error
        if not self.head:
            self.close()
            raise UnreadableFile(f"{self.path}: the file holds no bytes; fetch it again", reason="empty")
        self.compressed = self.head[:2] == b"\x1f\x8b"
        if self.compressed:
            try:
                self.head = _gunzip(self._all(), str(self.path))
            finally:
                self.close()
            self.size = len(self.head)
            if not self.head:
                raise UnreadableFile(f"{self.path}: the gzip file holds nothing", reason="empty")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the file handle back."""
        self._file.close()

    @property
    def stem(self) -> str:
        """File name without its (possibly double) spectrum ending; dots inside a name stay."""
        name = self.path.name
        for _ in range(3):
            base, dot, ending = name.rpartition(".")
            if not (dot and base and ending.lower() in ENDINGS):
                break
            name = base
        return name

    @cached_property
    def fits(self) -> FitsFile | None:
        """The FITS units, or None where the file does not begin like FITS."""
        return FitsFile(self) if self.head.startswith(b"SIMPLE  =") else None

    def opened(self) -> tuple[FitsFile, Unit]:
        """The FITS file and its primary unit, for readers that have recognised one."""
        primary = self.fits.unit(0) if self.fits is not None else None
        if self.fits is None or primary is None:
            raise UnreadableFile(f"{self.path}: no FITS file", reason="unknown-format")
        return self.fits, primary

    def span(self, start: int, count: int) -> bytes:
        """`count` bytes from `start`; fewer at the end of the file."""
        if start + count <= len(self.head) or len(self.head) == self.size:
            return self.head[start : start + count]
        count = max(0, min(count, self.size - start))
        try:
            return os.pread(self._file.fileno(), count, start)
        except OSError as error:
            raise UnreadableFile(f"{self.path}: {error.strerror or error}", reason="unreadable") from error

    def array(self, start: int, count: int, dtype: DTypeLike) -> NDArray[np.generic]:
        """`count` big-endian values of `dtype` from byte `start`, as a native array of its own."""
        return self.array_and_sum(start, count, dtype)[0]

    def array_and_sum(
        self, start: int, count: int, dtype: DTypeLike
    ) -> tuple[NDArray[np.generic], int | None]:
        """As `array`, and the sum of its 32-bit words as they lie in the file; None for narrower types."""
        kind = np.dtype(dtype)
        if start < 0 or count < 0 or start + count * kind.itemsize > self.size:
            raise UnreadableFile(
                f"{self.path}: {count * kind.itemsize:,} bytes of data are declared from byte {start:,}, "
                f"the file ends at {self.size:,}; fetch it again",
                reason="truncated",
            )
        values = np.empty(count, kind)
        if count == 0:
            return values, 0
        buffer = values.view(np.uint8).data
        if start + len(buffer) <= len(self.head):
            buffer[:] = self.head[start : start + len(buffer)]
        else:
            try:
                if kind.itemsize in (4, 8) and np.little_endian:
                    got, words = read_swapped(self._file.fileno(), start, buffer, kind.itemsize)
                    if got == len(buffer):
                        return values, words
                else:
                    got = os.preadv(self._file.fileno(), [buffer], start)
            except OSError as error:
                raise UnreadableFile(
                    f"{self.path}: {error.strerror or error}", reason="unreadable"
                ) from error
            if got != len(buffer):
                raise UnreadableFile(f"{self.path}: the file shrank while it was read", reason="truncated")
        if kind.itemsize > 1 and np.little_endian:
            values.byteswap(inplace=True)
        # swapping the two words of an 8-byte value leaves their sum as it is
        total = int(values.view(np.uint32).sum(dtype=np.uint64)) if kind.itemsize in (4, 8) else None
        return values, total

    def _all(self) -> bytes:
        if len(self.head) == self.size:
            return self.head
        if self.size > UNPACKED_CAP:
            raise UnreadableFile(f"{self.path}: {self.size:,} bytes of gzip are more than any spectrum holds")
        return self.span(0, self.size)


ENDINGS = {
    "fits",
    "fit",
    "fts",
    "gz",
    "fz",
    "txt",
    "dat",
    "csv",
    "tsv",
    "ascii",
    "asc",
    "npz",
    "npy",
    "h5",
    "hdf5",
}


def _gunzip(packed: bytes, path: str) -> bytes:
    """Unpack every member of a gzip file, its CRC checked, up to UNPACKED_CAP bytes."""
    parts: list[bytes] = []
    total = 0
    rest = packed
    while rest[:2] == b"\x1f\x8b":  # anything else after a member is padding
        unpack = zlib.decompressobj(wbits=31)
        try:
            part = unpack.decompress(rest, UNPACKED_CAP - total + 1)
        except zlib.error as error:
            checksum = "check" in str(error) and "header" not in str(error)
            raise UnreadableFile(
                f"{path}: the gzip stream is damaged ({error}); fetch it again",
                reason="checksum" if checksum else "unreadable",
            ) from error
        total += len(part)
        if total > UNPACKED_CAP:
            raise UnreadableFile(
                f"{path}: unpacks to more than {UNPACKED_CAP >> 20} MiB, more than any spectrum"
            )
        if not unpack.eof:
            raise UnreadableFile(f"{path}: the gzip stream ends early; fetch it again", reason="truncated")
        parts.append(part)
        rest = unpack.unused_data
    return b"".join(parts)
