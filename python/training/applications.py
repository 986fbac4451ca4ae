"""What is served while the package is trained: an application for each way in which one can answer."""

import io

TEXT = ("Content-Type", "text/plain; charset=utf-8")
PIECE = b"x" * 1024
LARGE = b"x" * (1 << 20)


def hello(environ, start_response):
    start_response("200 OK", [TEXT, ("Content-Length", "13")])
    return [b"Hello, World!"]


class Response:
    """As frameworks answer: an iterable with a `close`, fields that are made for each response, one that lasts."""

    def __init__(self, parts):
        self.parts = iter(parts)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.parts)

    def close(self):
        self.parts = None


def framework(environ, start_response):
    body = f"Hello, {environ['REMOTE_ADDR']}!".encode()
    fields = [("Content-Type", "text/" + "html"), ("Content-Length", str(len(body))), ("X-Frame-Options", "DENY")]
    fields.append(("Set-Cookie", f"visited={environ['REMOTE_PORT']}; Path=/"))
    start_response("200 OK", fields)
    return Response([body])


def stream(environ, start_response):
    start_response("200 OK", [TEXT])
    return (PIECE for _ in range(20))


def large(environ, start_response):
    start_response("200 OK", [TEXT])
    return [LARGE]


def parts(environ, start_response):
    start_response("200 OK", [TEXT])
    return (b"Hello, ", b"World!")


def file(environ, start_response):
    start_response("200 OK", [TEXT])
    return environ["wsgi.file_wrapper"](open(__file__, "rb"))


def memory(environ, start_response):
    start_response("200 OK", [TEXT])
    return environ["wsgi.file_wrapper"](io.BytesIO(PIECE))


def written(environ, start_response):
    write = start_response("200 OK", [TEXT])
    write(b"Hello, ")
    write(b"World!")
    return []


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def lines(environ, start_response):
    body = b"".join(environ["wsgi.input"])
    start_response("200 OK", [TEXT])
    return [body]


def unchanged(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"a"')])
    return []


def broken(environ, start_response):
    raise ValueError("as it should")


APPLICATIONS = (hello, framework, stream, large, parts, file, memory, written, echo, lines, unchanged, broken)
BY_PATH = {f"/{application.__name__}": application for application in APPLICATIONS}


def application(environ, start_response):
    return BY_PATH.get(environ["PATH_INFO"], hello)(environ, start_response)
