//! HTTP/1.0 and HTTP/1.1, server side (RFC 9110, RFC 9112), strict.
//!
//! ```text
//!             next_event: Request       Body*, End                 finish: KeepAlive
//!      Head ----------------------> Body ----------> Complete -------------------------> Head
//!        \                            \                   \
//!         `-- a breach of the policy --`--> Refused        `-- finish: Close ----------> Closed
//! ```
//!
//! The response may be begun as soon as the request's head is there. One that is finished before the request's end was seen
//! closes the connection: what is left of the body would have to be told from the next request.

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
mod agreement;
mod chunked;
mod fields;
mod framing;
mod plain;
mod request;
pub(super) mod response;
pub(super) mod target;
mod work;

pub use super::{Error, ResponseError};
pub use fields::{Lines, ResponseFields, check_field};

use super::{Event, Head, Length, Limits, Progress, Reuse, Version};
use chunked::Decoder;
use request::Scan;
use response::{Framing, Reader};

/// Empty lines that are skipped in front of a request line (RFC 9112 §2.2 asks for one).
const BLANK_LINES: u8 = 2;

/// What of the request comes next.
#[derive(Clone, Copy, Debug)]
enum Inbound {
    /// A head, behind so many blank lines that were skipped.
    Head(Scan, u8),
    /// So many bytes of body.
    Length(u64),
    /// A chunked body.
    Chunked(Decoder),
    /// Nothing until the response is finished.
    Complete,
    /// Nothing any more: the connection is going to be closed.
    Closed,
    /// Nothing any more, because of this.
    Refused(Error),
}

impl Default for Inbound {
    fn default() -> Self {
        Self::Head(Scan::default(), 0)
    }
}

/// What the head of the current request said that matters to the response.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    version: Version,
    /// The method is HEAD.
    head: bool,
    keep_alive: bool,
    /// It waits for `100 Continue`, and neither that nor anything else was sent.
    expects_continue: bool,
}

/// One HTTP/1 connection: which part of which message comes next. Small, as there is one per connection.
#[derive(Clone, Debug, Default)]
pub struct Http1 {
    inbound: Inbound,
    outbound: Framing,
    /// Body bytes appended or framed for the latest response.
    sent: u64,
    asked: Asked,
    /// A request has been parsed, and its response is not finished.
    awaits_response: bool,
    /// The response that was begun, or could not be completed, is the last one.
    last: bool,
    /// The next response that is begun shall be the last one.
    closing: bool,
}

const _: () = assert!(size_of::<Http1>() <= 64);

impl Http1 {
    /// A machine at the start of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// What stands at the front of `input`. On [`Event::Request`], `head` has been filled.
    ///
    /// # Errors
    /// Any breach of the policy; nothing more may be parsed afterwards.
    #[inline]
    pub fn next_event(&mut self, input: &[u8], limits: &Limits, head: &mut Head) -> Result<Progress, Error> {
        let result = match self.inbound {
            Inbound::Head(..) => self.head(input, limits, head),
            _ => self.body_event(input, limits),
        };
        if let Err(error) = result {
            self.inbound = Inbound::Refused(error);
        }
        result
    }

    fn body_event(&mut self, input: &[u8], limits: &Limits) -> Result<Progress, Error> {
        let progress = match &mut self.inbound {
            Inbound::Length(left) => {
                let end = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= end as u64;
                let event = match end {
                    0 if *left == 0 => Event::End,
                    0 => Event::NeedMore,
                    end => Event::Body { start: 0, end },
                };
                Progress { consumed: end, event }
            }
            Inbound::Chunked(decoder) => decoder.next_event(input, limits)?,
            Inbound::Head(..) | Inbound::Complete => Progress { consumed: 0, event: Event::NeedMore },
            Inbound::Closed => Progress { consumed: input.len(), event: Event::NeedMore },
            Inbound::Refused(error) => return Err(*error),
        };
        match progress.event {
            Event::End => self.end_request(),
            Event::Body { .. } => self.asked.expects_continue = false,
            Event::Request | Event::NeedMore | Event::Reply | Event::Aborted => {}
        }
        Ok(progress)
    }

    fn end_request(&mut self) {
        self.inbound = Inbound::Complete;
        self.asked.expects_continue = false;
    }

    /// Takes [`Event::End`] of a request that has no body at once. Whether there was nothing else to come.
    #[inline]
    pub fn end_without_body(&mut self) -> bool {
        let ends = matches!(self.inbound, Inbound::Length(0));
        if ends {
            self.end_request();
        }
        ends
    }

    #[inline]
    fn head(&mut self, input: &[u8], limits: &Limits, head: &mut Head) -> Result<Progress, Error> {
        let Inbound::Head(scan, blank_lines) = &mut self.inbound else {
            return Ok(Progress { consumed: 0, event: Event::NeedMore });
        };
        let mut skipped = 0;
        let mut rest = input;
        while let [b'\r' | b'\n', ..] = rest {
            match rest {
                [b'\n', ..] => return Err(Error::BareLf),
                _ if *blank_lines == BLANK_LINES => return Err(Error::EmptyLines),
                [b'\r', b'\n', after @ ..] => rest = after,
                // Of a lone CR nothing can be said yet.
                [_] => break,
                _ => return Err(Error::RequestLine),
            }
            *blank_lines += 1;
            skipped += 2;
        }
        if matches!(rest, [] | [b'\r']) {
            return Ok(Progress { consumed: skipped, event: Event::NeedMore });
        }
        let Some(length) = scan.head(rest, limits, head)? else {
            return Ok(Progress { consumed: skipped, event: Event::NeedMore });
        };
        self.inbound = if head.chunked {
            Inbound::Chunked(Decoder::default())
        } else {
            Inbound::Length(head.content_length.unwrap_or(0))
        };
        self.outbound = Framing::Unanswered;
        self.sent = 0;
        self.awaits_response = true;
        self.last = false;
        self.asked = Asked {
            version: head.version,
            head: head.bytes_of(head.method) == b"HEAD",
            keep_alive: head.keep_alive,
            expects_continue: head.expects_continue,
        };
        Ok(Progress { consumed: skipped + length, event: Event::Request })
    }

    /// Whether neither a request is in progress nor a part of one has been seen.
    pub fn is_idle(&self) -> bool {
        matches!(&self.inbound, Inbound::Head(scan, _) if scan.is_fresh())
    }

    /// Whether the head of a final response has been appended for the current request, or for the one that ended last.
    pub fn has_responded(&self) -> bool {
        self.outbound != Framing::Unanswered
    }

    /// Whether body bytes of the response that was begun are sent at all: not after HEAD, nor with 204 and 304.
    pub fn sends_body(&self) -> bool {
        !matches!(self.outbound, Framing::Unanswered | Framing::Bodiless)
    }

    /// Body bytes of the current response, or of the one that ended last, that were appended or framed so far; without the
    /// framing itself.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Appends `HTTP/1.1 100 Continue` if the current request waits for it and nothing was answered yet.
    pub fn continue_body(&mut self, out: &mut Vec<u8>) {
        if self.asked.expects_continue && self.outbound == Framing::Unanswered {
            out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        self.asked.expects_continue = false;
    }

    /// Appends an interim response (103), if the peer's version allows one.
    ///
    /// # Errors
    /// A status or field that may not be sent; nothing was appended then.
    pub fn interim<'f>(
        &mut self,
        status: u16,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        out: &mut Vec<u8>,
    ) -> Result<(), ResponseError> {
        if !self.awaits_response || self.outbound != Framing::Unanswered {
            return Err(ResponseError::OutOfTurn);
        }
        if !(102..200).contains(&status) {
            return Err(ResponseError::Status);
        }
        let length = out.len();
        response::atomically(out, |out| response::interim(status, fields, out))?;
        if self.asked.version < Version::Http11 {
            // RFC 9110 §15.2: they were checked, but HTTP/1.0 does not know interim responses.
            out.truncate(length);
        }
        Ok(())
    }

    /// From now on every response says `Connection: close` (the worker drains, or the connection had its share).
    ///
    /// A response whose head has been appended already keeps its word.
    pub fn close_after_response(&mut self) {
        self.closing = true;
    }

    /// Appends the head of the final response: status line, `Server`, `Date`, `Connection`, framing, `fields`.
    ///
    /// Fields that are the server's (`Connection`, `Transfer-Encoding`, `Date` and the like) are left out of `fields`.
    ///
    /// # Errors
    /// A status, reason or field that may not be sent; nothing was appended then.
    #[inline]
    pub fn respond(
        &mut self,
        status: u16,
        reason: Option<&[u8]>,
        fields: impl ResponseFields,
        length: Length,
        date: &[u8; 29],
        out: &mut Vec<u8>,
    ) -> Result<(), ResponseError> {
        if !self.awaits_response || self.outbound != Framing::Unanswered {
            return Err(ResponseError::OutOfTurn);
        }
        if !(200..600).contains(&status) {
            return Err(ResponseError::Status);
        }
        let bodiless = self.asked.head || matches!(status, 204 | 304);
        response::atomically(out, |out| {
            out.reserve(256);
            response::start(status, reason, date, out)?;
            match length {
                Length::Known(length) if !bodiless => self.framing_first(length, fields, out)?,
                _ => self.framing_last(status, bodiless, fields, length, out)?,
            }
            out.extend_from_slice(b"\r\n\r\n");
            Ok(())
        })
        .inspect_err(|_| self.outbound = Framing::Unanswered)
    }

    #[inline]
    fn framing_first(
        &mut self,
        length: u64,
        fields: impl ResponseFields,
        out: &mut Vec<u8>,
    ) -> Result<(), ResponseError> {
        self.outbound = Framing::Length(length);
        self.connection(out);
        response::content_length(length, out);
        match fields.append(true, out)? {
            Some(declared) if declared != length => Err(ResponseError::ContentLength),
            _ => Ok(()),
        }
    }

    /// The framing depends on the fields, but is to stand in front of them.
    fn framing_last(
        &mut self,
        status: u16,
        bodiless: bool,
        fields: impl ResponseFields,
        length: Length,
        out: &mut Vec<u8>,
    ) -> Result<(), ResponseError> {
        let fields_start = out.len();
        let declared = fields.append(true, out)?;
        let framing_start = out.len();
        self.outbound = match declared {
            _ if bodiless => Framing::Bodiless,
            Some(length) => Framing::Length(length),
            None if self.asked.version < Version::Http11 => Framing::Close,
            None => Framing::Chunked { owes_crlf: false },
        };
        self.connection(out);
        match (declared, length) {
            // RFC 9110 §8.6: none on 204; on 304 and HEAD only what GET would have, which an empty body does not tell.
            _ if status == 204 => {}
            (Some(length), _) => response::content_length(length, out),
            (None, Length::Known(length)) if length > 0 && status != 304 => response::content_length(length, out),
            (None, _) if bodiless || self.outbound == Framing::Close => {}
            (None, _) => out.extend_from_slice(b"\r\nTransfer-Encoding: chunked"),
        }
        let framing_length = out.len() - framing_start;
        if let Some(fields_and_framing) = out.get_mut(fields_start..) {
            fields_and_framing.rotate_right(framing_length);
        }
        Ok(())
    }

    /// Decides whether this response is the last one, and says so where it has to be said.
    #[inline]
    fn connection(&mut self, out: &mut Vec<u8>) {
        let incomplete = !matches!(self.inbound, Inbound::Complete);
        self.last = self.closing || !self.asked.keep_alive || incomplete || self.outbound == Framing::Close;
        match (self.last, self.asked.version) {
            (true, _) => out.extend_from_slice(b"\r\nConnection: close"),
            (false, Version::Http10) => out.extend_from_slice(b"\r\nConnection: keep-alive"),
            (false, Version::Http11) => {}
        }
    }

    /// Appends body bytes with their framing; what must not be sent (HEAD, 204, over the length) is dropped.
    #[inline]
    pub fn body(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if let Framing::Length(left) = &mut self.outbound
            && let Some(after) = left.checked_sub(bytes.len() as u64)
        {
            *left = after;
            self.sent = self.sent.saturating_add(bytes.len() as u64);
            out.extend_from_slice(bytes);
            return;
        }
        let length = self.frame(bytes.len() as u64, out);
        out.extend_from_slice(bytes.get(..length as usize).unwrap_or(bytes));
        if let Framing::Chunked { owes_crlf: owes_crlf @ true } = &mut self.outbound {
            *owes_crlf = false;
            out.extend_from_slice(b"\r\n");
        }
    }

    /// For bytes that the caller sends itself from where they lie (large bodies, sendfile): appends the framing that goes
    /// before `length` of them and returns how many of them to send, less where they must not be sent.
    pub fn frame(&mut self, length: u64, out: &mut Vec<u8>) -> u64 {
        let length = match &mut self.outbound {
            Framing::Unanswered | Framing::Bodiless => 0,
            Framing::Close => length,
            Framing::Length(left) => {
                let sent = length.min(*left);
                *left -= sent;
                // The application cannot count: what else it says about this response is not to be relied on.
                self.last |= sent < length;
                sent
            }
            Framing::Chunked { .. } if length == 0 => 0,
            Framing::Chunked { owes_crlf } => {
                if std::mem::replace(owes_crlf, true) {
                    out.extend_from_slice(b"\r\n");
                }
                response::chunk_size(length, out);
                length
            }
        };
        self.sent = self.sent.saturating_add(length);
        length
    }

    /// Ends the response: appends the last chunk. A body shorter than promised makes it [`Reuse::Close`], and so does a
    /// request of which [`Event::End`] has not been seen.
    #[inline]
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Reuse {
        let complete = match self.outbound {
            _ if !self.awaits_response => false,
            Framing::Unanswered | Framing::Close => false,
            Framing::Bodiless => true,
            Framing::Length(left) => left == 0,
            Framing::Chunked { owes_crlf } => {
                out.extend_from_slice(if owes_crlf { b"\r\n0\r\n\r\n" } else { b"0\r\n\r\n" });
                true
            }
        };
        self.awaits_response = false;
        self.outbound = Framing::Bodiless;
        match self.inbound {
            Inbound::Refused(_) => Reuse::Close,
            Inbound::Complete if complete && !self.last => {
                self.inbound = Inbound::default();
                Reuse::KeepAlive
            }
            _ => {
                self.inbound = Inbound::Closed;
                Reuse::Close
            }
        }
    }

    /// Appends the answer to a refused request, with `Connection: close`.
    ///
    /// Nothing is appended if a response has been begun: then the connection can only be closed.
    pub fn refuse(&mut self, error: Error, out: &mut Vec<u8>) {
        self.refuse_with(error.status(), &error.to_string(), None, out);
    }

    /// As [`refuse`](Self::refuse), for reasons other than the protocol's: an error page of that status with `text`, and
    /// with `Date` if the time is given. Nothing more is parsed afterwards.
    pub fn refuse_with(&mut self, status: u16, text: &str, date: Option<&[u8; 29]>, out: &mut Vec<u8>) {
        if !self.awaits_response || self.outbound == Framing::Unanswered {
            let with_body = !(self.awaits_response && self.asked.head);
            self.sent = response::page(status, text, Reader::Client { date }, with_body, out);
        }
        if !matches!(self.inbound, Inbound::Refused(_)) {
            self.inbound = Inbound::Closed;
        }
        self.awaits_response = true;
        self.outbound = Framing::Bodiless;
        self.last = true;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod corpus;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod policy;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
