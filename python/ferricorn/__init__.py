"""A prefork application server: Gunicorn's process model, settings and signals with a Rust engine."""

from __future__ import annotations

from ._core import __version__, extend_deadline

# As `typing` has it, which the arbiter of the command has no other use for.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Application", "RequestTimeout", "__version__", "extend_deadline", "make_server", "serve"]


def __getattr__(name: str) -> Any:
    # Only when they are asked for: the arbiter of the command has no use for them.
    if name in ("Application", "serve"):
        from .app import base

        return getattr(base, "BaseApplication" if name == "Application" else name)
    if name == "make_server":
        from .simple_server import make_server

        return make_server
    if name == "RequestTimeout":
        from ._watchdog import RequestTimeout

        return RequestTimeout
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
