"""The same deployment under Gunicorn and under Ferricorn: what clients and log parsers see must not change."""

import re
import secrets
import sys
from pathlib import Path

import pytest
from conftest import Server, wait_until

import sites

JSON = ("Content-Type", "application/json")
FORM = ("Content-Type", "multipart/form-data; boundary=edge")
MULTIPART = (
    b"--edge\r\nContent-Disposition: form-data; name=title\r\n\r\nsome title\r\n"
    b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a file"\r\n\r\n' + bytes(30_000) + b"\r\n--edge--\r\n"
)
# Method, target, fields and body; what both sites have.
REQUESTS = {
    "hello": ("GET", "/"),
    "head": ("HEAD", "/"),
    "version 1.0": ("GET", "/", [], b"", "1.0"),
    "query": ("GET", "/where?a=1&b=%20x&a=2"),
    "escapes": ("GET", "/any/a%2Fb%20c/%C3%BC"),
    "percent at the end": ("GET", "/any/100%"),
    "two slashes": ("GET", "/any//x"),
    "dots": ("GET", "/any/../x"),
    "absolute form": ("GET", "http://example.org/where?x"),
    "port in host": ("GET", "/where", [("Host", "example.org:8080")]),
    "forwarded": ("GET", "/where", [("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "192.0.2.1")]),
    "fields": ("GET", "/fields", [("X-One", "1"), ("X-Two", "a, b"), ("X-Empty", "")]),
    "blanks round a value": ("GET", "/fields", [("X-One", "  \t padded \t ")]),
    "a field twice": ("GET", "/fields", [("X-One", "1"), ("X-One", "2")]),
    "latin-1 in a field": ("GET", "/fields", [("X-One", "caf\xe9")]),
    "underscore in a name": ("GET", "/fields", [("X_One", "1"), ("X-Two", "2")]),
    "cookies": ("GET", "/cookies", [("Cookie", "a=1; b=two")]),
    "json": ("POST", "/json", [JSON], b'{"a": [1, 2, {"b": null}]}'),
    "empty json": ("POST", "/json", [JSON], b"{}"),
    "chunked json": ("POST", "/json", [JSON, ("Transfer-Encoding", "chunked")], b'3\r\n{"a\r\n5;x=y\r\n": 1}\r\n0\r\n\r\n'),
    "upload": ("POST", "/upload", [FORM], MULTIPART),
    "expect": ("POST", "/json", [JSON, ("Expect", "100-continue")], b'{"a": 1}'),
    "put": ("PUT", "/any/thing", [], b"a body"),
    "delete": ("DELETE", "/any/thing"),
    "patch": ("PATCH", "/any/thing", [], "ünder".encode()),
    "stream": ("GET", "/stream?x=y"),
    "stream in 1.0": ("GET", "/stream?x=y", [], b"", "1.0"),
    "head of a stream": ("HEAD", "/stream?x=y"),
    "file": ("GET", "/file"),
    "head of a file": ("HEAD", "/file"),
    "download": ("GET", "/download"),
    "redirect": ("GET", "/moved"),
    "no content": ("GET", "/status/204"),
    "not modified": ("GET", "/status/304"),
    "bad request": ("GET", "/status/400"),
    "teapot": ("GET", "/status/418"),
    "missing": ("GET", "/missing"),
    "not allowed": ("POST", "/moved/x", [], b"x"),
    "failing": ("GET", "/boom"),
    "close": ("GET", "/", [("Connection", "close")]),
    "basic authentication": ("GET", "/", [("Authorization", "Basic bWU6c2VjcmV0")]),
    "referrer and agent": ("GET", "/", [("Referer", "http://example.org/a?b"), ("User-Agent", 'an "agent"')]),
}
# Those of a connection, those that name the server or the moment, and the length, which is compared by itself.
OWN = {"server", "date", "connection", "keep-alive", "transfer-encoding", "content-length"}
# What differs on purpose: by site and request, what ours answers in Gunicorn's place.
DIFFERENCES = {
    # Django reads no body that has no CONTENT_LENGTH, which Gunicorn does not give it.
    ("django", "chunked json"): {"status": b"HTTP/1.1 200 OK", "body": b'{"a": 1}', "Content-Length": b"8"},
    # A 304's length would be that of the body that is not sent; Django says 0.
    ("django", "not modified"): {"Content-Length": None},
}
ATOMS = (
    '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(m)s %(U)s %(q)s %(H)s %(s)s %(B)s %(b)s "%(f)s" "%(a)s" %(T)s %(D)s %(L)s %(p)s'
    ' %({x-one}i)s %({content-type}o)s %({REQUEST_METHOD}e)s %({missing}i)s %(M)s %%'
)


def gunicorn(*arguments):
    return [str(Path(sys.executable).parent / "gunicorn"), "--no-control-socket", *arguments]


class Pair:
    """One site under both servers."""

    def __init__(self, directory, site, *arguments):
        self.site = site
        env = sites.environment(directory)
        for part in "theirs", "ours":
            (directory / part).mkdir()
        arguments = [sites.module(site), "--access-logfile", "access.log", *arguments]
        self.theirs = Server(directory / "theirs", *arguments, env=env, command=gunicorn()).ready()
        self.ours = Server(directory / "ours", *arguments, env=env).ready()

    def __iter__(self):
        return iter((self.theirs, self.ours))

    def stop(self):
        for server in self:
            server.stop()


@pytest.fixture(scope="module", params=["flask", "django"])
def pair(request, tmp_path_factory):
    pair = Pair(tmp_path_factory.mktemp(request.param), request.param)
    yield pair
    pair.stop()


def seen(server, request):
    """What a client sees of a response, but for what is the server's own, such as its version of HTTP (RFC 9110 §2.5)."""
    response = server.request(*request)
    result = {
        "status": response.status_line.replace(b"HTTP/1.0", b"HTTP/1.1"),
        "fields": [(name, value) for name, value in response.headers if name.lower() not in OWN],
        "body": response.body,
        "interim": [interim.status for interim in response.interim],
    }
    if length := response.value("Content-Length"):
        result["Content-Length"] = length
    return result


@pytest.mark.parametrize("name", REQUESTS)
def test_clients_get_the_same_bytes(pair, name):
    theirs, ours = (seen(server, REQUESTS[name]) for server in pair)
    if "Content-Length" not in theirs:
        # Ours knows it when the body is a list, where Gunicorn sends chunks.
        length = ours.pop("Content-Length", None)
        assert length is None or int(length) == len(ours["body"]) or REQUESTS[name][0] == "HEAD"
    if difference := DIFFERENCES.get((pair.site, name)):
        assert {key: ours.get(key) for key in difference} == difference
        assert {key: theirs.get(key) for key in difference} != difference, "it is none any more"
    else:
        assert ours == theirs


def logged(server, requests):
    """The lines that requests leave in the access log, without the time, which alone may differ."""
    log = server.directory / "access.log"
    marks = [f"/{secrets.token_hex(8)}" for _ in "ab"]
    for request in [("GET", marks[0]), *requests, ("GET", marks[1])]:
        server.request(*request)
    wait_until("the access log", lambda: marks[1] in log.read_text())
    lines = [re.sub(r"\[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]", "[TIME]", line) for line in log.read_text().splitlines()]
    first, last = (next(n for n, line in enumerate(lines) if mark in line) for mark in marks)
    assert last - first - 1 == len(requests)
    return lines[first + 1 : last]


def test_access_log_lines_are_the_same(pair):
    theirs, ours = (logged(server, REQUESTS.values()) for server in pair)
    for name, their_line, our_line in zip(REQUESTS, theirs, ours):
        assert "[TIME]" in their_line
        if name == "file":
            # Gunicorn does not count what it sends by sendfile.
            assert re.sub(r" 200 \d+ ", " 200 0 ", our_line) == their_line
        elif (pair.site, name) not in DIFFERENCES:
            assert our_line == their_line, name


def test_every_atom_of_the_access_log_is_the_same(tmp_path):
    """But for seconds, microseconds, the process and milliseconds, which have the same form."""
    pair = Pair(tmp_path, "flask", "--access-logformat", ATOMS)
    try:
        form = r'" (\d+) (\d+) (\d+\.\d{6}) <\d+> (.*) \d+ %$'
        theirs, ours = ([re.sub(form, r'" S US SECONDS <PID> \4 MS %', line) for line in logged(s, REQUESTS.values())] for s in pair)
        for name, their_line, our_line in zip(REQUESTS, theirs, ours):
            assert " S US SECONDS <PID> " in their_line and their_line.endswith(" MS %")
            # Ours escapes bytes that are not ASCII, in the place of taking them for Latin-1.
            our_line = re.sub(r"\\x([89a-f][0-9a-f])", lambda escaped: chr(int(escaped[1], 16)), our_line)
            if name != "file":
                assert our_line == their_line, name
    finally:
        pair.stop()
