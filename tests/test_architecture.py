"""Imports go one way, and importing the package loads nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import astroprism

ROOT = Path(astroprism.__file__).parent

# Each row may import from its own and from rows above (docs/design/README.md draws it).
ROWS = [
    {"_kernels", "errors", "spectrum", "grid", "names", "sky", "tables"},
    {"archive", "simulate"},
    {"mask", "rebin", "prepare", "layout", "shards", "store_rows", "store_tables", "store"},
    {"targets", "matching", "catalog", "split"},
    {"network", "loss", "recipe", "batches"},
    {"alignment"},
    {"objective", "nodes", "relock", "checkpoint", "sampling"},
    {"history", "polish"},
    {"surgery"},
    {"training"},
    {"codes", "fitting", "fitting_options", "fitting_plan"},
    {"information"},
    {"counting"},
    {"match", "lines"},
    {"embedding"},
    {"bin_sweep", "readout", "effects", "dossier", "changes", "intervention", "label_effects", "response"},
    {"stability", "retraining"},
    {"findings"},
    {"finding"},
    {"section6"},
    {"neighbours", "metric"},
    {"similar"},
    {"bundle", "residuals", "surface"},
    {"probe", "outliers", "seen"},
    {"reference"},
    {"judging"},
    {"ingest"},
    {"applying"},
    {"apply_files"},
    {"views"},
    {"explorer"},
    {"study", "about", "asking", "demo", "running", "reporting", "terminal", "cli"},
]
ROW_OF = {room: number for number, row in enumerate(ROWS) for room in row}


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    package = ["astroprism", *path.relative_to(ROOT).with_suffix("").parts]
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level]
            names = [".".join([*base, *(node.module or "").split(".")]).rstrip(".")]
            if not node.module:
                names = [".".join([*base, alias.name]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("astroprism.")}
    return rooms


FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    room = room_of(path)
    assert room in ROW_OF, f"{room} has no row in the order of rooms; give it one"
    for other in imported_rooms(path) & set(ROW_OF):
        assert ROW_OF[other] <= ROW_OF[room], f"{room} imports {other}, which stands below it"


def test_the_rooms_named_exist():
    assert set(ROW_OF) == {room_of(path) for path in FILES} | {"_kernels"}


@pytest.mark.parametrize(
    "module",
    ["astroprism", "astroprism.cli", "astroprism.prepare", "astroprism.archive", "astroprism.loss"],
)
def test_importing_loads_nothing_heavy(module):
    heavy = ("torch", "matplotlib", "astropy", "zarr", "sklearn", "dask", "pandas")
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & set({heavy!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_public_face_is_pinned():
    assert sorted(astroprism.__all__) == [
        "AstroprismError",
        "EncodeOptions",
        "Grid",
        "IngestOptions",
        "SimulationConfig",
        "Spectrum",
        "Store",
        "Study",
        "TrainOptions",
        "__version__",
        "conditional_mutual_information",
        "count",
        "describe_embedding",
        "mutual_information",
        "open_store",
        "parse_grid",
        "read",
        "write_archive",
    ]
    for name in astroprism.__all__:
        assert getattr(astroprism, name) is not None
    with pytest.raises(AttributeError):
        astroprism.nonsense  # noqa: B018


def test_no_name_of_the_face_is_a_module():
    """`import astroprism.x` would overwrite it."""
    modules = {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in FILES}
    assert not modules & set(astroprism.__all__)


def test_no_module_is_too_long():
    long = {
        str(path.relative_to(ROOT)): count for path in FILES if (count := path.read_text().count("\n")) > 450
    }
    assert not long, f"ask which second job moved in: {long}"
