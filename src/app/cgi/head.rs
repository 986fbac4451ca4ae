//! What a CGI program says before its body (RFC 3875 §6), and a FastCGI program too.

use std::borrow::Cow;
use std::fmt;

use crate::app::Response;
use crate::protocol::grammar;

/// Bytes of a head at most.
pub const LIMIT: usize = 64 * 1024;

/// What a program wants to be done.
#[derive(Debug)]
pub enum Answer {
    /// Send this; what follows the head is its body.
    Document(Response),
    /// Answer as if the client had asked for this path and query (RFC 3875 §6.2.2).
    Elsewhere(String),
}

/// Why a head is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is longer than [`LIMIT`].
    TooLong,
    /// The output has ended before the empty line.
    Incomplete,
    /// There was no output at all.
    Nothing,
    /// A line has no colon.
    NoColon,
    /// What stands before the colon is no name.
    Name,
    /// A value has control characters.
    Value,
    /// A line begins with a blank.
    Folded,
    /// There is no field at all.
    NoFields,
    /// A status that is no number from 200 to 599.
    Status,
    /// `Status`, `Location` or `Content-Length` comes twice.
    Twice,
    /// `Content-Length` is no number.
    ContentLength,
    /// `Location` is empty or has blanks in it.
    Location,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "its head is longer than 64 KiB",
            Self::Incomplete => "its output ended before the empty line that ends the head",
            Self::Nothing => "it has written nothing",
            Self::NoColon => "its head has a line without a colon",
            Self::Name => "its head has a field whose name is no token",
            Self::Value => "its head has a value with control characters",
            Self::Folded => "its head has a line that begins with a blank",
            Self::NoFields => "its head has no field",
            Self::Status => "its status is no number from 200 to 599",
            Self::Twice => "its head has Status, Location or Content-Length twice",
            Self::ContentLength => "its Content-Length is no number",
            Self::Location => "its Location is no URI",
        })
    }
}

/// The head of a program's answer, as far as it has come, and the beginning of the body behind it.
#[derive(Debug, Default)]
pub struct HeadBuffer {
    bytes: Vec<u8>,
    /// Where the line begins that has not ended yet.
    line: usize,
}

impl HeadBuffer {
    /// Takes what the program has written; any split gives the same answer. Returns it when the head is complete.
    ///
    /// # Errors
    /// The head is wrong. Nothing may be added after that.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Answer>, Fault> {
        let mut scanned = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        while let Some(end) = memchr::memchr(b'\n', self.bytes.get(scanned..).unwrap_or_default()) {
            let next = scanned + end + 1;
            let line = self.bytes.get(self.line..next - 1).unwrap_or_default();
            if next > LIMIT {
                return Err(Fault::TooLong);
            }
            if line.is_empty() || line == b"\r" {
                let answer = parse(self.bytes.get(..self.line).unwrap_or_default())?;
                self.bytes.drain(..next);
                return Ok(Some(answer));
            }
            self.line = next;
            scanned = next;
        }
        if self.bytes.len() > LIMIT { Err(Fault::TooLong) } else { Ok(None) }
    }

    /// What is wrong if the output ends here, before the head has.
    pub fn ended(&self) -> Fault {
        if self.bytes.is_empty() { Fault::Nothing } else { Fault::Incomplete }
    }

    /// The beginning of the body, once the head is complete.
    pub fn into_body(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads the lines of a head, without the empty one.
fn parse(head: &[u8]) -> Result<Answer, Fault> {
    let mut response = Response::new(200);
    let (mut status, mut location, mut length) = (None, None, None);
    let mut fields = 0_usize;
    for (number, line) in head.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if number == 0 && line.starts_with(b"HTTP/") {
            // The head of a program that parses none of its headers (NPH, RFC 3875 §5). The framing stays the server's.
            let (_, rest) = split_once(line, b' ').ok_or(Fault::Status)?;
            status = Some(parse_status(rest)?);
            continue;
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Fault::Folded);
        }
        let (name, value) = split_once(line, b':').ok_or(Fault::NoColon)?;
        let value = value.trim_ascii();
        if !grammar::is_token_text(name) {
            return Err(Fault::Name);
        }
        if !grammar::is_value_text(value) {
            return Err(Fault::Value);
        }
        let name = std::str::from_utf8(name).map_err(|_| Fault::Name)?;
        if name.eq_ignore_ascii_case("status") {
            if status.replace(parse_status(value)?).is_some() {
                return Err(Fault::Twice);
            }
            continue;
        }
        fields += 1;
        if name.eq_ignore_ascii_case("location") {
            if value.is_empty() || value.contains(&b' ') || value.contains(&b'\t') {
                return Err(Fault::Location);
            }
            if location.replace(value).is_some() {
                return Err(Fault::Twice);
            }
        } else if name.eq_ignore_ascii_case("content-length") {
            // 20 digits are more than 64 bits hold.
            if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
                return Err(Fault::ContentLength);
            }
            if length.replace(value).is_some() {
                return Err(Fault::Twice);
            }
        } else if HOP_BY_HOP.iter().any(|hop| name.eq_ignore_ascii_case(hop)) {
            continue;
        }
        response.fields.push((Cow::Owned(name.to_owned()), Cow::Owned(value.to_owned())));
    }
    if fields == 0 && status.is_none() {
        return Err(Fault::NoFields);
    }
    match (status, location) {
        (None, Some(path)) if fields == 1 && path.first() == Some(&b'/') => {
            let path = std::str::from_utf8(path).map_err(|_| Fault::Location)?;
            Ok(Answer::Elsewhere(path.to_owned()))
        }
        (None, Some(_)) => Ok(Answer::Document(response.with_status(302))),
        (None, None) => Ok(Answer::Document(response)),
        (Some((status, reason)), _) => {
            response.reason = reason.map(Cow::Owned);
            Ok(Answer::Document(response.with_status(status)))
        }
    }
}

/// Fields that are about a connection (RFC 9110 §7.6.1), which a program has none of.
const HOP_BY_HOP: [&str; 7] =
    ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// `NNN` or `NNN reason`.
fn parse_status(text: &[u8]) -> Result<(u16, Option<String>), Fault> {
    let (digits, reason) = split_once(text.trim_ascii(), b' ').unwrap_or((text.trim_ascii(), b""));
    let [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9'] = digits else { return Err(Fault::Status) };
    let status = digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    let reason = Some(reason.trim_ascii()).filter(|reason| !reason.is_empty() && grammar::is_value_text(reason));
    Ok((status, reason.and_then(|reason| std::str::from_utf8(reason).ok()).map(str::to_owned)))
}

fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(separator, text)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
mod tests {
    use super::{Answer, Fault, HeadBuffer, LIMIT};

    /// What becomes of an output, as text: `status reason|Name: value|...|body`, or `-> path`.
    fn outcome(pieces: &[&[u8]]) -> Result<String, Fault> {
        let mut buffer = HeadBuffer::default();
        let mut answer = None;
        let mut late = Vec::new();
        for piece in pieces {
            if answer.is_some() {
                late.extend_from_slice(piece);
            } else {
                answer = buffer.push(piece)?;
            }
        }
        let Some(answer) = answer else { return Err(buffer.ended()) };
        let mut body = buffer.into_body();
        body.extend(late);
        Ok(match answer {
            Answer::Elsewhere(path) => format!("-> {path}|{}", String::from_utf8_lossy(&body)),
            Answer::Document(response) => {
                let mut text = format!("{} {}|", response.status, response.reason.as_deref().unwrap_or("-"));
                for (name, value) in response.fields() {
                    text += &format!("{}: {}|", str::from_utf8(name).unwrap(), String::from_utf8_lossy(value));
                }
                text + &String::from_utf8_lossy(&body)
            }
        })
    }

    #[test]
    fn heads_are_read_alike_however_they_are_split() {
        let cases: &[(&str, Result<&str, Fault>)] = &[
            ("Content-Type: text/plain\n\nbody", Ok("200 -|Content-Type: text/plain|body")),
            ("Content-Type: text/plain\r\n\r\nbody\r\n", Ok("200 -|Content-Type: text/plain|body\r\n")),
            ("content-type:text/plain\n\r\n\nx", Ok("200 -|content-type: text/plain|\nx")),
            ("Status: 404 Not Here\nContent-Type: a/b\n\n", Ok("404 Not Here|Content-Type: a/b|")),
            ("STATUS:204\n\n", Ok("204 -|")),
            ("Status: 599\t\nX-A: b\n\n", Ok("599 -|X-A: b|")),
            ("X-A: 1\nX-A: 2\n\n", Ok("200 -|X-A: 1|X-A: 2|")),
            ("X-Empty:\n\n", Ok("200 -|X-Empty: |")),
            ("Content-Type: a/b\nContent-Length: 3\n\nabc", Ok("200 -|Content-Type: a/b|Content-Length: 3|abc")),
            (
                "Content-Type: a/b\nConnection: close\nTransfer-Encoding: chunked\n\nabc",
                Ok("200 -|Content-Type: a/b|abc"),
            ),
            // Redirects (RFC 3875 §6.2.2 to §6.2.4).
            ("Location: /other?a=b\n\n", Ok("-> /other?a=b|")),
            ("Location: http://other/\n\n", Ok("302 -|Location: http://other/|")),
            ("Location: /other\nContent-Type: a/b\n\nx", Ok("302 -|Location: /other|Content-Type: a/b|x")),
            ("Status: 303 See\nLocation: /other\n\n", Ok("303 See|Location: /other|")),
            (
                "Location: http://o/\nStatus: 301\nContent-Type: a/b\n\nx",
                Ok("301 -|Location: http://o/|Content-Type: a/b|x"),
            ),
            // Heads that come as a response (§5).
            ("HTTP/1.0 201 Made\r\nX-A: b\r\n\r\nx", Ok("201 Made|X-A: b|x")),
            ("HTTP/1.1 200\r\n\r\nx", Ok("200 -|x")),
            ("HTTP/1.1 100 Continue\r\n\r\n", Err(Fault::Status)),
            ("HTTP/1.1\r\n\r\n", Err(Fault::Status)),
            ("HTTP/1.1 200 OK\nStatus: 404\n\n", Err(Fault::Twice)),
            ("", Err(Fault::Nothing)),
            ("Content-Type: text/plain", Err(Fault::Incomplete)),
            ("Content-Type: text/plain\n", Err(Fault::Incomplete)),
            ("\n", Err(Fault::NoFields)),
            ("\r\n\r\n", Err(Fault::NoFields)),
            ("Traceback (most recent call last)\n\n", Err(Fault::NoColon)),
            ("Bad Name: x\n\n", Err(Fault::Name)),
            (": x\n\n", Err(Fault::Name)),
            ("X-A: b\0c\n\n", Err(Fault::Value)),
            ("X-A: b\rc\n\n", Err(Fault::Value)),
            ("X-A: b\n c\n\n", Err(Fault::Folded)),
            ("Status: 99\n\n", Err(Fault::Status)),
            ("Status: 1000\n\n", Err(Fault::Status)),
            ("Status: 103\n\n", Err(Fault::Status)),
            ("Status: OK\n\n", Err(Fault::Status)),
            ("Status:\n\n", Err(Fault::Status)),
            ("Status: 200\nStatus: 200\n\n", Err(Fault::Twice)),
            ("Content-Length: 1\nContent-Length: 1\n\n", Err(Fault::Twice)),
            ("Content-Length: -1\n\n", Err(Fault::ContentLength)),
            ("Content-Length: 18446744073709551616\n\n", Err(Fault::ContentLength)),
            ("Location:\n\n", Err(Fault::Location)),
            ("Location: /a b\n\n", Err(Fault::Location)),
            ("Location: /a\nLocation: /b\n\n", Err(Fault::Twice)),
        ];
        for (text, expected) in cases {
            let expected = expected.map(str::to_owned);
            assert_eq!(outcome(&[text.as_bytes()]), expected, "{text:?}");
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(outcome(&bytes), expected, "{text:?} byte by byte");
            for at in 0..text.len() {
                let (one, other) = text.as_bytes().split_at(at);
                assert_eq!(outcome(&[one, other]), expected, "{text:?} split at {at}");
            }
        }
    }

    #[test]
    fn a_head_has_a_limit_but_a_body_none() {
        let mut head = b"X-A: ".to_vec();
        head.resize(LIMIT - 2, b'a');
        head.extend_from_slice(b"\n\n");
        assert!(outcome(&[&head]).is_ok());
        head.insert(5, b'a');
        assert_eq!(outcome(&[&head]), Err(Fault::TooLong));
        assert_eq!(outcome(&[&vec![b'a'; LIMIT + 1]]), Err(Fault::TooLong));
        let mut long = b"X-A: b\n\n".to_vec();
        long.resize(3 * LIMIT, b'a');
        assert!(outcome(&[&long]).is_ok());
    }
}
