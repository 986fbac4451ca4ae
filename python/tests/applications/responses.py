"""What an application says of its response: status and header fields, when it says so, and whether it does."""

import sys
import threading

from .registry import Closing, path


@path
def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello, World!"]


SHARED = [("X-Constant", "yes"), ("Content-Length", "10")]
ODD = ("X-Number", "odd")


@path
def shared_headers(environ, start_response):
    number = int(environ["PATH_INFO"].rpartition("/")[2])
    if number % 4 == 3:
        SHARED.insert(number % 3, ODD)
    start_response("200 OK" if number < 6 else "201 OK", SHARED)
    if ODD in SHARED:
        SHARED.remove(ODD)
    return [b"ten bytes!"]


def anew(text):
    """The same text as another object."""
    return text[:1] + text[1:]


A, B, BODY_LENGTH = ("X-A", "a"), ("X-B", "b"), ("Content-Length", "10")
# By their place: a status and header fields, which share objects or texts with others here, or nearly do.
RESPONSES = [
    lambda: ("200 OK", [A, B, BODY_LENGTH]),
    lambda: (anew("200 OK"), [A, ("X-B", anew("b")), ("Content-Length", anew("10"))]),
    lambda: ("200 OK", [A, BODY_LENGTH, B]),
    lambda: ("200 OK", [A, ("X-B", "other"), BODY_LENGTH]),
    lambda: ("200 OK", [A, ("X-B", ""), BODY_LENGTH]),
    lambda: ("200 OK", [A]),
    lambda: ("200 Fine", [A, B]),
    lambda: ("201 OK", [A, B]),
    lambda: ("200 OK", []),
    lambda: ("200 OK", [(A[0], B[1]), (B[0], A[1])]),
    lambda: ("200 OK", [A, BODY_LENGTH, BODY_LENGTH, B]),
    lambda: ("200 OK", [A, ("Content-Length", "010"), B]),
    lambda: ("200 OK", (A, B)),
    lambda: ("200 OK", [list(A), B, A]),
    lambda: ("200 OK", [(f"X-{number}", str(number)) for number in range(20)]),
    lambda: ("200 OK", [A, ("Server", "mine"), ("Status", "404 No"), B]),
    lambda: ("200 OK", [A, (B[0], "b\r\nX-C: c")]),
    lambda: ("200 OK", [A, B, ("Content-Length", "ten")]),
    lambda: ("200 OK", [A, BODY_LENGTH, ("Content-Length", "11")]),
    lambda: ("200 OK", [A, (B[0], "\u20ac")]),
    lambda: ("2000 OK", [A]),
    lambda: ("", [A]),
]


@path
def responses(environ, start_response):
    start_response(*RESPONSES[int(environ["PATH_INFO"].rpartition("/")[2])]())
    return [b"ten bytes!"]


@path
def raises(environ, start_response):
    raise KeyError("raised before start_response")


@path
def raises_after_start(environ, start_response):
    start_response("200 OK", [("X-Mine", "yes")])
    raise KeyError("raised after start_response")


@path
def exits(environ, start_response):
    sys.exit(7)


@path
def interrupted(environ, start_response):
    raise KeyboardInterrupt


@path
def never_starts(environ, start_response):
    return [b"a body without a head"]


@path
def returns_none(environ, start_response):
    start_response("200 OK", [])


@path
def starts_twice(environ, start_response):
    start_response("200 OK", [])
    start_response("201 Created", [])
    return [b""]


@path
def starts_again_with_exc_info(environ, start_response):
    start_response("200 OK", [("X-First", "yes")])
    try:
        raise ValueError("for exc_info")
    except ValueError:
        start_response("503 Sorry", [("X-Second", "yes")], sys.exc_info())
    return [b"an error page"]


@path
def starts_again_too_late(environ, start_response):
    start_response("200 OK", [])

    def body():
        yield b"first"
        try:
            raise ValueError("too late for a page")
        except ValueError:
            start_response("500 Oops", [], sys.exc_info())
        yield b"never"

    return body()


@path
def starts_lazily(environ, start_response):
    start_response("200 OK", [("X-Lazy", "yes")])
    yield b"one"
    yield b""
    yield b"two"


@path
def starts_after_empty_pieces(environ, start_response):
    yield b""
    start_response("200 OK", [("X-Lazy", "yes")])
    yield b"body"


@path
def another_thread(environ, start_response):
    thread = threading.Thread(target=start_response, args=("200 OK", [("X-Thread", "yes")]))
    thread.start()
    thread.join()
    return [b"ok"]


@path
def status(environ, start_response):
    line = environ["QUERY_STRING"].replace("+", " ")
    start_response(line, [("Content-Type", "text/plain")])
    return [b"body"]


@path
def not_modified(environ, start_response):
    start_response("304 Not Modified", [("ETag", '"x"')])
    return []


@path
def head_with_length(environ, start_response):
    start_response("200 OK", [("Content-Length", "1234")])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"x" * 1234]


@path
def sized(environ, start_response):
    start_response("200 OK", [("Content-Length", "13")])
    return Closing("sized", [b"Hello, World!"])


BAD_HEADERS = {
    "newline": [("X-Bad", "one\r\nX-Injected: two")],
    "nul": [("X-Bad", "one\0two")],
    "name": [("X Bad", "one")],
    "empty_name": [("", "one")],
    "colon": [("X-Bad:", "one")],
    "bytes": [(b"X-Bad", b"one")],
    "number": [("Content-Length", 5)],
    "wide": [("X-Bad", "\u20ac")],
    "not_a_pair": ["X-Bad: one"],
    "triple": [("X-Bad", "one", "two")],
    "lengths": [("Content-Length", "1"), ("Content-Length", "2")],
    "length": [("Content-Length", "five")],
    "none": None,
}


@path
def bad_header(environ, start_response):
    start_response("200 OK", BAD_HEADERS[environ["QUERY_STRING"]])
    return [b"hello"]


@path
def odd_headers(environ, start_response):
    headers = [
        ["X-List", "a list instead of a tuple"],
        ("X-Latin", "caf\xe9"),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("X-Empty", ""),
        # Those are the server's.
        ("Connection", "close"),
        ("Transfer-Encoding", "chunked"),
        ("Keep-Alive", "timeout=5"),
        ("Date", "yesterday"),
        ("Server", "mine"),
    ]
    start_response("200 OK", headers)
    headers.append(("X-Late", "changed after the call"))
    return [b"ok"]


@path
def header_tuple(environ, start_response):
    start_response(status="200 OK", headers=(("X-A", "1"),), exc_info=None)
    return [b"ok"]
