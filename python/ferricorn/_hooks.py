"""Gunicorn's server hooks, and the objects that they are given."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from . import _core, _log
from ._config import Config

#: How the process was started, for `server.START_CTX`.
START_CONTEXT: dict[Any, Any] = {"cwd": os.getcwd(), "args": list(sys.orig_argv[1:]), 0: sys.executable}


class Server:
    """The arbiter, as hooks see it. In a worker it is the copy that the fork has left there."""

    START_CTX = START_CONTEXT

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.master_name = "Master"
        self.master_pid = 0
        self.reexec_pid = 0
        self.systemd = False
        self.worker_age = 0
        self.num_workers = 0
        self.WORKERS: dict[int, Worker] = {}
        self.cfg: Config
        self.log: _log.Log

    def adopt(self, cfg: Config, log: _log.Log) -> None:
        """Follows these settings from now on."""
        self.cfg, self.log = cfg, log

    @property
    def address(self) -> list[Any]:
        return self.cfg.address

    @property
    def timeout(self) -> Any:
        return self.cfg.timeout

    @property
    def proc_name(self) -> str:
        return self.cfg.proc_name or self.cfg.wsgi_app or "ferricorn"

    @property
    def worker_class(self) -> type[Worker]:
        return Worker

    def kill_worker(self, pid: int, sig: int) -> None:
        """Sends a worker a signal."""
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            self.WORKERS.pop(pid, None)

    def kill_workers(self, sig: int) -> None:
        """Sends all workers a signal."""
        for pid in list(self.WORKERS):
            self.kill_worker(pid, sig)

    def reload(self) -> None:
        """What HUP does."""
        os.kill(self.pid, signal.SIGHUP)

    def stop(self, graceful: bool = True) -> None:
        """What TERM, or QUIT, does."""
        os.kill(self.pid, signal.SIGTERM if graceful else signal.SIGQUIT)


class Worker:
    """A worker, as hooks see it."""

    def __init__(self, age: int, server: Server, cfg: Config, log: _log.Log) -> None:
        self.age = age
        self.pid: int | str = "[booting]"
        self.ppid = server.pid
        self.cfg = cfg
        self.log = log
        self.alive = True
        self.booted = False
        self.aborted = False
        self.timeout = cfg.timeout
        self.max_requests = cfg.max_requests or sys.maxsize
        self.app = App(cfg)

    @property
    def wsgi(self) -> Any:
        return self.app.callable

    @property
    def nr(self) -> int:
        """How many requests it has called the application for; 0 anywhere but in itself."""
        return _core.requests() if self.pid == os.getpid() else 0

    def notify(self) -> None:
        """Gunicorn's sign of life. Here the arbiter needs none: it watches the application's calls."""

    def __str__(self) -> str:
        return f"<Worker {self.pid}>"


class App:
    """The application, as hooks see it."""

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.callable: Any = None

    def wsgi(self) -> Any:
        return self.callable


class Request:
    """A request, as `pre_request` and `post_request` see it: its head."""

    def __init__(
        self,
        method: str,
        uri: str,
        path: str,
        query: str,
        version: tuple[int, int],
        headers: list[tuple[str, str]],
        scheme: str,
        peer_addr: Any,
    ) -> None:
        self.method, self.uri, self.path, self.query = method, uri, path, query
        self.fragment = ""
        self.version = version
        self.headers = headers
        self.trailers: list[tuple[str, str]] = []
        self.scheme = scheme
        self.peer_addr = self.remote_addr = peer_addr
        self.body = None
        self.proxy_protocol_info = None

    def should_close(self) -> bool:
        for name, value in self.headers:
            if name == "CONNECTION":
                return value.lower().strip() == "close"
        return self.version <= (1, 0)

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.uri}>"


class Response:
    """A response, as `post_request` sees it."""

    def __init__(
        self, req: Request, status: str | None, headers: list[tuple[str, str]], response_length: int | None, sent: int
    ) -> None:
        self.req = req
        self.version = "ferricorn"
        self.status = status
        self.status_code = None if status is None else int(status[:3])
        self.headers = headers
        self.response_length = response_length
        self.chunked = response_length is None and req.version > (1, 0)
        #: Not if the application has raised before its response was begun.
        self.headers_sent = status is not None
        self.sent = sent
        self.upgrade = False

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


#: One for the whole life of a process; made when there is a hook.
server: Server | None = None


class Hooks:
    """The hooks of one load of the settings. What they raise is logged, and goes no further."""

    def __init__(self, values: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> None:
        global server
        if server is None:
            server = Server()
        self.server = server
        self.functions = dict(functions)
        self.cfg = Config(values, functions)
        self.log = _log.install(self.cfg.loglevel)
        self.booting: dict[int, Worker] = {}
        self.worker: Worker | None = None
        self.application: Any = None

    def call(self, name: str, *arguments: Any) -> None:
        function = self.functions.get(name)
        if function is None:
            return
        try:
            function(*arguments)
        except BaseException as error:
            report(f"Exception in the hook {name}", error)

    # In the arbiter.

    def prepare(self) -> None:
        """Gives the arbiter the variables and the module path that hooks may count on."""
        variables.follow(self.cfg.env)
        directories = [self.cfg.chdir]
        directories += [os.path.abspath(path) for path in (self.cfg.pythonpath or "").split(",") if path]
        for directory in directories:
            if directory not in sys.path:
                sys.path.insert(0, directory)

    def follow(self) -> Server:
        variables.follow(self.cfg.env)
        self.server.adopt(self.cfg, self.log)
        return self.server

    def workers_changed(self, new: int, old: int | None) -> None:
        server = self.follow()
        # A daemon is another process than the one that has read the settings.
        server.pid = os.getpid()
        server.num_workers = new
        self.call("nworkers_changed", server, new, old)

    def on_starting(self) -> None:
        self.call("on_starting", self.follow())

    def when_ready(self) -> None:
        self.call("when_ready", self.follow())

    def on_reload(self) -> None:
        self.call("on_reload", self.follow())

    def pre_fork(self, age: int) -> None:
        server = self.follow()
        server.worker_age = age
        worker = self.booting[age] = Worker(age, server, self.cfg, self.log)
        self.call("pre_fork", server, worker)

    def forked(self, age: int, pid: int | None) -> None:
        worker = self.booting.pop(age, None)
        if worker is not None and pid is not None:
            worker.pid = pid
            self.server.WORKERS[pid] = worker

    def child_exit(self, pid: int) -> None:
        server = self.follow()
        worker = server.WORKERS.pop(pid, None)
        if worker is not None:
            self.call("child_exit", server, worker)

    def pre_exec(self) -> None:
        self.call("pre_exec", self.follow())

    def on_exit(self) -> None:
        self.call("on_exit", self.follow())

    # In a worker.

    def post_fork(self, age: int) -> None:
        worker = self.booting.pop(age, None) or Worker(age, self.server, self.cfg, self.log)
        worker.pid = os.getpid()
        worker.app.callable = self.application
        self.worker = worker
        self.call("post_fork", self.server, worker)

    def watch_abort(self) -> None:
        """Has the hook for ABRT called in that case, if there is one. To be called before other handlers are set."""
        if "worker_abort" in self.functions:
            signal.signal(signal.SIGABRT, self.worker_abort)

    def loaded(self, application: Any) -> None:
        # In a template there is no worker yet.
        self.application = application
        if self.worker is not None:
            self.worker.app.callable = application

    def post_worker_init(self) -> None:
        if self.worker is not None:
            self.call("post_worker_init", self.worker)
            self.worker.booted = True

    def worker_int(self) -> None:
        if self.worker is not None:
            self.worker.alive = False
            self.call("worker_int", self.worker)

    def worker_abort(self, *_: Any) -> None:
        if self.worker is not None:
            self.worker.alive = False
            self.worker.aborted = True
            self.call("worker_abort", self.worker)
            self.worker_exit()
        signal.signal(signal.SIGABRT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGABRT)

    def worker_exit(self) -> None:
        if self.worker is not None:
            self.worker.alive = False
            self.call("worker_exit", self.server, self.worker)

    # For each request, if there is such a hook.

    def request_hooks(self) -> tuple[Any, Any]:
        return self.functions.get("pre_request"), self.functions.get("post_request")


class Variables:
    """Environment variables that settings have set in the arbiter, and what was there before."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.before: dict[str, str | None] = {}

    def follow(self, values: Mapping[str, str]) -> None:
        if values == self.values:
            return
        self.restore()
        self.values = dict(values)
        for name, value in values.items():
            self.before[name] = os.environ.get(name)
            os.environ[name] = value

    def restore(self) -> None:
        for name, value in self.before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self.before.clear()
        self.values.clear()


variables = Variables()


def report(heading: str, error: BaseException) -> None:
    """Logs an exception with its traceback, less our own part of it."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(error), error, frames)).rstrip("\n")
    _core.log(40, f"{heading}\n{text}")
