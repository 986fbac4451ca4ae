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

/// Request, status, fields, length; what the head of the answer must be behind its `Date`, and how it ends.
type Answer = (&'static str, u16, &'static [(&'static str, &'static str)], Length, &'static str, Reuse);

const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
const GET_10: &str = "GET / HTTP/1.0\r\n\r\n";
const GET_10_KEEP: &str = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
const GET_CLOSE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[test]
fn the_framing_follows_the_request_the_status_and_the_fields() {
    use Length::{Known, Unknown};
    use Reuse::{Close, KeepAlive};
    let cases: &[Answer] = &[
        (GET, 200, &[], Known(0), "Content-Length: 0", KeepAlive),
        (GET, 200, &[("Content-Length", "0")], Known(0), "Content-Length: 0", KeepAlive),
        (GET, 200, &[("X", "y")], Known(0), "Content-Length: 0\r\nX: y", KeepAlive),
        (GET, 200, &[], Unknown, "Transfer-Encoding: chunked", KeepAlive),
        (GET, 200, &[("content-length", " 0 ")], Unknown, "Content-Length: 0", KeepAlive),
        (
            GET,
            200,
            &[("X", "y"), ("Content-Length", "0"), ("Z", "")],
            Unknown,
            "Content-Length: 0\r\nX: y\r\nZ: ",
            KeepAlive,
        ),
        (GET, 205, &[], Known(0), "Content-Length: 0", KeepAlive),
        (GET, 204, &[], Known(0), "", KeepAlive),
        (GET, 204, &[("Content-Length", "7"), ("X", "y")], Unknown, "X: y", KeepAlive),
        (GET, 204, &[], Known(7), "", KeepAlive),
        (GET, 304, &[], Known(0), "", KeepAlive),
        (GET, 304, &[], Known(7), "", KeepAlive),
        (
            GET,
            304,
            &[("Content-Length", "7"), ("ETag", "\"x\"")],
            Known(0),
            "Content-Length: 7\r\nETag: \"x\"",
            KeepAlive,
        ),
        (HEAD, 200, &[], Known(7), "Content-Length: 7", KeepAlive),
        (HEAD, 200, &[], Known(0), "", KeepAlive),
        (HEAD, 200, &[], Unknown, "", KeepAlive),
        (HEAD, 200, &[("Content-Length", "7")], Known(0), "Content-Length: 7", KeepAlive),
        (HEAD, 200, &[("Content-Length", "7")], Unknown, "Content-Length: 7", KeepAlive),
        (GET_CLOSE, 200, &[], Known(0), "Connection: close\r\nContent-Length: 0", Close),
        (GET_CLOSE, 200, &[("X", "y")], Unknown, "Connection: close\r\nTransfer-Encoding: chunked\r\nX: y", Close),
        (GET_10, 200, &[], Known(0), "Connection: close\r\nContent-Length: 0", Close),
        (GET_10, 200, &[], Unknown, "Connection: close", Close),
        (GET_10_KEEP, 200, &[], Known(0), "Connection: keep-alive\r\nContent-Length: 0", KeepAlive),
        (
            GET_10_KEEP,
            200,
            &[("Content-Length", "0")],
            Unknown,
            "Connection: keep-alive\r\nContent-Length: 0",
            KeepAlive,
        ),
        (GET_10_KEEP, 200, &[("X", "y")], Unknown, "Connection: close\r\nX: y", Close),
        (GET_10_KEEP, 304, &[], Unknown, "Connection: keep-alive", KeepAlive),
    ];
    for (request, status, fields, length, expected, reuse) in cases {
        let (mut http, ..) = after(request);
        let answer = respond(&mut http, *status, fields, *length).unwrap();
        let separator = if expected.is_empty() { "" } else { "\r\n" };
        let expected = format!("GMT{separator}{expected}\r\n\r\n");
        assert!(answer.ends_with(&expected), "{request:?} {status} {fields:?} {length:?}: {answer}");
        let mut out = Vec::new();
        if let (Length::Known(_), 204 | 304) | (_, 204) = (length, status) {
            http.body(b"dropped", &mut out);
        }
        assert_eq!(http.finish(&mut out), *reuse, "{request:?} {status} {fields:?} {length:?}");
        assert!(out.is_empty() || out == b"0\r\n\r\n", "{}", out.escape_ascii());
        assert!(http.has_responded());
    }
}

#[test]
fn status_and_reason_stand_on_the_first_line() {
    let cases = [
        (200, None, "HTTP/1.1 200 OK"),
        (404, None, "HTTP/1.1 404 Not Found"),
        (599, None, "HTTP/1.1 599 "),
        (200, Some("Fine"), "HTTP/1.1 200 Fine"),
        (200, Some(""), "HTTP/1.1 200 "),
        (200, Some("Sch\u{f6}n\t"), "HTTP/1.1 200 Sch\u{f6}n\t"),
    ];
    for (status, reason, line) in cases {
        let (mut http, ..) = after(GET);
        let mut out = Vec::new();
        http.respond(status, reason.map(str::as_bytes), std::iter::empty(), Length::Known(0), DATE, &mut out).unwrap();
        assert!(out.starts_with(format!("{line}\r\nServer: ferricorn\r\nDate: ").as_bytes()), "{}", out.escape_ascii());
    }
}

#[test]
fn fields_that_are_the_servers_are_left_out() {
    let ours = [
        "Connection",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Trailers",
        "Transfer-Encoding",
        "Upgrade",
        "Server",
        "Date",
        "dATE",
        "CONNECTION",
    ];
    let fields = ours.map(|name| (name, "chunked"));
    for length in [Length::Known(0), Length::Unknown] {
        let (mut http, ..) = after(GET);
        let with = respond(&mut http, 200, &fields, length).unwrap();
        let (mut http, ..) = after(GET);
        assert_eq!(with, respond(&mut http, 200, &[], length).unwrap());
    }
}

/// Status, reason, fields, length, and why they cannot be sent.
type Unsendable = (u16, Option<&'static str>, &'static [(&'static str, &'static str)], Length, ResponseError);

#[test]
fn a_response_that_cannot_be_sent_leaves_room_for_another() {
    let cases: &[Unsendable] = &[
        (0, None, &[], Length::Known(0), ResponseError::Status),
        (20, None, &[], Length::Known(0), ResponseError::Status),
        (100, None, &[], Length::Known(0), ResponseError::Status),
        (101, None, &[], Length::Known(0), ResponseError::Status),
        (199, None, &[], Length::Known(0), ResponseError::Status),
        (600, None, &[], Length::Known(0), ResponseError::Status),
        (1000, None, &[], Length::Known(0), ResponseError::Status),
        (200, Some("OK\r\nX: y"), &[], Length::Known(0), ResponseError::Reason),
        (200, Some("O\nK"), &[], Length::Known(0), ResponseError::Reason),
        (200, Some("O\0K"), &[], Length::Known(0), ResponseError::Reason),
        (200, None, &[("", "y")], Length::Known(0), ResponseError::FieldName),
        (200, None, &[("X Y", "z")], Length::Known(0), ResponseError::FieldName),
        (200, None, &[("X:", "z")], Length::Known(0), ResponseError::FieldName),
        (200, None, &[("X\r\nY", "z")], Length::Known(0), ResponseError::FieldName),
        (200, None, &[("X\u{e9}", "z")], Length::Known(0), ResponseError::FieldName),
        (200, None, &[("A", "b"), ("X", "y\r\nSet-Cookie: a=b")], Length::Known(0), ResponseError::FieldValue),
        (200, None, &[("X", "y\n")], Length::Known(0), ResponseError::FieldValue),
        (200, None, &[("X", "\ry")], Length::Unknown, ResponseError::FieldValue),
        (200, None, &[("X", "y\0")], Length::Unknown, ResponseError::FieldValue),
        (200, None, &[("X", "\x7f")], Length::Unknown, ResponseError::FieldValue),
        (200, None, &[("Content-Length", "1")], Length::Known(0), ResponseError::ContentLength),
        (
            200,
            None,
            &[("Content-Length", "0"), ("content-length", "0")],
            Length::Known(0),
            ResponseError::ContentLength,
        ),
        (200, None, &[("Content-Length", "1"), ("Content-Length", "2")], Length::Unknown, ResponseError::ContentLength),
        (200, None, &[("Content-Length", "")], Length::Unknown, ResponseError::ContentLength),
        (200, None, &[("Content-Length", "+1")], Length::Unknown, ResponseError::ContentLength),
        (200, None, &[("Content-Length", "1, 1")], Length::Unknown, ResponseError::ContentLength),
        (200, None, &[("Content-Length", "99999999999999999999999")], Length::Unknown, ResponseError::ContentLength),
        (204, None, &[("Content-Length", "x")], Length::Unknown, ResponseError::ContentLength),
    ];
    for (status, reason, fields, length, error) in cases {
        let (mut http, ..) = after(GET);
        let mut out = b"before".to_vec();
        let pairs = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        assert_eq!(
            http.respond(*status, reason.map(str::as_bytes), pairs, *length, DATE, &mut out),
            Err(*error),
            "{fields:?}"
        );
        assert_eq!(out, b"before");
        assert!(!http.has_responded());
        respond(&mut http, 500, &[], Length::Known(0)).unwrap();
        assert_eq!(http.finish(&mut out), Reuse::KeepAlive);
    }
}

#[test]
fn a_response_comes_once_and_after_its_request() {
    let mut http = Http1::new();
    assert_eq!(respond(&mut http, 200, &[], Length::Known(0)), Err(ResponseError::OutOfTurn));
    let (mut http, mut head, _) = after(GET);
    respond(&mut http, 200, &[], Length::Known(2)).unwrap();
    assert_eq!(respond(&mut http, 200, &[], Length::Known(0)), Err(ResponseError::OutOfTurn));
    let mut out = Vec::new();
    http.body(b"ok", &mut out);
    assert_eq!(http.finish(&mut out), Reuse::KeepAlive);
    http.body(b"late", &mut out);
    assert_eq!((out.as_slice(), http.sent()), (b"ok".as_slice(), 2));
    assert_eq!(respond(&mut http, 200, &[], Length::Known(0)), Err(ResponseError::OutOfTurn));
    receive(&mut http, &mut head, GET.as_bytes());
    assert!(!http.has_responded());
    assert_eq!(http.sent(), 0);
    respond(&mut http, 200, &[], Length::Known(0)).unwrap();
}

#[test]
fn the_next_request_waits_for_the_response() {
    let mut head = Head::default();
    let mut http = Http1::new();
    let limits = Limits::default();
    let input = GET.repeat(2);
    let next =
        |http: &mut Http1, head: &mut Head, input: &str| http.next_event(input.as_bytes(), &limits, head).unwrap();
    let first = next(&mut http, &mut head, &input);
    assert_eq!(first, Progress { consumed: GET.len(), event: Event::Request });
    let rest = &input[first.consumed..];
    assert_eq!(next(&mut http, &mut head, rest), Progress { consumed: 0, event: Event::End });
    for _ in 0..2 {
        assert_eq!(next(&mut http, &mut head, rest), Progress { consumed: 0, event: Event::NeedMore });
        assert!(!http.is_idle());
    }
    respond(&mut http, 200, &[], Length::Known(0)).unwrap();
    assert_eq!(http.finish(&mut Vec::new()), Reuse::KeepAlive);
    assert!(http.is_idle());
    assert_eq!(next(&mut http, &mut head, rest), Progress { consumed: GET.len(), event: Event::Request });
}

#[test]
fn a_connection_is_idle_between_requests_only() {
    let (mut http, mut head, limits) = (Http1::new(), Head::default(), Limits::default());
    assert!(http.is_idle());
    http.next_event(b"\r\n", &limits, &mut head).unwrap();
    assert!(http.is_idle());
    http.next_event(b"G", &limits, &mut head).unwrap();
    assert!(!http.is_idle());
    http.next_event(GET.as_bytes(), &limits, &mut head).unwrap();
    assert!(!http.is_idle());
}

#[test]
fn a_body_shorter_or_longer_than_promised_ends_the_connection() {
    for (body, sent) in [("hell", "hell"), ("hello!", "hello"), ("hello!!", "hello")] {
        for cut in 0..=body.len() {
            let (mut http, ..) = after(GET);
            respond(&mut http, 200, &[("Content-Length", "5")], Length::Unknown).unwrap();
            let mut out = Vec::new();
            http.body(&body.as_bytes()[..cut], &mut out);
            http.body(&body.as_bytes()[cut..], &mut out);
            assert_eq!(out, sent.as_bytes());
            assert_eq!(http.sent(), sent.len() as u64);
            assert_eq!(http.finish(&mut out), Reuse::Close);
            assert_eq!(out, sent.as_bytes(), "nothing is made up");
        }
    }
    let (mut http, ..) = after(GET);
    respond(&mut http, 200, &[], Length::Known(5)).unwrap();
    let mut out = Vec::new();
    assert_eq!((http.frame(3, &mut out), http.frame(7, &mut out), http.frame(1, &mut out)), (3, 2, 0));
    assert_eq!(http.finish(&mut out), Reuse::Close);
}

#[test]
fn a_response_before_the_request_has_ended_closes() {
    let (mut http, mut head, limits) = (Http1::new(), Head::default(), Limits::default());
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel".as_slice();
    let head_length = http.next_event(request, &limits, &mut head).unwrap().consumed;
    let answer = respond(&mut http, 200, &[], Length::Known(0)).unwrap();
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    let body = http.next_event(&request[head_length..], &limits, &mut head).unwrap();
    assert_eq!(body.event, Event::Body { start: 0, end: 3 });
    assert_eq!(http.finish(&mut Vec::new()), Reuse::Close);
    let after = http.next_event(b"loGET / HTTP/1.1\r\n", &limits, &mut head).unwrap();
    assert_eq!(after, Progress { consumed: 18, event: Event::NeedMore }, "what follows is thrown away");
}

#[test]
fn a_connection_told_to_close_says_so_in_its_next_response() {
    let (mut http, mut head, _) = after(GET);
    let answer = respond(&mut http, 200, &[], Length::Known(0)).unwrap();
    http.close_after_response();
    assert!(!answer.contains("Connection"));
    assert_eq!(http.finish(&mut Vec::new()), Reuse::KeepAlive, "a promise is kept");
    receive(&mut http, &mut head, GET.as_bytes());
    let answer = respond(&mut http, 200, &[], Length::Known(0)).unwrap();
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert_eq!(http.finish(&mut Vec::new()), Reuse::Close);
}

#[test]
fn continue_is_sent_once_and_only_while_it_is_waited_for() {
    const EXPECTING: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let limits = Limits::default();
    let expecting = || {
        let (mut http, mut head) = (Http1::new(), Head::default());
        assert_eq!(http.next_event(EXPECTING, &limits, &mut head).unwrap().event, Event::Request);
        assert!(head.expects_continue());
        (http, head)
    };
    let continued = |http: &mut Http1| {
        let mut out = Vec::new();
        http.continue_body(&mut out);
        String::from_utf8(out).unwrap()
    };
    let (mut http, mut head) = expecting();
    assert_eq!(continued(&mut http), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(continued(&mut http), "");
    receive(&mut http, &mut head, b"hello");
    let answer = respond(&mut http, 200, &[], Length::Known(0)).unwrap();
    assert!(!answer.contains("close"));
    assert_eq!(http.finish(&mut Vec::new()), Reuse::KeepAlive);

    let (mut http, mut head) = expecting();
    http.next_event(b"hel", &limits, &mut head).unwrap();
    assert_eq!(continued(&mut http), "", "the body comes already");

    let (mut http, _) = expecting();
    let answer = respond(&mut http, 200, &[], Length::Known(0)).unwrap();
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert_eq!(continued(&mut http), "");
    assert_eq!(http.finish(&mut Vec::new()), Reuse::Close);

    let (mut http, ..) = after(GET);
    assert_eq!(continued(&mut http), "");
}

#[test]
fn interim_responses_are_checked_and_not_for_http_10() {
    let interim = |request: &str, status: u16, fields: &[(&str, &str)]| {
        let (mut http, ..) = after(request);
        let mut out = b"before".to_vec();
        let pairs = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let result = http.interim(status, pairs, &mut out);
        result.map(|()| String::from_utf8(out.clone()).unwrap()).inspect_err(|_| assert_eq!(out, b"before"))
    };
    let links = [("Link", "</a.css>; rel=preload"), ("Content-Length", "5"), ("Connection", "close")];
    assert_eq!(
        interim(GET, 103, &links).unwrap(),
        "beforeHTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    );
    assert_eq!(interim(GET_10, 103, &links).unwrap(), "before");
    for status in [0, 99, 100, 101, 200, 500, 1000] {
        assert_eq!(interim(GET, status, &[]), Err(ResponseError::Status));
    }
    assert_eq!(interim(GET, 103, &[("Link", "a\r\nb")]), Err(ResponseError::FieldValue));
    assert_eq!(interim(GET_10, 103, &[("Li nk", "a")]), Err(ResponseError::FieldName));

    let (mut http, ..) = after(GET);
    respond(&mut http, 200, &[], Length::Known(0)).unwrap();
    let late = http.interim(103, std::iter::empty(), &mut Vec::new());
    assert_eq!(late, Err(ResponseError::OutOfTurn));
}

#[test]
fn a_refusal_is_gunicorns_page() {
    let (mut http, mut head) = (Http1::new(), Head::default());
    let error = http.next_event(b"GET / HTTP/1.1\r\nX: y\0\r\n\r\n", &Limits::default(), &mut head).unwrap_err();
    let mut out = Vec::new();
    http.refuse(error, &mut out);
    http.refuse(error, &mut out);
    let expected = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/html\r\nContent-Length: 175\r\n\r\n\
        <html>\n  <head>\n    <title>Bad Request</title>\n  </head>\n  <body>\n    <h1><p>Bad Request</p></h1>\n    \
        Invalid HTTP Header: its value has a control character\n  </body>\n</html>\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert_eq!(http.sent(), 175);

    let mut out = Vec::new();
    Http1::new().refuse_with(503, "<'\"&>", Some(DATE), &mut out);
    let out = String::from_utf8(out).unwrap();
    assert!(out.starts_with(
        "HTTP/1.1 503 Service Unavailable\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: close\r\n"
    ));
    assert!(out.contains("\n    &lt;&#x27;&quot;&amp;&gt;\n"), "{out}");
}

#[test]
fn a_refusal_never_follows_a_response_nor_gives_head_a_body() {
    let (mut http, ..) = after(GET);
    respond(&mut http, 200, &[], Length::Known(5)).unwrap();
    let mut out = Vec::new();
    http.refuse(Error::BodyTimeout, &mut out);
    assert_eq!(out, b"");
    assert_eq!(http.finish(&mut out), Reuse::Close);

    let (mut http, ..) = after(HEAD);
    http.refuse(Error::BodyTimeout, &mut out);
    assert!(out.ends_with(b"\r\n\r\n"), "{}", out.escape_ascii());

    let (mut http, mut head, _) = after(HEAD);
    respond(&mut http, 200, &[], Length::Known(0)).unwrap();
    http.finish(&mut out);
    let error = http.next_event(b"nonsense\r\n", &Limits::default(), &mut head).unwrap_err();
    http.refuse(error, &mut out);
    assert!(out.ends_with(b"</html>\n"), "the request that was refused was no HEAD");
}

#[test]
fn every_reason_is_listed_once_with_its_status() {
    let mut table: Vec<_> = Error::ALL.iter().map(|error| (error.reason(), error.status())).collect();
    table.sort_unstable();
    let expected = [
        ("bad-chunk-end", 400),
        ("bad-chunk-extension", 400),
        ("bad-chunk-line", 400),
        ("bad-chunk-size", 400),
        ("bad-content-length", 400),
        ("bad-field-name", 400),
        ("bad-field-value", 400),
        ("bad-head", 400),
        ("bad-host", 400),
        ("bad-method", 400),
        ("bad-path", 400),
        ("bad-request-line", 400),
        ("bad-target", 400),
        ("bad-trailer", 400),
        ("bad-transfer-encoding", 400),
        ("bad-variable-name", 400),
        ("bad-variable-value", 400),
        ("bad-variables", 400),
        ("bad-version", 400),
        ("bare-lf", 400),
        ("blank-before-colon", 400),
        ("body-timeout", 408),
        ("body-too-large", 413),
        ("body-too-short", 400),
        ("chunk-extensions-too-large", 400),
        ("connect", 501),
        ("content-length-repeated", 400),
        ("content-length-with-transfer-encoding", 400),
        ("contradictory-scheme", 400),
        ("empty-lines", 400),
        ("fastcgi-record", 400),
        ("fastcgi-to-http", 400),
        ("fastcgi-to-scgi", 400),
        ("fastcgi-to-uwsgi", 400),
        ("fastcgi-version", 400),
        ("field-too-large", 431),
        ("forbidden-trailer", 400),
        ("head-timeout", 408),
        ("head-too-large", 431),
        ("host-missing", 400),
        ("host-repeated", 400),
        ("http-to-fastcgi", 400),
        ("http-to-scgi", 400),
        ("http-to-uwsgi", 400),
        ("method-too-long", 501),
        ("obsolete-folding", 400),
        ("path-missing", 400),
        ("request-line-too-long", 414),
        ("request-method-missing", 400),
        ("scgi-comma", 400),
        ("scgi-length", 400),
        ("scgi-to-fastcgi", 400),
        ("scgi-to-http", 400),
        ("scgi-to-uwsgi", 400),
        ("scgi-variables", 400),
        ("tls-to-http", 400),
        ("too-many-fields", 431),
        ("too-many-variables", 431),
        ("trailers-too-large", 431),
        ("transfer-encoding-in-http10", 400),
        ("transfer-encoding-repeated", 400),
        ("unknown-expectation", 417),
        ("unsupported-transfer-coding", 501),
        ("uwsgi-modifier", 501),
        ("uwsgi-to-fastcgi", 400),
        ("uwsgi-to-http", 400),
        ("uwsgi-to-scgi", 400),
        ("version-not-supported", 505),
    ];
    assert_eq!(table, expected);
    for error in Error::ALL {
        assert!(!error.to_string().is_empty());
    }
}

/// Each byte is looked at a few times at most, however the input comes: nothing here is quadratic.
#[test]
fn the_work_is_linear_in_the_input() {
    let head = |fields: String| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let chunked = |body: String| format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let generators: &[(&str, &dyn Fn(usize) -> String)] = &[
        ("fields", &|size| head("X: y\r\n".repeat(size / 6))),
        ("empty fields", &|size| head("X:\r\n".repeat(size / 4))),
        ("one value", &|size| head(format!("X: {}\r\n", "y".repeat(size)))),
        ("blanks behind values", &|size| head(format!("X: y{}\r\n", " ".repeat(60)).repeat(size / 66))),
        ("blanks before values", &|size| head(format!("X:{}y\r\n", " ".repeat(60)).repeat(size / 65))),
        ("target", &|size| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(size))),
        ("a later version", &|size| format!("GET /{} HTTP/1.7\r\nHost: a\r\n\r\n", "a".repeat(size))),
        ("method without end", &|size| "A".repeat(size)),
        ("connection options", &|size| head(format!("Connection: {}\r\n", "a,".repeat(size / 2)))),
        ("codings", &|size| head(format!("Transfer-Encoding: {}\r\n", "a,".repeat(size / 2)))),
        ("digits", &|size| head(format!("Content-Length: {}\r\n", "9".repeat(size)))),
        ("requests", &|size| GET.repeat(size / GET.len())),
        ("chunks of one byte", &|size| chunked("1\r\nx\r\n".repeat(size / 6))),
        ("one chunk", &|size| chunked(format!("{size:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(size)))),
        ("extensions", &|size| chunked(format!("1;{}\r\nx\r\n", "a".repeat(size / 8)))),
        ("trailers", &|size| chunked(format!("0\r\n{}\r\n", "X: y\r\n".repeat(size / 48)))),
        ("one trailer", &|size| chunked(format!("0\r\nX: {}\r\n\r\n", "y".repeat(size / 8)))),
    ];
    let limits =
        Limits { request_line: 1 << 20, fields: 1 << 20, field_size: 1 << 20, head_size: 1 << 20, body_size: 1 << 20 };
    for (name, generate) in generators {
        for size in [32 << 10, 64 << 10] {
            let input = generate(size);
            for piece in [1, 7, 1000, input.len()] {
                work::take();
                super::super::properties::transcript(input.as_bytes().chunks(piece), &limits);
                let work = work::take();
                assert!(work <= 4 * input.len(), "{name} in pieces of {piece}: {work} bytes for {}", input.len());
            }
        }
    }
}

#[test]
fn more_fields_than_usual_are_taken_where_the_limit_allows_them() {
    let limits = Limits { fields: 1000, ..Limits::default() };
    for count in [127, 128, 129, 999, 1000] {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
        let mut head = Head::default();
        let progress = Http1::new().next_event(text.as_bytes(), &limits, &mut head);
        assert_eq!(progress, Ok(Progress { consumed: text.len(), event: Event::Request }), "{count}");
        assert_eq!(head.fields().count(), count);
    }
    let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(1000));
    let refused = Http1::new().next_event(text.as_bytes(), &limits, &mut Head::default());
    assert_eq!(refused, Err(Error::TooManyFields));
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
