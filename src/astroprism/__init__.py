"""Takes an archive of stellar spectra apart into its independent causes, without labels."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .apply import ApplyOptions
    from .archive import read
    from .errors import AstroprismError
    from .findings.find import FindOptions
    from .grid import Grid, parse_grid
    from .ingest import IngestOptions
    from .measures import conditional_mutual_information, mutual_information
    from .measures.count import count
    from .measures.embedding import describe_embedding
    from .model.encode import EncodeOptions
    from .model.recipe import TrainOptions
    from .pipeline import RunOptions
    from .progress import Progress
    from .schema import Findings
    from .simulate import SimulationConfig, write_archive
    from .spectrum import Spectrum
    from .store import Store, open_store
    from .study import Study

# name -> where it lives; loaded when first accessed, so that importing the package costs nothing
_FACE = {
    "ApplyOptions": ("apply", "ApplyOptions"),
    "AstroprismError": ("errors", "AstroprismError"),
    "EncodeOptions": ("model.encode", "EncodeOptions"),
    "FindOptions": ("findings.find", "FindOptions"),
    "Findings": ("schema", "Findings"),
    "Grid": ("grid", "Grid"),
    "IngestOptions": ("ingest", "IngestOptions"),
    "Progress": ("progress", "Progress"),
    "RunOptions": ("pipeline", "RunOptions"),
    "SimulationConfig": ("simulate", "SimulationConfig"),
    "Spectrum": ("spectrum", "Spectrum"),
    "Store": ("store", "Store"),
    "Study": ("study", "Study"),
    "TrainOptions": ("model.recipe", "TrainOptions"),
    "conditional_mutual_information": ("measures", "conditional_mutual_information"),
    "count": ("measures.count", "count"),
    "describe_embedding": ("measures.embedding", "describe_embedding"),
    "mutual_information": ("measures", "mutual_information"),
    "open_store": ("store", "open_store"),
    "parse_grid": ("grid", "parse_grid"),
    "read": ("archive", "read"),
    "write_archive": ("simulate", "write_archive"),
}
__all__ = [
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


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module 'astroprism' has no attribute {name!r}")
    module, attribute = _FACE[name]
    return getattr(import_module(f".{module}", __name__), attribute)


def __dir__() -> list[str]:
    return __all__
