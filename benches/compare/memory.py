"""The memory of an arbiter and four workers that serve a Django project."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import processes
from measures import OURS, Options, Target, told, wanted
from servers import Role, Server, Stage, Wrong

WORKERS = 4
_OURS = "{venv}/ferricorn -b 127.0.0.1:{port} -w 4"
_GUNICORN = "{venv}/gunicorn -b 127.0.0.1:{port} -w 4 --no-control-socket"
_UWSGI = (
    "{venv}/uwsgi --home {venv}/.. --http-socket 127.0.0.1:{port} --master --processes 4 --need-app --single-interpreter"
    " --disable-logging --die-on-term"
)

COMMANDS = {
    f"{OURS} 4 workers": f"{_OURS} {{app}}",
    f"{OURS} 4 preload": f"{_OURS} --preload {{app}}",
    f"{OURS} 4 preload, warm-up": f"{_OURS} --preload --warmup /admin/login/ {{app}}",
    "gunicorn 4 workers": f"{_GUNICORN} {{app}}",
    "gunicorn 4 preload": f"{_GUNICORN} --preload {{app}}",
    "uwsgi 4 workers": f"{_UWSGI} --lazy-apps --module {{app}}",
    "uwsgi 4 preload": f"{_UWSGI} --module {{app}}",
    "granian 4 workers": "{venv}/granian --interface wsgi --http 1 --no-ws --workers 4 --blocking-threads 1 --no-access-log"
    " --log-level error --port {port} {app}",
}


def least_peer(results: dict) -> float:
    return min(r["pss"] for name, r in results.items() if not name.startswith(OURS))


@dataclass(frozen=True)
class WorkerMemory:
    """After every worker has answered a page and has collected its garbage."""

    name: str = "django-memory"
    title: str = "Memory of a Django project with four workers, after a full collection in each"
    servers: tuple[str, ...] = tuple(COMMANDS)
    targets: tuple[Target, ...] = (
        Target("preloaded <= 95 MiB PSS", 95, lambda r: r[f"{OURS} 4 preload"]["pss"] / 1024, "MiB"),
        Target("with a warm-up request <= 80 MiB PSS", 80, lambda r: r[f"{OURS} 4 preload, warm-up"]["pss"] / 1024, "MiB"),
        Target("preloaded: less than every peer", 0.9999, lambda r: r[f"{OURS} 4 preload"]["pss"] / least_peer(r), "x the least"),
        Target(
            "not preloaded: less than every peer that is not",
            0.9999,
            lambda r: r[f"{OURS} 4 workers"]["pss"]
            / min(r[name]["pss"] for name in ("gunicorn 4 workers", "uwsgi 4 workers", "granian 4 workers")),
            "x the least",
        ),
    )
    by_default: bool = True
    group: str = "wsgi"
    role: Role = Role("django_admin:app")

    def run(self, stage: Stage, options: Options, say: Callable[[str], None]) -> dict:
        results = {}
        for name in self.servers + options.also:
            if not wanted(name, stage, options, role=self.role):
                continue
            say(f"{self.name}: {name}")
            try:
                server = stage.start(name, self.role)
                workers = visit_all(server)
                memory = processes.settled_memory(server.look())
                by_process = [[processes.name(pid), asdict(processes.memory(pid))] for pid in server.pids]
                results[name] = asdict(memory) | {"workers": sorted(workers), "by_process": by_process}
            except (OSError, Wrong) as error:
                options.failures.append(told(name, error))
            finally:
                stage.stop()
        return results

    def table(self, results: dict) -> tuple[list[str], list[list[str]]]:
        columns = ["server", "processes", "PSS MiB", "private MiB", "RSS MiB", "PSS MiB by process"]
        rows = [
            [
                name,
                str(len(r["by_process"])),
                *(f"{r[kind] / 1024:.1f}" for kind in ("pss", "uss", "rss")),
                " + ".join(f"{memory['pss'] / 1024:.1f}" for _, memory in r["by_process"]),
            ]
            for name, r in results.items()
        ]
        return columns, rows


def visit_all(server: Server, workers: int = WORKERS, patience: float = 30) -> set[bytes]:
    """Has every worker answer pages and then collect its garbage; returns which they are. A connection each, several at a
    time, so that they come to all of them."""
    deadline = time.monotonic() + patience
    with ThreadPoolExecutor(workers * 4) as clients:

        def all_of(path: str) -> list[bytes]:
            return list(clients.map(lambda _: _get(server, path), range(workers * 8)))

        all_of("/collect")
        for _ in range(10):
            all_of("/admin/login/")
        seen: set[bytes] = set()
        while len(seen) < workers:
            seen |= set(all_of("/collect"))
            if time.monotonic() > deadline:
                raise Wrong(f"{server.name}: only {len(seen)} of {workers} workers ever answered")
        return seen


def _get(server: Server, path: str) -> bytes:
    connection = http.client.HTTPConnection(*server.address, timeout=30)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as error:
        raise Wrong(f"{server.name}: {error!r}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise Wrong(f"{server.name}: answered {path} with {response.status}")
    return body
