"""`--reload`: what is saved is what serves."""

import os
import re

import pytest
from conftest import wait_until

MODULE = """
import other
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"%s " + other.word]
"""

ENGINES = ["poll", "inotify", "auto"]


@pytest.fixture
def project(tmp_path):
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "mine.py").write_text(MODULE % "one")
    (directory / "other.py").write_text('word = b"two"\n')
    return directory


@pytest.fixture
def reloading(project, serve):
    def start(*arguments, **named):
        return serve("mine", "--chdir", str(project), "--reload", *arguments, **named)

    return start


def wait_for(server, body):
    wait_until(lambda: f"{body!r}; {server.log}", lambda: server.request().body == body)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_saved_serves(project, reloading, engine):
    server = reloading("--reload-engine", engine)
    assert server.request().body == b"one two"
    (project / "other.py").write_text('word = b"three"\n')
    wait_for(server, b"one three")
    # As editors save: a new file under the old name.
    (project / "new").write_text(MODULE % "four")
    os.rename(project / "new", project / "mine.py")
    wait_for(server, b"four three")
    server.wait_for_log(rf"Worker reloading: {re.escape(str(project))}/(mine|other)\.py modified")
    assert "Reloader is on. Use in development only!" in server.log


@pytest.mark.parametrize("engine", ENGINES)
def test_broken_code_leaves_the_last_good_one_serving_until_the_next_save(project, reloading, engine):
    server = reloading("--reload-engine", engine)
    for text, error in [("def broken(:\n", "SyntaxError"), ("raise KeyError('broken')\n", "KeyError: 'broken'")]:
        (project / "other.py").write_text(text)
        server.wait_for_log(error)
        assert server.request().body == b"one two"
        # In a file that the code that serves has never heard of, in a directory that nobody has looked into.
        (project / "deep").mkdir(exist_ok=True)
        (project / "deep" / "further.py").write_text("def broken(:\n")
        before = server.log.count("deep/further.py")
        (project / "other.py").write_text('from deep.further import word\n')
        wait_until("the other error", lambda: server.log.count("deep/further.py") > before)
        assert server.request().body == b"one two"
        (project / "deep" / "further.py").write_text('word = b"well"\n')
        wait_for(server, b"one well")
        (project / "other.py").write_text('word = b"two"\n')
        wait_for(server, b"one two")


def test_a_first_start_that_fails_answers_with_the_traceback_until_the_next_save(project, reloading):
    (project / "other.py").write_text("1 / 0\n")
    server = reloading("--workers", "2")
    response = server.request()
    assert response.status == 500 and b"ZeroDivisionError" in response.body and b"other.py" in response.body
    (project / "other.py").write_text("def broken(:\n")
    wait_until("another traceback", lambda: b"SyntaxError" in server.request().body)
    (project / "other.py").write_text('word = b"well"\n')
    wait_for(server, b"one well")


def test_without_reload_nothing_is_watched_and_a_check_fails_all_the_same(project, serve):
    (project / "other.py").write_text("1 / 0\n")
    server = serve("mine", "--chdir", str(project), "--reload", "--check-config", ready=False)
    assert server.wait() == 1


@pytest.mark.parametrize("engine", ["poll", "inotify"])
@pytest.mark.parametrize(
    "name, pattern",
    [
        ("templates/deep/page.html", None),
        ("data/words.json", "data/*.json"),
        ("data/words.json", "data/words.json"),
        ("data/deep/words.json", "data"),
        ("data/deep/words.json", "data/**/*.json"),
    ],
)
def test_templates_and_further_files_are_watched(project, reloading, engine, name, pattern):
    (project / name).parent.mkdir(parents=True)
    for change in ("written", "rewritten"):
        if change == "rewritten":
            (project / name).write_text("before")
        arguments = ["--reload-engine", engine, "--log-level", "debug"]
        server = reloading(*arguments, *(["--reload-extra-file", pattern] if pattern else []))
        server.wait_for_log(rf"Watching \d+ files \({'poll' if engine == 'poll' else 'inotify'}\)")
        (project / name).write_text(f"another text, {change}")
        server.wait_for_log("Worker reloading: .* modified")
        server.stop()


def test_one_save_is_one_reload(project, reloading):
    server = reloading("--workers", "3")
    wait_until("the workers", lambda: len(server.workers()) == 3)
    for number in range(3):
        for name in ("mine", "other"):
            (project / f"{name}.py").write_text((project / f"{name}.py").read_text() + f"# {number}\n")
        server.wait_for_log("Hang up: Master", number + 1)
        wait_until("the new workers", lambda: server.log.count("Booting worker") == 3 * (number + 2))
        wait_until("the end of the old ones", lambda: len(server.workers()) == 3)
    assert server.log.count("Hang up: Master") == 3


def test_an_application_that_writes_its_own_source_is_not_loaded_for_ever(project, reloading):
    (project / "mine.py").write_text(
        """
import pathlib, time
pathlib.Path(__file__).with_name("other.py").write_text(f'word = b"well" # {time.time_ns()}')
"""
        + MODULE % "one"
    )
    server = reloading()
    wait_for(server, b"one well")
    server.wait_for_log("not reloading again")
    assert server.log.count("Booting worker") <= 8
    (project / "mine.py").write_text(MODULE % "two")
    wait_for(server, b"two well")
