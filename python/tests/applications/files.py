"""Files, by `wsgi.file_wrapper`."""

import gzip
import io
import os
import tempfile

from .registry import closed, path


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
