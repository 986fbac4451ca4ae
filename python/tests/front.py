"""The real programs round a server, with the files of examples/; and load on it that notices whatever is lost."""

import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from conftest import Client, free_port, wait_until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def program(name):
    """A program of the system, or one beside the interpreter."""
    places = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin", "/sbin", str(Path(sys.executable).parent)])
    found = shutil.which(name, path=places)
    assert found, f"{name} is missing: `make tools` installs what the tests need"
    return found


def example(name, changes):
    """A file of examples/, adapted: each text on the left must be there, and becomes the one on the right."""
    text = (EXAMPLES / name).read_text()
    for old, new in changes.items():
        assert old in text, f"examples/{name} does not have {old!r} any more"
        text = text.replace(old, str(new))
    return text


class Program:
    """One that runs until `stop`."""

    def __init__(self, argv, directory, env=None):
        self.log_path = directory / f"{Path(argv[0]).name}.output"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(argv, cwd=directory, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Nginx(Program):
    """examples/nginx.conf in front of a unix socket, with static files from a directory."""

    def __init__(self, directory, socket_path, static):
        self.address = ("127.0.0.1", free_port())
        user = "user root;\n" if os.geteuid() == 0 else ""
        temporary = "".join(f"{part}_temp_path {directory / part};\n" for part in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        changes = {
            "worker_processes auto;": f"worker_processes 1;\n{user}daemon off;",
            "/run/nginx.pid": directory / "nginx.pid",
            "/var/log/nginx/error.log": directory / "nginx-error.log",
            "access_log /var/log/nginx/access.log;": f"access_log off;\n{temporary}",
            "listen 80;": f"listen 127.0.0.1:{self.address[1]};",
            "server unix:/run/ferricorn/app.sock ": f"server unix:{socket_path} ",
            "/srv/django/static/": f"{static}/",
        }
        path = directory / "nginx.conf"
        path.write_text(example("nginx.conf", changes))
        super().__init__([program("nginx"), "-c", str(path), "-e", "stderr"], directory)

    def client(self):
        return Client(self.address, socket.AF_INET)


class Supervisord(Program):
    """examples/supervisord.conf with one of its programs."""

    def __init__(self, directory, name, changes, env):
        self.directory, self.name = directory, name
        text = example(
            "supervisord.conf",
            {
                "/var/log/supervisor/supervisord.log": directory / "supervisord.log",
                "/run/supervisord.pid": directory / "supervisord.pid",
                "/run/supervisor.sock": directory / "supervisor.sock",
                "/var/log/supervisor/": f"{directory}/",
                **changes,
            },
        )
        first, *sections = text.split("\n[")
        kept = [section for section in sections if "program:" not in section.split("]")[0] or section.startswith(f"program:{name}]")]
        self.path = directory / "supervisord.conf"
        self.path.write_text("\n[".join([first, *kept]))
        super().__init__([program("supervisord"), "-n", "-c", str(self.path)], directory, os.environ | env)

    def control(self, *arguments):
        argv = [program("supervisorctl"), "-c", str(self.path), *arguments]
        return subprocess.run(argv, capture_output=True, text=True).stdout

    @functools.cached_property
    def arbiter(self):
        return int(self.control("pid", self.name))

    def workers(self):
        pid = self.arbiter
        return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}

    def log(self):
        return (self.directory / f"{self.name}.log").read_text()


class Load:
    """Clients that ask without a pause, half of them over one connection, half over a new one each time. `checks` has a
    test of the response for each target."""

    def __init__(self, connect, checks, clients=6):
        self.connect, self.checks = connect, checks
        self.done, self.lost, self.going = 0, [], True
        self.threads = [threading.Thread(target=self._run, args=(number % 2 == 0,)) for number in range(clients)]
        self.lock = threading.Lock()

    def _run(self, keeps):
        client = None
        count = 0
        while self.going:
            for target, check in self.checks.items():
                client = client or self.connect()
                wrong = None
                try:
                    response = client.request(target=target)
                    wrong = None if check(response) else repr(response)
                    closed = response.value("Connection") == b"close"
                except (OSError, AssertionError) as error:
                    wrong, closed = repr(error), True
                with self.lock:
                    self.done += 1
                    if wrong:
                        self.lost.append((target, count, wrong))
                count += 1
                if closed or not keeps or wrong:
                    client.close()
                    client, count = None, 0

    def more(self, requests=50):
        """Waits until some more have been answered."""
        enough = self.done + requests
        wait_until("the load to go on", lambda: self.done >= enough or self.lost)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.going = False
        for thread in self.threads:
            thread.join()
