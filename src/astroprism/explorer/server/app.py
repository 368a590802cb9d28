"""The server's application: routes to answers. docs/design/explorer.md lists them all."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from ...errors import AstroprismError
from ...folder import StudyFolder
from ..data import node as node_page
from ..data.viewer import Viewer
from ..refusals import Refused, tidy, without_folders
from . import scripts
from .answers import BINARY, as_csv, as_json, curves_packed, packed
from .guard import Guard, Guarded
from .queries import (
    DecodeKeys,
    Keys,
    MapKeys,
    NeighbourKeys,
    NodeInPath,
    RowInPath,
    Rows,
    ScatterKeys,
    SearchKeys,
    TraversalKeys,
    Window,
    one_value_per_key,
    refusal,
)
from .uploads import Uploads

STATIC = Path(__file__).parents[1] / "static"
UNBUILT = "the page was not built into this installation; in a clone of the repository run: make explorer\n"
NoKeys = Annotated[Keys, Query()]
Ends = Annotated[Window, Query()]


def create_app(folder: StudyFolder, *, guard: Guard, warm: bool = True) -> Guarded:
    """The application on a study; `warm` reads in the background what the first view needs."""
    viewer = Viewer(folder)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _errors(app)
    _page(app)
    api = APIRouter(prefix="/api", dependencies=[Depends(one_value_per_key)])
    _study(api, viewer)
    _spectra(api, viewer)
    _nodes(api, viewer)
    _uploads(api, Uploads(viewer))
    app.include_router(api)
    guarded = Guarded(app, guard)
    if warm:
        arguments = (viewer, guarded.ready)
        threading.Thread(target=_warm, args=arguments, name="astroprism-warm", daemon=True).start()
    else:
        guarded.ready.set()
    return guarded


def _warm(viewer: Viewer, ready: threading.Event) -> None:
    """What goes wrong here goes wrong again in a request, whose answer says so."""
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


# --- errors


def _errors(app: FastAPI) -> None:
    def answer(status: int, message: str, headers: Any = None) -> Response:
        content = as_json({"error": message})
        return Response(content, status_code=status, media_type="application/json", headers=headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        found = refusal(list(error.errors()))
        return answer(found.status, str(found))

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return answer(error.status, without_folders(error))

    @app.exception_handler(AstroprismError)
    async def known(_: Request, error: AstroprismError) -> Response:
        return answer(503, without_folders(error))

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        words = {
            400: "the body cannot be read",
            404: "there is nothing here",
            405: "this path does not take that method",
        }
        return answer(error.status_code, words.get(error.status_code, tidy(error.detail)), error.headers)

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> Response:
        return answer(500, f"unforeseen: {type(error).__name__}; see the terminal of the server")


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


def _study(api: APIRouter, viewer: Viewer) -> None:
    @api.get("/study")
    def study(_: NoKeys) -> Response:
        return _json(viewer.summary)

    @api.get("/decode")
    def decode(keys: Annotated[DecodeKeys, Query()]) -> Response:
        begun = time.perf_counter()
        curves = viewer.decode(
            keys.z, base=keys.base, berv=keys.berv, parts=keys.parts, compare=keys.compare, **keys.ends
        )
        return _bytes(curves_packed(curves, ms=1e3 * (time.perf_counter() - begun)))

    @api.get("/map")
    def points(keys: Annotated[MapKeys, Query()]) -> Response:
        x, y = viewer.column(keys.x), viewer.column(keys.y)
        arrays = {"x": x.values, "y": y.values}
        for one in (x, y):
            if one.categories is not None:
                raise Refused(400, f"{one.key} holds texts; x and y need numbers")
        colour = viewer.column(keys.colour) if keys.colour else None
        if colour is not None:
            arrays["colour"] = colour.values
        facts = {"spectra": len(viewer.columns), "x": x.facts(), "y": y.facts()}
        return _bytes(packed(arrays, facts | {"colour": colour.facts() if colour else None}))

    @api.get("/search")
    def search(keys: Annotated[SearchKeys, Query()]) -> Response:
        return _json(viewer.columns.search(keys.text, n=keys.n))

    @api.get("/python")
    def python(request: Request) -> Response:  # which keys there are depends on the view
        pairs = request.query_params.multi_items()
        name = tidy(viewer.folder.path.resolve().name)
        return PlainTextResponse(scripts.script(pairs, study=name))

    @api.post("/selection", dependencies=[Depends(_must_be("application/json"))])
    def selection(_: NoKeys, body: Rows) -> Response:
        names, table = viewer.columns.selection(body.rows)
        headers = {"content-disposition": 'attachment; filename="selection.csv"'}
        return Response(as_csv(names, table), media_type="text/csv; charset=utf-8", headers=headers)


def _spectra(api: APIRouter, viewer: Viewer) -> None:
    @api.get("/spectrum/{row}")
    def spectrum(row: RowInPath, keys: Ends) -> Response:
        curves = viewer.spectrum(row, **keys.ends)
        return _bytes(curves_packed(curves, **viewer.spectrum_facts(row)))

    @api.get("/neighbours/{row}")
    def neighbours(row: RowInPath, keys: Annotated[NeighbourKeys, Query()]) -> Response:
        begun = time.perf_counter()
        found = viewer.nearest.of_row(row, n=keys.n, nodes=keys.nodes, nuisances=keys.nuisances)
        return _json(found | {"ms": 1e3 * (time.perf_counter() - begun)})


def _nodes(api: APIRouter, viewer: Viewer) -> None:
    @api.get("/node/{node}")
    def page(node: NodeInPath, _: NoKeys) -> Response:
        return _json(node_page.node_page(viewer, node))

    @api.get("/node/{node}/derivative")
    def derivative(node: NodeInPath, keys: Ends) -> Response:
        return _bytes(curves_packed(node_page.derivative(viewer, node, **keys.ends)))

    @api.get("/node/{node}/traversal")
    def traversal(node: NodeInPath, keys: Annotated[TraversalKeys, Query()]) -> Response:
        return _bytes(curves_packed(node_page.traversal(viewer, node, base=keys.base, **keys.ends)))

    @api.get("/node/{node}/scatter")
    def scatter(node: NodeInPath, keys: Annotated[ScatterKeys, Query()]) -> Response:
        return _bytes(packed(*node_page.scatter(viewer, node, keys.label)))


def _uploads(api: APIRouter, uploads: Uploads) -> None:
    @api.post("/drop", dependencies=[Depends(_must_be("multipart/form-data"))])
    async def drop(_: NoKeys, file: Annotated[UploadFile, Depends(_one_file)]) -> Response:
        content = await file.read()
        await file.close()
        return _json(await run_in_threadpool(uploads.take, content, file.filename or ""))

    @api.get("/dropped/{key}/answer")
    def answer(key: str, _: NoKeys) -> Response:
        return _json({"key": tidy(key), **uploads.get(key).answer})

    @api.get("/dropped/{key}")
    def dropped(key: str, keys: Ends) -> Response:
        return _bytes(curves_packed(uploads.curves(key, **keys.ends)))


def _must_be(kind: str) -> Any:
    """A dependency that refuses bodies of another content type."""

    async def check(request: Request) -> None:
        given = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if given != kind:
            raise Refused(415, f"the body must be {kind}, not {tidy(given, longest=60) or 'nothing'}")

    return check


async def _one_file(request: Request) -> UploadFile:
    """The field `file` of a form. A parameter of FastAPI would take a thousand files."""
    try:
        form = await request.form(max_files=1, max_fields=4)
    except HTTPException as error:
        if error.status_code == 413:
            raise
        raise Refused(400, f"the body cannot be read: {tidy(error.detail)}") from None
    except Exception as error:  # parsers of forms raise what they like: ValueError, KeyError ..
        raise Refused(400, f"the body cannot be read ({type(error).__name__})") from None
    file = form.get("file")
    if file is None or isinstance(file, str):
        raise Refused(400, "the form has no file; send it as multipart/form-data in a field `file`")
    return file
