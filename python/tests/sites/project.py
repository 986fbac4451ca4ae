"""Makes the Django project's database and static files, as a deployment does, and signs in to its admin."""

import os
import re
import shutil
import subprocess
import sys
from urllib.parse import urlencode

from . import DJANGO_PROJECT, environment

PASSWORD = "a long password"


def manage(data, *arguments, project=DJANGO_PROJECT):
    env = os.environ | environment(data) | {"DJANGO_SUPERUSER_PASSWORD": PASSWORD, "PYTHONDONTWRITEBYTECODE": "1"}
    env["PYTHONPATH"] = str(project)
    done = subprocess.run([sys.executable, project / "manage.py", *arguments], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def make_database(data):
    manage(data, "migrate", "--run-syncdb", "--verbosity", "0")
    manage(data, "createsuperuser", "--noinput", "--username", "admin", "--email", "admin@example.org")


def copy_of_project(directory):
    """A copy whose code may be changed."""
    shutil.copytree(DJANGO_PROJECT, directory, ignore=shutil.ignore_patterns("__pycache__"))
    return directory


class Browser:
    """Asks as a browser does: keeps cookies, and sends back the token of the form it was given."""

    def __init__(self, connect, headers=()):
        self.connect, self.headers, self.cookies = connect, list(headers), {}

    def ask(self, method, target, form=None):
        headers = list(self.headers)
        if self.cookies:
            headers.append(("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items())))
        body = b""
        if form is not None:
            headers.append(("Content-Type", "application/x-www-form-urlencoded"))
            body = urlencode(form).encode()
        # A connection each, so that any worker may answer.
        with self.connect() as client:
            response = client.request(method, target, headers, body)
        for cookie in response.values("Set-Cookie"):
            name, _, value = cookie.decode().split(";")[0].partition("=")
            self.cookies[name] = value
        return response

    def get(self, target):
        return self.ask("GET", target)

    def submit(self, target, **fields):
        page = self.get(target)
        assert page.status == 200, page
        token = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', page.body)[1].decode()
        return self.ask("POST", target, {"csrfmiddlewaretoken": token, **fields})

    def sign_in(self):
        response = self.submit("/admin/login/", username="admin", password=PASSWORD, next="/admin/")
        assert (response.status, response.value("Location")) == (302, b"/admin/"), response
