"""`--preload`: what Python needs to be forked well, and new code for old."""

import os
import re
import signal
import time
from pathlib import Path

import pytest
from conftest import wait_until

# Notes what happens in which process, and answers with what the module `state` says.
RECORDING = """
import atexit, gc, logging, os, random, sys, threading

def note(what):
    with open("notes", "a") as file:
        print(what, os.getpid(), file=file)

def born():
    note("child")
    note(f"random {random.random()}")
    note(f"main {threading.current_thread() is threading.main_thread()}")
    note(f"threads {[thread.name for thread in threading.enumerate()]}")

os.register_at_fork(before=lambda: note("before"), after_in_parent=lambda: note("parent"), after_in_child=born)
atexit.register(note, "atexit")
note("loaded")
print("printed while loading")

def application(environ, start_response):
    path = environ["PATH_INFO"]
    note("request " + path)
    answers = {
        "/pid": lambda: os.getpid(),
        "/gc": lambda: (gc.isenabled(), gc.get_freeze_count() > 1000),
        "/threads": lambda: [thread.name for thread in threading.enumerate()],
    }
    start_response("200 OK", [])
    return [str(answers.get(path, str)()).encode()]
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "recording.py").write_text(RECORDING)
    return tmp_path


def notes(project, what):
    path = project / "notes"
    lines = [line.rsplit(" ", 1) for line in path.read_text().splitlines()] if path.exists() else []
    return [int(pid) for found, pid in lines if found == what]


def all_workers(server, count):
    # One that is being born has its template's name.
    wait_until("all workers", lambda: len(server.workers()) == count and server.template())
    return server.workers()


def test_the_application_is_loaded_in_the_template_only(project, serve):
    server = serve("recording", "--workers", "3", "--preload")
    all_workers(server, 3)
    assert notes(project, "loaded") == [wait_until("the template", server.template)]
    assert server.template() not in server.workers()


def test_a_template_does_not_keep_code_in_memory_that_only_loading_needed(tmp_path, serve):
    (tmp_path / "queries.py").write_text("""
import sqlite3
sqlite3.connect(":memory:").execute("SELECT 1").fetchone()

def application(environ, start_response):
    start_response("200 OK", [])
    return [b""]
""")
    server = serve("queries", "--workers", "1", "--preload")
    all_workers(server, 1)
    mappings = Path(f"/proc/{server.template()}/smaps").read_text()
    code = re.findall(r"^\S+ r-xp .*/\S*sqlite3\S*\n(?:\w+: .*\n)*?Rss: +(\d+) kB$", mappings, re.MULTILINE)
    assert code and set(code) == {"0"}


def test_fork_hooks_run_at_every_fork_of_the_template(project, serve):
    server = serve("recording", "--workers", "2", "--preload")
    all_workers(server, 2)
    wait_until("the notes of both forks", lambda: len(notes(project, "parent")) == len(notes(project, "child")) == 2)
    assert notes(project, "before") == notes(project, "parent") == [server.template()] * 2
    assert sorted(notes(project, "child")) == sorted(server.workers())


def test_a_worker_of_a_template_is_as_good_as_any(project, serve):
    server = serve("recording", "--workers", "3", "--preload")
    all_workers(server, 3)
    assert server.request(target="/gc").body == b"(True, True)"
    wait_until("all to say what they have", lambda: len(notes(project, "threads ['MainThread']")) == 3)
    assert len(notes(project, "main True")) == 3
    lines = (project / "notes").read_text().splitlines()
    assert len({line.split()[1] for line in lines if line.startswith("random ")}) == 3, "random numbers are the same"
    workers, template = server.workers(), server.template()
    for pid in [*workers, template]:
        # The last worker may be about to begin.
        wait_until("no signal to be blocked", lambda: "SigBlk:\t0000000000000000" in Path(f"/proc/{pid}/status").read_text())
    assert server.stop() == 0
    assert sorted(notes(project, "atexit")) == sorted(workers)
    assert server.out.count("printed while loading") == 1


def test_new_code_is_loaded_and_broken_code_leaves_the_old_in_service(project, serve):
    server = serve("recording", "--workers", "2", "--preload")
    old, template = set(all_workers(server, 2)), server.template()
    for broken, said in [
        ("import nothing_of_that_name\n", "recording.py:1"),
        ("def application(\n", "SyntaxError"),
        ("applikation = None\n", "Failed to find attribute 'application' in 'recording'."),
        ("raise SystemExit(7)\n", "Reload failed"),
    ]:
        failed = server.log.count("Reload failed")
        (project / "recording.py").write_text(broken)
        server.signal(signal.SIGHUP)
        wait_until(f"{said} in the log", lambda: said in server.log and server.log.count("Reload failed") > failed)
        assert int(server.request(target="/pid").body) in old
        assert set(server.workers()) == old and server.template() == template
    (project / "recording.py").write_text(RECORDING)
    server.signal(signal.SIGHUP)
    wait_until("new workers", lambda: len(server.workers()) == 2 and not old & set(server.workers()))
    wait_until("a new template", lambda: server.template() not in (None, template))
    assert int(server.request(target="/pid").body) not in old


@pytest.mark.parametrize(
    "code, text, said",
    [(3, "import nothing_of_that_name\n", "nothing_of_that_name"), (4, "applikation = None\n", "Failed to find attribute")],
)
def test_a_server_whose_first_template_cannot_load_ends(tmp_path, serve, code, text, said):
    (tmp_path / "broken.py").write_text(text)
    server = serve("broken", "--preload", ready=False)
    assert server.wait() == code
    assert said in server.log and "Reason: " in server.log


def test_killed_workers_and_templates_are_replaced(project, serve):
    server = serve("recording", "--workers", "2", "--preload")
    workers, template = set(all_workers(server, 2)), server.template()
    os.kill(min(workers), signal.SIGKILL)
    wait_until("another worker", lambda: len(set(server.workers()) - workers) == 1 and len(server.workers()) == 2)
    assert notes(project, "loaded") == [template]
    workers = set(server.workers())
    os.kill(template, signal.SIGKILL)
    wait_until("another template", lambda: server.template() not in (None, template))
    assert set(server.workers()) == workers
    assert int(server.request(target="/pid").body) in workers


THREADS = """
import _thread, logging, threading, time
from recording import application
handler = logging.FileHandler("log")
logging.getLogger().addHandler(handler)
def busy():
    while True:
        with handler.lock:
            time.sleep(0.001)
threading.Thread(target=busy, name="busy", daemon=True).start()
_thread.start_new_thread(time.sleep, (600,))
answer = application
def application(environ, start_response):
    logging.warning("a line")
    return answer(environ, start_response)
"""


def test_threads_of_the_application_are_named_and_locks_that_they_hold_do_no_harm(project, serve):
    (project / "threads.py").write_text(THREADS)
    server = serve("threads", "--workers", "1", "--preload", "--timeout", "5")
    found = [line for line in server.log.splitlines() if "Workers will not have the threads" in line]
    assert len(found) == 1 and ": busy, thread " in found[0] and f"[{server.template()}] [WARNING]" in found[0]
    for _ in range(20):
        before = server.workers()
        os.kill(before[0], signal.SIGKILL)
        wait_until("another worker", lambda: server.workers() and server.workers() != before)
        assert server.request(target="/threads").body == b"['MainThread']"
    assert "TIMEOUT" not in server.log


def test_the_warm_up_request_runs_in_the_template_and_leaves_no_connection(project, serve):
    # As Django's: who asks for a connection has one for the thread.
    (project / "django").mkdir()
    (project / "django" / "__init__.py").write_text("")
    (project / "django" / "db.py").write_text(
        "from recording import note\nclass connections:\n    close_all = staticmethod(lambda: note('closed'))\n"
    )
    (project / "warm.py").write_text("import django.db\nfrom recording import application\n")
    server = serve("warm", "--workers", "2", "--preload", "--warmup", "/warm?up")
    template = wait_until("the template", server.template)
    assert notes(project, "request /warm") == notes(project, "closed") == [template]
    assert "Warm-up request /warm?up was answered with 200" in server.log
    assert "GET /warm" not in server.log


def test_without_a_template_each_worker_warms_itself_up(project, serve):
    server = serve("recording", "--workers", "2", "--warmup", "/warm")
    wait_until("both", lambda: len(notes(project, "request /warm")) == 2)
    assert sorted(notes(project, "request /warm")) == sorted(server.workers())


WARMING = """
import threading, time
from recording import note
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/sleeps":
        time.sleep(60)
    if path == "/waits":
        threading.Event().wait(60)
    if path == "/catches":
        for _ in range(60):
            try:
                time.sleep(1)
            except BaseException:
                note("caught")
                if len(open("notes").readlines()) > 1:
                    raise
    if path == "/endless":
        start_response("200 OK", [])
        return iter(lambda: b"more", None)
    if path == "/slow":
        start_response("200 OK", [])
        return (time.sleep(60) for _ in range(60))
    start_response({"/missing": "404 Not Found", "/broken": "500 Oh"}.get(path, "200 OK"), [])
    return [b"warm"]
"""


@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["", "preload"])
@pytest.mark.parametrize("path", ["/sleeps", "/waits", "/catches", "/endless", "/slow"])
def test_a_warm_up_request_that_hangs_is_given_up_after_the_time_of_a_call(project, serve, path, options):
    (project / "warming.py").write_text(WARMING)
    began = time.monotonic()
    server = serve("warming", "--warmup", path, "--timeout", "1", *options)
    assert server.request().body == b"warm"
    assert time.monotonic() - began < 30
    assert re.search(rf"\[WARNING\] Warm-up request {path} (took longer than 1s|failed: its body did)", server.log), server.log
    if path in ("/sleeps", "/slow"):
        # It says where it was.
        assert "Overdue: the warm-up request takes longer than 1 s" in server.log
        assert 'warming.py", line' in server.log
    assert "TIMEOUT" not in server.log and "Alarm" not in server.log


def test_a_warm_up_request_may_be_for_a_host_that_the_application_knows(project, serve):
    (project / "hosts.py").write_text(
        "from recording import note\n"
        "def application(environ, start_response):\n"
        "    note(environ['HTTP_HOST'] + environ['PATH_INFO'] + environ['QUERY_STRING'])\n"
        "    start_response('200 OK' if environ['HTTP_HOST'] == 'shop.example' else '400 Bad Request', [])\n    return []\n"
    )
    server = serve("hosts", "--warmup", "http://shop.example/a?b=c", "--preload")
    assert "[INFO] Warm-up request http://shop.example/a?b=c was answered with 200" in server.log
    assert notes(project, "shop.example/ab=c") == [wait_until("the template", server.template)]


@pytest.mark.parametrize("path, status", [("/missing", 404), ("/broken", 500)])
def test_a_warm_up_request_that_finds_nothing_is_a_warning(project, serve, path, status):
    (project / "warming.py").write_text(WARMING)
    server = serve("warming", "--workers", "2", "--preload", "--warmup", path)
    all_workers(server, 2)
    assert len(re.findall(rf"\[WARNING\] Warm-up request {path} was answered with {status}: ", server.log)) == 1
    assert "localhost:" in server.log


def test_an_alarm_of_the_application_s_own_is_left_alone(project, serve):
    (project / "warming.py").write_text(
        WARMING + "import signal\nsignal.signal(signal.SIGALRM, lambda *_: note('alarm'))\nsignal.setitimer(signal.ITIMER_REAL, 2)\n"
    )
    server = serve("warming", "--warmup", "/", "--timeout", "1")
    wait_until("the alarm", lambda: notes(project, "alarm") == server.workers())


HOOKS = """
import os
def note(what, *pids):
    with open("notes", "a") as file:
        print(what, os.getpid(), file=file)
preload_app = True
workers = 2
def pre_fork(server, worker):
    note("pre_fork")
def post_fork(server, worker):
    assert worker.pid == os.getpid() and worker.ppid == os.getppid() == server.pid
    note(f"post_fork of {worker.age}")
def post_worker_init(worker):
    assert callable(worker.wsgi)
    note("post_worker_init")
def pre_request(worker, req):
    assert worker.pid == os.getpid()
    note("pre_request")
def child_exit(server, worker):
    note(f"exit of {worker.pid}")
"""


def test_hooks_run_in_the_processes_that_they_are_meant_for(project, serve):
    (project / "gunicorn.conf.py").write_text(HOOKS)
    server = serve("recording")
    wait_until("both workers", lambda: len(notes(project, "post_worker_init")) == 2)
    workers, arbiter = server.workers(), server.process.pid
    assert notes(project, "pre_fork") == [arbiter] * 2
    assert {*notes(project, "post_fork of 1"), *notes(project, "post_fork of 2")} == set(workers)
    assert sorted(notes(project, "post_worker_init")) == sorted(workers)
    assert server.request(target="/pid").status == 200
    assert set(notes(project, "pre_request")) <= set(workers)
    os.kill(workers[0], signal.SIGKILL)
    wait_until("its successor", lambda: notes(project, "post_fork of 3"))
    assert notes(project, f"exit of {workers[0]}") == [arbiter]
    assert "Traceback" not in server.log


def is_alive(pid):
    """Whether it runs, that is; it may not have been reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_everything_goes_when_the_arbiter_is_killed(project, serve):
    server = serve("recording", "--workers", "2", "--preload")
    pids = [*all_workers(server, 2), server.template()]
    server.signal(signal.SIGKILL)
    wait_until("all to go", lambda: not any(map(is_alive, pids)), 2)
