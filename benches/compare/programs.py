#!/usr/bin/env python3
"""CPU time for each request that programs answer: CGI beside a bare posix_spawn and wait, PHP beside nginx and php-fpm.

Programs come and go, so what they spent is what their parents say of those they have waited for. That is known in hundredths
of a second: slices are long. Slices of the two servers alternate, and the ratio is the median of those of neighbours.
Servers run on the first CPU that is allowed, programs and nginx with them, and the load on the last.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import processes
from servers import PEERS_TARGET, ROOT, find

TICKS = os.sysconf("SC_CLK_TCK")
FERRICORN = str(ROOT / "target" / "release" / "ferricorn")
CPUS = sorted(os.sched_getaffinity(0))
SERVER_CPU, LOAD_CPU = CPUS[0], CPUS[-1]

NGINX = """
daemon off; {user} worker_processes 1; pid {work}/nginx.pid; error_log {work}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 1000000000;
    client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi; scgi_temp_path {work}/scgi;
    server {{
        listen 127.0.0.1:{port}; root {site};
        location ~ \\.php$ {{
            fastcgi_pass unix:{work}/fpm.sock;
            include /etc/nginx/fastcgi.conf;
        }}
    }}
}}
"""
FPM = """
[global]
error_log = /dev/null
daemonize = no
[site]
{user}
listen = {work}/fpm.sock
listen.mode = 0666
pm = static
pm.max_children = {programs}
"""


def spent(pids: list[int]) -> float:
    """Seconds of CPU time of these processes and of all that they have waited for."""
    total = 0
    for pid in pids:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(field) for field in stat[11:15])
    return total / TICKS


def on(cpu: int) -> list[str]:
    """What runs a command there."""
    return [find("taskset"), "--cpu-list", str(cpu)]


def start(argv: list[str], port: int) -> subprocess.Popen:
    server = subprocess.Popen([*on(SERVER_CPU), *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port)):
                return server
        except OSError:
            if time.monotonic() > deadline or server.poll() is not None:
                sys.exit(f"does not listen: {argv}")
            time.sleep(0.02)


def ask(port: int, target: str, seconds: float, connections: int) -> int:
    """Requests that were answered by wrk's account, none of them wrongly."""
    argv = [*on(LOAD_CPU), find("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", f"http://127.0.0.1:{port}{target}"]
    text = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        sys.exit(f"{target}: {text}")
    return int(text.split(" requests in")[0].split()[-1])


def answer(port: int, target: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", target)
    response = connection.getresponse()
    body = response.read()
    if response.status != 200:
        sys.exit(f"{target}: {response.status} {body!r}")
    return body


def compare(title: str, limit: float, servers: dict, target: str, rounds: int, seconds: int, connections: int) -> dict:
    """`servers` has the reference first: name, port and processes."""
    bodies = {name: answer(port, target) for name, (port, _) in servers.items()}
    if len(set(bodies.values())) != 1:
        sys.exit(f"{title}: the answers differ: {bodies}")
    figures: dict[str, list[float]] = {name: [] for name in servers}
    for round_ in range(-1, rounds):
        for name, (port, roots) in servers.items():
            pids = [pid for root in roots for pid in processes.tree(root)]
            before = spent(pids)
            count = ask(port, target, seconds, connections)
            cpu = spent(pids) - before
            # The first round warms up.
            if round_ >= 0:
                figures[name].append(cpu / count * 1e6)
    reference, ours = figures.values()
    ratio = statistics.median(one / other for one, other in zip(ours, reference))
    result = {name: round(statistics.median(values), 1) for name, values in figures.items()}
    verdict = "met" if ratio <= limit else "MISSED"
    print(f"{title}\n  us of CPU for each request: {result}\n  ratio {ratio:.3f}, at most {limit}: {verdict}")
    return {"title": title, "cpu_us": result, "ratio": ratio, "limit": limit, "verdict": verdict}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slice", type=int, default=5, metavar="SECONDS")
    parser.add_argument("--port", type=int, default=28100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    started: list[subprocess.Popen] = []
    results = []
    work = Path(tempfile.mkdtemp(prefix="ferricorn-bench-"))
    port = options.port
    try:
        site = work / "site"
        site.mkdir()
        program = site / "hello"
        program.write_text("#!/bin/sh\necho 'Content-Type: text/plain'\necho\necho 'Hello, World!'\n")
        program.chmod(0o755)
        (site / "hello.php").write_text("<?php header('Content-Type: text/plain'); echo \"Hello, World!\\n\";")

        bare = start([str(PEERS_TARGET / "release" / "peer-spawn"), str(port), str(program)], port)
        ours = start([FERRICORN, "-b", f"127.0.0.1:{port + 1}", "-w", "1", f"cgi://{site}"], port + 1)
        started += [bare, ours]
        servers = {"posix_spawn": (port, [bare.pid]), "ferricorn cgi": (port + 1, [ours.pid])}
        results.append(compare("CGI: a shell script", 1.1, servers, "/hello", options.rounds, options.slice, 1))

        fpm = next((name for name in ("php-fpm", "php-fpm8.4", "php-fpm8.3", "php-fpm8.2") if find(name)), None)
        if fpm and find("nginx") and find("php-cgi"):
            root = os.geteuid() == 0
            (work / "fpm.conf").write_text(FPM.format(work=work, programs=4, user="user = root" if root else ""))
            (work / "nginx.conf").write_text(
                NGINX.format(work=work, site=site, port=port + 2, user="user root;" if root else "")
            )
            argv = [*on(SERVER_CPU), find(fpm), "-F", "-y", str(work / "fpm.conf"), *(["-R"] if root else [])]
            pool = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
            started.append(pool)
            front = start([find("nginx"), "-c", str(work / "nginx.conf"), "-e", str(work / "error.log")], port + 2)
            command = [FERRICORN, "-b", f"127.0.0.1:{port + 3}", "-w", "1", "--document-root", str(site)]
            ours = start([*command, f"fastcgi-exec://{find('php-cgi')}"], port + 3)
            started += [front, ours]
            time.sleep(1)
            servers = {"nginx and php-fpm": (port + 2, [front.pid, pool.pid]), "ferricorn php-cgi": (port + 3, [ours.pid])}
            results.append(compare("PHP: hello", 1.0, servers, "/hello.php", options.rounds, options.slice, 8))
        else:
            print("PHP is left out: it needs nginx, php-fpm and php-cgi")
    finally:
        for process in started:
            processes.end(process)
        shutil.rmtree(work, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
