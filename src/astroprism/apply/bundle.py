"""Arrays and JSON in one npz file: nothing in it runs when it is read."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifacts import blame, sync
from ..errors import ModelError


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], *, about: Mapping[str, Any]) -> None:
    """Written aside, then renamed; `about` goes along as JSON."""
    aside = path.with_name(f".{path.name}.part")
    text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
    with blame(path):
        with aside.open("wb") as file:
            np.savez(file, allow_pickle=False, about=text, **dict(arrays))
        sync(aside)
        os.replace(aside, path)


def read_arrays(
    path: Path, *, kind: tuple[str, int]
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None:
    """What `write_arrays` wrote; None where there is nothing, or of another version."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
            about = json.loads(bytes(arrays.pop("about")))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} is damaged ({error}); delete it, and it is made anew") from None
    if not isinstance(about, dict) or (about.get("format"), about.get("format_version")) != kind:
        return None
    return arrays, about
