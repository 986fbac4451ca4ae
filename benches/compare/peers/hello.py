"""The WSGI application that is compared, and `hello.py SERVER PORT` for servers without a command of their own."""

import sys


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "13")])
    return [b"Hello, World!"]


def fastwsgi(port):
    import fastwsgi

    fastwsgi.run(wsgi_app=app, host="127.0.0.1", port=port)


def bjoern(port):
    import bjoern

    bjoern.run(app, "127.0.0.1", port)


if __name__ == "__main__":
    globals()[sys.argv[1]](int(sys.argv[2]))
