"""What is done in Python on behalf of the server: loading the application, and the objects of its environ."""

from __future__ import annotations

import atexit
import importlib
import os
import signal
import sys
import threading

from . import _core, _log

# Each worker would have these for itself; what only some need is imported where they do.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any


class ApplicationError(Exception):
    """The name of the application leads nowhere, or to something that is no application."""


def prepare(pythonpath: str | None, variables: Iterable[tuple[str, str]], level: str) -> None:
    """Makes the interpreter what the settings want it to be."""
    _log.install(level)
    os.environ.update(variables)
    directories = [os.getcwd()]
    directories += [os.path.abspath(path) for path in (pythonpath or "").split(",") if path]
    for directory in directories:
        if directory not in sys.path:
            sys.path.insert(0, directory)


def load(name: str) -> Callable[..., Any]:
    """The application of that name: `module`, `module:attribute`, `module:factory("argument")`."""
    module_name, _, rest = name.partition(":")
    path, arguments = parse(rest or "application", name)
    application: Any = importlib.import_module(module_name)
    for part in path:
        try:
            application = getattr(application, part)
        except AttributeError:
            raise ApplicationError(
                f"Failed to find attribute {part!r} in {'.'.join([module_name, *path[:path.index(part)]])!r}."
            ) from None
    if arguments is not None:
        positional, named = arguments
        factory = application
        application = call_factory(factory, positional, named)
        if application is None:
            raise ApplicationError(f"The factory {name!r} returned None, which is no application.")
    if not callable(application):
        raise ApplicationError(f"Application object must be callable: {name!r} is of type {type(application).__name__}.")
    found: Callable[..., Any] = application
    return found


def call_factory(factory: Any, positional: list[Any], named: dict[str, Any]) -> Any:
    try:
        return factory(*positional, **named)
    except TypeError as error:
        # One frame only: the call itself has failed, not something inside the factory.
        if error.__traceback__ is not None and error.__traceback__.tb_next is None:
            raise ApplicationError(f"Failed to call the factory: {error}") from None
        raise


def parse(text: str, name: str) -> tuple[list[str], tuple[list[Any], dict[str, Any]] | None]:
    """The attributes that lead to the application, and the arguments if it is to be called."""
    if all(part.isidentifier() for part in text.split(".")):
        return text.split("."), None
    import ast

    try:
        expression = ast.parse(text, mode="eval").body
    except SyntaxError:
        raise ApplicationError(f"Failed to parse {text!r} as an attribute name or function call.") from None
    arguments = None
    if isinstance(expression, ast.Call):
        try:
            positional = [ast.literal_eval(argument) for argument in expression.args]
            named = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in expression.keywords}
        except (ValueError, SyntaxError):
            raise ApplicationError(f"Failed to parse arguments as literal values: {text!r} in {name!r}.") from None
        if any(keyword.arg is None for keyword in expression.keywords):
            raise ApplicationError(f"Failed to parse arguments as literal values: {text!r} in {name!r}.")
        arguments = (positional, named)
        expression = expression.func
    path: list[str] = []
    while isinstance(expression, ast.Attribute):
        path.insert(0, expression.attr)
        expression = expression.value
    if not isinstance(expression, ast.Name):
        raise ApplicationError(f"Failed to parse {text!r} as an attribute name or function call.")
    return [expression.id, *path], arguments


def describe(error: BaseException) -> str:
    """An exception with its traceback, less our own part of it."""
    import traceback

    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip("\n")


def summarize(error: BaseException) -> str:
    """An exception in a line, with the file and line that it comes from."""
    import traceback

    text = "".join(traceback.format_exception_only(type(error), error)).rstrip("\n").rpartition("\n")[2]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{text} ({error.filename}:{error.lineno})"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename not in (__file__, importlib.__file__) and not frame.filename.startswith("<frozen importlib")
    ]
    return f"{text} ({frames[-1].filename}:{frames[-1].lineno})" if frames else text


def finish() -> None:
    """What Python does at its end, short of tearing itself down, which would only touch pages that are shared."""
    steps, _last[:] = list(_last), []
    for step in steps:
        try:
            step()
        except BaseException as error:
            _core.log_error(f"While exiting: {describe(error)}")


def watch_forks() -> None:
    os.register_at_fork(after_in_child=forked)


def forked() -> None:
    """A process that the application has forked is not one of the server's, and ends when it is told to."""
    if not _core.forked():
        return
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) in (signal.SIG_DFL, None):
            signal.signal(number, signal.SIG_DFL)


def leave(request: str, error: BaseException | None) -> None:
    """Ends a process that the application has forked in a request, as Python ends a program."""
    status = 1
    try:
        if isinstance(error, SystemExit):
            code = error.code
            status = 0 if code is None else code & 0xFF if isinstance(code, int) else 1
            if status and not isinstance(code, int):
                print(code, file=sys.stderr)
        elif error is not None:
            _core.log_error(f"Error in a process that {request} has forked\n{describe(error)}")
        else:
            _core.log_error(f"A process that {request} has forked has returned from the request, and ends: see os._exit()")
        finish()
    finally:
        os._exit(status)


#: What is left to be done then: nothing is done twice.
_last: list[Any] = [threading._shutdown, atexit._run_exitfuncs, sys.stdout.flush, sys.stderr.flush]  # type: ignore


class FileWrapper:
    """`wsgi.file_wrapper`: an iterator over a file. The server sends a real file without reading it."""

    def __init__(self, filelike: Any, blksize: int = 8192) -> None:
        self.filelike = filelike
        self.blksize = blksize
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        data: bytes = self.filelike.read(self.blksize)
        if data:
            return data
        raise StopIteration


    def read_as_it_is(self) -> bool:
        """Whether the bytes of the file are what reading gives: not if it is decompressed on the way."""
        import io

        # What wraps a file, as those of `tempfile` and Django do, calls it so.
        file = getattr(self.filelike, "file", self.filelike)
        if isinstance(file, io.TextIOWrapper):
            file = file.buffer
        if isinstance(file, (io.BufferedReader, io.BufferedRandom)):
            file = file.raw
        return isinstance(file, io.FileIO) or not isinstance(file, io.IOBase)


class NoInput:
    """`wsgi.input` of a request without a body. All requests share one, so it has no state."""

    __slots__ = ()
    closed = False

    def read(self, size: int | None = -1, /) -> bytes:
        return b""

    read1 = readline = read

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        return []

    def readinto(self, buffer: Any, /) -> int:
        return 0

    def __iter__(self) -> NoInput:
        return self

    def __next__(self) -> bytes:
        raise StopIteration

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


#: What each thread has written to `wsgi.errors` behind its last complete line.
_begun: dict[int, str] = {}


def end_line() -> bool:
    """Logs what this thread has written. Returns whether others have begun a line, too."""
    if (line := _begun.pop(threading.get_ident(), "")).strip():
        _core.log_error(line)
    return bool(_begun)


class ErrorStream:
    """`wsgi.errors`: what is written goes to the error log as soon as the line is complete, or its thread has nothing to do."""

    encoding = "utf-8"
    errors = "backslashreplace"
    closed = False

    def write(self, text: str, /) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        lines, end, rest = text.rpartition("\n")
        if not end or _begun:
            lines, end, rest = (_begun.pop(threading.get_ident(), "") + text).rpartition("\n")
        if len(rest) > 65536:
            lines, end, rest = lines + end + rest, "", ""
        if lines.strip():
            _core.log_error(lines)
        if rest:
            _begun[threading.get_ident()] = rest
            _core.line_begun()
        return len(text)

    def writelines(self, texts: Iterable[str], /) -> None:
        for text in texts:
            self.write(text)

    def flush(self) -> None:
        end_line()

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True
