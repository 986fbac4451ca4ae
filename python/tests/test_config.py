"""Settings in Python: `gunicorn.conf.py`, its neighbours in precedence, and programs that start a server themselves."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import wait_until
from gunicorn.config import KNOWN_SETTINGS

FERRICORN = str(Path(sys.executable).parent / "ferricorn")

HELLO = """
import os

def application(environ, start_response):
    start_response("200 OK", [])
    return [os.environ.get("ANSWER", "hello").encode()]
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "hello.py").write_text(HELLO)
    return tmp_path


def run(project, *arguments, **variables):
    environment = {name: value for name, value in os.environ.items() if "ORN_" not in name} | variables
    arguments = [FERRICORN, *arguments]
    return subprocess.run(arguments, cwd=project, env=environment, capture_output=True, text=True, timeout=300)


def settings(project, *arguments, **variables):
    done = run(project, "--print-config", *arguments, "hello", **variables)
    assert done.returncode == 0, done.stderr
    return dict(re.split(r"\s+= ", line, maxsplit=1) for line in done.stdout.splitlines())


def error(project, text, *arguments):
    (project / "gunicorn.conf.py").write_text(text)
    done = run(project, "--check-config", *arguments, "hello")
    assert done.returncode == 1, done
    return done.stderr


def test_every_type_of_python_s_is_taken_for_what_it_is(project):
    (project / "gunicorn.conf.py").write_text("""
import multiprocessing, pathlib
workers = multiprocessing.cpu_count() * 0 + 3
bind = ("127.0.0.1:8001", "unix:socket")
timeout = 0.5
keepalive = "7"
umask = 0o27
pidfile = pathlib.Path("pid")
capture_output = True
raw_env = ["A=1", "B=2"]
accesslog = None
user = None
secure_scheme_headers = {"X-FORWARDED-PROTO": "https"}
limit_request_line = 8190
proc_name = f"site {workers}"
post_fork = lambda server, worker: None
reload = False
worker_class = "sync"
threads = 1
logconfig_dict = {}
max_requests = 0
control_socket_disable = True
_private = helper = object()
def a_function(): pass
class AClass: pass
""")
    found = settings(project)
    expected = {
        "workers": "3",
        "bind": '["127.0.0.1:8001", "unix:socket"]',
        "timeout": "0.5",
        "keepalive": "7",
        "umask": "0o027",
        "pidfile": '"pid"',
        "capture_output": "true",
        "raw_env": '["A=1", "B=2"]',
        "accesslog": "None",
        "secure_scheme_headers": '{ "x-forwarded-proto" = "https" }',
        "proc_name": '"site 3"',
        "config": '"gunicorn.conf.py"',
    }
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    "text, parts",
    [
        ("\nworkers = 'many'\n", ["workers", '"many"', "gunicorn.conf.py:2", "a whole number from 1 to 4096"]),
        ("timeout = object()", ["timeout", "<object object", "gunicorn.conf.py:1", "expected seconds"]),
        ("if True:\n    daemon = 1", ["daemon", "1", "gunicorn.conf.py:2", "true or false"]),
        ("pidfile = 7", ["pidfile", "7", "gunicorn.conf.py:1", "a path"]),
        ("bind = ['a:1', None]", ["bind", "['a:1', None]", "expected HOST"]),
        ("raw_env = {'A': '1'}", ["raw_env", "NAME=VALUE"]),
        ("loglevel = 'loud'", ["loglevel", '"loud"', "debug, info"]),
        ("certfile = 'x.pem'", ["certfile", "not supported", "nginx"]),
        ("\ndef ssl_context(config, default): pass", ["ssl_context", "gunicorn.conf.py:2", "not supported", "nginx"]),
        ("ssl_context = 5", ["ssl_context", "gunicorn.conf.py:1", "not supported", "nginx"]),
        ("def dirty_post_fork(arbiter, worker): pass", ["dirty_post_fork", "gunicorn.conf.py:1", "not supported", "service"]),
        ("dirty_workers = 1\ndef on_dirty_starting(arbiter): pass", ["dirty_workers", "not supported"]),
        ("def on_starting(): pass", ["on_starting", "gunicorn.conf.py:1", "a function of 1 argument: server"]),
        ("\ndef pre_fork(server): pass", ["pre_fork", "gunicorn.conf.py:2", "2 arguments: server, worker"]),
        ("def post_request(w): pass", ["post_request", "2 or 3 or 4 arguments: worker, req, environ, resp"]),
        ("on_exit = 'os.path.nothing'", ["on_exit", "'os.path.nothing'", "AttributeError"]),
        ("when_ready = 5", ["when_ready", "5", "a function of 1 argument"]),
        ("workers = 1\nimport nowhere", ["gunicorn.conf.py:2", "No module named 'nowhere'", "Traceback"]),
        ("def f(:\n", ["gunicorn.conf.py:1", "SyntaxError"]),
        ("import sys\nsys.exit(0)", ["gunicorn.conf.py:2", "SystemExit"]),
    ],
)
def test_an_error_names_setting_value_place_and_what_was_expected(project, text, parts):
    said = error(project, text)
    last = said.rstrip().rpartition("\n")[2]
    assert last.startswith("Error: ")
    for part in parts:
        assert part in (said if part == "Traceback" else last), said


def test_a_name_that_looks_like_a_setting_is_mentioned_and_others_are_not(project):
    (project / "gunicorn.conf.py").write_text("wokers = 4\nchannel = 'x'\ntimeouts = object()\n_bind = 'x'\n")
    done = run(project, "--check-config", "hello")
    assert done.returncode == 0
    assert done.stderr == (
        "Warning: gunicorn.conf.py:1: there is no setting wokers, and it is ignored; did you mean workers?\n"
    )


# As in the example that comes with Gunicorn: all settings at their defaults, and hooks that only log.
EXAMPLE = """
bind = "127.0.0.1:8000"
backlog = 2048
workers = 1
worker_class = "sync"
worker_connections = 1000
timeout = 30
keepalive = 2
spew = False
daemon = False
raw_env = ["DJANGO_SECRET_KEY=something", "SPAM=eggs"]
pidfile = None
umask = 0
user = None
group = None
tmp_upload_dir = None
errorlog = "-"
loglevel = "info"
accesslog = "-"
access_log_format = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s"'
proc_name = None

def post_fork(server, worker):
    server.log.info("Worker spawned (pid: %s)", worker.pid)

def pre_fork(server, worker):
    pass

def pre_exec(server):
    server.log.info("Forked child, re-executing.")

def when_ready(server):
    server.log.info("Server is ready. Spawning workers")

def worker_int(worker):
    worker.log.info("worker received INT or QUIT signal")
    import sys, threading, traceback
    id2name = {th.ident: th.name for th in threading.enumerate()}
    code = []
    for threadId, stack in sys._current_frames().items():
        code.append("\\n# Thread: %s(%d)" % (id2name.get(threadId, ""), threadId))
        for filename, lineno, name, line in traceback.extract_stack(stack):
            code.append('File: "%s", line %d, in %s' % (filename, lineno, name))
    worker.log.debug("\\n".join(code))

def worker_abort(worker):
    worker.log.info("worker received SIGABRT signal")

"""


def test_an_example_of_gunicorn_s_serves_untouched(project, serve):
    (project / "gunicorn.conf.py").write_text(EXAMPLE)
    server = serve("hello")
    assert server.request().body == b"hello"
    pid = server.workers()[0]
    lines = [line.partition("] ")[2] for line in server.log.splitlines()]
    ready = lines.index(f"[{server.process.pid}] [INFO] Server is ready. Spawning workers")
    booting = lines.index(f"[{pid}] [INFO] Booting worker with pid: {pid}")
    assert ready < booting < lines.index(f"[{pid}] [INFO] Worker spawned (pid: {pid})")
    server.signal(signal.SIGINT)
    assert server.wait() == 0
    assert "worker received INT or QUIT signal" in server.log
    assert '"GET / HTTP/1.1" 200 5 "-" "-"' in server.out


def test_every_setting_of_gunicorn_is_supported_or_refused_with_the_reason():
    """Of the Gunicorn that is installed, so that a new release shows what it has added."""
    documented = table()
    assert documented.keys() == {setting.name for setting in KNOWN_SETTINGS}
    assert not [name for name, (what, why) in documented.items() if what in ("differs", "refused") and len(why) < 10]


def test_what_is_refused_is_an_error_that_says_why(project):
    """For a value that asks for something."""
    # These are allowed whatever they say: there is nothing to be switched off.
    allowed = {"disable_redirect_access_to_syslog", "control_socket_disable"}
    refused = {name for name, (what, _) in table().items() if what == "refused"} - allowed
    for setting in KNOWN_SETTINGS:
        if setting.name in refused:
            # One after the other: each is an error by itself.
            said = error(project, f"\n{setting.name} = {another(setting.default)}\n")
            last = said.splitlines()[-1]
            assert f"{setting.name} = " in last and "gunicorn.conf.py:2" in last and " is not supported: " in last, said


def test_all_settings_at_gunicorn_s_defaults_are_taken(project):
    """Some write a file of all settings, to change one of them."""
    own = {"control_socket", "wsgi_app", "config", "check_config", "print_config", "default_proc_name"}
    values = {s.name: s.default for s in KNOWN_SETTINGS if s.name not in own and not callable(s.default)}
    values = {name: value if isinstance(value, bool) or not isinstance(value, int) else int(value) for name, value in values.items()}
    (project / "gunicorn.conf.py").write_text("".join(f"{name} = {value!r}\n" for name, value in values.items()))
    done = run(project, "--check-config", "hello")
    assert (done.returncode, done.stderr) == (0, "")


def table():
    """What the documentation says of Gunicorn's settings: what becomes of each, and why."""
    rows = re.findall(
        r"^\| `(\w+)` \| (the same|differs|is `\w+`|refused) \| (.*) \|$",
        (Path(__file__).parents[2] / "docs/reference/gunicorn.md").read_text(),
        re.M,
    )
    return {name: (what, why) for name, what, why in rows}


def another(default):
    """The source of a value of the same kind that is not the default."""
    if callable(default):
        return "lambda *arguments: None"
    if isinstance(default, bool):
        return repr(not default)
    if isinstance(default, int):
        return repr(default + 1)
    return {list: "['x']", dict: "{'x': 'y'}"}.get(type(default), "'x'")


def test_the_file_is_found_where_gunicorn_finds_it(project):
    def which(*arguments, **variables):
        found = settings(project, *arguments, **variables)
        return found["config"].strip('"'), found["workers"]

    assert which()[0] == "None"
    (project / "gunicorn.conf.py").write_text("workers = 2")
    assert which() == ("gunicorn.conf.py", "2")
    (project / "ferricorn.conf.py").write_text("workers = 3")
    assert which() == ("ferricorn.conf.py", "3")
    (project / "ferricorn.toml").write_text("workers = 4")
    assert which() == ("ferricorn.toml", "4")
    (project / "other.py").write_text("workers = 5")
    (project / "other").write_text("workers = 6")
    assert which("-c", "other.py") == ("other.py", "5")
    assert which("-c", "file:other.py") == ("other.py", "5")
    assert which("-c", "python:other")[1] == "5"
    assert which("-c", "other") == ("other", "6")
    assert which("-c", "ferricorn.toml") == ("ferricorn.toml", "4")
    assert which(GUNICORN_CMD_ARGS="-c other.py") == ("other.py", "5")
    assert which("-c", "other", GUNICORN_CMD_ARGS="-c other.py") == ("other", "6")
    for missing in ("none.py", "file:none.py", "python:none", "none.toml"):
        done = run(project, "-c", missing, "hello")
        assert done.returncode == 1 and "none" in done.stderr and "Error: " in done.stderr


def test_what_comes_later_counts(project):
    (project / "gunicorn.conf.py").write_text("workers = 2\nbacklog = 2\nkeepalive = 2\ntimeout = 2\n")
    arguments = ["--timeout", "5"]
    variables = {
        "WEB_CONCURRENCY": "1",
        "GUNICORN_CMD_ARGS": "--backlog 3 --keep-alive 3 --timeout 3",
        "FERRICORN_CMD_ARGS": "--keep-alive=4 --timeout 4",
    }
    found = settings(project, *arguments, **variables)
    assert [found[name] for name in ("workers", "backlog", "keepalive", "timeout")] == ["2", "3", "4", "5"]


def test_the_file_sees_itself_as_gunicorn_has_it(project):
    (project / "helpers.py").write_text("NAME = 'helped'")
    (project / "gunicorn.conf.py").write_text(
        "import os, sys, helpers\n"
        "assert __name__ == '__config__' and sys.modules['__config__'].__dict__ is globals()\n"
        "assert __file__ == os.path.join(os.getcwd(), 'gunicorn.conf.py'), __file__\n"
        "assert __builtins__ and os.getcwd() in sys.path\n"
        "proc_name = helpers.NAME\n"
    )
    assert settings(project)["proc_name"] == '"helped"'
    assert not list(project.glob("__pycache__/gunicorn*"))


def test_a_broken_file_at_a_reload_changes_nothing_and_a_good_one_does(project, serve):
    path = project / "gunicorn.conf.py"
    good = "workers = 1\nraw_env = ['ANSWER={}']\ndef on_reload(server):\n    server.log.info('reloaded {}')\n"
    path.write_text(good.format("first", "first"))
    server = serve("hello")
    assert server.request().body == b"first"
    for number, broken in enumerate(["raise ValueError('broken')", "workers = 'x'", "def on_starting(): pass", "if:"], 1):
        path.write_text(broken)
        server.signal(signal.SIGHUP)
        server.wait_for_log("Reload failed, the old settings stay: .*gunicorn.conf.py:1", number)
        assert server.request().body == b"first"
    assert "ValueError: broken" in server.log and 'raise ValueError' in server.log
    # Of the same size, within the same second.
    for answer in ("other", "third"):
        path.write_text(good.format(answer, answer))
        server.signal(signal.SIGHUP)
        server.wait_for_log(f"reloaded {answer}")
        wait_until("the new workers serve", lambda answer=answer: server.request().body == answer.encode())
    assert server.stop() == 0


def test_a_file_that_is_a_module_is_read_again(project, serve):
    path = project / "conf.py"
    path.write_text("raw_env = ['ANSWER=one']")
    server = serve("hello", "-c", "python:conf", env={"PYTHONDONTWRITEBYTECODE": "1"})
    assert server.request().body == b"one"
    path.write_text("import nowhere")
    server.signal(signal.SIGHUP)
    server.wait_for_log("Reload failed")
    path.write_text("raw_env = ['ANSWER=three']")
    server.signal(signal.SIGHUP)
    wait_until("the new workers serve", lambda: server.request().body == b"three")


def test_variables_of_the_settings_are_there_for_hooks_and_taken_back(project, serve):
    path = project / "gunicorn.conf.py"
    text = "import os\nbefore = os.environ.get('PLACE')\nraw_env = ['PLACE={}']\n"
    text += "def when_ready(server): server.log.info('in %s after %s', os.environ['PLACE'], before)\non_reload = when_ready\n"
    path.write_text(text.format("one"))
    server = serve("hello")
    server.wait_for_log("in one after None")
    path.write_text(text.format("two"))
    server.signal(signal.SIGHUP)
    server.wait_for_log("in two after None")


def test_the_logger_that_applications_know_writes_to_the_error_log(project, serve):
    (project / "hello.py").write_text(
        "import logging\nlogger = logging.getLogger('gunicorn.error')\n"
        "flask_like = logging.getLogger('app')\nflask_like.handlers = logger.handlers\n"
        "flask_like.setLevel(logger.level)\nflask_like.warning('two\\nlines')\n"
        "logger.debug('quiet')\nlogger.critical('loud')\n" + HELLO
    )
    server = serve("hello")
    assert re.search(r"\[WARNING\] two\n  lines\n", server.log)
    assert "[CRITICAL] loud" in server.log and "quiet" not in server.log


@pytest.mark.parametrize(
    "arguments, peers, expected",
    [
        ([], "127.0.0.1", {"HTTP_SCRIPT_NAME": "/a", "SCRIPT_NAME": "/a"}),
        ([], "10.0.0.1", {}),
        (["--forwarder-headers", "x_under,SCRIPT_NAME"], "*", {"HTTP_X_UNDER": "1", "SCRIPT_NAME": "/a"}),
        (["--forwarder-headers", "*"], "*", {"HTTP_X_UNDER": "1", "HTTP_SCRIPT_NAME": "/a"}),
        (["--header-map", "dangerous"], "10.0.0.1", {"HTTP_X_UNDER": "1", "HTTP_SCRIPT_NAME": "/a", "SCRIPT_NAME": ""}),
        (["--header-map", "refuse"], "10.0.0.1", 400),
    ],
)
def test_names_with_an_underscore_reach_the_application_as_the_settings_say(
    project, serve, arguments, peers, expected
):
    (project / "hello.py").write_text(
        "import json\ndef application(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [json.dumps({k: v for k, v in environ.items() if 'SCRIPT' in k or 'UNDER' in k}).encode()]\n"
    )
    server = serve("hello", "--forwarded-allow-ips", peers, *arguments)
    response = server.request(target="/a/b", headers=[("SCRIPT_NAME", "/a"), ("X_Under", "1")])
    if expected == 400:
        assert response.status == 400
        return
    import json

    found = json.loads(response.body)
    assert {name: found.get(name) for name in expected} == expected
    assert ("HTTP_X_UNDER" in found) == ("HTTP_X_UNDER" in expected)


PROGRAM = """
import sys

if sys.argv[1] == "gunicorn":
    from gunicorn.app.base import BaseApplication
else:
    from ferricorn.app.base import BaseApplication

def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"from a program"]

# As Gunicorn's documentation has it.
class StandaloneApplication(BaseApplication):
    def __init__(self, app, options=None):
        self.options = options or {}
        self.application = app
        super().__init__()

    def load_config(self):
        config = {key: value for key, value in self.options.items()
                  if key in self.cfg.settings and value is not None}
        for key, value in config.items():
            self.cfg.set(key.lower(), value)
        assert self.cfg.workers == int(open("workers").read()) and self.cfg.backlog == 2048

    def load(self):
        return self.application

def post_fork(server, worker):
    worker.log.info("forked %s of %s", worker.age, worker.cfg.workers)

# Gunicorn's workers do not hear TERM before.
def post_worker_init(worker):
    worker.log.info("ready %s", worker.age)

StandaloneApplication(hello, {"bind": sys.argv[2], "workers": int(open("workers").read()),
    "post_fork": post_fork, "post_worker_init": post_worker_init, "not_a_setting": 1, "control_socket_disable": True}).run()
"""


@pytest.mark.parametrize("server_name", ["gunicorn", "ferricorn"])
def test_a_custom_application_of_gunicorn_s_runs(project, serve, server_name):
    (project / "program.py").write_text(PROGRAM)
    (project / "workers").write_text("2")
    from conftest import free_port

    port = free_port()
    command = [sys.executable, "program.py", server_name, f"127.0.0.1:{port}"]
    server = serve(None, command=command, bind=False, ready=False)
    server.address = ("127.0.0.1", port)
    server.ready()
    assert server.request().body == b"from a program"
    server.wait_for_log("forked 2 of 2")
    server.wait_for_log(r"ready \d", 2)
    server.signal(signal.SIGHUP)
    server.wait_for_log("forked 4 of 2")
    wait_until("the reload is over", lambda: len(server.workers()) == 2)
    assert server.request().body == b"from a program"
    assert server.stop() == 0, server.log


def test_an_application_is_served_by_a_call(project, serve):
    from conftest import free_port

    port = free_port()
    (project / "program.py").write_text(
        "import ferricorn\n"
        "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'called']\n"
        f"code = ferricorn.serve(app, bind='127.0.0.1:{port}', workers=2)\n"
        "print('returned', code)\n"
    )
    server = serve(None, command=[sys.executable, "program.py"], bind=False, ready=False)
    server.address = ("127.0.0.1", port)
    assert server.ready().request().body == b"called"
    wait_until("both workers", lambda: len(server.workers()) == 2)
    assert server.stop() == 0
    assert server.out == "returned 0\n"


@pytest.mark.parametrize("server_name", ["gunicorn", "ferricorn"])
def test_what_settings_say_of_the_worker_and_its_name(project, serve, server_name):
    (project / "gunicorn.conf.py").write_text(
        "def on_starting(server):\n"
        "    with open('said', 'w') as said:\n"
        "        print(server.cfg.worker_class_str, server.cfg.proc_name, server.proc_name, file=said)\n"
    )
    command = [str(Path(sys.executable).parent / server_name)]
    server = serve("hello", "--threads", "2", command=command)
    assert (project / "said").read_text() == "gthread hello hello\n"
    assert server.stop() == 0


def test_a_program_is_told_what_is_wrong_with_its_settings(project):
    cases = {
        "ferricorn.serve(print, workers='x')": 'workers = "x" (the program): expected a whole number',
        "ferricorn.serve(print, wrokers=1)": "No configuration setting for: wrokers",
        "ferricorn.serve(print, post_fork=lambda: 0)": "expected a function of 2 arguments: server, worker",
        "ferricorn.serve(print, reuse_port=True)": "reuse_port = true is not supported",
    }
    for call, said in cases.items():
        code = f"import ferricorn, sys; sys.exit({call})"
        done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, timeout=300)
        assert done.returncode == 1 and said in done.stderr, done
