//! The header fields of a response: which of them are sent, and how they are written.

use crate::protocol::ResponseError;
use crate::protocol::grammar;

/// The fields of a response, as its head takes them in.
pub trait ResponseFields {
    /// Appends their lines, each behind a CRLF, without those that are the server's. `with_status` tells whether one named
    /// `Status` is a field like others. The value of `Content-Length` is returned instead of being written.
    ///
    /// # Errors
    /// One may not be sent.
    fn append(self, with_status: bool, out: &mut Vec<u8>) -> Result<Option<u64>, ResponseError>;
}

impl<'f, I: Iterator<Item = (&'f [u8], &'f [u8])>> ResponseFields for I {
    #[inline]
    fn append(self, with_status: bool, out: &mut Vec<u8>) -> Result<Option<u64>, ResponseError> {
        if with_status { write(self, out) } else { write(self.filter(|(name, _)| !is_status(name)), out) }
    }
}

/// Fields that have been checked and written already, for applications that give the same ones again and again.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    /// Each line behind its CRLF.
    bytes: Vec<u8>,
    /// Where the first one named `Status` begins.
    status: Option<usize>,
}

impl Lines {
    /// How long they are, in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets those that were put there when they were so long already.
    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
        self.status = self.status.filter(|start| *start < length);
    }

    /// Puts one behind the others. Those that are the server's are left out, `Content-Length` too: how long a body is, is
    /// said beside.
    ///
    /// # Errors
    /// It may not be sent.
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), ResponseError> {
        let start = self.bytes.len();
        match kind_of(name) {
            Kind::Free => line(name, value, &mut self.bytes).inspect_err(|_| self.bytes.truncate(start))?,
            Kind::Ours | Kind::ContentLength => return check_field(name, value),
        }
        if self.status.is_none() && is_status(name) {
            self.status = Some(start);
        }
        Ok(())
    }
}

impl ResponseFields for &Lines {
    #[inline]
    fn append(self, with_status: bool, out: &mut Vec<u8>) -> Result<Option<u64>, ResponseError> {
        if with_status || self.status.is_none() {
            out.extend_from_slice(&self.bytes);
        } else {
            let lines = self.bytes.split(|&byte| byte == b'\r').filter_map(|line| line.strip_prefix(b"\n"));
            for line in lines.filter(|line| !line.split(|&byte| byte == b':').next().is_some_and(is_status)) {
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(line);
            }
        }
        Ok(None)
    }
}

/// `Status` is how a web server is told the status, where that is no line of its own (RFC 3875 §6.3.3).
fn is_status(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"status")
}

/// The application's fields, without those that are the server's. The value of `Content-Length` is returned instead.
#[inline]
pub(super) fn write<'f>(
    mut fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
    out: &mut Vec<u8>,
) -> Result<Option<u64>, ResponseError> {
    fields.try_fold(None, |declared, (name, value)| {
        // The commonest name need not be looked at byte by byte.
        if name == b"Content-Type" {
            out.extend_from_slice(b"\r\nContent-Type: ");
            return checked_value(value, out).map(|()| declared);
        }
        match kind_of(name) {
            Kind::Free => line(name, value, out)?,
            Kind::Ours => {}
            Kind::ContentLength => {
                let length = grammar::decimal(grammar::trim_blanks(value)).filter(|&length| length < u64::MAX);
                if length.is_none() || declared.is_some() {
                    return Err(ResponseError::ContentLength);
                }
                return Ok(length);
            }
        }
        Ok(declared)
    })
}

/// Whether a response field may be sent: anything else could end the field and begin another (RFC 9110 §5.5).
///
/// # Errors
/// What is wrong with it.
#[inline]
pub fn check_field(name: &[u8], value: &[u8]) -> Result<(), ResponseError> {
    if !grammar::is_token_text(name) {
        return Err(ResponseError::FieldName);
    }
    if grammar::is_value_text(grammar::trim_blanks(value)) { Ok(()) } else { Err(ResponseError::FieldValue) }
}

/// CRLF and `name: value`, if they may be sent.
fn line(name: &[u8], value: &[u8], out: &mut Vec<u8>) -> Result<(), ResponseError> {
    if !grammar::is_token_text(name) {
        return Err(ResponseError::FieldName);
    }
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    checked_value(value, out)
}

#[inline]
fn checked_value(value: &[u8], out: &mut Vec<u8>) -> Result<(), ResponseError> {
    let value = grammar::trim_blanks(value);
    if !grammar::is_value_text(value) {
        return Err(ResponseError::FieldValue);
    }
    out.extend_from_slice(value);
    Ok(())
}

/// Whose a response field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The application's.
    Free,
    /// `Content-Length`, which is compared with the body.
    ContentLength,
    /// The server's: hop by hop (RFC 9110 §7.6.1), or one that it writes itself.
    Ours,
}

#[inline]
fn kind_of(name: &[u8]) -> Kind {
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    let ours = match name.len() {
        2 => is(b"te"),
        4 => is(b"date"),
        6 => is(b"server"),
        7 => is(b"trailer") || is(b"upgrade"),
        8 => is(b"trailers"),
        10 => is(b"connection") || is(b"keep-alive"),
        14 if is(b"content-length") => return Kind::ContentLength,
        16 => is(b"proxy-connection"),
        17 => is(b"transfer-encoding"),
        18 => is(b"proxy-authenticate"),
        19 => is(b"proxy-authorization"),
        _ => false,
    };
    if ours { Kind::Ours } else { Kind::Free }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
mod tests {
    use super::*;

    /// Fields that are the same in both forms give the same head, or the same error.
    #[test]
    fn lines_are_what_their_fields_are() {
        type Case = &'static [(&'static [u8], &'static [u8])];
        let cases: &[Case] = &[
            &[],
            &[(b"Content-Type", b"text/plain"), (b"X-A", b" b\t")],
            &[(b"content-type", b""), (b"Connection", b"close"), (b"Date", b"now"), (b"X", b"1")],
            &[(b"Status", b"200"), (b"X", b"1"), (b"STATUS", b"404 Status: 1")],
            &[(b"X-Status", b"Status: 1")],
            &[(b"X", b"a\r\nY: b")],
            &[(b"X", b"1"), (b"a b", b"1")],
            &[(b"", b"1")],
            &[(b"Server", b"a\nb")],
        ];
        for fields in cases {
            let mut lines = Lines::default();
            lines.push(b"Status", b"it was cleared").unwrap();
            lines.truncate(0);
            let pushed = fields.iter().try_for_each(|(name, value)| lines.push(name, value));
            for with_status in [true, false] {
                let (mut one_by_one, mut at_once) = (Vec::new(), Vec::new());
                let appended = fields.iter().copied().append(with_status, &mut one_by_one);
                if let Err(error) = pushed {
                    // What is the server's is not looked at where it is left out.
                    assert!(appended == Err(error) || appended == Ok(None), "{fields:?}");
                    continue;
                }
                assert_eq!((&lines).append(with_status, &mut at_once), appended, "{fields:?}");
                assert_eq!(at_once.escape_ascii().to_string(), one_by_one.escape_ascii().to_string());
            }
        }
    }

    #[test]
    fn a_field_that_may_not_be_sent_leaves_nothing_of_itself() {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        lines.push(b"A", b"1").unwrap();
        assert_eq!(lines.push(b"B", b"2\r\nC: 3"), Err(ResponseError::FieldValue));
        lines.push(b"Content-Length", b"7").unwrap();
        assert_eq!((&lines).append(true, &mut out), Ok(None));
        assert_eq!(out, b"\r\nA: 1");
    }
}
