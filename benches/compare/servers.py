"""The servers that are compared: how each is started."""

from __future__ import annotations

import itertools
import json
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
VENV = ROOT / ".venv" / "bin"
# The name of what calls an application without any server.
CALLS = "no server"
FILES = {"50k.bin": 50 * 1024, "1m.bin": 1024 * 1024}

# {root} is the repository, {peers} where the peers are built, {venv} where Python's are, {work} a directory of this run,
# {port} the server's own, {socket} in its place behind nginx, {app} the application of a Python server (see wsgi.py).
# Each is in its best configuration for one worker, whatever its defaults are.
COMMANDS = {
    "ferricorn": "{root}/target/release/examples/hello -b 127.0.0.1:{port} -w 1 --worker-connections 16000",
    "ferricorn access log": "{root}/target/release/examples/hello -b 127.0.0.1:{port} -w 1"
    " --access-logfile {work}/ferricorn-access.log",
    "ferricorn files": "{root}/target/release/ferricorn -b 127.0.0.1:{port} -w 1 files://{work}/files",
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
    {upstream}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        {locations}
    }}
}}
"""

# What nginx answers itself.
_OWN = """
        root {work}/files;
        location = / {{ default_type "text/plain; charset=utf-8"; return 200 "Hello, World!"; }}
"""

# What it passes on to a server behind it, by the protocol between the two.
_UPSTREAM = """
    upstream server {{
        server unix:{socket};
        keepalive 64;
        keepalive_requests 1000000000;
        keepalive_timeout 75s;
    }}
"""
FRONTS = {
    "http": """
        location / {
            proxy_pass http://server;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
        }
""",
    "uwsgi": "location / { include /etc/nginx/uwsgi_params; uwsgi_pass server; }",
    "scgi": "location / { include /etc/nginx/scgi_params; scgi_pass server; }",
    # A new connection for each request, as the two above have it in any case.
    "fastcgi": "location / { include /etc/nginx/fastcgi_params; fastcgi_pass server; }",
    "fastcgi-keep": "location / { include /etc/nginx/fastcgi_params; fastcgi_pass server; fastcgi_keep_conn on; }",
}


class Wrong(Exception):
    """A server did not start, or does not answer what it should."""


@dataclass(frozen=True)
class Role:
    """What a server is asked to do: which application it serves, with what in its environment, and the protocol that nginx
    speaks with it, if nginx stands before it."""

    app: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    front: str = ""


@dataclass
class Server:
    """A server that runs, and what was learned about it."""

    name: str
    port: int
    process: subprocess.Popen
    front: subprocess.Popen | None = None
    pids: list[int] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    def look(self) -> list[int]:
        """Its processes as they are now, nginx in front of it not among them."""
        self.pids = processes.tree(self.process.pid)
        return self.pids

    def stop(self) -> None:
        for process in (self.front, self.process):
            if process:
                processes.end(process)


class Calls(Server):
    """No server: a process that calls the application over and over."""

    def call(self, seconds: int) -> dict:
        """How many calls in so many seconds, and the CPU time in seconds."""
        self.process.stdin.write(f"{seconds}\n".encode())
        self.process.stdin.flush()
        return self.said()

    def said(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise Wrong(f"{self.name} has ended with status {self.process.wait()}")
        return json.loads(line)


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

    def start(self, name: str, role: Role = Role()) -> Server:
        """Starts a server and returns it when it listens."""
        port, self.next_port = self.next_port, self.next_port + 1
        behind = f"{name} behind nginx" if role.front else name
        socket_path = self.work / f"{port}.sock"
        environment, argv = self._command(behind, port, socket_path, role.app)
        # A command may say how nginx is to speak with it.
        front = environment.pop("FRONT", role.front) if role.front else ""
        calls = name == CALLS
        process, log = self._spawn(behind, argv, port, environment | dict(role.environment), pipes=calls)
        server = (Calls if calls else Server)(name, port, process)
        self.running.append(server)
        if calls:
            return server
        if role.front:
            _wait(behind, process, log, (socket.AF_UNIX, str(socket_path)))
            server.front, log = self._spawn("nginx", self._nginx("access_log off;", port, socket_path, front), port, {})
            process = server.front
        _wait(name, process, log, (socket.AF_INET, server.address))
        return server

    def _spawn(self, name: str, argv: list[str], port: int, environment: dict[str, str], pipes: bool = False) -> tuple[subprocess.Popen, Path]:
        log = self.work / f"{name.replace(' ', '-')}-{port}.log"
        env = os.environ | {"PORT": str(port), "PYTHONPATH": str(PEERS), "PYTHONDONTWRITEBYTECODE": "1"} | environment
        with open(log, "wb") as output:
            stdin, stdout = (subprocess.PIPE, subprocess.PIPE) if pipes else (subprocess.DEVNULL, output)
            return processes.spawn(argv, self.cpu, env=env, stdin=stdin, stdout=stdout, stderr=output), log

    def stop(self) -> None:
        while self.running:
            self.running.pop().stop()
        for log in self.work.glob("*-access.log"):
            log.unlink()

    def missing(self, name: str, role: Role = Role()) -> str | None:
        """The program that `name` needs and that is not there."""
        program = self._command(f"{name} behind nginx" if role.front else name, 0, Path(), role.app)[1][0]
        return None if find(program) else program

    def _template(self, name: str) -> str:
        try:
            return self.commands[name]
        except KeyError:
            raise Wrong(f"no server is called {name!r}; there are: {', '.join(self.commands)}") from None

    def _command(self, name: str, port: int, socket_path: Path, app: str) -> tuple[dict[str, str], list[str]]:
        """Variables, which may stand before a command as in a shell, and the command."""
        places = {"root": ROOT, "peers": PEERS_TARGET / "release", "venv": VENV, "work": self.work}
        command = self._template(name).format(**places, port=port, socket=socket_path, app=app)
        if command.startswith("nginx:"):
            return {}, self._nginx(command.removeprefix("nginx:"), port) if port else ["nginx"]
        words = shlex.split(command)
        variables = list(itertools.takewhile(lambda word: re.match(r"\w+=", word), words))
        return dict(variable.split("=", 1) for variable in variables), words[len(variables) :]

    def _nginx(self, log: str, port: int, socket_path: Path | None = None, front: str = "") -> list[str]:
        prefix = self.work / f"nginx-{port}"
        prefix.mkdir()
        configuration = _NGINX.format(
            # Its worker must be able to read the files of whoever runs this.
            user="user root;" if os.geteuid() == 0 else "",
            connections=self.connections,
            prefix=prefix,
            log=log,
            port=port,
            upstream=_UPSTREAM.format(socket=socket_path) if front else "",
            locations=FRONTS[front] if front else _OWN.format(work=self.work),
        )
        (prefix / "nginx.conf").write_text(configuration)
        return [find("nginx"), "-p", str(prefix), "-e", str(prefix / "error.log"), "-c", str(prefix / "nginx.conf")]


def _wait(name: str, process: subprocess.Popen, log: Path, listens: tuple) -> None:
    """Returns when somebody listens."""
    family, address = listens
    deadline = time.monotonic() + 20
    while True:
        if process.poll() is not None:
            said = log.read_text(errors="replace").strip()[-800:]
            raise Wrong(f"{name} ended with status {process.returncode}: {shlex.join(process.args)}\n{said}")
        try:
            with socket.socket(family) as client:
                return client.connect(address)
        except OSError as error:
            if time.monotonic() > deadline:
                raise Wrong(f"{name} does not listen on {address}: {shlex.join(process.args)}") from error
            time.sleep(0.02)


def find(program: str) -> str | None:
    """A program on the PATH, or in the directories that only root has on it."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/sbin")


def build_peers() -> None:
    command = ["cargo", "build", "--release", "--locked", "--manifest-path", str(PEERS / "Cargo.toml")]
    environment = os.environ | {"PYO3_PYTHON": str(VENV / "python")}
    subprocess.run([*command, "--target-dir", str(PEERS_TARGET)], check=True, env=environment)


def install_python_peers() -> None:
    """Into the virtual environment that the Python package is in."""
    requirements = Path(__file__).resolve().parent / "requirements.txt"
    subprocess.run([VENV / "pip", "install", "--quiet", "--requirement", requirements], check=True)


def raise_nofile() -> None:
    """As many open files as allowed, for this process and what it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
