"""Parameters of the routes, with their kinds and bounds: FastAPI reads and checks them.

The page keeps the state of its views in the same keys, from which /api/python writes scripts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from fastapi import Path, Request
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    StrictInt,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ..data.curves import NARROWEST, WIDEST, WIDTH
from ..data.nearest import MOST
from ..data.summary import SELECTION
from ..refusals import Refused, tidy

LONGEST_VALUE = 20_000  # characters: a lasso of many corners
MOST_CORNERS = 500
BOUNDS = {"width": (NARROWEST, WIDEST), "n": (1, MOST)}  # named whole in a refusal
PAGE = "ui."  # keys that begin so are the page's own


async def one_value_per_key(request: Request) -> None:
    """Refuse keys that are given twice and values that are too long."""
    given: set[str] = set()
    for name, value in request.query_params.multi_items():
        if name.startswith(PAGE):
            continue
        if name in given:
            raise Refused(400, f"{tidy(name, longest=40)} is given twice")
        if len(value) > LONGEST_VALUE:
            raise Refused(400, f"{tidy(name, longest=40)} is too long, {len(value):,} characters")
        given.add(name)


# --- kinds of values


def _digits(value: Any) -> Any:
    """Pydantic takes more for a whole number than an address should: +3, 1_000, 3.0."""
    if isinstance(value, str) and not (value.isascii() and value.isdigit()):
        raise ValueError("no whole number, 0 or more")
    return value


def _flag(value: Any) -> Any:
    """Pydantic takes yes, true and on, too."""
    if value not in ("0", "1"):
        raise ValueError("neither 0 nor 1")
    return value == "1"


def _parts(text: Any) -> Any:
    return [part.strip() for part in text.split(",")] if isinstance(text, str) else text


def _settings(text: Any) -> Any:
    """`21:1.3,5:-0.2` as node -> value."""
    settings: dict[str, str] = {}
    for part in _parts(text):
        node, colon, value = part.partition(":")
        if not colon:
            raise ValueError(f"{tidy(part, longest=40)!r} is not NODE:VALUE, such as 21:1.3")
        if node.strip() in settings:
            raise ValueError(f"node {tidy(node, longest=40)} is set twice")
        settings[node.strip()] = value
    return settings


def _corners(text: Any) -> Any:
    """`x:y,x:y,..` as pairs."""
    corners = []
    for part in _parts(text):
        x, colon, y = part.partition(":")
        if not colon:
            raise ValueError(f"{tidy(part, longest=40)!r} is not X:Y")
        corners.append((x, y))
    return corners


def _base(text: Any) -> Any:
    """A row; None for `mean`."""
    return None if text == "mean" else text


LARGE = 1e15
Number = Annotated[float, Field(gt=-LARGE, lt=LARGE, allow_inf_nan=False)]
Whole = Annotated[int, BeforeValidator(_digits), Field(ge=0, lt=10**12)]
NodeNumber = Annotated[Whole, Field(le=10**6)]
Row = Annotated[Whole, Field(le=10**9)]
Text = Annotated[str, AfterValidator(lambda text: tidy(text, longest=LONGEST_VALUE))]
Flag = Annotated[bool, BeforeValidator(_flag)]
Width = Annotated[Whole, Field(ge=NARROWEST, le=WIDEST)]
Count = Annotated[Whole, Field(ge=1, le=MOST)]
Base = Annotated[Row | None, BeforeValidator(_base)]
Settings = Annotated[dict[NodeNumber, Number], BeforeValidator(_settings)]
Nodes = Annotated[list[Row], BeforeValidator(_parts)]
Corners = Annotated[list[tuple[Number, Number]], BeforeValidator(_corners), Field(max_length=MOST_CORNERS)]

RowInPath = Annotated[Whole, Path()]
NodeInPath = Annotated[Whole, Path()]


# --- keys of the routes


class Keys(BaseModel):
    """Keys of an address: an unknown one is refused, an empty one counts as left out."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, value in given.items():
            if name.startswith(PAGE):
                continue
            if name not in cls.model_fields:
                raise PydanticCustomError(
                    "unknown_key",
                    "unknown key {name}; known: {known}",
                    {"name": repr(tidy(name, longest=40)), "known": ", ".join(cls.model_fields) or "none"},
                )
            text = (value[0] if isinstance(value, list) else value).strip()  # FastAPI gives lists for lists
            if text:
                values[name] = text
        return values


class Window(Keys):
    """A window of wavelength (angstrom), on a number of screen pixels."""

    low: Number | None = None
    high: Number | None = None
    width: Width = WIDTH

    @property
    def ends(self) -> dict[str, Any]:
        """As `Viewer` takes it."""
        return {"low": self.low, "high": self.high, "width": self.width}


class DecodeKeys(Window):
    """Of /api/decode, and of the sliders."""

    z: Settings = {}
    base: Base = None
    berv: Number | None = None
    parts: Flag = False
    compare: Flag = False


class MapKeys(Keys):
    """Of /api/map."""

    x: Text = ""
    y: Text = ""
    colour: Text = ""

    @model_validator(mode="after")
    def _both(self) -> Self:
        if not (self.x and self.y):
            raise PydanticCustomError("axes", "a map needs x and y, such as x=node:0&y=pca:0")
        return self


class NeighbourKeys(Keys):
    """Of /api/neighbours."""

    n: Count = 10
    nodes: Nodes | None = None
    nuisances: Flag = False


class SearchKeys(Keys):
    """Of /api/search."""

    text: Text = ""
    n: Count = 20


class TraversalKeys(Window):
    """Of /api/node/{node}/traversal."""

    base: Base = None


class ScatterKeys(Keys):
    """Of /api/node/{node}/scatter."""

    label: Text = ""


# --- keys of the page's views, beyond those of the routes


class MapView(MapKeys):
    """Of the map: also the row looked at, and the corners of a lasso."""

    row: Text = ""
    lasso: Corners = []


class SpectrumView(Window):
    """Of a spectrum and its neighbours."""

    row: Row
    n: Count = 10
    nodes: Nodes | None = None
    nuisances: Flag = False


class NodeView(Window):
    """Of a node."""

    node: NodeNumber


class DropView(Window):
    """Of an uploaded file."""

    key: Text = ""


class Rows(BaseModel):
    """The body of /api/selection; checked up to its first mistake, not for millions of them."""

    rows: Annotated[list[StrictInt], FailFast(), Field(max_length=SELECTION)]


# --- refusals


def refusal(errors: list[Any]) -> Refused:
    """The answer to mistakes that pydantic found: 404 in the path, 413 for too many rows, else 400."""
    first = next((one for one in errors if one["loc"][:1] != ("path",)), errors[0])
    place, *names = [str(part) for part in first["loc"]] or [""]
    value, kind = first.get("input"), first["type"]
    if place == "path":
        what = {"row": "spectrum", "node": "node"}[names[0]]
        return Refused(404, f"there is no {what} {tidy(value, longest=40)!r}")
    if place == "body":
        if kind == "too_long":
            return Refused(413, f"{first['ctx']['actual_length']:,} rows; at most {SELECTION:,}")
        if kind == "json_invalid":
            return Refused(400, f"the body cannot be read ({first['ctx']['error']})")
        return Refused(400, 'the body must be {"rows": [whole numbers]}')
    return Refused(400, sentence(first, names[0] if place == "query" and names else place))


def sentence(error: Any, name: str) -> str:
    """What is wrong with the value of a key."""
    if error["type"] in ("unknown_key", "axes"):
        return str(error["msg"])
    if error["type"] == "missing":
        return f"{name} is missing"
    if error["type"] in ("greater_than_equal", "less_than_equal") and name in BOUNDS:
        low, high = BOUNDS[name]
        return f"{name} {error['input']} is outside of {low} .. {high}"
    why = error["msg"].removeprefix("Value error, ")
    value = error["input"]
    given = f" {tidy(value, longest=40)!r}" if isinstance(value, str | int | float) else ""
    return f"{name}{given}: {why[:1].lower()}{why[1:]}"
