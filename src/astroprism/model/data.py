"""Spectra for a network: from arrays or a store, which of them at which step, as tensors on the device.

    Source (the spectra) -> Draws (rows of each step) -> Feed (tensors, read ahead)
    fair                    rows of a sample

Shapes: n spectra of p pixels, b of them in a batch.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import check_choice
from ..errors import AstroprismError, ConfigError, StoreError
from ..store.read import Batch

if TYPE_CHECKING:  # torch is loaded by the first batch
    import pandas as pd
    import torch
    from torch import Tensor

    from ..store import Store

IN_MEMORY = 4 * 2**30  # bytes of a store up to which it is read whole and kept
PIXEL_BYTES = 9  # flux and sigma float32, good bool
CHUNK_BYTES = 64 << 20  # of a store read into memory, masked pixels are cleared in pieces of this
AT_ONCE = 1 << 20  # bytes: a batch as small is sooner copied from memory than handed over by a thread
PIECE = 1 << 20  # pixels of `Tensors.pieces`


@dataclass(frozen=True, eq=False, repr=False)
class Source:
    """Spectra to draw from; made by `from_arrays` or `from_store`. Threads may share one."""

    load: Callable[[NDArray[np.intp], Batch | None], Batch]  # reads rows that are there; callers use `read`
    digest: Callable[[], str]  # gives the fingerprint
    pixels: int  # p
    step: float | None  # km/s per pixel; None where the grid is not uniform in log wavelength
    targets: NDArray[np.object_]  # the star of each spectrum, (n,)
    # km/s (n,): a line at rest on Earth lies at +berv, 0 in the observer's frame; None where no atmosphere
    # moves, as far as is known
    berv: NDArray[np.float32] | None
    berv_unknown: int  # spectra whose frame or BERV is unknown; `berv` has 0 for them
    complete: bool  # every pixel of every spectrum is good
    in_memory: bool  # reading is copying
    # vacuum angstrom of the first pixel, where it is known and the grid logarithmic
    first: float | None = None

    @classmethod
    def from_arrays(
        cls,
        flux: ArrayLike,
        sigma: ArrayLike,
        *,
        good: ArrayLike | None = None,
        step: float | None = None,
        targets: Sequence[str] | NDArray[np.object_] | None = None,
        berv: ArrayLike | None = None,
    ) -> Self:
        """Spectra (n, p) at hand; they may be kept without a copy, so leave them as they are.

        sigma    1-sigma errors; pixels where flux or sigma is no number, or sigma not positive, are not good
        targets  one per spectrum; without, each spectrum is a star of its own
        berv     km/s; NaN where unknown
        """
        whole = _from_memory(flux, sigma, good)
        n, p = whole.flux.shape
        names = [str(row) for row in range(n)] if targets is None else list(targets)
        known = None if berv is None else np.array(berv, dtype=np.float32)  # a copy
        for name, count in (("targets", len(names)), ("berv", n if known is None else known.size)):
            if count != n:
                raise ConfigError(f"{n} spectra, but {count} {name}; give one for each spectrum")
        lost = ~np.isfinite(known) if known is not None else np.zeros(0, bool)
        if known is not None:
            known[lost] = 0
        labels = np.array(names, dtype=object)

        def fingerprint() -> str:
            digest = hashlib.blake2b(repr((n, p, step)).encode(), digest_size=32)
            digest.update("\x1f".join(map(str, labels)).encode("utf-8", "surrogatepass"))
            for array in (*whole, *([] if known is None else [known])):
                digest.update(array.data)
            return digest.hexdigest()

        return cls(
            _copier(whole),
            fingerprint,
            pixels=p,
            step=step,
            targets=labels,
            berv=known,
            berv_unknown=int(lost.sum()),
            complete=bool(whole.good.all()),
            in_memory=True,
        )

    @classmethod
    def from_store(cls, store: Store, *, memory: int = IN_MEMORY) -> Self:
        """The spectra of a store, by their positions in it.

        memory  bytes: a store that takes no more is read whole and kept, another is read as it is drawn
        """
        index = store.index
        missing = [name for name in ("target", "frame", "berv", "n_good") if name not in index]
        if missing:
            raise StoreError(
                f"{store.path}: its index has no {', '.join(missing)}; run its ingest again to finish it"
            )
        if not len(store):
            raise StoreError(f"{store.path} holds no spectra; ingest some, or see why they were refused")
        berv, unknown = _known_berv(index)
        n, p = len(store), store.grid.size
        read, in_memory = _streamer(store), n * p * PIXEL_BYTES <= memory
        if in_memory:
            whole = Batch(np.empty((n, p), np.float32), np.empty((n, p), np.float32), np.empty((n, p), bool))
            for some in np.array_split(np.arange(n), min(n, 1 + n * p * PIXEL_BYTES // CHUNK_BYTES)):
                read(some, Batch._make(array[some[0] : some[-1] + 1] for array in whole))
            read = _copier(whole)
        return cls(
            read,
            lambda: store.fingerprint,
            pixels=p,
            step=store.grid.step if store.grid.kind == "log" else None,
            targets=index["target"].to_numpy(dtype=object),
            berv=berv,
            berv_unknown=unknown,
            complete=bool((index["n_good"] == p).all()),
            in_memory=in_memory,
            first=float(store.grid.wavelength[0]) if store.grid.kind == "log" else None,
        )

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def fingerprint(self) -> str:
        """Hash of what the spectra are made of: of the arrays themselves, or the store's own."""
        return self.digest()

    def read(self, rows: ArrayLike, *, out: Batch | None = None) -> Batch:
        """Spectra at `rows` (any order, repeats allowed), each array (len(rows), p); `out` is filled instead.

        Where not good, flux is 0 and sigma 1: no NaN ever reaches a network.
        """
        wanted = np.asarray(rows)
        if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
            raise ConfigError(f"rows of shape {wanted.shape} and type {wanted.dtype}; give a list of numbers")
        wrong = (wanted < 0) | (wanted >= len(self))
        if wrong.any():
            raise ConfigError(f"row {wanted[wrong][0]} is outside 0..{len(self) - 1}")
        return self.load(wanted.astype(np.intp), out)

    def tensors(self, rows: NDArray[np.intp]) -> Tensors:
        """Spectra at `rows` as tensors in this machine's memory."""
        import torch

        read = self.read(rows)
        good = None if self.complete else torch.from_numpy(read.good)
        berv = None if self.berv is None else torch.from_numpy(self.berv[rows])
        return Tensors(torch.from_numpy(read.flux), torch.from_numpy(read.sigma), good, berv)

    def with_air(self, *, moving: bool) -> Source:
        """The source with the BERV that a network reads: 0 where it wants one and none is known."""
        if not moving:
            return replace(self, berv=None)
        return self if self.berv is not None else replace(self, berv=np.zeros(len(self), np.float32))


class Draws:
    """Which rows make the batch of which step: a pure function of seed and step, so that none need be saved.

    An epoch is a seeded permutation; batches run on over its end. A batch larger than that holds several.
    """

    def __init__(
        self,
        targets: Sequence[str] | NDArray[np.object_],
        rows: ArrayLike,
        *,
        batch: int,
        seed: int,
        balance: str = "target",
    ) -> None:
        """Draw from `rows` of the spectra whose stars are `targets` (n,).

        batch    rows per step, of all devices together
        balance  'target': an epoch is one seeded visit of each star, so that a star observed a thousand
                 times counts as one; 'none': one visit of each row
        """
        chosen = np.asarray(rows, dtype=np.intp)
        check_choice("balance", balance, ("target", "none"))
        if batch < 1 or seed < 0:
            raise ConfigError(f"batch {batch} must be at least 1, seed {seed} at least 0")
        if not chosen.size:
            raise ConfigError("no spectra to draw from; give more, or a smaller share to valid and test")
        self.batch, self.seed = int(batch), int(seed)
        of = np.arange(chosen.size)
        if balance == "target":
            names = [targets[row] for row in chosen.tolist()]
            if not all(isinstance(name, str) and name for name in names):
                raise ConfigError("a spectrum has no target; `group_targets` gives each one")
            of = np.unique(np.array(names), return_inverse=True)[1]
        order = np.argsort(of, kind="stable")
        self._rows = chosen[order]  # visits of a star side by side
        self._count = np.bincount(of)  # visits of each star
        self._first = np.cumsum(self._count) - self._count
        self._recent: dict[int, NDArray[np.intp]] = {}

    @property
    def epoch(self) -> int:
        """Rows per epoch: the number of stars, or of spectra without balance."""
        return self._count.size

    def at(self, step: int) -> NDArray[np.intp]:
        """Rows of the batch of `step`, (batch,)."""
        if step < 0:
            raise ConfigError(f"step {step} must be at least 0")
        place = step * self.batch
        parts, missing = [], self.batch
        while missing:
            number, offset = divmod(place, self.epoch)
            part = self._order(number)[offset : offset + missing]
            parts.append(part)
            place, missing = place + part.size, missing - part.size
        return np.concatenate(parts)

    def _order(self, number: int) -> NDArray[np.intp]:
        """Rows of epoch `number` in their order."""
        found = self._recent.get(number)
        if found is None:
            random = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(number,)))
            turn = random.permutation(self.epoch)
            visit = (random.random(self.epoch) * self._count).astype(np.intp)[turn]
            found = self._rows[self._first[turn] + visit]
            # replaced whole, so that threads need no lock
            self._recent = {**dict(list(self._recent.items())[-1:]), number: found}
        return found


class Tensors(NamedTuple):
    """A batch of spectra as a network takes it."""

    flux: Tensor  # (b, p) float32
    sigma: Tensor  # (b, p) float32
    good: Tensor | None  # (b, p) bool; None where all are good
    berv: Tensor | None  # (b,) float32, km/s; None where no atmosphere moves

    def at(self, rows: slice | Tensor) -> Tensors:
        """Some spectra of the batch."""
        return Tensors(
            self.flux[rows],
            self.sigma[rows],
            None if self.good is None else self.good[rows],
            None if self.berv is None else self.berv[rows],
        )

    def pieces(self, pixels: int = PIECE) -> Iterator[tuple[slice, Tensors]]:
        """The batch in parts of about that many pixels, each with its rows."""
        size = max(1, pixels // self.flux.shape[1])
        for start in range(0, len(self.flux), size):
            rows = slice(start, min(start + size, len(self.flux)))
            yield rows, self.at(rows)

    def to(self, device: torch.device) -> Tensors:
        """The batch on a device."""
        return Tensors(
            self.flux.to(device),
            self.sigma.to(device),
            None if self.good is None else self.good.to(device),
            None if self.berv is None else self.berv.to(device),
        )

    def with_air(self, *, moving: bool) -> Tensors:
        """The batch with the BERV that a network reads: 0 where it wants one and none is known."""
        if not moving:
            return self._replace(berv=None)
        return self if self.berv is not None else self._replace(berv=self.flux.new_zeros(len(self.flux)))


class Feed:
    """Batches of steps `first` to `last` - 1 in turn, read ahead by a thread; a context, for one iteration.

    ahead   batches read before they are needed
    share   (rank, world): this rank's part of each batch; the parts in order are the whole
    waited  seconds that the consumer waited for its batches
    """

    def __init__(
        self,
        source: Source,
        draws: Draws,
        *,
        first: int,
        last: int,
        device: str | torch.device,
        ahead: int = 3,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        import torch

        rank, world = share
        if not 0 <= rank < world <= draws.batch:
            raise ConfigError(
                f"share {rank} of {world} of a batch of {draws.batch}; ranks count from 0, and a batch must "
                "hold a spectrum for each"
            )
        if ahead < 1:
            raise ConfigError(f"{ahead} batches ahead; at least 1 is needed")
        self.waited = 0.0
        self._source, self._draws, self._ahead = source, draws, ahead
        self._part = slice(draws.batch * rank // world, draws.batch * (rank + 1) // world)
        self._device = torch.device(device)
        self._pinned = self._device.type == "cuda"
        self._step, self._last = first, last  # the next step to begin reading
        self._coming: deque[Future[Tensors]] = deque()
        self._pool: ThreadPoolExecutor | None = None
        small = (self._part.stop - self._part.start) * source.pixels * PIXEL_BYTES <= AT_ONCE
        self._at_once, self._open = source.in_memory and small, False

    def __enter__(self) -> Self:
        self._open = True
        if not self._at_once:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="astroprism-feed")
            for _ in range(self._ahead):
                self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._open = False
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)  # waits for the batch being read
            self._pool = None
        self._coming.clear()

    def __iter__(self) -> Iterator[Tensors]:
        while self._coming or self._step < self._last:
            if not self._open:
                raise AstroprismError("a feed gives batches inside its `with` block only")
            begun = time.perf_counter()
            if self._pool is None:
                here = self._read(self._step)
                self._step += 1
            else:
                here = self._coming.popleft().result()  # an error of the thread is raised here
                self._begin()
            batch = Tensors._make(
                None if part is None else part.to(self._device, non_blocking=self._pinned) for part in here
            )
            self.waited += time.perf_counter() - begun
            yield batch

    def _begin(self) -> None:
        if self._pool is not None and self._step < self._last:
            self._coming.append(self._pool.submit(self._read, self._step))
            self._step += 1

    def _read(self, step: int) -> Tensors:
        """The batch of `step` in this machine's memory, pinned where a GPU will fetch it."""
        import torch

        source, rows = self._source, self._draws.at(step)[self._part]
        flux, sigma, good = (
            torch.empty((rows.size, source.pixels), dtype=dtype, pin_memory=self._pinned)
            for dtype in (torch.float32, torch.float32, torch.bool)
        )
        source.read(rows, out=Batch(flux.numpy(), sigma.numpy(), good.numpy()))
        berv = None if source.berv is None else torch.from_numpy(source.berv[rows])
        if berv is not None and self._pinned:
            berv = berv.pin_memory()
        return Tensors(flux, sigma, None if source.complete else good, berv)


def fair(rows: NDArray[np.intp], count: int, *, source: Source, seed: int) -> NDArray[np.intp]:
    """Up to `count` of the rows, one per target first, in a seeded order: its first few are fair, too."""
    import pandas as pd

    rows = np.random.default_rng(seed).permutation(rows)
    star = pd.factorize(source.targets[rows])[0]  # half the time of sorting 300,000 names
    again = np.ones(len(rows), bool)
    again[np.unique(star, return_index=True)[1]] = False
    return rows[np.argsort(again, kind="stable")[:count]]


# --- where the spectra come from


def _from_memory(flux: ArrayLike, sigma: ArrayLike, good: ArrayLike | None) -> Batch:
    """Arrays as a batch: contiguous, and cleared where not good."""
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is no number, hence not good
        values = np.ascontiguousarray(flux, dtype=np.float32)
        errors = np.ascontiguousarray(sigma, dtype=np.float32)
    if values.ndim != 2 or not values.size:
        raise ConfigError(f"flux of shape {values.shape}; (spectra, pixels) with at least one each is needed")
    given = np.ones(values.shape, bool) if good is None else np.asarray(good, dtype=bool)
    for name, array in (("sigma", errors), ("good", given)):
        if array.shape != values.shape:
            raise ConfigError(f"{name} of shape {array.shape} beside flux of {values.shape}; give one shape")
    mask = given & np.isfinite(values) & np.isfinite(errors) & (errors > 0)
    if not mask.all():
        values, errors = np.where(mask, values, np.float32(0)), np.where(mask, errors, np.float32(1))
    return Batch(values, errors, mask)


def _copier(whole: Batch) -> Callable[[NDArray[np.intp], Batch | None], Batch]:
    """How to read rows of what lies in memory."""

    def read(rows: NDArray[np.intp], out: Batch | None) -> Batch:
        if out is None:
            return Batch._make(array[rows] for array in whole)
        for array, target in zip(whole, out, strict=True):
            # rows are checked; 'raise' would copy twice
            np.take(array, rows, axis=0, out=target, mode="clip")
        return out

    return read


def _streamer(store: Store) -> Callable[[NDArray[np.intp], Batch | None], Batch]:
    """How to read rows of a store, cleared where not good."""

    def read(rows: NDArray[np.intp], out: Batch | None) -> Batch:
        batch = store.read(rows, out=out)
        bad = ~batch.good
        np.copyto(batch.flux, 0, where=bad)
        np.copyto(batch.sigma, 1, where=bad)
        for row, flux, sigma in zip(rows, batch.flux, batch.sigma, strict=True):
            if not (
                np.isfinite(flux.min())
                and np.isfinite(flux.max())
                and 0 < sigma.min() <= sigma.max() < np.inf
            ):
                raise StoreError(
                    f"{store.path}: the spectrum at position {row} has good pixels whose flux or sigma is no "
                    "number, or whose sigma is not positive; ingest it again"
                )
        return batch

    return read


def _known_berv(index: pd.DataFrame) -> tuple[NDArray[np.float32] | None, int]:
    """By which velocity each spectrum's atmosphere moves, (n,) km/s, and of how many it is not known.

    Nothing moves in the observer's frame; in another than the barycentric (a star at rest) BERV does not say.
    """
    frame = index["frame"].to_numpy(dtype=object)
    berv = index["berv"].to_numpy(dtype=np.float64)
    known = (frame == "barycentric") & np.isfinite(berv)
    moves = np.where(known, berv, 0).astype(np.float32)
    unknown = int(np.count_nonzero(~known & (frame != "topocentric")))
    return (moves if moves.any() else None), unknown
