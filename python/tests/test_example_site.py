"""examples/site as it is: one server with a Flask application, PHP, a CGI program and files."""

import shutil
from pathlib import Path

from conftest import Server
from front import EXAMPLES, program


def test_one_server_serves_flask_php_cgi_and_files(tmp_path):
    program("php-cgi")
    site = tmp_path / "site"
    # The server's log and sockets are written beside it.
    shutil.copytree(EXAMPLES / "site", site)
    server = Server(site, None)
    try:
        server.ready()
        with server.client() as client:
            for target, words in {
                "/": (b"A shop, written in Python", b'href="/items/anvil"', b"/static/style.css"),
                "/items/anvil": (b"One anvil.",),
                "/blog/": (b"A blog, written in PHP", b"reading everything", b'href="/blog/index.php/anvils"'),
                "/blog/index.php/anvils": (b"reading anvils",),
                "/cgi-bin/clock/now": (b"you asked /cgi-bin/clock for '/now' with GET",),
                "/static/style.css": (Path(EXAMPLES / "site/static/style.css").read_bytes(),),
            }.items():
                response = client.request(target=target)
                assert response.status == 200, (target, response.body, server.log)
                for word in words:
                    assert word in response.body, (target, response.body)
            assert client.request(target="/nothing").status == 404
            assert client.request(target="/static/nothing").status == 404
    finally:
        assert server.stop() == 0, server.log
    assert "[ERROR]" not in server.log, server.log
