"""What happens to the processes: forks, signals, the end."""

import os
import re
import signal
from pathlib import Path

import pytest
from conftest import wait_until

RECORDING = """
import atexit, os, sys, threading
from hello import application

def note(what):
    with open("notes", "a") as file:
        print(what, os.getpid(), file=file)

def at_exit():
    note("atexit")

atexit.register(at_exit)
note("main thread" if threading.current_thread() is threading.main_thread() else "other thread")
"""

HELLO = """
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]
"""

# Run by the interpreter when it starts, so in the arbiter before any fork.
CUSTOMIZE = """
import os
def note(what):
    with open(os.environ["NOTES"], "a") as file:
        print(what, os.getpid(), file=file)
if os.environ.get("NOTES"):
    os.register_at_fork(
        before=lambda: note("before"),
        after_in_parent=lambda: note("parent"),
        after_in_child=lambda: note("child"),
    )
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "hello.py").write_text(HELLO)
    return tmp_path


def notes(project):
    path = project / "notes"
    return [line.rsplit(" ", 1) for line in path.read_text().splitlines()] if path.exists() else []


def test_fork_hooks_run_once_each_in_the_right_process(project, serve):
    (project / "sitecustomize.py").write_text(CUSTOMIZE)
    env = {"NOTES": str(project / "notes"), "PYTHONPATH": str(project)}
    server = serve("hello", "--workers", "2", env=env)
    wait_until("two forks", lambda: len(notes(project)) == 6)
    arbiter, workers = str(server.process.pid), {str(pid) for pid in server.workers()}
    found = notes(project)
    assert sorted(what for what, _ in found) == sorted(["before", "parent", "child"] * 2)
    assert {pid for what, pid in found if what != "child"} == {arbiter}
    assert {pid for what, pid in found if what == "child"} == workers


def test_a_worker_runs_python_as_it_is_used_to(project, serve):
    (project / "recording.py").write_text(RECORDING)
    server = serve("recording")
    worker = str(server.workers()[0])
    assert ["main thread", worker] in notes(project)
    status = Path(f"/proc/{worker}/status").read_text()
    assert "SigBlk:\t0000000000000000" in status
    assert server.stop() == 0
    assert notes(project).count(["atexit", worker]) == 1


FORKING = """
import os
import signal
import sys
import time

def body(child):
    yield b"generated "
    if (pid := os.fork()) == 0:
        child()
        return
    yield str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode()

def leave():
    sys.exit(4)

def fail():
    raise ValueError("in the child")

def wait():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)

def application(environ, start_response):
    start_response("200 OK", [])
    child = {"leave": leave, "fail": fail, "come_back": lambda: None, "wait": wait}[environ["QUERY_STRING"]]
    if environ["PATH_INFO"] == "/generated":
        return body(child)
    if (pid := os.fork()) == 0:
        child()
        return [b"from the child"]
    return [str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode()]
"""


@pytest.mark.parametrize("options", [[], ["--threads", "2"], ["--preload"]], ids=" ".join)
def test_a_process_that_a_request_has_forked_never_serves(project, serve, options):
    (project / "forking.py").write_text(FORKING)
    server = serve("forking", *options, ready=False)
    server.wait_for_log("Booting worker")
    for child, code in {"leave": b"4", "fail": b"1", "come_back": b"1", "wait": b"-15"}.items():
        assert server.request(target=f"/?{child}").body == code
        assert server.request(target=f"/generated?{child}").body == b"generated " + code
    assert server.log.count("ValueError: in the child") == 2
    assert server.log.count("has returned from the request, and ends") == 2
    assert server.stop() == 0


STREAMS = """
import threading

goes_on = threading.Event()

class Pieces:
    # Nothing of the request is kept in here, as it would be in a generator.
    def __init__(self):
        self.left = 200

    def __iter__(self):
        return self

    def __next__(self):
        self.left -= 1
        if self.left < 0:
            raise StopIteration
        return b"x" * 65536

def application(environ, start_response):
    body = [b"ok"]
    if environ["PATH_INFO"] == "/long":
        body = Pieces()
    elif environ["PATH_INFO"] == "/go":
        goes_on.set()
    elif environ["PATH_INFO"] == "/waits":
        goes_on.clear()
        print("It waits", file=environ["wsgi.errors"], flush=True)
        goes_on.wait(60)
    start_response("200 OK", [])
    return body
"""


def test_a_stream_that_another_thread_ends_does_not_end_the_request_that_its_own_thread_has_begun(project, serve):
    (project / "streams.py").write_text(STREAMS)
    server = serve("streams", "--threads", "2")
    # It is for the server to say which thread does what: as a rule the one that has begun the stream begins what comes next.
    for times in range(1, 6):
        with server.client() as reader, server.client() as waiter:
            reader.send(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
            reader.fill()
            waiter.send(b"GET /waits HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_until("a call that waits", lambda: server.log.count("It waits") == times)
            assert len(reader.response().body) == 200 * 65536
            assert server.request(target="/go").body == b"ok"
            assert (response := waiter.response()).status == 200, response.body


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_it_stops_without_a_traceback(project, serve, number):
    server = serve("hello")
    server.signal(number)
    assert server.wait() == 0
    assert "Traceback" not in server.log and "Shutting down: Master" in server.log


def test_an_application_that_takes_the_signal_for_itself_is_drained_all_the_same(project, serve):
    (project / "greedy.py").write_text(
        "import signal\nfrom hello import application\nsignal.signal(signal.SIGTERM, lambda *_: None)\n"
    )
    server = serve("greedy")
    server.signal(signal.SIGTERM)
    assert server.wait(10) == 0


def test_handlers_and_threads_of_the_application_run_while_the_worker_waits(project, serve):
    (project / "busy.py").write_text(
        """
import os, signal, threading, time
from hello import application
def note(what):
    open(what, "w").close()
def tick():
    while True:
        time.sleep(0.01)
        note("tick")
threading.Thread(target=tick, daemon=True).start()
signal.signal(signal.SIGALRM, lambda *_: note("alarm"))
"""
    )
    server = serve("busy")
    (project / "tick").unlink(missing_ok=True)
    wait_until("a thread that runs", (project / "tick").exists)
    os.kill(server.workers()[0], signal.SIGALRM)
    wait_until("a handler that runs", (project / "alarm").exists)
    assert server.request().body == b"hello"


def test_nobody_is_lost_when_a_worker_is_killed(project, serve):
    server = serve("hello", "--workers", "2")
    wait_until("two workers", lambda: len(server.workers()) == 2)
    before = set(server.workers())
    os.kill(min(before), signal.SIGKILL)
    wait_until("another worker", lambda: len(set(server.workers()) - before) == 1)
    assert server.request().body == b"hello"


STUCK = """
import hashlib, os, threading, time
def application(environ, start_response):
    if environ["PATH_INFO"] == "/stuck":
        get_stuck()
    start_response("200 OK", [])
    return [str(os.getpid()).encode() if environ["PATH_INFO"] == "/pid" else b"well"]
def get_stuck():
    open("stuck", "w").close()
    HOW
def somewhere_else():
    time.sleep(600)
threading.Thread(target=somewhere_else, daemon=True).start()
"""


#: Ways to hang, for some seconds: in a call that has let go of the interpreter's lock, or holds it, written in C or not.
WAYS = {
    "sleeping": "time.sleep({seconds})",
    "in Python": "end = time.monotonic() + {seconds}\n    while time.monotonic() < end: pass",
    "in C": "hashlib.pbkdf2_hmac('sha256', b'', b'', {seconds} * 2_000_000)",
    "in C with the lock": "sum(range({seconds} * 50_000_000))",
}
#: Lines of other processes may come between any two of a stack's.
OTHERS = r"(?:\[.*\n)*"
LINE = r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[%d\] \[%s\] "


@pytest.mark.parametrize(
    "way, to_file, preload", [(way, False, []) for way in WAYS] + [("sleeping", True, []), ("in C", False, ["--preload"])]
)
def test_a_call_that_takes_too_long_is_logged_with_its_request_and_stacks(project, serve, way, to_file, preload):
    (project / "sticky.py").write_text(STUCK.replace("HOW", WAYS[way].format(seconds=60)))
    log = project / "error.log"
    server = serve("sticky", "--timeout", "1", *preload, *(["--error-logfile", str(log)] if to_file else []))
    worker = worker_of(server)
    with server.client() as client:
        client.send(b"POST /stuck?in=here HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert client.is_closed()
    wait_until("another worker", lambda: server.request().body == b"well")
    text = log.read_text() if to_file else server.log
    assert "WORKER TIMEOUT" in text
    assert re.search(LINE % (worker, "ERROR") + r"In request POST /stuck\?in=here\n" + OTHERS + "(Fatal|Thread|Current)", text, re.M), text
    assert " in get_stuck\n" in text and "in application\n" in text
    # A thread that the application has started while it was preloaded is not in the worker.
    assert bool(preload) != (" in somewhere_else\n" in text)


def worker_of(server):
    """The process that answers."""
    return int(server.request(target="/pid").body)


@pytest.mark.parametrize("way, preload", [(way, []) for way in WAYS] + [("in C", ["--preload"])])
def test_usr2_to_a_worker_shows_where_it_hangs(project, serve, way, preload):
    (project / "sticky.py").write_text(STUCK.replace("HOW", WAYS[way].format(seconds=4)))
    server = serve("sticky", *preload)
    worker = worker_of(server)
    with server.client() as client:
        client.send(b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until("the call", (project / "stuck").exists)
        for number in range(1, 3):
            os.kill(worker, signal.SIGUSR2)
            # The main thread's outermost frame is the last line: who is asked again before that does not answer twice.
            server.wait_for_log(r"in <module>\n", number)
        assert server.log.count("in get_stuck\n") == 2
        assert client.response().body == b"well"
    assert len(re.findall(LINE % (worker, "INFO") + r"In request GET /stuck\n" + OTHERS + "(Thread|Current)", server.log, re.M)) == 2
    assert worker_of(server) == worker


def test_usr2_to_a_worker_logs_its_stacks_without_harm(project, serve):
    (project / "sticky.py").write_text(STUCK.replace("HOW", "time.sleep(3)"))
    log = project / "error.log"
    server = serve("sticky", "--error-logfile", str(log))
    worker = server.workers()[0]
    os.kill(worker, signal.SIGUSR2)
    wait_until("an answer", lambda: "In no request\n" in log.read_text())
    log.rename(project / "old.log")
    server.signal(signal.SIGUSR1)
    opened = lambda: {os.readlink(fd) for fd in Path(f"/proc/{worker}/fd").iterdir() if fd.is_symlink()}
    wait_until("the new log", lambda: str(log) in opened() and str(project / "old.log") not in opened())
    with server.client() as client:
        client.send(b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until("the call", (project / "stuck").exists)
        os.kill(worker, signal.SIGUSR2)
        assert client.response().body == b"well"
    assert "In request GET /stuck\n" in log.read_text() and " in get_stuck\n" in log.read_text()
    assert server.workers() == [worker]


def test_threads_that_are_older_than_the_fork_are_named_and_do_no_harm(project, serve):
    """As those of a profiler that is started with the interpreter."""
    (project / "sitecustomize.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), name='watcher', daemon=True).start()\n"
    )
    server = serve("hello", "--workers", "2", "--env", "A=b", env={"PYTHONPATH": str(project)})
    assert server.request().body == b"hello"
    assert server.log.count("Workers will not have the threads that were started before the fork: watcher") == 1
    assert server.stop() == 0
