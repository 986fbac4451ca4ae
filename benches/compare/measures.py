"""The kinds of measurement: load in pairs of slices, idle connections, memory, system calls."""

from __future__ import annotations

import re
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import load
import processes
from answers import GREETING, Client, Question, verify
from load import Load
from servers import CALLS, Calls, Role, Server, Stage, Wrong, find

OURS = "ferricorn"
# The bare loop as it is usually written: level triggering, read and write. `bare` is the cheapest that was found.
USUAL = "bare level read"


@dataclass(frozen=True)
class Options:
    """How long and where, and what went wrong on the way. Without `rounds` each scenario has its own."""

    rounds: int | None
    seconds: int
    load_cpu: int | None
    idle_connections: int
    idle_seconds: int
    only: frozenset[str] | None = None
    also: tuple[str, ...] = ()
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Target:
    """A figure and its limit, at most or at least. `name` says it in words, `figure` finds it in the results by server."""

    name: str
    limit: float
    figure: Callable[[dict], float]
    unit: str = ""
    at_least: bool = False

    def judge(self, results: dict) -> dict:
        try:
            value = self.figure(results)
        except (KeyError, ValueError):
            return {"target": self.name, "value": None, "verdict": "not measured"}
        met = value >= self.limit if self.at_least else value <= self.limit
        return {"target": self.name, "value": value, "unit": self.unit, "verdict": "met" if met else "MISSED"}


def ratio(server: str) -> Callable[[dict], float]:
    return lambda results: results[server]["cpu_ratio"]["median"]


def over_best_peer(server: str) -> Callable[[dict], float]:
    """CPU per request over that of the best peer, which is neither ours nor a floor, by the ratios of both to the same
    reference."""

    def figure(results: dict) -> float:
        def of(name: str) -> float:
            measured = results[name].get("cpu_ratio")
            return measured["median"] if measured else 1.0

        return of(server) / min(of(name) for name in results if not name.startswith((OURS, "bare", CALLS)))

    return figure


# Load in pairs of slices.


@dataclass
class _Taken:
    """What was measured of a server."""

    slices: list[load.Slice] = field(default_factory=list)
    pairs: list[load.Pair] = field(default_factory=list)
    answer_bytes: int = 0
    time_wait: int = 0

    def summary(self) -> dict:
        return load.summary(self.slices, self.pairs) | {"answer_bytes": self.answer_bytes, "time_wait": self.time_wait}


@dataclass(frozen=True)
class Paired:
    """Servers under the same load. Each comparison has its reference first, whose slices lie around those of the others."""

    name: str
    title: str
    load: Load
    comparisons: tuple[tuple[str, ...], ...]
    targets: tuple[Target, ...] = ()
    # Whether it is measured with its group; else only when it is named.
    by_default: bool = True
    group: str = "native"
    role: Role = Role()
    # What is answered, if that is neither the greeting nor a file.
    expected: bytes | None = None
    rounds: int = 15
    # How many times the servers are started anew, each time for a part of the rounds: where objects and pages of memory come to
    # lie differs, and counts where the application's own work is large.
    instances: int = 1

    def run(self, stage: Stage, options: Options, say: Callable[[str], None]) -> dict:
        results = {}
        for compared in self.comparisons:
            names = [name for name in compared + options.also if wanted(name, stage, options, compared[0], self.role)]
            if compared[0] in names and len(names) > 1:
                results |= self._compare(compared[0], names, stage, options, say)
        return results

    def _compare(self, reference: str, names: list[str], stage: Stage, options: Options, say: Callable[[str], None]) -> dict:
        taken = {name: _Taken() for name in names}
        rounds = range(options.rounds or self.rounds)
        size = -(-len(rounds) // self.instances)
        for first in rounds[::size]:
            try:
                self._take(reference, names, taken, rounds[first : first + size], stage, options, say)
            finally:
                stage.stop()
            if reference not in names or len(names) < 2:
                return {}
        return {name: taken[name].summary() | {"reference": reference} for name in names}

    def _take(
        self,
        reference: str,
        names: list[str],
        taken: dict[str, _Taken],
        rounds: range,
        stage: Stage,
        options: Options,
        say: Callable[[str], None],
    ) -> None:
        """Some of the rounds, of servers that are started for them. Those that do not start leave `names`."""
        servers = {}
        for name in list(names):
            try:
                servers[name] = stage.start(name, self.role)
                taken[name].answer_bytes = _verified(servers[name], stage, self.load, self.expected)
            except Wrong as error:
                # The others can be compared without it.
                options.failures.append(told(name, error))
                names.remove(name)
        if reference not in names or len(names) < 2:
            return

        def take(name: str) -> load.Slice:
            return load.run(self.load, servers[name], options.seconds, options.load_cpu, taken[name].answer_bytes)

        # The first slice of each warms it up and is thrown away.
        for name in names:
            take(name)
        before = take(reference)
        taken[reference].slices.append(before)
        for round_ in rounds:
            say(f"{self.name}: round {round_ + 1} of {options.rounds or self.rounds}")
            for name in names[1:]:
                slice_, after = take(name), take(reference)
                taken[name].slices.append(slice_)
                taken[reference].slices.append(after)
                taken[name].pairs.append(load.pair(slice_, before, after))
                before = after
        for name in names:
            taken[name].time_wait += processes.time_wait(servers[name].port)

    def table(self, results: dict) -> tuple[list[str], list[list[str]]]:
        columns = ["server", "x reference", "quartiles", "difference us", "CPU us", "requests/s", "busy", "delayed", "p50 us", "p99 us", "errors"]
        rows = []
        for name, r in results.items():
            ratio_, difference = r.get("cpu_ratio"), r.get("cpu_difference")
            rows.append(
                [
                    name,
                    f"{ratio_['median']:.3f}" if ratio_ else "1",
                    f"{ratio_['lower']:.3f}-{ratio_['upper']:.3f}" if ratio_ else "",
                    f"{difference['median']:+.2f}" if difference else "",
                    f"{r['cpu']:.2f}",
                    f"{r['rate']:.0f}",
                    f"{r['busy']:.0%}",
                    f"{r['delayed']:.0%}",
                    f"{r['p50']:.0f}",
                    f"{r['p99']:.0f}",
                    "; ".join(r["errors"]) or "0",
                ]
            )
        return columns, rows


def _verified(server: Server, stage: Stage, load_: Load, expected: bytes | None) -> int:
    """The length of an answer that is right."""
    if expected is None:
        expected = GREETING if load_.path == "/" else (stage.work / "files" / load_.path.lstrip("/")).read_bytes()
    if isinstance(server, Calls):
        if server.said()["body"].encode("latin-1") != expected:
            raise Wrong(f"{server.name}: the application answers something else")
        return len(expected)
    return verify(server, Question(expected, load_.path, load_.post, load_.close, load_.depth))


# Idle connections.


@dataclass(frozen=True)
class Idle:
    """Many connections that have each had an answer: what each costs in memory, and whether anything wakes up."""

    name: str = "idle"
    title: str = "Idle keep-alive connections"
    servers: tuple[str, ...] = (OURS, "bare", "hyper", "actix", "may_minihttp", "nginx")
    targets: tuple[Target, ...] = (
        Target("bytes of process memory for an idle connection <= 512", 512, lambda r: r[OURS]["bytes"], "bytes"),
        Target("no wake-ups while idle", 0, lambda r: r[OURS]["wakeups"], "wake-ups"),
    )
    by_default: bool = True
    group: str = "native"

    def run(self, stage: Stage, options: Options, say: Callable[[str], None]) -> dict:
        # A client's socket each in this process, a server's each in the other.
        count = min(options.idle_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)
        results = {}
        for name in self.servers + options.also:
            if not wanted(name, stage, options):
                continue
            say(f"{self.name}: {name}, {count} connections")
            with turn(stage, options, name):
                # nginx closes idle connections when it has used fifteen of sixteen.
                stage.connections = count * 2
                server = stage.start(name)
                verify(server, Question(GREETING))
                results[name] = self._measure(server, count, options.idle_seconds)
            stage.connections = Stage.CONNECTIONS
        return results

    def _measure(self, server: Server, count: int, seconds: int) -> dict:
        def open_all(number: int) -> list[Client]:
            clients = []
            for _ in range(number):
                client = Client(server)
                clients.append(client)
                client.ask()
                client.answer()
            return clients

        # What the first connections make a server allocate once is not theirs.
        for client in open_all(64):
            client.socket.close()
        pids = server.look()
        empty = processes.settled_memory(pids)
        clients = open_all(count)
        try:
            full = processes.settled_memory(pids)
            before = {pid: processes.switches(pid) for pid in pids}
            spent = processes.time_spent(pids)
            time.sleep(seconds)
            woken = {pid: processes.switches(pid) - before[pid] for pid in pids}
            spent = processes.time_spent(pids) - spent
            # They must all be good for another request, or they were not kept.
            for client in clients:
                client.ask()
                client.answer()
        finally:
            for client in clients:
                client.socket.close()
        return {
            "connections": count,
            "bytes": (full.data - empty.data) * 1024 / count,
            "seconds": seconds,
            "wakeups": sum(woken.values()),
            "wakeups_by_process": {processes.name(pid): n for pid, n in woken.items()},
            "idle_cpu_us": spent.running,
        }

    def table(self, results: dict) -> tuple[list[str], list[list[str]]]:
        columns = ["server", "connections", "bytes each", "seconds", "wake-ups", "CPU us"]
        rows = [
            [
                name,
                str(r["connections"]),
                f"{r['bytes']:.0f}",
                str(r["seconds"]),
                " + ".join(str(n) for n in r["wakeups_by_process"].values()),
                f"{r['idle_cpu_us']:.0f}",
            ]
            for name, r in results.items()
        ]
        return columns, rows


# Memory of the processes themselves.


@dataclass(frozen=True)
class Memory:
    """What a server and its one worker occupy when fresh, and after a slice of load."""

    name: str = "memory"
    title: str = "Memory of the whole process tree, one worker"
    servers: tuple[str, ...] = (OURS, "bare", "hyper", "actix", "may_minihttp", "nginx")
    targets: tuple[Target, ...] = (
        Target("arbiter and one worker <= 6 MiB PSS", 6 * 1024, lambda r: r[OURS]["loaded"]["pss"], "KiB"),
    )
    by_default: bool = True
    group: str = "native"

    def run(self, stage: Stage, options: Options, say: Callable[[str], None]) -> dict:
        results = {}
        for name in self.servers + options.also:
            if not wanted(name, stage, options):
                continue
            say(f"{self.name}: {name}")
            with turn(stage, options, name):
                server = stage.start(name)
                length = verify(server, Question(GREETING))
                fresh = processes.settled_memory(server.look())
                load.run(Load(), server, options.seconds, options.load_cpu, length)
                loaded = processes.settled_memory(server.look())
                results[name] = {
                    "fresh": asdict(fresh),
                    "loaded": asdict(loaded),
                    "by_process": [[processes.name(pid), asdict(processes.memory(pid))] for pid in server.pids],
                    "threads": sum(len(processes.threads(pid)) for pid in server.pids),
                }
        return results

    def table(self, results: dict) -> tuple[list[str], list[list[str]]]:
        columns = ["server", "processes", "threads", "PSS KiB fresh", "PSS KiB after load", "private KiB", "RSS KiB", "PSS KiB by process"]
        rows = [
            [
                name,
                str(len(r["by_process"])),
                str(r["threads"]),
                str(r["fresh"]["pss"]),
                str(r["loaded"]["pss"]),
                str(r["loaded"]["uss"]),
                str(r["loaded"]["rss"]),
                " + ".join(str(memory["pss"]) for _, memory in r["by_process"]),
            ]
            for name, r in results.items()
        ]
        return columns, rows


# System calls.


@dataclass(frozen=True)
class Syscalls:
    """System calls for each request, counted by strace, which slows a server down so much that it has larger batches
    than it would have otherwise."""

    name: str = "syscalls"
    title: str = "System calls for each request (strace -c)"
    servers: tuple[str, ...] = (OURS, "bare", "hyper", "actix", "may_minihttp", "nginx")
    loads: tuple[Load, ...] = (Load(1), Load())
    role: Role = Role()
    expected: bytes | None = None
    targets: tuple[Target, ...] = ()
    by_default: bool = False
    group: str = "native"

    @staticmethod
    def of(scenario: Paired) -> Syscalls:
        """Those of another scenario, without its floors."""
        servers = tuple(name for names in scenario.comparisons for name in names if name not in ("bare", USUAL, OURS, CALLS))
        title = f"{scenario.title}: system calls for each request (strace -c)"
        more = {"role": scenario.role, "expected": scenario.expected, "group": scenario.group}
        return Syscalls(f"{scenario.name}-syscalls", title, servers, (scenario.load,), **more)

    def run(self, stage: Stage, options: Options, say: Callable[[str], None]) -> dict:
        results = {}
        for name in self.servers + options.also:
            if not wanted(name, stage, options, role=self.role):
                continue
            for of in self.loads:
                say(f"{self.name}: {name}, {of.connections} connections")
                with turn(stage, options, name):
                    server = stage.start(name, self.role)
                    length = _verified(server, stage, of, self.expected)
                    calls = self._count(server, of, options, length, stage)
                    results[f"{name}, {of.connections}"] = calls
        return results

    def _count(self, server: Server, of: Load, options: Options, length: int, stage: Stage) -> dict:
        output = stage.work / "strace"
        tasks = [task for pid in server.look() for task in processes.threads(pid)]
        command = [find("strace"), "-c", "-f", "-qq", "-o", str(output)]
        strace = processes.spawn(command + [part for task in tasks for part in ("-p", str(task))], None, stderr=subprocess.PIPE)
        try:
            deadline = time.monotonic() + 5
            while any(_tracer(task) != strace.pid for task in tasks):
                if strace.poll() is not None or time.monotonic() > deadline:
                    raise Wrong(f"strace does not attach to {server.name}")
                time.sleep(0.01)
            requests = load.run(of, server, options.seconds, options.load_cpu, length).requests
            strace.send_signal(signal.SIGINT)
            strace.wait(10)
        finally:
            processes.end(strace)
        counts = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", output.read_text(), re.M)
        return {
            "requests": requests,
            "calls": {call: int(count) / requests for count, call in counts if call != "total"},
        }

    def table(self, results: dict) -> tuple[list[str], list[list[str]]]:
        columns = ["server, connections", "calls for each request", "of which"]
        rows = []
        for name, r in results.items():
            calls = sorted(r["calls"].items(), key=lambda item: -item[1])
            listed = ", ".join(f"{call} {count:.2f}" for call, count in calls if count >= 0.005)
            rows.append([name, f"{sum(r['calls'].values()):.2f}", listed])
        return columns, rows


def _tracer(task: int) -> int:
    found = re.search(r"^TracerPid:\s+(\d+)", processes.status(task), re.M)
    return int(found[1]) if found else 0


@contextmanager
def turn(stage: Stage, options: Options, name: str) -> Iterator[None]:
    """The turn of one server, which is stopped at its end. What goes wrong in it is a failure of that server, and the others
    have theirs."""
    try:
        yield
    except (OSError, Wrong) as error:
        options.failures.append(told(name, error))
    finally:
        stage.stop()


def told(name: str, error: Exception) -> str:
    """An error with the name of the server that it is about, once."""
    text = str(error) or repr(error)
    return text if text.startswith(name) else f"{name}: {text}"


def wanted(name: str, stage: Stage, options: Options, reference: str | None = None, role: Role = Role()) -> bool:
    """Whether a server takes part: it was not left out, and it is there. One that is missing is a failure."""
    if options.only is not None and name not in options.only and name != reference and name not in options.also:
        return False
    missing = stage.missing(name, role)
    if missing:
        options.failures.append(f"{name}: there is no {missing}")
    return missing is None
