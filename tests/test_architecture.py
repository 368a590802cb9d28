"""Imports go one way, without a circle, and importing the package loads nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import astroprism

ROOT = Path(astroprism.__file__).parent

# A package may import from its own layer, from lower ones and from itself (docs/design/README.md draws it).
LAYERS = [
    "errors checks progress artifacts schema device spectrum grid cells tables "
    "kernels numpy_kernels _kernels",
    "archive simulate targets network",
    "store measures",
    "ingest model",
    "folder",
    "findings paper apply figures",
    "similar pipeline info",
    "report explorer",
    "study",
    "cli",
]
LAYER_OF = {package: number for number, row in enumerate(LAYERS) for package in row.split()}

FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def name_of(path: Path) -> str:
    """The module's name, relative to the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES} | {"_kernels": ROOT / "_kernels.c"}


def package_of(module: str) -> str:
    return module.split(".")[0]


def imports_of(module: str) -> set[str]:
    """Modules of the package that this one imports, anywhere in it: at the top, in functions, for types."""
    path = MODULES[module]
    if path.suffix != ".py":
        return set()
    package = ["astroprism", *module.split(".")]
    if path.name != "__init__.py":
        package = package[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - (node.level - 1)] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{origin}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("astroprism."):
                own = name.removeprefix("astroprism.")
                if own not in MODULES:
                    own = own.rpartition(".")[0]
                if own in MODULES and own != module:
                    found.add(own)
    return found


GRAPH = {module: imports_of(module) for module in MODULES}


def test_every_package_has_a_layer():
    assert {package_of(module) for module in MODULES} == set(LAYER_OF)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_one_way(module):
    package = package_of(module)
    for other in GRAPH[module]:
        below = package_of(other)
        if below == package:
            continue
        assert LAYER_OF[below] <= LAYER_OF[package], f"{module} imports {other}, which lies on a higher layer"


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Sets of modules that import each other, by Tarjan's algorithm."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        number[module] = low[module] = len(number)
        stack.append(module)
        for other in graph[module]:
            if other not in number:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], number[other])
        if low[module] == number[module]:
            circle = []
            while not circle or circle[-1] != module:
                circle.append(stack.pop())
            if len(circle) > 1:
                found.append(sorted(circle))

    for module in sorted(graph):
        if module not in number:
            visit(module)
    return found


def test_no_modules_import_each_other():
    """Imports inside functions and for types are counted, too."""
    assert circles(GRAPH) == []


def test_no_packages_import_each_other():
    packages: dict[str, set[str]] = {package: set() for package in LAYER_OF}
    for module, others in GRAPH.items():
        packages[package_of(module)] |= {package_of(other) for other in others} - {package_of(module)}
    assert circles(packages) == []


@pytest.mark.parametrize(
    ("package", "heavy"),
    [
        ("measures", {"torch", "matplotlib", "astropy", "zarr", "dask"}),
        ("figures", {"torch"}),
        ("report", {"torch"}),
    ],
)
def test_packages_without_torch(package, heavy):
    names = [f"astroprism.{module}" for module in MODULES if package_of(module) == package]
    code = f"import sys, {', '.join(names)}; print(*sorted(set(sys.modules) & {heavy!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    "module",
    [
        "astroprism",
        "astroprism.cli",
        "astroprism.store.prepare",
        "astroprism.archive",
        "astroprism.study",
    ],
)
def test_importing_loads_nothing_heavy(module):
    heavy = ("torch", "matplotlib", "astropy", "zarr", "sklearn", "dask", "pandas")
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & set({heavy!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_one_place_for_each_piece_of_knowledge():
    """Who names these files knows their layout: one reader each, and its writer."""
    text = {name: path.read_text() for name, path in MODULES.items() if path.suffix == ".py"}
    for file, owners in {
        '"model.json"': {"schema"},
        '"findings.json"': {"schema"},
    }.items():
        assert {name for name, content in text.items() if file in content} <= owners, file
    assert {name for name, content in text.items() if "os.replace(" in content} == {"artifacts"}


def test_the_public_face_is_pinned():
    assert sorted(astroprism.__all__) == [
        "ApplyOptions",
        "AstroprismError",
        "EncodeOptions",
        "FindOptions",
        "Findings",
        "Grid",
        "IngestOptions",
        "Progress",
        "RunOptions",
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
