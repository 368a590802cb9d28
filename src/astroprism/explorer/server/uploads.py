"""Files dropped on the page: codes, labels and outlier scores of their spectra, the last few kept."""

from __future__ import annotations

import re
import secrets
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...apply.spectra import Applied, apply_prepared
from ...errors import AstroprismError
from ...measures.probe import LEVEL
from ..data.cache import Cache
from ..data.curves import Curves, window
from ..data.viewer import Viewer
from ..refusals import Refused, tidy, without_folders
from .file_reader import prepared_from

KEPT = 16
AT_ONCE = 2
WORST = 5  # stretches named


@dataclass(frozen=True, eq=False)
class Upload:
    """A spectrum (p,) that is not in the study, its code, and the answer to its file."""

    flux: NDArray[np.float32]
    sigma: NDArray[np.float32]
    good: NDArray[np.bool_]
    code: NDArray[np.float32]
    berv: float
    answer: dict[str, Any]


class Uploads:
    """The last few files."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self._kept = Cache(size=KEPT)
        self._room = threading.BoundedSemaphore(AT_ONCE)

    def take(self, content: bytes, name: str) -> dict[str, Any]:
        """What /api/drop answers."""
        if not content:
            raise Refused(422, "the file is empty")
        if not self._room.acquire(blocking=False):
            raise Refused(429, "other files are being read; try again in a moment")
        try:
            upload = self._judged(content, name)
        finally:
            self._room.release()
        key = secrets.token_hex(8)
        self._kept.put(key, upload)
        return {"key": key, **upload.answer}

    def get(self, key: str) -> Upload:
        """One of them."""
        found = self._kept.get(key)
        if found is None:
            raise Refused(404, f"that file is no longer at hand (the last {KEPT} are kept); drop it again")
        return found  # type: ignore[no-any-return]

    def curves(self, key: str, *, low: float | None, high: float | None, width: int | None) -> Curves:
        """As of a spectrum of the store."""
        one = self.get(key)
        pixels = window(self.viewer.wavelength, low, high)
        made = self.viewer.decoder.decode(one.code, berv=one.berv)
        arrays = one.flux, one.sigma, one.good
        curves = self.viewer.fit(*arrays, made, berv=one.berv, pixels=pixels, width=width)
        names = ("name", "spectrum_id", "target", "snr", "codes", "labels")
        facts = {name: one.answer[name] for name in names}
        return Curves(curves.wavelength, curves.values, curves.facts | facts)

    def _judged(self, content: bytes, name: str) -> Upload:
        viewer = self.viewer
        decoder = viewer.decoder  # without a model there is no answer
        safe = safe_name(name)
        spectrum, prepared, facts = prepared_from(content, safe, viewer.folder.store)
        berv = float(prepared.facts["berv"])
        berv = berv if prepared.facts["frame"] == "barycentric" and np.isfinite(berv) else 0.0
        good = prepared.good & np.isfinite(prepared.flux) & (prepared.sigma > 0) & np.isfinite(prepared.sigma)
        flux = np.where(good, prepared.flux, 0).astype(np.float32)
        sigma = np.where(good, prepared.sigma, 1).astype(np.float32)
        warnings = [
            tidy(one) for one in (*spectrum.warnings, *str(prepared.facts["warnings"]).split("; ")) if one
        ]
        labels: dict[str, Any] = {}
        outlier = None
        try:
            applied = apply_prepared(viewer.calibrated, [(spectrum, prepared)])
            code, sd = applied.mean[0].astype(np.float32), applied.sd[0].astype(np.float32)
            labels, outlier = _labels(applied), _outlier(applied)
            warnings = [*applied.warnings[0], *warnings]
        except AstroprismError as error:
            code, sd = decoder.encode(flux, sigma, good, berv=berv)
            warnings.append(f"no labels, no outlier score: {without_folders(error)}")
        answer = {
            "name": safe,
            "spectra": facts["spectra"],
            "format": facts["format"],
            "spectrum_id": spectrum.identifier,
            "target": spectrum.target,
            "snr": prepared.facts["snr"],
            "codes": viewer.describe_codes(
                {node: (float(code[node]), float(sd[node])) for node in viewer.columns.nodes}
            ),
            "labels": labels,
            "outlier": outlier,
            "warnings": list(dict.fromkeys(warnings)),
        }
        try:
            answer |= viewer.nearest.of_code(code, n=10, target=spectrum.target or None)
        except Refused as error:
            answer |= {"neighbours": [], "warnings": [*answer["warnings"], str(error)]}
        return Upload(flux, sigma, good, code, berv, answer)


def safe_name(name: str) -> str:
    """The last part of a file's name, of letters that every system takes; readers look at its ending."""
    last = re.split(r"[/\\]", tidy(name, longest=400))[-1]
    plain = re.sub(r"[^A-Za-z0-9._+-]", "_", last).lstrip(".")[-80:]
    return plain or "dropped"


def _labels(applied: Applied) -> dict[str, Any]:
    """Each label of the first spectrum, with its interval, or with the classes that cannot be ruled out."""
    found: dict[str, Any] = {}
    for name, one in applied.labels.items():
        value = one.value[0]
        found[name] = {
            "value": value if one.categorical else float(value),
            "low": float(one.low[0]),
            "high": float(one.high[0]),
            "coverage": LEVEL,
            "set": str(one.sets[0]).split("|") if one.categorical else None,
            "outside": bool(one.outside[0]),
        }
    return found


def _outlier(applied: Applied) -> dict[str, Any]:
    row = applied.frame.iloc[0]
    reasons = [one for one in str(row["outlier_reasons"]).split("; ") if one]
    return {
        "score": float(applied.oddness.surprise_all[0]),
        "p": float(applied.oddness.p_all[0]),
        "reasons": reasons,
        "worst": _worst(applied),
    }


def _worst(applied: Applied) -> list[dict[str, float]]:
    """The stretches that lie furthest from the reconstruction, most first."""
    residual = np.nan_to_num(np.abs(applied.residual[0]))
    wavelength, found = applied.wavelength, []
    half = max(2, residual.size // 400)
    for _ in range(WORST):
        at = int(residual.argmax())
        if residual[at] < 4:
            break
        first, last = max(0, at - half), min(residual.size, at + half + 1)
        found.append(
            {
                "low": float(wavelength[first]),
                "high": float(wavelength[last - 1]),
                "sigma": float(applied.residual[0][at]),
            }
        )
        residual[first:last] = 0
    return found
