"""What an application is given: the environ, the body of the request, the error log, early hints, a context."""

import contextvars
import io
import json
import logging
import os

from .registry import path

kept = []
environs = []
all_hints = []
context = contextvars.ContextVar("context", default="unset")


@path
def environ(environ, start_response):
    text = {key: value for key, value in environ.items() if isinstance(value, (str, int, float, bool, tuple))}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(text).encode()]


@path
def echo(environ, start_response):
    body = environ["wsgi.input"].read(-1)
    start_response("200 OK", [("X-Content-Length", environ.get("CONTENT_LENGTH", "none"))])
    return [body]


@path
def reads(environ, start_response):
    """Reads the body as the query string says, and tells what came of it."""
    stream = environ["wsgi.input"]
    results = []
    for step in environ["QUERY_STRING"].split(","):
        name, *arguments = step.split(":")
        if name == "iter":
            results.append([line.decode("latin-1") for line in stream])
            continue
        result = getattr(stream, name)(*map(int, arguments))
        decode = lambda data: data.decode("latin-1")
        results.append([decode(line) for line in result] if isinstance(result, list) else decode(result))
    start_response("200 OK", [])
    return [json.dumps(results).encode()]


@path
def closes_input(environ, start_response):
    io.BufferedReader(environ["wsgi.input"]).close()
    start_response("200 OK", [])
    return [b"closed"]


@path
def errors(environ, start_response):
    stream = environ["wsgi.errors"]
    print("a line of the application's", file=stream)
    stream.write("half a ")
    stream.writelines(["line\n", "and more\n"])
    stream.write("without an end")
    stream.flush()
    start_response("200 OK", [])
    return [b""]


@path
def errors_without_end(environ, start_response):
    environ["wsgi.errors"].write(f"one line and\nanother that has no end {environ['QUERY_STRING']}".rstrip())
    start_response("200 OK", [])
    return [b""]


@path
def errors_of_all_kinds(environ, start_response):
    print("a name: caf\udce9", file=environ["wsgi.errors"])
    logging.getLogger("gunicorn.error").warning("a logged name: caf\udce9")
    raise KeyError(environ["QUERY_STRING"]) from ValueError("a name that is raised: caf\udce9")


@path
def keeps_start_response(environ, start_response):
    """Calls what earlier requests have left."""
    results = []
    for old_start, old_write, old_environ in kept:
        for attempt in (
            lambda: old_start("200 OK", [("X-Old", "yes")]),
            lambda: old_write(b"old"),
            lambda: old_environ["wsgi.early_hints"]([("X-Old", "yes")]),
        ):
            try:
                attempt()
                results.append("silent")
            except AssertionError:
                results.append("refused")
    write = start_response("200 OK", [])
    kept.append((start_response, write, environ))
    return [json.dumps(results).encode()]


@path
def hints(environ, start_response):
    hint = environ["wsgi.early_hints"]
    hint([("Link", "</style.css>; rel=preload")])
    start_response("200 OK", [])
    hint([("Link", "</script.js>; rel=preload")])
    return [b"ok"]


@path
def hints_of_all(environ, start_response):
    """Sends its own, and tries to with those of earlier requests, which it has kept."""
    all_hints.append(environ["wsgi.early_hints"])
    for number, hint in enumerate(all_hints):
        hint([("Link", f"<{number}>")])
    start_response("200 OK", [])
    return [b"ok"]


@path
def bad_hints(environ, start_response):
    try:
        environ["wsgi.early_hints"]([("Link", "one\r\nX-Injected: two")])
        result = b"taken"
    except ValueError:
        result = b"refused"
    start_response("200 OK", [])
    return [result]


@path
def contexts(environ, start_response):
    """A stream whose context variable must not be seen by others, nor change between its pieces."""
    mine = environ["QUERY_STRING"]
    before = context.get()
    token = context.set(mine)
    start_response("200 OK", [])

    def pieces():
        yield before.encode() + b"\n"
        # More than the sockets hold, so that others get their turn.
        for _ in range(100):
            yield b"x" * 100_000
        yield b"\n" + context.get().encode()
        context.reset(token)

    return pieces()


@path
def sees_context(environ, start_response):
    start_response("200 OK", [])
    return [context.get().encode()]


@path
def pid(environ, start_response):
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]


@path
def marking(environ, start_response):
    """What it finds, and leaves what it is asked to leave: in the environ, in its context, or the environ itself."""
    found = [sorted(key for key in environ if key.startswith("marking.")), environ["QUERY_STRING"], context.get()]
    found += [[other["QUERY_STRING"] for other in environs], any(other is environ for other in environs)]
    way = environ.get("HTTP_ACCEPT", "")
    if way == "key":
        environ["marking.key"] = 1
    elif way == "value":
        environ["QUERY_STRING"] = "marked"
    elif way == "removal":
        del environ["HTTP_HOST"]
    elif way == "context":
        context.set("marked")
    elif way == "reference":
        environs.append(environ)
    elif way == "forget":
        environs.clear()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([*found, environ.get("HTTP_HOST"), environ.get("HTTP_USER_AGENT", "")[:1]]).encode()]
