"""The server's application: paths to answers. docs/design/explorer.md has them all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from ...errors import AstroprismError
from ..data import node as node_page
from ..data.nearest import MOST
from ..data.search import search, selection
from ..data.summary import SELECTION
from ..data.viewer import Viewer
from . import scripts
from .answers import BINARY, as_csv, as_json, curves_packed, packed
from .drop import Drops
from .guard import Guard, Guarded, TooLarge
from .queries import Query
from .refusals import Refused, tidy, told

if TYPE_CHECKING:
    from ..data.shown import StudyLike

STATIC = Path(__file__).parents[1] / "static"
WINDOW = ("low", "high", "width")
UNBUILT = "the page was not built into this installation; in a clone of the repository run: make explorer\n"


def create_app(study: StudyLike, *, guard: Guard, warm: bool = True) -> Guarded:
    """The application on a study; `warm` reads in the background what the first view needs."""
    viewer = Viewer(study)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _errors(app)
    _page(app)
    _study(app, viewer)
    _spectra(app, viewer)
    _nodes(app, viewer)
    _posts(app, viewer, Drops(viewer))
    guarded = Guarded(app, guard)
    if warm:
        arguments = (viewer, guarded.ready)
        threading.Thread(target=_warmed, args=arguments, name="astroprism-warm", daemon=True).start()
    else:
        guarded.ready.set()
    return guarded


def _warmed(viewer: Viewer, ready: threading.Event) -> None:
    """What goes wrong here goes wrong again for who asks, and is told there."""
    try:
        viewer.warm()
        ready.set()
        viewer.warm_more()
    except AstroprismError:
        return
    finally:
        ready.set()


def _json(value: Any) -> Response:
    return Response(as_json(value), media_type="application/json")


def _bytes(content: bytes) -> Response:
    return Response(content, media_type=BINARY)


def _asked(request: Request, *known: str) -> Query:
    return Query(request.query_params.multi_items(), known)


def _number_in_path(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise Refused(404, f"there is no {what} {tidy(text, longest=40)!r}")
    return int(text)


def _ends(query: Query) -> dict[str, Any]:
    return {"low": query.number("low"), "high": query.number("high"), "width": query.width()}


# --- errors


def _errors(app: FastAPI) -> None:
    def answer(status: int, message: str) -> Response:
        return Response(as_json({"error": message}), status_code=status, media_type="application/json")

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return answer(error.status, told(error))

    @app.exception_handler(AstroprismError)
    async def known(_: Request, error: AstroprismError) -> Response:
        return answer(503, told(error))

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        words = {404: "there is nothing here", 405: "this path is not asked that way"}
        return answer(error.status_code, words.get(error.status_code, tidy(error.detail)))

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> Response:
        return answer(500, f"unforeseen: {type(error).__name__}; the terminal of the server tells more")


# --- the page


def _page(app: FastAPI) -> None:
    if (STATIC / "index.html").exists():
        app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/")
    def page() -> Response:
        place = STATIC / "index.html"
        if not place.exists():
            return PlainTextResponse(UNBUILT, status_code=404)
        return Response(place.read_bytes(), media_type="text/html; charset=utf-8")

    @app.get("/favicon.ico")
    def icon() -> Response:
        return Response(status_code=204)


# --- answers


def _study(app: FastAPI, viewer: Viewer) -> None:
    @app.get("/api/study")
    def study(request: Request) -> Response:
        _asked(request)
        return _json(viewer.summary)

    @app.get("/api/decode")
    def decode(request: Request) -> Response:
        query = _asked(request, "z", "base", "berv", "parts", "compare", *WINDOW)
        begun = time.perf_counter()
        curves = viewer.decode(
            query.settings("z"),
            base=scripts.base_of(query),
            berv=query.number("berv"),
            parts=query.flag("parts"),
            compare=query.flag("compare"),
            **_ends(query),
        )
        return _bytes(curves_packed(curves, ms=1e3 * (time.perf_counter() - begun)))

    @app.get("/api/map")
    def points(request: Request) -> Response:
        query = _asked(request, "x", "y", "colour")
        if not (query.text("x") and query.text("y")):
            raise Refused(400, "a map needs x and y, such as x=node:0&y=pca:0")
        x, y = viewer.column(query.text("x")), viewer.column(query.text("y"))
        arrays = {"x": x.values, "y": y.values}
        for one in (x, y):
            if one.categories is not None:
                raise Refused(400, f"{one.key} holds texts; x and y need numbers")
        colour = viewer.column(query.text("colour")) if query.text("colour") else None
        if colour is not None:
            arrays["colour"] = colour.values
        facts = {"spectra": len(viewer.columns), "x": x.about(), "y": y.about()}
        return _bytes(packed(arrays, facts | {"colour": colour.about() if colour else None}))

    @app.get("/api/search")
    def find(request: Request) -> Response:
        query = _asked(request, "text", "n")
        return _json(search(viewer.columns, query.text("text"), n=query.whole("n", 20, least=1, most=200)))

    @app.get("/api/python")
    def python(request: Request) -> Response:
        pairs = [
            (name, value) for name, value in request.query_params.multi_items() if not name.startswith("ui.")
        ]
        return PlainTextResponse(scripts.script(pairs, study=tidy(viewer.study.path.resolve().name)))


def _spectra(app: FastAPI, viewer: Viewer) -> None:
    @app.get("/api/spectrum/{row}")
    def spectrum(row: str, request: Request) -> Response:
        query, place = _asked(request, *WINDOW), _number_in_path(row, "spectrum")
        curves = viewer.spectrum(place, **_ends(query))
        return _bytes(curves_packed(curves, **viewer.spectrum_facts(place)))

    @app.get("/api/neighbours/{row}")
    def neighbours(row: str, request: Request) -> Response:
        query, place = _asked(request, "n", "nodes", "nuisances"), _number_in_path(row, "spectrum")
        begun = time.perf_counter()
        found = viewer.nearest.of_row(
            place,
            n=query.whole("n", 10, least=1, most=MOST),
            nodes=query.numbers("nodes"),
            nuisances=query.flag("nuisances"),
        )
        return _json(found | {"ms": 1e3 * (time.perf_counter() - begun)})


def _nodes(app: FastAPI, viewer: Viewer) -> None:
    @app.get("/api/node/{node}")
    def about(node: str, request: Request) -> Response:
        _asked(request)
        return _json(node_page.node_page(viewer, _number_in_path(node, "node")))

    @app.get("/api/node/{node}/derivative")
    def derivative(node: str, request: Request) -> Response:
        ends = _ends(_asked(request, *WINDOW))
        return _bytes(curves_packed(node_page.derivative(viewer, _number_in_path(node, "node"), **ends)))

    @app.get("/api/node/{node}/traversal")
    def traversal(node: str, request: Request) -> Response:
        query = _asked(request, "base", *WINDOW)
        base, ends = scripts.base_of(query), _ends(query)
        made = node_page.traversal(viewer, _number_in_path(node, "node"), base=base, **ends)
        return _bytes(curves_packed(made))

    @app.get("/api/node/{node}/scatter")
    def scatter(node: str, request: Request) -> Response:
        query = _asked(request, "label")
        arrays, facts = node_page.scatter(viewer, _number_in_path(node, "node"), query.text("label"))
        return _bytes(packed(arrays, facts))


def _posts(app: FastAPI, viewer: Viewer, drops: Drops) -> None:
    @app.post("/api/selection")
    async def export(request: Request) -> Response:
        _asked(request)
        _wanted(request, "application/json")
        rows = _rows(await _body(request, request.json))
        names, table = await run_in_threadpool(selection, viewer.columns, rows)
        headers = {"content-disposition": 'attachment; filename="selection.csv"'}
        content = await run_in_threadpool(as_csv, names, table)
        return Response(content, media_type="text/csv; charset=utf-8", headers=headers)

    @app.post("/api/drop")
    async def drop(request: Request) -> Response:
        _asked(request)
        _wanted(request, "multipart/form-data")
        form = await _body(request, lambda: request.form(max_files=1, max_fields=4))
        file = form.get("file")
        if file is None or isinstance(file, str):
            raise Refused(400, "the form has no file; send it as multipart/form-data in a field `file`")
        content, name = await file.read(), file.filename or ""
        await form.close()
        return _json(await run_in_threadpool(drops.take, content, name))

    @app.get("/api/dropped/{key}/answer")
    def answer(key: str, request: Request) -> Response:
        _asked(request)
        return _json({"key": tidy(key), **drops.get(key).answer})

    @app.get("/api/dropped/{key}")
    def dropped(key: str, request: Request) -> Response:
        query = _asked(request, *WINDOW)
        return _bytes(curves_packed(drops.curves(key, **_ends(query))))


def _wanted(request: Request, kind: str) -> None:
    given = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if given != kind:
        raise Refused(415, f"the body must be {kind}, not {tidy(given, longest=60) or 'nothing'}")


async def _body(request: Request, read: Callable[[], Any]) -> Any:
    """The body as `read` takes it; whatever is wrong with it is the asker's."""
    try:
        return await read()
    except (TooLarge, Refused):
        raise
    except HTTPException as error:
        raise Refused(400, f"the body cannot be read: {tidy(error.detail)}") from None
    except (
        Exception
    ) as error:  # parsers of bodies raise what they like: ValueError, RecursionError, KeyError ..
        raise Refused(400, f"the body cannot be read ({type(error).__name__})") from None


def _rows(body: Any) -> list[int]:
    rows = body.get("rows") if isinstance(body, dict) else None
    if not isinstance(rows, list) or not all(type(row) is int for row in rows):
        raise Refused(400, 'the body must be {"rows": [whole numbers]}')
    if len(rows) > SELECTION:
        raise Refused(413, f"{len(rows):,} rows; at most {SELECTION:,}")
    return rows
