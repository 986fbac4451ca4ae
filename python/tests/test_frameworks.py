"""wsgiref.validate and real frameworks."""

import json

import pytest

import sites

VALIDATED = """
from wsgiref.validate import validator
import applications
application = validator(applications.application)
"""


@pytest.mark.parametrize(
    "name", ["hello", "environ", "echo", "reads?readline,read:1,readlines,iter", "closing", "starts_lazily", "exact_length_streamed", "writes", "a_tuple", "hints"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_wsgiref_validate_has_nothing_to_say(validated, name, method):
    body = b"some\nbody\n" if method == "POST" else b""
    response = validated.request(method, f"/{name}", [("Content-Type", "text/plain")], body)
    assert response.status == 200, validated.log
    assert "AssertionError" not in validated.log


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    from conftest import Server

    directory = tmp_path_factory.mktemp("validated")
    # The validator wants a Content-Type of every response, which is not what these applications are about.
    text = VALIDATED.replace(
        "application = validator",
        "from wsgiref import validate\nvalidate.check_content_type = lambda *_: None\napplication = validator",
    )
    (directory / "validated.py").write_text(text)
    server = Server(directory, "validated").ready()
    yield server
    server.stop()


MULTIPART = (
    b"--edge\r\nContent-Disposition: form-data; name=title\r\n\r\nsome title\r\n"
    b'--edge\r\nContent-Disposition: form-data; name="file"; filename="zero.bin"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n" + bytes(200_000) + b"\r\n--edge--\r\n"
)


def chunked(data):
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "validated"])
@pytest.mark.parametrize("framework", sites.FRAMEWORKS)
def test_a_framework_works(tmp_path, serve, framework, wrapped):
    server = serve((sites.validated if wrapped else sites.module)(framework), env=sites.environment(tmp_path))
    assert server.request().body == f"hello from {framework}".encode()
    data = json.dumps({"a": [1, "ü"]}).encode()
    for coding, body in ([], data), ([("Transfer-Encoding", "chunked")], chunked(data)):
        response = server.request("POST", "/json", [("Content-Type", "application/json"), *coding], body)
        assert json.loads(response.body) == {"a": [1, "ü"]}, server.log
    response = server.request("POST", "/upload", [("Content-Type", "multipart/form-data; boundary=edge")], MULTIPART)
    assert response.body == b"some title: zero.bin, 200000 bytes", server.log
    assert server.request(target="/stream?x=y").body == b"0 y\n1 y\n2 y\n"
    assert server.request(target="/boom").status == 500
    assert f"in {framework}" in server.log
    assert server.request(target="/file").body == sites.source(framework)
    head = server.request("HEAD", "/file")
    assert (head.status, head.body) == (200, b"")
    assert server.request(target="/missing").status == 404
    assert "AssertionError" not in server.log


def test_a_session_lives_in_its_cookie(tmp_path, serve):
    server = serve("sites.flask_site")
    cookie = server.request(target="/count").value("Set-Cookie").split(b";")[0].decode()
    assert server.request(target="/count", headers=[("Cookie", cookie)]).body == b"2"
