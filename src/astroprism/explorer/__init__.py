"""The web explorer: a server on this machine that computes, and a page that draws.

    Viewer       what the server shows, for Python: decode, columns, spectra, neighbours
    create_app   the server's application
    start        the server in the background, as a notebook wants it

docs/design/explorer.md has its answers, and who may ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data.viewer import Viewer
    from .server.app import create_app
    from .server.serving import start

__all__ = ["Viewer", "create_app", "start"]


def __getattr__(name: str) -> Any:  # the web server is loaded by those who serve
    if name == "Viewer":
        from .data.viewer import Viewer

        return Viewer
    if name == "create_app":
        from .server.app import create_app

        return create_app
    if name == "start":
        from .server.serving import start

        return start
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
