//! Every byte at every place where one byte decides, against the policy written as a function of that byte.

use crate::protocol::http1::Error;
use crate::protocol::properties::{Seen, transcript};
use crate::protocol::{Limits, Reuse};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    Incomplete,
    Refused(Error),
}

use Verdict::{Accepted, Incomplete, Refused};

fn verdict(message: &[u8]) -> Verdict {
    let whole = transcript([message], &Limits::default());
    assert_eq!(transcript(message.chunks(1), &Limits::default()), whole, "{}", message.escape_ascii());
    match whole.seen.last() {
        Some(Seen::Refused(error)) => Refused(*error),
        Some(Seen::End(Reuse::Close)) => Accepted,
        Some(Seen::End(Reuse::KeepAlive)) if whole.left == 0 && whole.idle => Accepted,
        _ => Incomplete,
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `§` stands for the byte.
type Place = (&'static str, fn(u8) -> Verdict);

fn in_method(byte: u8) -> Verdict {
    match byte {
        b'\n' => Refused(Error::BareLf),
        b' ' => Refused(Error::RequestLine),
        byte if is_token(byte) => Accepted,
        _ => Refused(Error::Method),
    }
}

fn in_target(byte: u8) -> Verdict {
    match byte {
        b'\n' => Refused(Error::BareLf),
        b' ' => Refused(Error::RequestLine),
        b'#' | b'\\' | 0x7f.. => Refused(Error::Target),
        b'!'.. => Accepted,
        _ => Refused(Error::Target),
    }
}

fn in_value(byte: u8) -> Verdict {
    match byte {
        b'\n' => Refused(Error::BareLf),
        b'\t' | b' '..=b'~' | 0x80.. => Accepted,
        _ => Refused(Error::FieldValue),
    }
}

/// A value of which only one text is allowed, with or without blanks around it.
fn around(byte: u8, refusal: Error) -> Verdict {
    match (byte, in_value(byte)) {
        (b' ' | b'\t', _) => Accepted,
        (_, Accepted) => Refused(refusal),
        (_, refused) => refused,
    }
}

const HEADS: &[Place] = &[
    // The first byte.
    ("§ET / HTTP/1.1\r\nHost: a\r\n\r\n", |byte| match byte {
        b'\n' => Refused(Error::BareLf),
        b'\r' => Refused(Error::RequestLine),
        0 => Refused(Error::UwsgiToHttp),
        1 => Refused(Error::FastCgiToHttp),
        0x16 => Refused(Error::TlsToHttp),
        byte if is_token(byte) => Accepted,
        _ => Refused(Error::Method),
    }),
    // Inside the method.
    ("G§T / HTTP/1.1\r\nHost: a\r\n\r\n", in_method),
    // In place of the first space.
    ("GET§/ HTTP/1.1\r\nHost: a\r\n\r\n", |byte| match byte {
        b' ' => Accepted,
        b'\n' => Refused(Error::BareLf),
        _ => Refused(Error::RequestLine),
    }),
    // The first byte of the target.
    ("GET § HTTP/1.1\r\nHost: a\r\n\r\n", |byte| match byte {
        b'/' => Accepted,
        b'\n' => Refused(Error::BareLf),
        b' ' => Refused(Error::RequestLine),
        _ => Refused(Error::Target),
    }),
    // Inside the path, and inside the query.
    ("GET /a§b HTTP/1.1\r\nHost: a\r\n\r\n", in_target),
    ("GET /a?b§c HTTP/1.1\r\nHost: a\r\n\r\n", in_target),
    // In place of the second space.
    ("GET /§HTTP/1.1\r\nHost: a\r\n\r\n", |byte| match byte {
        b' ' => Accepted,
        b'\n' => Refused(Error::BareLf),
        _ => Refused(Error::RequestLine),
    }),
    // Inside the version.
    ("GET / HT§P/1.1\r\nHost: a\r\n\r\n", |byte| match byte {
        b'T' => Accepted,
        b'\n' => Refused(Error::BareLf),
        b' ' => Refused(Error::RequestLine),
        _ => Refused(Error::Version),
    }),
    ("GET / HTTP/§.1\r\nHost: a\r\n\r\n", |byte| match byte {
        b'1' => Accepted,
        b'0' | b'2'..=b'9' => Refused(Error::VersionNotSupported),
        b'\n' => Refused(Error::BareLf),
        b' ' => Refused(Error::RequestLine),
        _ => Refused(Error::Version),
    }),
    ("GET / HTTP/1.§\r\nHost: a\r\n\r\n", |byte| match byte {
        b'0'..=b'9' => Accepted,
        b'\n' => Refused(Error::BareLf),
        b' ' => Refused(Error::RequestLine),
        _ => Refused(Error::Version),
    }),
    // Behind the version, and in place of each of the bytes that end the line.
    ("GET / HTTP/1.1§\r\nHost: a\r\n\r\n", |byte| match byte {
        b'\n' => Refused(Error::BareLf),
        b' ' => Refused(Error::RequestLine),
        _ => Refused(Error::Version),
    }),
    ("GET / HTTP/1.1§\nHost: a\r\n\r\n", |byte| if byte == b'\r' { Accepted } else { Refused(Error::BareLf) }),
    ("GET / HTTP/1.1\r§Host: a\r\n\r\n", |byte| match byte {
        b'\n' => Accepted,
        // Up to the next LF it is one line.
        _ => Refused(Error::RequestLine),
    }),
    // The first byte of a field line.
    ("GET / HTTP/1.1\r\nHost: a\r\n§X: y\r\n\r\n", |byte| match byte {
        b'\n' => Refused(Error::BareLf),
        b' ' | b'\t' => Refused(Error::Folding),
        byte if is_token(byte) => Accepted,
        _ => Refused(Error::FieldName),
    }),
    // Inside a name, and before the colon.
    ("GET / HTTP/1.1\r\nHost: a\r\nX§Y: z\r\n\r\n", |byte| match byte {
        b'\n' => Refused(Error::BareLf),
        byte if is_token(byte) || byte == b':' => Accepted,
        _ => Refused(Error::FieldName),
    }),
    ("GET / HTTP/1.1\r\nHost: a\r\nX§: z\r\n\r\n", |byte| match byte {
        b'\n' => Refused(Error::BareLf),
        b' ' | b'\t' => Refused(Error::FieldNameBlank),
        byte if is_token(byte) || byte == b':' => Accepted,
        _ => Refused(Error::FieldName),
    }),
    // In place of the colon.
    ("GET / HTTP/1.1\r\nHost: a\r\nX§y\r\n\r\n", |byte| match byte {
        b':' => Accepted,
        b'\n' => Refused(Error::BareLf),
        _ => Refused(Error::FieldName),
    }),
    // Before, inside and behind a value.
    ("GET / HTTP/1.1\r\nHost: a\r\nX:§y\r\n\r\n", in_value),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: y§z\r\n\r\n", in_value),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nX: a longer value than the parser looks at in one step, seventy bytes or so§\r\n\r\n",
        in_value,
    ),
    // In place of each of the bytes that end the line.
    ("GET / HTTP/1.1\r\nHost: a\r\nX: y§\n\r\n", |byte| if byte == b'\r' { Accepted } else { Refused(Error::BareLf) }),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: y\r§Z: z\r\n\r\n", |byte| match byte {
        b'\n' => Accepted,
        _ => Refused(Error::FieldValue),
    }),
    // In place of each of the bytes that end the head.
    ("GET / HTTP/1.1\r\nHost: a\r\n§\n", |byte| match byte {
        b'\r' => Accepted,
        _ => Refused(Error::BareLf),
    }),
    ("GET / HTTP/1.1\r\nHost: a\r\n\r§", |byte| if byte == b'\n' { Accepted } else { Incomplete }),
    // Inside the host, before and behind it, and in its port.
    ("GET / HTTP/1.1\r\nHost: a§b\r\n\r\n", |byte| match (byte, in_value(byte)) {
        (b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=', _) => {
            Accepted
        }
        (byte, _) if byte.is_ascii_alphanumeric() => Accepted,
        (_, Accepted) => Refused(Error::Host),
        (_, refused) => refused,
    }),
    ("GET / HTTP/1.1\r\nHost: a:§\r\n\r\n", |byte| match (byte, in_value(byte)) {
        (b'0'..=b'9' | b' ' | b'\t', _) => Accepted,
        (_, Accepted) => Refused(Error::Host),
        (_, refused) => refused,
    }),
    ("GET / HTTP/1.1\r\nHost: a:8§0\r\n\r\n", |byte| match (byte, in_value(byte)) {
        (b'0'..=b'9', _) => Accepted,
        (_, Accepted) => Refused(Error::Host),
        (_, refused) => refused,
    }),
    // Before and behind a length, a coding and an expectation.
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:§5\r\n\r\nhello", |byte| match byte {
        b'0' => Accepted,
        b'1'..=b'9' => Incomplete,
        _ => around(byte, Error::ContentLength),
    }),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5§\r\n\r\nhello", |byte| match byte {
        b'0'..=b'9' => Incomplete,
        _ => around(byte, Error::ContentLength),
    }),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:§chunked\r\n\r\n0\r\n\r\n", |byte| {
        around(byte, Error::TransferEncoding)
    }),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked§\r\n\r\n0\r\n\r\n", |byte| {
        around(byte, Error::TransferEncoding)
    }),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip§chunked\r\n\r\n0\r\n\r\n", |byte| {
        match (byte, in_value(byte)) {
            (b',', _) => Refused(Error::TransferCoding),
            (_, Accepted) => Refused(Error::TransferEncoding),
            (_, refused) => refused,
        }
    }),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encodin§: chunked\r\n\r\n0\r\n\r\n", |byte| match byte {
        b'g' | b'G' => Accepted,
        b'\n' => Refused(Error::BareLf),
        b' ' | b'\t' => Refused(Error::FieldNameBlank),
        // Another field: the chunks are taken for a request line.
        byte if is_token(byte) || byte == b':' => Refused(Error::RequestLine),
        _ => Refused(Error::FieldName),
    }),
    ("POST / HTTP/1.1\r\nHost: a\r\nExpect:§100-continue\r\nContent-Length: 0\r\n\r\n", |byte| {
        around(byte, Error::Expectation)
    }),
    ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue§\r\nContent-Length: 0\r\n\r\n", |byte| {
        around(byte, Error::Expectation)
    }),
];

fn extension(byte: u8, accepted: bool) -> Verdict {
    if accepted {
        Accepted
    } else if byte == b'\r' {
        Refused(Error::ChunkLine)
    } else {
        Refused(Error::ChunkExtension)
    }
}

const CHUNKS: &[Place] = &[
    // The size.
    ("§\r\nhello\r\n0\r\n\r\n", |byte| match byte {
        b'5' => Accepted,
        // The last chunk, and "hello" is a trailer.
        b'0' => Refused(Error::Trailer),
        b'1'..=b'4' | b'6'..=b'7' | b'9' | b'b' | b'B' => Refused(Error::ChunkEnd),
        // An empty line stands where a size should.
        b'8' => Refused(Error::ChunkSize),
        b'a' | b'A' | b'c'..=b'f' | b'C'..=b'F' => Incomplete,
        _ => Refused(Error::ChunkSize),
    }),
    // Behind the size.
    ("5§\r\nhello\r\n0\r\n\r\n", |byte| match byte {
        b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' => Incomplete,
        b';' => Refused(Error::ChunkExtension),
        b'\r' | b'\n' => Refused(Error::ChunkLine),
        _ => Refused(Error::ChunkSize),
    }),
    // In place of each of the bytes that end its line.
    ("5§\nhello\r\n0\r\n\r\n", |byte| match byte {
        b'\r' => Accepted,
        b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' | b'\n' => Refused(Error::ChunkLine),
        b';' => Refused(Error::ChunkExtension),
        _ => Refused(Error::ChunkSize),
    }),
    ("5\r§hello\r\n0\r\n\r\n", |byte| if byte == b'\n' { Accepted } else { Refused(Error::ChunkLine) }),
    // Extensions: at the start of a name, in it, at the start of a value, in it, behind it.
    ("5;§a\r\nhello\r\n0\r\n\r\n", |byte| match byte {
        b'\r' => Refused(Error::ChunkExtension),
        _ => extension(byte, is_token(byte) || b" \t".contains(&byte)),
    }),
    ("5;a§b=c\r\nhello\r\n0\r\n\r\n", |byte| match byte {
        b'=' => Refused(Error::ChunkExtension),
        b'\n' => Refused(Error::ChunkLine),
        _ => extension(byte, is_token(byte) || byte == b';'),
    }),
    ("5;a=§c\r\nhello\r\n0\r\n\r\n", |byte| match byte {
        b'\r' => Refused(Error::ChunkExtension),
        _ => extension(byte, is_token(byte) || b" \t".contains(&byte)),
    }),
    ("5;a=b§c\r\nhello\r\n0\r\n\r\n", |byte| match byte {
        b'\n' => Refused(Error::ChunkLine),
        _ => extension(byte, is_token(byte) || byte == b';'),
    }),
    ("5;a=\"b\"§\r\nhello\r\n0\r\n\r\n", |byte| match byte {
        b'\n' => Refused(Error::ChunkLine),
        _ => extension(byte, false),
    }),
    // In quotes, and behind a backslash.
    ("5;a=\"§\"\r\nhello\r\n0\r\n\r\n", |byte| match byte {
        b'\t' | b' ' | b'!' | b'#'..=b'[' | b']'..=b'~' | 0x80.. => Accepted,
        _ => Refused(Error::ChunkExtension),
    }),
    ("5;a=\"\\§\"\r\nhello\r\n0\r\n\r\n", |byte| match byte {
        b'\t' | b' '..=b'~' | 0x80.. => Accepted,
        _ => Refused(Error::ChunkExtension),
    }),
    // Inside the data.
    ("5\r\nhe§lo\r\n0\r\n\r\n", |_| Accepted),
    // In place of each of the bytes that end the data.
    ("5\r\nhello§\n0\r\n\r\n", |byte| if byte == b'\r' { Accepted } else { Refused(Error::ChunkEnd) }),
    ("5\r\nhello\r§0\r\n\r\n", |byte| if byte == b'\n' { Accepted } else { Refused(Error::ChunkEnd) }),
    // In place of each of the bytes that end the body.
    ("0§\n\r\n", |byte| match byte {
        b'\r' => Accepted,
        b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' | b'\n' => Refused(Error::ChunkLine),
        b';' => Refused(Error::ChunkExtension),
        _ => Refused(Error::ChunkSize),
    }),
    ("0\r§\r\n", |byte| if byte == b'\n' { Accepted } else { Refused(Error::ChunkLine) }),
    ("0\r\n§\n", |byte| if byte == b'\r' { Accepted } else { Refused(Error::BareLf) }),
    ("0\r\n\r§", |byte| if byte == b'\n' { Accepted } else { Incomplete }),
    // Trailers.
    ("0\r\nX§: y\r\n\r\n", |byte| match byte {
        b'\n' => Refused(Error::BareLf),
        byte if is_token(byte) || byte == b':' => Accepted,
        _ => Refused(Error::Trailer),
    }),
    ("0\r\nX: §y\r\n\r\n", |byte| match in_value(byte) {
        Refused(Error::FieldValue) => Refused(Error::Trailer),
        verdict => verdict,
    }),
];

fn check(places: &[Place], before: &str) {
    for (template, policy) in places {
        let (start, end) = template.split_once('§').unwrap();
        for byte in 0..=255 {
            let message = [before.as_bytes(), start.as_bytes(), &[byte], end.as_bytes()].concat();
            assert_eq!(verdict(&message), policy(byte), "{}", message.escape_ascii());
        }
    }
}

#[test]
fn every_byte_in_a_head_is_judged_by_the_policy() {
    check(HEADS, "");
}

#[test]
fn every_byte_among_chunks_is_judged_by_the_policy() {
    check(CHUNKS, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
}
