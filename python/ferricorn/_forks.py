"""What is done in Python before the server forks. The arbiter imports this, so it imports next to nothing itself."""

from __future__ import annotations

import gc
import os
import sys


def other_threads() -> str | None:
    """The names of this process's threads besides this one; those that Python does not know by what the system calls them."""
    try:
        tasks = {int(task) for task in os.listdir("/proc/self/task")}
    except OSError:
        tasks = set()
    names = []
    if (threading := sys.modules.get("threading")) is not None:
        for thread in threading.enumerate():
            tasks.discard(thread.native_id)
            if thread is not threading.current_thread():
                names.append(thread.name)
    # Who asks: a process is not asked for its workers by any other thread than its first.
    tasks.discard(os.getpid())
    own = comm(os.getpid())
    for task in sorted(tasks):
        # A thread that was given no name has that of its process.
        name = comm(task)
        names.append(name if name and name != own else f"thread {task}")
    return ", ".join(names) or None


def comm(task: int) -> str | None:
    """What the system calls a thread."""
    try:
        with open(f"/proc/self/task/{task}/comm") as file:
            return file.read().strip()
    except OSError:
        return None


def freeze() -> None:
    """Makes the objects of this process fit to be shared by those that are forked from it."""
    # A connection that a request has opened is not to be used by several processes.
    if (database := sys.modules.get("django.db")) is not None:
        database.connections.close_all()
    # What is still in a buffer would be written by each of them.
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    gc.collect()
    # The collector leaves these objects alone from now on; to look at one is to write to it.
    gc.freeze()
