"""`ferricorn.make_server`, beside `wsgiref.simple_server.make_server`."""

import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import wsgiref.simple_server
from wsgiref.validate import validator

import ferricorn
import ferricorn.simple_server
import pytest


@validator
def hello(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)) or b"hello"
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Thread", str(threading.get_ident()))])
    return [body]


def fetch(server, body=None):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/", body, timeout=20) as response:
        return response.headers, response.read()


@pytest.fixture(params=[wsgiref.simple_server.make_server, ferricorn.make_server], ids=["wsgiref", "ferricorn"])
def make_server(request):
    return request.param


def test_a_thread_serves_until_it_is_told_to_stop(make_server):
    with make_server("127.0.0.1", 0, hello) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert [fetch(server)[1] for _ in range(3)] == [b"hello"] * 3
        headers, echoed = fetch(server, b"x" * 100_000)
        assert echoed == b"x" * 100_000
        assert headers["X-Thread"] == str(thread.ident)
        server.shutdown()
        thread.join(20)
        assert not thread.is_alive()
        # And again.
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert fetch(server)[1] == b"hello"
        server.shutdown()
        thread.join(20)
    with pytest.raises(urllib.error.URLError):
        fetch(server)


def test_shutdown_may_come_before_the_thread_serves(make_server):
    with make_server("127.0.0.1", 0, hello) as server:
        begin = threading.Event()
        thread = threading.Thread(target=lambda: (begin.wait(20), server.serve_forever()))
        thread.start()
        threading.Timer(0.05, begin.set).start()
        server.shutdown()
        thread.join(20)
        assert not thread.is_alive()


def test_one_request_at_a_time(make_server):
    with make_server("127.0.0.1", 0, hello) as server:
        for _ in range(3):
            answers = []
            client = threading.Thread(target=lambda: answers.append(fetch(server)[1]))  # noqa: B023
            client.start()
            server.handle_request()
            client.join(20)
            assert answers == [b"hello"]
        server.timeout = 0.05
        server.handle_request()
        assert server.get_app() is hello
        server.set_app(lambda environ, start_response: (start_response("404 Not Found", []), [b"other"])[1])
        server.timeout = None
        client = threading.Thread(target=lambda: pytest.raises(urllib.error.HTTPError, fetch, server))
        client.start()
        server.handle_request()
        client.join(20)
        assert server.server_address[1] == server.server_port and server.fileno() >= 0


def test_an_address_in_use_is_an_error_and_so_is_a_wrong_setting():
    with ferricorn.make_server("127.0.0.1", 0, hello) as server:
        with pytest.raises(OSError):
            ferricorn.make_server("127.0.0.1", server.server_port, hello)
    with pytest.raises(ValueError, match="keepalive = \"x\" .* expected seconds"):
        ferricorn.make_server("127.0.0.1", 0, hello, keepalive="x")


def test_the_classes_of_wsgiref_are_refused_with_the_reason_and_those_of_ours_taken():
    theirs = wsgiref.simple_server

    class Mine(ferricorn.simple_server.WSGIServer):
        pass

    with ferricorn.make_server("127.0.0.1", 0, hello, Mine) as server:
        assert isinstance(server, Mine)
    with pytest.raises(TypeError, match="server_class must be a class of ferricorn.simple_server.WSGIServer's"):
        ferricorn.make_server("127.0.0.1", 0, hello, server_class=theirs.WSGIServer)
    with pytest.raises(TypeError, match="there is no handler_class"):
        ferricorn.make_server("127.0.0.1", 0, hello, handler_class=theirs.WSGIRequestHandler)


def test_an_exception_is_a_500_and_a_traceback(capfd):
    def broken(environ, start_response):
        raise RuntimeError("on purpose")

    with ferricorn.make_server("127.0.0.1", 0, broken) as server:
        client = threading.Thread(target=lambda: pytest.raises(urllib.error.HTTPError, fetch, server))
        client.start()
        server.handle_request()
        client.join(20)
    assert "RuntimeError: on purpose" in capfd.readouterr().err


def test_ctrl_c_interrupts_it():
    # A shell's background jobs ignore Ctrl+C, and so does what they start.
    program = (
        "import ferricorn, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with ferricorn.make_server('127.0.0.1', 0, print) as server:\n"
        "    try:\n        print('ready', flush=True)\n        server.serve_forever()\n"
        "    except KeyboardInterrupt:\n        print('interrupted')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGINT)
    assert process.communicate(timeout=20)[0] == "interrupted\n"
    assert process.returncode == 0
