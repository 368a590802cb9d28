"""Writing the store: what is on disk after kills, full disks and repeated steps."""

import errno
import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from astroprism.errors import StoreError
from astroprism.grid import PAPER, log_grid
from astroprism.store.layout import ARRAYS, read_layout
from astroprism.store.write import BlockWriter, Layout, create_store, publish, resize, rows_per_shard, seal

GRID = log_grid(5000, 5001.2, step=1.5)  # 48 pixels: shorter than a shard index, so indices look like rows
LAYOUT = Layout(GRID, 8)


def spectra(n, n_pixels=GRID.size, seed=0):
    rng = np.random.default_rng(seed)
    flux = rng.normal(1, 0.1, (n, n_pixels)).astype(np.float32)
    return flux, np.abs(flux) / 50, rng.uniform(size=flux.shape) < 0.9


def write(folder, rows, *, layout=LAYOUT, start=0):
    with BlockWriter(folder, layout) as writer:
        for row in range(start, len(rows[0])):
            writer.append(*(array[row] for array in rows))


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def sealed(tmp_path):
    """A sealed block of five rows, the spectra in it, and its bytes."""
    rows = spectra(5)
    write(tmp_path / "block", rows)
    seal(tmp_path / "block", LAYOUT)
    return rows, content(tmp_path / "block")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_zarr_python_reads_what_was_written(tmp_path, dtype):
    import zarr

    path, layout, rows = tmp_path / "s.zarr", Layout(GRID, 8, dtype), spectra(13)
    rows[0][3, 4] = np.nan
    create_store(path, layout, config={"grid": "log", "nested": {"a": [1, 2.5]}})
    for shard, (start, stop) in enumerate([(0, 8), (8, 13)]):
        write(tmp_path / str(shard), [array[start:stop] for array in rows], layout=layout)
        assert seal(tmp_path / str(shard), layout, dropped=[2]) == stop - start
        publish(tmp_path / str(shard), path, shard)
    resize(path, 2, finished=True)
    (path / "index.parquet").write_bytes(b"a table among the arrays")
    group = zarr.open_group(path, mode="r")
    assert sorted(name for name, _ in group.members()) == ["flux", "good", "sigma", "wavelength"]
    assert group.attrs["finished"] is True
    assert group.attrs["config"] == {"grid": "log", "nested": {"a": [1, 2.5]}}
    np.testing.assert_array_equal(group["wavelength"][:], GRID.wavelength)
    there = np.setdiff1d(np.arange(13), [2, 10])
    for array, values, fill in zip(ARRAYS, rows, (np.nan, 0, False), strict=True):
        node = group[array]
        assert node.shape == (16, GRID.size)
        assert node.dtype == (bool if array == "good" else dtype)
        np.testing.assert_array_equal(node[:][there], values[there].astype(node.dtype))
        for row in (2, 10, 13, 15):  # dropped, and the empty tail
            np.testing.assert_array_equal(node[row], np.full(GRID.size, fill, node.dtype))


def test_zarr_python_notices_a_flipped_bit(tmp_path, sealed):
    import zarr

    path = tmp_path / "s.zarr"
    create_store(path, LAYOUT, config={})
    publish(tmp_path / "block", path, 0)
    resize(path, 1, finished=True)
    with open(path / "flux/c/0/0", "r+b") as file:
        file.seek(LAYOUT.stride("flux") * 2 + 7)
        file.write(b"\x55")
    with pytest.raises(ValueError, match="checksum"):
        zarr.open_group(path, mode="r")["flux"][2]


def test_resumes_after_a_kill_at_any_byte(tmp_path, sealed):
    rows, expected = sealed
    write(tmp_path / "whole", rows)
    whole = content(tmp_path / "whole")
    rng = np.random.default_rng(1)
    for trial in range(40):
        folder = tmp_path / f"cut{trial}"
        folder.mkdir()
        kept = []
        for name, data in whole.items():
            cut = int(rng.integers(0, len(data) + 1))
            (folder / name).write_bytes(
                data[:cut] + bytes(rng.integers(0, 2) * 30)
            )  # zeros: a page never written
            kept.append(cut // LAYOUT.stride(name.removesuffix(".part")))
        with BlockWriter(folder, LAYOUT) as writer:
            assert writer.rows == min(kept)
        write(folder, rows, start=min(kept))
        seal(folder, LAYOUT)
        assert content(folder) == expected


def test_resumes_after_a_kill_within_sealing(tmp_path, sealed):
    _, expected = sealed
    for cut in range(1, LAYOUT.index_bytes + 1, 7):  # the index, cut short anywhere
        folder = tmp_path / f"seal{cut}"
        folder.mkdir()
        for name, data in expected.items():
            (folder / name).write_bytes(data[:-cut])
        assert seal(folder, LAYOUT) == 5
        assert content(folder) == expected
        with BlockWriter(folder, LAYOUT) as writer:  # and a sealed block can grow on
            assert writer.rows == 5


def test_a_row_damaged_on_disk_does_not_count(tmp_path, sealed):
    rows, _ = sealed
    write(tmp_path / "damaged", rows)
    with open(tmp_path / "damaged/sigma.part", "r+b") as file:
        file.seek(LAYOUT.stride("sigma") * 3 + 11)
        file.write(b"\xff\xff")
    with BlockWriter(tmp_path / "damaged", LAYOUT) as writer:
        assert writer.rows == 3


def test_a_killed_process_loses_no_complete_row(tmp_path):
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from astroprism.grid import log_grid\n"
        "from astroprism.store.write import BlockWriter, Layout\n"
        "writer = BlockWriter(Path(sys.argv[1]), Layout(log_grid(5000, 5600, step=1.5), 256))\n"
        "for row in range(256):\n"
        "    writer.append(*[np.full(writer.layout.n_pixels, row)] * 3)\n"
        "    print(row, flush=True)\n"
        "import time; time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "b")], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        for _ in range(40):
            reported = int(child.stdout.readline())
        time.sleep(0.003)
        child.kill()
        reported = max([reported, *(int(line) for line in child.stdout.read().split(b"\n")[:-1])])
    layout = Layout(log_grid(5000, 5600, step=1.5), 256)
    with BlockWriter(tmp_path / "b", layout) as writer:
        assert writer.rows in (reported + 1, reported + 2)  # killed between append and print
    seal(tmp_path / "b", layout)


def test_truncate_forgets_rows(tmp_path, sealed):
    rows, expected = sealed
    write(tmp_path / "b", spectra(6, seed=9))
    with BlockWriter(tmp_path / "b", LAYOUT) as writer:
        writer.truncate(0)
        assert [writer.append(*(array[row] for array in rows)) for row in range(5)] == [0, 1, 2, 3, 4]
        with pytest.raises(StoreError, match="holds 5 rows and cannot be cut to 6"):
            writer.truncate(6)
    seal(tmp_path / "b", LAYOUT)
    assert content(tmp_path / "b") == expected


def test_a_full_block_and_a_wrong_length_are_refused(tmp_path):
    rows = spectra(8)
    write(tmp_path / "b", rows)
    with BlockWriter(tmp_path / "b", LAYOUT) as writer:
        with pytest.raises(StoreError, match="is full with 8 rows"):
            writer.append(*(array[0] for array in rows))
        writer.truncate(7)
        with pytest.raises(StoreError, match=r"sigma has shape \(3,\); the grid has 48"):
            writer.append(rows[0][0], rows[1][0][:3], rows[2][0])
        assert writer.rows == 7
    with pytest.raises(StoreError, match="was closed"):
        writer.append(*(array[0] for array in rows))


def test_sealing_and_publishing_twice_change_nothing(tmp_path, sealed):
    _, expected = sealed
    block, path = tmp_path / "block", tmp_path / "s.zarr"
    create_store(path, LAYOUT, config={})
    assert seal(block, LAYOUT, dropped=[1, 4]) == 5
    dropped = content(block)
    assert dropped != expected
    assert seal(block, LAYOUT, dropped=[1, 4]) == 5
    assert content(block) == dropped
    assert seal(block, LAYOUT) == 5
    assert content(block) == expected
    with pytest.raises(StoreError, match="cannot drop rows"):
        seal(block, LAYOUT, dropped=[5])
    kept = shutil.copytree(block, tmp_path / "kept")
    publish(block, path, 3)
    published = content(path)
    publish(block, path, 3)
    assert seal(block, LAYOUT) == 0  # nothing left to seal
    assert content(path) == published
    # killed half-way: two files moved, one not
    shutil.copy(kept / "good.part", block / "good.part")
    (path / "good/c/3/0").unlink()
    assert seal(block, LAYOUT) == 5
    publish(block, path, 3)
    assert content(path) == published


def test_publishing_what_was_never_written_is_an_error(tmp_path):
    create_store(tmp_path / "s.zarr", LAYOUT, config={})
    with pytest.raises(StoreError, match=r"neither .*flux.part nor .*/flux/c/0/0 exists"):
        publish(tmp_path / "nothing", tmp_path / "s.zarr", 0)


def test_creating_twice_keeps_and_creating_another_is_refused(tmp_path):
    path = tmp_path / "s.zarr"
    create_store(path, LAYOUT, config={"pair": (1, 2)})
    resize(path, 4, finished=True)
    before = content(path)
    create_store(path, LAYOUT, config={"pair": (1, 2)})
    assert content(path) == before
    with pytest.raises(StoreError, match="dtype 'float32', not 'float16'"):
        create_store(path, Layout(GRID, 8, "float16"), config={"pair": (1, 2)})
    with pytest.raises(StoreError, match=r"config \{'pair': \[1, 2\]\}, not \{'pair': 3\}"):
        create_store(path, LAYOUT, config={"pair": 3})
    with pytest.raises(StoreError, match="cannot be kept as JSON"):
        create_store(tmp_path / "other.zarr", LAYOUT, config={"bad": float("nan")})


def test_a_store_killed_in_the_making_is_made_again(tmp_path, monkeypatch):
    path, real, left = tmp_path / "s.zarr", os.replace, 3

    def replace(*args):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            create_store(path, LAYOUT, config={})
    with pytest.raises(StoreError, match="holds no store"):
        read_layout(path)
    create_store(path, LAYOUT, config={})
    create_store(tmp_path / "t.zarr", LAYOUT, config={})
    (path / "sigma/.zarr.json.part").unlink(missing_ok=True)
    assert content(path) == content(tmp_path / "t.zarr")


def test_metadata_are_the_same_bytes_every_time(tmp_path):
    for name, config in (("a", {"x": 1, "y": 2}), ("b", {"y": 2, "x": 1})):
        create_store(tmp_path / name, LAYOUT, config=config)
        resize(tmp_path / name, 3, finished=name == "a")
        resize(tmp_path / name, 5, finished=False)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert json.loads((tmp_path / "a/flux/zarr.json").read_text())["shape"] == [40, GRID.size]


def test_disk_full_in_mid_row_keeps_what_was_complete(tmp_path, monkeypatch, sealed):
    rows, expected = sealed
    real, left = os.pwritev, 8  # the third row's sigma fails

    def pwritev(fd, buffers, offset):
        nonlocal left
        left -= 1
        if left == 0:
            real(fd, [bytes(buffers[0])[:100]], offset)  # a partial write, as a nearly full disk gives
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, buffers, offset)

    with BlockWriter(tmp_path / "b", LAYOUT) as writer:
        monkeypatch.setattr(os, "pwritev", pwritev)
        for row in range(2):
            writer.append(*(array[row] for array in rows))
        with pytest.raises(
            StoreError, match=r"b/sigma.part: No space left on device; free some space and run"
        ):
            writer.append(*(array[2] for array in rows))
        assert writer.rows == 2
        monkeypatch.undo()
        for row in range(2, 5):  # space was made, the same writer continues
            writer.append(*(array[row] for array in rows))
    seal(tmp_path / "b", LAYOUT)
    assert content(tmp_path / "b") == expected


def test_short_writes_are_completed(tmp_path, monkeypatch, sealed):
    rows, expected = sealed
    real, real_one = os.pwritev, os.pwrite
    monkeypatch.setattr(os, "pwritev", lambda fd, b, at: real(fd, [bytes(b[0])[:5]], at))
    monkeypatch.setattr(os, "pwrite", lambda fd, b, at: real_one(fd, b[:50], at))
    write(tmp_path / "b", rows)
    seal(tmp_path / "b", LAYOUT)
    assert content(tmp_path / "b") == expected


def test_a_true_limit_on_file_size(tmp_path):
    # the kernel itself refuses: a limit on file size in a child process, as on a full disk
    code = (
        "import resource, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from astroprism.errors import StoreError\n"
        "from astroprism.grid import log_grid\n"
        "from astroprism.store.write import BlockWriter, Layout\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))\n"
        "writer = BlockWriter(Path(sys.argv[1]), Layout(log_grid(5000, 5001.2, step=1.5), 8))\n"
        "try:\n"
        "    for row in range(8): writer.append(*[np.ones(48)] * 3)\n"
        "except StoreError as error: print(writer.rows, error)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "b")], capture_output=True, text=True, check=True
    )
    assert out.stdout.startswith("2 ")
    assert "flux.part: File too large; raise the limit on file size" in out.stdout
    assert (tmp_path / "b/flux.part").stat().st_size == 2 * LAYOUT.stride("flux")
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 500


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="choose another study folder"):
        BlockWriter(tmp_path / "b", LAYOUT)


def test_refusals_of_the_system_name_path_and_remedy(tmp_path, monkeypatch, sealed):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    create_store(tmp_path / "s.zarr", LAYOUT, config={})
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        for act, name in (
            (lambda: BlockWriter(tmp_path / "b", LAYOUT), "flux.part"),
            (lambda: seal(tmp_path / "block", LAYOUT), "flux.part"),
            (lambda: publish(tmp_path / "block", tmp_path / "s.zarr", 0), "flux/c/0/0"),
        ):
            with pytest.raises(StoreError, match=f"{name}: Permission denied; get the right to"):
                act()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(StoreError, match=r"zarr.json: Permission denied"):
            resize(tmp_path / "s.zarr", 1, finished=False)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="a file is where a folder should be"):
        BlockWriter(tmp_path / "file" / "b", LAYOUT)


def test_float16_holds_what_fits_and_refuses_a_good_pixel_that_does_not(tmp_path):
    layout = Layout(GRID, 8, "float16")
    flux, sigma, good = (array[0].copy() for array in spectra(1))
    flux[:3], good[:3] = [1e6, -1e6, np.inf], False
    write(tmp_path / "b", [array[None] for array in (flux, sigma, good)], layout=layout)
    stored = np.frombuffer((tmp_path / "b/flux.part").read_bytes()[:-4], "<f2")
    np.testing.assert_array_equal(stored[:3], [65504, -65504, np.inf])
    np.testing.assert_array_equal(stored[3:], flux[3:].astype(np.float16))
    good[0] = True
    with (
        BlockWriter(tmp_path / "b", layout) as writer,
        pytest.raises(StoreError, match=r"1e\+06 .* use dtype float32"),
    ):
        writer.append(flux, sigma, good)


def test_layout_sizes_and_limits():
    assert rows_per_shard(PAPER.size) == 64
    assert rows_per_shard(2048) == 256
    assert Layout(PAPER, 64).row_bytes == 327_680 * 9 + 12
    assert Layout(PAPER, 64, "float16").row_bytes == 327_680 * 5 + 12
    with pytest.raises(StoreError, match="dtype 'float64' is none of"):
        Layout(PAPER, 64, "float64")
    with pytest.raises(StoreError, match="0 rows per shard"):
        Layout(PAPER, 0)


def test_float16_rounding_is_far_below_the_noise():
    place = Path(__file__).parent.parent / "benchmarks" / "store_reads.py"
    spec = importlib.util.spec_from_file_location("store_reads", place)
    assert spec is not None
    assert spec.loader is not None
    store_reads = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(store_reads)
    last = 0.0
    for snr in (40, 100, 300, 1000):
        loss = store_reads.rounding_loss(snr)
        # float16 has 11 bits: a relative rounding error of at most 2**-11 / sqrt(3), uniform
        assert last < max(loss["depth"], loss["rv"]) < snr * 2**-11 / np.sqrt(3)
        assert max(loss["depth_bias"], loss["rv_bias"]) < 0.02  # the noise dithers it
        last = loss["rv"]
        if snr == 300:  # the stated limit: the errors of depth and velocity grow by less than 0.5 %
            assert np.hypot(1, max(loss["depth"], loss["rv"])) < 1.005
