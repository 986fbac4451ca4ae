"""Load in short slices, and what a slice costs the server."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import processes
from servers import PEERS_TARGET, Calls, Server, Wrong, find

_HERE = Path(__file__).resolve().parent
_UNITS = {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}


@dataclass(frozen=True)
class Load:
    """What is asked, over how many connections, by wrk or by our own `sink`, which copes with large answers. `post` is
    JSON to send."""

    connections: int = 64
    depth: int = 1
    close: bool = False
    path: str = "/"
    by: str = "wrk"
    headers: tuple[str, ...] = ()
    post: bytes = b""


@dataclass(frozen=True)
class Slice:
    """One run of the load. Times are in microseconds. `busy` is the share of the time that the server spent on its CPU,
    `delayed` the share that it was kept from it: by strangers, and by its own threads and processes."""

    requests: int
    cpu: float
    rate: float
    busy: float
    delayed: float
    p50: float
    p99: float
    errors: str


@dataclass(frozen=True)
class Pair:
    """A slice against the mean of the reference's slices right before and right after it."""

    cpu_ratio: float
    cpu_difference: float
    rate_ratio: float


@dataclass(frozen=True)
class Spread:
    median: float
    lower: float
    upper: float

    @staticmethod
    def of(values: list[float]) -> Spread:
        if len(values) < 2:
            return Spread(values[0], values[0], values[0])
        lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
        return Spread(median, lower, upper)


def run(load: Load, server: Server, seconds: int, cpu: int | None, length: int) -> Slice:
    """One slice. `length` is the length of one answer, by which the number of bytes is checked."""
    if isinstance(server, Calls):
        return _called(server, seconds)
    pids = server.look()
    before = processes.time_spent(pids)
    command = _sink(load, server, seconds, length) if load.by == "sink" else _wrk(load, server, seconds)
    client = processes.spawn(command, cpu, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said, _ = client.communicate(timeout=seconds + 30)
    except subprocess.TimeoutExpired:
        raise Wrong(f"{server.name}: {load.by} does not end") from None
    finally:
        processes.end(client)
    spent = processes.time_spent(pids) - before
    try:
        heard = _heard_from_sink(said) if load.by == "sink" else _heard_from_wrk(said)
    except (AttributeError, ValueError, KeyError, ZeroDivisionError):
        raise Wrong(f"{server.name}: {load.by} counted no answers, it said: {said.strip()}") from None
    if not (heard.requests and heard.rate):
        raise Wrong(f"{server.name}: no answer in {seconds} s; longer slices may help")
    errors = heard.errors
    # What was read of unfinished answers counts, too, and wrk rounds; a wrong length would be far off.
    if abs(heard.read - heard.requests * length) > 0.02 * heard.read + (load.connections + 1) * length * load.depth:
        errors.append(f"{heard.read / heard.requests:.0f} bytes for each answer in the place of {length}")
    if server.look() != pids:
        errors.append("a process of the server came or went")
    elapsed = heard.requests / heard.rate * 1e6
    return Slice(
        requests=heard.requests,
        cpu=spent.running / heard.requests,
        rate=heard.rate,
        busy=spent.running / elapsed,
        delayed=spent.delayed / elapsed,
        p50=heard.p50,
        p99=heard.p99,
        errors="; ".join(errors),
    )


def _called(server: Calls, seconds: int) -> Slice:
    """A slice without any load: the process calls the application itself, and knows its own time."""
    before = processes.time_spent([server.process.pid])
    said = server.call(seconds)
    delayed = (processes.time_spent([server.process.pid]) - before).delayed
    elapsed = said["seconds"] * 1e6
    each = said["cpu"] * 1e6 / said["requests"]
    return Slice(said["requests"], each, said["requests"] / said["seconds"], said["cpu"] * 1e6 / elapsed, delayed / elapsed, each, each, "")


@dataclass
class _Heard:
    requests: int
    rate: float
    read: float
    p50: float
    p99: float
    errors: list[str]


def _wrk(load: Load, server: Server, seconds: int) -> list[str]:
    command = [find("wrk"), "-t1", f"-c{load.connections}", f"-d{seconds}s", "--latency", "--timeout", "10s"]
    for header in load.headers:
        command += ["-H", header]
    if load.close:
        command += ["-H", "Connection: close"]
    script, arguments = [], []
    if load.depth > 1:
        script, arguments = ["-s", str(_HERE / "pipeline.lua")], ["--", str(load.depth)]
    elif load.post:
        script, arguments = ["-s", str(_HERE / "post.lua")], ["--", load.post.decode()]
    return [*command, *script, f"http://127.0.0.1:{server.port}{load.path}", *arguments]


def _heard_from_wrk(said: str) -> _Heard:
    requests, read, unit = re.search(r"(\d+) requests in \S+, ([\d.]+)([KMGT]?)B read", said).groups()
    rate = float(re.search(r"^Requests/sec:\s+([\d.]+)", said, re.M)[1])

    def latency(percentile: str) -> float:
        value, unit = re.search(rf"^\s+{percentile}%\s+([\d.]+)(us|ms|s|m)\s*$", said, re.M).groups()
        return float(value) * _UNITS[unit]

    errors = [line.strip() for line in re.findall(r"Socket errors: .*|Non-2xx.*", said)]
    bytes_read = float(read) * 1024 ** " KMGT".index(unit or " ")
    return _Heard(int(requests), rate, bytes_read, latency("50"), latency("99"), errors)


def _sink(load: Load, server: Server, seconds: int, length: int) -> list[str]:
    sink = PEERS_TARGET / "release" / "sink"
    return [str(part) for part in (sink, server.port, load.path, load.connections, seconds, length)]


def _heard_from_sink(said: str) -> _Heard:
    heard = json.loads(said)
    rate = heard["requests"] / heard["seconds"]
    return _Heard(heard["requests"], rate, heard["bytes"], heard["p50"], heard["p99"], [])


def pair(slice_: Slice, before: Slice, after: Slice) -> Pair:
    cpu = (before.cpu + after.cpu) / 2
    rate = (before.rate + after.rate) / 2
    return Pair(slice_.cpu / cpu, slice_.cpu - cpu, slice_.rate / rate)


def summary(slices: list[Slice], pairs: list[Pair]) -> dict:
    """What a report needs of a server's slices; a reference has no pairs."""
    result = {key: statistics.median(getattr(s, key) for s in slices) for key in ("cpu", "rate", "busy", "delayed", "p50", "p99")}
    result["errors"] = sorted({s.errors for s in slices if s.errors})
    if pairs:
        for key in ("cpu_ratio", "cpu_difference", "rate_ratio"):
            result[key] = asdict(Spread.of([getattr(p, key) for p in pairs]))
    result["slices"] = [asdict(s) for s in slices]
    return result
