"""What wrk says, and what is made of slices."""

import pytest
from load import Load, Pair, Slice, Spread, _heard_from_wrk, _wrk, pair, summary
from servers import Server

SAID = """Running 1s test @ http://127.0.0.1:8000/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.02ms    2.01ms  20.00ms   90.00%
    Req/Sec    50.00k     1.00k   51.00k    80.00%
  Latency Distribution
     50%  518.00us
     75%    1.20ms
     90%    2.00ms
     99%    9.47ms
  50500 requests in 1.10s, 7.50MB read
Requests/sec:  45909.09
Transfer/sec:      6.82MB
"""


def test_wrk_is_understood():
    heard = _heard_from_wrk(SAID)
    assert (heard.requests, heard.rate, heard.p50, heard.p99, heard.errors) == (50500, 45909.09, 518, 9470, [])
    assert heard.read == 7.5 * (1 << 20)


@pytest.mark.parametrize("line", ["  Socket errors: connect 0, read 5, write 0, timeout 0", "  Non-2xx or 3xx responses: 7"])
def test_its_errors_are_errors(line):
    assert _heard_from_wrk(SAID.replace("Requests/sec", f"{line}\nRequests/sec")).errors == [line.strip()]


@pytest.mark.parametrize(
    "load, words",
    [
        (Load(3), ["-c3"]),
        (Load(close=True), ["-H", "Connection: close"]),
        (Load(headers=("A: b",)), ["-H", "A: b"]),
        (Load(depth=16), ["--", "16"]),
        (Load(post=b'{"a": 1}'), ["--", '{"a": 1}']),
    ],
)
def test_wrk_is_asked_for_the_load(load, words, monkeypatch):
    monkeypatch.setattr("load.find", lambda name: name)
    command = _wrk(load, Server("x", 80, None), 1)
    at = command.index(words[0])
    assert command[at : at + len(words)] == words
    assert ("-s" in command) == (load.depth > 1 or bool(load.post))


def slice_(cpu, rate=1000.0, errors=""):
    return Slice(100, cpu, rate, 0.5, 0.0, 1.0, 2.0, errors)


def test_a_slice_is_compared_with_its_neighbours():
    assert pair(slice_(12, 500), slice_(10), slice_(14, 3000)) == Pair(1.0, 0.0, 0.25)


def test_a_summary_has_medians_quartiles_and_all_errors():
    slices = [slice_(10), slice_(30, errors="b"), slice_(20, errors="a"), slice_(25, errors="b")]
    result = summary(slices, [Pair(ratio, ratio, 1.0) for ratio in (1, 2, 3, 4, 5)])
    assert result["cpu"] == 22.5 and result["errors"] == ["a", "b"]
    assert result["cpu_ratio"] == {"median": 3, "lower": 2, "upper": 4}
    assert "cpu_ratio" not in summary(slices, [])
    assert Spread.of([7.0]) == Spread(7, 7, 7)
