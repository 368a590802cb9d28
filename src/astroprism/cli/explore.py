"""The command that shows a study in the browser: explore."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Annotated

import typer

from .common import Json, StudyPath, show


def explore(
    study: StudyPath,
    port: Annotated[
        int | None, typer.Option(help="Port of the server; the first free one from 8765 on.")
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on, for others to reach; then a token is needed. [127.0.0.1]"),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    as_json: Json = False,
) -> None:
    """Look at a study in the browser: sliders, maps, spectra, nodes; drop a file on it."""
    from ..explorer import start
    from ..study import Study
    from .terminal import messages

    ended = threading.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda *_: ended.set())
    messages.print("reading the study ..")
    running = start(Study(study), port=port, host=host)
    text = f"exploring {study} at\n\n    {running.url}\n"
    if running.token is not None:
        text += "\nothers reach it with this address alone: who has the token sees the study\n"
    try:
        show({"url": running.url, "token": running.token}, as_json, text)
        messages.print("Ctrl-C ends it")
        if open_browser:
            import webbrowser

            webbrowser.open(running.url)
        while not ended.wait(0.5) and running.running:
            continue
    finally:
        running.stop()
    # what is still warming up in a thread of native code would abort an orderly exit
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
