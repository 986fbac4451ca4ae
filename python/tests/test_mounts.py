"""Several applications in one server."""

import re
import shutil

import pytest

FLASK = """
from flask import Flask, request, url_for
app = Flask(__name__)

@app.route("/")
@app.route("/deep/<name>")
def page(name="home"):
    return f"{name} {request.script_root}|{request.path} {url_for('page', name='x')}"
"""

OTHER = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode("latin-1")]
"""

CGI = """#!/bin/sh
printf 'Content-Type: text/plain\\n\\ncgi %s|%s' "$SCRIPT_NAME" "$PATH_INFO"
"""


@pytest.fixture
def site(tmp_path):
    (tmp_path / "shop.py").write_text(FLASK)
    (tmp_path / "other.py").write_text(OTHER)
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "style.css").write_text("body {}")
    (tmp_path / "cgi-bin").mkdir()
    script = tmp_path / "cgi-bin" / "hello"
    script.write_text(CGI)
    script.chmod(0o755)
    (tmp_path / "blog").mkdir()
    (tmp_path / "blog" / "index.php").write_text("<?php echo 'php ', $_SERVER['SCRIPT_NAME'], '|', $_SERVER['PATH_INFO'] ?? '';")
    return tmp_path


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["", "preload"])
def test_flask_php_cgi_and_files_share_a_server(site, serve, preload):
    php = shutil.which("php-cgi")
    assert php, "php-cgi is missing. `make test` installs what the tests need; by hand: apt-get install php-cgi"
    server = serve(
        "shop:app",
        *preload,
        f"--mount=/static=files://{site}/static",
        f"--mount=/cgi-bin=cgi://{site}/cgi-bin",
        f"--mount=/blog=fastcgi-exec://{php}?root={site}/blog",
        "--mount=/other=other:application",
        "--mount=/other/deeper=other:application",
        env={"PYTHONPATH": str(site)},
    )
    for target, body in [
        ("/", "home |/ /deep/x"),
        ("/deep/a%20b", "a b |/deep/a b /deep/x"),
        ("/static/style.css", "body {}"),
        ("/cgi-bin/hello/more", "cgi /cgi-bin/hello|/more"),
        ("/blog/", "php /blog/index.php|"),
        ("/blog/index.php/a%20b", "php /blog/index.php|/a b"),
        ("/other/a%2Fb", "/other|/a/b"),
        ("/oth%65r", "/other|"),
        ("/other/deeper/x", "/other/deeper|/x"),
    ]:
        response = server.request(target=target)
        assert (response.status, response.body.decode()) == (200, body), (target, server.log)
    assert server.request(target="/others").status == 404
    workers = server.workers()
    server.signal(1)
    server.wait_for_log("Worker exiting", 1)
    assert server.request(target="/other/again").body == b"/other|/again"
    assert server.request(target="/blog/").body == b"php /blog/index.php|"
    assert server.workers() != workers
    assert server.stop() == 0
    assert not re.search(r"\[(ERROR|CRITICAL)\]", server.log), server.log


def test_flask_knows_where_it_is_mounted(site, serve):
    server = serve(None, "--mount=/shop=shop:app", "--mount=/static=files://static", env={"PYTHONPATH": str(site)})
    assert server.request(target="/shop/deep/a").body == b"a /shop|/deep/a /shop/deep/x"
    assert server.request(target="/static/style.css").body == b"body {}"
    assert server.request(target="/").status == 404
