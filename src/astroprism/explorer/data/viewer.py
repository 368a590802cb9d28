"""Everything that the explorer shows of a study, for the server and for scripts.

    viewer = Viewer(Study("STUDY"))
    curves = viewer.decode({21: 1.3}, low=5880, high=5900)

Files are read when they are first needed, and kept. Shapes: n spectra, p pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...apply.reference import calibrated_model
from ...errors import MissingExtra
from ...folder import StudyFolder
from ...grid import convert_medium
from ...measures.lines import SURE, star_velocity
from ...measures.probe import predict
from ..refusals import Refused
from .axes import Axes, Axis
from .cache import Cache
from .columns import Columns
from .curves import Curves, detail, window
from .decoder import DecodedSpectrum, Decoder
from .nearest import Nearest
from .summary import summary, titles

FARTHEST = 20.0  # spreads from its median that a node may be set to


class Viewer:
    """What there is to see of a study. Nothing in it is changed."""

    def __init__(self, folder: StudyFolder) -> None:
        self.folder = folder
        self.columns = Columns(folder)
        self.nearest = Nearest(self.columns)
        self._cache = Cache()

    @cached_property
    def wavelength(self) -> NDArray[np.float64]:
        """Of the store's grid (p,), angstrom, in the store's medium."""
        return self.folder.store.grid.wavelength

    @property
    def has_model(self) -> bool:
        """Whether a network was trained."""
        return self.columns.model_facts is not None

    @property
    def decoder(self) -> Decoder:
        """The trained model, loaded when it is first needed."""

        def load() -> Decoder:
            if not self.has_model:
                raise Refused(409, "this study has no model yet; run: astroprism train")
            try:
                model = self.folder.model(unpruned=self.columns.unpruned)
            except ImportError as error:
                raise MissingExtra("decoding needs torch; run: pip install 'astroprism[train]'") from error
            return Decoder(model, codes=self.columns.codes_facts if self.columns.has_codes else None)

        return self._cache("decoder", load)  # type: ignore[no-any-return]

    @property
    def titles(self) -> dict[int, str]:
        """Node -> a short title."""
        return self._cache("titles", lambda: titles(self.columns))  # type: ignore[no-any-return]

    @property
    def summary(self) -> dict[str, Any]:
        """The content of /api/study."""
        return self._cache(  # type: ignore[no-any-return]
            "summary", lambda: summary(self.columns, self.axes, titles=self.titles)
        )

    @property
    def axes(self) -> Axes:
        """Columns that a map may show."""
        return self._cache("axes", lambda: Axes(self.columns, titles=self.titles))  # type: ignore[no-any-return]

    def column(self, key: str) -> Axis:
        """A column (n,) by its key: node:21, label:teff, pca:0, snr, outlier .."""
        return self.axes.axis(key)

    # --- decoding

    @property
    def middle(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Median and standard deviation of every node (nodes of the network,); 0 and 1 without codes."""

        def compute() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            count = self.decoder.nodes
            median, spread = np.zeros(count, np.float32), np.ones(count, np.float32)
            if self.columns.has_codes:
                rows = self.columns.sample()
                self.columns.load(self.columns.decoded)
                for node in self.columns.decoded:
                    known = self.columns.mean(node)[rows]
                    known = known[np.isfinite(known)]
                    if known.size:
                        median[node], spread[node] = np.median(known), max(float(known.std()), 1e-6)
            return median, spread

        return self._cache("middle", compute)  # type: ignore[no-any-return]

    def base_code(self, base: int | None) -> tuple[NDArray[np.float32], float]:
        """The code of a spectrum, or every node at its median, and the atmosphere's velocity in km/s."""
        median, _ = self.middle
        if base is None:
            return median.copy(), 0.0
        self.columns.check(base)
        code = median.copy()
        for node in self.columns.decoded:
            value = self.columns.mean(node)[base]
            if not np.isfinite(value):
                raise Refused(404, f"spectrum {base} has no code yet; run: astroprism encode")
            code[node] = value
        return code, self.columns.air(base)

    def code_of(self, z: Mapping[int, float], base: int | None) -> tuple[NDArray[np.float32], float]:
        """The base's code with the nodes of `z` set."""
        code, berv = self.base_code(base)
        median, spread = self.middle
        for node, value in z.items():
            if not 0 <= node < code.size:
                raise Refused(404, f"there is no node {node}; the network has 0 .. {code.size - 1}")
            if abs(value - median[node]) > FARTHEST * spread[node]:
                raise Refused(
                    400,
                    f"node {node} at {value:g} is more than {FARTHEST:g} spreads from its median, "
                    f"{median[node]:.3g} with a spread of {spread[node]:.3g}",
                )
            code[node] = value
        return code, berv

    def decode(
        self,
        z: Mapping[int, float] | None = None,
        *,
        base: int | None = None,
        berv: float | None = None,
        low: float | None = None,
        high: float | None = None,
        width: int | None = None,
        parts: bool = False,
        compare: bool = False,
    ) -> Curves:
        """The spectrum that the decoder makes of a code.

        z        node -> value; the others are those of spectrum `base`, or at their medians
        berv     km/s of the atmosphere, where it moves
        width    screen pixels; None: every pixel
        parts    also star and air; compare: also the base itself, as `reference`
        """
        code, own = self.code_of(z or {}, base)
        speed = own if berv is None else berv
        if abs(speed) > 1000:
            raise Refused(400, f"berv {speed:g} km/s is more than the Earth moves")
        decoded = self.decoder.decode(code, berv=speed)
        pixels = window(self.wavelength, low, high)
        values = {"flux": decoded.flux[pixels]}
        if parts and decoded.star is not None and decoded.air is not None:
            values |= {"star": decoded.star[pixels], "air": decoded.air[pixels]}
        if compare:
            values["reference"] = self.decoder.decode(self.base_code(base)[0], berv=speed).flux[pixels]
        curves = detail(self.wavelength[pixels], values, width=width)
        facts = {
            "z": {str(node): float(code[node]) for node in self.columns.nodes},
            "velocity": self.velocity(decoded),
            "berv": speed if self.decoder.moving_air else None,
            "ms": 1e3 * decoded.seconds,
        }
        return Curves(curves.wavelength, curves.values, curves.facts | facts)

    @property
    def _zero(self) -> float | None:
        """km/s of the lines of a star at the network's zero; None where cross-correlation does not find them.

        The network's zero is its own: nothing in training says where a line should lie.
        """
        return self._cache("zero", self._find_zero)  # type: ignore[no-any-return]

    def _find_zero(self) -> float | None:
        code, _ = self.base_code(None)
        decoded = self.decoder.decode(code)
        if decoded.star is None or decoded.velocity is None:
            return None
        vacuum = convert_medium(self.wavelength, self.folder.store.grid.medium, "vacuum")
        speed, sure = star_velocity(vacuum, decoded.star)
        return speed - decoded.velocity if sure >= SURE else None

    def velocity(self, decoded: DecodedSpectrum) -> float | None:
        """km/s of the star's lines in a decoded spectrum, from their places in the laboratory."""
        return None if decoded.velocity is None or self._zero is None else decoded.velocity + self._zero

    # --- spectra

    def spectrum(
        self, row: int, *, low: float | None = None, high: float | None = None, width: int | None = None
    ) -> Curves:
        """A spectrum of the store, its reconstruction from its code, and the residual in sigma."""
        self.columns.check(row)
        pixels = window(self.wavelength, low, high)
        read = self.folder.store.read([row])
        decoded, berv = None, 0.0
        if self.has_model and self.columns.has_codes and np.isfinite(self._any_code(row)):
            code, berv = self.base_code(row)
            decoded = self.decoder.decode(code, berv=berv)
        arrays = read.flux[0], read.sigma[0], read.good[0]
        return self.fit(*arrays, decoded, berv=berv, pixels=pixels, width=width)

    def _any_code(self, row: int) -> float:
        nodes = self.columns.decoded
        return float(self.columns.mean(nodes[0])[row]) if nodes else 0.0

    def fit(
        self,
        flux: NDArray[np.float32],
        sigma: NDArray[np.float32],
        good: NDArray[np.bool_],
        decoded: DecodedSpectrum | None,
        *,
        berv: float = 0.0,
        pixels: slice,
        width: int | None,
    ) -> Curves:
        """Curves of a spectrum (p,) and what the network makes of it.

        Beside a reconstruction the spectrum is over its smooth response, its errors as learned.
        """
        use = good & np.isfinite(flux) & (sigma > 0)
        if decoded is not None:
            flux, sigma = self.decoder.judged(flux, sigma, use, berv=berv)
        observed, error = np.where(use, flux, np.nan), np.where(use, sigma, np.nan)
        values: dict[str, NDArray[Any]] = {"flux": observed[pixels], "sigma": error[pixels]}
        facts: dict[str, Any] = {"chi2": None}
        if decoded is not None:
            residual = (observed - decoded.flux) / error
            values |= {"reconstruction": decoded.flux[pixels], "residual": residual[pixels]}
            facts = {"chi2": float(np.nanmean(np.square(residual, dtype=np.float64))) if use.any() else None}
            facts["velocity"] = self.velocity(decoded)
        values["good"] = use[pixels]
        curves = detail(self.wavelength[pixels], values, width=width)
        return Curves(curves.wavelength, curves.values, curves.facts | facts)

    def describe_codes(self, codes: Mapping[int, tuple[float, float]]) -> list[dict[str, Any]]:
        """Node -> (mean, sd), for an answer: with the distance from the median in spreads."""
        median, spread = self.middle
        return [
            {"node": node, "value": value, "sd": sd, "spreads": float((value - median[node]) / spread[node])}
            for node, (value, sd) in codes.items()
        ]

    def spectrum_facts(self, row: int) -> dict[str, Any]:
        """What is known of a spectrum of the store besides its pixels."""
        columns = self.columns
        one = columns.index.iloc[columns.check(row)]
        part = columns.part(row)
        facts = columns.brief(row) | {
            name: float(one[name]) if name in one else None for name in ("snr", "berv", "time", "resolution")
        }
        outliers = columns.outliers
        judged = None
        if outliers is not None:
            reasons = [text for text in str(outliers["reasons"][row]).split("; ") if text]
            judged = {
                "score": float(outliers["score"][row]),
                "p": float(outliers["p"][row]),
                "reasons": reasons,
            }
        return facts | {
            "instrument": None,
            "frame": one["frame"],
            "format": one["reader"],
            "warnings": [text for text in str(one["warnings"]).split("; ") if text],
            "part": part,
            "seen_in_training": None if part is None else part == "train",
            "labels": columns.labels_of(row),
            "predicted": self._predicted(row) if columns.has_codes else None,
            "outlier": judged,
            "codes": self.describe_codes(columns.row_codes(row))
            if columns.has_codes and self.has_model
            else [],
        }

    def _predicted(self, row: int) -> dict[str, Any] | None:
        """Labels predicted from the code, the star's own labels set aside; None until the probe is loaded."""
        calibrated = self._cache.get("calibrated")
        if calibrated is None:
            return None
        nodes = list(calibrated.probe.nodes)
        mean, sd = (np.zeros((1, self.decoder.nodes)) for _ in range(2))
        mean[0, nodes] = [self.columns.mean(node)[row] for node in nodes]
        sd[0, nodes] = [self.columns.sd(node)[row] for node in nodes]
        if not np.isfinite(mean).all():
            return None
        target = np.array([self.columns.brief(row)["target"] or ""], dtype=object)
        snr = self.columns.number("snr")[[row]].astype(np.float64)
        return {
            name: {
                "value": one.value[0] if one.categorical else float(one.value[0]),
                "low": float(one.low[0]),
                "high": float(one.high[0]),
            }
            for name, one in predict(calibrated.probe, mean, sd, snr=snr, targets=target).items()
        }

    @property
    def calibrated(self) -> Any:
        """The study's probe and reference, by which spectra are judged; made where they are not there yet."""
        return self._cache("calibrated", lambda: calibrated_model(self.folder))

    # --- before the first request

    def warm(self) -> None:
        """Read and compute what the first view needs, so that it need not wait."""
        self.summary  # noqa: B018
        if self.has_model and self.columns.has_codes:
            self.decode(width=1200, parts=True)

    def warm_more(self) -> None:
        """Read and compute what a next view may need."""
        if self.has_model and self.columns.has_codes:
            self.nearest.compared(None, nuisances=False)
            if self.columns.findings is not None and (self.folder.path / "reference.npz").exists():
                self.calibrated  # noqa: B018 (read now what it takes to predict labels)
