#!/usr/bin/env python3
"""Compares Ferricorn with other servers, side by side in one run, and says whether it meets its targets.

All servers of a scenario run at the same time, pinned to one CPU; wrk loads them in turn from another. A slice of the
reference lies before and after each slice of another server, and the figure is the median of the ratios of such
neighbours, so a machine that changes speed changes both sides. README.md beside this file says how to read the tables.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import blocked
import processes
import servers
import sharing
import wsgi
from measures import Options, Syscalls
from scenarios import CLOSE_VARIANTS, FLOOR_VARIANTS, SCENARIOS
from servers import Stage, Wrong

# What is needed, and Debian's packages that have it.
PACKAGES = {"wrk": "wrk", "nginx": "nginx", "strace": "strace", "ev.h": "libev-dev"}


def main() -> int:
    arguments = parsed_arguments()
    by_name = {scenario.name: scenario for scenario in SCENARIOS}
    if arguments.list:
        for scenario in SCENARIOS:
            print(f"{scenario.name:21} {scenario.group:7} {scenario.title}{'' if scenario.by_default else ' (on request)'}")
        return 0
    chosen = [by_name[name] for name in arguments.scenario]
    groups = arguments.group or ([] if chosen else ["native"])
    chosen += [s for s in SCENARIOS if s.group in groups and s.by_default and s not in chosen]
    python = any(scenario.group != "native" for scenario in chosen)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    install({"wrk", "nginx", *(["strace"] if any(isinstance(s, Syscalls) for s in chosen) else []), *(["ev.h"] if python else [])})
    if not arguments.no_build:
        servers.build_peers()
        if python:
            servers.install_python_peers()
    servers.raise_nofile()
    processes.niceness = arguments.nice
    server_cpu, load_cpu = cpus(arguments)
    quick = arguments.quick
    options = Options(
        rounds=arguments.rounds or (3 if quick else None),
        seconds=arguments.slice,
        load_cpu=load_cpu,
        idle_connections=arguments.connections or (1000 if quick else 5000),
        idle_seconds=3 if quick else 10,
        only=frozenset(arguments.only.split(",")) if arguments.only else None,
        also=tuple(arguments.also),
    )
    report = {"machine": machine(server_cpu, load_cpu), "options": vars(arguments), "scenarios": {}}
    failed = False
    with tempfile.TemporaryDirectory(prefix="ferricorn-compare-") as work:
        commands = variants(servers.COMMANDS) | servers.COMMANDS | wsgi.COMMANDS | sharing.COMMANDS | blocked.COMMANDS | arguments.server
        stage = Stage(Path(work), server_cpu, arguments.base_port, commands)
        for scenario in chosen:
            options.failures.clear()
            try:
                results = scenario.run(stage, options, say)
            except Wrong as error:
                options.failures.append(str(error))
                results = {}
            say("")
            verdicts = [target.judge(results) for target in scenario.targets]
            errors = any(r.get("errors") for r in results.values())
            failed = failed or errors or bool(options.failures) or (arguments.strict and any(v["verdict"] == "MISSED" for v in verdicts))
            report["scenarios"][scenario.name] = {"title": scenario.title, "servers": results, "verdicts": verdicts}
            report["scenarios"][scenario.name]["failures"] = list(options.failures)
            print_scenario(scenario, results, verdicts)
            for failure in options.failures:
                print(f"  failed: {failure}")
            if arguments.json:
                write(arguments.json, report)
    return 1 if failed else 0


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", action="append", default=[], choices=[s.name for s in SCENARIOS], metavar="NAME",
                        help="measure this one; may be repeated")
    parser.add_argument("--group", action="append", default=[], choices=sorted({s.group for s in SCENARIOS}),
                        help="measure all of a group but those on request; may be repeated (default: native)")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    parser.add_argument("--quick", action="store_true", help="3 rounds, fewer idle connections: a first impression")
    parser.add_argument("--rounds", type=int, help="slices of each server (default 15, or 7 with the Python servers)")
    parser.add_argument("--slice", type=int, default=1, help="seconds of a slice (default 1)")
    parser.add_argument("--connections", type=int, help="idle connections (default 5000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results here")
    parser.add_argument("--only", metavar="NAME,NAME", help="leave all other servers out, references excepted")
    parser.add_argument("--server", action=Named, default={}, metavar="NAME=COMMAND",
                        help="start NAME with this command, in which {port}, {root}, {peers} and {work} are replaced")
    parser.add_argument("--also", action="append", default=[], metavar="NAME",
                        help="add a server, known or named by --server, to the chosen scenarios")
    parser.add_argument("--base-port", type=int, default=20500, help="the first port to use (default 20500)")
    parser.add_argument("--server-cpu", type=int, help="where servers run (default: the first CPU allowed)")
    parser.add_argument("--load-cpu", type=int, help="where wrk runs (default: the last CPU allowed)")
    parser.add_argument("--nice", type=int, default=0, help="niceness of servers and load; negative on a busy machine")
    parser.add_argument("--no-build", action="store_true", help="do not build the peers")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a target is missed")
    return parser.parse_args()


class Named(argparse.Action):
    """Collects NAME=VALUE."""

    def __call__(self, parser, namespace, value, option_string=None):
        name, separator, command = value.partition("=")
        if not separator:
            parser.error(f"{option_string} wants NAME=COMMAND")
        setattr(namespace, self.dest, getattr(namespace, self.dest) | {name: command})


def variants(commands: dict[str, str]) -> dict[str, str]:
    """The bare loop's variants are servers, too."""
    return {f"bare {variant}": f"{commands['bare']} {variant}" for variant in FLOOR_VARIANTS + CLOSE_VARIANTS}


def install(tools: set[str]) -> None:
    """Gets what is missing from Debian, or says what to type."""
    missing = sorted(tool for tool in tools if not servers.find(tool) and not Path("/usr/include", tool).exists())
    if not missing:
        return
    packages = [PACKAGES[tool] for tool in missing]
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"missing: {', '.join(missing)}; type: sudo {' '.join(command)}")
    subprocess.run(["apt-get", "update", "-q"], check=False)
    subprocess.run(command, check=True, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"})
    if "nginx" in missing and shutil.which("systemctl"):
        # The package starts a server on port 80, which nobody asked for.
        subprocess.run(["systemctl", "disable", "--now", "nginx"], check=False, stderr=subprocess.DEVNULL)


def cpus(arguments: argparse.Namespace) -> tuple[int | None, int | None]:
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        print("only one CPU: servers and load share it, the figures will be poor", file=sys.stderr)
        return None, None
    server = allowed[0] if arguments.server_cpu is None else arguments.server_cpu
    load = allowed[-1] if arguments.load_cpu is None else arguments.load_cpu
    return server, load


def machine(server_cpu: int | None, load_cpu: int | None) -> dict:
    def output(*command: str) -> str:
        try:
            done = subprocess.run(command, capture_output=True, text=True, cwd=servers.ROOT)
        except OSError:
            return ""
        return (done.stdout + done.stderr).strip().split("\n")[0]

    models = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": output("git", "describe", "--always", "--dirty"),
        "cpu": models[0] if models else platform.machine(),
        "cpus": os.cpu_count(),
        "server_cpu": server_cpu,
        "load_cpu": load_cpu,
        "kernel": platform.release(),
        "congestion_control": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
        "load_average": os.getloadavg()[0],
        "rustc": output("rustc", "--version"),
        "nginx": output(servers.find("nginx"), "-v"),
        "wrk": output(servers.find("wrk"), "-v").split(" Copyright")[0],
        "python": platform.python_version(),
        "peers": locked_versions("hyper", "tokio", "actix-web", "may_minihttp", "may") | pinned_versions(),
    }


def locked_versions(*names: str) -> dict[str, str]:
    lines = (servers.PEERS / "Cargo.lock").read_text().splitlines()
    packages = {line.split('"')[1]: lines[i + 1].split('"')[1] for i, line in enumerate(lines) if line.startswith("name = ")}
    return {name: packages[name] for name in names}


def pinned_versions() -> dict[str, str]:
    lines = (Path(__file__).parent / "requirements.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith(("#", "pytest", "click")))


def print_scenario(scenario, results: dict, verdicts: list[dict]) -> None:
    print(f"\n{scenario.title}")
    columns, rows = scenario.table(results)
    widths = [max(len(line[i]) for line in [columns, *rows]) for i in range(len(columns))]
    for line in [columns, *rows]:
        cells = [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))]
        print("  " + "  ".join(cells).rstrip())
    for verdict in verdicts:
        value = "" if verdict["value"] is None else f" ({verdict['value']:.3f}{' ' + verdict['unit'] if verdict['unit'] else ''})"
        print(f"  {verdict['verdict']}: {verdict['target']}{value}")
    sys.stdout.flush()


def say(text: str) -> None:
    """A line of progress that the next one replaces, for people only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def write(path: Path, report: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1, default=str) + "\n")


if __name__ == "__main__":
    sys.exit(main())
