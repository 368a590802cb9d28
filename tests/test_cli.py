import json
import subprocess
import sys

import pytest


def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "astroprism.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr + done.stdout
    return done


def test_the_path_from_nothing_to_a_store(tmp_path):
    truth = json.loads(
        run(
            "simulate",
            tmp_path / "in",
            "--spectra",
            12,
            "--factors",
            "rv,teff",
            "--window",
            "5880:5920",
            "--step",
            "5kms",
            "--snr",
            "50:90",
            "--distribution",
            "rv=uniform:-9:9",
            "--seed",
            5,
            "--json",
        ).stdout
    )
    assert truth["spectra"] == 12
    done = run("ingest", tmp_path / "study", tmp_path / "in", "--workers", 0)
    assert "12 spectra met in 12 new of 12 files: 12 accepted, 0 refused" in done.stdout
    assert "estimate: 12 files" in done.stderr
    report = json.loads(run("ingest", tmp_path / "study", tmp_path / "in", "--workers", 0, "--json").stdout)
    assert (report["files_new"], report["n_spectra"]) == (0, 12)
    facts = json.loads(
        run("info", tmp_path / "study", "--json", "--verify", "--picture", tmp_path / "a.png").stdout
    )
    assert (facts["kind"], facts["spectra"], facts["damaged_rows"]) == ("study", 12, [])
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    text = run("info", tmp_path / "study", "--labels", tmp_path / "in" / "truth.csv").stdout
    assert "teff" in text
    assert json.loads((tmp_path / "study" / "study.json").read_text())["runs"][0]["command"] == "ingest"


def test_info_tells_files_and_folders(archive):
    file = sorted((archive / "spectra").iterdir())[0]
    assert json.loads(run("info", file, "--json").stdout)["kind"] == "spectrum file"
    assert json.loads(run("info", archive, "--json").stdout)["formats"] == {"adp": 40}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "/nowhere/at/all"], "does not exist"),
        (["ingest", "{tmp}/s", "/nowhere/at/all"], "no such file"),
        (["ingest", "{tmp}/s", "{tmp}"], "no files found"),
        (["simulate", "{tmp}/o", "--factors", "rv,tef"], "did you mean 'teff'"),
        (["simulate", "{tmp}/o", "--step", "5"], "such as 5kms"),
        (["simulate", "{tmp}/o", "--window", "5000-6000"], "cannot be read"),
        (["fetch"], "not available"),
        (["train", "{tmp}/s"], "holds no spectra yet"),
        (["train", "{tmp}/s", "--steps", "5", "--minutes", "3"], "give one"),
        (["encode", "{tmp}/s", "--device", "tpu"], "none of auto"),
        (["demo", "{tmp}/d", "--factors", "9"], "between 1 and 7"),
        (["run", "{tmp}/s", "/nowhere/at/all"], "no such file"),
        (["run", "{tmp}/s", "{tmp}", "--labels", "/no/labels.csv"], "/no/labels.csv"),
        (["similar", "{tmp}/s", "3"], "holds no spectra yet"),
        (["similar", "{tmp}/s", "3", "--window", "5880-5900"], "as in 5880:5900"),
        (["similar", "{tmp}/s", "3", "--nodes", "a"], "by commas, as in 3,17"),
    ],
)
def test_errors_are_one_line_and_exit_1(tmp_path, arguments, message):
    (tmp_path / ".hidden").touch()
    done = run(*(text.format(tmp=tmp_path) for text in arguments), code=1)
    assert message in done.stderr
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr
    as_json = run(
        *(text.format(tmp=tmp_path) for text in arguments),
        *(["--json"] if arguments != ["fetch"] else []),
        code=1,
    )
    if arguments != ["fetch"]:
        assert message in json.loads(as_json.stdout)["error"]


def test_help_and_version():
    text = run("--help").stdout
    order = ("demo", "run", "simulate", "ingest", "train", "encode", "find", "info", "similar", "paper")
    places = [text.index(f"\n  {command} ") for command in order]
    assert places == sorted(places)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "fetch" not in text
    assert run("--version").stdout.startswith("astroprism ")


def test_what_needs_a_missing_package_names_the_extra(small_study):
    code = (
        "import importlib.abc, sys\n"
        "class Block(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.split('.')[0] == 'torch':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
        f"sys.argv = ['astroprism', 'train', {str(small_study)!r}]\n"
        "from astroprism.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: this needs torch: pip install 'astroprism[train]'"
    assert "Traceback" not in done.stderr
    as_json = subprocess.run(
        [sys.executable, "-c", code.replace("'train',", "'train', '--json',")], capture_output=True, text=True
    )
    assert json.loads(as_json.stdout)["kind"] == "MissingExtra"
