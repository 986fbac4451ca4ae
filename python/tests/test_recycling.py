"""Workers of a Python application that are replaced: for their requests, age or memory, and because they do not boot."""

from __future__ import annotations

import signal

import pytest
from conftest import BrokenOff, wait_until

APPLICATION = """
import os, time
time.sleep(float(open("boot").read()))
kept = []
def application(environ, start_response):
    if environ["PATH_INFO"] == "/leak":
        kept.append(b"x" * 50_000_000)
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""


@pytest.fixture
def leaky(tmp_path, serve):
    (tmp_path / "leaky.py").write_text(APPLICATION)
    (tmp_path / "boot").write_text("0")
    return lambda *options: serve("leaky", *options)


@pytest.mark.parametrize("extra", [[], ["--preload"], ["--threads", "2"]], ids=" ".join)
@pytest.mark.parametrize(
    "options, target, said",
    [
        (["--max-requests", "3", "--max-requests-jitter", "3"], "/", "Autorestarting worker after current request."),
        (["--worker-lifetime", "1"], "/", "has reached worker_lifetime"),
        (["--worker-memory", "150m"], "/leak", "it occupies"),
        (["--worker-memory-hard", "150m"], "/leak", "more than worker_memory_hard"),
    ],
    ids=["requests", "age", "memory", "memory, at once"],
)
def test_a_worker_that_is_spent_is_replaced_and_clients_are_served(leaky, options, target, said, extra):
    server = leaky(*options, *extra)
    first = server.request().body

    def replaced():
        try:
            response = server.request(target="/" if said in server.log else target)
        except (BrokenOff, OSError):
            assert options[0] == "--worker-memory-hard", "it finishes what it is at"
            return False
        assert response.status == 200
        return response.body != first

    wait_until(lambda: f"another worker: {server.log}", replaced)
    assert said in server.log


@pytest.mark.parametrize("extra", [[], ["--preload"]], ids=" ".join)
def test_booting_has_a_limit_of_its_own_and_the_old_code_serves_on(leaky, tmp_path, extra):
    server = leaky("--timeout", "1", "--boot-timeout", "3", *extra)
    first = server.request().body
    (tmp_path / "boot").write_text("1.5")
    server.signal(signal.SIGHUP)
    # The old worker may still answer once after that, while it is told to drain.
    second = wait_until("the new worker", lambda: {server.request().body} - {first}).pop()
    assert "TIMEOUT" not in server.log, "longer than a call may take"
    (tmp_path / "boot").write_text("600")
    server.signal(signal.SIGHUP)
    server.wait_for_log(r"TIMEOUT \(pid:\d+\): it did not (become ready|load the application in time)")
    assert server.request().body == second
