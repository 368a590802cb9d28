"""The server in the background: of the command line, and of a notebook."""

from __future__ import annotations

import atexit
import html
import secrets
import socket
import threading
import time
from typing import Any

from ...errors import AstroprismError, ConfigError, MissingExtra
from ...folder import StudyFolder

PORT, TRIED = 8765, 20  # where no port is given, the first free one from here on
START_SECONDS, WARM_SECONDS = 20.0, 60.0
HEIGHT = 760  # pixels of the frame in a notebook


class RunningServer:
    """A server that answers at `url` until `stop`. In a notebook it displays itself."""

    def __init__(self, server: Any, thread: threading.Thread, *, url: str, token: str | None) -> None:
        self._server, self._thread = server, thread
        self.url, self.token = url, token

    def __repr__(self) -> str:
        return f"astroprism explorer at {self.url}{'' if self.running else ', stopped'}"

    def _repr_html_(self) -> str:
        """The page in a frame."""
        address = html.escape(self.url, quote=True)
        return (
            f'<iframe src="{address}" width="100%" height="{HEIGHT}" style="border:1px solid #ccc" '
            f'title="astroprism explorer"></iframe><p><a href="{address}" target="_blank" rel="noopener">'
            "open it in a window of its own</a></p>"
        )

    @property
    def running(self) -> bool:
        """Whether it answers."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """End it, and wait until it has ended."""
        self._server.should_exit = True
        self._thread.join(timeout=10)
        atexit.unregister(self.stop)


def start(
    folder: StudyFolder, *, port: int | None = None, host: str | None = None, inline: bool = False
) -> RunningServer:
    """Serve a study from a thread of this process.

    port    None: the first free one from 8765 on; 0: any
    host    None: 127.0.0.1, which only this machine reaches; another needs the token of the result's url
    inline  whether notebooks of this machine may show it in a frame
    """
    try:
        import uvicorn

        from ..data.summary import UPLOAD
        from .app import create_app
        from .guard import Guard, is_loopback
    except ImportError as error:
        raise MissingExtra(
            f"the explorer needs {error.name}; run: pip install 'astroprism[explorer]'"
        ) from None
    len(folder.store)  # what is wrong with the study is an error here, not in the browser
    name = host or "127.0.0.1"
    bound = _bound(name, port)
    place = bound.getsockname()[1]
    token = None if is_loopback(name) else secrets.token_urlsafe(24)
    guard = Guard(
        port=place, host=name, token=token, inline=inline and token is None, upload=UPLOAD + (1 << 16)
    )
    app = create_app(folder, guard=guard)
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        ws="none",
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=96 << 10,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [bound]}, name="astroprism-explorer", daemon=True
    )
    thread.start()
    ends = time.monotonic() + START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > ends:
            raise AstroprismError(f"the server on port {place} did not start")
        time.sleep(0.01)
    app.ready.wait(WARM_SECONDS)  # a browser that comes at once would wait for it, and not know what for
    address = name if name not in ("0.0.0.0", "::") else socket.gethostname()
    address = f"[{address}]" if ":" in address else address
    url = f"http://{address}:{place}/" + (f"?token={token}" if token else "")
    running = RunningServer(server, thread, url=url, token=token)
    atexit.register(running.stop)
    return running


def _bound(host: str, port: int | None) -> socket.socket:
    """A listening socket: bound before anything else, so that Host can be checked against its port."""
    if port is not None and not 0 <= port < 65_536:
        raise ConfigError(f"port {port} is outside of 0 .. 65535")
    try:
        family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
    except (OSError, UnicodeError):
        raise ConfigError(
            f"host {host!r} is no address of this machine; leave --host out for 127.0.0.1"
        ) from None
    wanted = [port] if port is not None else [*range(PORT, PORT + TRIED), 0]
    for place in wanted:
        # asyncio turns Nagle's delay off only where the protocol is named; else each answer waits 40 ms
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, place))
            bound.listen(128)
        except OSError as error:
            bound.close()
            if place == wanted[-1]:
                why = error.strerror or str(error)
                raise ConfigError(
                    f"port {place} of {host} cannot be used ({why}); give another --port"
                ) from None
            continue
        bound.set_inheritable(False)
        return bound
    raise AssertionError("every port was tried")
