"""Training can be cut off, fail, run on several processes, and ends with the same network."""

import dataclasses
import json
import math
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from astroprism.errors import ConfigError, ModelError
from astroprism.model import loop as training
from astroprism.model import nodes
from astroprism.model.checkpoint import read_model, write_model
from astroprism.model.data import Source, fair
from astroprism.model.loop import Training
from astroprism.model.recipe import PaperRecipe, Recipe
from astroprism.network import PaperConfig, PaperNetwork, Prism, PrismConfig
from quick import facts_of

PIXELS, SPECTRA = 256, 160
SMALL = Recipe(
    steps=60,
    batch=16,
    prune_at=(0.3, 0.6),
    prune_kl=(0.01, 0.01),
    prune_share=0.0,
    give_back=(0.45, 0.85),
)
torch.set_num_threads(1)


def spectra(*, n=SPECTRA, seed=0, masked=True, moving=True):
    """Stars whose lines move and deepen under a line of the atmosphere that stays, or moves with BERV."""
    rng = np.random.default_rng(seed)
    x = np.arange(PIXELS)
    move = rng.uniform(-8, 8, n)[:, None]
    depth = rng.uniform(0.1, 0.5, n)[:, None]
    berv = rng.uniform(-25, 25, n).astype(np.float32) if moving else None
    flux = 1 - sum(depth * np.exp(-0.5 * ((x - at - move) / 3) ** 2) for at in (40, 90, 130, 200))
    air = 0.0 if berv is None else berv[:, None] / 5
    flux *= 1 - 0.3 * rng.uniform(0, 1, (n, 1)) * np.exp(-0.5 * ((x - 165 - air) / 2) ** 2)
    sigma = np.full(flux.shape, 0.01)
    flux = flux + sigma * rng.normal(size=flux.shape)
    good = rng.random(flux.shape) > 0.02 if masked else None
    targets = [f"star {i // 2}" for i in range(n)]
    return Source.from_arrays(flux, sigma, good=good, step=5.0, targets=targets, berv=berv)


def tiny(**changes):
    sizes = {"n_latent": 6, "hidden": 16, "patch": 16, "rank": 4, "whitened": 8, "shift_room": 60.0}
    return Prism(PrismConfig(PIXELS, 5.0, **{**sizes, "moving_air": True, **changes}), seed=3)


def build(source=None, network=None, *, recipe=SMALL, **more):
    source = source or spectra()
    train = np.arange(len(source) * 3 // 4)
    valid = np.arange(len(source) * 3 // 4, len(source))
    network = network or tiny(moving_air=source.berv is not None)
    return Training(source, network, recipe=recipe, **{"train": train, "valid": valid, "seed": 5, **more})


def exhaust(job):
    moments = list(job.run())
    job.finish()
    return moments


def weights(job):
    return {name: value.clone() for name, value in job.network.state_dict().items()}


def differing(a, b):
    return [name for name in a if not torch.equal(a[name], b[name])]


def plain(moments):
    """What of the history does not depend on the clock; NaN as None."""
    clock = ("spectra_per_s", "waited")
    return [{k: None if v != v else v for k, v in moment.items() if k not in clock} for moment in moments]


@pytest.fixture
def often(monkeypatch):
    """Snapshots every ten steps."""
    monkeypatch.setattr(training, "KEEP", 10)


class Faulty(Training):
    """A training in which `fault` does harm at some steps, each as long as setbacks are fewer than given."""

    harm: dict[int, int]

    def _backward(self, batch, terms, *, rate):
        if len(self.status.setbacks) < self.harm.get(self.status.step, 0):
            batch = self.fault(batch)
        return super()._backward(batch, terms, rate=rate)

    def fault(self, batch):
        return batch._replace(flux=batch.flux * float("nan"))


def faulty(harm, *, fault=None, **more):
    kind = type("Faulty", (Faulty,), {"harm": harm, **({"fault": fault} if fault else {})})
    source = more.pop("source", None) or spectra()
    network = more.pop("network", None) or tiny(moving_air=source.berv is not None)
    train = np.arange(len(source) * 3 // 4)
    valid = np.arange(len(source) * 3 // 4, len(source))
    return kind(source, network, **{"recipe": SMALL, "train": train, "valid": valid, "seed": 5, **more})


def events(job):
    return "; ".join(moment["event"] for moment in job.status.moments)


# --- cut off and continued


def test_cut_off_at_any_moment_it_ends_with_the_same_weights_and_history(often, tmp_path):
    """Nodes are pruned and given back, and NaNs send training back, before a cut and after."""
    harm = {22: 1, 47: 2}
    whole = faulty(harm)
    exhaust(whole)
    assert len(whole.status.setbacks) == 2
    assert "pruned to" in events(whole)
    assert "given back" in events(whole)
    path, random_ = tmp_path / "state.safetensors", random.Random(1)
    for _ in range(20):
        job = faulty(harm, save_to=path, save_every=1e9)
        resumed = job.resume()
        assert resumed == path.exists()
        run, left = job.run(), random_.randint(1, 3)
        for _ in run:
            left -= 1
            if not left:
                break
        if job.status.step == SMALL.steps:
            break
        run.close()
        job.save()
    list(run)
    job.finish()
    assert not differing(weights(whole), weights(job))
    assert plain(whole.status.moments) == plain(job.status.moments)


def test_moments_do_not_hang_on_where_a_training_was_cut(tmp_path):
    """With a snapshot each fifty steps, and moments that are longer than the looks."""
    recipe = dataclasses.replace(SMALL, steps=8000)
    job = build(recipe=recipe)
    assert (job.every, job.keep_every) == (20, 60)
    assert job.judge_every == 400
    assert build(recipe=dataclasses.replace(SMALL, steps=31_000)).judge_every % 70 == 0


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_loop as t
out = Path(sys.argv[1])
t.training.KEEP = 10
recipe = t.dataclasses.replace(t.SMALL, steps=240)
job = t.faulty({{130: 1}}, recipe=recipe, save_to=out / "state", save_every=0.0)
job.resume()
print("at", job.status.step, flush=True)
for moment in job.run():
    print(moment.step, flush=True)
job.finish()
t.write_model(out / "model", job.network, unpruned=job.network.state_dict(), facts=t.facts_of(job.network))
(out / "events").write_text(t.events(job))
"""


@pytest.mark.full
def test_eight_kills_leave_the_same_weights(tmp_path):
    script = tmp_path / "job.py"
    script.write_text(KILLED.format(tests=os.path.dirname(__file__)))
    places = [tmp_path / "whole", tmp_path / "killed"]
    for place in places:
        place.mkdir()

    def begin(place):
        return subprocess.Popen(
            [sys.executable, str(script), str(place)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def end(job):
        job.stdout.read()
        job.stdout.close()
        assert job.wait() == 0

    end(begin(places[0]))
    random_ = random.Random(8)
    for _ in range(8):
        job = begin(places[1])
        for _ in range(random_.randint(2, 4)):  # the first line says from where it continues
            job.stdout.readline()
        time.sleep(random_.uniform(0, 0.1))
        assert job.poll() is None
        job.send_signal(signal.SIGKILL)
        job.stdout.close()
        job.wait()
    assert (places[1] / "state").exists()
    end(begin(places[1]))
    files = ["model/weights.safetensors", "model/unpruned.safetensors", "events"]
    for name in files:
        assert (places[0] / name).read_bytes() == (places[1] / name).read_bytes()


def test_another_training_is_not_gone_on_from(tmp_path):
    path = tmp_path / "state"
    job = build(save_to=path)
    next(job.run())
    job.save()
    assert build(save_to=path).resume()
    other = [
        build(save_to=path, recipe=dataclasses.replace(SMALL, rate=1e-3)),
        build(save_to=path, seed=6),
        build(save_to=path, balance="none"),
        build(save_to=path, train=np.arange(50)),
        build(spectra(seed=1), save_to=path),
        build(save_to=path, network=tiny(hidden=8)),
        build(save_to=path, network=PaperNetwork(PaperConfig(PIXELS, n_latent=6)), recipe=PaperRecipe()),
    ]
    for job, word in zip(
        other, ["recipe", "seed", "balance", "rows", "store", "network", "network"], strict=True
    ):
        assert not job.resume()
        assert f"begun anew: the unfinished training there was of another {word}" in job.status.events[0]


def test_a_full_disk_ends_no_training_and_leaves_the_last_checkpoint(often, tmp_path, monkeypatch):
    path = tmp_path / "state"
    job = build(save_to=path, save_every=0.0)
    run = job.run()
    next(m for m in run if m.step == 20)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("astroprism.model.checkpoint.save_file", full)
        next(m for m in run if m.step == 40)
    assert path.read_bytes() == before
    assert [x.name for x in tmp_path.iterdir()] == ["state"]
    list(run)
    assert events(job).count("could not be saved") == 1
    assert "No space left on device" in events(job)
    assert path.read_bytes() != before


# --- what goes wrong


def test_a_nan_in_a_batch_sends_training_back_once(often):
    job = faulty({38: 1})
    moments = exhaust(job)
    assert [m["step"] for m in job.status.moments] == [10, 20, 30, 40, 50, 60]
    assert [m.step for m in moments] == [10, 20, 30, 30, 40, 50, 60]  # the third was taken back
    text = "at step 40 the loss is not a finite number: back to step 20, rate now 0.5 of the plan"
    assert events(job).count(text) == 1
    assert events(job).count("pruned to") == 3  # the last by `finish`
    assert events(job).count("given back") == 2
    assert all(bool(value.isfinite().all()) for value in job.network.state_dict().values())
    assert math.isclose(moments[-2].rate, 0.5 * SMALL.rate_at(49))


def test_a_batch_that_always_fails_is_left_out(often):
    job = faulty({34: 99})
    exhaust(job)
    # before nodes are pruned
    assert "at step 36 a weight is not a finite number: back to" in events(job)
    assert len(job.status.setbacks) == 1
    assert "step 34 left out: the loss is not a finite number" in events(job)
    assert all(bool(value.isfinite().all()) for value in job.network.state_dict().values())


@pytest.mark.parametrize("at", [29, 49, 59])
def test_a_nan_in_the_weights_is_never_kept(often, at):
    """29 and 49 are the last steps before a snapshot, their losses were fine; 59 is the last of all."""

    def fault(self, batch):
        optimizer = self.optimizer.optimizer
        optimizer.register_step_post_hook(lambda *_: self.spoil())
        return batch

    job = faulty({at: 1}, fault=fault)
    weight, hit = job.network.decoder.body[0].weight, []

    def spoil():
        if not hit:
            hit.append(True)
            with torch.no_grad():
                weight[0, 0] = float("nan")

    job.spoil = spoil
    exhaust(job)
    assert hit
    assert len(job.status.setbacks) == 1
    assert all(bool(value.isfinite().all()) for value in job.network.state_dict().values())


def test_divergence_is_noticed(often):
    def fault(self, batch):
        with torch.no_grad():
            self.network.decoder.star[-1].weight.mul_(1e4)
        return batch

    job = faulty({27: 1}, fault=fault)
    exhaust(job)
    assert "training diverged: " in events(job)
    assert "nats a spectrum unexplained: back to step" in events(job)
    assert job.status.moments[-1]["misfit"] < job.limit


def test_every_setback_is_reported_once(often):
    """Two faults: the second sends training back beyond the moment that reported the first."""
    collapsed = []

    job = faulty({38: 1})
    operate = type(job.surgery).operate

    class Once(type(job.surgery)):
        def is_due(self, p):
            return super().is_due(p) or p.step == 45

        def operate(self, p):
            if p.step == 45 and not collapsed:
                collapsed.append(True)
                raise training.Setback("no node is active, though the spectra vary", collapse=True)
            return operate(self, p)

    job.surgery = Once(**vars(job.surgery))
    exhaust(job)
    assert [m["step"] for m in job.status.moments] == [10, 20, 30, 40, 50, 60]
    assert events(job).count("back to step 20") == 1
    assert events(job).count("at step 45 no node is active, though the spectra vary: back to step 0") == 1
    assert events(job).count("rate now 0.25 of the plan, beta 0.3 of it") == 1
    assert events(job).count("the other nodes join") == 1
    assert events(job).count("nodes given back") == 2


def test_a_collapse_begins_again_with_a_lower_beta_and_in_the_end_fails():
    recipe = dataclasses.replace(SMALL, prune_kl=(50.0, 50.0))
    job = build(recipe=recipe)
    with pytest.raises(
        ModelError, match=r"failed 7 times, last at step 18: no node is active.*60 steps are few"
    ):
        exhaust(job)
    assert job.status.gentle == pytest.approx(0.3**6)


def test_a_network_without_a_node_is_not_finished():
    job = build(recipe=dataclasses.replace(SMALL, prune_at=(0.3, 0.99), prune_kl=(0.0, 0.0)))
    list(job.run())
    object.__setattr__(job.surgery.recipe, "prune_kl", (50.0, 50.0))
    try:
        with pytest.raises(ModelError, match=r"no node is active.*unexplained\. Train for more steps"):
            job.finish()
    finally:
        object.__setattr__(job.surgery.recipe, "prune_kl", (0.0, 0.0))


def test_failing_for_good_says_what_to_do(often):
    class Hopeless(Training):
        def _backward(self, batch, terms, *, rate):
            return super()._backward(batch._replace(flux=batch.flux * float("nan")), terms, rate=rate)

    job = Hopeless(spectra(), tiny(), recipe=SMALL, train=np.arange(100))
    with pytest.raises(ModelError, match=r"failed 7 times, last at step \d+: .*Look at the spectra"):
        exhaust(job)


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_spectra_that_are_all_alike_are_no_collapse(noise):
    rng = np.random.default_rng(0)
    flux = 1 + noise * rng.normal(size=(100, PIXELS))
    source = Source.from_arrays(flux, np.full(flux.shape, 0.01), step=5.0)
    job = build(source, recipe=Recipe(steps=60, batch=16))
    exhaust(job)
    assert not job.status.setbacks
    assert float(job.network.keep.sum()) == 0
    assert "pruned to 0 nodes" in events(job)
    assert job.status.moments[-1]["chi2"] < 1.3


# --- several processes, other precisions, other networks


TWO = """
import json, sys
sys.path.insert(0, {tests!r})
import test_loop as t
fabric = t.Fabric(accelerator="cpu", devices={devices}, strategy={strategy!r})
fabric.launch()
job = t.build(fabric=fabric, recipe=t.{recipe})
t.exhaust(job)
if fabric.global_rank == {devices} - 1:
    found = [[m["loss"], m["misfit"], m["event"]] for m in job.status.moments]
    print("LOSSES", json.dumps(found), flush=True)
"""
WHITENED = dataclasses.replace(SMALL, whiten=30.0, steps=50)


def losses(tmp_path, devices):
    script = tmp_path / f"job{devices}.py"
    strategy = "ddp" if devices > 1 else "auto"
    text = TWO.format(tests=os.path.dirname(__file__), devices=devices, strategy=strategy, recipe="WHITENED")
    script.write_text(text)
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("LOSSES"))
    return json.loads(line.removeprefix("LOSSES"))


@pytest.mark.full
def test_two_processes_go_as_one(tmp_path):
    """Pruned, given back, displaced: the loss stays the same."""
    one, two = exhaust(build(recipe=WHITENED)), losses(tmp_path, 2)
    off = [abs(a.loss - b[0]) / a.loss for a, b in zip(one, two, strict=True)]
    print("relative differences", off)
    assert max(off) < 1e-4
    assert [a.event for a in one][:-1] == [b[2] for b in two][:-1]


def test_a_batch_must_divide_among_processes():
    fabric = Fabric(accelerator="cpu", devices=1)
    type(fabric)  # a world of three, as far as the loop knows
    job_fabric = type("Three", (), {"world_size": 3, "device": fabric.device})()
    with pytest.raises(ConfigError, match="batch 16 cannot be shared by 3 processes"):
        build(fabric=job_fabric)


@pytest.mark.full
def test_two_threads_give_the_same_loss():
    one = exhaust(build())
    torch.set_num_threads(2)
    try:
        two = exhaust(build())
    finally:
        torch.set_num_threads(1)
    for a, b in zip(one, two, strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-3)


def test_bfloat16_stays_finite():
    one = exhaust(build())
    job = build(fabric=Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"))
    moments = exhaust(job)
    assert not job.status.setbacks
    assert all(math.isfinite(m.loss) for m in moments)
    assert moments[0].loss == pytest.approx(one[0].loss, rel=0.02)


def test_an_agnostic_network_trains(tmp_path):
    job = build(network=tiny(agnostic=True, moving_air=False), save_to=tmp_path / "state")
    moments = exhaust(job)
    assert moments[-1].chi2_train < moments[0].chi2
    assert "pruned to" in events(job)


@pytest.mark.parametrize("likelihood", [True, False])
def test_the_papers_network_trains(likelihood, tmp_path):
    recipe = PaperRecipe(steps=60, batch=16, likelihood=likelihood)
    job = build(network=PaperNetwork(PaperConfig(PIXELS, n_latent=6)), recipe=recipe)
    moments = exhaust(job)
    assert not job.status.setbacks
    assert moments[-1].misfit < moments[0].misfit
    with pytest.raises(ConfigError, match="PaperRecipe"):
        build(network=PaperNetwork(PaperConfig(PIXELS, n_latent=6)), recipe=SMALL)


def test_air_that_moves_is_at_rest_where_no_velocity_is_known():
    job = build(spectra(moving=False), tiny(), recipe=dataclasses.replace(SMALL, whiten=30.0))
    assert bool((job.sample.berv == 0).all())
    next(job.run())


# --- samples, numbers


def test_a_sample_takes_every_star_once_first_in_no_order_of_rows():
    source, train = spectra(), np.arange(120)
    rows = fair(train, 60, source=source, seed=5)
    assert len(set(source.targets[rows])) == 60  # of two visits each
    assert (rows == fair(train, 60, source=source, seed=5)).all()
    assert (np.diff(rows) < 0).any()
    assert set(fair(train, 1000, source=source, seed=5)) == set(train)


def test_what_moments_hold():
    moments = exhaust(build())
    assert [m.step for m in moments] == [10, 20, 30, 40, 50, 60]
    assert all(math.isfinite(m.chi2_valid) and 0 <= m.waited <= 1 for m in moments)
    assert math.isnan(build(valid=()).chi2(()))


def test_too_few_spectra_are_refused():
    with pytest.raises(ModelError, match="1 spectra to train on; at least 2"):
        build(train=[3])


def test_the_model_reads_back(tmp_path):
    job = build()
    list(job.run())
    unpruned = job.finish()
    write_model(tmp_path / "model", job.network, unpruned=unpruned, facts=facts_of(job.network, seed=5))
    kept, facts = read_model(tmp_path / "model")
    whole, _ = read_model(tmp_path / "model", unpruned=True)
    assert facts.seed == 5
    assert not differing(weights(job), kept.state_dict())
    assert float(whole.keep.sum()) == 6 > float(kept.keep.sum())
    mean, _ = nodes.codes(kept, job.sample)
    assert torch.equal(mean, nodes.codes(job.network, job.sample)[0])


# --- an end before the last step


def test_where_nothing_varies_training_ends_early():
    rng = np.random.default_rng(1)
    sigma = np.full((SPECTRA, PIXELS), 0.01)
    noise = Source.from_arrays(1 + sigma * rng.normal(size=sigma.shape), sigma, step=5.0)
    job = build(noise, recipe=dataclasses.replace(SMALL, steps=400, scatter_from=1.0))
    moments = exhaust(job)
    assert "nothing varies beyond the noise: ended at step" in events(job)
    assert moments[-1].step == job.status.step == 400
    assert len(moments) < 30
    assert not bool(job.network.keep.any())


@pytest.mark.parametrize(("lines", "fitted"), [(0.0, True), (0.3, False)])
def test_errors_stated_too_small_are_no_cause_that_is_not_fitted(lines, fitted):
    """Three times too small; beside lines that no node draws yet, they wait."""
    rng = np.random.default_rng(1)
    x = np.arange(PIXELS)
    depth = lines * rng.normal(size=(SPECTRA, 1))
    flux = 1 - sum(depth * np.exp(-0.5 * ((x - at) / 3) ** 2) for at in range(30, 250, 40))
    flux = flux + 0.03 * rng.normal(size=flux.shape)
    job = build(Source.from_arrays(flux, np.full(flux.shape, 0.01), step=5.0), tiny(moving_air=False))
    with torch.no_grad():
        job.network.decode = lambda z, **_: torch.ones(len(z), PIXELS)
    job.status.misfit = job.status.signal
    assert job._fitted() == fitted
    assert job.status.grain == pytest.approx(0.5 * 8 * PIXELS * 0.5, rel=0.15)  # the floor is .01, too
