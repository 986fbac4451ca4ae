"""A limit for the warm-up request, which is called where nobody watches yet."""

from __future__ import annotations

import signal
from types import FrameType


class Overdue(BaseException):
    """The warm-up request takes too long. No `Exception`, which a framework would make a page of."""


class Alarm:
    """From when it is made until it is stopped, raises `Overdue` in the main thread once the limit is over: again and again,
    as code that catches everything may go on. An application that has a timer of its own keeps it, and the limit does not
    hold."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.rung = False
        self.before = signal.getsignal(signal.SIGALRM)
        self.mine = signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        if self.mine:
            signal.signal(signal.SIGALRM, self.ring)
            signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)

    def ring(self, number: int, frame: FrameType | None) -> None:
        if self.mine:
            self.rung = True
            raise Overdue(f"the warm-up request takes longer than {self.seconds:g} s")

    def stop(self) -> None:
        """Puts everything back. To be called again if it raises `Overdue`."""
        if self.mine:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            self.mine = False
            if signal.getsignal(signal.SIGALRM) == self.ring:
                signal.signal(signal.SIGALRM, self.before if self.before is not None else signal.SIG_DFL)
