"""The Python that rebuilds a view: what the button of the page gives. It runs unchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from ..refusals import Refused, tidy
from .queries import PAGE, DecodeKeys, DropView, Keys, MapView, NodeView, SpectrumView, refusal


def script(pairs: list[tuple[str, str]], *, study: str) -> str:
    """The script of the page's query; `study` is how the study is named in it."""
    given = {name: value for name, value in pairs if not name.startswith(PAGE)}
    view = given.pop("view", "sliders")
    given.pop("width", None)  # screen pixels: a figure has them all
    if view not in _VIEWS:
        raise Refused(400, f"view {tidy(view, longest=40)!r} is none of {', '.join(_VIEWS)}")
    keys, write = _VIEWS[view]
    try:
        figures, *body = write(keys.model_validate(given))
    except ValidationError as error:
        raise refusal(error.errors()) from None
    head = [
        "from astroprism import Study",
        "from astroprism.explorer import Viewer",
        f"from astroprism.figures.explorer import {figures}",
        "",
        f"study = Study({study!r})",
        "viewer = Viewer(study)",
    ]
    return "\n".join([*head, *body, f"figure.savefig({view + '.png'!r}, dpi=150)", ""])


def _call(name: str, first: list[str], **named: Any) -> str:
    """A call with what differs from the defaults."""
    given = [f"{key}={value!r}" for key, value in named.items() if value not in (None, False)]
    return f"{name}({', '.join([*first, *given])})"


# each gives the names to import from astroprism.figures.explorer, then the lines


def _sliders(keys: DecodeKeys) -> list[str]:
    call = _call(
        "viewer.decode",
        [repr(keys.z)],
        base=keys.base,
        berv=keys.berv,
        low=keys.low,
        high=keys.high,
        parts=keys.parts,
        compare=keys.compare,
    )
    return [
        "decoded_figure",
        f"curves = {call}",
        "figure = decoded_figure(curves, medium=study.store.grid.medium)",
    ]


def _map(keys: MapView) -> list[str]:
    lines = [
        f"x, y = viewer.column({keys.x!r}), viewer.column({keys.y!r})",
        f"colour = viewer.column({keys.colour!r})" if keys.colour else "colour = None",
    ]
    if not keys.lasso:
        return ["map_figure", *lines, "figure = map_figure(x, y, colour=colour)"]
    return [
        "inside, map_figure",
        *lines,
        f"lasso = {keys.lasso!r}",
        "chosen = inside(x.values, y.values, lasso)  # rows of the store",
        "print(study.index.iloc[chosen][['spectrum_id', 'target', 'snr']])",
        "figure = map_figure(x, y, colour=colour, lasso=lasso)",
    ]


def _spectrum(keys: SpectrumView) -> list[str]:
    row = [str(keys.row)]
    near = _call("viewer.nearest.of_row", row, n=keys.n, nodes=keys.nodes, nuisances=keys.nuisances)
    return [
        "spectrum_figure",
        f"curves = {_call('viewer.spectrum', row, low=keys.low, high=keys.high)}",
        "figure = spectrum_figure(curves, medium=study.store.grid.medium)",
        f"near = {near}",
        "for one in near['neighbours']:",
        "    print(one['spectrum_id'], one['target'], round(one['distance'], 3))",
    ]


def _node(keys: NodeView) -> list[str]:
    return [
        "traversal_figure",
        "from astroprism.explorer.data.node import traversal  # noqa: E402",
        "",
        f"curves = {_call('traversal', ['viewer', str(keys.node)], low=keys.low, high=keys.high)}",
        "figure = traversal_figure(curves, medium=study.store.grid.medium)",
    ]


def _drop(keys: DropView) -> list[str]:
    figure = _call("fit_figure", ["applied", "medium=study.store.grid.medium"], low=keys.low, high=keys.high)
    return [
        "fit_figure",
        "",
        "applied = study.apply(['FILE'])  # the file that was dropped: put its path here",
        "print(applied.frame.T)",
        f"figure = {figure}",
    ]


_VIEWS: dict[str, tuple[type[Keys], Callable[[Any], list[str]]]] = {
    "sliders": (DecodeKeys, _sliders),
    "map": (MapView, _map),
    "spectrum": (SpectrumView, _spectrum),
    "node": (NodeView, _node),
    "drop": (DropView, _drop),
}
