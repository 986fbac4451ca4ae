"""What clients notice of others whose requests block, and what threads bring and cost."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import load
import processes
import wsgi
from answers import GREETING, Question, verify
from load import Load
from measures import OURS, Options, Paired, Target, ratio, turn, wanted
from servers import PEERS_TARGET, Role, Server, Stage, Wrong

OURS_WSGI = wsgi.OURS_WSGI
ROLE = Role("wsgi:blocking")
CONNECTIONS = 16
SECONDS = 8
SLOW = 300

# Two workers each, with so many application threads, and otherwise as in wsgi.py. uvicorn serves WSGI from a pool of ten
# threads, whatever is asked for; gunicorn's sync worker, uWSGI without threads and FastPySGI have one thread.
_SERVE = "{venv}/python {root}/benches/compare/peers/serve.py"
_GUNICORN = "{venv}/gunicorn --workers 2 --http-parser fast --no-control-socket --keep-alive 75"
_UWSGI = (
    "FIELDS='Server Date' {venv}/uwsgi --home {venv}/.. --need-app --single-interpreter --disable-logging --master"
    " --processes 2 --die-on-term --http 127.0.0.1:{port} --http-keepalive --http-auto-chunked"
)
_GRANIAN = (
    "{venv}/granian --interface wsgi --http 1 --no-ws --workers 2 --runtime-threads 1 --runtime-mode st --no-access-log"
    " --log-level error --port {port}"
)


def commands(threads: int) -> dict[str, str]:
    uwsgi = f" --threads {threads}" if threads > 1 else ""
    return {
        OURS_WSGI: f"{{venv}}/ferricorn -b 127.0.0.1:{{port}} -w 2 --threads {threads} {{app}}",
        "gunicorn sync": f"{_GUNICORN} -b 127.0.0.1:{{port}} {{app}}",
        "gunicorn gthread": f"{_GUNICORN} -k gthread --threads {threads} -b 127.0.0.1:{{port}} {{app}}",
        "uwsgi": f"{_UWSGI}{uwsgi} --module {{app}}",
        "granian": f"{_GRANIAN} --blocking-threads {threads} {{app}}",
        "uvicorn": "{venv}/uvicorn --interface wsgi --workers 2 --no-access-log --log-level error --port {port} {app}",
        "fastpysgi": f"WORKERS=2 {_SERVE} fastpysgi {{app}} {{port}}",
    }


def suffix(threads: int) -> str:
    return f" (blocked, {threads} threads)"


THREADS = f"{OURS_WSGI} 8 threads"
NATIVE_THREADS = f"{OURS} 8 threads"
SHARES = {f"{OURS_WSGI} {workers} x 8 threads": workers * 8 for workers in (1, 2)}
COMMANDS = {f"{name}{suffix(threads)}": command for threads in (1, 2) for name, command in commands(threads).items()} | {
    THREADS: "{venv}/ferricorn -b 127.0.0.1:{port} -w 1 --threads 8 {app}",
    NATIVE_THREADS: "{root}/target/release/examples/hello -b 127.0.0.1:{port} -w 1 --threads 8",
    **{
        name: f"{{venv}}/ferricorn -b 127.0.0.1:{{port}} -w {threads // 8} --threads 8 {{app}}"
        for name, threads in SHARES.items()
    },
}


def milliseconds(how: str, key: str) -> Callable[[dict], float]:
    return lambda results: results[f"{OURS_WSGI}, {how}"][key] / 1000


@dataclass(frozen=True)
class Beside:
    """Fast requests beside streams of slow ones, fewer than there are application threads in all."""

    name: str
    title: str
    threads: int
    streams: int
    targets: tuple[Target, ...] = (
        Target("p99 over connections that are kept <= 10 ms", 10, milliseconds("keep", "p99"), "ms"),
        Target("the slowest of them <= 60 ms", 60, milliseconds("keep", "max"), "ms"),
        Target("p99 over new connections <= 2 ms", 2, milliseconds("new", "p99"), "ms"),
    )
    by_default: bool = True
    group: str = "blocked"

    @property
    def servers(self) -> tuple[str, ...]:
        return tuple(f"{name}{suffix(self.threads)}" for name in commands(self.threads))

    def run(self, stage: Stage, options: Options, say: Callable[[str], None]) -> dict:
        results = {}
        everybody = Options(**{**vars(options), "only": None})
        for full in self.servers:
            name = full.removesuffix(suffix(self.threads))
            if (options.only is not None and name not in options.only) or not wanted(full, stage, everybody, role=ROLE):
                continue
            with turn(stage, options, name):
                server = stage.start(full, ROLE)
                # What it is known by.
                server.name = name
                verify(server, Question(GREETING))
                for how in ("keep", "new"):
                    say(f"{self.name}: {name}, {how}")
                    results[f"{name}, {how}"] = self._measure(server, how, options)
        return results

    def _measure(self, server: Server, how: str, options: Options) -> dict:
        seconds = options.seconds * SECONDS
        words = (PEERS_TARGET / "release" / "beside", server.port, "/", f"/sleep/{SLOW}", CONNECTIONS, self.streams, seconds, how)
        client = processes.spawn([str(word) for word in words], options.load_cpu, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            said, complaints = client.communicate(timeout=seconds + 60)
        except subprocess.TimeoutExpired:
            raise Wrong(f"{server.name}: the clients do not end") from None
        finally:
            processes.end(client)
        heard = json.loads(said or "{}")
        if not heard.get("requests") or heard.get("slow", 0) < self.streams:
            raise Wrong(f"{server.name}: too few answers: {said.strip()} {complaints.strip()[-400:]}")
        errors = [f"{heard['errors']} errors, such as {complaints.strip().splitlines()[-1:]}"] if heard["errors"] else []
        return heard | {"errors": errors}

    def table(self, results: dict) -> tuple[list[str], list[list[str]]]:
        columns = ["server, connections", "p50 ms", "p99 ms", "slowest ms", "requests", "slow ones", "errors"]
        rows = [
            [
                name,
                *(f"{r[key] / 1000:.2f}" for key in ("p50", "p99", "max")),
                str(r["requests"]),
                str(r["slow"]),
                "; ".join(r["errors"]) or "0",
            ]
            for name, r in results.items()
        ]
        return columns, rows


@dataclass(frozen=True)
class Share:
    """Calls that block for 10 ms, from more clients than there are threads: the share of what the threads could do."""

    name: str = "blocked-share"
    title: str = "10 ms of blocking I/O in 8 threads a worker, 512 clients"
    servers: tuple[str, ...] = tuple(SHARES)
    targets: tuple[Target, ...] = tuple(
        Target(f"{name}: >= 0.9 of the bound", 0.9, lambda results, name=name: results[name]["share"], at_least=True)
        for name in SHARES
    )
    by_default: bool = True
    group: str = "blocked"

    def run(self, stage: Stage, options: Options, say: Callable[[str], None]) -> dict:
        results = {}
        of = Load(connections=512, path="/sleep/10")
        for name, threads in SHARES.items():
            if not wanted(name, stage, options, role=ROLE):
                continue
            say(f"{self.name}: {name}")
            with turn(stage, options, name):
                server = stage.start(name, ROLE)
                length = verify(server, Question(GREETING, of.path))
                measured = load.run(of, server, options.seconds * 5, options.load_cpu, length)
                results[name] = {
                    "rate": measured.rate,
                    "share": measured.rate / (threads * 100),
                    "cpu": measured.cpu,
                    "p99": measured.p99,
                    "errors": [measured.errors] if measured.errors else [],
                }
        return results

    def table(self, results: dict) -> tuple[list[str], list[list[str]]]:
        columns = ["server", "requests/s", "of the bound", "CPU us", "p99 ms", "errors"]
        rows = [
            [name, f"{r['rate']:.0f}", f"{r['share']:.1%}", f"{r['cpu']:.1f}", f"{r['p99'] / 1000:.1f}", "; ".join(r["errors"]) or "0"]
            for name, r in results.items()
        ]
        return columns, rows


SCENARIOS = (
    Beside("blocked", "Fast requests beside one stream of 300 ms ones, two workers", 1, 1),
    Beside("blocked-threads", "Fast requests beside two streams of 300 ms ones, two workers with two threads", 2, 2),
    Share(),
    Paired(
        "threads-hello",
        "A WSGI hello with 8 threads, against one",
        Load(),
        ((OURS_WSGI, THREADS),),
        (Target("CPU with 8 threads <= 1.05 x inline", 1.05, ratio(THREADS)),),
        group="blocked",
        role=Role("wsgi:hello"),
    ),
    Paired(
        "threads-native",
        "A native hello with 8 threads, against one",
        Load(),
        ((OURS, NATIVE_THREADS),),
        (Target("CPU with 8 threads <= 1.05 x inline", 1.05, ratio(NATIVE_THREADS)),),
        group="blocked",
    ),
)
