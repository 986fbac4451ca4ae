//! The fuzz targets' properties on a bounded number of inputs that look random, with the stable toolchain.

use super::properties::{self, Random};

/// Bytes that are more often than not what a grammar asks for somewhere.
fn input(random: &mut Random, words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.below(12) {
        match random.below(8) {
            0 => bytes.push(random.next() as u8),
            _ => bytes.extend_from_slice(words[random.below(words.len())]),
        }
    }
    bytes
}

fn check(words: &[&[u8]], property: impl Fn(&[u8], u64) + std::panic::RefUnwindSafe) {
    for seed in 0..20_000 {
        let input = input(&mut Random(seed), words);
        let result = std::panic::catch_unwind(|| property(&input, seed));
        assert!(result.is_ok(), "seed {seed}: {}", input.escape_ascii());
    }
}

#[test]
fn requests_of_words() {
    let words: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n",
        b"HEAD /a?b HTTP/1.0\r\n",
        b"POST http://b/ HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"Host:\r\n",
        b"\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"hello",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b"Expect: 100-continue\r\n",
        b"X: y\r\n",
        b"X:",
        b" ",
        b"y",
        b"\n",
        b"\r",
        b"\0",
    ];
    check(words, properties::http1);
}

#[test]
fn packets_of_words() {
    use super::Protocol;
    let words: &[&[u8]] = &[
        b"\0\x1a\0\0\x0e\0REQUEST_METHOD\x03\0GET",
        b"\x01\0A",
        b"\x0b\0REQUEST_URI\x01\0/",
        b"64:CONTENT_LENGTH\x002\0SCGI\x001\0REQUEST_METHOD\0GET\0REQUEST_URI\0/a\0,",
        b"CONTENT_LENGTH\0",
        b"10:",
        b"\x01\x01\0\x01\0\x08\0\0\0\x01\x01\0\0\0\0\0",
        b"\x01\x04\0\x01\0\x21\0\0\x0e\x03REQUEST_METHODGET\x0b\x01REQUEST_URI/a",
        b"\x01\x04\0\x01\0\0\0\0",
        b"\x01\x05\0\x01\0\0\0\0",
        b"\x01\x05\0\x01\0\x02\0\x01abP",
        b"\x01\x09\0\0\0\x11\0\0\x0f\0FCGI_MPXS_CONNS",
        b"\x01\x02\0\x01\0\0\0\0",
        b"\x01\x01\0\x02\0\x08\0\0\0\x01\0\0\0\0\0\0",
        b"\x01",
        b"\0",
        b"ab",
        b",",
        b"GET / HTTP/1.1\r\n",
    ];
    for protocol in [Protocol::Uwsgi, Protocol::FastCgi, Protocol::Scgi] {
        check(words, |input, seed| properties::gateway(protocol, input, seed));
    }
}

#[test]
fn chunks_of_words() {
    let words: &[&[u8]] = &[
        b"5",
        b"0",
        b"1",
        b"a",
        b"\r\n",
        b"\r",
        b"\n",
        b"hello\r\n",
        b"x\r\n",
        b";a",
        b";a=b",
        b";a=\"b\\\"c\"",
        b"0\r\n\r\n",
        b"X: y\r\n",
        b"Host: a\r\n",
        b"5\r\nhello\r\n",
        b" ",
        b"ffffffffffffffff",
    ];
    check(words, properties::chunked);
}

#[test]
fn proxy_headers_of_words() {
    let words: &[&[u8]] = &[
        b"PROXY ",
        b"TCP4 ",
        b"TCP6 ",
        b"UNKNOWN",
        b"192.0.2.1 ",
        b"::1 ",
        b"80 ",
        b"443",
        b"65536",
        b"\r\n",
        b"\r\n\r\n\0\r\nQUIT\n",
        b"\x21\x11",
        b"\x20\x00",
        b"\x21\x21",
        b"\0\x0c",
        b"\0\x24",
        b"\0\0",
        b"123456789abc",
        b"\xff",
    ];
    check(words, |input, _| properties::proxy(input));
}

#[test]
fn responses_of_words() {
    let words: &[&[u8]] = &[
        b"OK",
        b"|",
        b"|Content-Length=5",
        b"|Content-Length=7",
        b"|Set-Cookie=a=b",
        b"|X=y",
        b"|",
        b"=",
        b"a",
        b"\r\n",
        b"\n",
        b"|Transfer-Encoding=chunked",
        b"|Connection=keep-alive",
        b"|Date=now",
        b"|Server=other",
        b" ",
        b"\t",
        b"|X=y\r\nSet-Cookie: a",
    ];
    check(words, properties::response);
}
