"""Applications that the validator has nothing to say of."""

import io

from .registry import path


@path
def valid_lazy(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Lazy", "yes")])
    yield b"one"
    yield b"two"


@path
def valid_list(environ, start_response):
    environ["wsgi.input"].read(10)
    environ["wsgi.errors"].write("")
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Lazy", "no")])
    return [b"one", b"two"]


@path
def valid_empty(environ, start_response):
    start_response("204 No Content", [("X-Lazy", "no")])
    return []


@path
def valid_lazy_empty(environ, start_response):
    start_response("304 Not Modified", [("X-Lazy", "yes")])
    yield from ()


@path
def valid_written(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Lazy", "no")])(b"one")
    return [b"two"]


@path
def valid_file(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Lazy", "no")])
    return environ["wsgi.file_wrapper"](io.BytesIO(b"onetwo"), 3)
