"""Servers that a program starts itself: Gunicorn's custom applications."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import Any

from .. import _application, _config, _core

__all__ = ["Application", "BaseApplication"]


class BaseApplication:
    """A server with an application of its own. Subclasses say in `load_config` what its settings are, and load the
    application in `load`.

    `load_config` is called again by each HUP; `load` in each worker, after it was forked.
    """

    def __init__(self, usage: str | None = None, prog: str | None = None) -> None:
        self.usage = usage
        self.prog = prog
        self.cfg: Any = None
        self.callable: Callable[..., Iterable[bytes]] | None = None
        self.logger = None
        self.do_load_config()

    def load_default_config(self) -> None:
        self.cfg = _config.Config()

    def do_load_config(self) -> None:
        """Makes `cfg` anew. What is wrong with it ends the process with 1."""
        try:
            self.load_default_config()
            self.load_config()
        except Exception as error:
            print(f"\nError: {error}", file=sys.stderr, flush=True)
            sys.exit(1)

    def init(self, parser: Any, opts: Any, args: Any) -> Any:
        raise NotImplementedError

    def load_config(self) -> None:
        """Says `self.cfg.set(name, value)` for each setting."""
        raise NotImplementedError(f"{type(self).__name__} has no load_config(), which says what the settings are")

    def load(self) -> Callable[..., Iterable[bytes]]:
        """The WSGI application."""
        raise NotImplementedError(f"{type(self).__name__} has no load(), which returns the application")

    def reload(self) -> None:
        """Reads the settings again; a HUP does."""
        self.load_default_config()
        self.load_config()

    def wsgi(self) -> Callable[..., Iterable[bytes]]:
        if self.callable is None:
            self.callable = self.load()
            if not callable(self.callable):
                kind = type(self.callable).__name__
                raise _application.ApplicationError(f"Application object must be callable: load() returned a {kind}.")
        return self.callable

    def run(self) -> None:
        """Serves until the server is stopped, and ends the process with its exit code."""
        sys.exit(self._serve())

    def _serve(self) -> int:
        before = signal.getsignal(signal.SIGINT)
        # The server has its own idea of Ctrl+C; Python's would raise KeyboardInterrupt wherever it happens to be.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            return _core.serve(self, [sys.executable or sys.orig_argv[0], *sys.orig_argv[1:]])
        finally:
            signal.signal(signal.SIGINT, before)

    #: Whether the setting `wsgi_app` names the application, which `load` does not load then.
    _named = False
    _loaded = True

    def _settings(self) -> tuple[list[tuple[str, Any, None]], dict[str, Callable[..., Any]]]:
        """What the server is to be, and the hooks; it asks at its start and by each HUP."""
        if not self._loaded:
            self.reload()
        self._loaded = False
        settings = {"wsgi_app": self.prog or os.path.basename(sys.argv[0] or "") or type(self).__name__}
        hooks = {}
        names = _config.hook_arguments()
        for name, value in self.cfg._given.items():
            if name not in names:
                settings[name] = value
            elif value is not None:
                hooks[name] = _config.hook(name, value, "the program")
        return [(name, value, None) for name, value in settings.items()], hooks


class Application(BaseApplication):
    """The same; Gunicorn's reads a command line, too. Here the command `ferricorn` does."""


class Served(BaseApplication):
    """An application with settings, as `ferricorn.serve` has them."""

    def __init__(self, application: Callable[..., Any] | str, settings: dict[str, Any]) -> None:
        self.application = application
        self.given = settings
        self._named = isinstance(application, str)
        super().__init__()

    def load_config(self) -> None:
        for name, value in self.given.items():
            self.cfg.set(name, value)
        if self._named:
            self.cfg.set("wsgi_app", self.application)

    def load(self) -> Callable[..., Any]:
        assert not isinstance(self.application, str)
        return self.application


def serve(app: Callable[..., Any] | str, **settings: Any) -> int:
    """Serves an application, or one that `module:name` leads to, as the command `ferricorn` does; settings have the names
    that they have in a file. Returns the exit code when the server has stopped."""
    return Served(app, settings)._serve()
