"""Gunicorn's server hooks: the same `gunicorn.conf.py` under Gunicorn itself and under Ferricorn."""

import http.client
import json
import os
import re
import signal
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from conftest import wait_until

APPLICATION = """
import time

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/raises":
        raise RuntimeError("on purpose")
    if path == "/sleeps":
        time.sleep(60)
    if path == "/generator":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (b"0123456789" for _ in range(3))
    start_response("200 Fine", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]
"""

# What every hook is told, one line of JSON each: the process, the hook, and what it sees.
CONFIGURATION = """
import json
import os

workers = 2
timeout = TIMEOUT
keepalive = 5
raw_env = ["SAID_BY=raw_env"]
a_helper = object()

def note(hook, *seen):
    with open("notes", "a") as file:
        file.write(json.dumps([os.getpid(), hook, *seen]) + "\\n")

def who(worker):
    return [worker.age, worker.pid == os.getpid(), worker.ppid == os.getppid(), worker.alive, worker.cfg.workers]

def nworkers_changed(server, new, old):
    note("nworkers_changed", new, old)

def on_starting(server):
    note("on_starting", server.num_workers, server.cfg.workers, os.environ["SAID_BY"])
    server.log.info("hooked: on_starting")

def when_ready(server):
    note("when_ready", len(server.WORKERS), len(server.address), server.cfg.timeout)

def on_reload(server):
    note("on_reload", server.num_workers)

def pre_fork(server, worker):
    note("pre_fork", worker.age, worker.pid, server.worker_age, server.pid == os.getpid())

def post_fork(server, worker):
    note("post_fork", who(worker), server.pid == os.getppid())
    worker.log.warning("hooked: post_fork")

def post_worker_init(worker):
    note("post_worker_init", who(worker), worker.wsgi.__name__)

def pre_request(worker, req):
    headers = [header for header in req.headers if header[0].startswith("X-")]
    note("pre_request", worker.age, req.method, req.uri, req.path, req.query, list(req.version), headers, req.scheme)

def post_request(worker, req, environ, resp):
    # Gunicorn's has none if the application raised.
    code = getattr(resp, "status_code", None)
    sent = [resp.status, code, resp.sent, sorted(resp.headers)]
    note("post_request", worker.age, req.path, environ.get("PATH_INFO"), sent)

def worker_int(worker):
    note("worker_int", worker.age)

def worker_abort(worker):
    note("worker_abort", who(worker)[:3])

def worker_exit(server, worker):
    note("worker_exit", worker.age, worker.pid == os.getpid())

def child_exit(server, worker):
    note("child_exit", worker.age, worker.pid in server.WORKERS, server.pid == os.getpid())

def pre_exec(server):
    note("pre_exec", server.pid == os.getppid())

def on_exit(server):
    note("on_exit", len(server.WORKERS))
"""

HOOKS = re.findall(r"^def (\w+)\(\w*(?:server|worker)", CONFIGURATION, re.M)[1:]
assert len(HOOKS) == 15

SCRIPTS = Path(sys.executable).parent
COMMANDS = {name: [str(SCRIPTS / name)] for name in ("gunicorn", "ferricorn")}


def project(directory, configuration=CONFIGURATION, timeout=30):
    directory.mkdir(exist_ok=True)
    (directory / "site_.py").write_text(APPLICATION)
    (directory / "gunicorn.conf.py").write_text(configuration.replace("TIMEOUT", str(timeout)))
    return directory


def notes(directory):
    path = directory / "notes"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def count(directory, hook):
    return sum(noted[1] == hook for noted in notes(directory))


def wait_for(server, hook, number):
    wait_until(f"{number} x {hook}: {server.log}", lambda: count(server.directory, hook) >= number)


def get(server, target):
    """One request a connection, as Gunicorn's sync worker has it."""
    connection = http.client.HTTPConnection(*server.address, timeout=20)
    connection.request("GET", target, headers={"X-Test": "1", "Connection": "close"})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


def by_process(server):
    """The notes of each process: the arbiter's, and the workers' by their age."""
    sequences = defaultdict(list)
    ages = {}
    for pid, hook, *seen in notes(server.directory):
        if hook == "post_fork":
            ages[pid] = seen[0][0]
        if hook == "pre_exec":
            continue
        sequences["arbiter" if pid == server.process.pid else ages[pid]].append([hook, *seen])
    return dict(sequences)


def life(server):
    """A life with every hook in it but those of the two tests below."""
    wait_for(server, "post_worker_init", 2)
    server.signal(signal.SIGTTIN)
    wait_for(server, "post_worker_init", 3)
    server.signal(signal.SIGTTOU)
    wait_for(server, "child_exit", 1)
    server.signal(signal.SIGHUP)
    wait_for(server, "post_worker_init", 5)
    wait_for(server, "child_exit", 3)
    answers = [get(server, target) for target in ("/?a=b", "/generator", "/raises")]
    server.signal(signal.SIGINT)
    assert server.wait() == 0, server.log
    return answers


@pytest.mark.parametrize("daring, arguments", [(False, []), (True, []), (False, ["--preload"]), (False, ["--threads", "2"])])
def test_hooks_are_called_as_gunicorn_calls_them(tmp_path, serve, daring, arguments):
    """With `daring`, they have fewer arguments and odder kinds, all of which Gunicorn takes, too."""
    configuration = CONFIGURATION
    if daring:
        configuration = configuration.replace("def post_request(worker, req, environ, resp):", "def _(*_):")
        configuration += "\npost_request = lambda worker, req: note('post_request', worker.age, req.path)\n"
    found, answers = {}, {}
    for name, command in COMMANDS.items():
        directory = project(tmp_path / name, configuration)
        server = serve_in(serve, directory, command, *arguments)
        answers[name] = life(server)
        found[name] = by_process(server)
    assert [status for status, _ in answers["ferricorn"]] == [200, 200, 500]
    assert [status for status, _ in answers["gunicorn"]] == [200, 200, 500]
    theirs, ours = found["gunicorn"], found["ferricorn"]
    assert theirs.keys() == ours.keys() == {"arbiter", 1, 2, 3, 4, 5}
    for process in theirs:
        assert lives(ours[process]) == lives(theirs[process]), process
    assert len(requests(ours)) == 6
    assert requests(ours) == requests(theirs)


REQUESTS = ("pre_request", "post_request")


def lives(sequence):
    """What a process's own hooks are told, in their order, and for each worker the arbiter's. (A reload has the new workers
    ready before the old ones go, and Gunicorn does not: that is the only difference.)"""
    parts = defaultdict(list)
    for hook, *seen in sequence:
        if hook not in REQUESTS:
            parts[seen[0] if hook in ("pre_fork", "child_exit") else "own"].append([hook, *seen])
    return dict(parts)


def requests(found):
    """What is told of requests, whichever worker has served them."""
    told = [[hook, *seen[1:]] for sequence in found.values() for hook, *seen in sequence if hook in REQUESTS]
    return sorted(told, key=str)


def serve_in(serve, directory, command, *arguments, application="site_:application", **named):
    # Gunicorn makes a socket in the home directory otherwise.
    arguments = ("--no-control-socket", *arguments)
    server = serve(application, *arguments, command=command, directory=directory, ready=False, **named)
    wait_until(f"the server listens; {server.log}", lambda: count(directory, "post_worker_init") or not alive(server))
    return server


def alive(server):
    return server.process.poll() is None


def test_a_worker_that_is_aborted_tells_its_hooks(tmp_path, serve):
    for name, command in COMMANDS.items():
        server = serve_in(serve, project(tmp_path / name, timeout=1), command)
        wait_for(server, "post_worker_init", 2)
        with pytest.raises((OSError, http.client.HTTPException)):
            status, _ = get(server, "/sleeps")
            # Gunicorn answers if it still can.
            assert status == 500 and name == "gunicorn"
            raise OSError
        wait_for(server, "child_exit", 1)
        [aborted] = [process for process in by_process(server).values() if any(n[0] == "worker_abort" for n in process)]
        names = [noted[0] for noted in aborted if noted[0] not in ("pre_request", "post_request")]
        assert names == ["post_fork", "post_worker_init", "worker_abort", "worker_exit"], server.log
        wait_for(server, "post_worker_init", 3)
        assert get(server, "/")[0] == 200
        if name == "ferricorn":
            # Hook or not, the stack is in the log.
            assert "in application" in server.log and "In request GET /sleeps" in server.log


def test_an_upgrade_calls_pre_exec_in_the_child(tmp_path, serve):
    server = serve_in(serve, project(tmp_path), COMMANDS["ferricorn"], "--pid", "pid")
    wait_for(server, "post_worker_init", 2)
    server.signal(signal.SIGUSR2)
    wait_for(server, "post_worker_init", 4)
    [(child, _, right)] = [noted for noted in notes(tmp_path) if noted[1] == "pre_exec"]
    assert right and child != server.process.pid
    started = [pid for pid, hook, *_ in notes(tmp_path) if hook == "on_starting"]
    assert started == [server.process.pid, child]
    os.kill(child, signal.SIGTERM)
    wait_until("the new one has gone", lambda: count(tmp_path, "on_exit") == 1)
    assert get(server, "/")[0] == 200


@pytest.mark.parametrize("options", [[], ["--preload"], ["--threads", "2"]], ids=" ".join)
@pytest.mark.parametrize("raised", ["RuntimeError('in a hook')", "SystemExit(7)", "KeyboardInterrupt"])
def test_an_exception_in_a_hook_is_logged_and_the_server_serves(tmp_path, serve, raised, options):
    """In every hook, through a life in which each is called."""
    names = ", ".join(HOOKS)
    configuration = CONFIGURATION.split("def who")[0] + f"""
def hook(name):
    def raising(*arguments):
        note(name)
        if name != "pre_request" or arguments[1].path == "/refused":
            raise {raised}
    return raising

{names} = map(hook, {HOOKS})
"""
    server = serve_in(serve, project(tmp_path, configuration, timeout=2), COMMANDS["ferricorn"], "--pid", "pid", *options)
    wait_for(server, "post_worker_init", 2)
    assert get(server, "/") == (200, b"hello")
    assert get(server, "/refused")[0] == 500
    server.signal(signal.SIGHUP)
    wait_for(server, "child_exit", 2)
    with pytest.raises((OSError, http.client.HTTPException)):
        get(server, "/sleeps")
    wait_for(server, "child_exit", 3)
    wait_for(server, "post_worker_init", 5)
    assert get(server, "/") == (200, b"hello")
    server.signal(signal.SIGUSR2)
    wait_for(server, "post_worker_init", 7)
    [successor] = {pid for pid, hook in notes(tmp_path) if hook == "on_starting"} - {server.process.pid}
    os.kill(successor, signal.SIGTERM)
    wait_until(f"the successor has gone: {server.log}", lambda: count(tmp_path, "on_exit") == 1)
    assert get(server, "/") == (200, b"hello")
    server.signal(signal.SIGINT)
    assert server.wait() == 0, server.log
    assert "Error handling request GET /refused\n  Traceback" in server.log
    for name in set(HOOKS) - {"pre_request"}:
        assert f"Exception in the hook {name}\n  Traceback" in server.log, name
    assert server.log.count(raised.split("(")[0]) >= len(notes(tmp_path)) - 4, "those of pre_request that raise nothing"
    assert "gunicorn.conf.py" in server.log and "_hooks.py" not in server.log


def test_a_request_that_pre_request_refuses_is_answered_with_500(tmp_path, serve):
    configuration = CONFIGURATION.replace('    headers = [', '    if req.path == "/refused": raise ValueError("no")\n    headers = [')
    server = serve_in(serve, project(tmp_path, configuration), COMMANDS["ferricorn"])
    assert get(server, "/refused")[0] == 500
    assert "ValueError: no" in server.log
    assert get(server, "/") == (200, b"hello")
    [refused] = [noted for noted in notes(tmp_path) if noted[1:2] == ["post_request"] and noted[3] == "/refused"]
    assert refused[5][0] is None


def test_hooks_hear_of_a_native_application_s_processes(tmp_path, serve):
    (tmp_path / "index.html").write_text("a page")
    configuration = CONFIGURATION.replace(", worker.wsgi.__name__", "")
    server = serve_in(serve, project(tmp_path, configuration), COMMANDS["ferricorn"], application="files://.")
    wait_for(server, "post_worker_init", 2)
    assert get(server, "/") == (200, b"a page")
    assert server.stop() == 0
    assert count(tmp_path, "worker_exit") == 2 and count(tmp_path, "on_exit") == 1


def test_hooks_are_called_once_for_all_applications_that_are_mounted(tmp_path, serve):
    (tmp_path / "index.html").write_text("a page")
    server = serve_in(serve, project(tmp_path), COMMANDS["ferricorn"], "--mount", "/files=files://.")
    wait_for(server, "post_worker_init", 2)
    assert get(server, "/files/") == (200, b"a page")
    assert get(server, "/") == (200, b"hello")
    wait_until("the request is told of", lambda: count(tmp_path, "post_request") == 1)
    assert server.stop() == 0
    told = {hook: count(tmp_path, hook) for hook in ("post_fork", "post_worker_init", "worker_exit", "on_exit")}
    assert told == {"post_fork": 2, "post_worker_init": 2, "worker_exit": 2, "on_exit": 1}


def test_without_hooks_the_interpreter_loads_nothing_for_them(tmp_path, serve):
    (tmp_path / "site_.py").write_text(
        "import sys\ndef application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [str([name for name in sys.modules if name.startswith('ferricorn._')]).encode()]\n"
    )
    (tmp_path / "gunicorn.conf.py").write_text("workers = 1\n")
    server = serve("site_", command=COMMANDS["ferricorn"])
    assert b"_hooks" not in server.request().body
