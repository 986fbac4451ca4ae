"""Requests in uwsgi, FastCGI and SCGI, as nginx sends them, and the answers taken apart."""

from __future__ import annotations

import socket
import struct
import urllib.parse

PROTOCOLS = ("http", "uwsgi", "fastcgi", "scgi")


def variables(method, target, headers, body_length):
    path, _, query = target.partition("?")
    yield "CONTENT_LENGTH", "" if body_length is None else str(body_length)
    yield from {
        "QUERY_STRING": query,
        "REQUEST_METHOD": method,
        "REQUEST_URI": target,
        "DOCUMENT_URI": urllib.parse.unquote(path, "latin-1"),
        "DOCUMENT_ROOT": "/srv",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REQUEST_SCHEME": "http",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": "nginx/1.22.1",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": "4242",
        "SERVER_ADDR": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_NAME": "",
        "REMOTE_USER": "",
    }.items()
    for name, value in headers:
        yield "HTTP_" + name.upper().replace("-", "_"), value


def uwsgi(method, target, headers, body):
    pairs = variables(method, target, headers, len(body) if body else None)
    encoded = [text.encode("latin-1") for pair in pairs for text in pair]
    payload = b"".join(struct.pack("<H", len(text)) + text for text in encoded)
    return struct.pack("<BHB", 0, len(payload), 0) + payload + body


def scgi(method, target, headers, body):
    pairs = [*variables(method, target, headers, len(body)), ("SCGI", "1")]
    payload = b"".join(text.encode("latin-1") + b"\0" for pair in pairs for text in pair)
    return b"%d:%s,%s" % (len(payload), payload, body)


def record(kind, content):
    return struct.pack(">BBHHBB", 1, kind, 1, len(content), 0, 0) + content


def fastcgi(method, target, headers, body, chunked=False):
    pairs = variables(method, target, headers, len(body) if body and not chunked else None)
    payload = b""
    for name, value in pairs:
        for text in (name, value):
            payload += bytes([len(text)]) if len(text) < 128 else struct.pack(">I", len(text) | 1 << 31)
        payload += name.encode("latin-1") + value.encode("latin-1")
    pieces = [record(5, body[start : start + 30000]) for start in range(0, len(body), 30000)]
    return b"".join([record(1, b"\0\1\0\0\0\0\0\0"), record(4, payload), record(4, b""), *pieces, record(5, b"")])


def unwrapped(data):
    """The standard output in records, which must end as they should; nothing may be on the standard error."""
    out, ended = b"", []
    while data:
        version, kind, request, length, padding, _ = struct.unpack(">BBHHBB", data[:8])
        content, data = data[8 : 8 + length], data[8 + length + padding :]
        assert (version, request) == (1, 1) and kind in (3, 6) and len(content) == length
        if kind == 6 and content:
            assert not ended
            out += content
        else:
            ended.append((kind, content))
    assert ended == [(6, b""), (3, b"\0" * 8)], ended
    return out


def ask(server, protocol, method="GET", target="/", headers=(), body=b"", chunked=False):
    """The status line, the header fields and the body of the answer."""
    headers = [("Host", "example.org"), *headers]
    if protocol == "http":
        if chunked:
            headers.append(("Transfer-Encoding", "chunked"))
            body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:3], body[3:]) if part) + b"0\r\n\r\n"
        response = server.request(method, target, headers, body)
        return response.status, dict(response.headers), response.body
    if protocol == "fastcgi":
        request = fastcgi(method, target, headers, body, chunked)
    else:
        request = {"uwsgi": uwsgi, "scgi": scgi}[protocol](method, target, headers, body)
    with socket.socket(server.family) as client:
        client.settimeout(20)
        client.connect(server.address)
        client.sendall(request)
        data = b"".join(iter(lambda: client.recv(65536), b""))
    if protocol == "fastcgi":
        data = unwrapped(data)
    head, _, content = data.partition(b"\r\n\r\n")
    status_line, *lines = head.split(b"\r\n")
    assert status_line.startswith(b"HTTP/1.1 " if protocol == "uwsgi" else b"Status: "), status_line
    fields = dict(line.decode("latin-1").split(": ", 1) for line in lines)
    if method != "HEAD" and "Content-Length" in fields:
        assert len(content) == int(fields["Content-Length"])
    assert "Transfer-Encoding" not in fields
    return int(status_line.split(b" ")[1]), fields, content
