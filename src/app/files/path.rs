//! The path of a request as a path below the root.

use std::fmt::Write;

use super::page::Refusal;
use crate::app::percent::{Malformed, decode};

/// A path below the root: no leading or trailing slash, no empty, `.` or `..` segment, no NUL; empty for the root.
///
/// The kernel gets no `..` from here, and `openat2` would let none escape.
#[derive(Debug, Default)]
pub(super) struct RelativePath {
    bytes: Vec<u8>,
    directory: bool,
}

impl RelativePath {
    /// Takes over the path of a request.
    ///
    /// It is split at its slashes and then percent-decoded once: an encoded slash is a character of a name (RFC 3986
    /// §2.2), and no file has one in its name, so nobody is led past a rule for `/private/` by `/private%2F`. Encoded dots
    /// are dots (§6.2.2.2). Empty and `.` segments are dropped, `..` drops the one before it.
    pub(super) fn assign(&mut self, path: &str) -> Result<(), Refusal> {
        self.bytes.clear();
        self.directory = true;
        let path = match path.strip_prefix('/') {
            Some(path) => path,
            None if path.is_empty() => path,
            None => return Err(Refusal::BadRequest),
        };
        for segment in path.split('/') {
            let parent = self.bytes.len();
            if parent > 0 {
                self.bytes.push(b'/');
            }
            let start = self.bytes.len();
            decode(segment.as_bytes(), &mut self.bytes).map_err(|Malformed| Refusal::BadRequest)?;
            match self.bytes.get(start..).unwrap_or_default() {
                b"" | b"." => self.bytes.truncate(parent),
                b".." if parent == 0 => return Err(Refusal::BadRequest),
                b".." => {
                    self.bytes.truncate(parent);
                    self.bytes.truncate(memchr::memrchr(b'/', &self.bytes).unwrap_or(0));
                }
                name if name.contains(&b'/') => return Err(Refusal::NotFound),
                _ => {
                    self.directory = false;
                    continue;
                }
            }
            self.directory = true;
        }
        Ok(())
    }

    /// Whether the request was for a directory: its path ended in a slash (or in a segment that means a directory).
    pub(super) fn names_directory(&self) -> bool {
        self.directory
    }

    /// Whether a segment begins with a dot, other than that of well-known locations (RFC 8615 §3).
    pub(super) fn is_hidden(&self) -> bool {
        let path = self.bytes.strip_prefix(b".well-known").filter(|rest| rest.first().is_none_or(|byte| *byte == b'/'));
        path.unwrap_or(&self.bytes).split(|byte| *byte == b'/').any(|segment| segment.first() == Some(&b'.'))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends to the last segment and returns what to truncate it to afterwards.
    pub(super) fn append(&mut self, suffix: &str) -> usize {
        let length = self.bytes.len();
        self.bytes.extend_from_slice(suffix.as_bytes());
        length
    }

    /// Appends a segment and returns what to truncate it to afterwards.
    pub(super) fn append_segment(&mut self, segment: &str) -> usize {
        let length = self.bytes.len();
        if length > 0 {
            self.bytes.push(b'/');
        }
        self.bytes.extend_from_slice(segment.as_bytes());
        length
    }

    pub(super) fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }
}

/// What becomes of slashes in [`encode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum Slash {
    /// They separate segments.
    Keep,
    /// They are part of a name.
    Encode,
}

/// Percent-encodes everything but unreserved characters (RFC 3986 §2.3).
pub(in crate::app) fn encode(bytes: &[u8], slash: Slash, out: &mut String) {
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(*byte)),
            b'/' if slash == Slash::Keep => out.push('/'),
            // Writing to a string cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{RelativePath, Slash, encode};
    use crate::app::files::page::Refusal::{self, BadRequest, NotFound};

    #[test]
    fn a_request_path_becomes_one_below_the_root() {
        type Case = (&'static str, Result<(&'static [u8], bool), Refusal>);
        let cases: &[Case] = &[
            ("/", Ok((b"", true))),
            ("", Ok((b"", true))),
            ("/a", Ok((b"a", false))),
            ("/a/", Ok((b"a", true))),
            ("//a///b//", Ok((b"a/b", true))),
            ("/./a/./b", Ok((b"a/b", false))),
            ("/a/.", Ok((b"a", true))),
            ("/a/..", Ok((b"", true))),
            ("/a/b/../c", Ok((b"a/c", false))),
            ("/a/b/../../c", Ok((b"c", false))),
            ("/a/%2e%2E/b", Ok((b"b", false))),
            ("/a/.%2e/b", Ok((b"b", false))),
            ("/%2e/b", Ok((b"b", false))),
            ("/...", Ok((b"...", false))),
            ("/..a", Ok((b"..a", false))),
            ("/a%20b", Ok((b"a b", false))),
            ("/a+b", Ok((b"a+b", false))),
            ("/%C3%a9", Ok((b"\xc3\xa9", false))),
            // Decoded once: what comes out is not decoded again.
            ("/%252e%252e/a", Ok((b"%2e%2e/a", false))),
            ("/%2525", Ok((b"%25", false))),
            // Overlong UTF-8 is a name like any other.
            ("/%c0%ae%c0%ae/a", Ok((b"\xc0\xae\xc0\xae/a", false))),
            ("/..%5c..%5ca", Ok((b"..\\..\\a", false))),
            ("/..", Err(BadRequest)),
            ("/../a", Err(BadRequest)),
            ("/a/../../b", Err(BadRequest)),
            ("/%2e%2e/a", Err(BadRequest)),
            ("/./../a", Err(BadRequest)),
            ("//../a", Err(BadRequest)),
            ("/%00", Err(BadRequest)),
            ("/a%00.html", Err(BadRequest)),
            ("/a\0b", Err(BadRequest)),
            ("/a%", Err(BadRequest)),
            ("/a%4", Err(BadRequest)),
            ("/a%4/b", Err(BadRequest)),
            ("/a%zz", Err(BadRequest)),
            ("/a%+1", Err(BadRequest)),
            ("/%u002e", Err(BadRequest)),
            ("a", Err(BadRequest)),
            ("*", Err(BadRequest)),
            ("/..%2f", Err(NotFound)),
            ("/a%2Fb", Err(NotFound)),
            ("/%2fetc", Err(NotFound)),
        ];
        let mut path = RelativePath::default();
        for (input, expected) in cases {
            let result = path.assign(input).map(|()| (path.as_bytes(), path.names_directory()));
            assert_eq!(result, *expected, "{input}");
        }
    }

    #[test]
    fn names_with_a_leading_dot_are_hidden_except_well_known() {
        let cases = [
            ("/", false),
            ("/a.b/c.d", false),
            ("/.git", true),
            ("/.git/config", true),
            ("/a/.env", true),
            ("/a/.b/c", true),
            ("/.well-known", false),
            ("/.well-known/acme-challenge/x", false),
            ("/.well-known/.x", true),
            ("/.well-known2/x", true),
            ("/a/.well-known/x", true),
            ("/%2egit/config", true),
        ];
        let mut path = RelativePath::default();
        for (input, hidden) in cases {
            assert_eq!(path.assign(input), Ok(()), "{input}");
            assert_eq!(path.is_hidden(), hidden, "{input}");
        }
    }

    #[test]
    fn encoding_leaves_only_unreserved_characters() {
        for (slash, expected) in [(Slash::Keep, "a/b%20%C3%A9%5C%3A%25~"), (Slash::Encode, "a%2Fb%20%C3%A9%5C%3A%25~")]
        {
            let mut out = String::new();
            encode("a/b é\\:%~".as_bytes(), slash, &mut out);
            assert_eq!(out, expected);
        }
    }
}
