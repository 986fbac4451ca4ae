"""Bodies, as they are written, yielded and returned."""

import os
import sys
import tempfile
import time

from .registry import Closing, closed, path


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
