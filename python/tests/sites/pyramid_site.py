"""A Pyramid application."""

from pyramid.config import Configurator
from pyramid.response import FileResponse, Response


def hello(request):
    return Response("hello from pyramid")


def echo(request):
    return Response(json_body=request.json_body)


def upload(request):
    file = request.POST["file"]
    return Response(f"{request.POST['title']}: {file.filename}, {len(file.file.read())} bytes")


def stream(request):
    text = request.params["x"]
    return Response(content_type="text/plain", app_iter=(f"{number} {text}\n".encode() for number in range(3)))


def boom(request):
    raise ValueError("in pyramid")


def file(request):
    return FileResponse(__file__, request=request)


with Configurator() as config:
    for view, path in {hello: "/", echo: "/json", upload: "/upload", stream: "/stream", boom: "/boom", file: "/file"}.items():
        config.add_route(view.__name__, path)
        config.add_view(view, route_name=view.__name__)
    application = config.make_wsgi_app()
