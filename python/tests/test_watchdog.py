"""Calls that take too long: shown, interrupted, or excused."""

from __future__ import annotations

import re
import time

import pytest
from conftest import BrokenOff, wait_until

APPLICATION = """
import ctypes, hashlib, os, threading, time
import ferricorn
def application(environ, start_response):
    path = environ["PATH_INFO"]
    action = globals().get(path.strip("/"))
    if action:
        body = action(environ, start_response)
        if body is not None:
            return body
    start_response("200 OK", [])
    return [str(os.getpid()).encode() if path == "/pid" else b"well"]
def spins(*_):
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end: pass
    finally:
        open("finally", "w").close()
def spins_for(environ, _):
    end = time.monotonic() + float(environ["QUERY_STRING"])
    while time.monotonic() < end: pass
def sleeps(*_):
    time.sleep(60)
def waits(*_):
    threading.Lock().acquire() and threading.Event().wait()
def hashes(*_):
    hashlib.pbkdf2_hmac("sha256", b"", b"", 200_000_000)
def guards(*_):
    try:
        time.sleep(60)
    except Exception:
        open("caught", "w").close()
def catches(*_):
    try:
        time.sleep(60)
    except ferricorn.RequestTimeout:
        pass
def streams(environ, start_response):
    start_response("200 OK", [])
    def pieces():
        try:
            for _ in range(3):
                yield b"piece"
            time.sleep(60)
            yield b"never"
        finally:
            open("finally", "w").close()
    return pieces()
def writes(environ, start_response):
    start_response("200 OK", [])(b"piece")
    time.sleep(60)
class Closing:
    def __init__(self, pieces):
        self.pieces = iter(pieces)
    def __iter__(self):
        return self
    def __next__(self):
        return next(self.pieces)
    def close(self):
        with open("closed", "a") as file:
            file.write("closed")
def in_c(library=ctypes.CDLL):
    # libc goes on to wait when a signal comes, and Python's exception waits for the end of the call.
    try:
        library(None).system(b"exec sleep 3")
        for _ in range(1000): pass
    except ferricorn.RequestTimeout:
        pass
def hangs_with_the_lock(environ, start_response):
    in_c(ctypes.PyDLL)
    start_response("200 OK", [])
    return Closing([b"late"])
def hangs(environ, start_response):
    in_c()
    start_response("200 OK", [])
    return Closing([b"late"])
def hangs_streaming(environ, start_response):
    start_response("200 OK", [])
    def pieces():
        yield b"early"
        in_c()
        yield b"late"
    return Closing(pieces())
def pauses(*_):
    time.sleep(1.5)
def extends(environ, start_response):
    assert environ["ferricorn.extend_deadline"](30)
    time.sleep(1.5)
def extends_a_little(environ, start_response):
    assert ferricorn.extend_deadline(1)
    time.sleep(60)
def extends_elsewhere(environ, start_response):
    said = []
    thread = threading.Thread(target=lambda: said.append(ferricorn.extend_deadline(30)))
    thread.start()
    thread.join()
    assert said == [False]
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "sticky.py").write_text(APPLICATION)
    return tmp_path


@pytest.fixture
def sticky(project, serve):
    return lambda *arguments: serve("sticky", *arguments)


def pid(server):
    return server.request(target="/pid").body


@pytest.mark.parametrize("options", [[], ["--threads", "2"], ["--preload"]])
def test_a_slow_request_is_shown_once_with_its_stack_and_goes_on(sticky, options):
    server = sticky("--slow-request-timeout", "0.5", *options)
    worker = pid(server)
    assert server.request(target="/pauses?how=long").body == b"well"
    assert pid(server) == worker
    assert len(re.findall(r"\[WARNING\] SLOW REQUEST \(pid:%s\): GET /pauses\?how=long has taken 0\.[5-9] s so far\n" % worker.decode(), server.log)) == 1
    assert re.search(r"Stack of GET /pauses\?how=long \(most recent call last\):\n(.*\n)+.*, in pauses\n *time\.sleep", server.log)
    assert server.log.count("SLOW REQUEST") == 1


@pytest.mark.parametrize(
    "action, options",
    [(action, []) for action in ("spins", "sleeps", "waits", "guards")] + [("spins", ["--threads", "2"]), ("sleeps", ["--preload"])],
)
def test_a_request_that_takes_too_long_is_ended_and_its_worker_goes_on(project, sticky, action, options):
    server = sticky("--request-timeout", "1", *options)
    worker = pid(server)
    with server.client() as client:
        for _ in range(2):
            assert client.request(target=f"/{action}").status == 504
            # It is over for good: what comes next is not hit by what came late.
            for _ in range(20):
                assert client.request(target="/pid").body == worker
    assert server.log.count(f"REQUEST TIMEOUT (pid:{worker.decode()}): GET /{action} has taken 1.") == 2
    assert re.search(rf", in {action}\n", server.log)
    assert len(re.findall(r"RequestTimeout: the request has taken longer", server.log)) == 2
    assert not (project / "caught").exists(), "it is no Exception"
    assert action != "spins" or (project / "finally").exists()
    assert "WORKER TIMEOUT" not in server.log


@pytest.mark.parametrize("threads", ["1", "4"])
@pytest.mark.parametrize("action", ["hangs", "hangs_with_the_lock", "hangs_streaming"])
def test_a_client_is_answered_while_the_call_hangs_in_c_and_what_comes_late_is_thrown_away(project, sticky, action, threads):
    server = sticky("--request-timeout", "0.5", "--threads", threads)
    worker = pid(server)
    began = time.monotonic()
    with server.client() as client:
        if action == "hangs_streaming":
            with pytest.raises(BrokenOff):
                client.request(target=f"/{action}")
        else:
            assert client.request(target=f"/{action}").status == 504
        assert time.monotonic() - began < 2.5, "it hangs for three seconds"
    assert not (project / "closed").exists(), "the call goes on"
    wait_until("the call to return", lambda: (project / "closed").exists())
    wait_until("the thread to serve again", lambda: pid(server) == worker)
    assert (project / "closed").read_text() == "closed"
    assert server.log.count("REQUEST TIMEOUT") == 1
    # While the interpreter's lock is held nobody can look at the stack: then it is shown if there is time when it is free.
    assert len(re.findall(r"Stack of GET /hangs", server.log)) in ((0, 1) if action == "hangs_with_the_lock" else (1,))
    assert "WORKER TIMEOUT" not in server.log


def test_an_application_may_answer_by_itself_when_it_is_interrupted(sticky):
    server = sticky("--request-timeout", "1")
    assert server.request(target="/catches").body == b"well"


@pytest.mark.parametrize("action", ["streams", "writes"])
def test_a_response_that_hangs_is_cut_off_so_that_it_shows(project, sticky, action):
    server = sticky("--request-timeout", "1", "--slow-request-timeout", "0.5")
    worker = pid(server)
    with server.client() as client, pytest.raises(BrokenOff):
        client.request(target=f"/{action}")
    assert pid(server) == worker
    server.wait_for_log(rf"SLOW REQUEST .* GET /{action} has")
    server.wait_for_log(rf"REQUEST TIMEOUT .* GET /{action} has")
    assert action != "streams" or (project / "finally").exists()


@pytest.mark.parametrize("action", ["streams", "hashes"])
def test_what_cannot_be_interrupted_or_is_not_ends_with_its_worker(sticky, action):
    options = ["--request-timeout", "0.5"] if action == "hashes" else []
    server = sticky("--timeout", "2", *options)
    worker = pid(server)
    with server.client() as client:
        if options:
            assert client.request(target=f"/{action}").status == 504
        else:
            with pytest.raises(BrokenOff):
                client.request(target=f"/{action}")
    wait_until("another worker", lambda: pid(server) != worker)
    assert "WORKER TIMEOUT" in server.log
    assert f"In request GET /{action}\n" in server.log
    assert options == [] or f"REQUEST TIMEOUT (pid:{worker.decode()}): GET /hashes" in server.log


def test_other_threads_are_left_alone(sticky):
    server = sticky("--request-timeout", "2", "--threads", "2")
    with server.client() as hung, server.client() as other:
        hung.send(b"GET /spins HTTP/1.1\r\nHost: x\r\n\r\n")
        answers = 0
        while not server.log.count("REQUEST TIMEOUT"):
            assert other.request(target="/").status == 200
            answers += 1
        assert hung.response().status == 504
        assert other.request(target="/").status == 200
    assert answers > 3
    assert server.log.count("RequestTimeout") == 1


@pytest.mark.parametrize("option", ["--request-timeout", "--timeout"])
def test_an_application_that_asks_for_more_time_gets_it(sticky, option):
    server = sticky(option, "1")
    worker = pid(server)
    assert server.request(target="/extends").body == b"well"
    assert server.request(target="/extends_elsewhere").body == b"well"
    assert pid(server) == worker
    assert "TIMEOUT" not in server.log


def test_more_time_is_no_more_than_was_asked_for(sticky):
    server = sticky("--request-timeout", "0.5")
    assert server.request(target="/extends_a_little").status == 504
    assert re.search(r"REQUEST TIMEOUT \(pid:\d+\): GET /extends_a_little ", server.log)


@pytest.mark.parametrize("options", [[], ["--threads", "2"]])
def test_what_comes_too_late_hits_nobody_else(sticky, options):
    server = sticky("--request-timeout", "0.1", *options)
    statuses = []
    # Calls are made longer while they are answered, and shorter while they are not: to where their end and the interruption meet.
    seconds = 0.1
    with server.client() as client:
        while len(statuses) < 100 or set(statuses) != {200, 504}:
            assert len(statuses) < 600, "the end of the call and its interruption never met"
            statuses.append(client.request(target=f"/spins_for?{seconds:.4f}").status)
            seconds += 0.0004 if statuses[-1] == 200 else -0.0004
            for _ in range(5):
                assert client.request(target="/").status == 200
    assert server.log.count("RequestTimeout: ") == statuses.count(504)
