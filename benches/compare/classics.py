#!/usr/bin/env python3
"""Puts figures into docs/benchmarks/classics.md: `classics.py RESULTS.json...`, from what compare.py --json has written.

It needs the scenarios `classics` and `memory-django`, of one run or of several.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks" / "classics.md"
BEGIN, END = "<!-- {} -->", "<!-- end of {} -->"

OURS, UWSGI = "ferricorn wsgi", "uwsgi"
# What the page calls the servers.
NAMES = {
    "ferricorn cgi": "CGI: Ferricorn starts a program for each request",
    f"{UWSGI} by fastcgi": "FastCGI: uWSGI",
    f"{OURS} by fastcgi": "FastCGI: Ferricorn",
    f"{OURS} by fastcgi-keep": "FastCGI over connections that are kept: Ferricorn",
    f"{UWSGI} by uwsgi": "uwsgi: uWSGI",
    f"{OURS} by uwsgi": "uwsgi: Ferricorn",
    f"{OURS} by http": "HTTP over connections that are kept: Ferricorn",
}
# Pairs whose claim is looked at: the costlier one first.
CLAIMS = (
    ("FastCGI is five times as fast as CGI", "ferricorn cgi", f"{OURS} by fastcgi"),
    ("uwsgi is ten times as efficient as FastCGI", f"{UWSGI} by fastcgi", f"{UWSGI} by uwsgi"),
    ("the same, in Ferricorn", f"{OURS} by fastcgi", f"{OURS} by uwsgi"),
)


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    reports = [json.loads(Path(name).read_text()) for name in sys.argv[1:]]
    measured = {name: scenario["servers"] for report in reports for name, scenario in report["scenarios"].items()}
    text = filled(PAGE.read_text(), "speed", speed(measured["classics"]))
    text = filled(text, "memory", memory(measured["memory-django"]))
    PAGE.write_text(filled(text, "machine", machine(reports[0]["machine"])))
    return 0


def filled(text: str, name: str, content: str) -> str:
    """The page with something else between two marks."""
    begin, end = BEGIN.format(name), END.format(name)
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"{PAGE} has no {begin} with an {end}")
    return f"{before}{begin}\n{content}\n{end}{after}"


def cost(servers: dict, name: str) -> float:
    """CPU for each request, as a multiple of the reference's, whose slices lay beside its own."""
    ratio = servers[name].get("cpu_ratio")
    return ratio["median"] if ratio else 1.0


def speed(servers: dict) -> str:
    absolute = {name: servers[name]["cpu"] for name in NAMES}
    names = sorted(NAMES, key=lambda name: -cost(servers, name))
    least = cost(servers, names[-1])
    lines = ["| by | CPU us for each request | x the last |", "|---|--:|--:|"]
    lines += [f"| {NAMES[name]} | {absolute[name]:.1f} | {cost(servers, name) / least:.2f} |" for name in names]
    lines += ["", "| claim | CPU of the one, x the other |", "|---|--:|"]
    lines += [f"| {claim} | {cost(servers, costly) / cost(servers, cheap):.2f} |" for claim, costly, cheap in CLAIMS]
    return "\n".join(lines)


def memory(servers: dict) -> str:
    pss = {name: measured["memory"]["pss"] / 1024 for name, measured in servers.items()}
    reference = pss["mod_wsgi"]
    lines = ["| server | PSS MiB | x mod_wsgi |", "|---|--:|--:|"]
    lines += [f"| {name} | {pss[name]:.0f} | {pss[name] / reference:.2f} |" for name in sorted(pss, key=lambda name: -pss[name])]
    return "\n".join(lines)


def machine(said: dict) -> str:
    nginx = said["nginx"].removeprefix("nginx version: ").replace("/", " ")
    return (
        f"Measured {said['when'][:10]} at {said['commit']}: {said['cpus']} CPUs ({said['cpu']}), Linux {said['kernel']}, "
        f"{nginx}, uWSGI {said['peers']['uwsgi']}, Python {said['python']}; load average {said['load_average']:.1f}."
    )


if __name__ == "__main__":
    sys.exit(main())
