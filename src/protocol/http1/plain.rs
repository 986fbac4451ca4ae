//! Recognises plain heads in one pass over words of eight bytes.
//!
//! A head is plain if it lies whole in the input and nothing about it is out of the ordinary: an origin-form target,
//! HTTP/1.0 or 1.1, no tabs, empty values or blanks at the end of a line, everything within the limits. Nearly all are.
//! Anything else, right or wrong, is left to httparse and the checks on top of it: this pass only ever accepts, and what it
//! accepts they accept with the same result (the tests see to that).

use super::framing::Framing;
use super::request::{METHOD_LENGTH, head_size};
use crate::protocol::Limits;
use crate::protocol::field::FieldId;
use crate::protocol::grammar::{self, controls, equal};
use crate::protocol::head::{FieldSpan, Head, Span, Target, Version};

/// Fills `head` from the plain head at the front of `input` and returns its length. Otherwise what is in `head` afterwards
/// means nothing.
#[inline]
pub(super) fn head(input: &[u8], limits: &Limits, head: &mut Head) -> Option<usize> {
    let window = input.get(..head_size(limits)).unwrap_or(input);
    let mut position = request_line(window, limits, head)?;
    let mut framing = Framing::default();
    head.fields.clear();
    loop {
        let rest = window.get(position..)?;
        if rest.first_chunk() == Some(b"\r\n") {
            break;
        }
        let (name, value, length) = field(rest)?;
        if length > limits.field_size || head.fields.len() == limits.fields {
            return None;
        }
        // Every request has this one, and nearly all write it like that.
        let id = if name == b"Host" { FieldId::Host } else { FieldId::of(name) };
        if id == FieldId::Other && !grammar::is_token_text(name) {
            return None;
        }
        framing.note(id, value, head.fields.len());
        let start = position as u32;
        let end = start + length as u32;
        head.fields.push(FieldSpan {
            name: Span { start, end: start + name.len() as u32 },
            value: Span { start: end - value.len() as u32, end },
            id,
        });
        position += length + 2;
    }
    let length = position + 2;
    head.bytes.clear();
    head.bytes.extend_from_slice(window.get(..length)?);
    framing.settle(limits, head).ok()?;
    Some(length)
}

/// The length of the request line with its CRLF.
#[inline]
fn request_line(window: &[u8], limits: &Limits, head: &mut Head) -> Option<usize> {
    let method = if window.first_chunk() == Some(b"GET ") {
        3
    } else {
        let end = window.iter().position(|&byte| !grammar::is_token(byte));
        end.filter(|length| (1..=METHOD_LENGTH).contains(length))?
    };
    let Some([b' ', target @ ..]) = window.get(method..) else { return None };
    if target.first() != Some(&b'/') || window.starts_with(b"CONNECT") {
        return None;
    }
    let (path, query) = match target_length(target, true) {
        path if target.get(path) == Some(&b'?') => {
            let query = target_length(target.get(path + 1..)?, false);
            (path, Some(query))
        }
        path => (path, None),
    };
    let target_length = path + query.map_or(0, |query| query + 1);
    // Not a match, which would compare byte by byte.
    let end = target.get(target_length..)?.first_chunk()?;
    let version = if end == b" HTTP/1.1\r\n" {
        Version::Http11
    } else if end == b" HTTP/1.0\r\n" {
        Version::Http10
    } else {
        return None;
    };
    let length = method + 1 + target_length + " HTTP/1.1\r\n".len();
    if length > limits.request_line + 2 {
        return None;
    }
    let start = method as u32 + 1;
    let end = start + target_length as u32;
    head.method = Span { start: 0, end: start - 1 };
    head.target = Span { start, end };
    head.form = Target::Origin;
    head.path = Span { start, end: start + path as u32 };
    head.query = query.map(|query| Span { start: end - query as u32, end });
    head.authority = None;
    head.version = version;
    Some(length)
}

/// How many bytes at the front may stand in a target; with `path`, up to the first `?`.
#[inline]
fn target_length(text: &[u8], path: bool) -> usize {
    let end = text.iter().position(|&byte| !grammar::is_target(byte) || (path && byte == b'?'));
    end.unwrap_or(text.len())
}

/// The name and value of the field line at the front, and its length without CRLF.
#[inline]
fn field(line: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let colon = find(line, 0, |word| equal(word, b':') | controls(word));
    let (name, rest) = line.split_at_checked(colon)?;
    let start = match rest {
        [b':', b' ', b' ' | b'\t', ..] => return None,
        [b':', b' ', ..] => colon + 2,
        [b':', ..] => colon + 1,
        _ => return None,
    };
    let end = find(line, start, controls);
    let (b"\r\n", value) = (line.get(end..)?.first_chunk()?, line.get(start..end)?) else { return None };
    match value {
        [] | [.., b' '] => None,
        value => Some((name, value, end)),
    }
}

/// The first place from `start` on where `marks` sets a byte's high bit; the end of the text sets one, too.
///
/// Above a byte that is marked rightly, marks may be wrong: only the first counts.
#[inline]
fn find(text: &[u8], mut start: usize, marks: impl Fn(u64) -> u64) -> usize {
    loop {
        let marked = marks(word_at(text, start));
        if marked != 0 {
            return start + marked.trailing_zeros() as usize / 8;
        }
        start += 8;
    }
}

/// Eight bytes, with zeros behind the end of the text.
#[inline]
fn word_at(text: &[u8], start: usize) -> u64 {
    let rest = text.get(start..).unwrap_or_default();
    match rest.first_chunk() {
        Some(word) => u64::from_le_bytes(*word),
        None => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::request::whole;
    use super::*;

    const LIMITS: Limits = Limits { request_line: 60, fields: 4, field_size: 60, head_size: 200, body_size: 1000 };

    /// What both passes make of it: the first one's result, if it has one, must be the other's.
    fn is_plain(input: &[u8], limits: &Limits) -> bool {
        let (mut ours, mut theirs) = (Head::default(), Head::default());
        let Some(length) = head(input, limits, &mut ours) else { return false };
        assert_eq!(whole(input, limits, &mut theirs), Ok(Some(length)), "{}", input.escape_ascii());
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"), "{}", input.escape_ascii());
        true
    }

    #[test]
    fn plain_heads_are_recognised() {
        let plain: [&[u8]; 8] = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a/b?c=d&e HTTP/1.1\r\nHost: a:80\r\nAccept: */*\r\n\r\nGET",
            b"POST /? HTTP/1.0\r\n\r\n",
            b"PUT /? HTTP/1.1\r\nhost:a\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n",
            b"REPORT /%20 HTTP/1.1\r\nHOST: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"GET // HTTP/1.1\r\nHost: a\r\nCookie: a=b; c=\"d\"; e=\xfc\r\nConnection: keep-alive, close\r\n\r\n",
            b"GET / HTTP/1.1\r\nX: inner\xe2\x82\xacblanks  stay\r\nHost: [::1]:8000\r\n\r\n",
            b"GET /0123456789/012345678?0123456789012345 HTTP/1.1\r\nHost: a\r\nA-Field-Of-Its-Own: 0123456789\r\n\r\n",
        ];
        for head in plain {
            assert!(is_plain(head, &LIMITS), "{}", head.escape_ascii());
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_others() {
        let other: [&[u8]; 12] = [
            b"",
            b"GET / HTTP/1.1\r\nHost: a\r\n",
            b"GET / HTTP/1.1\nHost: a\n\n",
            b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a \r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nX: a\tb\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ];
        for head in other {
            assert!(!is_plain(head, &LIMITS), "{}", head.escape_ascii());
        }
    }

    /// Every byte at every place of a head: what is recognised, httparse and the checks on top of it accept as well.
    #[test]
    fn nothing_is_recognised_that_the_strict_pass_refuses() {
        let head = b"GET /a?b HTTP/1.1\r\nHost: a.b:80\r\nContent-Length: 3\r\nX-Other: c d\r\n\r\n";
        assert!(is_plain(head, &LIMITS));
        let mut recognised = 0;
        for place in 0..head.len() {
            for byte in 0..=255 {
                let mut replaced = head.to_vec();
                replaced[place] = byte;
                let mut inserted = head.to_vec();
                inserted.insert(place, byte);
                recognised += usize::from(is_plain(&replaced, &LIMITS)) + usize::from(is_plain(&inserted, &LIMITS));
            }
            let mut removed = head.to_vec();
            removed.remove(place);
            recognised += usize::from(is_plain(&removed, &LIMITS));
        }
        assert!(recognised > 5000, "{recognised}: they are hardly compared");
    }

    #[test]
    fn limits_hold() {
        let head = b"GET /0123456789 HTTP/1.1\r\nHost: a\r\nA: 0123456789\r\nB: c\r\nD: e\r\n\r\n";
        assert!(is_plain(head, &LIMITS));
        let tight = [
            Limits { request_line: 23, ..LIMITS },
            Limits { fields: 3, ..LIMITS },
            Limits { field_size: 12, ..LIMITS },
            Limits { head_size: head.len() - 1, ..LIMITS },
        ];
        for limits in tight {
            assert!(!is_plain(head, &limits), "{limits:?}");
        }
        let just = Limits { request_line: 24, fields: 4, field_size: 13, head_size: head.len(), body_size: 0 };
        assert!(is_plain(head, &just));
    }
}
