"""What a report draws of a study: decoded spectra, fits, examples. Nothing is decided here."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..figures.cards import QUANTILES, ZOOMS, column, zoom_lines
from ..figures.style import BINS, binned
from ..grid import SPEED_OF_LIGHT, air_to_vacuum, vacuum_to_air
from ..measures.spacing import LEVEL
from .reading import Floats, Read

if TYPE_CHECKING:
    import pandas as pd

    from ..model.data import Tensors

# held-out spectra that are decoded: so many, and no more pixels than that
FIT_SAMPLE, FIT_PIXELS = 300, 2**22
SHORT = 20_000  # pixels up to which tables beside figures hold every one
ZOOM_KMS = 200.0  # to each side of a line
EXAMPLES, ODDEST = 5, 3


class Gathered(Read):
    """A study as a report sees it, with what its network makes of codes."""

    # --- what the network makes of codes

    @cached_property
    def _network(self) -> Any:
        return self.study.model(unpruned=True)[0].eval()

    @property
    def has_parts(self) -> bool:
        """Does the decoder tell star from atmosphere?"""
        return bool(
            self.model_facts is not None
            and self.model_facts["network"]["kind"] == "prism"
            and not self.model_facts["network"]["config"]["agnostic"]
        )

    @cached_property
    def _moving(self) -> bool:
        return bool(getattr(self._network.config, "moving_air", False))

    def _air(self, count: int, berv: Any = None) -> Any:
        import torch

        if not self._moving:
            return None
        return torch.zeros(count) if berv is None else berv

    def traversal(self, node: int) -> pd.DataFrame:
        """Decoded spectra at the quantiles of a node, all others at their median; a row a pixel.

        In the observer's frame. Star and atmosphere alone at the outer two quantiles, where there are such.
        """
        import pandas as pd
        import torch

        z = np.tile(np.median(self.means, axis=0), (len(QUANTILES), 1))
        z[:, node] = self.quantiles(node)
        codes = torch.from_numpy(z.astype(np.float32))
        found: dict[str, Any] = {"wavelength": self.grid.wavelength}
        with torch.no_grad():
            made = self._network.decode(codes, berv=self._air(len(codes)))
            found |= {column(q): row.numpy() for q, row in zip(QUANTILES, made, strict=True)}
            if self.has_parts:
                ends, air = codes[[0, -1]], self._air(2)
                parts = self._network.parts(ends)
                star = self._network.join(
                    parts._replace(atmosphere=torch.ones_like(parts.atmosphere)), berv=air
                )
                sky = self._network.join(parts._replace(star=torch.ones_like(parts.star)), berv=air)
                for place, quantile in enumerate((QUANTILES[0], QUANTILES[-1])):
                    found[column(quantile, "star")] = star[place].numpy()
                    found[column(quantile, "air")] = sky[place].numpy()
        return pd.DataFrame(found)

    def zooms(self, node: dict[str, Any], pixels: pd.DataFrame) -> pd.DataFrame:
        """Windows of a traversal around the lines that the node moves most; a row a pixel and window."""
        import pandas as pd

        windows: list[tuple[str, float]] = []
        named = self.named_lines(node)
        if len(named):
            speed = self._star_velocity(pixels)
            for one in zoom_lines(named):
                vacuum = one.wavelength * (1 + (speed if one.frame == "star" else 0.0) / SPEED_OF_LIGHT)
                windows.append(
                    (one.line, float(vacuum_to_air(vacuum)) if self.grid.medium == "air" else vacuum)
                )
        else:
            windows = _busiest(pixels)
        wave, parts = pixels["wavelength"].to_numpy(), []
        pixel_kms = SPEED_OF_LIGHT * float(np.median(np.diff(wave)) / np.median(wave))
        reach = max(ZOOM_KMS, 12 * pixel_kms) / SPEED_OF_LIGHT
        for name, centre in windows:
            near = np.abs(wave / centre - 1) <= reach
            if near.sum() >= 5:
                parts.append(pixels[near].assign(line=name, centre=centre))
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"line": []})

    def _star_velocity(self, pixels: pd.DataFrame) -> float:
        """km/s of the median star, by which its lines are marked."""
        from ..measures.lines import SURE, star_velocity

        wave = pixels["wavelength"].to_numpy()
        vacuum = air_to_vacuum(wave) if self.grid.medium == "air" else wave
        speed, sure = star_velocity(vacuum, pixels[column(0.5)].to_numpy(dtype=np.float64))
        return speed if sure >= SURE else 0.0

    def named_lines(self, node: dict[str, Any]) -> pd.DataFrame:
        """Lines of the groups that a node moves: wavelength, line, frame, value (a spread of the code)."""
        import pandas as pd

        spread = self.spread(int(node["node"]))
        rows = [
            {
                "wavelength": top["wavelength"],
                "line": top["line"],
                "frame": group["frame"],
                "value": spread * top["value"],
            }
            for group in node["lines"]
            for top in group["top"]
        ]
        return pd.DataFrame(rows, columns=["wavelength", "line", "frame", "value"])

    def profile(self, node: int) -> pd.DataFrame | None:
        """Change of the flux for one spread of a node's code, at rest; None where none was taken."""
        import pandas as pd
        from pyarrow import parquet

        path = self.study.path / "findings" / "derivatives.parquet"
        wanted = [f"star_{node:03d}", f"sky_{node:03d}"]
        if wanted[0] not in parquet.read_schema(path).names:
            return None
        told = pd.read_parquet(path, columns=["wavelength", *wanted]).set_axis(
            ["wavelength", "star", "sky"], axis=1
        )
        return told.assign(star=self.spread(node) * told["star"], sky=self.spread(node) * told["sky"])

    # --- how well it fits

    def decoded(self, rows: NDArray[np.intp], codes: Floats) -> tuple[Tensors, Any]:
        """Spectra at positions `rows` and what the network makes of their codes (rows, nodes)."""
        import torch

        from ..model.data import Source, Tensors

        source = Source.from_store(self.store, memory=0).with_air(
            moving=bool(getattr(self._network.config, "moving_air", False))
        )
        got = source.read(rows)
        berv = None if source.berv is None else torch.from_numpy(source.berv[rows])
        flux, sigma, good = (torch.from_numpy(part) for part in got)
        batch = Tensors(flux, sigma, good, berv)
        with torch.no_grad():
            made = self._network.decode(torch.from_numpy(codes.astype(np.float32)), berv=batch.berv)
        return batch, made

    @cached_property
    def fit(self) -> dict[str, pd.DataFrame]:
        """How well held-out spectra are rebuilt: spectra (a row each), pixels, and three examples."""
        import pandas as pd

        from ..model.loss import chi2_per_pixel, residual

        most = min(FIT_SAMPLE, max(16, FIT_PIXELS // self.grid.size))
        place = np.arange(self.held.size)
        if place.size > most:
            place = np.sort(np.random.default_rng(0).choice(place, most, replace=False))
        chi2, squares, sums, count = (
            [],
            np.zeros(self.grid.size),
            np.zeros(self.grid.size),
            np.zeros(self.grid.size),
        )
        for some in np.array_split(place, max(1, place.size * self.grid.size // 2**20)):
            batch, made = self.decoded(self.held[some], self.means[some])
            left = residual(batch.flux, made, good=batch.good)
            chi2.append(chi2_per_pixel(left, batch.sigma, good=batch.good).numpy())
            good = batch.good.numpy() if batch.good is not None else np.ones(left.shape, bool)
            scaled = np.where(good, left.numpy() / batch.sigma.numpy(), 0.0)
            squares, sums, count = squares + (scaled**2).sum(0), sums + scaled.sum(0), count + good.sum(0)
        rows = self.held[place]
        spectra = self.index.iloc[rows][["spectrum_id", "target", "snr"]].assign(chi2=np.concatenate(chi2))
        with np.errstate(invalid="ignore", divide="ignore"):
            rms, mean = np.sqrt(squares / count), sums / count
        pixels = pd.DataFrame({"wavelength": self.grid.wavelength, "rms": rms, "mean": mean})
        order = np.argsort(spectra["chi2"].to_numpy(), kind="stable")
        parts = []
        for share in (0.1, 0.5, 0.95):
            one = int(order[round(share * (order.size - 1))])
            row = spectra.iloc[one]
            title = (
                f"{row['target'] or row['spectrum_id']}, S/N {row['snr']:.0f}: chi2 {row['chi2']:.2f} a "
                f"pixel, "
                f"{round(100 * share)} % of spectra fit better"
            )
            parts.append(self._fit_table(rows[[one]], self.means[place[[one]]], title))
        return {
            "spectra": spectra.reset_index(drop=True),
            "pixels": thin(pixels),
            "examples": pd.concat(parts, ignore_index=True),
        }

    def _fit_table(self, row: NDArray[np.intp], codes: Floats, title: str) -> pd.DataFrame:
        """One spectrum with its reconstruction, a row a pixel; NaN where masked."""
        import pandas as pd

        batch, made = self.decoded(row, codes)
        flux, model, sigma = (one[0].numpy().astype(np.float64) for one in (batch.flux, made, batch.sigma))
        if batch.good is not None:
            flux = np.where(batch.good[0].numpy(), flux, np.nan)
        told = thin(
            pd.DataFrame(
                {
                    "wavelength": self.grid.wavelength,
                    "flux": flux,
                    "reconstruction": model,
                    "residual": (flux - model) / sigma,
                }
            )
        )
        return told.assign(title=title, spectrum_id=self.index["spectrum_id"].iloc[int(row[0])])

    def chi2(self) -> tuple[float, float, float, int]:
        """Median chi2 a pixel of held-out spectra, its 90 % interval by order statistics, and of how many."""
        told = np.sort(self.fit["spectra"]["chi2"].dropna().to_numpy(dtype=np.float64))
        half = LEVEL * np.sqrt(told.size) / 2
        first, last = int(np.floor(told.size / 2 - half)), int(np.ceil(told.size / 2 + half))
        return float(np.median(told)), told[max(0, first)], told[min(told.size - 1, last)], told.size

    def extremes(self, node: dict[str, Any]) -> pd.DataFrame:
        """The two spectra of lowest and the two of highest code, rebuilt; a row a pixel."""
        import pandas as pd

        dossier, parts = node["dossier"] or {}, []
        for kind in ("lowest", "highest"):
            for one in dossier.get(kind, [])[:2]:
                row = np.array([self.store.locate(one["spectrum_id"])])
                place = np.flatnonzero(self.held == row[0])
                if not place.size:
                    continue
                title = f"{kind}: {one['target'] or one['spectrum_id']}, code {one['code']:.2f}"
                parts.append(self._fit_table(row, self.means[place], title))
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"title": []})

    def strangest(self) -> pd.DataFrame:
        """The oddest spectra, rebuilt; a row a pixel."""
        import pandas as pd

        assert self.outliers is not None
        first = self.outliers.head(ODDEST)
        names = [f"mean_{i:03d}" for i in range(self.nodes)]
        codes = self._read_codes(names, wanted=set(first["spectrum_id"])).set_index("spectrum_id")
        parts = []
        for one in first.to_dict(orient="records"):
            row = np.array([self.store.locate(one["spectrum_id"])])
            title = f"{one['target'] or one['spectrum_id']}: {str(one['reasons']).split('; ')[0]}"
            parts.append(self._fit_table(row, codes.loc[[one["spectrum_id"]]].to_numpy(np.float64), title))
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"title": []})

    def examples(self) -> pd.DataFrame:
        """A few spectra from low to high signal-to-noise, a row a pixel."""
        import pandas as pd

        if not len(self.index):
            return pd.DataFrame({"snr": [], "spectrum_id": []})
        order = np.argsort(self.index["snr"].to_numpy(), kind="stable")
        chosen = order[np.unique(np.linspace(0, len(order) - 1, EXAMPLES).round().astype(int))]
        parts = []
        for row in chosen:
            batch = self.store.read([int(row)])
            flux, sigma = (np.where(batch.good[0], one[0], np.nan) for one in (batch.flux, batch.sigma))
            told = thin(pd.DataFrame({"wavelength": self.grid.wavelength, "flux": flux, "sigma": sigma}))
            parts.append(told.assign(**self.index.iloc[row][["spectrum_id", "target", "snr"]].to_dict()))
        return pd.concat(parts, ignore_index=True)


def thin(pixels: pd.DataFrame) -> pd.DataFrame:
    """A table of pixels as a figure draws it: long ones in columns from lowest to highest value."""
    import pandas as pd

    if len(pixels) <= SHORT:
        return pixels
    place = pixels["wavelength"].to_numpy()
    names = [name for name in pixels if name != "wavelength"]
    found = {str(name): binned(place, pixels[name].to_numpy(), bins=BINS)[1] for name in names}
    return pd.DataFrame({"wavelength": binned(place, pixels[names[0]].to_numpy(), bins=BINS)[0], **found})


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
