"""PEP 3333, detail by detail, against a running server: what an application is given."""

import json
import random
import re
import socket
import time

import pytest
from conftest import wait_until

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


def test_several_workers_are_multiprocess(serve):
    server = serve("applications:application", "--workers", "2")
    assert json.loads(server.request(target="/environ").body)["wsgi.multiprocess"] is True
