//! HTTP/1.0 and HTTP/1.1, server side (RFC 9110, RFC 9112), strict.

use super::{Event, Head, Length, Limits, Progress, Reuse};

/// Why a request was refused. Each variant has a stable reason code and a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Placeholder.
    Placeholder,
}

impl Error {
    /// The stable code that stands in the log, such as `bad-request-line`.
    pub fn reason(self) -> &'static str {
        "placeholder"
    }

    /// The status of the answer.
    pub fn status(self) -> u16 {
        400
    }
}

/// Why a response of an application cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// Placeholder.
    Placeholder,
}

/// One HTTP/1 connection: which part of which message comes next. Small, as there is one per connection.
#[derive(Debug, Default)]
pub struct Http1 {}

impl Http1 {
    /// A machine at the start of a connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// What stands at the front of `input`. On [`Event::Request`], `head` has been filled.
    ///
    /// # Errors
    /// Any breach of the policy; nothing more may be parsed afterwards.
    pub fn next_event(&mut self, _input: &[u8], _limits: &Limits, _head: &mut Head) -> Result<Progress, Error> {
        Ok(Progress { consumed: 0, event: Event::NeedMore })
    }

    /// Appends `HTTP/1.1 100 Continue` if the current request waits for it and nothing was answered yet.
    pub fn continue_body(&mut self, _out: &mut Vec<u8>) {}

    /// Appends an interim response (103), if the peer's version allows one.
    ///
    /// # Errors
    /// A status or field that may not be sent; nothing was appended then.
    pub fn interim<'f>(
        &mut self,
        _status: u16,
        _fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        _out: &mut Vec<u8>,
    ) -> Result<(), ResponseError> {
        Ok(())
    }

    /// From now on every response says `Connection: close` (the worker drains, or the connection had its share).
    pub fn close_after_response(&mut self) {}

    /// Appends the head of the final response: status line, `Server`, `Date`, `Connection`, framing, `fields`.
    ///
    /// # Errors
    /// A status, reason or field that may not be sent; nothing was appended then.
    pub fn respond<'f>(
        &mut self,
        _status: u16,
        _reason: Option<&str>,
        _fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        _length: Length,
        _date: &[u8; 29],
        _out: &mut Vec<u8>,
    ) -> Result<(), ResponseError> {
        Ok(())
    }

    /// Appends body bytes with their framing; what must not be sent (HEAD, 204, over the length) is dropped.
    pub fn body(&mut self, _bytes: &[u8], _out: &mut Vec<u8>) {}

    /// For bytes that the caller sends itself from where they lie (large bodies, sendfile): appends the framing that goes
    /// before `length` of them and returns how many of them to send, less where they must not be sent.
    pub fn frame(&mut self, length: u64, _out: &mut Vec<u8>) -> u64 {
        length
    }

    /// Ends the response: appends the last chunk. A body shorter than promised makes it [`Reuse::Close`].
    pub fn finish(&mut self, _out: &mut Vec<u8>) -> Reuse {
        Reuse::Close
    }

    /// Appends the answer to a refused request, with `Connection: close`.
    pub fn refuse(&mut self, _error: Error, _out: &mut Vec<u8>) {}
}
