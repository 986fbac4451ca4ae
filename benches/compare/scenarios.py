"""What is measured, with what it must come to."""

from __future__ import annotations

import arrivals
import blocked
import sharing
import wsgi
from load import Load
from measures import OURS, USUAL, Idle, Memory, Paired, Syscalls, Target, over_best_peer, ratio

PEERS = ("hyper", "actix", "may_minihttp", "nginx")
FLOOR_VARIANTS = ("level", "level read", "out", "read", "writev", "sendmsg", "drain", "rearm", "burst", "clock", "thread", "one")
CLOSE_VARIANTS = ("close greedy", "close eager", "close shutdown", "close level")

NATIVE = (
    Paired(
        "hello",
        "Hello over 64 keep-alive connections",
        Load(),
        ((USUAL, OURS, *PEERS, "bare"),),
        (
            Target("CPU <= 1.05 x a bare loop as it is usually written", 1.05, ratio(OURS)),
            # Equal would not be below.
            Target("CPU below every peer", 0.9999, over_best_peer(OURS), "x the best peer"),
        ),
    ),
    Paired(
        "pipelined",
        "Hello, 16 requests pipelined on each of 64 connections",
        Load(depth=16),
        (("hyper", OURS, "bare", "actix", "may_minihttp", "nginx"),),
        (Target("CPU <= 0.75 x hyper", 0.75, ratio(OURS)),),
    ),
    Paired(
        "close",
        "Hello with Connection: close, 64 connections at a time",
        Load(close=True),
        (("nginx", OURS, "bare close", "hyper", "actix"),),
        (Target("CPU <= 1.1 x nginx", 1.1, ratio(OURS)),),
    ),
    Paired(
        "access-log",
        "Hello with the access log on against off",
        Load(),
        ((OURS, f"{OURS} access log"), ("nginx", "nginx access log")),
        (
            Target(
                "the access log adds <= 1.5 us",
                1.5,
                lambda r: r[f"{OURS} access log"]["cpu_difference"]["median"],
                "us",
            ),
        ),
    ),
    Paired("one", "Hello over a single keep-alive connection", Load(connections=1), ((USUAL, OURS, *PEERS, "bare"),)),
    *(
        Paired(
            name,
            title,
            Load(path=path, by="sink"),
            (("nginx", f"{OURS} files"),),
            (
                # Two per cent are noise: nginx measured against itself comes out as much above as below.
                Target("CPU <= nginx with sendfile, within 2 %", 1.02, ratio(f"{OURS} files"), "x nginx"),
                Target(
                    "rate >= nginx with sendfile, within 2 %",
                    0.98,
                    lambda r: r[f"{OURS} files"]["rate_ratio"]["median"],
                    "x nginx",
                    at_least=True,
                ),
            ),
        )
        for name, title, path in (
            ("file-50k", "A file of 50 KB over 64 keep-alive connections", "/50k.bin"),
            ("file-1m", "A file of 1 MB over 64 keep-alive connections", "/1m.bin"),
        )
    ),
    Idle(),
    Memory(),
    Syscalls(),
    Paired(
        "floor",
        "What each habit of an engine adds to the bare loop",
        Load(),
        (("bare", *(f"bare {variant}" for variant in FLOOR_VARIANTS)),),
        by_default=False,
    ),
    Paired(
        "floor-close",
        "What each habit of an engine adds to the bare loop that closes",
        Load(close=True),
        (("bare close", *(f"bare {variant}" for variant in CLOSE_VARIANTS)),),
        by_default=False,
    ),
)

SCENARIOS = NATIVE + wsgi.SCENARIOS + sharing.SCENARIOS + blocked.SCENARIOS + arrivals.SCENARIOS
