"""PEP 3333, detail by detail, against a running server."""

import json
import random
import re
import socket
import time
from pathlib import Path

from applications import responses
import pytest
from conftest import SOON, BrokenOff, wait_until

PAGE_500 = b"<h1><p>Internal Server Error</p></h1>"


def names_closed(server):
    return json.loads(server.request(target="/closed").body)


def test_environ_has_all_keys(pep3333):
    with pep3333.client() as client:
        host, port = client.socket.getsockname()
        response = client.request(
            "POST",
            "/environ/a%20b%C3%A9%2Fc%zz?x=%20&y",
            [
                ("X-Twice", "one"),
                ("Content-Type", "text/x"),
                ("x-twice", "two"),
                ("Cookie", "a=1"),
                ("Cookie", "b=2"),
                ("Accept", "a/b"),
                ("Accept", "c/d"),
                ("X_Twice", "spoofed"),
                ("Content_Length", "7"),
                ("Proxy", "http://evil/"),
                ("X-Latin", "caf\xe9"),
            ],
            b"body",
        )
    environ = json.loads(response.body)
    # There if the machine is slow.
    environ.pop("ferricorn.queue_time", None)
    assert environ == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/environ/a b\xc3\xa9/c%zz",
        "QUERY_STRING": "x=%20&y",
        "RAW_URI": "/environ/a%20b%C3%A9%2Fc%zz?x=%20&y",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(pep3333.address[1]),
        "SERVER_SOFTWARE": environ["SERVER_SOFTWARE"],
        "REMOTE_ADDR": host,
        "REMOTE_PORT": str(port),
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "4",
        "HTTP_HOST": "example.org",
        "HTTP_X_TWICE": "one,two",
        "HTTP_COOKIE": "a=1; b=2",
        "HTTP_ACCEPT": "a/b,c/d",
        "HTTP_X_LATIN": "caf\xe9",
        "wsgi.version": [1, 0],
        "wsgi.url_scheme": "http",
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.input_terminated": True,
    }
    assert re.fullmatch(r"ferricorn/\S+", environ["SERVER_SOFTWARE"])


@pytest.mark.parametrize(
    "method, target, headers, version, expected",
    [
        ("GET", "/environ", [], "1.0", {"SERVER_PROTOCOL": "HTTP/1.0", "QUERY_STRING": ""}),
        ("BREW", "/environ", [], "1.1", {"REQUEST_METHOD": "BREW"}),
        ("GET", "http://other.org/environ/x?q", [], "1.1", {"HTTP_HOST": "other.org", "PATH_INFO": "/environ/x", "QUERY_STRING": "q"}),
        ("GET", "/environ?", [], "1.1", {"QUERY_STRING": "", "RAW_URI": "/environ?", "PATH_INFO": "/environ"}),
        ("GET", "/environ", [("X-Forwarded-Proto", "https")], "1.1", {"wsgi.url_scheme": "https"}),
        ("GET", "/environ", [("X-Request-Start", "t=yesterday")], "1.1", {"HTTP_X_REQUEST_START": "t=yesterday"}),
        ("GET", "/environ", [("SCRIPT_NAME", "/environ")], "1.1", None),
        ("GET", "/mount/environ/x", [("SCRIPT_NAME", "/mount")], "1.1", {"SCRIPT_NAME": "/mount", "PATH_INFO": "/environ/x"}),
    ],
)
def test_environ_of_other_requests(pep3333, method, target, headers, version, expected):
    response = pep3333.request(method, target, headers, version=version)
    if expected is None:
        assert response.body == b"Hello, World!"
        return
    environ = json.loads(response.body)
    assert {key: environ[key] for key in expected} == expected


def test_the_time_in_the_queue_is_in_the_environ(pep3333):
    environ = json.loads(pep3333.request(target="/environ", headers=[("X-Request-Start", f"t={time.time() - 5:.3f}")]).body)
    # Both clocks are read to the millisecond.
    assert 4.99 <= environ["ferricorn.queue_time"] < 15


def test_a_request_that_has_not_waited_does_not_say_that_another_has(pep3333):
    with pep3333.client() as client:
        for start, waited in [(f"t={time.time() - 5:.3f}", True), ("t=yesterday", False)] * 3:
            environ = json.loads(client.request(target="/environ", headers=[("X-Request-Start", start)]).body)
            assert ("ferricorn.queue_time" in environ) == waited


def test_a_path_outside_of_script_name_is_a_500_in_the_log(pep3333):
    assert pep3333.request(target="/elsewhere", headers=[("SCRIPT_NAME", "/mount")]).status == 500
    pep3333.wait_for_log("Request path '/elsewhere' does not start with SCRIPT_NAME '/mount'")


def test_the_same_environ_is_never_given_twice(pep3333):
    with pep3333.client() as client:
        first = json.loads(client.request(target="/environ/1", headers=[("X-One", "1")]).body)
        second = json.loads(client.request(target="/environ/2", headers=[("X-Two", "2")]).body)
    assert "HTTP_X_ONE" in first and "HTTP_X_ONE" not in second and "HTTP_X_TWO" in second


def test_a_request_says_nothing_of_the_one_before(pep3333):
    """Whatever was there then: each is asked about after each of the others."""
    requests = [
        ("/environ", "Host: a.example\r\n", {"PATH_INFO": "/environ", "HTTP_HOST": "a.example"}),
        ("/environ?x=1", "Host: a.example\r\n", {"PATH_INFO": "/environ", "QUERY_STRING": "x=1", "HTTP_HOST": "a.example"}),
        ("/environ/%41", "Host: b.example\r\nAccept: a/b\r\n", {"PATH_INFO": "/environ/A", "HTTP_ACCEPT": "a/b"}),
        ("/environ/B", "Accept: c/d\r\n", {"PATH_INFO": "/environ/B", "HTTP_ACCEPT": "c/d"}),
        ("http://c.example/environ", "Host: c.example\r\n", {"PATH_INFO": "/environ", "HTTP_HOST": "c.example"}),
        ("/mount/environ", "Host: d.example\r\nSCRIPT_NAME: /mount\r\n", {"PATH_INFO": "/environ", "SCRIPT_NAME": "/mount"}),
        ("/environ", "Cookie: a=1\r\nAuthorization: Basic x\r\n", {"HTTP_COOKIE": "a=1", "HTTP_AUTHORIZATION": "Basic x"}),
    ]
    usual = {"QUERY_STRING": "", "SCRIPT_NAME": "", "HTTP_HOST": None, "HTTP_ACCEPT": None, "HTTP_COOKIE": None, "HTTP_AUTHORIZATION": None}

    def ask(client, target, fields, expected):
        # Without a Host where none is named, which HTTP/1.0 allows.
        client.send(f"GET {target} HTTP/1.0\r\nConnection: keep-alive\r\n{fields}\r\n".encode())
        environ = json.loads(client.response("GET").body)
        wanted = usual | {"RAW_URI": target} | expected
        if "Host" in fields and "HTTP_HOST" not in expected:
            wanted["HTTP_HOST"] = fields.split()[1]
        assert {key: environ.get(key) for key in wanted} == wanted

    with pep3333.client() as client:
        for before in requests:
            for request in requests:
                ask(client, *before)
                ask(client, *request)


@pytest.mark.parametrize("pipelined", [False, True])
@pytest.mark.parametrize("way", ["key", "value", "removal", "context", "reference"])
def test_what_an_application_leaves_is_not_there_in_the_next_request(pep3333, way, pipelined):
    """Although an environ and a context that nobody has changed may be used for the next one."""
    ways = [way if number % 2 else "nothing" for number in range(6)] + ["forget"]
    # Always the same keys.
    requests = [f"GET /marking?{number} HTTP/1.1\r\nHost: x\r\nAccept: {way}\r\n\r\n".encode() for number, way in enumerate(ways)]
    with pep3333.client() as client:
        if pipelined:
            client.send(b"".join(requests))
        for number, request in enumerate(requests[:-1]):
            if not pipelined:
                client.send(request)
            marks, query, variable, kept, given_again, host, _ = json.loads(client.response("GET").body)
            assert (marks, query, variable, given_again) == ([], str(number), "unset", False)
            assert kept == (["1", "3"][: number // 2] if way == "reference" else []), "what was kept stays as it was"
            assert (host is None) == (way == "removal" and number % 2 == 1)
        if not pipelined:
            client.send(requests[-1])
        assert client.response("GET").status == 200


def test_a_field_is_what_the_request_says_however_long_the_last_one_was(pep3333):
    with pep3333.client() as client:
        for agent in ["a", "b" * 2000, "a", "b" * 2000, "b" * 2000, "c" * 512, "a"]:
            body = client.request(target="/marking", headers=[("User-Agent", agent)]).body
            assert json.loads(body)[-1] == agent[0]


#: What a header line may say, in each of several requests; most often the same.
LINES = {
    "User-Agent": ["one", "one", "two", "x" * 600],
    "Accept": ["*/*", "*/*", "text/html"],
    "Cookie": ["a=b", "a=b", "c=d"],
    "Authorization": ["Basic eA==", "Basic eQ=="],
    "Accept-Language": ["de", "de", "en"],
    "Referer": ["http://x/", "http://x/y"],
    "X-Of-Its-Own": ["a", "b"],
}


@pytest.mark.parametrize("seed", range(4))
def test_each_environ_has_the_fields_of_its_request_whatever_was_asked_before(pep3333, seed):
    """What a request has in common with the one before is found out once, and environs are used again: by two clients, with
    bodies, with requests that are refused or change their environ, with lines that come and go or change places, and with
    heads that are all the same."""
    chance = random.Random(seed)
    clients = [pep3333.client(), pep3333.client()]
    names = list(LINES)
    target, fields = "/environ", []
    for _ in range(600):
        if chance.random() < 0.1:
            chance.shuffle(names)
        client = chance.randrange(2)
        if chance.random() < 0.6:
            target = chance.choice(["/environ", "/environ?a", "/environ?b"])
            few = chance.choice([5, 5, 5, 4, 7, 1, 0])
            present = [name for name in names[:few] if chance.random() < 0.97]
            fields = [(name, chance.choice(LINES[name])) for name in present]
        match chance.choices(["environ", "marking", "body", "refused"], [80, 8, 6, 6])[0]:
            case "environ":
                port = str(clients[client].socket.getsockname()[1])
                method = chance.choice(["GET", "GET", "GET", "POST"])
                body = b"b" if method == "POST" else b""
                found = json.loads(clients[client].request(method, target, fields, body).body)
                expected = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in fields}
                assert {key: found[key] for key in found if key.startswith("HTTP_")} == expected | {"HTTP_HOST": "example.org"}
                expected = {"RAW_URI": target, "PATH_INFO": "/environ", "QUERY_STRING": target[9:], "REQUEST_METHOD": method}
                expected |= {"REMOTE_PORT": port, "CONTENT_LENGTH": "1" if body else None}
                assert {key: found.get(key) for key in expected} == expected
            case "marking":
                marks = [(name, "value" if name == "Accept" else value) for name, value in fields]
                assert clients[client].request(target="/marking", headers=marks).status == 200
            case "body":
                assert clients[client].request("POST", "/echo", fields, b"body").body == b"body"
            case "refused":
                hosts = [("Host", "example.org"), *fields, ("Host", "another")]
                assert clients[client].request(target="/environ", headers=hosts).status == 400
                clients[client].close()
                clients[client] = pep3333.client()
    for client in clients:
        client.close()


def test_requests_with_the_same_head_have_bodies_of_their_own(pep3333):
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with pep3333.client() as client:
        for body in [b"", b"one", b"", b"", b"three", b"two", b""]:
            chunk = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
            client.send(head + chunk + b"0\r\n\r\n")
            assert client.response("POST").body == body


@pytest.mark.parametrize(
    "steps, expected",
    [
        ("read", ["one\ntwo\n\nthree"]),
        ("read:-1", ["one\ntwo\n\nthree"]),
        ("read:2,read:3,read,read", ["on", "e\nt", "wo\n\nthree", ""]),
        ("readline,readline:2,readline,readline,readline,readline", ["one\n", "tw", "o\n", "\n", "three", ""]),
        ("readlines", [["one\n", "two\n", "\n", "three"]]),
        ("readlines:5", [["one\n", "two\n"]]),
        ("readline,iter,read", ["one\n", ["two\n", "\n", "three"], ""]),
    ],
)
@pytest.mark.parametrize("framing", ["length", "chunked", "file"])
def test_input_is_read_in_every_way(pep3333, steps, expected, framing):
    body, headers = b"one\ntwo\n\nthree", []
    if framing == "chunked":
        chunks = [body[:3], body[3:4], body[4:]]
        body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nX-Trailer: no\r\n\r\n"
        headers = [("Transfer-Encoding", "chunked")]
    elif framing == "file":
        # Larger than what is kept in memory, so that it comes from a file.
        body = body.replace(b"three", b"three" + b"." * 200_000)
        expected = json.loads(json.dumps(expected).replace("three", "three" + "." * 200_000))
    response = pep3333.request("POST", f"/reads?{steps}", headers, body)
    assert json.loads(response.body) == expected


@pytest.mark.parametrize("steps", ["read", "read:10", "readline", "readlines", "iter"])
def test_input_without_a_body_is_empty(pep3333, steps):
    assert json.loads(pep3333.request(target=f"/reads?{steps}").body) in ([""], [[]])


def test_closing_the_empty_input_does_not_close_the_next_one(pep3333):
    for _ in range(2):
        assert pep3333.request(target="/closes_input").body == b"closed"
    assert json.loads(pep3333.request(target="/reads?read").body) == [""]


def test_a_chunked_body_has_a_length(pep3333):
    response = pep3333.request("POST", "/echo", [("Transfer-Encoding", "chunked")], b"5\r\nHello\r\n0\r\n\r\n")
    assert (response.body, response.value("X-Content-Length")) == (b"Hello", b"5")


def test_errors_go_to_the_error_log_line_by_line(pep3333):
    pep3333.request(target="/errors")
    pep3333.wait_for_log("without an end")
    lines = [line.split("[ERROR] ")[-1] for line in pep3333.log.splitlines()]
    start = lines.index("a line of the application's")
    assert lines[start : start + 4] == ["a line of the application's", "half a line", "and more", "without an end"]


def test_a_line_without_an_end_is_in_the_error_log_when_its_request_is_over(pep3333):
    pep3333.request(target="/errors_without_end")
    pep3333.wait_for_log(r"\[ERROR\] another that has no end\n")
    assert re.search(r"\[ERROR\] one line and\n", pep3333.log)


def test_lines_without_an_end_of_requests_that_come_together_are_lines_each(pep3333):
    with pep3333.client() as client:
        client.send(b"GET /errors_without_end?together HTTP/1.1\r\nHost: x\r\n\r\n" * 8)
        assert [client.response().status for _ in range(8)] == [200] * 8
    wait_until("the last line", lambda: pep3333.log.endswith("another that has no end together\n"))
    lines = [line for line in pep3333.log.splitlines() if "together" in line]
    assert len(lines) == 8 and all(line.endswith("[ERROR] another that has no end together") for line in lines)


def test_what_is_no_utf_8_is_escaped_in_the_error_log(pep3333):
    assert pep3333.request(target="/errors_of_all_kinds?asked").status == 500
    pep3333.wait_for_log("KeyError: 'asked'")
    for text in ("[ERROR] a name: caf", "[WARNING] a logged name: caf", "ValueError: a name that is raised: caf"):
        assert text + "\\udce9\n" in pep3333.log


@pytest.mark.parametrize(
    "name, logged",
    [
        ("raises", "KeyError: 'raised before start_response'"),
        ("raises_after_start", "KeyError: 'raised after start_response'"),
        ("exits", "SystemExit: 7"),
        ("interrupted", "KeyboardInterrupt"),
        ("never_starts", "AssertionError: the application did not call start_response"),
        ("returns_none", "TypeError: 'NoneType' object is not iterable"),
        ("starts_twice", "AssertionError: Response headers already set!"),
        ("yields_text", "TypeError: the application yielded <class 'str'> instead of bytes"),
        ("writes_text", "TypeError: write() takes bytes, not <class 'str'>"),
        ("fails_first", "RuntimeError: in the middle"),
        ("starts_after_empty_pieces?never", ""),
        *((f"bad_header?{name}", "Error") for name in responses.BAD_HEADERS),
        *((f"status?{line}", "ValueError: status must be") for line in ["", "20", "2000+Long", "200OK", "099+Low", "101+Switching", "600+High", "abc+Words"]),
    ],
)
def test_a_broken_application_gives_a_500_and_a_traceback(pep3333, name, logged):
    if not logged:
        assert pep3333.request(target=f"/{name}").status == 200
        return
    before = pep3333.log.count(logged)
    with pep3333.client() as client:
        response = client.request(target=f"/{name}")
        assert response.status == 500 and PAGE_500 in response.body and not response.values("X-Mine")
        # The worker and the connection are as good as ever.
        assert client.request().body == b"Hello, World!"
    wait_until(f"{logged!r} in the log:\n{pep3333.log}", lambda: pep3333.log.count(logged) > before)
    assert re.search(rf"Error handling request GET /{re.escape(name)}\n", pep3333.log)
    assert 'responses.py", line' in pep3333.log


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


def test_close_is_called_when_the_client_goes(pep3333):
    names_closed(pep3333)
    with pep3333.client() as client:
        client.send(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        client.take(100_000)
    found = []
    wait_until("close", lambda: found.extend(names_closed(pep3333)) or found)
    assert found == ["endless"]


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


def test_a_writer_is_told_that_its_client_has_gone(pep3333):
    names_closed(pep3333)
    with pep3333.client() as client:
        client.send(b"GET /writes_endlessly HTTP/1.1\r\nHost: x\r\n\r\n")
        client.take(100_000)
    found = []
    wait_until("an error", lambda: found.extend(names_closed(pep3333)) or found)
    assert found == ["BrokenPipeError"]


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


def test_exc_info_replaces_a_head_that_was_not_sent(pep3333):
    response = pep3333.request(target="/starts_again_with_exc_info")
    assert (response.status, response.reason, response.body) == (503, b"Sorry", b"an error page")
    assert not response.values("X-First") and response.values("X-Second")


def test_exc_info_is_raised_again_when_the_head_was_sent(pep3333):
    before = len(pep3333.log)
    with pytest.raises(BrokenOff):
        pep3333.request(target="/starts_again_too_late")
    pep3333.wait_for_log("ValueError: too late for a page")
    assert "AssertionError" not in pep3333.log[before:]


@pytest.mark.parametrize(
    "line, status, reason",
    [("200+OK", 200, b"OK"), ("299+Very+well", 299, b"Very well"), ("404+Not+Found", 404, b"Not Found"), ("599+", 599, b"")],
)
def test_status_and_reason_are_the_applications(pep3333, line, status, reason):
    response = pep3333.request(target=f"/status?{line}")
    assert (response.status, response.reason, response.body) == (status, reason, b"body")


@pytest.mark.parametrize("target", ["/status?204+No+Content", "/status?304+Not+Modified", "/not_modified"])
def test_statuses_without_a_body_have_none(pep3333, target):
    with pep3333.client() as client:
        response = client.request(target=target)
        assert response.value("Transfer-Encoding") is None
        assert client.request().body == b"Hello, World!"


@pytest.mark.parametrize(
    "name, length", [("hello", b"13"), ("head_with_length", b"1234"), ("big_list", b"1200000"), ("closing", None), ("too_long", b"5")]
)
def test_head_has_the_head_and_no_body(pep3333, name, length):
    with pep3333.client() as client:
        assert client.request("HEAD", f"/{name}").value("Content-Length") == length
        assert client.request().body == b"Hello, World!"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "name, status, body",
    [
        ("valid_lazy", 200, b"onetwo"),
        ("valid_list", 200, b"onetwo"),
        ("valid_written", 200, b"onetwo"),
        ("valid_file", 200, b"onetwo"),
        ("valid_empty", 204, b""),
        ("valid_lazy_empty", 304, b""),
    ],
)
def test_the_validator_has_no_objections(pep3333, name, status, body, method):
    with pep3333.client() as client:
        for _ in range(3):
            response = client.request(method, f"/checked/{name}")
            assert (response.status, response.body) == (status, body if method == "GET" else b"")
            # Also where it is only said when the first piece is asked for.
            assert response.value("X-Lazy") == (b"yes" if "lazy" in name else b"no")
    # Whatever the validator says while objects are let go.
    pep3333.request(target="/errors")
    assert "garbage collected" not in pep3333.log and f"checked/{name}" not in pep3333.log


def test_headers_are_what_they_were_at_the_call(pep3333):
    response = pep3333.request(target="/odd_headers")
    assert response.value("X-List") == b"a list instead of a tuple"
    assert response.value("X-Latin") == b"caf\xe9"
    assert response.values("Set-Cookie") == [b"a=1", b"b=2"]
    assert response.value("X-Empty") == b""
    assert not response.values("X-Late") and not response.values("Keep-Alive") and not response.values("Connection")
    assert response.value("Server") == b"ferricorn" and response.value("Date") != b"yesterday"
    assert pep3333.request(target="/header_tuple").value("X-A") == b"1"


def test_a_list_of_headers_that_changes_is_read_anew(pep3333):
    """The same list, with the same strings in it or with others."""
    with pep3333.client() as client:
        for number in range(8):
            response = client.request(target=f"/shared_headers/{number}")
            assert response.values("X-Constant") == [b"yes"], number
            assert response.values("X-Number") == ([b"odd"] if number % 4 == 3 else []), number
            assert response.status == (200 if number < 6 else 201), number
            assert response.body == b"ten bytes!", number


def test_a_response_has_its_own_fields_whatever_the_one_before_had(pep3333):
    """Although what they have in common is looked at once."""

    def response(client, number):
        answer = client.request(target=f"/responses/{number}")
        return answer.status_line.decode(), answer.headers, answer.body

    good = range(len(responses.RESPONSES) - 6)
    with pep3333.client() as client:
        for before in range(len(responses.RESPONSES)):
            for number in range(len(responses.RESPONSES)):
                response(client, before)
                status_line, fields, body = response(client, number)
                if number not in good:
                    assert status_line.split()[1] == "500", (before, number)
                    continue
                status, given = responses.RESPONSES[number]()
                sent = [(name, value.encode()) for name, value in given if name not in ("Server", "Content-Length")]
                assert (status_line.partition(" ")[2], body) == (status, b"ten bytes!"), (before, number)
                assert [field for field in fields if field[0][:2] == "X-" or field[0] == "Status"] == sent, (before, number)
                assert [value for name, value in fields if name == "Content-Length"] == [b"10"], (before, number)


def test_callbacks_of_earlier_requests_reach_no_later_one(pep3333):
    results = [json.loads(pep3333.request(target="/keeps_start_response").body) for _ in range(3)]
    assert results[0] == []
    for count, result in enumerate(results):
        assert result == ["refused", "refused", "silent"] * count


def test_start_response_may_be_called_by_another_thread(pep3333):
    assert pep3333.request(target="/another_thread").value("X-Thread") == b"yes"


def test_early_hints_come_first(pep3333):
    response = pep3333.request(target="/hints")
    assert [(hint.status, hint.headers) for hint in response.interim] == [
        (103, [("Link", b"</style.css>; rel=preload")]),
        (103, [("Link", b"</script.js>; rel=preload")]),
    ]
    assert pep3333.request(target="/hints", version="1.0").interim == []
    assert pep3333.request(target="/bad_hints").body == b"refused"


def test_early_hints_of_an_earlier_request_reach_no_later_one(pep3333):
    for number in range(3):
        interim = pep3333.request(target="/hints_of_all").interim
        assert [hint.headers for hint in interim] == [[("Link", b"<%d>" % number)]]


def test_each_request_has_its_own_context(pep3333):
    """Two streams take turns in one worker."""
    clients = [pep3333.client() for _ in range(3)]
    for number, client in enumerate(clients):
        client.send(f"GET /contexts?{number} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert pep3333.request(target="/sees_context").body == b"unset"
    for number, client in enumerate(clients):
        body = client.response().body
        assert body.startswith(b"unset\n") and body.endswith(b"\n%d" % number)
        client.close()
    assert pep3333.request(target="/sees_context").body == b"unset"
    assert "was created in a different Context" not in pep3333.log
    assert "different Context" not in pep3333.log


def test_pipelined_requests_are_answered_in_order(pep3333):
    with pep3333.client() as client:
        names = ["hello", "starts_lazily", "a_tuple", "raises", "hello"]
        client.send(b"".join(f"GET /{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for name in names))
        bodies = [client.response().body for _ in names]
    assert bodies[:3] == [b"Hello, World!", b"onetwo", b"a tuple"] and PAGE_500 in bodies[3] and bodies[4] == b"Hello, World!"


def test_on_a_unix_socket_the_host_names_the_server(serve):
    server = serve("applications:application", unix=True)
    environ = json.loads(server.request(target="/environ", headers=[("Host", "example.org:8080")]).body)
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"], environ["REMOTE_ADDR"]) == ("example.org", "8080", "")
    assert "REMOTE_PORT" not in environ
    environ = json.loads(server.request(target="/environ", headers=[("X-Forwarded-Proto", "https")]).body)
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("example.org", "443")


@pytest.mark.parametrize(
    "header, expected",
    [
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", ("TCP4", "192.0.2.1", "56324", "198.51.100.7", "443")),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", ("TCP6", "2001:db8::1", "1", "2001:db8::2", "2")),
        (b"PROXY UNKNOWN\r\n", (None, "127.0.0.1", None, None, None)),
    ],
)
def test_what_a_proxy_header_says_is_in_the_environ(serve, header, expected):
    server = serve("applications:application", "--proxy-protocol=auto", ready=False)
    server.wait_for_log("Booting worker")
    with server.client() as client:
        client.send(header)
        for _ in range(2):
            environ = json.loads(client.request(target="/environ").body)
            keys = ("PROXY_PROTOCOL", "REMOTE_ADDR", "REMOTE_PORT", "PROXY_ADDR", "PROXY_PORT")
            found = tuple(environ.get(key) for key in keys)
            assert found == (*expected[:2], expected[2] or str(client.socket.getsockname()[1]), *expected[3:])


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


def test_several_workers_are_multiprocess(serve):
    server = serve("applications:application", "--workers", "2")
    assert json.loads(server.request(target="/environ").body)["wsgi.multiprocess"] is True
