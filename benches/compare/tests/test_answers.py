"""Reading and judging answers, from a server that says what a test wants."""

import socket
import threading
from email.utils import formatdate
from types import SimpleNamespace

import pytest
from answers import GREETING, Client, Question, verify
from servers import Wrong

# The server puts the time in the place of NOW.
HEAD = "HTTP/1.1 200 OK\r\nServer: x\r\nDate: NOW\r\nContent-Type: text/plain; charset=utf-8\r\n"
SIZED = (HEAD + "Content-Length: 13\r\n\r\n").encode() + GREETING
CHUNKED = (HEAD + "Transfer-Encoding: chunked\r\n\r\n").encode() + b"7\r\nHello, \r\n6;x\r\nWorld!\r\n0\r\n\r\n"


@pytest.fixture
def server():
    """Answers each request with the next of its answers, over and over, and closes when an answer says so."""
    listener = socket.create_server(("127.0.0.1", 0))
    scripted = SimpleNamespace(name="scripted", address=listener.getsockname(), front=None, answer=b"", heard=[])

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                # A request is all that arrives at once: these clients wait for an answer before they go on.
                while request := connection.recv(1 << 16):
                    scripted.heard.append(request)
                    answer = scripted.answer.replace(b"NOW", formatdate(usegmt=True).encode())
                    connection.sendall(answer * request.count(b"HTTP/1.1\r\n"))
                    if b"connection: close" in scripted.answer.lower():
                        break

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield scripted
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


@pytest.mark.parametrize("answer", [SIZED, CHUNKED], ids=["sized", "chunked"])
def test_the_length_of_an_answer_is_what_is_on_the_wire(server, answer):
    server.answer = answer
    length = len(answer) - len("NOW") + len("Sun, 06 Nov 1994 08:49:37 GMT")
    assert verify(server, Question(GREETING)) == length
    assert verify(server, Question(GREETING, depth=16)) == length
    with Client(server) as client:
        client.ask()
        assert client.answer().body == GREETING and client.pending == b""


def test_a_body_is_posted(server):
    server.answer = SIZED
    verify(server, Question(GREETING, "/path", body=b'{"a": 1}'))
    head, body = server.heard[-1].split(b"\r\n\r\n")
    assert head.startswith(b"POST /path ") and b"Content-Length: 8" in head and body == b'{"a": 1}'


CLOSING = SIZED.replace(b"Server:", b"Connection: close\r\nServer:")


def test_a_server_that_closes_must_say_so_and_be_known_for_it(server):
    server.answer = CLOSING
    verify(server, Question(GREETING, close=True))
    with pytest.raises(Wrong, match="closed|reset|Broken"):
        verify(server, Question(GREETING))
    server.name = "gunicorn sync"
    verify(server, Question(GREETING))
    server.answer = SIZED
    with pytest.raises(Wrong, match="keeps a connection open"):
        verify(server, Question(GREETING))
    # nginx in front of it keeps its own.
    server.front = object()
    verify(server, Question(GREETING))


WRONG = {
    "another status": (SIZED.replace(b"200 OK", b"404 Not Found"), "answered 404"),
    "another body": (SIZED.replace(b"World", b"world"), "not the ones expected"),
    "no date": (SIZED.replace(b"Date", b"X-Date"), "has no date"),
    "no server": (SIZED.replace(b"Server", b"X-Server"), "has no server"),
    "an old date": (SIZED.replace(b"NOW", b"Sun, 06 Nov 1994 08:49:37 GMT"), "s old"),
    "another type": (SIZED.replace(b"text/plain", b"text/html"), "content type"),
    "no length": (SIZED.replace(b"Content-Length", b"X-Length"), "nothing of its length"),
    "a wrong chunk": (CHUNKED.replace(b"7\r\n", b"8\r\n"), "does not end where it should|ValueError"),
    "half an answer": (b"HTTP/1.1 200 OK\r\nConnection: close\r\n", "closed before"),
}


@pytest.mark.parametrize("answer, said", WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_found(server, answer, said):
    server.answer = answer
    with pytest.raises(Wrong, match=said):
        verify(server, Question(GREETING))
