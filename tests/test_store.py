"""Reading the store: the same values as zarr-python, and a clear word on every kind of damage."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pandas as pd
import pytest

from astroprism.errors import GridError, StoreError
from astroprism.grid import log_grid
from astroprism.store import Store, open_store
from astroprism.store.layout import ARRAYS, crc32c
from astroprism.store.store import Batch
from astroprism.store.write import BlockWriter, Layout, create_store, publish, resize, seal

GRID = log_grid(5000, 5005, step=1.5)  # 200 pixels
LAYOUT = Layout(GRID, 8)
DROPPED = {2: [0, 5]}  # shard: rows dropped


def spectra(rows, dtype="float32"):
    """What row number `row` of the arrays holds, at any time."""
    flux = np.array([np.random.default_rng(row).normal(1, 0.1, GRID.size) for row in rows]).reshape(
        -1, GRID.size
    )
    good = flux > 0.9
    flux = flux.astype(dtype).astype(np.float32)
    return Batch(flux, (np.abs(flux) / 50).astype(dtype).astype(np.float32), good)


def commit(path, shard, n_rows, *, layout=LAYOUT):
    """Publish one shard as an ingest would, its tables in parts."""
    block, committed = path / ".ingest" / f"{shard:06d}", path / ".ingest" / "committed"
    committed.mkdir(parents=True, exist_ok=True)
    with BlockWriter(block, layout) as writer:
        for flux, sigma, good in zip(
            *spectra(range(shard * 8, shard * 8 + n_rows), layout.dtype), strict=True
        ):
            writer.append(flux, sigma, good)
    dropped = DROPPED.get(shard, [])
    seal(block, layout, dropped=dropped)
    publish(block, path, shard)
    rows = np.setdiff1d(np.arange(n_rows), dropped) + shard * 8
    keywords = pd.DataFrame({"ROW": rows * 1.0, f"ONLY{shard}": 1.0})
    rejects = pd.DataFrame({"path": [f"bad{shard}.fits"], "reason": "empty"})
    index = pd.DataFrame({"row": rows, "spectrum_id": [f"s{row}" for row in rows], "snr": rows / 3})
    for name, table in (("keywords", keywords), ("rejects", rejects), ("index", index)):
        table.to_parquet(committed / f"{shard:06d}.{name}.parquet")


def merge(path, n_shards):
    """Finish: the tables first, then the word that it is finished, then the parts go."""
    store = Store(path)
    tables = {"keywords": store.keywords(), "rejects": store.rejects, "index": store.index}
    for name, table in tables.items():
        table.to_parquet(path / f"{name}.parquet")
    resize(path, n_shards, finished=True)


def build(path, *, layout=LAYOUT):
    create_store(path, layout, config={"normalise": "median"})
    for shard, n_rows in ((0, 8), (2, 8), (3, 3)):  # shard 1 not there, 3 not full
        commit(path, shard, n_rows, layout=layout)
    merge(path, 4)
    shutil.rmtree(path / ".ingest")
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("built") / "store.zarr")


@pytest.fixture
def path(built, tmp_path):
    """A copy that a test may damage."""
    return shutil.copytree(built, tmp_path / "store.zarr")


def assert_batch(batch, expected):
    for array, got, want in zip(ARRAYS, batch, expected, strict=True):
        assert got.dtype == want.dtype, array
        np.testing.assert_array_equal(got, want, err_msg=array)


ROWS = np.setdiff1d([*range(8), *range(16, 24), *range(24, 27)], [16, 21])


def test_what_a_store_says_of_itself(built):
    with open_store(built) as store:
        assert len(store) == ROWS.size == 17
        assert store.grid == GRID
        assert store.layout == LAYOUT
        assert store.finished
        assert store.config == {"normalise": "median"}
        assert store.attributes["format"] == "astroprism-store"
        assert "17 spectra of 200 pixels" in repr(store)
        assert store.index["row"].tolist() == ROWS.tolist()
        assert store.index["snr"].tolist() == (ROWS / 3).tolist()
        assert store.keywords()["ROW"].tolist() == ROWS.tolist()
        assert store.keywords(["ONLY2"])["ONLY2"].isna().sum() == 17 - 6
        assert store.rejects["path"].tolist() == ["bad0.fits", "bad2.fits", "bad3.fits"]
        assert store.locate("s17") == ROWS.tolist().index(17)
        assert store.window(5001, 5002) == GRID.window(5001, 5002)
        with pytest.raises(GridError, match="holds no pixel"):
            store.window(6000, 6001)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_reads_what_zarr_python_reads(tmp_path, dtype):
    import zarr

    layout = Layout(GRID, 8, dtype)
    store = Store(build(tmp_path / "s.zarr", layout=layout))
    group = zarr.open_group(store.path, mode="r")
    rng = np.random.default_rng(4)
    for _ in range(20):
        positions = rng.integers(0, len(store), size=rng.integers(1, 40))
        start = int(rng.integers(0, GRID.size - 1))
        window = slice(start, int(rng.integers(start + 1, GRID.size + 1)))
        rows = ROWS[positions]
        expected = Batch(*(a[:, window] for a in spectra(rows, dtype)))
        for threads in (1, 3):
            for verify in (False, True):
                assert_batch(store.read(positions, window=window, threads=threads, verify=verify), expected)
        for array, want in zip(ARRAYS, expected, strict=True):
            there = group[array].oindex[rows, window]
            np.testing.assert_array_equal(there.astype(want.dtype), want)


@pytest.mark.parametrize("together", [0, 1 << 22])
def test_short_rows_read_together_or_alone_are_the_same(built, monkeypatch, together):
    monkeypatch.setattr("astroprism.store.read.TOGETHER_BYTES", together)
    store = Store(built)
    for positions in ([0, 1, 2, 3], [0, 0, 2], [3, 1, 3, 7, 6], [0, 7], [0, 3, 4, 4]):
        for window in (None, slice(5, 150), slice(199, 200)):
            expected = Batch(*(a[:, window or slice(None)] for a in spectra(ROWS[positions])))
            for verify in (False, True):
                assert_batch(store.read(positions, window=window, verify=verify), expected)


def test_write_that_others_wrote_may_order_rows_otherwise(path):
    for array in ARRAYS:  # rows back to front, with a hole between them
        place, stride = path / array / "c/2/0", LAYOUT.stride(array)
        content = place.read_bytes()
        rows = [content[row * stride : (row + 1) * stride] for row in range(8)]
        index = np.frombuffer(content[8 * stride : -4], "<u8").reshape(-1, 2).copy()
        there = index[:, 1] == stride
        index[there, 0] = ((7 - np.arange(8)) * stride + 13)[there]
        table = index.tobytes()
        place.write_bytes(bytes(13) + b"".join(rows[::-1]) + table + crc32c(np.frombuffer(table, np.uint8)))
    store = Store(path)
    assert_batch(store.read(np.arange(len(store)), verify=True), spectra(ROWS))
    assert store.verify() == []


def test_iterates_in_batches(built):
    store = Store(built)
    batches = list(store.iterate(5))
    assert [len(batch.flux) for batch in batches] == [5, 5, 5, 2]
    assert_batch(Batch(*map(np.concatenate, zip(*batches, strict=True))), spectra(ROWS))
    some = list(store.iterate(2, rows=[4, 1, 9], window=slice(0, 7), threads=2))
    assert_batch(some[1], Batch(*(array[:, :7] for array in spectra(ROWS[[9]]))))
    with pytest.raises(StoreError, match="batches of 0"):
        next(store.iterate(0))


def test_reads_into_given_arrays_without_making_others(built):
    store = Store(built)
    out = store.read([0, 1, 2])
    flux = out.flux
    assert store.read([5, 3, 1], out=out).flux is flux
    assert_batch(out, spectra(ROWS[[5, 3, 1]]))
    with pytest.raises(
        StoreError, match=r"out.flux is float32 \(3, 200\); contiguous float32 \(2, 200\) is needed"
    ):
        store.read([0, 1], out=out)
    with pytest.raises(StoreError, match=r"out.sigma is float64"):
        store.read([0, 1, 2], out=out._replace(sigma=out.sigma.astype(float)))
    with pytest.raises(StoreError, match=r"out.good is bool"):
        store.read([0, 1, 2], out=out._replace(good=np.zeros((3, 400), bool)[:, ::2]))


def test_a_window_reads_little(tmp_path):
    # long rows: of each, only the window may be read
    layout = Layout(log_grid(4000, 4000 * 1.3, step=1.5), 4)
    create_store(tmp_path / "s.zarr", layout, config={})
    with BlockWriter(tmp_path / "b", layout) as writer:
        for row in range(4):
            writer.append(*[np.full(layout.n_pixels, row)] * 3)
    seal(tmp_path / "b", layout)
    publish(tmp_path / "b", tmp_path / "s.zarr", 0)
    pd.DataFrame({"row": range(4), "spectrum_id": list("abcd")}).to_parquet(tmp_path / "s.zarr/index.parquet")
    resize(tmp_path / "s.zarr", 1, finished=True)
    store, read = Store(tmp_path / "s.zarr"), 0
    real = os.preadv

    def counted(fd, buffers, offset):
        nonlocal read
        read += (got := real(fd, buffers, offset))
        return got

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "preadv", counted)
        tracemalloc.start()
        batch = store.read(range(4), window=slice(100, 200))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert read == 4 * 100 * 9
    assert peak < layout.n_pixels * 4
    assert batch.flux[3].tolist() == [3.0] * 100


def test_many_threads_and_few_open_files(built, monkeypatch):
    monkeypatch.setattr("astroprism.store.read.OPEN_FILES", 2)
    monkeypatch.setattr("resource.getrlimit", lambda _: (8, 8))
    store, rng = Store(built), np.random.default_rng(5)
    picks = [rng.integers(0, len(store), size=9) for _ in range(60)]
    before = len(os.listdir("/dev/fd"))
    with ThreadPoolExecutor(8) as pool:
        batches = list(pool.map(lambda rows: store.read(rows, threads=2), picks))
    for rows, batch in zip(picks, batches, strict=True):
        assert_batch(batch, spectra(ROWS[rows]))
    assert len(os.listdir("/dev/fd")) <= before + 2
    assert any(thread.name.startswith("astroprism-read") for thread in threading.enumerate())
    store.close()
    assert len(os.listdir("/dev/fd")) <= before
    assert not any(thread.name.startswith("astroprism-read") for thread in threading.enumerate())
    assert_batch(store.read([4]), spectra(ROWS[[4]]))  # closed is not lost


def test_travels_to_another_process(built):
    store = Store(built)
    store.read([0], threads=2)
    code = (
        "import pickle, sys\n"
        "store = pickle.load(sys.stdin.buffer)\n"
        "sys.stdout.buffer.write(pickle.dumps([a.tolist() for a in store.read([3, 9], threads=2)]))\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(store), capture_output=True, check=True
    )
    assert pickle.loads(out.stdout) == [array.tolist() for array in spectra(ROWS[[3, 9]])]


@pytest.mark.skipif(sys.platform != "linux", reason="forking is the habit of Linux")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_survives_a_fork(built):
    store = Store(built)
    store.read([0, 1, 2], threads=2)  # threads that a forked child will not have
    context = get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=lambda: there.send(store.read([1, 2], threads=2)))
    child.start()
    assert here.poll(20)
    assert_batch(here.recv(), spectra(ROWS[[1, 2]]))
    child.join()
    assert_batch(store.read([1, 2], threads=2), spectra(ROWS[[1, 2]]))  # the parent's still work


def test_pickled_store_that_changed_is_refused(path):
    letter = pickle.dumps(Store(path))
    commit(path, 1, 8)
    resize(path, 4, finished=False)
    with pytest.raises(StoreError, match="has changed since it was handed on"):
        pickle.loads(letter)


def test_unfinished_store_opens_with_what_is_there(tmp_path):
    path = tmp_path / "store.zarr"
    create_store(path, LAYOUT, config={})
    store = Store(path)
    assert len(store) == 0
    assert not store.finished
    assert store.index.empty
    assert store.rejects.empty
    assert list(store.iterate(4)) == []
    commit(path, 2, 8)
    commit(path, 0, 4)
    with BlockWriter(path / ".ingest/000003", LAYOUT) as writer:  # under way, not yet published
        writer.append(*(array[0] for array in spectra([24])))
    store = Store(path)
    rows = [0, 1, 2, 3, 17, 18, 19, 20, 22, 23]
    assert store.index["row"].tolist() == rows
    assert store.keywords()["ROW"].tolist() == rows
    assert len(store.rejects) == 2
    assert "unfinished" in repr(store)
    assert_batch(store.read(range(10)), spectra(rows))
    assert store.verify() == []


def test_a_second_ingest_killed_anywhere_keeps_the_first(path):
    first = Store(path)
    resize(path, 4, finished=False)
    assert Store(path).index.equals(first.index)
    assert Store(path).fingerprint == first.fingerprint  # unfinished, but the same spectra
    commit(path, 4, 3)
    grown = Store(path)
    assert grown.index["row"].tolist() == [*ROWS, 32, 33, 34]
    assert grown.keywords()["ROW"].tolist() == [*ROWS, 32, 33, 34]
    assert grown.fingerprint != first.fingerprint
    # killed after each step of the merge: keywords, rejects, index, finished
    wanted = {"keywords": grown.keywords(), "rejects": grown.rejects, "index": grown.index}
    for name in ("keywords", "rejects", "index"):
        wanted[name].to_parquet(path / f"{name}.parquet")
        again = Store(path)
        assert again.index.equals(wanted["index"])
        assert again.keywords().equals(wanted["keywords"])
        assert again.rejects.equals(wanted["rejects"])
    resize(path, 5, finished=True)
    assert Store(path).index.equals(wanted["index"])  # though the parts still lie there
    assert Store(path).fingerprint == grown.fingerprint
    assert Store(path).verify() == []


def test_fingerprint_tells_content_apart(built, path):
    same = Store(path).fingerprint
    assert same == Store(built).fingerprint
    assert len(same) == 64
    index = Store(path).index.copy()
    index.loc[3, "snr"] += 1
    index.to_parquet(path / "index.parquet")
    assert Store(path).fingerprint != same


# -- damage ---------------------------------------------------------------------------------------


def edit(place, change):
    value = json.loads(place.read_text())
    change(value)
    place.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: shutil.rmtree(p), "holds no store"),
        (lambda p: (p / "zarr.json").unlink(), "holds no store"),
        (lambda p: (p / "zarr.json").write_text("{"), "zarr.json is damaged, not JSON"),
        (lambda p: (p / "zarr.json").write_bytes(b"\xff\xfe"), "zarr.json is damaged"),
        (lambda p: (p / "zarr.json").write_text("[]"), "holds no JSON object"),
        (
            lambda p: (p / "zarr.json").write_text('{"zarr_format": 3}'),
            "says format None, not 'astroprism-store'",
        ),
        (lambda p: edit(p / "zarr.json", lambda v: v["attributes"].update(format="x")), "says format 'x'"),
        (
            lambda p: edit(p / "zarr.json", lambda v: v["attributes"].update(format_version=2)),
            "format version 2; .* reads 1: upgrade astroprism",
        ),
        (
            lambda p: edit(p / "zarr.json", lambda v: v["attributes"].pop("grid")),
            r"is damaged \(KeyError\('grid'\)\)",
        ),
        (lambda p: edit(p / "zarr.json", lambda v: v["attributes"]["grid"].update(size=3)), "GridError"),
        (
            lambda p: edit(p / "zarr.json", lambda v: v["attributes"].update(finished="no")),
            "finished is of the wrong",
        ),
        (
            lambda p: edit(p / "zarr.json", lambda v: v["attributes"].update(dtype="int8")),
            "'int8' is none of",
        ),
        (
            lambda p: (p / "flux/zarr.json").unlink(),
            "flux/zarr.json: No such file or directory; it is missing",
        ),
        (
            lambda p: edit(p / "good/zarr.json", lambda v: v.pop("shape")),
            "good/zarr.json is damaged, it has no shape",
        ),
        (
            lambda p: edit(p / "sigma/zarr.json", lambda v: v.update(data_type="float64")),
            "has data_type .float64",
        ),
        (lambda p: edit(p / "flux/zarr.json", lambda v: v.update(shape=[30, 200])), r"has shape \[30, 200\]"),
        (lambda p: edit(p / "flux/zarr.json", lambda v: v.update(shape=[40, 200])), "differ in length"),
        (
            lambda p: edit(
                p / "flux/zarr.json",
                lambda v: v["codecs"][0]["configuration"]["codecs"].append(
                    {"name": "zstd", "configuration": {}}
                ),
            ),
            "has codecs .*zstd",
        ),
        (lambda p: resize(p, 3, finished=True), r"index.parquet names row 26, the arrays have 24"),
        (lambda p: (p / "index.parquet").unlink(), "index.parquet: .*it is missing: restore it"),
        (lambda p: (p / "index.parquet").write_bytes(b"no table"), "index.parquet is damaged"),
        (lambda p: pd.DataFrame({"a": [1]}).to_parquet(p / "index.parquet"), "no column row; it is no index"),
        (lambda p: pd.DataFrame({"row": ["1"]}).to_parquet(p / "index.parquet"), "a column row of type"),
        (lambda p: pd.DataFrame({"row": [1, 1]}).to_parquet(p / "index.parquet"), "names a row twice"),
        (lambda p: pd.DataFrame({"row": [-1, 1]}).to_parquet(p / "index.parquet"), "below 0"),
    ],
)
def test_opening_names_what_is_wrong(path, change, message):
    change(path)
    with pytest.raises(StoreError, match=message):
        Store(path)


def test_a_foreign_zarr_group_is_no_store(tmp_path):
    import zarr

    zarr.create_group(tmp_path / "other.zarr", attributes={"format": "something"})
    with pytest.raises(
        StoreError, match=r"says format 'something', not 'astroprism-store'; give a store that"
    ):
        Store(tmp_path / "other.zarr")


def damage_index(place, change):
    content = place.read_bytes()
    index = np.frombuffer(content[-LAYOUT.index_bytes : -4], "<u8").reshape(-1, 2).copy()
    change(index)
    table = index.tobytes()
    place.write_bytes(content[: -LAYOUT.index_bytes] + table + crc32c(np.frombuffer(table, np.uint8)))


def flip(place, byte):
    with open(place, "r+b") as file:
        file.seek(byte, os.SEEK_END if byte < 0 else os.SEEK_SET)
        old = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([old[0] ^ 4]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.unlink(), "c/2/0: No such file or directory; it is missing: restore it or ingest again"),
        (lambda f: f.write_bytes(b""), "of 0 bytes, does not end in a sound shard index"),
        (lambda f: os.truncate(f, f.stat().st_size - 1), "does not end in a sound shard index"),
        (lambda f: os.truncate(f, 3 * LAYOUT.stride("flux")), "does not end in a sound shard index"),
        (lambda f: flip(f, -70), "does not end in a sound shard index"),
        (lambda f: flip(f, -1), "does not end in a sound shard index"),
        (lambda f: f.write_bytes(np.random.default_rng(0).bytes(9000)), "does not end in a sound"),
        (
            lambda f: damage_index(f, lambda i: i.__setitem__((1, 0), 2**63)),
            "row 1 should be 804 bytes within 6432",
        ),
        (
            lambda f: damage_index(f, lambda i: i.__setitem__((1, 0), 2**64 - 2)),
            "row 1 should be 804 bytes within",
        ),
        (lambda f: damage_index(f, lambda i: i.__setitem__((1, 0), 6432 - 803)), "row 1 should be 804 bytes"),
        (
            lambda f: damage_index(f, lambda i: i.__setitem__((3, 1), 700)),
            "row 3 .* the shard is damaged or compressed",
        ),
        (
            lambda f: damage_index(f, lambda i: i.__setitem__(1, 2**64 - 1)),
            "has no row 1, which the index names",
        ),
    ],
)
def test_a_damaged_shard_is_named_and_the_others_can_be_read(path, change, message):
    change(path / "flux/c/2/0")
    store = Store(path)
    with pytest.raises(StoreError, match=message):
        store.read([0, 8, 9])
    with pytest.raises(StoreError, match=message):
        store.read([0, 8, 9], threads=2)
    others = [*range(8), 14, 15, 16]
    assert_batch(store.read(others), spectra(ROWS[others]))


def test_verify_finds_every_damaged_row(path):
    calls = []
    assert Store(path).verify(progress=lambda event: calls.append((event.done, event.total))) == []
    assert calls == [(8, 17), (14, 17), (17, 17)]
    flip(path / "flux/c/0/0", LAYOUT.stride("flux") * 2 + 30)
    flip(path / "good/c/0/0", LAYOUT.stride("good") * 6 - 1)  # the checksum itself
    flip(path / "sigma/c/2/0", 5)  # row 16, which was dropped: no harm
    (path / "sigma/c/3/0").unlink()
    store = Store(path)
    assert store.verify() == [2, 5, 14, 15, 16]
    store.read([2])  # not looked for unless requested
    with pytest.raises(StoreError, match=r"flux/c/0/0: the row at byte 1608 does not match its checksum"):
        store.read([1, 2], verify=True)
    with pytest.raises(StoreError, match="does not match its checksum"):
        store.read([2], window=slice(100, 102), verify=True)


def test_a_shard_cut_while_open_is_an_error(path):
    store = Store(path)
    store.read([0, 9])
    os.truncate(path / "flux/c/2/0", 1000)
    with pytest.raises(StoreError, match="flux/c/2/0 now ends at byte 1000, within a row"):
        store.read([9])


def test_wrong_requests_are_refused(built):
    store = Store(built)
    for rows, message in (
        ([17], "position 17 is outside 0..16"),
        ([-1], "position -1 is outside"),
        ([0.5], "type float64; give a list of positions"),
        (np.ones(17, bool), "type bool"),
        (3, r"rows of shape \(\)"),
    ):
        with pytest.raises(StoreError, match=message):
            store.read(rows)
    for window in (slice(5, 5), slice(300, 400), slice(0, 10, 2), slice(10, 0, -1)):
        with pytest.raises(StoreError, match="give slice"):
            store.read([0], window=window)
    assert store.read([]).flux.shape == (0, 200)
    with pytest.raises(StoreError, match="holds no spectrum 'nobody'"):
        store.locate("nobody")
    with pytest.raises(StoreError, match=r"keywords table of .* has no column 'NOPE'"):
        store.keywords(["NOPE"])


def test_tables_that_do_not_fit_each_other(path):
    pd.DataFrame({"ROW": [1.0]}).to_parquet(path / "keywords.parquet")
    with pytest.raises(StoreError, match=r"keywords.parquet has 1 rows, its index more"):
        Store(path).keywords()
    (path / "keywords.parquet").unlink()
    with pytest.raises(StoreError, match=r"keywords.parquet: .*it is missing"):
        Store(path).keywords()


def test_the_benchmark_runs(tmp_path):
    place = os.path.join(os.path.dirname(__file__), "..", "benchmarks", "store_reads.py")
    options = ["--rows", "12", "--pixels", "4000", "--rounds", "1", "--folder", str(tmp_path)]
    out = subprocess.run([sys.executable, place, *options], capture_output=True, text=True, check=True)
    assert "random rows, cold" in out.stdout
    assert "full scan" in out.stdout
    assert list(tmp_path.iterdir()) == []
