"""What an answer must be, and a client that reads it."""

from __future__ import annotations

import email.utils
import re
import socket
import time
from dataclasses import dataclass

from servers import Server, Wrong

GREETING = b"Hello, World!"
# Servers that leave Server or Date out where the application does not add them, as those of frameworks do not.
LEAVE_OUT = ("fastwsgi", "bjoern", "uwsgi")
# Servers that close each connection, whatever the client asks for.
CLOSE = ("gunicorn sync",)


@dataclass
class Answer:
    status: int
    fields: dict[str, str]
    body: bytes
    length: int


class Client:
    """One connection, read answer by answer."""

    def __init__(self, server: Server, timeout: float = 5):
        self.socket = socket.create_connection(server.address, timeout)
        self.pending = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()

    def ask(self, path: str = "/", count: int = 1, close: bool = False, body: bytes = b"") -> None:
        fields = "Connection: close\r\n" if close else ""
        if body:
            fields += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"
        self.socket.sendall((head.encode() + body) * count)

    def answer(self) -> Answer:
        head = self._until(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        fields = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        if fields.get("transfer-encoding", "").lower() == "chunked":
            body, length = self._chunks()
        elif "content-length" in fields:
            length = int(fields["content-length"])
            body = self._take(length)
        else:
            raise Wrong("an answer that says nothing of its length")
        return Answer(int(status.split()[1]), fields, body, len(head) + length)

    def closed(self) -> bool:
        try:
            return not self.pending and self.socket.recv(1) == b""
        except OSError:
            return False

    def _chunks(self) -> tuple[bytes, int]:
        body, length = b"", 0
        while True:
            line = self._until(b"\r\n")
            size = int(line.split(b";")[0], 16)
            body += self._take(size)
            length += len(line) + size + 2
            if self._take(2) != b"\r\n":
                raise Wrong("a chunk that does not end where it should")
            if size == 0:
                return body, length

    def _take(self, length: int) -> bytes:
        while len(self.pending) < length:
            self._more()
        taken, self.pending = self.pending[:length], self.pending[length:]
        return taken

    def _until(self, end: bytes) -> bytes:
        while end not in self.pending:
            self._more()
        head, _, self.pending = self.pending.partition(end)
        return head + end

    def _more(self) -> None:
        received = self.socket.recv(1 << 18)
        if not received:
            raise Wrong("the connection was closed before the answer was complete")
        self.pending += received


@dataclass(frozen=True)
class Question:
    """What is asked of a server before it is measured, and what it must answer."""

    expected: bytes
    path: str = "/"
    body: bytes = b""
    close: bool = False
    depth: int = 1


def verify(server: Server, question: Question) -> int:
    """Checks what a server answers under the conditions of a scenario; returns the length of an answer in bytes."""
    # nginx keeps its client's connection, whatever the server behind it does.
    closes = question.close or (server.name in CLOSE and not server.front)
    try:
        for _ in range(2 if closes else 1):
            with Client(server) as client:
                for _ in range(1 if closes else 2):
                    client.ask(question.path, question.depth, question.close, question.body)
                    answers = [client.answer() for _ in range(question.depth)]
                if closes and not client.closed():
                    raise Wrong("keeps a connection open that was to be closed")
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise Wrong(f"{server.name}: {error!r}") from error
    except Wrong as error:
        raise Wrong(f"{server.name}: {error}") from error
    for answer in answers:
        _verify_answer(server.name, answer, question, closes)
    return answers[-1].length


def _verify_answer(name: str, answer: Answer, question: Question, closes: bool) -> None:
    fields = answer.fields
    if answer.status != 200 or answer.body != question.expected:
        raise Wrong(f"{name}: answered {answer.status} with {len(answer.body)} bytes that are not the ones expected")
    for required in ("server", "date", "content-type"):
        if not fields.get(required) and name not in LEAVE_OUT:
            raise Wrong(f"{name}: has no {required} field")
    # A bare loop's answer is fixed, and so is its date, as is that of an application which adds it.
    date = email.utils.parsedate_to_datetime(fields["date"]).timestamp() if "date" in fields else time.time()
    age = abs(time.time() - date)
    if age > 5 and not name.startswith("bare") and name not in LEAVE_OUT:
        raise Wrong(f"{name}: its date is {age:.0f} s old")
    if question.expected == GREETING and fields["content-type"] != "text/plain; charset=utf-8":
        raise Wrong(f"{name}: its content type is {fields['content-type']!r}")
    if closes and not re.search(r"\bclose\b", fields.get("connection", ""), re.I):
        raise Wrong(f"{name}: does not announce that it closes")
