"""What is done in Python with a call that takes too long."""

from __future__ import annotations

import signal
import sys
import threading
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType


class RequestTimeout(BaseException):
    """The request has taken longer than `request_timeout`.

    It is raised wherever the application happens to be, in the thread that was called, and once. It is no `Exception`, so
    that `except Exception` lets it pass: `finally` and `with` run, and the client gets 504. An application that catches it
    all the same has until `timeout` to answer by itself.
    """

    __module__ = "ferricorn"

    def __init__(self, message: str = "the request has taken longer than request_timeout") -> None:
        super().__init__(message)


def stack(thread: int) -> str | None:
    """Where that thread is."""
    frame = sys._current_frames().get(thread)
    return "".join(traceback.format_stack(frame)).rstrip("\n") if frame else None


def _wake(signum: int, frame: FrameType | None) -> None:
    """Does nothing: an exception that waits for the thread is raised as soon as it runs something."""


#: Ignored by default, so that it does no harm where somebody else has changed its handler.
_SIGNAL = signal.SIGURG


def install() -> None:
    """Has the main thread woken when it waits for the system, if nobody else uses the signal. Called by the main thread."""
    if signal.getsignal(_SIGNAL) in (signal.SIG_DFL, signal.SIG_IGN):
        signal.signal(_SIGNAL, _wake)


def wake(thread: int) -> None:
    """Has that thread run something, if it can be woken: Python runs handlers in its main thread only."""
    if thread == threading.main_thread().ident and callable(signal.getsignal(_SIGNAL)):
        signal.pthread_kill(thread, _SIGNAL)
