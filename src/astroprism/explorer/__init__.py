"""The web explorer: a server on this machine that computes, and a page that draws.

    data/     what the pages show; `Viewer` is all of it, for the server and for Python
    server/   routes, their parameters, the guard before them, uploaded files
    static/   the page, built from the TypeScript in explorer/ at the root of the repository

docs/design/explorer.md lists the routes and who may use them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data.viewer import Viewer
    from .server.app import create_app
    from .server.background import RunningServer, start

__all__ = ["RunningServer", "Viewer", "create_app", "start"]


def __getattr__(name: str) -> Any:  # the web server is loaded by those who serve
    if name == "Viewer":
        from .data.viewer import Viewer

        return Viewer
    if name == "create_app":
        from .server.app import create_app

        return create_app
    if name in ("RunningServer", "start"):
        from .server import background

        return getattr(background, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
