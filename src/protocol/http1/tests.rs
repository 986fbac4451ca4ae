//! One exchange after the other, as a caller sees them.

use super::*;
use crate::protocol::Target;

const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

/// A machine whose request was `text`, with the head and the body it had.
fn after(text: &str) -> (Http1, Head, String) {
    let (mut http, mut head) = (Http1::new(), Head::default());
    let body = receive(&mut http, &mut head, text.as_bytes());
    (http, head, body)
}

fn receive(http: &mut Http1, head: &mut Head, mut input: &[u8]) -> String {
    let mut body = Vec::new();
    loop {
        let Progress { consumed, event } = http.next_event(input, &Limits::default(), head).unwrap();
        if let Event::Body { start, end } = event {
            body.extend_from_slice(&input[start..end]);
        }
        input = &input[consumed..];
        if matches!(event, Event::End | Event::NeedMore) {
            assert_eq!(input, b"");
            return String::from_utf8(body).unwrap();
        }
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn respond(http: &mut Http1, status: u16, fields: &[(&str, &str)], length: Length) -> Result<String, ResponseError> {
    let mut out = b"before".to_vec();
    let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let result = http.respond(status, None, fields, length, DATE, &mut out);
    let out = String::from_utf8(out).unwrap();
    let out = out.strip_prefix("before").unwrap().to_owned();
    match result {
        Ok(()) => Ok(out),
        Err(error) => {
            assert_eq!(out, "", "nothing is appended on an error");
            Err(error)
        }
    }
}

#[test]
fn a_get_is_parsed_and_answered() {
    let (mut http, head, body) = after("GET /a?b=c HTTP/1.1\r\nHost: example.com:80\r\nAccept: */*\r\n\r\n");
    assert_eq!((head.method(), head.target(), head.path(), head.query()), ("GET", "/a?b=c", "/a", Some("b=c")));
    assert_eq!(
        (head.form(), head.authority(), head.version()),
        (Target::Origin, Some("example.com:80"), Version::Http11)
    );
    assert_eq!(head.field("ACCEPT"), Some(b"*/*".as_slice()));
    assert_eq!(body, "");

    let answer = respond(&mut http, 200, &[("Content-Type", "text/plain")], Length::Known(5)).unwrap();
    let expected = "HTTP/1.1 200 OK\r\nServer: ferricorn\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                    Content-Length: 5\r\nContent-Type: text/plain\r\n\r\n";
    assert_eq!(answer, expected);
    let mut out = Vec::new();
    http.body(b"hello", &mut out);
    assert_eq!(http.finish(&mut out), Reuse::KeepAlive);
    assert_eq!(out, b"hello");
    assert_eq!(http.sent(), 5);
    assert!(http.is_idle());
}

#[test]
fn bodies_arrive_by_length_and_in_chunks() {
    let (_, head, body) = after("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!((body.as_str(), head.content_length()), ("hello", Some(5)));
    let (_, head, body) = after(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;a=\"b\"\r\nhel\r\n002\r\nlo\r\n0\r\nX: y\r\n\r\n",
    );
    assert_eq!((body.as_str(), head.is_chunked()), ("hello", true));
}

#[test]
fn a_body_of_unknown_length_goes_out_in_chunks() {
    let (mut http, ..) = after(GET);
    let answer = respond(&mut http, 200, &[("X", "y")], Length::Unknown).unwrap();
    assert!(answer.ends_with("GMT\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n"), "{answer}");
    let mut out = Vec::new();
    http.body(b"hello", &mut out);
    http.body(b"", &mut out);
    assert_eq!(http.frame(300, &mut out), 300);
    assert_eq!(http.finish(&mut out), Reuse::KeepAlive);
    assert_eq!(out, b"5\r\nhello\r\n12c\r\n\r\n0\r\n\r\n");
    assert_eq!(http.sent(), 305);
}
