use std::hint::black_box;
use std::time::Instant;

use super::*;
use crate::protocol::head::{FieldSpan, Span};
use crate::settings::ACCESS_LOG_FORMAT;

/// A head as the parser makes it, without its checks.
pub(in super::super) fn head(method: &str, target: &str, fields: &[(&str, &[u8])]) -> Head {
    let mut head = Head::default();
    let mut add = |bytes: &[u8]| {
        let start = head.bytes.len() as u32;
        head.bytes.extend_from_slice(bytes);
        Span { start, end: head.bytes.len() as u32 }
    };
    let method = add(method.as_bytes());
    let whole = add(target.as_bytes());
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let path = add(path.as_bytes());
    let query = query.map(|query| add(query.as_bytes()));
    let fields = fields
        .iter()
        .map(|(name, value)| {
            let id = FieldId::ALL.iter().find(|id| id.name().eq_ignore_ascii_case(name)).copied().unwrap_or_default();
            FieldSpan { name: add(name.as_bytes()), value: add(value), id }
        })
        .collect();
    (head.method, head.target, head.path, head.query, head.fields) = (method, whole, path, query, fields);
    head
}

pub(in super::super) fn peer(address: &str) -> Address {
    Address::Ip(address.parse().unwrap())
}

pub(in super::super) fn entry<'a>(head: &'a Head, peer: &'a Address) -> Entry<'a> {
    let response_field = &|name: &str| (name == "content-type").then_some(b"text/plain".as_slice());
    let duration = Duration::from_micros(1_234_567);
    let queued = &|| Duration::from_millis(21);
    Entry { head, peer, status: 200, sent: Some(5), duration, queued, response_field }
}

fn rendered(format: &str, entry: &Entry<'_>) -> String {
    let mut format = Format::parse(format).unwrap_or_else(|error| panic!("{format}: {error}"));
    let mut line = Vec::new();
    format.render(entry, &mut line);
    String::from_utf8(line).unwrap()
}

#[test]
fn atoms_say_what_gunicorns_say() {
    let head = head(
        "GET",
        "/a%20b/%22?x=1",
        &[
            ("Host", b"example.org"),
            ("Referer", b"http://example.org/"),
            ("User-Agent", b"curl/8"),
            ("X-Twice", b"one"),
            ("x-twice", b"two"),
            ("Authorization", b"basic YWxpY2U6c2VjcmV0"),
        ],
    );
    let peer = peer("192.0.2.10:4711");
    let entry = entry(&head, &peer);
    let pid = std::process::id();
    let cases = [
        ("%(h)s", "192.0.2.10"),
        ("%(l)s", "-"),
        ("%(u)s", "alice"),
        ("%(r)s", "GET /a%20b/%22?x=1 HTTP/1.1"),
        ("%(m)s %(U)s %(q)s %(H)s", r#"GET /a b/\" x=1 HTTP/1.1"#),
        ("%(s)s %(B)s %(b)s", "200 5 5"),
        ("%(f)s %(a)s", "http://example.org/ curl/8"),
        ("%(T)s %(M)s %(D)s %(L)s", "1 1234 1234567 1.234567"),
        ("%(p)s", &format!("<{pid}>")),
        ("%({x-twice}i)s %({HOST}i)s %({accept}i)s", "two example.org -"),
        ("%({Content-Type}o)s %({etag}o)s", "text/plain -"),
        ("%({REMOTE_ADDR}e)s:%({remote_port}e)s", "192.0.2.10:4711"),
        ("%({http_host}e)s %({HTTP_X_TWICE}e)s %({CONTENT_TYPE}e)s", "example.org two -"),
        ("%({raw_uri}e)s", "/a%20b/%22?x=1"),
        ("100 %%, %(s)s\t|", "100 %, 200\t|"),
        ("plain", "plain"),
        ("", ""),
    ];
    for (format, expected) in cases {
        assert_eq!(rendered(format, &entry), expected, "{format}");
    }
}

#[test]
fn shapes_are_those_of_python() {
    let (head, peer) = (head("GET", "/", &[]), peer("[2001:db8::1]:80"));
    let entry = Entry { duration: Duration::from_millis(7_004), ..entry(&head, &peer) };
    // What Python 3 prints for the same values.
    let cases = [
        ("%(T)d", "7"),
        ("%(T)5d|", "    7|"),
        ("%(T)-5d|", "7    |"),
        ("%(T)05d", "00007"),
        ("%(T)+d", "+7"),
        ("%(T)+05d", "+0007"),
        ("%(T)+5d", "   +7"),
        ("%(T) d", " 7"),
        ("%(T).3f", "7.000"),
        ("%(T)f", "7.000000"),
        ("%(T).0f", "7"),
        ("%(T)8.2f", "    7.00"),
        ("%(Q)s %(Q)04d", "21 0021"),
        ("%(M)i", "7004"),
        ("%(M)s", "7004"),
        ("%(M)06s", "  7004"),
        ("%(m)5s", "  GET"),
        ("%(m)-5s|", "GET  |"),
        ("%(m).2s", "GE"),
        ("%(m).s", ""),
        ("%(h)s", "2001:db8::1"),
    ];
    for (format, expected) in cases {
        assert_eq!(rendered(format, &entry), expected, "{format}");
    }
}

#[test]
fn what_is_missing_is_a_dash() {
    let empty = Head::default();
    let unix = Address::Unix(None);
    let nothing = Entry {
        head: &empty,
        peer: &unix,
        status: 400,
        sent: None,
        duration: Duration::ZERO,
        queued: &|| Duration::ZERO,
        response_field: &|_| None,
    };
    assert_eq!(
        rendered(r#"%(h)s %(u)s "%(r)s" %(b)s %(B)d %(f)s %({x}o)s %({remote_port}e)s"#, &nothing),
        r#"- - "-" - 0 - - -"#
    );
}

#[test]
fn no_value_can_end_its_quotes_or_its_line() {
    let forged = b"a\"b\\c\r\n127.0.0.1 - - \x1b[31m\x7f\xff\xc2\x85";
    let escaped = r#"a\"b\x5cc\x0d\x0a127.0.0.1 - - \x1b[31m\x7f\xff\xc2\x85"#;
    let head = head("G\"T", "/%0a\"?%0a\"", &[("User-Agent", forged), ("X", forged)]);
    let peer = peer("127.0.0.1:1");
    let response_field = &|_: &str| Some(forged.as_slice());
    let entry = Entry { response_field, ..entry(&head, &peer) };
    for format in ["%(a)s", "%({x}i)s", "%({http_x}e)s", "%({x}o)s"] {
        assert_eq!(rendered(format, &entry), escaped, "{format}");
    }
    assert_eq!(rendered("%(r)s|%(m)s|%(U)s|%(q)s", &entry), r#"G\"T /%0a\"?%0a\" HTTP/1.1|G\"T|/\x0a\"|%0a\""#);
}

#[test]
fn a_path_is_decoded_where_it_is_encoded() {
    let peer = peer("127.0.0.1:1");
    for (path, expected) in [("/%41%", "/A%"), ("/%4", "/%4"), ("/%zz%7e", "/%zz~"), ("/%25%32", "/%2"), ("*", "*")] {
        let head = head("GET", path, &[]);
        assert_eq!(rendered("%(U)s", &entry(&head, &peer)), expected);
    }
}

#[test]
fn only_the_user_of_basic_credentials_is_logged() {
    let peer = peer("127.0.0.1:1");
    let cases: [(&[u8], &str); 8] = [
        (b"Basic YWxpY2U6c2VjcmV0", "alice"),
        (b"BASIC  YWxpY2U6", "alice"),
        (b"Basic OnNlY3JldA==", "-"),
        (b"Basic c2VjcmV0", "-"),
        (b"Basic ImE6", r#"\"a"#),
        (b"Basic !!!!", "-"),
        (b"Basic", "-"),
        (b"Bearer YWxpY2U6c2VjcmV0", "-"),
    ];
    for (value, expected) in cases {
        let head = head("GET", "/", &[("Authorization", value)]);
        assert_eq!(rendered("%(u)s", &entry(&head, &peer)), expected, "{}", String::from_utf8_lossy(value));
    }
}

#[test]
fn a_wrong_format_is_refused_with_the_atom() {
    let cases = [
        ("%(x)s", "%(x)s"),
        ("%({}i)s", "{}i"),
        ("%({x}y)s", "{x}y"),
        ("%({x)s", "{x"),
        ("%({HOME}e)s", "{HOME}e"),
        ("%(h)", "%(h)"),
        ("%(h", "%(h"),
        ("%h", "%"),
        ("100%", "%"),
        ("%(h)x", "%(h)"),
        ("%(h)d", "%(h)"),
        ("%(h).3f", "%(h)"),
        ("%(s)d", "%(s)"),
        ("%(T).3d", "%(T)"),
        ("%(h)99999s", "%(h)"),
        ("%(h)99999999999999999999s", "%(h)"),
        ("%(h)s\n", "control"),
    ];
    for (format, part) in cases {
        let error = Format::parse(format).expect_err(format).to_string();
        assert!(error.contains(part), "{format}: {error}");
    }
}

#[test]
fn a_response_is_kept_only_for_formats_that_look_at_it() {
    assert!(!Format::parse(ACCESS_LOG_FORMAT).unwrap().uses_response());
    assert!(Format::parse("%({etag}o)s").unwrap().uses_response());
    assert!(Format::parse("%({etag}o)9s").unwrap().uses_response());
}

#[test]
fn the_time_is_gunicorns_and_moves_on() {
    let (head, peer) = (head("GET", "/", &[]), peer("127.0.0.1:1"));
    let mut format = Format::parse("%(t)s").unwrap();
    let mut at = |second| {
        let mut line = Vec::new();
        format.render_at(second, &entry(&head, &peer), &mut line);
        String::from_utf8(line).unwrap()
    };
    let (first, second) = (at(1_795_352_425), at(1_795_352_426));
    assert_ne!(first, second);
    assert_eq!(first.len(), "[22/Nov/2026:13:00:25 +0000]".len(), "{first}");
    let mut stamp = Stamp::default();
    let time =
        sys::LocalTime { year: 2026, month: 11, day: 2, hour: 3, minute: 4, second: 5, offset: -(3 * 3600 + 1800) };
    stamp.write(time);
    assert_eq!(String::from_utf8(stamp.text).unwrap(), "[02/Nov/2026:03:04:05 -0330]");
}

/// Measures; run with `cargo test --release -- --ignored --nocapture the_default_format`.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout)]
fn the_default_format_costs_less_than_300_ns() {
    let browser =
        b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36";
    let fields: [(&str, &[u8]); 6] = [
        ("Host", b"example.org"),
        ("Accept", b"text/html,application/xhtml+xml"),
        ("Accept-Encoding", b"gzip, deflate, br"),
        ("User-Agent", browser),
        ("Referer", b"https://example.org/some/page?with=a&query=1"),
        ("Cookie", b"session=0123456789abcdef"),
    ];
    let head = head("GET", "/static/images/logo.png?version=17", &fields);
    let peer = peer("192.168.100.200:50000");
    let entry = entry(&head, &peer);
    let mut format = Format::parse(ACCESS_LOG_FORMAT).unwrap();
    let mut line = Vec::with_capacity(1024);
    const ROUNDS: u32 = 1_000_000;
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..ROUNDS {
                line.clear();
                format.render(black_box(&entry), black_box(&mut line));
            }
            start.elapsed() / ROUNDS
        })
        .min()
        .unwrap();
    println!("{best:?} for {} bytes", line.len());
    assert!(best < Duration::from_nanos(300), "{best:?}");
}
