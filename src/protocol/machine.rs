//! The protocol machine of a connection, whichever protocol it speaks.

use super::fastcgi::FastCgi;
use super::gateway::answer::Answer;
use super::http1::{Http1, ResponseFields};
use super::scgi::Scgi;
use super::uwsgi::Uwsgi;
use super::{Error, Head, Length, Limits, Progress, Protocol, ResponseError, Reuse};

/// One connection's protocol machine: a closed set, so that no call is virtual.
#[derive(Clone, Debug)]
pub struct Machine(Speaker);

/// HTTP is told from the others by one comparison, and what is done for it stands where it is called.
#[derive(Clone, Debug)]
enum Speaker {
    Http(Http1),
    Gateway(Gateway),
}

#[derive(Clone, Debug)]
enum Gateway {
    Uwsgi(Uwsgi),
    FastCgi(FastCgi),
    Scgi(Scgi),
}

const _: () = assert!(size_of::<Machine>() <= 96);

impl Machine {
    /// A machine at the start of a connection.
    pub fn new(protocol: Protocol) -> Self {
        Self(match protocol {
            Protocol::Http => Speaker::Http(Http1::new()),
            Protocol::Uwsgi => Speaker::Gateway(Gateway::Uwsgi(Uwsgi::default())),
            Protocol::FastCgi => Speaker::Gateway(Gateway::FastCgi(FastCgi::default())),
            Protocol::Scgi => Speaker::Gateway(Gateway::Scgi(Scgi::default())),
        })
    }

    /// What it speaks.
    pub fn protocol(&self) -> Protocol {
        match self.0 {
            Speaker::Http(_) => Protocol::Http,
            Speaker::Gateway(Gateway::Uwsgi(_)) => Protocol::Uwsgi,
            Speaker::Gateway(Gateway::FastCgi(_)) => Protocol::FastCgi,
            Speaker::Gateway(Gateway::Scgi(_)) => Protocol::Scgi,
        }
    }

    /// Whether its peers can take back a request that was received whole.
    pub fn knows_aborts(&self) -> bool {
        matches!(self.0, Speaker::Gateway(Gateway::FastCgi(_)))
    }

    /// Whether it uses nothing up of a head before all of it is there, so that another machine could begin it again.
    pub fn keeps_heads_whole(&self) -> bool {
        !matches!(self.0, Speaker::Gateway(Gateway::FastCgi(_)))
    }

    /// Whether its peers are web servers, which speak for clients of their own.
    #[inline]
    pub fn is_gateway(&self) -> bool {
        matches!(self.0, Speaker::Gateway(_))
    }

    /// What stands at the front of `input`. On [`Event::Request`](super::Event::Request), `head` has been filled.
    ///
    /// # Errors
    /// Any breach of the policy; nothing more may be parsed afterwards.
    #[inline]
    pub fn next_event(&mut self, input: &[u8], limits: &Limits, head: &mut Head) -> Result<Progress, Error> {
        match &mut self.0 {
            Speaker::Http(machine) => machine.next_event(input, limits, head),
            Speaker::Gateway(gateway) => gateway.next_event(input, limits, head),
        }
    }

    /// Takes [`Event::End`](super::Event::End) of a request that has no body at once, where that can be told. Whether there
    /// was nothing else to come.
    #[inline]
    pub fn end_without_body(&mut self) -> bool {
        match &mut self.0 {
            Speaker::Http(machine) => machine.end_without_body(),
            Speaker::Gateway(gateway) => gateway.end_without_body(),
        }
    }

    /// Whether neither a request is in progress nor a part of one has been seen.
    pub fn is_idle(&self) -> bool {
        match &self.0 {
            Speaker::Http(machine) => machine.is_idle(),
            Speaker::Gateway(Gateway::Uwsgi(machine)) => machine.is_idle(),
            Speaker::Gateway(Gateway::FastCgi(machine)) => machine.is_idle(),
            Speaker::Gateway(Gateway::Scgi(machine)) => machine.is_idle(),
        }
    }

    /// Appends the answer to something that is no request: after [`Event::Reply`](super::Event::Reply) and
    /// [`Event::Aborted`](super::Event::Aborted). `connections` is how many a web server may make.
    pub fn reply(&mut self, connections: usize, out: &mut Vec<u8>) -> Reuse {
        match &mut self.0 {
            Speaker::Http(_) => Reuse::KeepAlive,
            Speaker::Gateway(Gateway::Uwsgi(machine)) => machine.reply(out),
            Speaker::Gateway(Gateway::FastCgi(machine)) => machine.reply(connections, out),
            Speaker::Gateway(Gateway::Scgi(machine)) => machine.reply(out),
        }
    }

    /// Whether the peer has taken back the request that waits for its answer, by something in `input`, which follows it.
    pub fn is_aborted(&self, input: &[u8]) -> bool {
        matches!(&self.0, Speaker::Gateway(Gateway::FastCgi(machine)) if machine.is_aborted(input))
    }

    /// Whether the head of a final response has been appended for the current request, or for the one that ended last.
    pub fn has_responded(&self) -> bool {
        match &self.0 {
            Speaker::Http(machine) => machine.has_responded(),
            Speaker::Gateway(gateway) => gateway.answer().has_responded(),
        }
    }

    /// Whether body bytes of the response that was begun are sent at all: not after HEAD, nor with 204 and 304.
    pub fn sends_body(&self) -> bool {
        match &self.0 {
            Speaker::Http(machine) => machine.sends_body(),
            Speaker::Gateway(gateway) => gateway.answer().sends_body(),
        }
    }

    /// Whether body bytes can be sent from where they lie, behind what [`frame`](Self::frame) appends; where they are cut
    /// into records they have to go through [`body`](Self::body).
    #[inline]
    pub fn frames_in_place(&self) -> bool {
        !matches!(self.0, Speaker::Gateway(Gateway::FastCgi(_)))
    }

    /// Body bytes of the current response, or of the one that ended last, that were appended or framed so far.
    #[inline]
    pub fn sent(&self) -> u64 {
        match &self.0 {
            Speaker::Http(machine) => machine.sent(),
            Speaker::Gateway(gateway) => gateway.answer().sent(),
        }
    }

    /// Appends `HTTP/1.1 100 Continue` if the current request waits for it; a web server does that by itself.
    pub fn continue_body(&mut self, out: &mut Vec<u8>) {
        if let Speaker::Http(machine) = &mut self.0 {
            machine.continue_body(out);
        }
    }

    /// Appends an interim response (103), if the peer understands one.
    ///
    /// # Errors
    /// A status or field that may not be sent; nothing was appended then.
    pub fn interim<'f>(
        &mut self,
        status: u16,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        out: &mut Vec<u8>,
    ) -> Result<(), ResponseError> {
        match &mut self.0 {
            Speaker::Http(machine) => machine.interim(status, fields, out),
            Speaker::Gateway(gateway) => gateway.answer().interim(status, fields, out),
        }
    }

    /// From now on every response is the last one on its connection.
    #[inline]
    pub fn close_after_response(&mut self) {
        match &mut self.0 {
            Speaker::Http(machine) => machine.close_after_response(),
            Speaker::Gateway(Gateway::FastCgi(machine)) => machine.close_after_response(),
            Speaker::Gateway(Gateway::Uwsgi(_) | Gateway::Scgi(_)) => {}
        }
    }

    /// Appends the head of the final response.
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
        match &mut self.0 {
            Speaker::Http(machine) => machine.respond(status, reason, fields, length, date, out),
            Speaker::Gateway(gateway) => gateway.respond(status, reason, fields, length, out),
        }
    }

    /// Appends body bytes with their framing; what must not be sent (HEAD, 204, over the length) is dropped.
    #[inline]
    pub fn body(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match &mut self.0 {
            Speaker::Http(machine) => machine.body(bytes, out),
            Speaker::Gateway(gateway) => gateway.body(bytes, out),
        }
    }

    /// For bytes that the caller sends itself from where they lie, where [`frames_in_place`](Self::frames_in_place):
    /// appends the framing that goes before `length` of them and returns how many of them to send.
    #[inline]
    pub fn frame(&mut self, length: u64, out: &mut Vec<u8>) -> u64 {
        match &mut self.0 {
            Speaker::Http(machine) => machine.frame(length, out),
            Speaker::Gateway(gateway) => gateway.frame(length),
        }
    }

    /// Ends the response.
    #[inline]
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Reuse {
        match &mut self.0 {
            Speaker::Http(machine) => machine.finish(out),
            Speaker::Gateway(gateway) => gateway.finish(out),
        }
    }

    /// Appends an error page of that status with `text`, and with `Date` where that is not the web server's. Nothing more
    /// is parsed afterwards. Nothing is appended if a response has been begun: then the connection can only be closed.
    pub fn refuse_with(&mut self, status: u16, text: &str, date: Option<&[u8; 29]>, out: &mut Vec<u8>) {
        match &mut self.0 {
            Speaker::Http(machine) => machine.refuse_with(status, text, date, out),
            Speaker::Gateway(Gateway::Uwsgi(machine)) => machine.refuse_with(status, text, out),
            Speaker::Gateway(Gateway::FastCgi(machine)) => machine.refuse_with(status, text, out),
            Speaker::Gateway(Gateway::Scgi(machine)) => machine.refuse_with(status, text, out),
        }
    }
}

impl Gateway {
    fn answer(&self) -> &Answer {
        match self {
            Self::Uwsgi(machine) => machine.answer(),
            Self::FastCgi(machine) => machine.answer(),
            Self::Scgi(machine) => machine.answer(),
        }
    }

    fn next_event(&mut self, input: &[u8], limits: &Limits, head: &mut Head) -> Result<Progress, Error> {
        head.forget();
        match self {
            Self::Uwsgi(machine) => machine.next_event(input, limits, head),
            Self::FastCgi(machine) => machine.next_event(input, limits, head),
            Self::Scgi(machine) => machine.next_event(input, limits, head),
        }
    }

    fn end_without_body(&mut self) -> bool {
        match self {
            Self::Uwsgi(machine) => machine.end_without_body(),
            Self::FastCgi(machine) => machine.end_without_body(),
            Self::Scgi(machine) => machine.end_without_body(),
        }
    }

    fn respond(
        &mut self,
        status: u16,
        reason: Option<&[u8]>,
        fields: impl ResponseFields,
        length: Length,
        out: &mut Vec<u8>,
    ) -> Result<(), ResponseError> {
        match self {
            Self::Uwsgi(machine) => machine.respond(status, reason, fields, length, out),
            Self::FastCgi(machine) => machine.respond(status, reason, fields, length, out),
            Self::Scgi(machine) => machine.respond(status, reason, fields, length, out),
        }
    }

    fn body(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if let Self::FastCgi(machine) = self {
            return machine.body(bytes, out);
        }
        let length = self.frame(bytes.len() as u64);
        out.extend_from_slice(bytes.get(..length as usize).unwrap_or(bytes));
    }

    fn frame(&mut self, length: u64) -> u64 {
        match self {
            Self::Uwsgi(machine) => machine.frame(length),
            Self::Scgi(machine) => machine.frame(length),
            Self::FastCgi(_) => 0,
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Reuse {
        match self {
            Self::Uwsgi(machine) => machine.finish(),
            Self::FastCgi(machine) => machine.finish(out),
            Self::Scgi(machine) => machine.finish(),
        }
    }
}
