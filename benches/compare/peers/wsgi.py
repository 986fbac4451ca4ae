"""The WSGI applications that are compared. Each sends the same fields under every server: with FIELDS in the environment
it adds those that the server leaves out, which costs nothing, as their values are fixed."""

import os
import time
from email.utils import formatdate

BODY = b"Hello, World!"
LARGE = b"x" * (1 << 20)
PIECE = b"x" * 1024
PIECES = 100

_OWN = {"Server": "benchmark", "Date": formatdate(time.time(), usegmt=True)}
OWN = [(name, _OWN[name]) for name in os.environ.get("FIELDS", "").split()]

TEXT = ("Content-Type", "text/plain; charset=utf-8")
HELLO = [*OWN, TEXT, ("Content-Length", str(len(BODY)))]
LARGE_FIELDS = [*OWN, ("Content-Type", "application/octet-stream"), ("Content-Length", str(len(LARGE)))]
STREAM = [*OWN, ("Content-Type", "application/octet-stream")]


def hello(environ, start_response):
    start_response("200 OK", HELLO)
    return [BODY]


def echo(environ, start_response):
    """Answers with the body of the request."""
    if environ["REQUEST_METHOD"] != "POST":
        return hello(environ, start_response)
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", [*OWN, ("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def large(environ, start_response):
    start_response("200 OK", LARGE_FIELDS)
    return [LARGE]


def stream(environ, start_response):
    """A hundred pieces of 1 KiB, the length of which the server is not told."""
    start_response("200 OK", STREAM)
    return pieces()


def pieces():
    for _ in range(PIECES):
        yield PIECE


def blocking(environ, start_response):
    """`/sleep/300` answers after so many milliseconds, everything else at once."""
    _, _, milliseconds = environ["PATH_INFO"].partition("/sleep/")
    if milliseconds:
        time.sleep(int(milliseconds) / 1000)
    return hello(environ, start_response)
