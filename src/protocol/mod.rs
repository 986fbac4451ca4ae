//! Wire bytes to events and back, without any I/O.
//!
//! A protocol machine is fed the unread bytes of one connection and says what it found in them; it appends what is to be
//! sent to a buffer of the caller's. It never sees a socket, a clock, a log or a setting. However the bytes are split,
//! the events are the same. After an error nothing more may be parsed on that connection.
//!
//! [`http1`] is the protocol of clients and of most front-ends; [`uwsgi`], [`fastcgi`] and [`scgi`] are other front-ends';
//! a [`Machine`] is one of the four; [`proxy_protocol`] may stand in front of it; [`forwarded`] reads what a trusted
//! front-end says about the client, [`request_start`] when it received the request. A [`Head`] is the same whatever
//! protocol it came by.
//!
//! Architecture invariant: nothing in here depends on `mio`, `nix`, `log` or `crate::settings`.

mod error;
pub mod fastcgi;
mod field;
pub mod forwarded;
mod gateway;
pub(crate) mod grammar;
pub mod head;
pub mod http1;
mod machine;
#[cfg(test)]
mod properties;
pub mod proxy_protocol;
pub mod request_start;
pub mod scgi;
#[cfg(test)]
mod smoke;
pub mod uwsgi;

#[cfg(test)]
use self as api;

pub use error::{Error, ResponseError};
pub use head::{Field, FieldId, Fields, Head, Target, Version};
pub use machine::Machine;

/// What a listener and its clients speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0 and HTTP/1.1.
    #[default]
    Http,
    /// uwsgi, as nginx's `uwsgi_pass` speaks it.
    Uwsgi,
    /// FastCGI 1.0.
    FastCgi,
    /// SCGI.
    Scgi,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Http, Self::Uwsgi, Self::FastCgi, Self::Scgi];

    /// The name, as it is written in front of an address: `http`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Uwsgi => "uwsgi",
            Self::FastCgi => "fastcgi",
            Self::Scgi => "scgi",
        }
    }

    /// Whether its clients are web servers, which speak for clients of their own.
    pub const fn is_gateway(self) -> bool {
        !matches!(self, Self::Http)
    }
}

/// What may be at most in one request; over it the request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the request line without its CRLF; over it 414.
    pub request_line: usize,
    /// Number of header fields; over it 431.
    pub fields: usize,
    /// Bytes of one field line, name and value; over it 431.
    pub field_size: usize,
    /// Bytes of the whole head; over it 431.
    pub head_size: usize,
    /// Bytes of the body, known from `Content-Length` or counted while it arrives; over it 413.
    pub body_size: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { request_line: 8190, fields: 100, field_size: 8190, head_size: 64 * 1024, body_size: 1 << 30 }
    }
}

impl Limits {
    /// Bytes that are looked at for a head; places in a [`Head`] have 32 bits.
    pub(in crate::protocol) fn head_window(&self) -> usize {
        self.head_size.min(u32::MAX as usize - 1)
    }
}

/// What a machine found at the front of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing whole yet: call again when there are more bytes behind the same unconsumed ones.
    NeedMore,
    /// A request head; it was written into the caller's [`Head`].
    Request,
    /// The bytes `input[start..end]` are body.
    Body {
        /// First byte in the input that was passed.
        start: usize,
        /// One past the last byte.
        end: usize,
    },
    /// The request is complete; the machine waits for the response before it parses the next one.
    End,
    /// Something that is no request is to be answered: call [`Machine::reply`].
    Reply,
    /// The peer has given up the request whose head was seen last; call [`Machine::reply`].
    Aborted,
}

/// An [`Event`] and the number of input bytes that it used up (to be dropped by the caller, whatever the event).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes at the front of the input that are done with.
    pub consumed: usize,
    /// What they were.
    pub event: Event,
}

/// How long a response body is going to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Exactly this many bytes.
    Known(u64),
    /// Not known before its end: the field `Content-Length` of the application if it gave one, else chunked or, to an
    /// HTTP/1.0 peer, until the connection closes.
    Unknown,
}

/// Whether a connection may carry another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It may.
    KeepAlive,
    /// It may not: close it after what was appended is sent.
    Close,
}
