"""How the application is found, and what is said when it is not."""

import signal
import sys
from pathlib import Path

import pytest
from conftest import wait_until

MODULE = """
import os, sys
def application(environ, start_response):
    start_response("200 OK", [])
    return [repr(application.text).encode()]
application.text = "plain"
def create(*arguments, **named):
    def made(environ, start_response):
        start_response("200 OK", [])
        return [repr((arguments, named)).encode()]
    return made
class holder:
    class inner:
        @staticmethod
        def app(environ, start_response):
            start_response("200 OK", [])
            return [b"nested"]
        create = staticmethod(create)
def surroundings(environ, start_response):
    start_response("200 OK", [])
    return [repr((os.getcwd(), os.environ.get("MINE"), __name__)).encode()]
number = 5
nothing = lambda: None
def needs(one): return application
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "mine.py").write_text(MODULE)
    return tmp_path


@pytest.mark.parametrize(
    "name, body",
    [
        ("mine", b"'plain'"),
        ("mine:application", b"'plain'"),
        ("mine:holder.inner.app", b"nested"),
        ("mine:create()", b"((), {})"),
        ("mine:create(1, 'x', [2], y={'z': None})", b"((1, 'x', [2]), {'y': {'z': None}})"),
        ('mine:holder.inner.create("a:b")', b"(('a:b',), {})"),
    ],
)
def test_the_application_is_found(project, serve, name, body):
    assert serve(name).request().body == body


@pytest.mark.parametrize(
    "name, code, said",
    [
        ("mine:missing", 4, r"App failed to load: Failed to find attribute 'missing' in 'mine'"),
        ("mine:holder.missing.app", 4, r"Failed to find attribute 'missing' in 'mine.holder'"),
        ("mine:number", 4, r"Application object must be callable: 'mine:number' is of type int"),
        ("mine:nothing()", 4, r"returned None"),
        ("mine:needs()", 4, r"Failed to call the factory: needs\(\) missing 1 required positional argument"),
        ("mine:create(x)", 4, r"Failed to parse arguments as literal values"),
        ("mine:create(", 4, r"Failed to parse 'create\(' as an attribute name or function call"),
        ("nowhere", 3, r"ModuleNotFoundError: No module named 'nowhere'$"),
        ("broken", 3, r"SyntaxError: .*\(\S*/broken\.py:2\)"),
        ("raising", 3, r"ZeroDivisionError: division by zero \(\S*/raising\.py:3\)"),
        ("leaving", 3, r"SystemExit: 5"),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_what_is_wrong_is_said_with_file_and_line(project, serve, name, code, said, check):
    (project / "broken.py").write_text("x = 1\ny = = 2\n")
    (project / "raising.py").write_text("def f():\n    g()\ndef g(): 1 / 0\nf()\n")
    (project / "leaving.py").write_text("import sys\nsys.exit(5)\n")
    server = serve(name, *(["--check-config"] if check else []), ready=False)
    assert server.wait() == (1 if check else code)
    import re

    assert re.search(said, server.log, re.MULTILINE), server.log


def test_a_good_application_passes_the_check(project, serve):
    server = serve("mine", "--check-config", ready=False)
    assert server.wait() == 0 and server.log == ""


def test_the_application_may_be_named_in_the_file(project, serve):
    (project / "ferricorn.toml").write_text('wsgi_app = "mine:holder.inner.app"\n')
    assert serve(None).request().body == b"nested"


def test_directory_path_and_variables_are_set_before_loading(project, serve):
    (project / "deep").mkdir()
    (project / "deep" / "other.py").write_text(MODULE)
    server = serve("other:surroundings", "--chdir", "deep", "--env", "MINE=yes=no")
    assert server.request().body == repr((str(project / "deep"), "yes=no", "other")).encode()
    (project / "elsewhere").mkdir()
    (project / "elsewhere" / "third.py").write_text(MODULE)
    server = serve("third:surroundings", "--pythonpath", f"{project}/nowhere,{project}/elsewhere")
    assert b"third" in server.request().body


def test_python_m_ferricorn_is_the_same_command(project, serve):
    assert serve("mine", command=[sys.executable, "-m", "ferricorn"]).request().body == b"'plain'"


def test_the_arbiter_never_imports_the_application(project, serve):
    (project / "pids.py").write_text("import os\nfrom mine import application\nprint(os.getpid(), file=open('pids', 'a'))\n")
    server = serve("pids", "--workers", "2")
    wait_until("two workers", lambda: len((project / "pids").read_text().split()) == 2)
    pids = {int(pid) for pid in (project / "pids").read_text().split()}
    assert server.process.pid not in pids and pids == set(server.workers())


def test_a_reload_takes_new_code_and_broken_code_leaves_the_old_one_serving(project, serve):
    server = serve("mine")
    (project / "mine.py").write_text(MODULE.replace('"plain"', '"new"'))
    server.signal(signal.SIGHUP)
    wait_until("new code", lambda: server.request().body == b"'new'")
    (project / "mine.py").write_text("this is no Python\n")
    for _ in range(2):
        before = server.log.count("mine.py")
        server.signal(signal.SIGHUP)
        wait_until("the failure in the log", lambda: server.log.count("mine.py") > before)
        assert server.request().body == b"'new'"
    assert "SyntaxError" in server.log
    (project / "mine.py").write_text(MODULE.replace('"plain"', '"newer"'))
    server.signal(signal.SIGHUP)
    wait_until("newer code", lambda: server.request().body == b"'newer'")


def test_an_upgrade_executes_the_interpreter_with_the_same_arguments(project, serve):
    for command in (None, [sys.executable, "-m", "ferricorn"]):
        pidfile = project / f"pid{command is None}"
        server = serve("mine", "--pid", str(pidfile), "--chdir", str(project), command=command)
        server.signal(signal.SIGUSR2)
        second = Path(f"{pidfile}.2")
        wait_until("the second pidfile", second.exists)
        wait_until("its pid", second.read_text)
        new = int(second.read_text())
        server.wait_for_log("Booting worker", 2)
        try:
            server.signal(signal.SIGTERM)
            assert server.wait() == 0
            assert server.request().body == b"'plain'"
        finally:
            import os

            os.kill(new, signal.SIGTERM)
        wait_until("the end", lambda: not Path(f"/proc/{new}/exe").exists())


SHARING = """
import sys
shared = [name for name in ("json", "decimal", "secrets", "ssl", "asyncio") if name in sys.modules]
import secrets
def application(environ, start_response):
    start_response("200 OK", [])
    return [repr((shared, getattr(secrets, "MINE", None), sys.path[0] == sys.path[1])).encode()]
"""


def test_workers_share_what_most_applications_import_of_the_standard_library(tmp_path, serve):
    (tmp_path / "sharing.py").write_text(SHARING)
    assert serve("sharing").request().body == repr((["json", "decimal", "secrets"], None, False)).encode()


@pytest.mark.parametrize("where", [".", "elsewhere"])
def test_a_module_of_the_application_is_not_taken_for_that_of_the_standard_library(tmp_path, serve, where):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sharing.py").write_text(SHARING)
    (tmp_path / where / "secrets.py").write_text("MINE = 'mine'")
    server = serve("sharing", "--pythonpath", str(tmp_path / "elsewhere"))
    assert server.request().body == repr((["json", "decimal"], "mine", False)).encode()


def test_the_arbiter_imports_nothing_from_the_path_of_the_application(tmp_path, serve):
    (tmp_path / "path").mkdir()
    (tmp_path / "sharing.py").write_text(SHARING)
    (tmp_path / "path" / "secrets.py").write_text("import os; MINE = os.getpid()")
    server = serve("sharing", env={"PYTHONPATH": str(tmp_path / "path")})
    shared, imported_by, _ = eval(server.request().body)
    assert shared == ["json", "decimal"]
    assert imported_by != server.process.pid
