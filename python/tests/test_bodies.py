"""PEP 3333, detail by detail, against a running server: what is sent of the bodies that applications return or write."""

import json
import re
import socket
import time
from pathlib import Path

import pytest
from conftest import BrokenOff, wait_until


def names_closed(server):
    return json.loads(server.request(target="/closed").body)


@pytest.mark.parametrize(
    "name, body",
    [
        ("hello", b"Hello, World!"),
        ("empty", b""),
        ("empty_pieces", b"ab"),
        ("a_tuple", b"a tuple"),
        ("big_list", b"x" * 700_000 + b"y" * 500_000),
        ("writes_only", b"written"),
        ("sized", b"Hello, World!"),
        ("file", bytes(i % 251 for i in range(300_000))),
        ("file_with_length", bytes(i % 251 for i in range(1000))),
        ("file_with_offset", bytes(i % 251 for i in range(300_000))[100:]),
    ],
)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_body_of_known_length_has_a_content_length(pep3333, name, body, version):
    with pep3333.client() as client:
        response = client.request(target=f"/{name}", version=version)
        assert (response.status, response.body) == (200, body)
        assert response.value("Content-Length") == str(len(body)).encode()
        if version == "1.1":
            # Nothing was left over, and the connection is kept.
            assert client.request().body == b"Hello, World!"
        else:
            assert client.is_closed()


@pytest.mark.parametrize(
    "name, chunks",
    [
        ("starts_lazily", [b"one", b"two"]),
        ("starts_after_empty_pieces", [b"body"]),
        ("closing", [b"a", b"b"]),
        ("list_subclass", [b"a list that ", b"can be closed"]),
        ("file_in_memory", [b"in memory " * 10] * 100),
        ("file_pipe", [b"through a pipe"]),
        ("writes", [b"written ", b"twice, ", b"then returned"]),
        ("writes_and_yields", [b"written", b"yielded", b"twice"]),
        ("writes_late", [b"written", b"yielded"]),
    ],
)
def test_an_iterable_is_streamed_piece_by_piece(pep3333, name, chunks):
    with pep3333.client() as client:
        response = client.request(target=f"/{name}")
        assert response.value("Transfer-Encoding") == b"chunked" and response.chunks == chunks
        assert client.request().body == b"Hello, World!"
    with pep3333.client() as client:
        # HTTP/1.0 has no chunks: the end of the connection tells.
        response = client.request(target=f"/{name}", version="1.0")
        assert response.value("Transfer-Encoding") is None and response.body == b"".join(chunks)


@pytest.mark.parametrize(
    "name, closes",
    [
        ("closing", True),
        ("closing_fails", True),
        ("list_subclass", True),
        ("fails_first", True),
        ("fails_later", True),
        ("too_long_streamed", True),
        ("too_short_streamed", True),
        ("sized", True),
        ("file", True),
        ("file_with_length", True),
        ("hello", False),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_close_is_called_once_however_the_response_ends(pep3333, name, closes, method):
    names_closed(pep3333)
    try:
        pep3333.request(method, f"/{name}")
    except BrokenOff:
        pass
    expected = ["list" if name == "list_subclass" else name] if closes else []
    assert names_closed(pep3333) == expected


@pytest.mark.parametrize("name, closed", [("endless", "endless"), ("writes_endlessly", "BrokenPipeError")])
def test_an_application_is_told_that_its_client_has_gone(pep3333, name, closed):
    names_closed(pep3333)
    with pep3333.client() as client:
        client.send(f"GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        client.take(100_000)
    found = []
    wait_until("close", lambda: found.extend(names_closed(pep3333)) or found)
    assert found == [closed]


def test_a_file_is_what_reading_it_gives(pep3333):
    assert pep3333.request(target="/file_compressed").body == b"compressed " * 1000
    assert pep3333.request(target="/file_of_the_kernel").body.count(b" ") > 20


def test_a_slow_reader_suspends_its_own_stream_only(pep3333):
    with pep3333.client() as slow:
        slow.send(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        slow.take(10)
        for _ in range(20):
            assert pep3333.request().body == b"Hello, World!"


@pytest.mark.parametrize("name", ["fails_later", "fails_later_with_length", "too_short", "too_short_streamed", "yields_text_later", "starts_again_too_late", "writes_then_fails", "writes_too_little"])
def test_a_response_that_cannot_be_completed_is_broken_off(pep3333, name):
    with pep3333.client() as client:
        with pytest.raises(BrokenOff):
            client.request(target=f"/{name}")
    assert pep3333.request().status == 200


def test_a_response_that_is_broken_off_is_in_the_access_log(serve):
    server = serve("applications:application", "--access-logfile", "-", "--access-logformat", "%(U)s %(s)s %(B)s")
    for name in ("fails_later", "too_short_streamed"):
        with pytest.raises(BrokenOff):
            server.request(target=f"/{name}")
    with server.client() as client:
        client.send(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        client.head()
    with server.client() as client:
        client.send(b"GET /big_list HTTP/1.1\r\nHost: x\r\n\r\n")
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.head()
    wait_until(lambda: server.out, lambda: "/big_list" in server.out and "/endless" in server.out)
    lines = dict(line.split(" ", 1) for line in server.out.splitlines())
    assert lines["/fails_later"] == "200 1"
    assert lines["/too_short_streamed"] == "200 13"
    assert lines["/endless"].startswith("200 ")
    assert int(lines["/big_list"].removeprefix("200 ")) <= 1_200_000


@pytest.mark.parametrize("name", ["too_long", "too_long_streamed", "writes_too_much"])
def test_what_is_beyond_the_content_length_is_not_sent(pep3333, name):
    with pep3333.client() as client:
        response = client.request(target=f"/{name}")
        assert response.body == b"Hello" and client.is_closed()
    pep3333.wait_for_log("Content-Length")


def test_what_is_written_is_sent_before_the_call_returns(pep3333):
    with pep3333.client() as client:
        client.send(b"GET /writes_and_waits HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        head = client.head()
        assert head.status == 200 and head.value("Transfer-Encoding") == b"chunked"
        # The application waits for the file whose name it has written.
        size = int(client.take_line(), 16)
        (Path(client.take(size).decode())).touch()
        assert client.take(2) == b"\r\n"
        assert client.take_line() == b"4" and client.take(4) == b"done"


def test_pieces_are_on_their_way_while_the_next_is_produced(pep3333):
    with pep3333.client() as client:
        client.send(b"GET /yields_and_waits HTTP/1.1\r\nHost: x\r\n\r\n")
        client.head()
        for last in (False, False, True):
            received = b""
            while not received.endswith(b"now"):
                received += client.take(int(client.take_line(), 16))
                assert client.take(2) == b"\r\n"
            Path(received.removesuffix(b"now").decode()).touch()
        assert client.take_line() == b"4" and client.take(4) == b"done"


@pytest.mark.parametrize("where", ["close", "end"])
@pytest.mark.parametrize("times", [1, 10_000])
def test_a_response_of_known_length_is_not_held_up_by_what_comes_behind_it(pep3333, times, where):
    names_closed(pep3333)
    with pep3333.client() as client:
        response = client.request(target=f"/closes_and_waits?{times},{where}")
        path = Path(response.value("X-Path").decode())
        assert response.body == str(path).encode() * times
        path.touch()
        assert client.request().body == b"Hello, World!"
    assert names_closed(pep3333) == ["received"]


def test_an_empty_response_is_not_held_up_by_its_close(pep3333):
    names_closed(pep3333)
    with pep3333.client() as client:
        Path(client.request(target="/closes_and_waits?0,close").value("X-Path").decode()).touch()
        assert client.request().body == b"Hello, World!"
    assert names_closed(pep3333) == ["received"]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("length", [None, 600_000, 599_999, 300_000, 5])
def test_pieces_of_all_sizes_are_streamed(pep3333, version, length):
    sizes = [1, 70_000, 5, 16384, 16385, 0, 3, 3, 400_000, 9, 97_210]
    query = ",".join(map(str, sizes)) + (f"&{length}" if length else "")
    expected = b"".join(bytes([97 + number]) * size for number, size in enumerate(sizes))
    with pep3333.client() as client:
        response = client.request(target=f"/sizes?{query}", version=version)
        assert response.body == expected[:length]
        if version == "1.1" and length is None:
            assert [len(chunk) for chunk in response.chunks] == [size for size in sizes if size]
        if version == "1.1" and length in (None, 600_000):
            assert client.request().body == b"Hello, World!"
        else:
            assert client.is_closed()


def test_a_slow_reader_holds_its_writer_up(pep3333):
    with pep3333.client() as client:
        client.send(b"GET /writes_much HTTP/1.1\r\nHost: x\r\n\r\n")
        progress = Path(client.head().value("X-Progress").decode())
        size = 0
        def stands_still():
            nonlocal size
            before, size = size, progress.stat().st_size
            time.sleep(0.2)
            return 0 < size == before
        wait_until("a writer that waits", stands_still)
        # What the sockets hold, and a little.
        assert size < 200
        client.rest_of_chunks = 0
        while line := int(client.take_line(), 16):
            client.rest_of_chunks += len(client.take(line))
            client.take(2)
        assert client.rest_of_chunks == 300 * 100_000 and progress.stat().st_size == 300
        client.take(2)
        assert client.request().body == b"Hello, World!"


def test_a_reader_that_stands_still_is_given_up(serve):
    server = serve("applications:application", "--send-timeout", "1", "--timeout", "30")
    with server.client() as client:
        client.send(b"GET /writes_endlessly HTTP/1.1\r\nHost: x\r\n\r\n")
        client.take(1000)
        found = []
        wait_until("an error", lambda: found.extend(names_closed(server)) or found)
        assert found == ["BrokenPipeError"]


def test_waiting_for_a_reader_is_not_a_call_that_takes_too_long(serve):
    server = serve("applications:application", "--timeout", "1")
    with server.client() as client:
        client.send(b"GET /writes_much HTTP/1.1\r\nHost: x\r\n\r\n")
        progress = Path(client.head().value("X-Progress").decode())
        # Slower than the timeout in all, and never still for long.
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            client.take(10_000)
            time.sleep(0.01)
        assert progress.stat().st_size < 300
        assert b"0\r\n\r\n" == client.rest_until(b"0\r\n\r\n")[-5:]
    assert "WORKER TIMEOUT" not in server.log


def test_a_stream_of_exact_length_runs_to_its_end(pep3333):
    names_closed(pep3333)
    assert pep3333.request(target="/exact_length_streamed").body == b"Hello"
    assert names_closed(pep3333) == ["ran to its end"]


@pytest.mark.parametrize("how", ["application", "generator"])
def test_memory_is_flat_with_a_hundred_slow_readers(serve, how):
    """Each has an endless response of its own in the same worker, and reads none of it."""
    server = serve("applications:application")
    worker = server.workers()[0]

    def resident():
        status = Path(f"/proc/{worker}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])

    before = resident()
    clients = [server.client() for _ in range(100)]
    for client in clients:
        client.send(f"GET /{'endless' if how == 'application' else 'endless_small'} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    for client in clients:
        client.take(100)
    # All are blocked: the worker has nothing to do.
    def used():
        fields = Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    def rests():
        start = used()
        time.sleep(0.3)
        return used() - start <= 2

    wait_until("a worker at rest", rests)
    assert resident() - before < 100 * 160
    assert server.request().body == b"Hello, World!"
    for client in clients:
        client.take(200_000)
    wait_until("a worker at rest", rests)
    assert resident() - before < 100 * 160
    for client in clients:
        client.close()
