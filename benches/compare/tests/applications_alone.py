"""Calls an application that is compared, in a process of its own: Django's settings are there once in a process."""

import os
import subprocess
import sys

from conftest import COMPARE

CALL = """
import importlib, io, sys
module, name = sys.argv[1].split(":")
body = sys.stdin.buffer.read()
environ = {"REQUEST_METHOD": "POST" if body else "GET", "PATH_INFO": "/", "SCRIPT_NAME": "", "QUERY_STRING": "",
    "SERVER_NAME": "x", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "x", "CONTENT_LENGTH": str(len(body)),
    "wsgi.input": io.BytesIO(body), "wsgi.errors": sys.stderr, "wsgi.url_scheme": "http", "wsgi.version": (1, 0)}
for piece in getattr(importlib.import_module(module), name)(environ, lambda status, headers, exc_info=None: None):
    sys.stdout.buffer.write(piece)
"""


def answer(application, environment, body):
    env = os.environ | {"PYTHONPATH": str(COMPARE / "peers"), "PYTHONDONTWRITEBYTECODE": "1"} | environment
    done = subprocess.run([sys.executable, "-c", CALL, application], env=env, input=body, capture_output=True, check=True)
    return done.stdout
