#!/usr/bin/env python3
"""`serve.py SERVER MODULE:NAME ADDRESS` for servers without a command of their own, and `serve.py calls MODULE:NAME` for
no server at all. An address is a port, or unix:PATH."""

import importlib
import importlib.machinery
import importlib.util
import io
import json
import os
import sys
import time


def main():
    name, application, *address = sys.argv[1:]
    module, attribute = application.split(":")
    globals()[name](getattr(importlib.import_module(module), attribute), *address)


def fastwsgi(application, port):
    import fastwsgi

    fastwsgi.server.tcp_nodelay = 1
    fastwsgi.run(wsgi_app=application, host="127.0.0.1", port=int(port))


def fastpysgi(application, port):
    import fastpysgi

    fastpysgi.server.tcp_nodelay = 1
    workers = os.environ.get("WORKERS")
    fastpysgi.run(app=application, host="127.0.0.1", port=int(port), workers=int(workers) if workers else None)


def bjoern(application, address):
    import bjoern

    if address.startswith("unix:"):
        bjoern.run(application, address)
    else:
        bjoern.run(application, "127.0.0.1", int(address))


# The environ of a request for /.
ENVIRON = {
    "REQUEST_METHOD": "GET",
    "SCRIPT_NAME": "",
    "PATH_INFO": "/",
    "QUERY_STRING": "",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "HTTP_HOST": "127.0.0.1:8000",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.input": io.BytesIO(),
    "wsgi.errors": sys.stderr,
    "wsgi.multithread": False,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
}


def called(application, port, together):
    """The floor: see called/src/lib.rs, whose library LIBRARY in the environment names."""
    loader = importlib.machinery.ExtensionFileLoader("peer_called", os.environ["LIBRARY"])
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("peer_called", loader))
    loader.exec_module(module)
    module.serve(application, ENVIRON, int(port), int(together))


def calls(application):
    """For each number on a line of the standard input, calls the application for so many seconds, as a server would that
    costs nothing, and says how often and how long that took."""

    def start_response(status, headers, exc_info=None):
        if not status.startswith("200 "):
            raise ValueError(status)

    def call():
        result = application(ENVIRON.copy(), start_response)
        try:
            return b"".join(result)
        finally:
            if hasattr(result, "close"):
                result.close()

    expected = call()
    print(json.dumps({"body": expected.decode("latin-1")}), flush=True)
    for line in sys.stdin:
        count, begun, cpu = 0, time.monotonic(), time.process_time()
        end = begun + float(line)
        while time.monotonic() < end:
            for _ in range(50):
                if call() != expected:
                    raise ValueError("the application answers something else now")
            count += 50
        print(json.dumps({"requests": count, "seconds": time.monotonic() - begun, "cpu": time.process_time() - cpu}), flush=True)


if __name__ == "__main__":
    main()
