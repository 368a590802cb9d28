"""How a store lies on disk: its Zarr 3 metadata, its file names, and the careful writing of small files.

The metadata are written by hand: they are a page of fixed JSON, and importing zarr for it would cost
each worker half a second. docs/design/store.md gives the layout and the reasons.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..artifacts import Format, blame, read_json, write_bytes
from ..errors import AstroprismError, StoreError
from ..grid import Grid

FORMAT = Format("astroprism-store", 1)
ARRAYS = ("flux", "sigma", "good")
DTYPES = ("float32", "float16")
EMPTY = 2**64 - 1  # offset and length of a chunk that is not there (Zarr sharding codec 1.0)
CRC = 4  # bytes of a crc32c, little-endian, behind what it covers
FLOAT16_SNR = 300.0  # per pixel; up to here rounding to float16 is far below the noise (docs/design/store.md)


def rows_per_shard(n_pixels: int) -> int:
    """Spectra in one shard file: few enough that a block is soon done, enough that files stay few."""
    return 64 if n_pixels >= 100_000 else 256


@dataclass(frozen=True)
class Layout:
    """How the arrays of a store lie on disk.

    grid            wavelength grid of every row
    rows_per_shard  spectra per shard file
    dtype           of flux and sigma on disk: 'float32', or 'float16' (see FLOAT16_SNR)
    """

    grid: Grid
    rows_per_shard: int
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise StoreError(f"store dtype {self.dtype!r} is none of {', '.join(DTYPES)}")
        if self.rows_per_shard < 1:
            raise StoreError(f"{self.rows_per_shard} rows per shard; at least 1 is needed")

    @property
    def n_pixels(self) -> int:
        """Pixels per row."""
        return self.grid.size

    def numpy_dtype(self, array: str) -> np.dtype[Any]:
        """Little-endian dtype of one array on disk."""
        return np.dtype("bool") if array == "good" else np.dtype(self.dtype).newbyteorder("<")

    def stride(self, array: str) -> int:
        """Bytes from one row of an array to the next: its values and their crc32c."""
        return self.n_pixels * self.numpy_dtype(array).itemsize + CRC

    @property
    def row_bytes(self) -> int:
        """Bytes one spectrum takes in the three arrays together."""
        return sum(self.stride(array) for array in ARRAYS)

    @property
    def index_bytes(self) -> int:
        """Bytes of the index that ends each shard file: (offset, length) per row, then a crc32c."""
        return 16 * self.rows_per_shard + CRC


def shard_file(store: str | Path, array: str, shard: int) -> str:
    """Where the default Zarr chunk key encoding puts shard number `shard` of an array."""
    return f"{store}/{array}/c/{shard}/0"  # a plain string: building Paths cost more than opening the files


def create_store(path: Path, layout: Layout, *, config: Mapping[str, Any]) -> None:
    """Write an empty, unfinished store: a Zarr 3 group of flux, sigma, good and wavelength.

    `config` is the ingest configuration, anything JSON can hold. A store that is there with the same
    layout and configuration is left alone; one that differs is an error.
    """
    path = Path(path)
    attributes: dict[str, Any] = {
        **FORMAT.header,
        "code_version": __version__,
        "grid": asdict(layout.grid),
        "rows_per_shard": layout.rows_per_shard,
        "dtype": layout.dtype,
        "config": dict(config),
        "finished": False,
    }
    try:
        attributes = json.loads(json.dumps(attributes, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise StoreError(f"the configuration cannot be kept as JSON: {error}") from None
    group = path / "zarr.json"
    if group.exists():
        there = read_json(group).get("attributes", {})
        for key in ("format", "format_version", "grid", "rows_per_shard", "dtype", "config"):
            if there.get(key) != attributes[key]:
                raise StoreError(
                    f"{path} is there with {key} {there.get(key)!r}, not {attributes[key]!r}; "
                    "use the same settings, or another study folder"
                )
        return
    with blame(path):
        path.mkdir(parents=True, exist_ok=True)
    write_bytes(path / "wavelength" / "c" / "0", _with_crc(layout.grid.wavelength.astype("<f8").tobytes()))
    # the group comes last: a folder without it is no store, and creating it goes through all steps again
    for place, content in _metadata_files(path, layout, attributes, n_shards=0):
        write_bytes(place, content)


def resize(path: Path, n_shards: int, *, finished: bool) -> None:
    """Say how many shards a store has and whether its index is complete."""
    path = Path(path)
    layout, attributes = read_layout(path)
    attributes["finished"] = finished
    order = _metadata_files(path, layout, attributes, n_shards=n_shards)
    # `finished` becomes true after all else and false before it, whenever this is killed
    for place, content in order if finished else reversed(order):
        if not place.exists() or place.read_bytes() != content:
            write_bytes(place, content)


def _metadata_files(
    path: Path, layout: Layout, attributes: dict[str, Any], *, n_shards: int
) -> list[tuple[Path, bytes]]:
    """The zarr.json of every node, the group last.

    The group carries the arrays' metadata too (Zarr's consolidated metadata): a listing of the group
    then need not walk the folder, in which zarr-python would warn of our tables.
    """
    nodes = {array: array_metadata(layout, array, n_shards=n_shards) for array in ARRAYS}
    nodes["wavelength"] = _wavelength_metadata(layout)
    group = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": attributes,
        "consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": nodes},
    }
    files = [(path / name / "zarr.json", _json(node)) for name, node in nodes.items()]
    return [*files, (path / "zarr.json", _json(group))]


def read_layout(path: Path) -> tuple[Layout, dict[str, Any]]:
    """Layout and attributes of the store at `path`; a foreign, newer or damaged one is an error."""
    group = Path(path) / "zarr.json"
    if not group.exists():
        raise StoreError(f"{path} holds no store (no zarr.json there); give a folder that `ingest` wrote")
    metadata = read_json(group)
    attributes = metadata.get("attributes")
    if not isinstance(attributes, dict) or attributes.get("format") != FORMAT.name:
        found = attributes.get("format") if isinstance(attributes, dict) else None
        raise StoreError(
            f"{group} says format {found!r}, not {FORMAT.name!r}; give a store that `ingest` wrote"
        )
    version = attributes.get("format_version")
    if version != FORMAT.version:
        raise StoreError(
            f"{group} says format version {version!r}; this astroprism {__version__} reads {FORMAT.version}: "
            "upgrade astroprism, or ingest again"
        )
    try:
        grid = Grid(**attributes["grid"])
        layout = Layout(grid, attributes["rows_per_shard"], dtype=attributes["dtype"])
        if not isinstance(attributes["config"], dict) or not isinstance(attributes["finished"], bool):
            raise TypeError("config or finished is of the wrong type")
    except (KeyError, TypeError, AstroprismError) as error:
        raise StoreError(f"{group} is damaged ({error!r}); restore it or ingest again") from None
    return layout, attributes


def array_metadata(layout: Layout, array: str, *, n_shards: int) -> dict[str, Any]:
    """Zarr 3 metadata of flux, sigma or good (zarr-specs.readthedocs.io, core 3.1 and sharding codec 1.0).

    Inner chunks are single rows and hold plain bytes: a row, or a window of it, is one read.
    """
    inner: list[dict[str, Any]] = [_BYTES, {"name": "crc32c"}]
    sharding = {
        "chunk_shape": [1, layout.n_pixels],
        "codecs": inner,
        "index_codecs": [_BYTES, {"name": "crc32c"}],
        "index_location": "end",
    }
    return {
        **_COMMON,
        "shape": [n_shards * layout.rows_per_shard, layout.n_pixels],
        "data_type": "bool" if array == "good" else layout.dtype,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [layout.rows_per_shard, layout.n_pixels]},
        },
        "fill_value": {"flux": "NaN", "sigma": 0.0, "good": False}[array],
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "dimension_names": ["spectrum", "pixel"],
    }


_BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
_COMMON = {
    "zarr_format": 3,
    "node_type": "array",
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "attributes": {},
}


def _wavelength_metadata(layout: Layout) -> dict[str, Any]:
    return {
        **_COMMON,
        "shape": [layout.n_pixels],
        "data_type": "float64",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [layout.n_pixels]}},
        "fill_value": "NaN",
        "codecs": [_BYTES, {"name": "crc32c"}],
        "attributes": {"units": "angstrom", "medium": layout.grid.medium},
        "dimension_names": ["pixel"],
    }


def crc32c(plain: NDArray[np.uint8]) -> bytes:
    """Checksum of some bytes as Zarr's crc32c codec stores it."""
    return struct.pack("<I", google_crc32c.value(plain))


def _with_crc(content: bytes) -> bytes:
    return content + crc32c(np.frombuffer(content, dtype=np.uint8))


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
