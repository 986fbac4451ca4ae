"""Load by wrk in short slices, and what a slice costs the server."""

from __future__ import annotations

import re
import statistics
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

import processes
from servers import Server, Wrong, find

_PIPELINE = Path(__file__).resolve().parent / "pipeline.lua"
_UNITS = {"us": 1, "ms": 1e3, "s": 1e6, "m": 6e7}


@dataclass(frozen=True)
class Load:
    """What wrk is to do."""

    connections: int = 64
    depth: int = 1
    close: bool = False
    path: str = "/"

    def command(self, server: Server, seconds: int) -> list[str]:
        command = [find("wrk"), "-t1", f"-c{self.connections}", f"-d{seconds}s", "--latency", "--timeout", "10s"]
        if self.close:
            command += ["-H", "Connection: close"]
        if self.depth > 1:
            command += ["-s", str(_PIPELINE)]
        command.append(f"http://127.0.0.1:{server.port}{self.path}")
        return command + (["--", str(self.depth)] if self.depth > 1 else [])


@dataclass(frozen=True)
class Slice:
    """One run of wrk. Times are in microseconds; `busy` is the share of the time that the server spent on a CPU."""

    requests: int
    cpu: float
    rate: float
    busy: float
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
    pids = server.look()
    before = processes.cpu_us(pids)
    wrk = processes.spawn(load.command(server, seconds), cpu, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said, _ = wrk.communicate(timeout=seconds + 30)
    except subprocess.TimeoutExpired:
        raise Wrong(f"{server.name}: wrk does not end") from None
    finally:
        processes.end(wrk)
    spent = processes.cpu_us(pids) - before
    counted = re.search(r"(\d+) requests in \S+, ([\d.]+)([KMGT]?)B read", said)
    per_second = re.search(r"^Requests/sec:\s+([\d.]+)", said, re.M)
    if not counted or not per_second or counted[1] == "0":
        raise Wrong(f"{server.name}: no answers, wrk said: {said.strip()}")
    requests, rate = int(counted[1]), float(per_second[1])
    elapsed = requests / rate * 1e6
    read = float(counted[2]) * 1024 ** " KMGT".index(counted[3] or " ")
    errors = [match.strip() for match in re.findall(r"(Socket errors: .*|Non-2xx.*)", said)]
    # wrk counts what it read of unfinished answers, too, and rounds; a wrong length would be far off.
    if abs(read - requests * length) > 0.02 * read + (load.connections + 1) * length * load.depth:
        errors.append(f"{read / requests:.0f} bytes for each answer in the place of {length}")
    if server.look() != pids:
        errors.append("a process of the server came or went")

    def latency(percentile: str) -> float:
        found = re.search(rf"^\s+{percentile}%\s+([\d.]+)(us|ms|s|m)\s*$", said, re.M)
        return float(found[1]) * _UNITS[found[2]] if found else float("nan")

    return Slice(requests, spent / requests, rate, spent / elapsed, latency("50"), latency("99"), "; ".join(errors))


def pair(slice_: Slice, before: Slice, after: Slice) -> Pair:
    cpu = (before.cpu + after.cpu) / 2
    rate = (before.rate + after.rate) / 2
    return Pair(slice_.cpu / cpu, slice_.cpu - cpu, slice_.rate / rate)


def summary(slices: list[Slice], pairs: list[Pair]) -> dict:
    """What a report needs of a server's slices; a reference has no pairs."""
    result = {key: statistics.median(getattr(s, key) for s in slices) for key in ("cpu", "rate", "busy", "p50", "p99")}
    result["errors"] = sorted({s.errors for s in slices if s.errors})
    if pairs:
        for key in ("cpu_ratio", "cpu_difference", "rate_ratio"):
            result[key] = asdict(Spread.of([getattr(p, key) for p in pairs]))
    result["slices"] = [asdict(s) for s in slices]
    return result
