"""The Python that rebuilds a view: what the button of the page gives. It runs as it stands."""

from __future__ import annotations

from typing import Any

from .queries import Query, number
from .refusals import Refused, tidy

VIEWS: dict[str, tuple[str, ...]] = {
    "sliders": ("z", "base", "berv", "low", "high", "parts", "compare"),
    "map": ("x", "y", "colour", "row", "lasso"),
    "spectrum": ("row", "low", "high", "n", "nodes", "nuisances"),
    "node": ("node", "low", "high"),
    "drop": ("key", "low", "high"),
}
MOST_CORNERS = 500


def script(pairs: list[tuple[str, str]], *, study: str) -> str:
    """The script of the page's query; `study` is how the study is named in it."""
    view = dict(pairs).get("view", "sliders")
    if view not in VIEWS:
        raise Refused(400, f"view {tidy(view, longest=40)!r} is none of {', '.join(VIEWS)}")
    query = Query(pairs, ("view", "width", *VIEWS[view]))
    body = _BODIES[view](query)
    head = [
        "from astroprism import Study",
        "from astroprism.explorer import Viewer",
        f"from astroprism.figures.explorer import {body.pop(0)}",
        "",
        f"study = Study({study!r})",
        "viewer = Viewer(study)",
    ]
    return "\n".join([*head, *body, f"figure.savefig({view + '.png'!r}, dpi=150)", ""])


def _call(name: str, first: list[str], named: dict[str, Any]) -> str:
    """A call with what differs from the defaults."""
    told = [f"{key}={value!r}" for key, value in named.items() if value not in (None, False)]
    return f"{name}({', '.join([*first, *told])})"


def _ends(query: Query) -> dict[str, Any]:
    return {"low": query.number("low"), "high": query.number("high")}


def _sliders(query: Query) -> list[str]:
    z = query.settings("z")
    named = {
        "base": base_of(query),
        "berv": query.number("berv"),
        **_ends(query),
        "parts": query.flag("parts"),
        "compare": query.flag("compare"),
    }
    call = _call("viewer.decode", [repr(z)], named)
    return [
        "decoded_figure",
        f"curves = {call}",
        "figure = decoded_figure(curves, medium=study.store.grid.medium)",
    ]


def _map(query: Query) -> list[str]:
    x, y = query.text("x"), query.text("y")
    if not x or not y:
        raise Refused(400, "a map needs x and y, such as x=node:0&y=pca:0")
    lines = ["map_figure", f"x, y = viewer.column({x!r}), viewer.column({y!r})"]
    colour = query.text("colour")
    lines.append(f"colour = viewer.column({colour!r})" if colour else "colour = None")
    corners = polygon(query.text("lasso"))
    if corners:
        lines += [
            f"lasso = {corners!r}",
            "chosen = inside(x.values, y.values, lasso)  # rows of the store",
            "print(study.index.iloc[chosen][['spectrum_id', 'target', 'snr']])",
            "figure = map_figure(x, y, colour=colour, lasso=lasso)",
        ]
        lines[0] = "inside, map_figure"
    else:
        lines.append("figure = map_figure(x, y, colour=colour)")
    return lines


def polygon(text: str) -> list[tuple[float, float]]:
    """Corners of `x:y,x:y,..`."""
    parts = text.split(",") if text else []
    if len(parts) > MOST_CORNERS:
        raise Refused(400, f"a lasso of {len(parts)} corners; at most {MOST_CORNERS}")
    corners = []
    for part in parts:
        x, colon, y = part.partition(":")
        if not colon:
            raise Refused(400, f"lasso {tidy(part, longest=40)!r} is not X:Y")
        corners.append((number(x.strip(), "lasso"), number(y.strip(), "lasso")))
    return corners


def _spectrum(query: Query) -> list[str]:
    row = query.whole("row", -1, least=0, most=10**9)
    if row < 0:
        raise Refused(400, "row is missing")
    call = _call("viewer.spectrum", [str(row)], _ends(query))
    near: dict[str, Any] = {"n": query.whole("n", 10, least=1, most=200), "nodes": query.numbers("nodes")}
    near["nuisances"] = query.flag("nuisances")
    return [
        "spectrum_figure",
        f"curves = {call}",
        "figure = spectrum_figure(curves, medium=study.store.grid.medium)",
        f"near = {_call('viewer.nearest.of_row', [str(row)], near)}",
        "for one in near['neighbours']:",
        "    print(one['spectrum_id'], one['target'], round(one['distance'], 3))",
    ]


def _node(query: Query) -> list[str]:
    node = query.whole("node", -1, least=0, most=10**6)
    if node < 0:
        raise Refused(400, "node is missing")
    call = _call("traversal", ["viewer", str(node)], _ends(query))
    return [
        "traversal_figure",
        "from astroprism.explorer.data.node import traversal  # noqa: E402",
        "",
        f"curves = {call}",
        "figure = traversal_figure(curves, medium=study.store.grid.medium)",
    ]


def _drop(query: Query) -> list[str]:
    named = ", ".join(f"{key}={value!r}" for key, value in _ends(query).items() if value is not None)
    return [
        "fit_figure",
        "",
        "applied = study.apply(['FILE'])  # the file that was dropped: put its path here",
        "print(applied.frame.T)",
        f"figure = fit_figure(applied, medium=study.store.grid.medium{', ' + named if named else ''})",
    ]


_BODIES = {"sliders": _sliders, "map": _map, "spectrum": _spectrum, "node": _node, "drop": _drop}


def base_of(query: Query) -> int | None:
    """The row of `base`; None for the mean."""
    text = query.text("base", "mean")
    return None if text == "mean" else query.whole("base", 0, least=0, most=10**9)
