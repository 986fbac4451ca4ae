"""When clients that come at once to one worker have their first answers, while those that had theirs ask again."""

from __future__ import annotations

import os
import select
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import wsgi
from measures import Options, Target, turn, wanted
from servers import Role, Stage, Wrong

ROLE = Role("frameworks:app", (("FRAMEWORK", "django"),))
CLIENTS = 64
ROUNDS = 11
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
PATIENCE = 10


@dataclass(frozen=True)
class Arrivals:
    """Medians over the rounds, of which the first is thrown away."""

    name: str = "arrivals"
    title: str = f"{CLIENTS} clients that come at once to Django's hello: their first answers"
    # Those that keep connections by themselves.
    servers: tuple[str, ...] = (wsgi.OURS_WSGI, "fastwsgi", "fastpysgi", "bjoern", "granian", "gunicorn gthread")
    targets: tuple[Target, ...] = ()
    by_default: bool = True
    group: str = "blocked"

    def run(self, stage: Stage, options: Options, say: Callable[[str], None]) -> dict:
        results = {}
        for name in (*self.servers, *options.also):
            if not wanted(name, stage, options, role=ROLE):
                continue
            say(f"{self.name}: {name}")
            with turn(stage, options, name):
                server = stage.start(name, ROLE)
                with on_cpu(options.load_cpu):
                    rounds = [first_answers(server.address) for _ in range(ROUNDS)][1:]
                results[name] = {
                    "median": statistics.median(statistics.median(times) for times in rounds),
                    "last": statistics.median(max(times) for times in rounds),
                }
        return results

    def table(self, results: dict) -> tuple[list[str], list[list[str]]]:
        return ["server", "median ms", "last ms"], [[name, f"{r['median']:.1f}", f"{r['last']:.1f}"] for name, r in results.items()]


@contextmanager
def on_cpu(cpu: int | None) -> Iterator[None]:
    """Runs this process there."""
    before = os.sched_getaffinity(0)
    try:
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
        yield
    finally:
        os.sched_setaffinity(0, before)


def first_answers(address: tuple[str, int]) -> list[float]:
    """When each of the clients had its first answer, in milliseconds from the first connection on."""
    with ExitStack() as stack, select.epoll() as epoll:
        begun, waiting, first = time.monotonic(), {}, {}
        for _ in range(CLIENTS):
            client = stack.enter_context(socket.create_connection(address, PATIENCE))
            client.sendall(REQUEST)
            waiting[client.fileno()] = client
            epoll.register(client, select.EPOLLIN)
        while len(first) < CLIENTS:
            if time.monotonic() - begun > PATIENCE:
                raise Wrong(f"{CLIENTS - len(first)} clients have no answer after {PATIENCE} s")
            for number, _ in epoll.poll(1):
                client = waiting[number]
                if received := client.recv(65536):
                    first.setdefault(number, (time.monotonic() - begun) * 1000)
                if received and b"Connection: close" not in received:
                    client.sendall(REQUEST)
                else:
                    epoll.unregister(client)
        return list(first.values())


SCENARIOS = (Arrivals(),)
