//! The right and duty to answer a request once.

use std::fmt;
use std::sync::{Arc, Weak};

use super::body::{Body, Disconnected};
use super::response::Response;
use crate::protocol::Length;
use crate::protocol::http1::{Lines, ResponseError};

/// A response in borrowed parts, for adapters whose application keeps them elsewhere: nothing is allocated for it.
///
/// It is checked as a [`Response`] is.
pub struct Parts<'a, 'f> {
    /// The status, 200 to 599.
    pub status: u16,
    /// The words behind it; the usual ones stand there if there are none.
    pub reason: Option<&'a [u8]>,
    /// The header fields, names and values.
    pub fields: &'a mut (dyn Iterator<Item = (&'f [u8], &'f [u8])> + 'f),
    /// The same, where they have been written already: `fields` is for the access log alone then.
    pub lines: Option<&'a Lines>,
    /// How long the body is going to be. What it has beyond that is not sent; if it ends before, the connection is closed
    /// so that the peer can tell.
    pub length: Length,
    /// The beginning of the body, which is copied behind the head.
    pub first: &'a [u8],
    /// All that comes after it.
    pub rest: Body,
    /// Dropped when what is ready of the response was offered to the socket, by the thread that calls the application.
    pub after: Option<Box<dyn Send>>,
}

impl fmt::Debug for Parts<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("status", &self.status).field("length", &self.length).finish_non_exhaustive()
    }
}

/// What a worker offers to a [`Reply`].
pub(crate) trait Exchange {
    /// Takes the response and leaves an empty one: it is large, and should be moved no more than it must. Called at most
    /// once.
    fn send(&mut self, response: &mut Response);
    /// The same in parts; an error page is sent if they cannot be sent as they are.
    fn send_parts(&mut self, parts: &mut Parts<'_, '_>) -> Result<(), ResponseError>;
    /// Sends `103 Early Hints` ahead of the response, where the peer understands it.
    fn early_hints<'f>(&mut self, fields: &mut dyn Iterator<Item = (&'f [u8], &'f [u8])>) -> Result<(), ResponseError>;
    /// Puts the head of a response into the output, whose body the call goes on to write; `rest` is not looked at.
    fn begin(&mut self, _parts: &mut Parts<'_, '_>) -> Result<(), ResponseError> {
        Err(ResponseError::OutOfTurn)
    }
    /// Sends a piece of it; returns the bytes that the socket has not taken yet.
    fn write(&mut self, _bytes: &[u8]) -> Result<usize, Disconnected> {
        Err(Disconnected)
    }
    /// Waits until the socket has taken most of what was written.
    fn wait_for_room(&mut self) -> Result<(), Disconnected> {
        Err(Disconnected)
    }
    /// Ends the response that was begun.
    fn finish(&mut self, _first: &[u8], _rest: Body) {}
    /// The response will come through a mailbox.
    fn defer(&mut self) -> Deferred;
}

/// An answer that is still to come.
pub(crate) struct Deferred {
    pub(crate) mailbox: Arc<dyn Mailbox>,
    pub(crate) ticket: Ticket,
    /// Alive as long as somebody waits for it.
    pub(crate) wanted: Weak<()>,
}

/// Where responses that come later are put; any thread may.
pub(crate) trait Mailbox: Send + Sync {
    fn answer(&self, ticket: Ticket, response: Response);
    /// The request is to be answered as if it had been for another target.
    fn redirect(&self, ticket: Ticket, target: String);
}

/// Names one request of a worker, now or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ticket {
    /// Where the connection is kept.
    pub(crate) key: usize,
    /// Tells this request from earlier ones of the same connection or key.
    pub(crate) serial: u64,
}

/// The right and duty to answer one request. Dropping it unanswered is a 500.
pub struct Reply<'a> {
    exchange: Option<&'a mut dyn Exchange>,
}

impl<'a> Reply<'a> {
    pub(crate) fn new(exchange: &'a mut dyn Exchange) -> Self {
        Self { exchange: Some(exchange) }
    }

    /// Answers.
    #[inline]
    pub fn send(mut self, mut response: Response) {
        if let Some(exchange) = self.exchange.take() {
            exchange.send(&mut response);
        }
    }

    /// Answers with a response in parts.
    ///
    /// # Errors
    /// They cannot be sent as they are. The answer is 500 then, and it is the caller's to log why.
    #[inline]
    pub fn send_parts(mut self, mut parts: Parts<'_, '_>) -> Result<(), ResponseError> {
        match self.exchange.take() {
            Some(exchange) => exchange.send_parts(&mut parts),
            None => Ok(()),
        }
    }

    /// Sends `103 Early Hints` with these fields at once, if the client's version knows interim responses.
    ///
    /// # Errors
    /// They cannot be sent as they are; nothing was sent.
    pub fn early_hints<'f>(
        &mut self,
        fields: impl IntoIterator<Item = (&'f [u8], &'f [u8])>,
    ) -> Result<(), ResponseError> {
        match &mut self.exchange {
            Some(exchange) => exchange.early_hints(&mut fields.into_iter()),
            None => Err(ResponseError::OutOfTurn),
        }
    }

    /// Begins a response whose body the call writes itself, piece by piece, for applications that insist on it: what
    /// [`Body::Source`] produces costs less, and makes nobody wait. [`finish`](Self::finish) ends it; if this is dropped
    /// instead, or answers otherwise, it is broken off. `rest` of the parts is not looked at.
    ///
    /// # Errors
    /// They cannot be sent as they are. The answer is 500 then, and it is the caller's to log why.
    pub fn begin(&mut self, mut parts: Parts<'_, '_>) -> Result<(), ResponseError> {
        let Some(exchange) = &mut self.exchange else { return Err(ResponseError::OutOfTurn) };
        let begun = exchange.begin(&mut parts);
        if begun.is_err() {
            // It has been answered.
            self.exchange = None;
        }
        begun
    }

    /// Sends a piece of the body that was begun, and all that went before it. What the socket does not take is kept and
    /// follows. Returns how many bytes that are: some 100 KiB are enough, and a reason to
    /// [wait](Self::wait_for_room).
    ///
    /// # Errors
    /// The peer has gone, or nothing was begun.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, Disconnected> {
        self.exchange.as_mut().ok_or(Disconnected)?.write(bytes)
    }

    /// Waits until the peer has taken most of what was written. It is held to `send_timeout` and `send_min_rate`; the time
    /// does not count for the `timeout` of the call. Nobody else is served meanwhile.
    ///
    /// # Errors
    /// The peer has gone, or is too slow.
    pub fn wait_for_room(&mut self) -> Result<(), Disconnected> {
        self.exchange.as_mut().ok_or(Disconnected)?.wait_for_room()
    }

    /// Ends the response that was begun: `first` is copied behind what was written, and `rest` follows.
    pub fn finish(mut self, first: &[u8], rest: Body) {
        if let Some(exchange) = self.exchange.take() {
            exchange.finish(first, rest);
        }
    }

    /// Answers later, from this or any other thread. The worker serves other connections meanwhile.
    pub fn later(mut self) -> Later {
        Later { deferred: self.exchange.take().map(|exchange| exchange.defer()) }
    }
}

impl Drop for Reply<'_> {
    #[inline]
    fn drop(&mut self) {
        // While a panic unwinds, whoever catches it answers.
        if let Some(exchange) = self.exchange.take().filter(|_| !std::thread::panicking()) {
            exchange.send(&mut unanswered());
        }
    }
}

impl fmt::Debug for Reply<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// A [`Reply`] that has left the call. Dropping it unanswered is a 500.
pub struct Later {
    deferred: Option<Deferred>,
}

impl Later {
    /// Whether anybody waits for the answer: not if the client has closed the connection, or was answered without it
    /// (`request_timeout`). Work that takes long may be given up then. The answer is still owed; it reaches the few clients
    /// that have only said that they send nothing more, which look the same.
    pub fn is_wanted(&self) -> bool {
        self.deferred.as_ref().is_some_and(|deferred| deferred.wanted.strong_count() > 0)
    }

    /// Answers.
    pub fn send(mut self, response: Response) {
        if let Some(Deferred { mailbox, ticket, .. }) = self.deferred.take() {
            mailbox.answer(ticket, response);
        }
    }

    /// Has the application be called again, as for a GET of `target`: a path, perhaps with a query, of this server.
    /// The client does not learn of it (RFC 3875 §6.2.2).
    pub fn elsewhere(mut self, target: String) {
        if let Some(Deferred { mailbox, ticket, .. }) = self.deferred.take() {
            mailbox.redirect(ticket, target);
        }
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        if let Some(Deferred { mailbox, ticket, .. }) = self.deferred.take() {
            mailbox.answer(ticket, unanswered());
        }
    }
}

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Later").field("ticket", &self.deferred.as_ref().map(|deferred| deferred.ticket)).finish()
    }
}

fn unanswered() -> Response {
    log::error!("Error handling request: the application dropped its reply without an answer");
    Response::error(500)
}
