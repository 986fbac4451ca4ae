"""The servers that are compared: how each is started, and whether what it answers is right."""

from __future__ import annotations

import email.utils
import os
import re
import resource
import shlex
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import processes

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(__file__).resolve().parent / "peers"
PEERS_TARGET = ROOT / "target" / "peers"
GREETING = b"Hello, World!"
FILES = {"50k.bin": 50 * 1024, "1m.bin": 1024 * 1024}

# {root} is the repository, {peers} where the peers are built, {work} a directory of this run, {port} the server's own.
# Each is in its best configuration for one worker, whatever its defaults are.
COMMANDS = {
    "ferricorn": "{root}/target/release/examples/hello -b 127.0.0.1:{port} -w 1 --worker-connections 16000",
    "ferricorn access log": "{root}/target/release/examples/hello -b 127.0.0.1:{port} -w 1"
    " --access-logfile {work}/ferricorn-access.log",
    "ferricorn files": "{root}/target/release/ferricorn -b 127.0.0.1:{port} -w 1 files://{work}/files",
    "ferricorn wsgi": "{root}/.venv/bin/ferricorn -b 127.0.0.1:{port} -w 1 --chdir {root}/benches/compare/peers hello:app",
    "fastwsgi": "{root}/.venv/bin/python {root}/benches/compare/peers/hello.py fastwsgi {port}",
    "bjoern": "{root}/.venv/bin/python {root}/benches/compare/peers/hello.py bjoern {port}",
    "gunicorn": "{root}/.venv/bin/gunicorn -b 127.0.0.1:{port} -w 1 -k gthread --threads 1 --keep-alive 75 --chdir"
    " {root}/benches/compare/peers hello:app",
    "bare": "{peers}/peer-bare {port}",
    "bare close": "{peers}/peer-bare {port} close",
    "hyper": "{peers}/peer-hyper {port}",
    "actix": "{peers}/peer-actix {port}",
    "may_minihttp": "{peers}/peer-may {port}",
    "nginx": "nginx:access_log off;",
    "nginx access log": "nginx:access_log {work}/nginx-access.log combined;",
}

_NGINX = """
daemon off;
{user}
worker_processes 1;
pid {prefix}/nginx.pid;
error_log {prefix}/error.log;
events {{ worker_connections {connections}; }}
http {{
    {log}
    sendfile on;
    tcp_nopush on;
    server_tokens off;
    keepalive_timeout 75s;
    keepalive_requests 1000000000;
    open_file_cache max=100 inactive=1h;
    default_type application/octet-stream;
    client_body_temp_path {prefix}/body;
    proxy_temp_path {prefix}/proxy;
    fastcgi_temp_path {prefix}/fastcgi;
    uwsgi_temp_path {prefix}/uwsgi;
    scgi_temp_path {prefix}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {work}/files;
        location = / {{ default_type "text/plain; charset=utf-8"; return 200 "Hello, World!"; }}
    }}
}}
"""


class Wrong(Exception):
    """A server did not start, or does not answer what it should."""


@dataclass
class Server:
    """A server that runs, and what was learned about it."""

    name: str
    port: int
    process: subprocess.Popen
    pids: list[int] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    def look(self) -> list[int]:
        """Its processes as they are now."""
        self.pids = processes.tree(self.process.pid)
        return self.pids

    def stop(self) -> None:
        processes.end(self.process)


class Stage:
    """Where servers run: a CPU, a range of ports and a directory."""

    CONNECTIONS = 1024

    def __init__(self, work: Path, cpu: int | None, first_port: int, commands: dict[str, str]):
        self.work, self.cpu, self.next_port, self.commands = work, cpu, first_port, commands
        self.running: list[Server] = []
        # nginx allocates for all connections that it may ever have when it starts, the others as they come.
        self.connections = self.CONNECTIONS
        files = work / "files"
        files.mkdir()
        for name, size in FILES.items():
            (files / name).write_bytes(os.urandom(size))

    def start(self, name: str) -> Server:
        """Starts a server and returns it when it answers."""
        port, self.next_port = self.next_port, self.next_port + 1
        argv = self._argv(name, port)
        log = self.work / f"{name.replace(' ', '-')}-{port}.log"
        with open(log, "wb") as output:
            process = processes.spawn(
                argv,
                self.cpu,
                env=os.environ | {"PORT": str(port)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        server = Server(name, port, process)
        self.running.append(server)
        deadline = time.monotonic() + 20
        while True:
            if process.poll() is not None:
                said = log.read_text(errors="replace").strip()[-800:]
                raise Wrong(f"{name} ended with status {process.returncode}: {shlex.join(argv)}\n{said}")
            try:
                socket.create_connection(server.address, 1).close()
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise Wrong(f"{name} does not listen on port {port}: {shlex.join(argv)}") from error
                time.sleep(0.02)
        return server

    def stop(self) -> None:
        while self.running:
            self.running.pop().stop()
        for log in self.work.glob("*-access.log"):
            log.unlink()

    def missing(self, name: str) -> str | None:
        """The program that `name` needs and that is not there."""
        program = self._template(name).split(":", 1)[0].split(" ", 1)[0]
        program = program.format(root=ROOT, peers=PEERS_TARGET / "release", work=self.work, port=0)
        return None if find(program) else program

    def _template(self, name: str) -> str:
        try:
            return self.commands[name]
        except KeyError:
            raise Wrong(f"no server is called {name!r}; there are: {', '.join(self.commands)}") from None

    def _argv(self, name: str, port: int) -> list[str]:
        command = self._template(name).format(root=ROOT, peers=PEERS_TARGET / "release", work=self.work, port=port)
        if command.startswith("nginx:"):
            return self._nginx(command.removeprefix("nginx:"), port)
        return shlex.split(command)

    def _nginx(self, log: str, port: int) -> list[str]:
        prefix = self.work / f"nginx-{port}"
        prefix.mkdir()
        configuration = _NGINX.format(
            # Its worker must be able to read the files of whoever runs this.
            user="user root;" if os.geteuid() == 0 else "",
            connections=self.connections,
            prefix=prefix,
            work=self.work,
            log=log,
            port=port,
        )
        (prefix / "nginx.conf").write_text(configuration)
        return [find("nginx"), "-p", str(prefix), "-e", str(prefix / "error.log"), "-c", str(prefix / "nginx.conf")]


def find(program: str) -> str | None:
    """A program on the PATH, or in the directories that only root has on it."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/sbin")


def build_peers() -> None:
    command = ["cargo", "build", "--release", "--locked", "--manifest-path", str(PEERS / "Cargo.toml")]
    subprocess.run([*command, "--target-dir", str(PEERS_TARGET)], check=True)


def raise_nofile() -> None:
    """As many open files as allowed, for this process and what it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# What an answer must be.


@dataclass
class Answer:
    status: int
    fields: dict[str, str]
    body: bytes
    length: int


class Client:
    """One connection, read answer by answer."""

    def __init__(self, server: Server, timeout: float = 5):
        self.socket = socket.create_connection(server.address, timeout)
        self.pending = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()

    def ask(self, path: str = "/", count: int = 1, close: bool = False) -> None:
        connection = "Connection: close\r\n" if close else ""
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{connection}\r\n".encode() * count)

    def answer(self) -> Answer:
        head = self._until(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        fields = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        length = int(fields["content-length"])
        while len(self.pending) < length:
            self._more()
        body, self.pending = self.pending[:length], self.pending[length:]
        return Answer(int(status.split()[1]), fields, body, len(head) + length)

    def closed(self) -> bool:
        try:
            return not self.pending and self.socket.recv(1) == b""
        except OSError:
            return False

    def _until(self, end: bytes) -> bytes:
        while end not in self.pending:
            self._more()
        head, _, self.pending = self.pending.partition(end)
        return head + end

    def _more(self) -> None:
        received = self.socket.recv(1 << 18)
        if not received:
            raise Wrong("the connection was closed before the answer was complete")
        self.pending += received


def verify(server: Server, work: Path, path: str, close: bool, depth: int) -> int:
    """Checks what a server answers under the conditions of a scenario; returns the length of an answer in bytes."""
    expected = GREETING if path == "/" else (work / "files" / path.lstrip("/")).read_bytes()
    try:
        with Client(server) as client:
            for _ in range(1 if close else 2):
                client.ask(path, depth, close)
                answers = [client.answer() for _ in range(depth)]
            if close and not client.closed():
                raise Wrong("keeps a connection open that was to be closed")
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise Wrong(f"{server.name}: {error!r}") from error
    except Wrong as error:
        raise Wrong(f"{server.name}: {error}") from error
    for answer in answers:
        _verify_answer(server.name, answer, expected, path, close)
    return answers[-1].length


def _verify_answer(name: str, answer: Answer, expected: bytes, path: str, close: bool) -> None:
    fields = answer.fields
    if answer.status != 200 or answer.body != expected:
        raise Wrong(f"{name}: answered {answer.status} with {len(answer.body)} bytes that are not the ones expected")
    for required in ("server", "date", "content-type"):
        # Some WSGI servers leave them out, which saves them a little.
        if not fields.get(required) and name not in ("fastwsgi", "bjoern"):
            raise Wrong(f"{name}: has no {required} field")
    # A bare loop's answer is fixed, and so is its date.
    date = email.utils.parsedate_to_datetime(fields["date"]).timestamp() if "date" in fields else time.time()
    age = abs(time.time() - date)
    if age > 5 and not name.startswith("bare"):
        raise Wrong(f"{name}: its date is {age:.0f} s old")
    if path == "/" and fields["content-type"] != "text/plain; charset=utf-8":
        raise Wrong(f"{name}: its content type is {fields['content-type']!r}")
    if close and not re.search(r"\bclose\b", fields.get("connection", ""), re.I):
        raise Wrong(f"{name}: does not announce that it closes")
