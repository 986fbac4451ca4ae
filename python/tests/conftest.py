"""A real server for each test module that asks for one, and a client of raw sockets."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOON = 20.0
# For so long a look at something may take by itself.
LONGEST_LOOK = 1.0


def wait_until(what, condition, deadline=SOON):
    """Polls until `condition` gives something true, and returns that; `what` may be a function that tells what is there
    instead. A machine that stands still for a while, as virtual ones do, uses up little of the time: what is waited for
    stood still, too."""
    left, before = deadline, time.monotonic()
    while left > 0:
        if result := condition():
            return result
        time.sleep(0.01)
        now = time.monotonic()
        left, before = left - min(now - before, LONGEST_LOOK), now
    raise AssertionError(f"{what() if callable(what) else what}: not within {deadline} s")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Response:
    def __init__(self, status_line, headers, body, interim=()):
        self.status_line, self.headers, self.body, self.interim = status_line, headers, body, list(interim)

    @property
    def status(self):
        return int(self.status_line.split(b" ")[1])

    @property
    def reason(self):
        return self.status_line.split(b" ", 2)[2]

    def values(self, name):
        return [value for other, value in self.headers if other.lower() == name.lower()]

    def value(self, name):
        values = self.values(name)
        assert len(values) <= 1, f"{name} comes {len(values)} times"
        return values[0] if values else None

    def __repr__(self):
        return f"<{self.status_line!r} {self.headers!r} {self.body[:200]!r}>"


class BrokenOff(AssertionError):
    """The connection ended in the middle of a response."""


class Client:
    def __init__(self, address, family):
        self.socket = socket.socket(family)
        self.socket.settimeout(3 * SOON)
        self.socket.connect(address)
        self.buffer = b""

    def send(self, data):
        self.socket.sendall(data)

    def fill(self):
        data = self.socket.recv(65536)
        self.buffer += data
        return bool(data)

    def take_line(self):
        while b"\r\n" not in self.buffer:
            if not self.fill():
                raise BrokenOff(f"the connection ended in {self.buffer!r}")
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def take(self, size):
        while len(self.buffer) < size:
            if not self.fill():
                raise BrokenOff(f"the connection ended {size - len(self.buffer)} bytes early")
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def head(self):
        status_line, headers = self.take_line(), []
        while line := self.take_line():
            name, value = line.split(b": ", 1)
            headers.append((name.decode(), value))
        return Response(status_line, headers, b"")

    def response(self, method="GET"):
        """Reads a response as strictly as RFC 9112 asks."""
        interim = []
        response = self.head()
        while 100 <= response.status < 200:
            interim.append(response)
            response = self.head()
        response.interim = interim
        length = response.value("Content-Length")
        coding = response.value("Transfer-Encoding")
        assert length is None or coding is None
        if method == "HEAD" or response.status in (204, 304):
            return response
        if coding is not None:
            assert coding == b"chunked"
            response.chunks = []
            while size := int(self.take_line(), 16):
                response.chunks.append(self.take(size))
                assert self.take(2) == b"\r\n"
            assert self.take(2) == b"\r\n"
            response.body = b"".join(response.chunks)
        elif length is not None:
            response.body = self.take(int(length))
        else:
            response.body = self.rest()
        return response

    def request(self, method="GET", target="/", headers=(), body=b"", version="1.1"):
        lines = [f"{method} {target} HTTP/{version}".encode("latin-1")]
        headers = list(headers)
        if not any(name.lower() == "host" for name, _ in headers):
            headers.insert(0, ("Host", "example.org"))
        if body and not any(name.lower() == "transfer-encoding" for name, _ in headers):
            headers.append(("Content-Length", str(len(body))))
        lines += [f"{name}: {value}".encode("latin-1") for name, value in headers]
        self.send(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        return self.response(method)

    def rest(self):
        while self.fill():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def rest_until(self, end):
        while not self.buffer.endswith(end):
            if not self.fill():
                raise BrokenOff(f"the connection ended without {end!r}")
        data, self.buffer = self.buffer, b""
        return data

    def is_closed(self):
        return self.rest() == b""

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Server:
    """`ferricorn` in a directory of its own."""

    def __init__(self, directory, application, *arguments, unix=False, env=None, command=None, bind=True):
        self.directory = Path(directory)
        self.log_path = self.directory / "stderr"
        self.out_path = self.directory / "stdout"
        if unix:
            self.family, self.address = socket.AF_UNIX, str(self.directory / "socket")
            address = f"unix:{self.address}"
        else:
            self.family, self.address = socket.AF_INET, ("127.0.0.1", free_port())
            address = f"127.0.0.1:{self.address[1]}"
        command = command or [str(Path(sys.executable).parent / "ferricorn")]
        arguments = [*command, *(["--bind", address] if bind else []), *arguments]
        if application is not None:
            arguments.append(application)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FERRICORN_")}
        environment |= {"PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1"} | (env or {})
        with open(self.log_path, "ab") as log, open(self.out_path, "ab") as out:
            self.process = subprocess.Popen(arguments, cwd=self.directory, env=environment, stderr=log, stdout=out)

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    @property
    def out(self):
        return self.out_path.read_text(errors="replace")

    def wait_for_log(self, pattern, count=1):
        def found():
            assert self.process.poll() is None or re.search(pattern, self.log), self.log
            return len(re.findall(pattern, self.log)) >= count

        wait_until(lambda: f"{pattern!r} in the log:\n{self.log}", found)

    def ready(self):
        """Waits until it answers, whatever."""

        def answers():
            assert self.process.poll() is None, self.log
            try:
                with self.client() as client:
                    client.request(target="/ready")
                    return True
            except (OSError, BrokenOff):
                return False

        wait_until(f"the server answers; {self.log}", answers)
        return self

    def wait_until_connected(self):
        """Waits until somebody listens, whatever is spoken there."""

        def listens():
            assert self.process.poll() is None, self.log
            try:
                self.client().close()
                return True
            except OSError:
                return False

        wait_until(f"the server listens; {self.log}", listens)
        return self

    def client(self):
        return Client(self.address, self.family)

    def request(self, *arguments, **named):
        with self.client() as client:
            return client.request(*arguments, **named)

    def children(self):
        """Its processes and what they are called."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        named = {}
        for pid in children.read_text().split():
            try:
                named[int(pid)] = Path(f"/proc/{pid}/cmdline").read_text()
            except (FileNotFoundError, ProcessLookupError):
                pass
        return named

    def workers(self):
        return [pid for pid, name in self.children().items() if ": template" not in name]

    def template(self):
        """With `--preload`; None while there is none, or more than one."""
        pids = [pid for pid, name in self.children().items() if ": template" in name]
        return pids[0] if len(pids) == 1 else None

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, deadline=SOON):
        return self.process.wait(deadline)

    def stop(self):
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                return self.process.wait(SOON)
            finally:
                if self.process.poll() is None:
                    self.process.kill()
        return self.process.returncode


@pytest.fixture
def serve(tmp_path):
    """Starts servers that are stopped after the test."""
    servers = []

    def start(application, *arguments, ready=True, directory=None, **named):
        directory = directory or (tmp_path / f"server{len(servers)}" if servers else tmp_path)
        directory.mkdir(exist_ok=True)
        server = Server(directory, application, *arguments, **named)
        servers.append(server)
        return server.ready() if ready else server

    yield start
    for server in servers:
        try:
            server.stop()
        finally:
            # Shown if the test has failed.
            print(server.log)


@pytest.fixture(scope="module")
def pep3333(tmp_path_factory):
    """A server of all the applications in `applications.py`, by the first part of the path."""
    server = Server(tmp_path_factory.mktemp("pep3333"), "applications:application").ready()
    yield server
    code = server.stop()
    assert code == 0, server.log
