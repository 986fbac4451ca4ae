"""Python's logging into the server's error log."""

from __future__ import annotations

import logging
from typing import Any

from . import _core

#: The name that applications know the error log's logger by, as Gunicorn's.
NAME = "gunicorn.error"


class Handler(logging.Handler):
    """Writes records to the server's error log, which has the time, the process and the level already."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            _core.log(record.levelno, self.format(record))
        except Exception:
            self.handleError(record)


class Log:
    """What hooks know as `server.log` and `worker.log`."""

    def __init__(self) -> None:
        self.error_log = logging.getLogger(NAME)
        self.access_log = logging.getLogger("gunicorn.access")

    def __getattr__(self, name: str) -> Any:
        # debug, info, warning, error, critical, exception, log, isEnabledFor, handlers, level ...
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.error_log, name)

    def reopen_files(self) -> None:
        """The server does that itself, when it is sent USR1."""


def install(level: str) -> Log:
    """Makes the logger `gunicorn.error` write to the error log what is at least of that level."""
    logger = logging.getLogger(NAME)
    if not any(isinstance(handler, Handler) for handler in logger.handlers):
        handler = Handler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.handlers = [handler]
        logger.propagate = False
    logger.setLevel(LEVELS.get(level.upper(), logging.INFO))
    return Log()


#: The names of levels, here and in Rust.
LEVELS = {
    "TRACE": logging.DEBUG,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
    "OFF": logging.CRITICAL,
}
