"""Files of models and unfinished trainings: all or nothing, no pickles, and a word on what is wrong."""

import json
import re
import resource

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import save_file

from astroprism.errors import AstroprismError, ModelError
from astroprism.model.checkpoint import (
    State,
    read_model,
    read_state,
    read_tensors,
    restore,
    state_tensors,
    write_model,
    write_state,
    write_tensors,
)
from astroprism.network import PaperConfig, PaperNetwork, Prism, PrismConfig
from quick import facts_of

MADE = {"seed": 1, "recipe": {"beta": [[0.1, 2.0]]}}
FACTS = {"step": 50, "events": ["a"]}


def trained(*, hidden=8, steps=2, seed=0):
    """A network and its optimiser after some steps."""
    config = PrismConfig(64, 5.0, n_latent=3, hidden=hidden, patch=16, rank=4, whitened=4, shift_room=20.0)
    network = Prism(config, seed=seed)
    network.calibrate(torch.rand(8, 64), sigma=torch.full((8, 64), 0.01))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    for _ in range(steps):
        optimizer.zero_grad()
        network(torch.rand(4, 64))[0].sum().backward()
        optimizer.step()
    return network, optimizer


def state(network, optimizer):
    return State(state_tensors(network, optimizer) | {"running_kl": torch.ones(3)}, dict(FACTS))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "checkpoint" / "state.safetensors"
    network, optimizer = trained()
    whole = state(network, optimizer)
    write_state(path, whole, made_from=MADE)
    return path, whole


def read(path, *, made_from=MADE, **sizes):
    network, optimizer = trained(steps=0, **sizes)
    return read_state(path, optimizer, like=state(network, optimizer), made_from=made_from)


@pytest.mark.parametrize("steps", [0, 2])
def test_a_state_comes_back(tmp_path, steps):
    network, optimizer = trained(steps=steps)
    whole = state(network, optimizer)
    write_state(tmp_path / "state", whole, made_from=MADE)
    found = read(tmp_path / "state")
    assert isinstance(found, State)
    assert found.facts == FACTS
    assert found.tensors.keys() == whole.tensors.keys()
    assert all(torch.equal(found.tensors[name], whole.tensors[name]) for name in whole.tensors)
    other, its = trained(seed=9)
    restore(other, its, found.tensors)
    again = state_tensors(other, its)
    assert again.keys() == whole.tensors.keys() - {"running_kl"}
    assert all(torch.equal(again[name], whole.tensors[name]) for name in again)


def test_another_training_is_named(saved):
    assert read(saved[0], made_from=MADE | {"seed": 2}) == ["seed"]
    assert read(saved[0], made_from={"seed": 1, "rows": "f"}) == ["recipe", "rows"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def stub(path):
    path.write_bytes(path.read_bytes()[:5])


def empty(path):
    path.write_bytes(b"")


def foreign(path):
    path.write_bytes(b"SIMPLE  =                    T" * 100)


def pickled(path):
    torch.save({"state_dict": {"a": torch.ones(3)}}, path)


def unnamed(path):
    save_file({"a": torch.ones(3)}, path)


def misnamed(path):
    save_file({"a": torch.ones(3)}, path, metadata={"about": "[1, 2"})


def folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [cut, stub, empty, foreign, pickled, unnamed, misnamed, folder])
def test_damaged_and_foreign_files_are_named(saved, damage):
    path, _ = saved
    damage(path)
    with pytest.raises(ModelError, match=re.escape(str(path)) + ".*(?:delete it and )?train again"):
        read(path)
    with pytest.raises(ModelError, match=re.escape(str(path))):
        read_tensors(path)


def changed(path, *, drop=(), about=None, **tensors):
    held, header = read_tensors(path)
    held = {name: value for name, value in held.items() if name not in drop} | tensors
    write_tensors(path, held, about={**header, **(about or {})})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"drop": ["running_kl"]}, r"1 tensors differ, first running_kl \(expected \(3,\), found none\)"),
        ({"drop": ["network.keep"]}, r"first network\.keep \(expected \(3,\), found none\)"),
        ({"drop": ["optimizer.3.step"]}, r"first optimizer\.3\.step \(expected \(\), found none\)"),
        ({"running_kl": torch.ones(4)}, r"expected \(3,\), found \(4,\)"),
        ({"stray": torch.ones(1)}, r"first stray \(expected none, found \(1,\)\)"),
        ({"about": {"format": "astroprism-model"}}, "of format 'astroprism-model' 1, not an unfinished"),
        ({"about": {"format_version": 2}}, "of format 'astroprism-training' 2"),
        ({"about": {"facts": None}}, "not an unfinished training"),
        ({"about": {"facts": {"step": 3}}}, "expected events, step, found step"),
        ({"about": {"facts": {}}}, "found nothing"),
    ],
)
def test_what_does_not_fit_is_named(saved, change, words):
    path, _ = saved
    changed(path, **change)
    with pytest.raises(ModelError, match=words) as error:
        read(path)
    assert str(path) in str(error.value)
    assert "delete it and train again" in str(error.value)


def test_a_network_of_another_size_is_named(saved):
    with pytest.raises(ModelError, match=r"tensors differ, first .*expected \(.*\), found \("):
        read(saved[0], hidden=16)


def test_a_full_disk_leaves_what_was_there(saved):
    path, whole = saved
    before = path.read_bytes()
    rights = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, rights[1]))  # Python ignores SIGXFSZ
    try:
        with pytest.raises(AstroprismError, match=re.escape(str(path))):
            write_state(path, whole, made_from=MADE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, rights)
    assert path.read_bytes() == before
    assert [x.name for x in path.parent.iterdir()] == [path.name]
    assert isinstance(read(path), State)


def test_others_may_read_the_files(saved, tmp_path):
    """As they may read any file that is made here."""
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert saved[0].stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("kind", ["prism", "paper"])
def test_a_model_comes_back(tmp_path, kind):
    network = trained()[0] if kind == "prism" else PaperNetwork(PaperConfig(64, n_latent=3))
    first = next(iter(network.state_dict()))
    unpruned = {name: value.clone() for name, value in network.state_dict().items()}
    unpruned[first] += 1
    write_model(tmp_path / "model", network, unpruned=unpruned, facts=facts_of(network, seed=7))
    found, facts = read_model(tmp_path / "model")
    assert facts.seed == 7
    assert facts.versions["torch"] == torch.__version__
    assert found.config == network.config
    for name, value in network.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)
    whole = read_model(tmp_path / "model", unpruned=True)[0].state_dict()
    assert all(torch.equal(whole[name], unpruned[name]) for name in unpruned)
    assert not found.training


def test_models_that_cannot_be_read_say_so(tmp_path):
    model = tmp_path / "study" / "model"
    with pytest.raises(ModelError, match=r"holds no finished model; run: astroprism train .*study"):
        read_model(model)
    network, _ = trained()
    write_model(model, network, unpruned=network.state_dict(), facts=facts_of(network))
    facts = json.loads((model / "model.json").read_text())

    def rewritten(**changes):
        (model / "model.json").write_text(json.dumps(facts | changes))

    for change, words in (
        ({"format_version": 9}, r"'astroprism-model' 9; .* reads 'astroprism-model' 1"),
        ({"network": {"kind": "tree", "config": {}}}, "names no network that this version can build"),
        ({"network": {"kind": "prism", "config": {"petals": 5}}}, "petals"),
        ({"network": None}, r"model\.json cannot be used: .*network"),
        ({"steps": "many"}, r"model\.json cannot be used: .*steps`?; restore it, or train again"),
    ):
        rewritten(**change)
        with pytest.raises(ModelError, match=words):
            read_model(model)
    rewritten()
    write_tensors(model / "weights.safetensors", {"keep": torch.ones(3)}, about={})
    with pytest.raises(ModelError, match=r"weights\.safetensors does not fit its network: \d+ tensors"):
        read_model(model)
    (model / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match=r"weights\.safetensors is not there"):
        read_model(model)
