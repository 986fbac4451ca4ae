//! The protocol machine of a connection, whichever protocol it speaks.

use super::fastcgi::FastCgi;
use super::gateway::answer::Answer;
use super::http1::Http1;
use super::scgi::Scgi;
use super::uwsgi::Uwsgi;
use super::{Error, Head, Length, Limits, Progress, Protocol, ResponseError, Reuse};

/// One connection's protocol machine: a closed set, so that each call is a jump and none of them is virtual.
#[derive(Debug)]
pub struct Machine(Speaker);

#[derive(Debug)]
enum Speaker {
    Http(Http1),
    Uwsgi(Uwsgi),
    FastCgi(FastCgi),
    Scgi(Scgi),
}

const _: () = assert!(size_of::<Machine>() <= 96);

/// `$call` of the machine that there is.
macro_rules! each {
    ($self:expr, $machine:ident => $call:expr) => {
        match $self {
            Speaker::Http($machine) => $call,
            Speaker::Uwsgi($machine) => $call,
            Speaker::FastCgi($machine) => $call,
            Speaker::Scgi($machine) => $call,
        }
    };
}

impl Machine {
    /// A machine at the start of a connection.
    pub fn new(protocol: Protocol) -> Self {
        Self(match protocol {
            Protocol::Http => Speaker::Http(Http1::new()),
            Protocol::Uwsgi => Speaker::Uwsgi(Uwsgi::default()),
            Protocol::FastCgi => Speaker::FastCgi(FastCgi::default()),
            Protocol::Scgi => Speaker::Scgi(Scgi::default()),
        })
    }

    /// What it speaks.
    pub fn protocol(&self) -> Protocol {
        match self.0 {
            Speaker::Http(_) => Protocol::Http,
            Speaker::Uwsgi(_) => Protocol::Uwsgi,
            Speaker::FastCgi(_) => Protocol::FastCgi,
            Speaker::Scgi(_) => Protocol::Scgi,
        }
    }

    /// Whether it uses nothing up of a head before all of it is there, so that another machine could begin it again.
    pub fn keeps_heads_whole(&self) -> bool {
        !matches!(self.0, Speaker::FastCgi(_))
    }

    /// Whether its peers are web servers, which speak for clients of their own.
    #[inline]
    pub fn is_gateway(&self) -> bool {
        !matches!(self.0, Speaker::Http(_))
    }

    /// What stands at the front of `input`. On [`Event::Request`](super::Event::Request), `head` has been filled.
    ///
    /// # Errors
    /// Any breach of the policy; nothing more may be parsed afterwards.
    #[inline]
    pub fn next_event(&mut self, input: &[u8], limits: &Limits, head: &mut Head) -> Result<Progress, Error> {
        each!(&mut self.0, machine => machine.next_event(input, limits, head))
    }

    /// Takes [`Event::End`](super::Event::End) of a request that has no body at once, where that can be told. Whether there
    /// was nothing else to come.
    #[inline]
    pub fn end_without_body(&mut self) -> bool {
        match &mut self.0 {
            Speaker::Http(machine) => machine.end_without_body(),
            Speaker::Uwsgi(machine) => machine.end_without_body(),
            Speaker::FastCgi(machine) => machine.end_without_body(),
            Speaker::Scgi(machine) => machine.end_without_body(),
        }
    }

    /// Whether neither a request is in progress nor a part of one has been seen.
    pub fn is_idle(&self) -> bool {
        each!(&self.0, machine => machine.is_idle())
    }

    /// Appends the answer to something that is no request: after [`Event::Reply`](super::Event::Reply) and
    /// [`Event::Aborted`](super::Event::Aborted). `connections` is how many a web server may make.
    pub fn reply(&mut self, connections: usize, out: &mut Vec<u8>) -> Reuse {
        match &mut self.0 {
            Speaker::Http(_) => Reuse::KeepAlive,
            Speaker::Uwsgi(machine) => machine.reply(out),
            Speaker::FastCgi(machine) => machine.reply(connections, out),
            Speaker::Scgi(machine) => machine.reply(out),
        }
    }

    fn answer(&self) -> Option<&Answer> {
        match &self.0 {
            Speaker::Http(_) => None,
            Speaker::Uwsgi(machine) => Some(machine.answer()),
            Speaker::FastCgi(machine) => Some(machine.answer()),
            Speaker::Scgi(machine) => Some(machine.answer()),
        }
    }

    /// Whether the head of a final response has been appended for the current request, or for the one that ended last.
    pub fn has_responded(&self) -> bool {
        match &self.0 {
            Speaker::Http(machine) => machine.has_responded(),
            _ => self.answer().is_some_and(Answer::has_responded),
        }
    }

    /// Whether body bytes of the response that was begun are sent at all: not after HEAD, nor with 204 and 304.
    pub fn sends_body(&self) -> bool {
        match &self.0 {
            Speaker::Http(machine) => machine.sends_body(),
            _ => self.answer().is_some_and(Answer::sends_body),
        }
    }

    /// Whether body bytes can be sent from where they lie, behind what [`frame`](Self::frame) appends; where they are cut
    /// into records they have to go through [`body`](Self::body).
    #[inline]
    pub fn frames_in_place(&self) -> bool {
        !matches!(self.0, Speaker::FastCgi(_))
    }

    /// Body bytes of the current response, or of the one that ended last, that were appended or framed so far.
    #[inline]
    pub fn sent(&self) -> u64 {
        match &self.0 {
            Speaker::Http(machine) => machine.sent(),
            _ => self.answer().map_or(0, Answer::sent),
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
            Speaker::Uwsgi(machine) => machine.answer().interim(status, fields, out),
            Speaker::FastCgi(machine) => machine.answer().interim(status, fields, out),
            Speaker::Scgi(machine) => machine.answer().interim(status, fields, out),
        }
    }

    /// From now on every response is the last one on its connection.
    #[inline]
    pub fn close_after_response(&mut self) {
        match &mut self.0 {
            Speaker::Http(machine) => machine.close_after_response(),
            Speaker::FastCgi(machine) => machine.close_after_response(),
            Speaker::Uwsgi(_) | Speaker::Scgi(_) => {}
        }
    }

    /// Appends the head of the final response.
    ///
    /// # Errors
    /// A status, reason or field that may not be sent; nothing was appended then.
    #[inline]
    pub fn respond<'f>(
        &mut self,
        status: u16,
        reason: Option<&[u8]>,
        fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
        length: Length,
        date: &[u8; 29],
        out: &mut Vec<u8>,
    ) -> Result<(), ResponseError> {
        match &mut self.0 {
            Speaker::Http(machine) => machine.respond(status, reason, fields, length, date, out),
            Speaker::Uwsgi(machine) => machine.respond(status, reason, fields, length, out),
            Speaker::FastCgi(machine) => machine.respond(status, reason, fields, length, out),
            Speaker::Scgi(machine) => machine.respond(status, reason, fields, length, out),
        }
    }

    /// Appends body bytes with their framing; what must not be sent (HEAD, 204, over the length) is dropped.
    #[inline]
    pub fn body(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let length = match &mut self.0 {
            Speaker::Http(machine) => return machine.body(bytes, out),
            Speaker::FastCgi(machine) => return machine.body(bytes, out),
            Speaker::Uwsgi(machine) => machine.frame(bytes.len() as u64),
            Speaker::Scgi(machine) => machine.frame(bytes.len() as u64),
        };
        out.extend_from_slice(bytes.get(..length as usize).unwrap_or(bytes));
    }

    /// For bytes that the caller sends itself from where they lie, where [`frames_in_place`](Self::frames_in_place):
    /// appends the framing that goes before `length` of them and returns how many of them to send.
    #[inline]
    pub fn frame(&mut self, length: u64, out: &mut Vec<u8>) -> u64 {
        match &mut self.0 {
            Speaker::Http(machine) => machine.frame(length, out),
            Speaker::Uwsgi(machine) => machine.frame(length),
            Speaker::Scgi(machine) => machine.frame(length),
            Speaker::FastCgi(_) => 0,
        }
    }

    /// Ends the response.
    #[inline]
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Reuse {
        match &mut self.0 {
            Speaker::Http(machine) => machine.finish(out),
            Speaker::Uwsgi(machine) => machine.finish(),
            Speaker::FastCgi(machine) => machine.finish(out),
            Speaker::Scgi(machine) => machine.finish(),
        }
    }

    /// Appends an error page of that status with `text`, and with `Date` where that is not the web server's. Nothing more
    /// is parsed afterwards. Nothing is appended if a response has been begun: then the connection can only be closed.
    pub fn refuse_with(&mut self, status: u16, text: &str, date: Option<&[u8; 29]>, out: &mut Vec<u8>) {
        match &mut self.0 {
            Speaker::Http(machine) => machine.refuse_with(status, text, date, out),
            Speaker::Uwsgi(machine) => machine.refuse_with(status, text, out),
            Speaker::FastCgi(machine) => machine.refuse_with(status, text, out),
            Speaker::Scgi(machine) => machine.refuse_with(status, text, out),
        }
    }
}
