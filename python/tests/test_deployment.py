"""A Django site as it is deployed: nginx in front, supervisord around, new releases by HUP, good ones and bad ones."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import sites
from conftest import Client, wait_until
from front import Load, Nginx, Supervisord
from sites.project import Browser, copy_of_project, make_database, manage

FERRICORN = Path(sys.executable).parent / "ferricorn"


@pytest.fixture
def project(tmp_path):
    return copy_of_project(tmp_path / "project")


def environment(project):
    return sites.environment(project) | {"PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"}


def release(project, old, new, module="books/views.py"):
    """Deploys a change of the code."""
    path = project / module
    text = path.read_text()
    assert old in text
    # Renamed into place, as deployments do.
    other = path.with_suffix(".new")
    other.write_text(text.replace(old, new))
    other.rename(path)


def is_hello(response):
    return (response.status, response.body) == (200, b"hello from django")


def is_release(*names):
    return lambda response: response.status == 200 and response.body.decode() in names


@pytest.fixture
def supervised(project, tmp_path):
    """nginx and supervisord with the files of examples/."""
    make_database(project)
    manage(project, "collectstatic", "--noinput", "--verbosity", "0", project=project)
    socket_path, access_log = tmp_path / "app.sock", tmp_path / "access.log"
    changes = {
        "/srv/django/.venv/bin/ferricorn": FERRICORN,
        "unix:/run/ferricorn/app.sock --workers 4": f"unix:{socket_path} --workers 2",
        "/var/log/ferricorn/access.log mysite.wsgi": f"{access_log} shop.wsgi",
        "directory=/srv/django": f"directory={project}",
    }
    with Supervisord(tmp_path, "django", changes, environment(project)) as supervisord:
        with Nginx(tmp_path, socket_path, project / "static") as nginx:
            wait_until("nginx", lambda: (tmp_path / "nginx.pid").exists())
            wait_until("the site", lambda: answers(nginx))
            yield supervisord, nginx, access_log


def answers(nginx):
    try:
        with nginx.client() as client:
            return is_hello(client.request())
    except OSError:
        return False


def test_django_behind_nginx_under_supervisord(supervised, project):
    supervisord, nginx, access_log = supervised
    # Pages come from the application, which learns how the client came; files come from nginx itself.
    with nginx.client() as client:
        where = json.loads(client.request(target="/where?x", headers=[("X-Forwarded-For", "192.0.2.7")]).body)
        assert where == {"url": "http://example.org/where?x", "scheme": "http", "from": "", "forwarded": "192.0.2.7, 127.0.0.1"}
        style = client.request(target="/static/admin/css/base.css")
        assert style.body == (project / "static/admin/css/base.css").read_bytes() and b"max-age" in style.value("Cache-Control")
    assert "/static/" not in access_log.read_text()
    # nginx's own scheme goes to the application; one that a client made up does not.
    forged = Browser(nginx.client, [("X-Forwarded-Proto", "https")])
    assert json.loads(forged.get("/where").body)["scheme"] == "http"
    browser = Browser(nginx.client)
    browser.sign_in()
    browser.submit("/admin/books/book/add/", title="Supervised", pages="1")

    # A new release, twice, and the log rotated, while clients go on asking.
    with Load(nginx.client, {"/": is_hello, "/release": is_release("first", "second", "third")}) as load:
        for old, new in ("first", "second"), ("second", "third"):
            workers = supervisord.workers()
            release(project, f'RELEASE = "{old}"', f'RELEASE = "{new}"')
            supervisord.control("signal", "HUP", "django")
            wait_until("other workers", lambda: not workers & supervisord.workers() and len(supervisord.workers()) == 2)
            assert browser.get("/release").body == new.encode()
            load.more()
        rotated = access_log.with_suffix(".1")
        access_log.rename(rotated)
        supervisord.control("signal", "USR1", "django")
        wait_until("a new log", lambda: access_log.exists() and access_log.stat().st_size > 0)
        opened = lambda pid: {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
        wait_until("all to leave the old one", lambda: not any(str(rotated) in opened(pid) for pid in supervisord.workers()))
        size = rotated.stat().st_size
        load.more()
        assert rotated.stat().st_size == size
    assert load.lost == [] and load.done > 200
    # Each request has left one line, in one log or the other.
    lines = (rotated.read_text() + access_log.read_text()).splitlines()
    asked = [line for line in lines if '"GET /release ' in line or '"GET / ' in line]
    assert len(asked) >= load.done
    assert json.loads(browser.get("/books").body) == {"Supervised": 1}
    assert "Traceback" not in supervisord.log()
    # It stops in order.
    assert "stopped" in supervisord.control("stop", "django")
    assert "Shutting down: Master" in supervisord.log()


MODELS, VIEWS = "books/models.py", "books/views.py"
BROKEN = [
    ("a syntax error", MODELS, "import models\n", "import models models\n", "SyntaxError"),
    ("a missing import", MODELS, "import models models\n", "import models\nimport not_installed\n", "No module named 'not_installed'"),
    ("an error while it is imported", MODELS, "import not_installed\n", "print(RELEASE)\n", "name 'RELEASE' is not defined"),
    # In the same deploy the one that was there is repaired.
    ("a repair", MODELS, "print(RELEASE)\n", "", None),
    ("a view that is broken", VIEWS, "import json\n", "import jason\n", "No module named 'jason'"),
]


@pytest.mark.parametrize("options", [[], ["--preload"], ["--preload", "--warmup", "/"]], ids=["", "preload", "warmup"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_deploy_that_is_broken_takes_nothing_down(project, tmp_path, serve, count, options):
    (tmp_path / "gunicorn.conf.py").write_text("def post_worker_init(worker): open(f'loaded-{worker.pid}', 'w').close()\n")
    server = serve(sites.module("django"), "--workers", str(count), *options, env=environment(project))
    # All have loaded what was good before something else is there to be loaded.
    wait_until("the workers", lambda: len(list(tmp_path.glob("loaded-*"))) == count)
    workers = set(server.workers())
    assert len(workers) == count
    with Load(server.client, {"/": is_hello, "/release": is_release("first", "second")}) as load:
        for what, module, old, new, said in BROKEN:
            release(project, old, new, module)
            if not said:
                continue
            before = len(server.log)
            server.signal(signal.SIGHUP)
            # Each worker of the new generation says it, and one of them may do so when it is all over.
            wait_until(f"{what} in the log", lambda: all(text in server.log[before:] for text in (said, "Reload failed")))
            load.more()
            assert workers <= set(server.workers()), what
            wait_until(f"{what}: those that cannot load it to go", lambda: set(server.workers()) == workers)
        release(project, "import jason\n", "import json\n")
        release(project, 'RELEASE = "first"', 'RELEASE = "second"')
        server.signal(signal.SIGHUP)
        wait_until("the repaired release", lambda: not workers & set(server.workers()))
        wait_until("all of its workers", lambda: len(server.workers()) == count)
        load.more()
        assert server.request(target="/release").body == b"second"
    assert load.lost == [] and load.done > 200
    assert server.stop() == 0


@pytest.mark.parametrize("options", [[], ["--preload"], ["--preload", "--warmup", "/"]], ids=["", "preload", "warmup"])
@pytest.mark.parametrize("times", [3, pytest.param(100, marks=pytest.mark.soak)])
def test_reloads_under_load_lose_nothing(project, serve, times, options):
    server = serve(sites.module("django"), "--workers", "2", *options, env=environment(project))
    with Load(server.client, {"/": is_hello, "/stream?x=y": lambda r: r.body == b"0 y\n1 y\n2 y\n"}) as load:
        for _ in range(times):
            workers = set(server.workers())
            server.signal(signal.SIGHUP)
            wait_until("other workers", lambda: not workers & set(server.workers()) and len(server.workers()) == 2)
    assert load.lost == []
    print(f"{times} reloads {' '.join(options)}: {load.done} requests, none lost")
