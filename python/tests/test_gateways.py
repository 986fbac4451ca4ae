"""Whichever protocol a request comes by, an application sees the same and is answered for to the letter of PEP 3333."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from gateways import PROTOCOLS, ask

BODIES = {"none": b"", "sized": b"sized", "chunked": b"in chunks", "empty": b"", "large": b"l" * 300_000}


@pytest.fixture(params=PROTOCOLS)
def validated(request, serve):
    protocol = request.param
    server = serve("applications:body_reader", "--protocol", protocol, ready=False)
    server.wait_for_log("Booting worker")
    server.wait_until_connected()
    return protocol, server


@pytest.mark.parametrize("answer", ["200", "204", "304", "streamed", "head"])
def test_wsgirefs_validator_finds_nothing(validated, answer):
    protocol, server = validated
    for name, body in BODIES.items():
        method = "HEAD" if answer == "head" else "GET" if name == "none" else "POST"
        # Only HTTP and FastCGI have bodies whose length is not known.
        chunked = name == "chunked" and protocol in ("http", "fastcgi")
        status, fields, content = ask(server, protocol, method, f"/{answer}/x%20y?q", (), body, chunked)
        said = f"{protocol} {name}: {content[:200]!r}\n{server.log}"
        assert status == int(answer if answer.isdigit() else 200), said
        expected = b"" if answer in ("204", "304", "head") else b"%d bytes" % len(body)
        assert content == expected, said
    assert "AssertionError" not in server.log and "WSGIWarning" not in server.log, server.log


def test_the_environ_is_the_same_by_every_protocol(serve):
    environs = {}
    for protocol in PROTOCOLS:
        server = serve("applications", "--protocol", protocol, ready=False)
        server.wait_until_connected()
        headers = [
            ("X-Twice", "one"),
            ("X-Twice", "two"),
            ("Cookie", "a=1"),
            ("Cookie", "b=2"),
            ("Proxy", "http://evil/"),
            ("X-Latin", "caf\xe9"),
        ]
        status, _, content = ask(server, protocol, "POST", "/environ/a%20b%2Fc?x=%20&y", headers, b"body")
        assert status == 200, server.log
        environ = json.loads(content)
        # HTTP has no web server in front that would name them; the client's own port differs anyway.
        assert environ.pop("SERVER_PORT") and environ.pop("SERVER_NAME") in ("127.0.0.1", "example.org")
        assert environ.pop("REMOTE_PORT")
        environs[protocol] = environ
    for protocol in PROTOCOLS[1:]:
        assert environs[protocol] == environs["http"], protocol
    assert environs["http"]["HTTP_X_TWICE"] == "one,two" and environs["http"]["HTTP_COOKIE"] == "a=1; b=2"


@pytest.mark.parametrize("protocol", PROTOCOLS[1:])
def test_a_script_name_and_variables_of_the_web_server_are_in_the_environ(serve, protocol, monkeypatch):
    import gateways

    usual = gateways.variables

    def mounted(*arguments):
        yield from usual(*arguments)
        yield from [("SCRIPT_NAME", "/\xc3\xa4pp"), ("PATH_INFO", "/environ/a b"), ("HTTPS", "on")]
        yield from [("REMOTE_USER", "somebody"), ("OUR_OWN", "value"), ("UWSGI_FILE", "/etc/passwd")]

    monkeypatch.setattr(gateways, "variables", mounted)
    server = serve("applications", "--protocol", protocol, ready=False)
    server.wait_until_connected()
    status, _, content = ask(server, protocol, target="/%C3%A4pp/environ/a%20b?q")
    assert status == 200, server.log
    environ = json.loads(content)
    expected = {
        "SCRIPT_NAME": "/\xc3\xa4pp",
        "PATH_INFO": "/environ/a b",
        "RAW_URI": "/%C3%A4pp/environ/a%20b?q",
        "wsgi.url_scheme": "https",
        "REMOTE_USER": "somebody",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "4242",
        "OUR_OWN": "value",
        "SERVER_NAME": "example.org",
        "SERVER_PORT": "80",
    }
    assert {name: environ.get(name) for name in expected} == expected
    assert not any(name.startswith("UWSGI") for name in environ)


@pytest.mark.parametrize("protocol", PROTOCOLS[1:])
def test_a_request_says_nothing_of_the_one_before(serve, protocol, monkeypatch):
    import gateways

    more = []
    usual = gateways.variables

    def with_more(*arguments):
        # Of a name that is there twice the last counts.
        yield from [*usual(*arguments), *more]

    monkeypatch.setattr(gateways, "variables", with_more)
    server = serve("applications", "--protocol", protocol, ready=False)
    server.wait_until_connected()
    requests = [
        ([], {}),
        # What the web server has made of a path, which may be as long.
        ([("PATH_INFO", "/environ/XY")], {"PATH_INFO": "/environ/XY"}),
        ([("REMOTE_USER", "somebody")], {"REMOTE_USER": "somebody"}),
        ([("SERVER_NAME", "other.example"), ("SERVER_PORT", "81")], {"SERVER_NAME": "other.example", "SERVER_PORT": "81"}),
        ([("REMOTE_ADDR", "192.0.2.7"), ("REMOTE_PORT", "7")], {"REMOTE_ADDR": "192.0.2.7", "REMOTE_PORT": "7"}),
        ([("REMOTE_ADDR", "unix:")], {"REMOTE_ADDR": ""}),
        ([("HTTP_ACCEPT", "a/b")], {"HTTP_ACCEPT": "a/b"}),
    ]
    alone = {"PATH_INFO": "/environ/ab", "REMOTE_USER": None, "SERVER_NAME": "example.org", "REMOTE_ADDR": "127.0.0.1", "HTTP_ACCEPT": None}
    for before in requests:
        for request in requests:
            for variables, expected in (before, request):
                more[:] = variables
                status, _, content = ask(server, protocol, target="/environ/ab")
                assert status == 200, server.log
                environ = json.loads(content)
                wanted = alone | expected
                assert {name: environ.get(name) for name in wanted} == wanted, (before, request)


def test_uwsgi_curl_is_served(serve):
    server = serve("applications", "--protocol", "uwsgi", ready=False)
    server.wait_until_connected()
    host, port = server.address
    program = Path(sys.executable).parent / "uwsgi_curl"
    done = subprocess.run([program, f"{host}:{port}", "example.org/hello"], capture_output=True, text=True, timeout=20)
    assert done.stdout.startswith("HTTP/1.1 200 OK") and done.stdout.rstrip().endswith("Hello, World!"), done
