"""A Falcon application."""

import falcon


class Hello:
    def on_get(self, request, response):
        response.text = "hello from falcon"


class Json:
    def on_post(self, request, response):
        response.media = request.get_media()


class Upload:
    def on_post(self, request, response):
        title = said = None
        for part in request.get_media():
            if part.name == "title":
                title = part.text
            else:
                said = f"{part.filename}, {len(part.stream.read())} bytes"
        response.text = f"{title}: {said}"


class Stream:
    def on_get(self, request, response):
        text = request.get_param("x")
        response.content_type = falcon.MEDIA_TEXT
        response.stream = (f"{number} {text}\n".encode() for number in range(3))


class Boom:
    def on_get(self, request, response):
        raise ValueError("in falcon")


class File:
    def on_get(self, request, response):
        response.content_type = falcon.MEDIA_TEXT
        response.stream = open(__file__, "rb")

    on_head = on_get


application = falcon.App()
for name, resource in {"": Hello, "json": Json, "upload": Upload, "stream": Stream, "boom": Boom, "file": File}.items():
    application.add_route(f"/{name}", resource())
