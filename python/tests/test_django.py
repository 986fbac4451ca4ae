"""A Django project with its admin, sessions and a database."""

import json
import os
import signal

import pytest
from conftest import wait_until
from sites.project import Browser, make_database

import sites


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    directory = tmp_path_factory.mktemp("data")
    make_database(directory)
    return directory


@pytest.fixture(params=[False, True], ids=["plain", "validated"])
def site(request, serve, data):
    name = (sites.validated if request.param else sites.module)("django")
    server = serve(name, "--workers", "3", env=sites.environment(data))
    yield server
    assert "AssertionError" not in server.log and "Traceback" not in server.log


def test_an_administrator_signs_in_and_works(site):
    browser = Browser(site.client)
    turned_away = browser.get("/admin/")
    assert (turned_away.status, turned_away.value("Location")) == (302, b"/admin/login/?next=/admin/")
    browser.sign_in()
    assert b"Site administration" in browser.get("/admin/").body
    title = "A book about “forks”"
    added = browser.submit("/admin/books/book/add/", title=title, pages="321")
    assert (added.status, added.value("Location")) == (302, b"/admin/books/book/"), added.body
    listing = browser.get("/admin/books/book/")
    assert title in listing.body.decode() and b"was added successfully" in listing.body
    assert json.loads(browser.get("/books").body)[title] == 321
    refused = browser.submit("/admin/books/book/add/", title="", pages="many")
    assert refused.status == 200 and b"This field is required." in refused.body
    assert browser.ask("POST", "/admin/books/book/add/", {"title": "without the token"}).status == 403


def test_a_session_is_the_same_in_all_workers(site):
    browser = Browser(site.client)
    workers = []
    for count in range(1, 5):
        response = browser.get("/count")
        assert response.body == str(count).encode()
        # So that another one answers next.
        workers.append(int(response.value("X-Worker")))
        os.kill(workers[-1], signal.SIGKILL)
        wait_until("the worker's end", lambda: workers[-1] not in site.workers())
    assert len(set(workers)) == 4
    assert list(browser.cookies) == ["sessionid"]
    assert Browser(site.client).get("/count").body == b"1"


def test_what_middleware_does_reaches_the_client(site):
    browser = Browser(site.client, [("Accept-Encoding", "gzip")])
    large = browser.get("/large")
    assert large.value("Content-Encoding") == b"gzip" and len(large.body) < 10_000
    tag = browser.get("/").value("ETag").decode()
    again = Browser(site.client, [("If-None-Match", tag)]).get("/")
    assert (again.status, again.body) == (304, b"")
