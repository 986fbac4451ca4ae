"""A client's session with a WebDAV server: methods, bodies and ranges that others rarely use."""

import re
from xml.etree import ElementTree

import pytest

import sites

SIZE = 5_000_000
DATA = bytes(i % 251 for i in range(SIZE))
LOCK = b"""<?xml version="1.0"?>
<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype>
<D:owner>somebody</D:owner></D:lockinfo>"""
PROPERTIES = b"""<?xml version="1.0"?>
<D:propfind xmlns:D="DAV:"><D:prop><D:getcontentlength/><D:resourcetype/></D:prop></D:propfind>"""


def chunks(data, size):
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    return b"".join(b"%X\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def listed(response):
    """The sizes of a collection's members, by path."""
    assert response.status == 207, response
    found = {}
    for member in ElementTree.fromstring(response.body):
        length = member.find(".//{DAV:}getcontentlength")
        found[member.find("{DAV:}href").text] = int(length.text) if length is not None and length.text else None
    return found


@pytest.mark.parametrize("wrapped", [False, True], ids=["plain", "validated"])
def test_a_webdav_session_over_one_connection(tmp_path, serve, wrapped):
    root = tmp_path / "shared"
    root.mkdir()
    name = (sites.validated if wrapped else sites.module)("dav")
    server = serve(name, env=sites.environment(root))
    with server.client() as client:

        def ask(method, target, *headers, body=b""):
            return client.request(method, target, headers, body)

        options = ask("OPTIONS", "/")
        assert options.status == 200 and b"LOCK" in options.value("Allow") and b"2" in options.value("DAV")
        assert ask("MKCOL", "/docs").status == 201
        assert ask("PUT", "/docs/sized", body=DATA).status == 201, server.log
        chunked = ask("PUT", "/docs/chunked", ("Transfer-Encoding", "chunked"), body=chunks(DATA, 70_001))
        assert chunked.status == 201, server.log
        for name in "sized", "chunked":
            assert (root / "docs" / name).read_bytes() == DATA, name
        assert ask("PUT", "/docs/sized", body=b"").status == 204
        assert (root / "docs/sized").read_bytes() == b""
        members = listed(ask("PROPFIND", "/docs/", ("Depth", "1"), ("Content-Type", "text/xml"), body=PROPERTIES))
        assert members == {"/docs/": None, "/docs/sized": 0, "/docs/chunked": SIZE}

        whole = ask("GET", "/docs/chunked")
        assert (whole.status, whole.body) == (200, DATA)
        assert ask("HEAD", "/docs/chunked").value("Content-Length") == str(SIZE).encode()
        for asked, start, end in ("1000-1999", 1000, 2000), ("4999990-", SIZE - 10, SIZE), ("-5", SIZE - 5, SIZE):
            part = ask("GET", "/docs/chunked", ("Range", f"bytes={asked}"))
            assert (part.status, part.body) == (206, DATA[start:end])
            assert part.value("Content-Range") == f"bytes {start}-{end - 1}/{SIZE}".encode()
        assert ask("GET", "/docs/chunked", ("If-None-Match", whole.value("ETag").decode())).status == 304

        base = "http://example.org"
        assert ask("MOVE", "/docs/chunked", ("Destination", f"{base}/docs/moved")).status == 201
        assert ask("GET", "/docs/chunked").status == 404
        assert ask("COPY", "/docs/moved", ("Destination", f"{base}/docs/copied")).status == 201
        assert (root / "docs/copied").read_bytes() == DATA

        locked = ask("LOCK", "/docs/moved", ("Content-Type", "text/xml"), ("Timeout", "Second-60"), body=LOCK)
        assert locked.status == 200, locked
        token = re.search(rb"<(opaquelocktoken:[^>]+)>", locked.value("Lock-Token"))[1].decode()
        assert ask("PUT", "/docs/moved", body=b"mine").status == 423
        assert ask("PUT", "/docs/moved", ("If", f"(<{token}>)"), body=b"mine").status == 204
        assert ask("UNLOCK", "/docs/moved", ("Lock-Token", f"<{token}>")).status == 204
        assert ask("PUT", "/docs/moved", body=b"anybody's").status == 204
        assert (root / "docs/moved").read_bytes() == b"anybody's"

        assert ask("DELETE", "/docs/moved").status == 204
        assert ask("DELETE", "/docs").status == 204
        assert listed(ask("PROPFIND", "/", ("Depth", "1"))) == {"/": None}
    assert "Traceback" not in server.log and "AssertionError" not in server.log
