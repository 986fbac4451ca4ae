"""What a Django project occupies in an arbiter and four workers, loaded once in each or once for all."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import processes
from answers import Client
from measures import OURS, Options, Target, turn, wanted
from servers import Server, Stage, Wrong

WORKERS = 4
PAGE = "/admin/login/"
PRELOADED, WARM = f"{OURS} preload", f"{OURS} preload, warmed up"
# Those that load the application in each worker, and those that load it before they fork.
APART, TOGETHER = ("gunicorn", "uwsgi lazy-apps", "granian"), ("gunicorn preload", "uwsgi")

_SITE = "PYTHONPATH={root}/benches/compare/peers/site "
_OURS = _SITE + "{venv}/ferricorn -b 127.0.0.1:{port} -w 4 site_wsgi"
_GUNICORN = _SITE + "{venv}/gunicorn --no-control-socket -b 127.0.0.1:{port} -w 4 site_wsgi"
_UWSGI = _SITE + (
    "{venv}/uwsgi --home {venv}/.. --need-app --single-interpreter --disable-logging --die-on-term --master --processes 4"
    " --http-socket 127.0.0.1:{port} --module site_wsgi"
)
# Names of their own: other scenarios have other commands for the same servers.
COMMANDS = {
    f"{name} (site)": command
    for name, command in {
        OURS: _OURS,
        PRELOADED: f"{_OURS} --preload",
        WARM: f"{_OURS} --preload --warmup {PAGE}",
        "gunicorn": _GUNICORN,
        "gunicorn preload": f"{_GUNICORN} --preload",
        "uwsgi lazy-apps": f"{_UWSGI} --lazy-apps",
        "uwsgi": _UWSGI,
        # Only if it is there: `apt-get install apache2 libapache2-mod-wsgi-py3`.
        "mod_wsgi": "{venv}/python {root}/benches/compare/peers/mod_wsgi.py {port} {work}",
        "granian": _SITE + "{venv}/granian --interface wsgi --workers 4 --port {port} --no-access-log site_wsgi:application",
    }.items()
}


def mebibytes(name: str) -> Callable[[dict], float]:
    return lambda results: results[name]["memory"]["pss"] / 1024


def over_the_least(name: str, peers: tuple[str, ...]) -> Callable[[dict], float]:
    return lambda results: mebibytes(name)(results) / min(mebibytes(peer)(results) for peer in peers if peer in results)


@dataclass(frozen=True)
class Sharing:
    """Pages are asked for until each worker has served some, and each collects its garbage before it is measured: a full
    collection looks at every object, and what looks at an object may write to it."""

    name: str = "memory-django"
    title: str = "Memory of a Django project, four workers, after requests and a full collection in each"
    targets: tuple[Target, ...] = (
        Target("preloaded <= 95 MiB PSS", 95, mebibytes(PRELOADED), "MiB"),
        Target("preloaded and warmed up <= 80 MiB PSS", 80, mebibytes(WARM), "MiB"),
        Target("preloaded: below every peer", 0.9999, over_the_least(PRELOADED, TOGETHER), "x the least"),
        Target("not preloaded: below every peer", 0.9999, over_the_least(OURS, APART), "x the least"),
    )
    by_default: bool = True
    group: str = "wsgi"
    servers: tuple[str, ...] = tuple(COMMANDS)

    def run(self, stage: Stage, options: Options, say: Callable[[str], None]) -> dict:
        results = {}
        for full in COMMANDS:
            name = full.removesuffix(" (site)")
            if (options.only is not None and name not in options.only) or not wanted(full, stage, _all(options)):
                continue
            say(f"{self.name}: {name}")
            with turn(stage, options, name):
                server = stage.start(full)
                crowd(server, PAGE, 400)
                collected(server)
                memory = processes.settled_memory(server.look())
                results[name] = {
                    "memory": asdict(memory),
                    "by_process": [[processes.name(pid), asdict(processes.memory(pid))] for pid in server.pids],
                }
        return results

    def table(self, results: dict) -> tuple[list[str], list[list[str]]]:
        columns = ["server", "PSS MiB", "without files", "private MiB", "PSS MiB by process"]
        rows = []
        for name, measured in results.items():
            memory = measured["memory"]
            parts = " + ".join(f"{part['pss'] / 1024:.1f}" for _, part in measured["by_process"])
            rows.append([name, *(f"{memory[kind] / 1024:.1f}" for kind in ("pss", "data", "uss")), parts])
        return columns, rows


def _all(options: Options) -> Options:
    """The same without a choice of servers, which was looked at already."""
    return Options(**{**vars(options), "only": None})


def crowd(server: Server, path: str, requests: int) -> list[bytes]:
    """Answers to so many requests, eight at a time and each on a connection of its own, so that all workers have some."""

    def ask(_: int) -> bytes:
        for patience in range(100):
            try:
                with Client(server, timeout=20) as client:
                    client.ask(path, close=True)
                    answer = client.answer()
            except ConnectionRefusedError:
                # Some listen before they are ready.
                time.sleep(0.1)
                continue
            if answer.status != 200:
                raise Wrong(f"answered {path} with {answer.status}")
            return answer.body
        raise Wrong("refuses to be connected to")

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(ask, range(requests)))


def collected(server: Server, patience: float = 30) -> None:
    """Has every worker collect its garbage."""
    seen: Counter[bytes] = Counter()
    deadline = time.monotonic() + patience
    while len(seen) < WORKERS or min(seen.values()) < 2:
        if time.monotonic() > deadline:
            raise Wrong(f"only {len(seen)} of {WORKERS} workers answer")
        seen.update(crowd(server, "/collect", 4 * WORKERS))


SCENARIOS = (Sharing(),)
