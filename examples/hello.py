"""A WSGI application: `ferricorn --chdir examples hello`."""

import os
import sys

PAGE = """<!doctype html>
<title>Ferricorn</title>
<h1>Hello from Python {version}</h1>
<p>Worker {worker} has answered {count} requests. Yours was {method} {path}.</p>
"""

count = 0


def application(environ, start_response):
    global count
    count += 1
    page = PAGE.format(
        version=sys.version.split()[0],
        worker=os.getpid(),
        count=count,
        method=environ["REQUEST_METHOD"],
        path="".join(c if c.isalnum() or c in "/._-" else "?" for c in environ["PATH_INFO"]),
    ).encode()
    headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(page)))]
    start_response("200 OK", headers)
    return [page]
