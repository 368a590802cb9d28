"""Tables of pixels that a report draws: examples, traversals, reconstructions; a row per pixel."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..figures.cards import QUANTILES, column
from ..figures.style import BINS, binned
from ..grid import SPEED_OF_LIGHT, air_to_vacuum, vacuum_to_air
from ..measures.line_tables import band_widths
from ..measures.lines import SURE, star_velocity
from ..measures.spacing import LEVEL
from ..model.data import Source, Tensors
from .collect import Floats, ReportData

if TYPE_CHECKING:
    import pandas as pd

    from ..schema import Node

# held-out spectra that are decoded: so many, and no more pixels than that
FIT_SAMPLE, FIT_PIXELS = 300, 2**22
SHORT = 20_000  # pixels up to which tables beside figures hold every one
ZOOMS = 3
ZOOM_KMS = 200.0  # to each side of a line
APART = 8e-4  # relative wavelength by which zooms differ at least
EXAMPLES, ODDEST = 5, 3
FEWEST_OF_QUARTER = 8  # spectra in a quarter of signal-to-noise


class MedianChi2(NamedTuple):
    """Median chi2 per pixel of held-out spectra, its 90 % interval by order statistics, and of how many."""

    value: float
    low: float
    high: float
    spectra: int


class PixelTables:
    """Spectra of a study, and what its network makes of codes."""

    def __init__(self, data: ReportData) -> None:
        self.data = data
        self.wavelength = data.grid.wavelength

    @property
    def has_parts(self) -> bool:
        """Whether the decoder separates star and atmosphere."""
        return self.data.model_facts is not None and self.data.model_facts.network.physical

    # --- of the archive

    def examples(self) -> pd.DataFrame:
        """A few spectra from low to high signal-to-noise, over their response where one is taken out."""
        import pandas as pd

        index, store = self.data.index, self.data.store
        response = None if self.data.model_facts is None else self.data.model.response
        if not len(index):
            return pd.DataFrame({"snr": [], "spectrum_id": []})
        order = np.argsort(index["snr"].to_numpy(), kind="stable")
        chosen = order[np.unique(np.linspace(0, len(order) - 1, EXAMPLES).round().astype(int))]
        parts = []
        for row in chosen:
            batch = store.read([int(row)])
            whole = batch.flux, batch.sigma
            if response is not None:
                divided = response.divided(self._read(np.array([row])).to(self.data.model.device))
                whole = divided.flux.cpu().numpy(), divided.sigma.cpu().numpy()
            flux, sigma = (np.where(batch.good[0], one[0], np.nan) for one in whole)
            pixels = thin(pd.DataFrame({"wavelength": self.wavelength, "flux": flux, "sigma": sigma}))
            parts.append(pixels.assign(**index.iloc[row][["spectrum_id", "target", "snr"]].to_dict()))
        return pd.concat(parts, ignore_index=True)

    # --- what a node does

    def traversal(self, node: int) -> pd.DataFrame:
        """Decoded spectra at the quantiles of a node, all others at their median, in the observer's frame.

        Star and atmosphere alone at the outer two quantiles, where there are such.
        """
        import pandas as pd
        import torch

        model = self.data.model
        z = np.tile(np.median(self.data.means, axis=0), (len(QUANTILES), 1))
        z[:, node] = self.data.quantiles(node)
        codes = torch.from_numpy(z.astype(np.float32))
        air = torch.zeros(len(codes)) if model.moving_air else None
        made = model.decode(codes, berv=air)
        found: dict[str, Any] = {"wavelength": self.wavelength}
        found |= {column(q): row.numpy() for q, row in zip(QUANTILES, made.flux, strict=True)}
        ends = model.decode(codes[[0, -1]], berv=None if air is None else air[:2])
        if ends.star is not None and ends.air is not None:
            for place in (0, -1):
                found[column(QUANTILES[place], "star")] = ends.star[place].numpy()
                found[column(QUANTILES[place], "air")] = ends.air[place].numpy()
        return pd.DataFrame(found)

    def zooms(self, node: Node, pixels: pd.DataFrame) -> pd.DataFrame:
        """Windows of a traversal around the lines that the node moves most; a row per pixel and window."""
        import pandas as pd

        windows: list[tuple[str, float, float]] = []
        named = self.named_lines(node)
        if len(named):
            speed = self._star_velocity(pixels)
            for one in _zoom_lines(named):
                vacuum = one.wavelength * (1 + (speed if one.frame == "star" else 0.0) / SPEED_OF_LIGHT)
                place = float(vacuum_to_air(vacuum)) if self.data.grid.medium == "air" else vacuum
                windows.append((one.line, place, one.width))
        else:
            windows = [(name, place, 0.0) for name, place in _busiest(pixels)]
        wave, parts = pixels["wavelength"].to_numpy(), []
        pixel_kms = SPEED_OF_LIGHT * float(np.median(np.diff(wave)) / np.median(wave))
        for name, centre, width in windows:
            reach = max(ZOOM_KMS, 12 * pixel_kms, width) / SPEED_OF_LIGHT
            near = np.abs(wave / centre - 1) <= reach
            if near.sum() >= 5:
                parts.append(pixels[near].assign(line=name, centre=centre))
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"line": []})

    def _star_velocity(self, pixels: pd.DataFrame) -> float:
        """km/s of the median star, by which its lines are marked."""
        wave = pixels["wavelength"].to_numpy()
        vacuum = air_to_vacuum(wave) if self.data.grid.medium == "air" else wave
        speed, sure = star_velocity(vacuum, pixels[column(0.5)].to_numpy(dtype=np.float64))
        return speed if sure >= SURE else 0.0

    def named_lines(self, node: Node) -> pd.DataFrame:
        """Lines and bands that a node moves: wavelength, line, frame, value (per spread of the code), width.

        width  full width in km/s of bands and of features that have a name of their own; else 0
        """
        import pandas as pd

        spread = self.data.spread(node.node)
        widths = band_widths()
        rows = [
            {
                "wavelength": top.wavelength,
                "line": top.line,
                "frame": group.frame,
                "value": spread * top.value,
                "width": widths.get(top.line, 0.0),
            }
            for group in node.lines
            for top in group.top
        ]
        held = {row["line"] for row in rows}
        rows += [
            {
                "wavelength": one.wavelength,
                "line": one.name,
                "frame": "star",
                "value": spread * one.value,
                "width": one.width_kms,
            }
            for one in node.features
            if one.name is not None and one.name not in held
        ]
        return pd.DataFrame(rows, columns=["wavelength", "line", "frame", "value", "width"])

    def profile(self, node: int) -> pd.DataFrame | None:
        """Change of the flux for one spread of a node's code, at rest; None where none was taken."""
        import pandas as pd
        from pyarrow import parquet

        path = self.data.folder.table_path("derivatives")
        known = set(parquet.read_schema(path).names)
        columns = {f"{part}_{node:03d}": part for part in ("star", "sky", "star_lines", "sky_lines")}
        columns = {column: part for column, part in columns.items() if column in known}
        if "star" not in columns.values():
            return None
        table = pd.read_parquet(path, columns=["wavelength", *columns]).rename(columns=columns)
        spread = self.data.spread(node)
        return table.assign(**{part: spread * table[part] for part in columns.values()})

    # --- how well spectra are rebuilt

    def decoded(self, rows: NDArray[np.intp], codes: Floats) -> tuple[Tensors, Any]:
        """Spectra at positions `rows` and what the network makes of their codes (rows, nodes)."""
        import torch

        model = self.data.model
        batch = model.to_device(self._read(rows))
        made = model.decode(torch.from_numpy(codes.astype(np.float32)).to(model.device), berv=batch.berv)
        return batch.to(torch.device("cpu")), made.flux.cpu()

    def _read(self, rows: NDArray[np.intp]) -> Tensors:
        """Spectra at positions `rows`, as they lie in the store."""
        return self.data.model.source(Source.from_store(self.data.store, memory=0)).tensors(rows)

    @cached_property
    def fit(self) -> dict[str, pd.DataFrame]:
        """How well held-out spectra are rebuilt: spectra (a row each), pixels, and three examples."""
        import pandas as pd
        import torch

        from ..model.loss import chi2_per_pixel, residual

        def good_of(batch: Tensors) -> NDArray[np.bool_]:
            return np.ones(batch.flux.shape, bool) if batch.good is None else batch.good.numpy()

        data, pixels = self.data, self.data.grid.size
        most = min(FIT_SAMPLE, max(16, FIT_PIXELS // pixels))
        place = data.unseen
        if place.size > most:
            place = np.sort(np.random.default_rng(0).choice(place, most, replace=False))
        chi2, stated, curves = [], [], []
        squares, sums, count = np.zeros(pixels), np.zeros(pixels), np.zeros(pixels)
        for some in np.array_split(place, max(1, place.size * pixels // 2**20)):
            batch, made = self.decoded(data.held[some], data.own_means[some])
            left = residual(batch.flux, made, good=batch.good)
            chi2.append(chi2_per_pixel(left, batch.sigma, good=batch.good).numpy())
            came = data.model.to_device(self._read(data.held[some]), stated=True).to(torch.device("cpu"))
            stated.append(chi2_per_pixel(left, came.sigma, good=batch.good).numpy())
            curves.append(np.where(good_of(batch), came.sigma.numpy(), np.nan))
            good = good_of(batch)
            scaled = np.where(good, left.numpy() / batch.sigma.numpy(), 0.0)
            squares, sums, count = squares + (scaled**2).sum(0), sums + scaled.sum(0), count + good.sum(0)
        rows = data.held[place]
        spectra = data.index.iloc[rows][["spectrum_id", "target", "snr"]].assign(
            chi2=np.concatenate(chi2), chi2_stated=np.concatenate(stated)
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            rms, mean = np.sqrt(squares / count), sums / count
        order = np.argsort(spectra["chi2"].to_numpy(), kind="stable")
        parts = []
        for share in (0.1, 0.5, 0.95):
            one = int(order[round(share * (order.size - 1))])
            row = spectra.iloc[one]
            title = (
                f"{row['target'] or row['spectrum_id']}, S/N {row['snr']:.0f}: chi2 {row['chi2']:.2f} a "
                f"pixel, {round(100 * share)} % of spectra fit better"
            )
            parts.append(self._fit_table(rows[[one]], data.own_means[place[[one]]], title))
        return {
            "spectra": spectra.reset_index(drop=True),
            "pixels": thin(pd.DataFrame({"wavelength": self.wavelength, "rms": rms, "mean": mean})),
            "examples": pd.concat(parts, ignore_index=True),
            "errors": thin(
                pd.DataFrame(
                    {
                        "wavelength": self.wavelength,
                        "stated": np.nanmedian(np.concatenate(curves), axis=0),
                        "scatter": self._scatter(),
                    }
                )
            ),
        }

    def _scatter(self) -> NDArray[np.float64]:
        """The learned scatter (p,), relative flux; 0 where the network learns none."""
        scatter = getattr(self.data.model.network, "scatter", None)
        if scatter is None:
            return np.zeros(self.wavelength.size)
        return np.asarray(scatter.sqrt().double().cpu().numpy())

    def errors_by_snr(self) -> pd.DataFrame:
        """By how much the stated errors are off in quarters of signal-to-noise; a row per quarter."""
        import pandas as pd

        if not (self.data.has_codes and self.data.held.size):
            return pd.DataFrame()
        spectra = self.fit["spectra"].dropna(subset=["chi2", "chi2_stated", "snr"])
        rows = []
        for some in np.array_split(np.argsort(spectra["snr"].to_numpy(), kind="stable"), 4):
            if some.size < FEWEST_OF_QUARTER:
                continue
            one = spectra.iloc[some]
            ratio = np.sort(np.sqrt(one["chi2_stated"].to_numpy(np.float64)))
            half = LEVEL * np.sqrt(ratio.size) / 2
            first, last = int(max(0, ratio.size / 2 - half)), int(min(ratio.size - 1, ratio.size / 2 + half))
            rows.append(
                {
                    "low_snr": one["snr"].min(),
                    "high_snr": one["snr"].max(),
                    "spectra": ratio.size,
                    "ratio": float(np.median(ratio)),
                    "low": float(ratio[first]),
                    "high": float(ratio[last]),
                    "learned": float(np.sqrt(one["chi2"].median())),
                }
            )
        return pd.DataFrame(rows)

    def response(self) -> pd.DataFrame | None:
        """The smooth responses that held-out spectra were divided by; None where none is taken out.

        wavelength, rms over spectra, quantiles .05, .5 and .95, and a few single curves.
        """
        import pandas as pd

        model, rows = self.data.model, self.data.held[:FIT_SAMPLE]
        if model.response is None or not rows.size:
            return None
        found = []
        for some in np.array_split(rows, max(1, rows.size * self.wavelength.size // 2**20)):
            batch = self._read(some).to(model.device)
            curve = model.response.curves(batch.flux, batch.sigma, batch.good)[1].cpu().numpy()
            found.append(curve / np.median(curve, axis=1, keepdims=True))
        curves = np.concatenate(found)
        low, middle, high = np.quantile(curves, [0.05, 0.5, 0.95], axis=0)
        columns: dict[str, Any] = {"wavelength": self.wavelength, "low": low, "middle": middle, "high": high}
        columns |= {f"example_{i}": curve for i, curve in enumerate(curves[:EXAMPLES])}
        return thin(pd.DataFrame(columns))

    def chi2(self) -> MedianChi2 | None:
        """How well held-out spectra are rebuilt; None where there are no codes."""
        if not (self.data.has_codes and self.data.held.size):
            return None
        chi2 = np.sort(self.fit["spectra"]["chi2"].dropna().to_numpy(dtype=np.float64))
        half = LEVEL * np.sqrt(chi2.size) / 2
        first, last = int(np.floor(chi2.size / 2 - half)), int(np.ceil(chi2.size / 2 + half))
        low, high = chi2[max(0, first)], chi2[min(chi2.size - 1, last)]
        return MedianChi2(float(np.median(chi2)), float(low), float(high), chi2.size)

    def extremes(self, node: Node) -> pd.DataFrame:
        """The two spectra of lowest and the two of highest code, rebuilt."""
        parts = []
        if node.dossier is not None:
            for kind, ends in (("lowest", node.dossier.lowest), ("highest", node.dossier.highest)):
                for one in ends[:2]:
                    row = np.array([self.data.store.locate(one.spectrum_id)])
                    place = np.flatnonzero(self.data.held == row[0])
                    if place.size:
                        title = f"{kind}: {one.target or one.spectrum_id}, code {one.code:.2f}"
                        parts.append(self._fit_table(row, self.data.own_means[place], title))
        return _joined(parts)

    def strangest(self) -> pd.DataFrame:
        """The oddest spectra, rebuilt."""
        assert self.data.outliers is not None
        first = self.data.outliers.head(ODDEST)
        names = self.data.mean_columns
        codes = self.data.codes(names, wanted=set(first["spectrum_id"])).set_index("spectrum_id")
        parts = []
        for one in first.to_dict(orient="records"):
            row = np.array([self.data.store.locate(one["spectrum_id"])])
            title = f"{one['target'] or one['spectrum_id']}: {str(one['reasons']).split('; ')[0]}"
            parts.append(self._fit_table(row, codes.loc[[one["spectrum_id"]]].to_numpy(np.float64), title))
        return _joined(parts)

    def _fit_table(self, row: NDArray[np.intp], codes: Floats, title: str) -> pd.DataFrame:
        """One spectrum with its reconstruction; NaN where masked."""
        import pandas as pd

        batch, made = self.decoded(row, codes)
        flux, model, sigma = (one[0].numpy().astype(np.float64) for one in (batch.flux, made, batch.sigma))
        if batch.good is not None:
            flux = np.where(batch.good[0].numpy(), flux, np.nan)
        pixels = pd.DataFrame(
            {
                "wavelength": self.wavelength,
                "flux": flux,
                "reconstruction": model,
                "residual": (flux - model) / sigma,
            }
        )
        return thin(pixels).assign(title=title, spectrum_id=self.data.index["spectrum_id"].iloc[int(row[0])])


def thin(pixels: pd.DataFrame) -> pd.DataFrame:
    """A table of pixels as a figure draws it: long ones in columns from lowest to highest value."""
    import pandas as pd

    if len(pixels) <= SHORT:
        return pixels
    place = pixels["wavelength"].to_numpy()
    names = [name for name in pixels if name != "wavelength"]
    found = {str(name): binned(place, pixels[name].to_numpy(), bins=BINS)[1] for name in names}
    return pd.DataFrame({"wavelength": binned(place, pixels[names[0]].to_numpy(), bins=BINS)[0], **found})


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"title": []})


def _zoom_lines(named: pd.DataFrame) -> list[Any]:
    """Of the lines that move most those whose windows do not overlap: rows of `named`."""
    found: list[Any] = []
    for row in named.sort_values("value", ascending=False).itertuples():
        if all(abs(row.wavelength / one.wavelength - 1) > APART for one in found):
            found.append(row)
        if len(found) == ZOOMS:
            break
    return found


def _busiest(pixels: pd.DataFrame) -> list[tuple[str, float]]:
    """Where a traversal changes most, apart from each other: (name, wavelength)."""
    wave = pixels["wavelength"].to_numpy()
    ends = [pixels[column(quantile)].to_numpy() for quantile in (QUANTILES[0], QUANTILES[-1])]
    change = np.abs(ends[1] - ends[0])
    found: list[float] = []
    for pixel in np.argsort(-change, kind="stable")[:2000]:
        if all(abs(wave[pixel] / one - 1) > 2.2 * ZOOM_KMS / SPEED_OF_LIGHT for one in found):
            found.append(float(wave[pixel]))
        if len(found) == ZOOMS:
            break
    return [(f"{one:.1f} angstrom", one) for one in sorted(found)]
