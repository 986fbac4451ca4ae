"""PEP 3333, detail by detail, against a running server: `start_response`, and what else a response consists of."""

import json
import re

from applications import responses
import pytest
from conftest import BrokenOff, wait_until

PAGE_500 = b"<h1><p>Internal Server Error</p></h1>"


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
