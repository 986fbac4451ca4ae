"""`--reload`: notices that the application's source has changed, and has the arbiter reload it.

A thread in one of the workers watches: the one that holds a lock, which all workers inherit. When something has changed, it
sends the arbiter HUP; so the last code that could be loaded serves on until the new one is ready. A worker that cannot load
the application says which files it has tried before it goes, so that those are watched, too. If no worker ever could, it
stays and answers with the traceback.
"""

from __future__ import annotations

import fcntl
import glob
import json
import os
import select
import signal
import socket
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from . import _core

#: How often is looked, with or without inotify: new modules may have been imported.
SECONDS = 1.0

#: For so long nothing must have changed before it is said that something has.
QUIET = 0.1

#: The time of a file's change is that of the kernel's last tick.
TICK = 20_000_000

#: A file that the application itself writes while it is loaded must not make it load for ever.
CHANGES_WHILE_LOADING = 5

#: Directories with these names may hold templates.
TEMPLATES = ("templates", "jinja2")

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40


class Link:
    """What the workers of all generations share."""

    def __init__(self) -> None:
        # Held by the worker that watches. Its content is `count`'s.
        self.lock = os.memfd_create("ferricorn-reload", os.MFD_CLOEXEC)
        self.good = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.inbox, self.outbox = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.inbox.setblocking(False)
        self.outbox.setblocking(False)

    def has_good(self) -> bool:
        """Whether a worker has ever loaded the application."""
        return bool(select.select([self.good], [], [], 0)[0])

    def report(self, began: int, files: Iterable[str]) -> None:
        """Tells whoever watches of the files of a load that began then and has failed."""
        listed = list(files)
        for start in range(0, len(listed), 100):
            try:
                self.outbox.send(json.dumps((began, listed[start : start + 100])).encode())
            except OSError:
                return

    def reported(self) -> Iterator[tuple[int, list[str]]]:
        """What it was told."""
        while True:
            try:
                yield json.loads(self.inbox.recv(1 << 20))
            except OSError:
                return

    def count(self, path: str) -> int:
        """How many times in a row a load has missed a change of this file."""
        before, count = os.pread(self.lock, 1 << 16, 1), os.pread(self.lock, 1, 0) or b"\0"
        number = min(count[0] + 1, 255) if before == os.fsencode(path) else 1
        os.ftruncate(self.lock, 0)
        os.pwrite(self.lock, bytes([number]) + os.fsencode(path), 0)
        return number


_link: Link | None = None


class Reloader:
    """Made in the arbiter, with the settings of a generation; each of its workers has a copy."""

    def __init__(self, engine: str, extra: list[str], config: str | None) -> None:
        global _link
        if _link is None:
            _link = Link()
            _core.log(WARNING, "Reloader is on. Use in development only!")
        self.link = _link
        self.engine = engine
        self.extra = [os.path.abspath(pattern) for pattern in extra]
        self.further: set[str] = {os.path.abspath(config)} if config else set()
        self.began = 0
        self.works = True
        self.draining = False
        self.arbiter = 0

    def begin(self) -> None:
        """The application is about to be loaded."""
        self.began = time.time_ns()
        # Bytecode is taken for up to date if size and second of the last change are the same.
        sys.dont_write_bytecode = True

    def failed(self, error: BaseException) -> Callable[..., Any] | None:
        """It could not be; returns what is to answer in its place, if that is needed."""
        files = {frame.filename for frame in traceback.extract_tb(error.__traceback__)}
        if isinstance(error, SyntaxError) and error.filename:
            files.add(error.filename)
        self.further.update(file for file in files if os.path.isfile(file))
        if self.link.has_good():
            self.link.report(self.began, self.further | set(module_files()))
            return None
        self.works = False
        return failure("".join(traceback.format_exception(error)))

    def ready(self) -> None:
        """The worker is about to serve."""
        if self.works:
            os.eventfd_write(self.link.good, 1)
        self.arbiter = os.getppid()
        threading.Thread(target=self.watch, name="ferricorn-reload", daemon=True).start()

    def drain(self) -> None:
        """The worker has a successor, which is to watch from now on."""
        self.draining = True
        fcntl.lockf(self.link.lock, fcntl.LOCK_UN)

    def watch(self) -> None:
        try:
            fcntl.lockf(self.link.lock, fcntl.LOCK_EX)
            self.watch_on()
        except Exception as error:
            _core.log(ERROR, f"Changes are no longer noticed: {error!r}")

    def watch_on(self) -> None:
        watches = self.watches()
        state = self.state(watches)
        files = [path for path, of in state.items() if not isinstance(of, frozenset)]
        _core.log(DEBUG, f"Watching {len(files)} files ({'inotify' if watches else 'poll'})")
        if not self.compare(self.began, files):
            self.link.count("")
        while not self.draining:
            self.wait(watches)
            told = list(self.link.reported())
            for _, files in told:
                self.further.update(files)
            changed = None
            while True:
                before, state = state, self.state(watches)
                now = [path for path in before.keys() & state.keys() if before[path] != state[path]]
                if not now:
                    break
                changed = min(now)
                time.sleep(QUIET)
            if changed is not None and not self.draining:
                self.link.count("")
                self.reload(changed)
                continue
            # After they were looked at for the first time: what changes from now on is different from that.
            for began, files in told:
                if self.compare(began, files):
                    break

    def compare(self, began: int, files: Iterable[str]) -> bool:
        """Whether one of them has changed since a load has begun, which may have missed that: then reloads."""
        for file in files:
            if (seen := look(file)) and seen[0] > began - TICK:
                if self.link.count(file) <= CHANGES_WHILE_LOADING:
                    self.reload(file)
                else:
                    _core.log(WARNING, f"{file} changes whenever the application is loaded: not reloading again")
                return True
        return False

    def reload(self, path: str) -> None:
        _core.log(INFO, f"Worker reloading: {path} modified")
        # Otherwise the arbiter is gone, and so will be this process.
        if os.getppid() == self.arbiter:
            os.kill(self.arbiter, signal.SIGHUP)

    def watches(self) -> _core.Watches | None:
        if self.engine == "poll":
            return None
        try:
            return _core.Watches()
        except OSError as error:
            if self.engine == "inotify":
                _core.log(WARNING, f"reload_engine = inotify: {error}; looking once a second instead")
            return None

    def wait(self, watches: _core.Watches | None) -> None:
        """Until something may have changed."""
        count = len(sys.modules)
        sources = [self.link.inbox] + ([watches] if watches else [])
        while not self.draining:
            ready = select.select(sources, [], [], SECONDS)[0]
            if ready or not watches or len(sys.modules) != count:
                break
        if watches in ready and watches:
            # Nobody sees a difference of this, but a program that writes all the time would keep us busy.
            time.sleep(QUIET / 2)
            watches.clear()

    def state(self, watches: _core.Watches | None) -> dict[str, Any]:
        """What everything that is watched looks like: a tuple for a file, a set of names for a directory or pattern."""
        state: dict[str, Any] = {}
        directories: set[str] = set()
        files = set(self.further)
        places = {os.getcwd()}
        for file in module_files():
            files.add(file)
            if not is_installed(file):
                places.add(os.path.dirname(file))
        for place in places:
            if place != os.getcwd():
                state[place + "/"] = frozenset(name for name in names_in(place) if is_source(name))
                directories.add(place)
            for name in TEMPLATES:
                if os.path.isdir(path := os.path.join(place, name)):
                    self.tree(path, files, directories, state)
        for pattern in self.extra:
            matches = glob.glob(pattern, recursive=True)
            state[pattern] = frozenset(matches)
            directories.add(top := fixed_part(pattern))
            if watches and glob.has_magic(os.path.dirname(pattern)):
                for path, inner, _ in os.walk(top):
                    inner[:] = [name for name in inner if not name.startswith(".")]
                    directories.add(path)
            for path in matches:
                if os.path.isdir(path):
                    self.tree(path, files, directories, state)
                else:
                    files.add(path)
        for file in files:
            state[file] = look(file)
            directories.update((os.path.dirname(file), os.path.dirname(os.path.realpath(file))))
        for directory in directories:
            try:
                if watches:
                    watches.add(directory)
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                pass
        return state

    def tree(self, top: str, files: set[str], directories: set[str], state: dict[str, Any]) -> None:
        for path, inner, names in os.walk(top):
            inner[:] = [name for name in inner if not name.startswith((".", "__"))]
            names = [name for name in names if not is_scratch(name)]
            state[path + "/"] = frozenset(inner + names)
            directories.add(path)
            files.update(os.path.join(path, name) for name in names)


def failure(text: str) -> Callable[..., Any]:
    """Answers every request with the traceback."""
    body = text.encode(errors="backslashreplace")

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
        start_response("500 Internal Server Error", headers)
        return [body]

    return application


def look(file: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def module_files() -> Iterable[str]:
    """The files of all modules besides the standard library's."""
    for module in list(sys.modules.values()):
        try:
            file = module.__file__
        except Exception:
            continue
        if isinstance(file, str) and os.path.isabs(file) and not (file.startswith(STANDARD) and not is_installed(file)):
            yield file


STANDARD = tuple({os.path.join(sysconfig.get_path(name), "") for name in ("stdlib", "platstdlib")})
INSTALLED = tuple({os.path.join(sysconfig.get_path(name), "") for name in ("purelib", "platlib")})


def is_installed(file: str) -> bool:
    return file.startswith(INSTALLED) or f"{os.sep}site-packages{os.sep}" in file


def names_in(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def is_source(name: str) -> bool:
    return name.endswith(".py") and not is_scratch(name)


def is_scratch(name: str) -> bool:
    """Whether an editor makes such files on its way."""
    return name.startswith((".", "#")) or name.endswith(("~", ".swp", ".tmp")) or name == "4913"


def fixed_part(pattern: str) -> str:
    """The directory of a pattern that does not depend on what matches."""
    while glob.has_magic(pattern):
        pattern = os.path.dirname(pattern)
    return pattern if os.path.isdir(pattern) else os.path.dirname(pattern)
