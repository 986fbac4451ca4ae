"""wsgiref.validate and real frameworks."""

import json

import pytest

VALIDATED = """
from wsgiref.validate import validator
import applications
application = validator(applications.application)
"""

FLASK = """
from flask import Flask, request, Response, stream_with_context, session
application = Flask(__name__)
application.secret_key = "secret"
@application.get("/")
def hello():
    return "hello from flask"
@application.post("/json")
def echo():
    return request.get_json()
@application.get("/stream")
def stream():
    def pieces():
        for number in range(3):
            yield f"{number} {request.args['x']}\\n"
    return Response(stream_with_context(pieces()), mimetype="text/plain")
@application.get("/count")
def count():
    session["count"] = session.get("count", 0) + 1
    return str(session["count"])
@application.get("/boom")
def boom():
    raise ValueError("in flask")
@application.get("/file")
def file():
    from flask import send_file
    return send_file(__file__, conditional=True)
"""

DJANGO = """
import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse, FileResponse
from django.urls import path
settings.configure(DEBUG=False, SECRET_KEY="secret", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"])
def stream(request):
    return StreamingHttpResponse(f"{number} {request.GET['x']}\\n" for number in range(3))
def boom(request):
    raise ValueError("in django")
def echo(request):
    import json
    return JsonResponse(json.loads(request.body))
urlpatterns = [
    path("", lambda request: HttpResponse("hello from django")),
    path("json", echo), path("stream", stream), path("boom", boom),
    path("file", lambda request: FileResponse(open(__file__, "rb"))),
]
application = get_wsgi_application()
"""

BOTTLE = """
import bottle
application = bottle.Bottle()
@application.get("/")
def hello():
    return "hello from bottle"
@application.post("/json")
def echo():
    return bottle.request.json
@application.get("/stream")
def stream():
    for number in range(3):
        yield f"{number} {bottle.request.query['x']}\\n"
@application.get("/boom")
def boom():
    raise ValueError("in bottle")
@application.get("/file")
def file():
    import os
    return bottle.static_file(os.path.basename(__file__), os.path.dirname(__file__))
"""

FRAMEWORKS = {"flask": FLASK, "django": DJANGO, "bottle": BOTTLE}


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


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "validated"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_framework_works(tmp_path, serve, framework, wrapped):
    pytest.importorskip(framework)
    source = FRAMEWORKS[framework]
    if wrapped:
        source += "\nfrom wsgiref.validate import validator\napplication = validator(application)\n"
    module = tmp_path / f"{framework}_site.py"
    module.write_text(source)
    server = serve(f"{framework}_site")
    assert server.request().body == f"hello from {framework}".encode()
    data = json.dumps({"a": [1, "ü"]}).encode()
    # Flask reads such a body in a way that the validator forbids.
    strict = wrapped and framework == "flask"
    for body, headers in [
        (data, []),
        (b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data), [("Transfer-Encoding", "chunked")]),
    ][: 0 if strict else 2]:
        response = server.request("POST", "/json", [("Content-Type", "application/json"), *headers], body)
        assert json.loads(response.body) == {"a": [1, "ü"]}, server.log
    assert server.request(target="/stream?x=y").body == b"0 y\n1 y\n2 y\n"
    assert server.request(target="/boom").status == 500
    if framework != "django":
        # That one mails it to its administrators.
        assert f"in {framework}" in server.log
    assert server.request(target="/file").body == module.read_bytes()
    assert server.request(target="/missing").status == 404
    if framework == "flask":
        cookie = server.request(target="/count").value("Set-Cookie").decode().split(";")[0]
        assert server.request(target="/count", headers=[("Cookie", cookie)]).body == b"2"
    assert "AssertionError" not in server.log
