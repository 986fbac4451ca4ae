"""flup's clients, WSGI applications that pass what they are asked on by FastCGI or SCGI."""

import io
import json
import socket
import sys
from wsgiref.util import setup_testing_defaults

import pytest
from flup.client import fcgi_app, scgi_app

PROTOCOLS = {"fastcgi": fcgi_app.FCGIApp, "scgi": scgi_app.SCGIApp}

# flup 1.0.3 uses it for what comes on the standard error, and does not import it.
fcgi_app.sys = sys


class Connection(socket.socket):
    """flup ends a FastCGI request with a record that only filters are sent, behind its end proper: the server may have answered
    and closed the connection by then. flup gives up then, in place of reading
    the answer that is there."""

    def send(self, data):
        try:
            return super().send(data)
        except BrokenPipeError:
            return len(data)


def client(protocol, server):
    """flup 1.0.3 asks for `types.StringTypes`, which Python 3 does not have, before it connects: it is given a socket."""

    class Connected(PROTOCOLS[protocol]):
        def _getConnection(self):
            connection = Connection(server.family)
            connection.settimeout(20)
            connection.connect(server.address)
            return connection

    return Connected(connect=server.address)


def ask(app, method, path, query="", body=b"", **variables):
    """Status, header fields and body of what flup makes of the answer."""
    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        **variables,
    }
    setup_testing_defaults(environ)
    started = []
    content = b"".join(app(environ, lambda status, headers: started.append((status, headers))))
    [(status, headers)] = started
    return status.decode(), {name.decode(): value.decode("latin-1") for name, value in headers}, content


@pytest.fixture(params=[(protocol, unix) for protocol in PROTOCOLS for unix in (False, True)], ids=str)
def flup(request, serve):
    protocol, unix = request.param

    def start(application):
        server = serve(application, "--protocol", protocol, unix=unix, ready=False)
        server.wait_for_log("Booting worker")
        server.wait_until_connected()
        return client(protocol, server), server

    return start


def test_an_application_sees_what_flup_was_asked(flup):
    app, server = flup("applications")
    variables = {"CONTENT_TYPE": "text/x", "HTTP_HOST": "shop.example:81", "HTTP_COOKIE": "a=1; b=2", "REMOTE_ADDR": "192.0.2.1"}
    status, headers, content = ask(app, "POST", "/environ/b c/\xe4", "q=%41&r", b"body", SCRIPT_NAME="/app", **variables)
    assert status == "200 OK", server.log
    environ = json.loads(content)
    expected = variables | {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "/app",
        "PATH_INFO": "/environ/b c/\xe4",
        "QUERY_STRING": "q=%41&r",
        "CONTENT_LENGTH": "4",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.0",
    }
    assert {name: environ.get(name) for name in expected} == expected
    assert headers["content-length"] == str(len(content))


@pytest.mark.parametrize("answer", ["200", "204", "304", "streamed", "head"])
def test_wsgirefs_validator_finds_nothing_whatever_flup_asks(flup, answer):
    app, server = flup("applications:body_reader")
    method = "HEAD" if answer == "head" else "POST"
    for length in (0, 5, 4096, 300_000):
        status, _, content = ask(app, method, f"/{answer}/x y", "q", b"b" * length)
        said = f"{length} {content[:200]!r}\n{server.log}"
        assert status.startswith(answer if answer.isdigit() else "200"), said
        assert content == (b"" if answer in ("204", "304", "head") else b"%d bytes" % length), said
    assert "AssertionError" not in server.log and "WSGIWarning" not in server.log, server.log


def test_flup_understands_large_answers_and_errors(flup):
    app, server = flup("applications")
    status, _, content = ask(app, "POST", "/echo", body=b"e" * 200_000)
    assert (status, len(content)) == ("200 OK", 200_000), server.log
    status, headers, content = ask(app, "GET", "/raises")
    assert status == "500 Internal Server Error" and content and headers["content-type"].startswith("text/html"), server.log
    errors = io.StringIO()
    status, _, content = ask(app, "GET", "/hello", HTTP_HOST="not a host", **{"wsgi.errors": errors})
    assert status == "400 Bad Request" and b"Invalid HTTP Header" in content, server.log
    if app.__class__.__bases__[0] is fcgi_app.FCGIApp:
        assert errors.getvalue() == "ferricorn: Invalid HTTP Header: 'HOST'"
