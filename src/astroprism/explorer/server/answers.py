"""Answers on the wire: JSON without NaN, columns as bytes, tables as CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...artifacts import jsonable
from ..data.curves import Curves
from ..refusals import tidy

KINDS = {"f4": "float32", "f8": "float64", "u1": "uint8", "i4": "int32"}
BINARY = "application/octet-stream"


def as_json(value: Any) -> bytes:
    """One JSON text; what is not finite is null, texts are tidy."""
    plain = _tidied(jsonable(value))
    return json.dumps(plain, allow_nan=False, separators=(",", ":"), ensure_ascii=False).encode()


def _tidied(value: Any) -> Any:
    if isinstance(value, dict):
        return {tidy(key): _tidied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_tidied(item) for item in value]
    return tidy(value, longest=2000) if isinstance(value, str) else value


def packed(arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> bytes:
    """A header and columns, each at a multiple of 8 bytes; docs/design/explorer.md has the layout."""
    columns = [(name, _little(array)) for name, array in arrays.items()]
    listed = [
        {"name": name, "dtype": KINDS[array.dtype.str[1:]], "length": array.size} for name, array in columns
    ]
    header = as_json({"arrays": listed, **facts})
    header += b" " * (-(4 + len(header)) % 8)
    parts = [len(header).to_bytes(4, "little"), header]
    for _, array in columns:
        parts += [array.tobytes(), b"\0" * (-array.nbytes % 8)]
    return b"".join(parts)


def unpacked(content: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The arrays and facts of `packed`, for scripts and tests."""
    length = int.from_bytes(content[:4], "little")
    facts = json.loads(content[4 : 4 + length])
    arrays, at = {}, 4 + length
    for one in facts.pop("arrays"):
        arrays[one["name"]] = np.frombuffer(content, one["dtype"], one["length"], at)
        at += -(-arrays[one["name"]].nbytes // 8) * 8
    return arrays, facts


def curves_packed(curves: Curves, **facts: Any) -> bytes:
    """Curves and their facts."""
    return packed({"wavelength": curves.wavelength, **curves.values}, curves.facts | facts)


def _little(array: NDArray[Any]) -> NDArray[Any]:
    kind = array.dtype.newbyteorder("<") if array.dtype.itemsize > 1 else array.dtype
    return np.ascontiguousarray(array, dtype=kind)


def as_csv(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table. A cell that a spreadsheet would take for a formula gets an apostrophe in front."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_cell(name) for name in names])
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if not isinstance(value, str):
        return value
    text = tidy(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
