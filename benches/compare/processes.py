"""What /proc tells about a tree of processes, and processes that never outlive the one that measures them."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass

_PR_SET_PDEATHSIG = 1
_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_libc = ctypes.CDLL(None, use_errno=True)


# The priority of everything started, for a machine that others use, too.
niceness = 0


def spawn(argv: list[str], cpu: int | None, **options) -> subprocess.Popen:
    """Starts a process group of its own on one CPU; it is told to stop should this process die first."""

    def prepare() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if niceness:
            os.setpriority(os.PRIO_PROCESS, 0, niceness)
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})

    return subprocess.Popen(argv, preexec_fn=prepare, start_new_session=True, **options)


def end(process: subprocess.Popen, patience: float = 3) -> None:
    """Asks a group's leader to stop, waits, then kills what is left of the group."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def tree(pid: int) -> list[int]:
    """A process and its descendants, parents first."""
    pids = [pid]
    for parent in pids:
        for task in _tasks(parent):
            pids += [int(child) for child in _read(f"/proc/{parent}/task/{task}/children").split()]
    return pids


@dataclass(frozen=True)
class Time:
    """In microseconds, of all threads of some processes so far: on a CPU, user and system, and ready but not on one."""

    running: float
    delayed: float

    def __sub__(self, other: Time) -> Time:
        return Time(self.running - other.running, self.delayed - other.delayed)


def time_spent(pids: list[int]) -> Time:
    running = delayed = 0
    for pid in pids:
        for task in _tasks(pid):
            fields = _read(f"/proc/{pid}/task/{task}/schedstat").split()
            if len(fields) >= 2:
                running += int(fields[0])
                delayed += int(fields[1])
        running += _waited_for(pid)
    return Time(running / 1000, delayed / 1000)


def _waited_for(pid: int) -> int:
    """Nanoseconds of the children that have ended, such as CGI programs; the kernel counts them by the tick."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) * _TICK if len(fields) > 14 else 0


@dataclass(frozen=True)
class Memory:
    """In KiB. `pss` counts a shared page in parts, `uss` only what is private, and both what is swapped out. `data` is
    the part of `pss` that is no file: what others do with the same libraries does not change it."""

    pss: int
    uss: int
    rss: int
    data: int

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.pss + other.pss, self.uss + other.uss, self.rss + other.rss, self.data + other.data)


def memory(pid: int) -> Memory:
    rollup = _read(f"/proc/{pid}/smaps_rollup")

    def kib(*names: str) -> int:
        return sum(int(n) for name in names for n in re.findall(rf"^{name}:\s+(\d+) kB", rollup, re.M))

    return Memory(
        pss=kib("Pss", "SwapPss"),
        uss=kib("Private_Clean", "Private_Dirty", "Swap"),
        rss=kib("Rss"),
        data=kib("Pss_Anon", "Pss_Shmem", "SwapPss"),
    )


def settled_memory(pids: list[int], patience: float = 5) -> Memory:
    """The memory of all these processes, once it has not changed between two looks."""
    deadline = time.monotonic() + patience
    latest = None
    while True:
        now = sum((memory(pid) for pid in pids), Memory(0, 0, 0, 0))
        if now == latest or time.monotonic() > deadline:
            return now
        latest = now
        time.sleep(0.2)


def switches(pid: int) -> int:
    """How often threads of a process went to sleep of their own accord, which is how often they were woken."""
    return sum(
        int(n)
        for task in _tasks(pid)
        for n in re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", status(int(task)), re.M)
    )


def status(task: int) -> str:
    """What the kernel says about a process or a thread."""
    return _read(f"/proc/{task}/status")


def name(pid: int) -> str:
    """The command line, or the process title that took its place."""
    return _read(f"/proc/{pid}/cmdline").replace("\0", " ").strip() or _read(f"/proc/{pid}/comm").strip()


def threads(pid: int) -> list[int]:
    return [int(task) for task in _tasks(pid)]


def time_wait(port: int) -> int:
    """Sockets on `port` of this machine that are in TIME_WAIT, which the side that closes first has to keep."""
    hexadecimal = f":{port:04X}"
    lines = _read("/proc/net/tcp").splitlines()[1:]
    return sum(1 for line in lines if (f := line.split())[1].endswith(hexadecimal) and f[3] == "06")


def _tasks(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")
    except FileNotFoundError:
        return []


def _read(path: str) -> str:
    # A process or thread may be gone by the time it is looked at.
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
