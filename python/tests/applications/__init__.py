"""Small WSGI applications, each for one detail of PEP 3333. `application` chooses by the first part of the path."""

import json
import wsgiref.util
import wsgiref.validate

# They register themselves.
from . import bodies, environs, files, responses, valid
from .registry import APPLICATIONS, closed, path


def application(environ, start_response):
    name = environ["PATH_INFO"].removeprefix("/").split("/")[0]
    if name == "closed":
        start_response("200 OK", [])
        names = json.dumps(closed).encode()
        closed.clear()
        return [names]
    return APPLICATIONS.get(name, APPLICATIONS["hello"])(environ, start_response)


@path
def checked(environ, start_response):
    """Passes the rest of the path's application through PEP 3333's validator."""
    wsgiref.util.shift_path_info(environ)
    name = environ["PATH_INFO"].removeprefix("/")
    return wsgiref.validate.validator(APPLICATIONS[name])(environ, start_response)


@wsgiref.validate.validator
def body_reader(environ, start_response):
    """Reads the body, tells its length, and answers as the first part of the path says."""
    what = environ["PATH_INFO"].split("/")[1]
    stream, length = environ["wsgi.input"], 0
    while piece := stream.read(65536):
        length += len(piece)
    assert environ["CONTENT_LENGTH"] == str(length) if length else environ.get("CONTENT_LENGTH", "0") == "0"
    assert environ["PATH_INFO"] == f"/{what}/x y" and environ["QUERY_STRING"] == "q"
    text = b"%d bytes" % length
    if what in ("204", "304"):
        start_response(f"{what} Whatever", [])
        return [b""]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return iter([text[:1], text[1:]]) if what == "streamed" else [text]
