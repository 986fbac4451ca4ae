"""Small WSGI applications, each for one detail of PEP 3333. `application` chooses by the first part of the path."""

import contextvars
import gzip
import io
import json
import logging
import os
import sys
import tempfile
import threading
import time
import wsgiref.util
import wsgiref.validate

closed = []
kept = []
environs = []
all_hints = []
context = contextvars.ContextVar("context", default="unset")
APPLICATIONS = {}


def application(environ, start_response):
    name = environ["PATH_INFO"].removeprefix("/").split("/")[0]
    if name == "closed":
        start_response("200 OK", [])
        names = json.dumps(closed).encode()
        closed.clear()
        return [names]
    return APPLICATIONS.get(name, APPLICATIONS["hello"])(environ, start_response)


def checked(environ, start_response):
    """Passes the rest of the path's application through PEP 3333's validator."""
    wsgiref.util.shift_path_info(environ)
    name = environ["PATH_INFO"].removeprefix("/")
    return wsgiref.validate.validator(APPLICATIONS[name])(environ, start_response)


def path(function):
    APPLICATIONS[function.__name__] = function
    return function


class Closing:
    """An iterable whose `close` is recorded."""

    def __init__(self, name, pieces, fail_at=None, close_fails=False):
        self.name, self.pieces, self.fail_at, self.close_fails = name, iter(pieces), fail_at, close_fails
        self.count = 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.count == self.fail_at:
            raise RuntimeError("in the middle")
        self.count += 1
        return next(self.pieces)

    def close(self):
        closed.append(self.name)
        if self.close_fails:
            raise RuntimeError("close failed")


path(checked)


@path
def valid_lazy(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Lazy", "yes")])
    yield b"one"
    yield b"two"


@path
def valid_list(environ, start_response):
    environ["wsgi.input"].read(10)
    environ["wsgi.errors"].write("")
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Lazy", "no")])
    return [b"one", b"two"]


@path
def valid_empty(environ, start_response):
    start_response("204 No Content", [("X-Lazy", "no")])
    return []


@path
def valid_lazy_empty(environ, start_response):
    start_response("304 Not Modified", [("X-Lazy", "yes")])
    yield from ()


@path
def valid_written(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Lazy", "no")])(b"one")
    return [b"two"]


@path
def valid_file(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Lazy", "no")])
    return environ["wsgi.file_wrapper"](io.BytesIO(b"onetwo"), 3)


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
def environ(environ, start_response):
    text = {key: value for key, value in environ.items() if isinstance(value, (str, int, float, bool, tuple))}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(text).encode()]


@path
def echo(environ, start_response):
    body = environ["wsgi.input"].read(-1)
    start_response("200 OK", [("X-Content-Length", environ.get("CONTENT_LENGTH", "none"))])
    return [body]


@path
def reads(environ, start_response):
    """Reads the body as the query string says, and tells what came of it."""
    stream = environ["wsgi.input"]
    results = []
    for step in environ["QUERY_STRING"].split(","):
        name, *arguments = step.split(":")
        if name == "iter":
            results.append([line.decode("latin-1") for line in stream])
            continue
        result = getattr(stream, name)(*map(int, arguments))
        decode = lambda data: data.decode("latin-1")
        results.append([decode(line) for line in result] if isinstance(result, list) else decode(result))
    start_response("200 OK", [])
    return [json.dumps(results).encode()]


@path
def closes_input(environ, start_response):
    io.BufferedReader(environ["wsgi.input"]).close()
    start_response("200 OK", [])
    return [b"closed"]


@path
def errors(environ, start_response):
    stream = environ["wsgi.errors"]
    print("a line of the application's", file=stream)
    stream.write("half a ")
    stream.writelines(["line\n", "and more\n"])
    stream.write("without an end")
    stream.flush()
    start_response("200 OK", [])
    return [b""]


@path
def errors_without_end(environ, start_response):
    environ["wsgi.errors"].write(f"one line and\nanother that has no end {environ['QUERY_STRING']}".rstrip())
    start_response("200 OK", [])
    return [b""]


@path
def errors_of_all_kinds(environ, start_response):
    print("a name: caf\udce9", file=environ["wsgi.errors"])
    logging.getLogger("gunicorn.error").warning("a logged name: caf\udce9")
    raise KeyError(environ["QUERY_STRING"]) from ValueError("a name that is raised: caf\udce9")


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
def writes(environ, start_response):
    write = start_response("200 OK", [])
    write(b"written ")
    write(b"twice, ")
    return [b"then ", b"returned"]


@path
def writes_only(environ, start_response):
    start_response("200 OK", [("Content-Length", "7")])(b"written")
    return []


@path
def writes_and_yields(environ, start_response):
    start_response("200 OK", [])(b"written")
    return iter([b"yielded", b"twice"])


@path
def writes_late(environ, start_response):
    start_response("200 OK", [])(b"written")
    yield b"yielded"


@path
def writes_too_little(environ, start_response):
    start_response("200 OK", [("Content-Length", "100")])(b"written")
    return [b"little"]


@path
def writes_too_much(environ, start_response):
    write = start_response("200 OK", [("Content-Length", "5")])
    write(b"Hel")
    write(b"lo, World!")
    return [b"more"]


@path
def writes_and_waits(environ, start_response):
    write = start_response("200 OK", [])
    with tempfile.TemporaryDirectory() as directory:
        path = directory + "/received"
        write(path.encode())
        end = time.monotonic() + 10
        while not os.path.exists(path):
            if time.monotonic() > end:
                raise TimeoutError("nobody has received what was written")
            time.sleep(0.001)
    return [b"done"]


@path
def yields_and_waits(environ, start_response):
    """Whatever was yielded must arrive before the next piece is asked for, or nobody makes the file."""
    start_response("200 OK", [])
    with tempfile.TemporaryDirectory() as directory:
        for number in range(3):
            path = f"{directory}/{number}"
            for letter in path:
                yield letter.encode()
            yield b"now"
            end = time.monotonic() + 10
            while not os.path.exists(path):
                if time.monotonic() > end:
                    raise TimeoutError("nobody has received what was yielded")
                time.sleep(0.001)
    yield b"done"


class ClosesAndWaits:
    """`close`, and whatever comes behind the last piece, waits for the file that the response names."""

    def __init__(self, times, in_close):
        self.path = os.path.join(tempfile.mkdtemp(), "received")
        self.in_close = in_close
        self.body = self.path.encode() * times

    def __iter__(self):
        if self.body:
            yield self.body
        if not self.in_close:
            self.wait()

    def wait(self):
        end = time.monotonic() + 10
        while not os.path.exists(self.path):
            if time.monotonic() > end:
                raise TimeoutError("nobody has received the response")
            time.sleep(0.001)
        closed.append("received")

    def close(self):
        if self.in_close:
            self.wait()


@path
def closes_and_waits(environ, start_response):
    times, where = environ["QUERY_STRING"].split(",")
    result = ClosesAndWaits(int(times), where == "close")
    start_response("200 OK", [("Content-Length", str(len(result.body))), ("X-Path", result.path)])
    return result


@path
def sizes(environ, start_response):
    sizes, _, length = environ["QUERY_STRING"].partition("&")
    start_response("200 OK", [("Content-Length", length)] if length else [])
    return (bytes([97 + number]) * int(size) for number, size in enumerate(sizes.split(",")))


@path
def writes_much(environ, start_response):
    with open("progress", "wb", buffering=0) as progress:
        write = start_response("200 OK", [("X-Progress", os.path.abspath(progress.name))])
        for _ in range(300):
            write(b"x" * 100_000)
            progress.write(b".")
    return []


@path
def writes_endlessly(environ, start_response):
    write = start_response("200 OK", [])
    try:
        while True:
            write(b"x" * 1_000_000)
    except OSError as error:
        closed.append(type(error).__name__)
        raise


@path
def writes_text(environ, start_response):
    start_response("200 OK", [])("text")
    return []


@path
def writes_then_fails(environ, start_response):
    write = start_response("200 OK", [])
    write(b"written")
    try:
        raise ValueError("after write")
    except ValueError:
        start_response("500 Oops", [], sys.exc_info())
    return [b""]


@path
def yields_text(environ, start_response):
    start_response("200 OK", [])
    return ["text"]


@path
def yields_text_later(environ, start_response):
    start_response("200 OK", [])
    return iter([b"bytes", "text"])


@path
def empty(environ, start_response):
    start_response("200 OK", [])
    return []


@path
def empty_pieces(environ, start_response):
    start_response("200 OK", [])
    return [b"", b"a", b"", b"b", b""]


@path
def big_list(environ, start_response):
    start_response("200 OK", [])
    return [b"x" * 700_000, b"y" * 500_000]


@path
def a_tuple(environ, start_response):
    start_response("200 OK", [])
    return (b"a ", b"tuple")


class ListWithClose(list):
    def close(self):
        closed.append("list")


@path
def list_subclass(environ, start_response):
    start_response("200 OK", [])
    return ListWithClose([b"a list that ", b"can be closed"])


@path
def closing(environ, start_response):
    start_response("200 OK", [])
    return Closing("closing", [b"a", b"b"])


@path
def closing_fails(environ, start_response):
    start_response("200 OK", [])
    return Closing("closing_fails", [b"a", b"b"], close_fails=True)


@path
def fails_first(environ, start_response):
    start_response("200 OK", [])
    return Closing("fails_first", [b"a"], fail_at=0)


@path
def fails_later(environ, start_response):
    start_response("200 OK", [])
    return Closing("fails_later", [b"a", b"b"], fail_at=1)


@path
def fails_later_with_length(environ, start_response):
    start_response("200 OK", [("Content-Length", "100")])
    return Closing("fails_later_with_length", [b"a", b"b"], fail_at=1)


@path
def endless(environ, start_response):
    start_response("200 OK", [])

    def pieces():
        while True:
            yield b"x" * 65536

    return Closing("endless", pieces())


@path
def endless_small(environ, start_response):
    start_response("200 OK", [])
    while True:
        yield b"x" * 1000


@path
def too_long(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return [b"Hello, World!"]


@path
def too_long_streamed(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])
    return Closing("too_long_streamed", [b"Hel", b"lo, World!"])


@path
def too_short(environ, start_response):
    start_response("200 OK", [("Content-Length", "50")])
    return [b"Hello, World!"]


@path
def too_short_streamed(environ, start_response):
    start_response("200 OK", [("Content-Length", "50")])
    return Closing("too_short_streamed", [b"Hello, ", b"World!"])


@path
def exact_length_streamed(environ, start_response):
    start_response("200 OK", [("Content-Length", "5")])

    def pieces():
        yield b"Hello"
        closed.append("ran to its end")

    return pieces()


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


@path
def keeps_start_response(environ, start_response):
    """Calls what earlier requests have left."""
    results = []
    for old_start, old_write, old_environ in kept:
        for attempt in (
            lambda: old_start("200 OK", [("X-Old", "yes")]),
            lambda: old_write(b"old"),
            lambda: old_environ["wsgi.early_hints"]([("X-Old", "yes")]),
        ):
            try:
                attempt()
                results.append("silent")
            except AssertionError:
                results.append("refused")
    write = start_response("200 OK", [])
    kept.append((start_response, write, environ))
    return [json.dumps(results).encode()]


@path
def another_thread(environ, start_response):
    thread = threading.Thread(target=start_response, args=("200 OK", [("X-Thread", "yes")]))
    thread.start()
    thread.join()
    return [b"ok"]


def some_file(size):
    file = tempfile.NamedTemporaryFile()
    file.write(bytes(i % 251 for i in range(size)))
    file.flush()
    file.seek(0)
    return file


class RecordedFile:
    def __init__(self, file, name):
        self.file, self.name = file, name
        self.read, self.fileno, self.tell = file.read, file.fileno, file.tell

    def close(self):
        closed.append(self.name)
        self.file.close()


@path
def file(environ, start_response):
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](RecordedFile(some_file(300_000), "file"))


@path
def file_with_length(environ, start_response):
    start_response("200 OK", [("Content-Length", "1000")])
    return environ["wsgi.file_wrapper"](RecordedFile(some_file(300_000), "file_with_length"))


@path
def file_with_offset(environ, start_response):
    recorded = some_file(300_000)
    recorded.read(100)
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](recorded, 4096)


@path
def file_compressed(environ, start_response):
    with tempfile.NamedTemporaryFile() as file:
        file.write(gzip.compress(b"compressed " * 1000))
        file.flush()
        opened = gzip.open(file.name)
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](opened)


@path
def file_of_the_kernel(environ, start_response):
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](open("/proc/self/stat", "rb"))


@path
def file_in_memory(environ, start_response):
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](io.BytesIO(b"in memory " * 1000), 100)


@path
def file_pipe(environ, start_response):
    reader, writer = os.pipe()
    os.write(writer, b"through a pipe")
    os.close(writer)
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](open(reader, "rb"))


@path
def hints(environ, start_response):
    hint = environ["wsgi.early_hints"]
    hint([("Link", "</style.css>; rel=preload")])
    start_response("200 OK", [])
    hint([("Link", "</script.js>; rel=preload")])
    return [b"ok"]


@path
def hints_of_all(environ, start_response):
    """Sends its own, and tries to with those of earlier requests, which it has kept."""
    all_hints.append(environ["wsgi.early_hints"])
    for number, hint in enumerate(all_hints):
        hint([("Link", f"<{number}>")])
    start_response("200 OK", [])
    return [b"ok"]


@path
def bad_hints(environ, start_response):
    try:
        environ["wsgi.early_hints"]([("Link", "one\r\nX-Injected: two")])
        result = b"taken"
    except ValueError:
        result = b"refused"
    start_response("200 OK", [])
    return [result]


@path
def contexts(environ, start_response):
    """A stream whose context variable must not be seen by others, nor change between its pieces."""
    mine = environ["QUERY_STRING"]
    before = context.get()
    token = context.set(mine)
    start_response("200 OK", [])

    def pieces():
        yield before.encode() + b"\n"
        # More than the sockets hold, so that others get their turn.
        for _ in range(100):
            yield b"x" * 100_000
        yield b"\n" + context.get().encode()
        context.reset(token)

    return pieces()


@path
def sees_context(environ, start_response):
    start_response("200 OK", [])
    return [context.get().encode()]


@path
def pid(environ, start_response):
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]


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


@path
def marking(environ, start_response):
    """What it finds, and leaves what it is asked to leave: in the environ, in its context, or the environ itself."""
    found = [sorted(key for key in environ if key.startswith("marking.")), environ["QUERY_STRING"], context.get()]
    found += [[other["QUERY_STRING"] for other in environs], any(other is environ for other in environs)]
    way = environ.get("HTTP_ACCEPT", "")
    if way == "key":
        environ["marking.key"] = 1
    elif way == "value":
        environ["QUERY_STRING"] = "marked"
    elif way == "removal":
        del environ["HTTP_HOST"]
    elif way == "context":
        context.set("marked")
    elif way == "reference":
        environs.append(environ)
    elif way == "forget":
        environs.clear()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps([*found, environ.get("HTTP_HOST"), environ.get("HTTP_USER_AGENT", "")[:1]]).encode()]
