"""What is done in Python before the server forks. The arbiter imports this, so it imports next to nothing itself."""

from __future__ import annotations

import gc
import importlib
import os
import sys

# What most applications import of the standard library. None of it starts threads, opens anything or is replaced by those
# who patch modules for another way of waiting, such as gevent (which minds an `ssl` that was imported before).
COMMON = (
    *("argparse", "ast", "base64", "calendar", "contextvars", "copy", "csv", "dataclasses", "datetime", "decimal", "difflib"),
    *("email.message", "email.parser", "email.utils", "enum", "fnmatch", "functools", "gzip", "hashlib", "hmac", "html.parser"),
    *("http.cookies", "inspect", "ipaddress", "json", "locale", "logging.config", "mimetypes", "numbers", "pathlib", "pickle"),
    *("platform", "pprint", "queue", "random", "secrets", "shutil", "statistics", "string", "tempfile", "textwrap", "threading"),
    *("traceback", "typing", "unicodedata", "urllib.parse", "uuid", "weakref", "zipfile", "zoneinfo"),
)


def share(pythonpath: str | None) -> None:
    """Imports what most applications import of the standard library, so that it is loaded once, and workers share it.

    An application's own modules go before those of the same names: those are left to it.
    """
    library = os.path.dirname(os.__file__)
    path = sys.path[:]
    before = path[: path.index(library)] if library in path else path
    own = own_names([os.getcwd(), *(pythonpath or "").split(","), *before])
    known = set(sys.modules)
    sys.path[:] = [library, os.path.join(library, "lib-dynload")]
    try:
        for name in COMMON:
            # Python may have been built without it.
            try:
                importlib.import_module(name)
            except ImportError:
                pass
    finally:
        sys.path[:] = path
    for name in set(sys.modules) - known:
        if name.partition(".")[0] in own:
            del sys.modules[name]


def own_names(directories: list[str]) -> set[str]:
    """Names that modules in these directories may have."""
    names: set[str] = set()
    for directory in directories:
        try:
            names.update(name.partition(".")[0] for name in os.listdir(directory))
        except OSError:
            # What is no directory, or a ZIP file, has none that could be meant; or that is seen when it is imported.
            pass
    return names


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
