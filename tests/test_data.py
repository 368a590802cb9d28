"""Batches: the right rows at the right step, on however many devices, from wherever the spectra lie."""

import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from astroprism.errors import AstroprismError, ConfigError, StoreError
from astroprism.grid import PAPER, log_grid
from astroprism.model.data import Draws, Feed, Source
from astroprism.store import Store
from astroprism.store.read import Batch
from astroprism.store.write import BlockWriter, Layout, create_store, publish, resize, seal

GRID = log_grid(5000, 5005, step=1.5)  # 200 pixels
ROWS = 23
TARGETS = np.array([f"star {row}" for row in (*range(8), *[8] * 5, *[9] * 10)], dtype=object)


def spectra(n=ROWS, *, masked=True):
    rng = np.random.default_rng(5)
    flux = rng.normal(1, 0.1, (n, GRID.size)).astype(np.float32)
    good = rng.random(flux.shape) > 0.1 if masked else np.ones(flux.shape, bool)
    return flux, np.full(flux.shape, 0.02, np.float32), good


def write_store(path, flux, sigma, good, *, grid=GRID, **columns):
    """A finished store with the columns of an index that a source needs."""
    layout = Layout(grid, 8)
    create_store(path, layout, config={})
    n_shards = -(-len(flux) // 8)
    for shard in range(n_shards):
        block = path / ".ingest" / f"{shard:06d}"
        with BlockWriter(block, layout) as writer:
            for row in range(shard * 8, min(len(flux), shard * 8 + 8)):
                writer.append(flux[row], sigma[row], good[row])
        seal(block, layout)
        publish(block, path, shard)
    n = len(flux)
    columns = {
        "target": TARGETS[:n],
        "frame": "barycentric",
        "berv": np.linspace(-20, 20, n),
        "n_good": good.sum(1),
    } | columns
    table = pd.DataFrame({"row": np.arange(n), "spectrum_id": [f"s{row}" for row in range(n)]})
    table.assign(**{name: values for name, values in columns.items() if values is not None}).to_parquet(
        path / "index.parquet"
    )
    resize(path, n_shards, finished=True)
    return Store(path)


@pytest.fixture
def source():
    flux, sigma, good = spectra()
    return Source.from_arrays(flux, sigma, good=good, step=1.5, targets=TARGETS, berv=np.arange(ROWS))


def draws(batch=6, seed=1, **more):
    return Draws(TARGETS, np.arange(ROWS), batch=batch, seed=seed, **more)


def fed(source, drawn, *, first=0, last=9, **more):
    with Feed(source, drawn, first=first, last=last, device="cpu", **more) as feed:
        return list(feed)


def assert_same(one, other):
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        for a, b in zip(left, right, strict=True):
            assert (a is None) == (b is None)
            assert a is None or (a.dtype == b.dtype and torch.equal(a, b))


# which rows


def test_rows_hang_on_seed_and_step_alone():
    once = [draws().at(step) for step in range(40)]
    again = draws()
    for step in np.random.default_rng(0).permutation(40):
        assert np.array_equal(again.at(int(step)), once[step])
    assert all(part.shape == (6,) and part.dtype == np.intp for part in once)
    assert any(not np.array_equal(draws(seed=2).at(step), once[step]) for step in range(3))


@pytest.mark.parametrize("batch", [1, 4, 10, 33])
def test_each_target_comes_once_an_epoch(batch):
    """Across batch borders too, and with a batch of several epochs."""
    drawn = draws(batch)
    assert drawn.epoch == 10
    rows = np.concatenate([drawn.at(step) for step in range(40)])
    epochs = [rows[start : start + 10] for start in range(0, rows.size - 9, 10)]
    assert all(len(set(TARGETS[epoch])) == 10 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == len(epochs)


def test_a_target_seen_often_counts_as_one_and_shows_all_its_visits():
    rows = np.concatenate([draws(10).at(step) for step in range(600)])
    counts = np.bincount(rows, minlength=ROWS)
    assert np.all(counts[:8] == 600)
    assert np.all(np.abs(counts[8:13] - 120) < 5 * 120**0.5)
    assert np.all(np.abs(counts[13:] - 60) < 5 * 60**0.5)


def test_without_balance_each_row_comes_once_an_epoch():
    drawn = draws(23, balance="none")
    assert drawn.epoch == 23
    assert all(sorted(drawn.at(step)) == list(range(ROWS)) for step in range(3))


def test_only_the_rows_given_are_drawn():
    chosen = np.array([20, 3, 9, 15])
    drawn = Draws(TARGETS, chosen, batch=5, seed=0)
    assert drawn.epoch == 3
    seen = {int(row) for step in range(50) for row in drawn.at(step)}
    assert seen == set(chosen.tolist())


def test_the_order_of_stars_hangs_on_their_names_not_on_their_rows():
    turned = Draws(TARGETS[::-1], np.arange(ROWS), batch=10, seed=4)
    assert TARGETS[::-1][turned.at(7)].tolist() == TARGETS[draws(10, seed=4).at(7)].tolist()


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"batch": 0}, "batch 0"),
        ({"seed": -1}, "seed -1"),
        ({"balance": "stars"}, "'stars'"),
        ({"rows": []}, "no spectra"),
        ({"targets": [None]}, "no target"),
    ],
)
def test_draws_refuse_what_makes_no_sense(wrong, match):
    given = {"targets": ["a"], "rows": [0], "batch": 1, "seed": 0} | wrong
    with pytest.raises(ConfigError, match=match):
        Draws(given.pop("targets"), given.pop("rows"), **given)


# spectra


def test_masked_pixels_hold_no_flux_and_unit_error():
    flux, sigma, good = spectra()
    flux[~good], sigma[~good] = np.nan, 0
    flux[0, 0], sigma[1, 1], sigma[2, 2] = np.inf, -1, np.nan
    source = Source.from_arrays(flux, sigma, good=good)
    batch = source.read(np.arange(ROWS))
    assert not batch.good[[0, 1, 2], [0, 1, 2]].any()
    assert not source.complete
    assert np.all(batch.flux[~batch.good] == 0)
    assert np.all(batch.sigma[~batch.good] == 1)
    assert np.array_equal(batch.flux[batch.good], flux[batch.good])
    assert source.targets.tolist() == [str(row) for row in range(ROWS)]
    assert source.step is None
    assert source.berv is None


def test_values_beyond_float32_are_masked_quietly():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = Source.from_arrays([[1e300, 1.0]], [[1.0, 1.0]])
    assert source.read([0]).good.tolist() == [[False, True]]


def test_all_good_arrays_need_no_mask():
    flux, sigma, _ = spectra()
    source = Source.from_arrays(flux, sigma)
    assert source.complete
    assert all(part.good is None and part.berv is None for part in fed(source, draws()))


def test_rows_come_in_any_order_into_new_arrays_or_given_ones(source):
    flux, _, good = spectra()
    rows = [5, 2, 2, 22]
    batch = source.read(rows)
    assert np.array_equal(batch.flux, np.where(good, flux, 0)[rows])
    out = Batch(*(np.empty_like(array) for array in batch))
    assert source.read(rows, out=out) is out
    assert all(np.array_equal(a, b) for a, b in zip(out, batch, strict=True))
    batch.flux[:] = 7
    assert source.read(rows).flux.max() < 7
    for wrong in ([-1], [ROWS], [0.5], [[1]]):
        with pytest.raises(ConfigError, match="row"):
            source.read(wrong)


def test_arrays_that_do_not_belong_together_are_refused():
    flux, sigma, good = spectra()
    for wrong in (
        {"sigma": sigma[1:]},
        {"good": good[:, 1:]},
        {"targets": ["a"]},
        {"berv": [1.0]},
        {"flux": flux[0]},
        {"flux": flux[:0]},
    ):
        given = {"flux": flux, "sigma": sigma} | wrong
        with pytest.raises(ConfigError, match=r"give|needed"):
            Source.from_arrays(given.pop("flux"), given.pop("sigma"), **given)


def test_a_fingerprint_tells_arrays_apart():
    flux, sigma, good = spectra()
    other = flux.copy()
    other[3, 3] += 1e-3
    made = [
        Source.from_arrays(*given[:2], **given[2]).fingerprint
        for given in (
            (flux, sigma, {}),
            (other, sigma, {}),
            (flux, sigma, {"good": good}),
            (flux, sigma, {"targets": TARGETS}),
            (flux, sigma, {"berv": np.ones(ROWS)}),
            (flux, sigma, {"step": 2.0}),
        )
    ]
    assert len(set(made)) == len(made)
    assert Source.from_arrays(flux.copy(), sigma).fingerprint == made[0]


# a store


def test_a_store_too_large_for_memory_gives_the_same_batches(tmp_path):
    flux, sigma, good = spectra()
    flux[~good], sigma[~good] = np.nan, np.nan
    store = write_store(tmp_path / "s", flux, sigma, good)
    held, streamed = Source.from_store(store), Source.from_store(store, memory=1000)
    assert (held.in_memory, streamed.in_memory) == (True, False)
    for source in (held, streamed):
        assert (len(source), source.pixels, source.step) == (ROWS, GRID.size, 1.5)
        assert source.fingerprint == store.fingerprint
        assert source.targets.tolist() == TARGETS.tolist()
        assert not source.complete
    assert_same(fed(held, draws()), fed(streamed, draws()))
    first = fed(streamed, draws())[0]
    rows = draws().at(0)
    assert torch.equal(first.good, torch.from_numpy(good[rows]))
    assert torch.equal(first.flux, torch.from_numpy(np.where(good, flux, 0)[rows]))
    assert torch.equal(first.sigma, torch.from_numpy(np.where(good, sigma, 1)[rows]))
    assert np.allclose(first.berv, np.linspace(-20, 20, ROWS)[rows])


@pytest.mark.parametrize("memory", [0, 10**9])
def test_a_store_without_masked_pixels_is_complete(tmp_path, memory):
    store = write_store(tmp_path / "s", *spectra(masked=False))
    source = Source.from_store(store, memory=memory)
    assert source.complete
    assert fed(source, draws())[0].good is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("array", [0, 1])
def test_a_good_pixel_without_a_number_is_refused(tmp_path, array, value):
    arrays = spectra()
    arrays[array][4, 7], arrays[2][4, 7] = value, True
    store = write_store(tmp_path / "s", *arrays)
    with pytest.raises(StoreError, match="position 4"):
        Source.from_store(store)
    source = Source.from_store(store, memory=0)
    source.read([3, 5])
    with pytest.raises(StoreError, match="position 4"):
        source.read([3, 4])


@pytest.mark.parametrize(
    ("frame", "berv", "expected", "unknown"),
    [
        (["barycentric"] * 3, [10, -5, 0], [10, -5, 0], 0),
        (["barycentric", "topocentric", "barycentric"], [10, 7, np.nan], [10, 0, 0], 1),
        (["barycentric", "unknown", "rest"], [10, 7, 3], [10, 0, 0], 2),
        (["topocentric"] * 3, [10, 7, np.nan], None, 0),
        (["barycentric"] * 3, [0, np.nan, 0], None, 1),
        (["barycentric"] * 3, [np.nan] * 3, None, 3),
    ],
)
def test_the_atmosphere_moves_by_known_berv_in_the_barycentric_frame(
    tmp_path, frame, berv, expected, unknown
):
    arrays = [array[:3] for array in spectra()]
    source = Source.from_store(write_store(tmp_path / "s", *arrays, frame=frame, berv=berv))
    assert source.berv_unknown == unknown
    if expected is None:
        assert source.berv is None
    else:
        assert source.berv.dtype == np.float32
        assert source.berv.tolist() == expected


def test_unknown_berv_of_arrays_counts_as_none():
    flux, sigma, _ = spectra(3)
    source = Source.from_arrays(flux, sigma, berv=[1, np.nan, 3])
    assert (source.berv.tolist(), source.berv_unknown) == ([1, 0, 3], 1)


def test_a_store_without_what_training_needs_is_refused(tmp_path):
    store = write_store(tmp_path / "s", *spectra(), target=None)
    with pytest.raises(StoreError, match="no target"):
        Source.from_store(store)
    empty = write_store(tmp_path / "e", *(array[:0] for array in spectra()), frame=[], target=[], berv=[])
    with pytest.raises(StoreError, match="no spectra"):
        Source.from_store(empty)


def test_a_grid_that_is_not_logarithmic_has_no_step_in_velocity(tmp_path):
    ones = np.ones((1, PAPER.size), np.float32)
    store = write_store(tmp_path / "s", ones, ones, ones.astype(bool), grid=PAPER)
    assert Source.from_store(store, memory=0).step is None


# the feed


@pytest.mark.parametrize("batch", [2, 6, 7])
def test_two_ranks_together_see_what_one_sees(source, batch):
    whole = fed(source, draws(batch))
    parts = [fed(source, draws(batch), share=(rank, 2)) for rank in (0, 1)]
    joined = [
        type(a)._make(torch.cat([x, y]) for x, y in zip(a, b, strict=True))
        for a, b in zip(*parts, strict=True)
    ]
    assert_same(joined, whole)


def test_a_later_start_goes_on_as_if_never_stopped(source):
    assert_same(fed(source, draws(), first=5), fed(source, draws())[5:])
    assert fed(source, draws(), first=9) == []


@pytest.mark.parametrize("memory", [0, 10**9])
def test_a_feed_left_in_the_middle_goes_on_and_ends(tmp_path, memory):
    source = Source.from_store(write_store(tmp_path / "s", *spectra()), memory=memory)
    whole, before = fed(source, draws()), threading.active_count()
    with Feed(source, draws(), first=0, last=9, device="cpu") as feed:
        some = [batch for batch, _ in zip(feed, range(3), strict=False)]
        assert_same(some, whole[:3])
    assert threading.active_count() == before
    with pytest.raises(AstroprismError, match="with"):
        next(iter(feed))


def made(read, *, pixels=4, rows=100):
    """A source that reads as a test wants."""
    return Source(
        read,
        lambda: "made",
        pixels=pixels,
        step=None,
        targets=np.array([str(row) for row in range(rows)], dtype=object),
        berv=None,
        berv_unknown=0,
        complete=True,
        in_memory=False,
    )


def every(batch=2):
    return Draws([str(row) for row in range(100)], np.arange(100), batch=batch, seed=0)


def test_what_fails_while_reading_ahead_reaches_the_consumer():
    count = iter(range(100))

    def read(rows, out):
        if next(count) == 4:
            raise StoreError("the disk is gone")
        return out

    before = threading.active_count()
    with Feed(made(read), every(), first=0, last=50, device="cpu") as feed:
        coming = iter(feed)
        for _ in range(4):  # what was read before it still comes
            next(coming)
        with pytest.raises(StoreError, match="the disk is gone"):
            next(coming)
    assert threading.active_count() == before


def test_no_more_is_read_ahead_than_wanted():
    readers = []

    def read(rows, out):
        readers.append(threading.current_thread())
        return out

    with Feed(made(read), every(), first=0, last=50, device="cpu", ahead=2) as feed:
        next(iter(feed))
        deadline = time.monotonic() + 5
        while len(readers) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.05)
        assert len(readers) == 3
    assert threading.main_thread() not in readers


def test_waiting_is_counted_and_reading_ahead_shortens_it():
    def slow(rows, out):
        time.sleep(0.02)
        return out

    waits = []
    for work in (0.0, 0.04):
        with Feed(made(slow), every(), first=0, last=10, device="cpu") as feed:
            for _ in feed:
                time.sleep(work)
            waits.append(feed.waited)
    assert waits[0] > 0.15
    assert waits[1] < 0.5 * waits[0]


@pytest.mark.parametrize(
    ("wrong", "match"),
    [({"share": (2, 2)}, "share 2 of 2"), ({"share": (0, 7)}, "share 0 of 7"), ({"ahead": 0}, "0 batches")],
)
def test_a_feed_refuses_what_makes_no_sense(source, wrong, match):
    with pytest.raises(ConfigError, match=match):
        Feed(source, draws(), first=0, last=1, device="cpu", **wrong)


def test_importing_loads_no_torch():
    code = "import sys, astroprism.model.data; print(*{'torch', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
