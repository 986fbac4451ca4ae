//! Decoded paths, which gateways pass, against encoded ones, which clients send.

use crate::protocol::head::{Head, Span};

/// The decoded bytes of a path, each with the offset behind what it was made of. What is no escape stays as it is.
struct Decoded<'a> {
    raw: &'a [u8],
    at: usize,
}

impl Iterator for Decoded<'_> {
    type Item = (u8, usize);

    fn next(&mut self) -> Option<(u8, usize)> {
        let rest = self.raw.get(self.at..)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let (byte, length) = match *rest {
            [] => return None,
            [b'%', high, low, ..] => match (digit(high), digit(low)) {
                (Some(high), Some(low)) => (high << 4 | low, 3),
                _ => (b'%', 1),
            },
            [byte, ..] => (byte, 1),
        };
        self.at += length;
        Some((byte, self.at))
    }
}

/// If `raw` is `script` and `info` in their encoded form: how much of it is the script's.
pub(super) fn place(raw: &[u8], script: &[u8], info: &[u8]) -> Option<usize> {
    if script.is_empty() && raw == info && memchr::memchr(b'%', raw).is_none() {
        return Some(0);
    }
    let mut decoded = Decoded { raw, at: 0 };
    let mut end = 0;
    for byte in script {
        let (found, behind) = decoded.next()?;
        if found != *byte {
            return None;
        }
        end = behind;
    }
    for byte in info {
        if decoded.next()?.0 != *byte {
            return None;
        }
    }
    decoded.next().is_none().then_some(end)
}

/// Appends `script` and `info` in an encoded form: the path, and how much of it is the script's.
pub(super) fn encode(head: &mut Head, script: Span, info: Span) -> (Span, u32) {
    let start = head.bytes.len();
    append(head, script);
    let middle = head.bytes.len();
    append(head, info);
    (Span { start: start as u32, end: head.bytes.len() as u32 }, (middle - start) as u32)
}

fn append(head: &mut Head, text: Span) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for index in text.start as usize..text.end as usize {
        let byte = head.bytes.get(index).copied().unwrap_or_default();
        // RFC 3986 §3.3, `pchar` and the slash.
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte) {
            head.bytes.push(byte);
        } else {
            let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
            head.bytes.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 0x0f)]);
        }
    }
}

/// The target that a client would have sent for the path and `query`.
pub(super) fn target(head: &mut Head, query: Option<Span>) -> Span {
    let Some(query) = query else { return head.path };
    let start = head.bytes.len();
    for part in [head.path, query] {
        if head.bytes.len() > start {
            head.bytes.push(b'?');
        }
        head.bytes.extend_from_within(part.start as usize..part.end as usize);
    }
    Span { start: start as u32, end: head.bytes.len() as u32 }
}

/// `path`, or a slash if it is empty.
pub(super) fn or_root(head: &mut Head, path: Span) -> Span {
    if path.start < path.end {
        return path;
    }
    let start = head.bytes.len() as u32;
    head.bytes.push(b'/');
    Span { start, end: start + 1 }
}

/// `path` without `prefix` in front of it, if that ends where a segment does.
pub(super) fn without_prefix(head: &Head, path: Span, prefix: Span) -> Span {
    match head.bytes_of(path).strip_prefix(head.bytes_of(prefix)) {
        Some([] | [b'/', ..]) => Span { start: path.start + (prefix.end - prefix.start), end: path.end },
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_path_is_found_to_be_the_decoded_parts_and_is_divided_where_they_are() {
        type Case<'a> = (&'a str, &'a [u8], &'a [u8], Option<usize>);
        let cases: &[Case<'_>] = &[
            ("/a/b", b"", b"/a/b", Some(0)),
            ("/a/b", b"/a", b"/b", Some(2)),
            ("/a", b"/a", b"", Some(2)),
            ("/%61/b", b"/a", b"/b", Some(4)),
            ("/a%20b/c%2Fd", b"/a b", b"/c/d", Some(6)),
            ("/a%00", b"", b"/a\0", Some(0)),
            ("/%zz%", b"", b"/%zz%", Some(0)),
            ("/a//b", b"", b"/a/b", None),
            ("/a", b"/a/b", b"", None),
            ("/a/b", b"/a", b"", None),
            ("/%2561", b"", b"/%61", Some(0)),
            ("/%61", b"", b"/%61", None),
        ];
        for (raw, script, info, expected) in cases {
            assert_eq!(place(raw.as_bytes(), script, info), *expected, "{raw}");
        }
    }
}
