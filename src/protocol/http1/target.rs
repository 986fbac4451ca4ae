//! The request target and the authority (RFC 9112 §3.2, RFC 3986 §3.2).

use std::net::Ipv6Addr;
use std::ops::Range;

use crate::protocol::Error;
use crate::protocol::grammar;
use crate::protocol::head::Target;

/// Where the parts of a target lie in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::protocol) struct Parts {
    pub(in crate::protocol) form: Target,
    /// Empty where an absolute target has none.
    pub(in crate::protocol) path: Range<usize>,
    pub(in crate::protocol) query: Option<Range<usize>>,
    pub(in crate::protocol) authority: Option<Range<usize>>,
}

/// Takes `target` apart; which forms are allowed depends on the method.
#[inline(always)]
pub(in crate::protocol) fn split(method: &[u8], target: &[u8]) -> Result<Parts, Error> {
    if target.first() == Some(&b'/') && method != b"CONNECT" {
        if target.len() > 1 && !grammar::is_target_text(target) {
            return Err(Error::Target);
        }
        let (path, query) = path_and_query(target, 0);
        return Ok(Parts { form: Target::Origin, path, query, authority: None });
    }
    other_form(method, target)
}

#[cold]
fn other_form(method: &[u8], target: &[u8]) -> Result<Parts, Error> {
    if target.is_empty() || !grammar::is_target_text(target) {
        return Err(Error::Target);
    }
    if method == b"CONNECT" {
        // RFC 9110 §9.3.6: without a valid port it is a bad request before it is an unsupported one.
        let has_port = target.iter().rposition(|&byte| byte == b':').is_some_and(|colon| colon + 1 < target.len());
        return Err(if has_port && is_authority(target) { Error::Connect } else { Error::Target });
    }
    if target == b"*" {
        return if method == b"OPTIONS" {
            Ok(Parts { form: Target::Asterisk, path: 0..1, query: None, authority: None })
        } else {
            Err(Error::Target)
        };
    }
    let scheme = [b"http://".as_slice(), b"https://"]
        .iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
        .map(|scheme| scheme.len());
    let start = scheme.ok_or(Error::Target)?;
    let rest = target.get(start..).unwrap_or_default();
    let end = start + rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    // RFC 9110 §4.2.1 and §4.2.4: a host there must be, and userinfo there must not.
    if start == end || !is_authority(target.get(start..end).unwrap_or_default()) {
        return Err(Error::Host);
    }
    let (path, query) = path_and_query(target, end);
    Ok(Parts { form: Target::Absolute, path, query, authority: Some(start..end) })
}

#[inline]
fn path_and_query(target: &[u8], start: usize) -> (Range<usize>, Option<Range<usize>>) {
    let rest = target.get(start..).unwrap_or_default();
    // To set up a search by words costs more than to look at so few.
    let mark = if rest.len() < 16 { rest.iter().position(|&byte| byte == b'?') } else { memchr::memchr(b'?', rest) };
    match mark {
        Some(mark) => (start..start + mark, Some(start + mark + 1..target.len())),
        None => (start..target.len(), None),
    }
}

/// Whether it may be the value of `Host`: empty, or `host [":" port]`.
#[inline]
pub(in crate::protocol) fn is_host(value: &[u8]) -> bool {
    value.is_empty() || is_authority(value)
}

/// `host [":" port]` with a host that is not empty.
#[inline]
fn is_authority(text: &[u8]) -> bool {
    match text.iter().position(|&byte| !grammar::is_plain_host(byte)) {
        None => !text.is_empty(),
        Some(0) => is_unusual_authority(text),
        Some(end) => match text.get(end..) {
            Some([b':', port @ ..]) => is_port(port),
            _ => is_unusual_authority(text),
        },
    }
}

/// `*DIGIT`, up to 65535 and not in more digits than that needs.
#[inline]
fn is_port(text: &[u8]) -> bool {
    let number = text.iter().take(5).fold(0, |number, &byte| number * 10 + u32::from(byte.wrapping_sub(b'0')));
    text.len() <= 5 && text.iter().all(u8::is_ascii_digit) && number <= 65535
}

#[cold]
fn is_unusual_authority(text: &[u8]) -> bool {
    if let [b'[', rest @ ..] = text {
        let Some(end) = memchr::memchr(b']', rest) else { return false };
        let (literal, port) = rest.split_at(end);
        let port_is_fine = match port {
            [b']'] => true,
            [b']', b':', port @ ..] => is_port(port),
            _ => false,
        };
        return port_is_fine && is_ip_literal(literal);
    }
    let end = memchr::memchr(b':', text).unwrap_or(text.len());
    let (host, port) = text.split_at(end);
    !host.is_empty() && is_encoded_name(host) && is_port(port.get(1..).unwrap_or_default())
}

fn is_ip_literal(text: &[u8]) -> bool {
    if let [b'v' | b'V', future @ ..] = text {
        let Some(dot) = memchr::memchr(b'.', future) else { return false };
        let (version, address) = future.split_at(dot);
        let address = address.get(1..).unwrap_or_default();
        return !version.is_empty()
            && version.iter().all(u8::is_ascii_hexdigit)
            && !address.is_empty()
            && address.iter().all(|&byte| byte != b'%' && (grammar::is_reg_name(byte) || byte == b':'));
    }
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

fn is_encoded_name(mut text: &[u8]) -> bool {
    loop {
        text = match text {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest,
            [byte, rest @ ..] if grammar::is_reg_name(*byte) => rest,
            _ => return false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn hosts_follow_the_grammar() {
        let valid = [
            "",
            "a",
            "localhost",
            "localhost:8000",
            "example.com",
            "example.com:",
            "a_b.example",
            "1.2.3.4:80",
            "[::1]",
            "[::1]:8000",
            "[2001:db8::1.2.3.4]:",
            "[v7.a:b]",
            "xn--bcher-kva.example",
            "a%20b",
            "a.example.:65535",
            "~a!$&'()*+;=",
        ];
        for host in valid {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        let invalid = [
            ":80",
            "a:b",
            "a:65536",
            "a:000080",
            "a:99999999999999999999999",
            "a:80:80",
            "a b",
            "a,b",
            "a@b",
            "user:pass@a",
            "a/",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:x",
            "[]",
            "[::g]",
            "[fe80::1%25eth0]",
            "[v.a]",
            "[v7.]",
            "a%2",
            "a%zz",
            "a\u{e9}",
            "a\tb",
            "\"a\"",
            "<a>",
            "a|b",
            "http://a",
            "a:-1",
            "a:+1",
            "a: 1",
        ];
        for host in invalid {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn targets_are_taken_apart() {
        let of = |method: &str, target: &'static str| {
            split(method.as_bytes(), target.as_bytes()).map(|parts| {
                (
                    parts.form,
                    &target[parts.path],
                    parts.query.map(|range| &target[range]),
                    parts.authority.map(|range| &target[range]),
                )
            })
        };
        let (origin, absolute) = (Target::Origin, Target::Absolute);
        assert_eq!(of("GET", "/"), Ok((origin, "/", None, None)));
        assert_eq!(of("GET", "//a//b?"), Ok((origin, "//a//b", Some(""), None)));
        assert_eq!(of("GET", "/a?b?c=/d"), Ok((origin, "/a", Some("b?c=/d"), None)));
        assert_eq!(of("OPTIONS", "*"), Ok((Target::Asterisk, "*", None, None)));
        assert_eq!(of("GET", "http://a.b:80/c?d"), Ok((absolute, "/c", Some("d"), Some("a.b:80"))));
        assert_eq!(of("GET", "HTTPS://a"), Ok((absolute, "", None, Some("a"))));
        assert_eq!(of("GET", "http://a?b/c"), Ok((absolute, "", Some("b/c"), Some("a"))));
    }

    #[test]
    fn bad_targets_are_refused() {
        let cases = [
            ("GET", "", Error::Target),
            ("GET", "*", Error::Target),
            ("OPTIONS", "**", Error::Target),
            ("GET", "a/b", Error::Target),
            ("GET", "?a", Error::Target),
            ("GET", "/a#b", Error::Target),
            ("GET", "/a\\b", Error::Target),
            ("GET", "/\u{e9}", Error::Target),
            ("GET", "ftp://a/", Error::Target),
            ("GET", "http:/a/", Error::Target),
            ("GET", "http:///a", Error::Host),
            ("GET", "http://", Error::Host),
            ("GET", "http://user@a/", Error::Host),
            ("GET", "http://a:b/", Error::Host),
            ("GET", "example.com:80", Error::Target),
            ("CONNECT", "example.com:80", Error::Connect),
            ("CONNECT", "[::1]:443", Error::Connect),
            ("CONNECT", "example.com", Error::Target),
            ("CONNECT", "example.com:", Error::Target),
            ("CONNECT", "/", Error::Target),
            ("CONNECT", "http://a/", Error::Target),
        ];
        for (method, target, error) in cases {
            assert_eq!(split(method.as_bytes(), target.as_bytes()), Err(error), "{method} {target}");
        }
    }
}
