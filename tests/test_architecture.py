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
    "_kernels errors spectrum grid names sky cells tables",
    "archive simulate",
    "store",
    "stars",
    "network",
    "model.loss model.recipe model.batches",
    "model.alignment",
    "model.objective model.nodes model.relock model.checkpoint model.sampling",
    "model.history model.polish",
    "model.surgery",
    "model.loop",
    "model.codes model.fitting model.options model.plan model",
    "information",
    "findings.counting findings.match findings.lines findings.embedding",
    "findings.bin_sweep findings.readout findings.effects findings.dossier",
    "findings.changes findings.intervention findings.label_effects findings.response",
    "findings.stability findings.retraining",
    "findings.assembling",
    "findings.find findings",
    "section6",
    "similar.neighbours similar.metric",
    "similar.search similar",
    "apply.bundle apply.residuals apply.surface apply.columns",
    "apply.probe apply.outliers apply.seen",
    "apply.reference",
    "apply.judging",
    "ingest",
    "apply.unseen",
    "apply.files apply",
    "views",
    "explorer",
    "study about asking demo running reporting terminal cli",
]
ROW_OF = {room: number for number, row in enumerate(ROWS) for room in row.split()}


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    apart = any(room.startswith(f"{parts[0]}.") for room in ROW_OF) and parts[1] != "__init__"
    return ".".join(parts[:2]) if apart else parts[0]


def room_named(module: str) -> str:
    """The room that a module, or a name in it, lies in: the longest that has a row."""
    parts = module.split(".")
    known = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((room for room in known if room in ROW_OF), parts[0])


def imported_rooms(path: Path) -> set[str]:
    package = ["astroprism", *path.relative_to(ROOT).with_suffix("").parts]
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level] if node.level else []
            module = ".".join([*base, *(node.module or "").split(".")]).rstrip(".")
            names = [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {room_named(name.removeprefix("astroprism.")) for name in names if "astroprism." in name}
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
    [
        "astroprism",
        "astroprism.cli",
        "astroprism.store.prepare",
        "astroprism.archive",
        "astroprism.model.loss",
    ],
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
