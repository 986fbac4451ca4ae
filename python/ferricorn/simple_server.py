"""`wsgiref.simple_server` with this server's engine: one thread, no other processes, no signals.

For tests, for scripts and for servers inside of other programs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from . import _core

__all__ = ["WSGIServer", "make_server"]


class WSGIServer:
    """What `make_server` returns. The methods are those of `wsgiref.simple_server.WSGIServer`."""

    #: How long `handle_request` waits; `None` is for ever.
    timeout: float | None = None

    def __init__(self, host: str, port: int, app: Callable[..., Iterable[bytes]], **settings: Any) -> None:
        self.application = app
        literal = f"[{host}]" if ":" in host else host
        # As `wsgiref` has it, each request has a connection of its own.
        given = {"wsgi_app": "make_server", "bind": [f"{literal}:{port}"], "keepalive": 0} | settings
        self._engine = _core.Engine(self._call, [(name, value, None) for name, value in given.items()])
        self.server_address = self._engine.addresses[0]
        self.server_name, self.server_port = self.server_address
        self._answered = 0
        self._stopping = False
        self._stopped = threading.Event()

    def _call(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return self.application(environ, start_response)

    def get_app(self) -> Callable[..., Iterable[bytes]]:
        return self.application

    def set_app(self, application: Callable[..., Iterable[bytes]]) -> None:
        self.application = application

    def fileno(self) -> int:
        """Readable when there is something to do; for `select`."""
        return self._engine.fileno()

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serves until `shutdown` is called. (There is nothing to poll for.)"""
        self._stopped.clear()
        try:
            while not self._stopping:
                self._answered = self._engine.turn()
                self.service_actions()
        finally:
            self._stopping = False
            self._stopped.set()

    def shutdown(self) -> None:
        """Ends `serve_forever`, which runs in another thread or is about to, and waits for that."""
        self._stopping = True
        self._engine.wake()
        self._stopped.wait()

    def handle_request(self) -> None:
        """Answers one request, or more that are there at the same time; or none within `timeout`."""
        end = None if self.timeout is None else time.monotonic() + self.timeout
        before = self._answered
        while self._answered == before:
            left = None if end is None else end - time.monotonic()
            if left is not None and left < 0:
                return self.handle_timeout()
            self._answered = self._engine.turn(left)

    def handle_timeout(self) -> None:
        """`handle_request` has waited for long enough."""

    def service_actions(self) -> None:
        """Called in each turn of `serve_forever`."""

    def server_close(self) -> None:
        """Closes the socket."""
        self._engine.close()

    def __enter__(self) -> WSGIServer:
        return self

    def __exit__(self, *_: Any) -> None:
        self.server_close()


def make_server(
    host: str, port: int, app: Callable[..., Iterable[bytes]], server_class: type[WSGIServer] = WSGIServer, **settings: Any
) -> WSGIServer:
    """A server for `app` that listens on `host` and `port` (0 is any that is free: see `server_port`). Further settings have
    the names that they have in a file."""
    if not issubclass(server_class, WSGIServer):
        raise TypeError(f"server_class must be a class of {__name__}.WSGIServer's, not {server_class!r}")
    if "handler_class" in settings:
        raise TypeError("there is no handler_class: requests are read without Python, and logged only with accesslog=FILE")
    return server_class(host, port, app, **settings)
