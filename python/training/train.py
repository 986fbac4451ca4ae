"""Serves what servers serve, while the compiler's counters count: `[tool.maturin]` has this run for the wheel that is compiled
by what was counted (`make wheel`). What is common comes often, and everything else at least now and then: what never ran
would be compiled for size."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import gateways  # noqa: E402

LONGEST = 120.0
DOCUMENT = b'{"name": "value", "numbers": [1, 2, 3]}' * 256
BROWSER = [
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("Accept-Language", "de,en-US;q=0.7,en;q=0.3"),
    ("Accept-Encoding", "gzip, deflate, br, zstd"),
    ("Referer", "https://example.org/from/here"),
    ("Connection", "keep-alive"),
    ("Cookie", "session=0123456789abcdef; theme=light"),
    ("Upgrade-Insecure-Requests", "1"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Priority", "u=0, i"),
]
#: The ends of answers.
WORLD, CHUNKS, HEAD = b"World!", b"\r\n0\r\n\r\n", b"\r\n\r\n"
#: Sent as it is, and by `wsgi.file_wrapper`.
FILE = HERE / "applications.py"


def http(path, headers=(), body=b"", method="GET", chunked=False):
    fields = [("Host", "example.org"), *headers]
    if chunked:
        fields.append(("Transfer-Encoding", "chunked"))
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    elif body:
        fields.append(("Content-Length", str(len(body))))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def load(address, request, end, count, connections=64):
    """Asks so often over connections that are kept: all of them, then reads the answers, which end with `end`."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(address, LONGEST)) for _ in range(connections)]
        for _ in range(count // connections):
            for client in clients:
                client.sendall(request)
            for client in clients:
                tail = b""
                while not tail.endswith(end):
                    data = client.recv(1 << 18)
                    if not data:
                        raise SystemExit(f"training: an answer to {request[:60]!r} does not end with {end!r}")
                    tail = (tail + data)[-64:]


def load_once(address, request, count):
    """Asks so often, each time over a new connection, which the server closes."""
    for _ in range(count):
        with socket.create_connection(address, LONGEST) as client:
            client.sendall(request)
            if not b"".join(iter(lambda: client.recv(1 << 18), b"")):
                raise SystemExit(f"training: no answer to {request[:60]!r}")


def by_http(address):
    for fields in ([], BROWSER):
        load(address, http("/", fields), WORLD, 64_000)
        load(address, http("/", fields), WORLD, 8_000, connections=1)
        load(address, http("/framework", fields), b"127.0.0.1!", 64_000)
    json = [("Content-Type", "application/json"), ("Accept", "*/*")]
    load(address, http("/echo", json, DOCUMENT, "POST"), DOCUMENT[-20:], 16_000)
    load(address, http("/stream"), CHUNKS, 3_200)
    load(address, http("/large"), b"x" * 20, 640, connections=32)
    seldom(address)


def seldom(address):
    load(address, http("/", method="HEAD"), HEAD, 640)
    load(address, http("/") * 8, WORLD, 640)
    load(address, http("/echo", body=DOCUMENT, method="POST", chunked=True), DOCUMENT[-20:], 640)
    load(address, http("/lines", body=DOCUMENT, method="POST"), DOCUMENT[-20:], 640)
    load(address, http("/a%20b/%C3%A4?query=1&x=%20"), WORLD, 640)
    load(address, http("/parts"), WORLD, 640)
    load(address, http("/memory"), CHUNKS, 640)
    load(address, http("/file"), FILE.read_bytes()[-20:], 640)
    load(address, http("/written"), CHUNKS, 640)
    load(address, http("/unchanged"), HEAD, 640)
    load(address, http(f"/files/{FILE.name}"), FILE.read_bytes()[-20:], 640)
    load_once(address, http("/broken", [("Connection", "close")]), 64)
    load_once(address, http("/", [("Connection", "close")]), 640)
    load_once(address, b"GET / HTTP/1.0\r\n\r\n", 64)
    load_once(address, b"no request\r\n\r\n", 64)


def by(encode):
    def training(address):
        for path, fields, count in [("/", [], 640), ("/framework", BROWSER, 3_200), ("/stream", [], 64), ("/large", [], 64)]:
            load_once(address, encode("GET", path, fields, b""), count)
        load_once(address, encode("POST", "/echo", [("Content-Type", "application/json")], DOCUMENT), 320)

    return training


def by_fastcgi(address):
    by(gateways.fastcgi)(address)
    # FCGI_KEEP_CONN, and the record that ends a request.
    kept = gateways.fastcgi("GET", "/framework", BROWSER, b"").replace(b"\0\1\0\0\0\0\0\0", b"\0\1\1\0\0\0\0\0", 1)
    load(address, kept, gateways.record(3, bytes(8)), 6_400, connections=16)


TRAININGS = [
    (by_http, []),
    (seldom, ["--threads=4", "--access-logfile=/dev/null"]),
    (by(gateways.uwsgi), ["--protocol=uwsgi"]),
    (by(gateways.scgi), ["--protocol=scgi"]),
    (by_fastcgi, ["--protocol=fastcgi"]),
]


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()


def wait_until(what, server, condition):
    deadline = time.monotonic() + LONGEST
    while not condition():
        if server.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"training: not {what}")
        time.sleep(0.05)


def listens(address):
    try:
        socket.create_connection(address, 1).close()
        return True
    except OSError:
        return False


def have_counted(server):
    """Whether a process of the server's has left its counts, where there are counters. They have the arbiter's pid."""
    counts = os.environ.get("LLVM_PROFILE_FILE")
    return counts is None or any(Path(counts).parent.glob(f"*_{server.pid}.profraw"))


def train(command, training, arguments, directory):
    address = free_address()
    settings = [f"--config={HERE / 'server.conf.py'}", f"--chdir={HERE}", "--bind={}:{}".format(*address), "--workers=1"]
    settings += [f"--mount=/files=files://{HERE}", *arguments]
    # What whoever builds this has set for servers of theirs.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("FERRICORN_", "GUNICORN_"))}
    with open(Path(directory, "errors"), "ab") as errors:
        server = subprocess.Popen([command, *settings, "applications"], env=environment, stderr=errors)
    try:
        wait_until("listening", server, lambda: listens(address))
        training(address)
        # The workers go, and the arbiter stays.
        server.send_signal(signal.SIGHUP)
        wait_until("counted by its workers", server, lambda: have_counted(server))
        server.send_signal(signal.SIGTERM)
        if server.wait(LONGEST):
            raise SystemExit(f"training: the server ended with {server.returncode}")
    finally:
        server.kill()
        server.wait()


def main():
    command = shutil.which("ferricorn")
    if command is None:
        raise SystemExit("training: there is no `ferricorn` in PATH")
    with tempfile.TemporaryDirectory() as directory:
        for number, (training, arguments) in enumerate(TRAININGS, 1):
            began = time.monotonic()
            try:
                train(command, training, arguments, directory)
            except SystemExit:
                sys.stderr.write(Path(directory, "errors").read_text(errors="replace")[-4000:])
                raise
            took = time.monotonic() - began
            print(f"training {number} of {len(TRAININGS)}: {' '.join(arguments) or 'HTTP'} ({took:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
