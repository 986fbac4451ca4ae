"""The WSGI servers, and what of them is measured."""

from __future__ import annotations

import json

from load import Load
from measures import OURS, USUAL, Paired, Syscalls, Target, over_best_peer, ratio
from servers import CALLS, Role

OURS_WSGI = f"{OURS} wsgi"
# The floor: a loop that calls the application and does nothing else that it could leave out.
CALLED = "bare wsgi"

_SERVE = "{venv}/python {root}/benches/compare/peers/serve.py"
_GUNICORN = "{venv}/gunicorn --workers 1 --http-parser fast --no-control-socket --keep-alive 75"
_GRANIAN = (
    "{venv}/granian --interface wsgi --http 1 --no-ws --workers 1 --blocking-threads 1 --runtime-threads 1"
    " --runtime-mode st --no-access-log --log-level error"
)
# Each connection that is kept would occupy a worker, so its own router stands before it where nginx does not.
_UWSGI = "{venv}/uwsgi --home {venv}/.. --need-app --single-interpreter --disable-logging --processes 1 --die-on-term"

# FIELDS are those that a server leaves out, and the application adds (peers/wsgi.py), so that all send the same. CLOSE is for
# those that never call `close`, so that all do the same (peers/frameworks.py).
# Behind nginx each listens on a unix socket; those that cannot are not compared there.
COMMANDS = {
    OURS_WSGI: "{venv}/ferricorn -b 127.0.0.1:{port} -w 1 {app}",
    f"{OURS_WSGI} behind nginx": "{venv}/ferricorn -b unix:{socket} -w 1 {app}",
    "fastwsgi": f"CLOSE=1 FIELDS=Server {_SERVE} fastwsgi {{app}} {{port}}",
    "fastpysgi": f"CLOSE=1 {_SERVE} fastpysgi {{app}} {{port}}",
    "bjoern": f"FIELDS='Server Date' {_SERVE} bjoern {{app}} {{port}}",
    "bjoern behind nginx": f"FIELDS='Server Date' {_SERVE} bjoern {{app}} unix:{{socket}}",
    "granian": f"{_GRANIAN} --port {{port}} {{app}}",
    "granian behind nginx": f"{_GRANIAN} --uds {{socket}} {{app}}",
    "uwsgi": f"FIELDS='Server Date' {_UWSGI} --http 127.0.0.1:{{port}} --http-keepalive --http-auto-chunked --module {{app}}",
    "uwsgi behind nginx": f"FIELDS='Server Date' {_UWSGI} --http-socket {{socket}} --module {{app}}",
    "gunicorn sync": f"{_GUNICORN} -b 127.0.0.1:{{port}} {{app}}",
    "gunicorn sync behind nginx": f"{_GUNICORN} -b unix:{{socket}} {{app}}",
    "gunicorn gthread": f"{_GUNICORN} -k gthread --threads 1 -b 127.0.0.1:{{port}} {{app}}",
    "gunicorn gthread behind nginx": f"{_GUNICORN} -k gthread --threads 1 -b unix:{{socket}} {{app}}",
    # By other protocols, each of them named as nginx speaks it.
    **{
        f"{OURS_WSGI} by {front} behind nginx": f"FRONT={front} {{venv}}/ferricorn"
        f" -b {front.removesuffix('-keep')}://unix:{{socket}} -w 1 {{app}}"
        for front in ("uwsgi", "fastcgi", "scgi", "fastcgi-keep", "http")
    },
    "ferricorn cgi behind nginx": "PATH={venv}:/usr/bin:/bin {root}/target/release/ferricorn -b unix:{socket} -w 1"
    " cgi://{root}/benches/compare/peers/hello.cgi",
    "uwsgi by uwsgi behind nginx": f"FRONT=uwsgi {_UWSGI} --socket {{socket}} --module {{app}}",
    "uwsgi by fastcgi behind nginx": f"FRONT=fastcgi {_UWSGI} --fastcgi-socket {{socket}} --module {{app}}",
    "uwsgi by scgi behind nginx": f"FRONT=scgi {_UWSGI} --scgi-socket {{socket}} --module {{app}}",
    CALLS: f"{_SERVE} calls {{app}}",
    CALLED: f"LIBRARY={{peers}}/libpeer_called.so {_SERVE} called {{app}} {{port}} 16",
    f"{CALLED} one by one": f"LIBRARY={{peers}}/libpeer_called.so {_SERVE} called {{app}} {{port}} 1",
    "bare behind nginx": "{peers}/peer-bare unix:{socket}",
    "bare by uwsgi behind nginx": "FRONT=uwsgi {peers}/peer-bare unix:{socket} packet eager close",
}
PEERS = ("fastwsgi", "fastpysgi", "bjoern", "granian", "uwsgi", "gunicorn sync", "gunicorn gthread")

# What a browser sends with a request for a page, besides Host.
BROWSER = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Connection: keep-alive",
    "Referer: http://127.0.0.1/somewhere/else",
    "Cookie: session=7d0c8a1a9e4c4a0f; csrftoken=0123456789abcdef0123456789abcdef; theme=dark",
    "Upgrade-Insecure-Requests: 1",
    "Sec-Fetch-Dest: document",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-Site: same-origin",
    "Priority: u=0, i",
)

# About 10 KB.
DOCUMENT = json.dumps([{"id": number, "name": f"item {number}", "tags": ["one", "two"], "price": number / 4} for number in range(140)])


def paired(name: str, title: str, load: Load, servers: tuple[str, ...], targets: tuple[Target, ...], app: str = "wsgi:hello", **more) -> Paired:
    """Fewer rounds than the native scenarios have: there are more servers, and their differences are larger."""
    more = {"role": Role(app), "rounds": 7} | more
    return Paired(name, title, load, (servers,), targets, group="wsgi", **more)


def below_every_peer(most: float = 0.9999) -> Target:
    # Equal would not be below.
    words = "below" if most < 1 else "at most that of"
    return Target(f"CPU {words} every peer", most, over_best_peer(OURS_WSGI), "x the best peer")


def beside_the_floor(name: str, title: str, load: Load, *targets: Target) -> Paired:
    return paired(name, title, load, (USUAL, OURS, OURS_WSGI, *PEERS, "bare", CALLED), (*targets, below_every_peer()))


def beside_the_peers(name: str, title: str, load: Load, app: str, expected: bytes) -> Paired:
    """Where the bare loop's answer would be another one, the peers are measured against ours."""
    # The load for large answers keeps its connections, as Gunicorn's sync worker does not.
    peers = [peer for peer in PEERS if load.by == "wrk" or peer != "gunicorn sync"]
    return paired(name, title, load, (OURS_WSGI, *peers), (below_every_peer(1.0),), app, expected=expected)


def by_front(front: str, words: str, most: float) -> Target:
    """By that protocol, against ours by uwsgi."""

    def figure(results: dict) -> float:
        return ratio(f"{OURS_WSGI} by {front}")(results) / ratio(f"{OURS_WSGI} by uwsgi")(results)

    return Target(words, most, figure)


def framework(name: str, title: str) -> Paired:
    """The difference to the calls alone is what the server costs."""
    overhead = Target(
        "the server adds <= 9 us to a call", 9, lambda results: results[OURS_WSGI]["cpu_difference"]["median"], "us"
    )
    role = Role("frameworks:app", (("FRAMEWORK", name),))
    return paired(name, title, Load(), (CALLS, OURS_WSGI, *PEERS, CALLED), (overhead, below_every_peer(1.0)), role=role, rounds=10, instances=5)


MEASURED = (
    beside_the_floor(
        "wsgi",
        "A WSGI hello over 64 keep-alive connections",
        Load(),
        Target("CPU <= 1.08 x a bare loop as it is usually written", 1.08, ratio(OURS_WSGI)),
        Target(
            "CPU <= 0.06 x Gunicorn's sync worker",
            0.06,
            lambda results: ratio(OURS_WSGI)(results) / ratio("gunicorn sync")(results),
            "x Gunicorn",
        ),
    ),
    beside_the_floor(
        "wsgi-browser",
        "The same with the 12 header fields of a browser",
        Load(headers=BROWSER),
        Target("CPU <= 1.15 x a bare loop as it is usually written", 1.15, ratio(OURS_WSGI)),
    ),
    beside_the_floor("wsgi-one", "A WSGI hello over a single keep-alive connection", Load(connections=1)),
    beside_the_peers(
        "wsgi-post",
        "A WSGI application that echoes 10 KB of JSON",
        Load(post=DOCUMENT.encode()),
        "wsgi:echo",
        DOCUMENT.encode(),
    ),
    beside_the_peers("wsgi-1m", "A WSGI response of 1 MiB", Load(by="sink"), "wsgi:large", b"x" * (1 << 20)),
    beside_the_peers("wsgi-stream", "A WSGI generator of 100 pieces of 1 KiB", Load(), "wsgi:stream", b"x" * 102_400),
    paired(
        "wsgi-nginx",
        "A WSGI hello behind nginx, over a unix socket with keep-alive",
        Load(),
        ("bare", OURS_WSGI, "bjoern", "granian", "uwsgi", "gunicorn sync", "gunicorn gthread"),
        (below_every_peer(),),
        role=Role("wsgi:hello", front="http"),
    ),
    paired(
        "wsgi-gateways",
        "A WSGI hello behind nginx, over a unix socket by each protocol",
        Load(),
        (
            "uwsgi by uwsgi",
            "uwsgi by fastcgi",
            "uwsgi by scgi",
            *(f"{OURS_WSGI} by {front}" for front in ("uwsgi", "fastcgi", "scgi", "fastcgi-keep", "http")),
            "bare by uwsgi",
        ),
        (
            Target("by uwsgi, CPU <= 0.6 x uWSGI", 0.6, ratio(f"{OURS_WSGI} by uwsgi"), "x uWSGI"),
            by_front("fastcgi", "CPU of a connection by FastCGI <= 1.1 x by uwsgi", 1.1),
            by_front("scgi", "CPU of a connection by SCGI <= 1.1 x by uwsgi", 1.1),
            by_front("fastcgi-keep", "CPU by FastCGI over connections that are kept <= 0.6 x by uwsgi", 0.6),
            by_front("http", "CPU by HTTP over connections that are kept <= 0.6 x by uwsgi", 0.6),
        ),
        role=Role("wsgi:hello", front="uwsgi"),
    ),
    paired(
        "classics",
        "One WSGI hello behind nginx: as a CGI program, by FastCGI, by uwsgi, by HTTP",
        Load(connections=16),
        (
            f"{OURS_WSGI} by fastcgi",
            "ferricorn cgi",
            "uwsgi by fastcgi",
            "uwsgi by uwsgi",
            f"{OURS_WSGI} by uwsgi",
            f"{OURS_WSGI} by fastcgi-keep",
            f"{OURS_WSGI} by http",
        ),
        (),
        role=Role("wsgi:hello", front="http"),
        by_default=False,
    ),
    framework("flask", "Flask's hello, against calling it without a server"),
    framework("django", "Django's hello, against calling it without a server"),
)

SCENARIOS = MEASURED + tuple(Syscalls.of(scenario) for scenario in MEASURED)
