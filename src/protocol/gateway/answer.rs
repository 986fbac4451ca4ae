//! The response of a gateway: a CGI program's document, whose end the protocol tells.
//!
//! `Server`, `Date` and `Connection` are the web server's. Nothing is ever chunked, nor is there an interim response: nginx
//! would pass on the chunks as they stand, and take a 103 for the final response.

use crate::protocol::http1::ResponseFields;
use crate::protocol::http1::response::{self, Reader};
use crate::protocol::{Error, Head, Length, Protocol, ResponseError};
use crate::status;

/// How a response begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum Style {
    /// `HTTP/1.1 200 OK`: nginx leaks a `Status` field that comes by uwsgi.
    StatusLine,
    /// `Status: 200 OK`, as of a CGI program.
    StatusField,
}

/// How the end of the body is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Framing {
    /// No response was begun.
    #[default]
    Unanswered,
    /// There is no body, whatever is passed: HEAD, 204, 304.
    Bodiless,
    /// By `Content-Length`; so many bytes are still to come.
    Length(u64),
    /// By the end of the connection, or of the stream.
    Open,
}

/// One response at a time.
#[derive(Clone, Debug, Default)]
pub(in crate::protocol) struct Answer {
    framing: Framing,
    sent: u64,
    /// The method is HEAD.
    head: bool,
    awaited: bool,
}

impl Answer {
    /// A request has been seen.
    pub(in crate::protocol) fn begin(&mut self, head: &Head) {
        *self = Self { head: head.bytes_of(head.method) == b"HEAD", awaited: true, ..Self::default() };
    }

    pub(in crate::protocol) fn has_responded(&self) -> bool {
        self.framing != Framing::Unanswered
    }

    pub(in crate::protocol) fn sends_body(&self) -> bool {
        matches!(self.framing, Framing::Length(_) | Framing::Open)
    }

    pub(in crate::protocol) fn sent(&self) -> u64 {
        self.sent
    }

    /// Checks an interim response, which is not sent.
    pub(in crate::protocol) fn interim<'f>(
        &self,
        status: u16,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        out: &mut Vec<u8>,
    ) -> Result<(), ResponseError> {
        if !self.awaited || self.has_responded() {
            return Err(ResponseError::OutOfTurn);
        }
        if !(102..200).contains(&status) {
            return Err(ResponseError::Status);
        }
        let length = out.len();
        let checked = fields.append(true, out).map(drop);
        out.truncate(length);
        checked
    }

    /// Appends the head of the response.
    pub(in crate::protocol) fn respond(
        &mut self,
        style: Style,
        status: u16,
        reason: Option<&[u8]>,
        fields: impl ResponseFields,
        length: Length,
        out: &mut Vec<u8>,
    ) -> Result<(), ResponseError> {
        if !self.awaited || self.has_responded() {
            return Err(ResponseError::OutOfTurn);
        }
        if !(200..600).contains(&status) {
            return Err(ResponseError::Status);
        }
        let bodiless = self.head || matches!(status, 204 | 304);
        let mut framing = Framing::Unanswered;
        response::atomically(out, |out| {
            start(style, status, reason, out)?;
            // `Status` is how the first line is written here: another would be in its place.
            let declared = fields.append(false, out)?;
            if let (Some(declared), Length::Known(length), false) = (declared, length, bodiless)
                && declared != length
            {
                return Err(ResponseError::ContentLength);
            }
            framing = match (declared, length) {
                _ if bodiless => Framing::Bodiless,
                (Some(length), _) | (None, Length::Known(length)) => Framing::Length(length),
                (None, Length::Unknown) => Framing::Open,
            };
            match (declared, length) {
                // RFC 9110 §8.6: none on 204; on 304 and HEAD only what GET would have.
                _ if status == 204 => {}
                (Some(length), _) => response::content_length(length, out),
                (None, Length::Known(length)) if !bodiless || (length > 0 && status != 304) => {
                    response::content_length(length, out);
                }
                _ => {}
            }
            out.extend_from_slice(b"\r\n\r\n");
            Ok(())
        })?;
        self.framing = framing;
        Ok(())
    }

    /// How many of `length` bytes of body are to be sent, and whether some are too many.
    pub(in crate::protocol) fn take(&mut self, length: u64) -> u64 {
        let length = match &mut self.framing {
            Framing::Unanswered | Framing::Bodiless => 0,
            Framing::Open => length,
            Framing::Length(left) => {
                let sent = length.min(*left);
                *left -= sent;
                sent
            }
        };
        self.sent = self.sent.saturating_add(length);
        length
    }

    /// Ends the response. Whether it was complete.
    pub(in crate::protocol) fn finish(&mut self) -> bool {
        let complete = self.awaited
            && match self.framing {
                Framing::Unanswered => false,
                Framing::Bodiless | Framing::Open => true,
                Framing::Length(left) => left == 0,
            };
        self.awaited = false;
        self.framing = Framing::Bodiless;
        complete
    }

    /// Appends an error page, unless a response was begun. Whether it was appended. If the reason is that the sender speaks
    /// HTTP, the page is HTTP, too.
    pub(in crate::protocol) fn refuse(
        &mut self,
        usual: Style,
        reason: Option<Error>,
        status: u16,
        text: &str,
        out: &mut Vec<u8>,
    ) -> bool {
        let (style, reader) = match reason.and_then(spoken) {
            Some(Protocol::Http) => (Style::StatusLine, Reader::Client { date: None }),
            Some(Protocol::Uwsgi) => (Style::StatusLine, Reader::WebServer),
            Some(Protocol::Scgi) => (Style::StatusField, Reader::WebServer),
            _ => (usual, Reader::WebServer),
        };
        let free = !self.awaited || !self.has_responded();
        if free {
            let start = out.len();
            self.sent = response::page(status, text, reader, !(self.awaited && self.head), out);
            if style == Style::StatusField {
                out.splice(start..start + b"HTTP/1.1".len(), *b"Status:");
            }
        }
        self.awaited = true;
        self.framing = Framing::Bodiless;
        free
    }
}

fn start(style: Style, status: u16, reason: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), ResponseError> {
    out.reserve(256);
    let common = status == 200 && matches!(reason, None | Some(b"OK"));
    match style {
        Style::StatusLine if common => out.extend_from_slice(b"HTTP/1.1 200 OK"),
        Style::StatusField if common => out.extend_from_slice(b"Status: 200 OK"),
        Style::StatusLine | Style::StatusField => {
            let words = reason.unwrap_or_else(|| status::reason(status).as_bytes());
            if !crate::protocol::grammar::is_value_text(words) {
                return Err(ResponseError::Reason);
            }
            out.extend_from_slice(if style == Style::StatusLine { b"HTTP/1.1 " } else { b"Status: " });
            response::decimal(u64::from(status), out);
            out.push(b' ');
            out.extend_from_slice(words);
        }
    }
    Ok(())
}

/// What the sender speaks, if it is refused for that and can be answered in it.
pub(in crate::protocol) fn spoken(error: Error) -> Option<Protocol> {
    match error {
        Error::HttpToUwsgi | Error::HttpToFastCgi | Error::HttpToScgi => Some(Protocol::Http),
        Error::UwsgiToFastCgi | Error::UwsgiToScgi => Some(Protocol::Uwsgi),
        Error::ScgiToUwsgi | Error::ScgiToFastCgi => Some(Protocol::Scgi),
        _ => None,
    }
}
