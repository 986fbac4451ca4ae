//! The right and duty to answer a request once.

use std::fmt;
use std::sync::Arc;

use super::response::Response;

/// What a worker offers to a [`Reply`].
pub(crate) trait Exchange {
    /// Takes the response and leaves an empty one: it is large, and should be moved no more than it must. Called at most
    /// once.
    fn send(&mut self, response: &mut Response);
    /// Sends `103 Early Hints` ahead of the response, where the peer understands it.
    fn early_hints(&mut self, fields: &[(&str, &str)]);
    /// The response will come through a mailbox.
    fn defer(&mut self) -> (Arc<dyn Mailbox>, Ticket);
}

/// Where responses that come later are put; any thread may.
pub(crate) trait Mailbox: Send + Sync {
    fn answer(&self, ticket: Ticket, response: Response);
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
    pub fn send(mut self, mut response: Response) {
        if let Some(exchange) = self.exchange.take() {
            exchange.send(&mut response);
        }
    }

    /// Sends `103 Early Hints` with these fields, if the client's version knows interim responses.
    pub fn early_hints(&mut self, fields: &[(&str, &str)]) {
        if let Some(exchange) = &mut self.exchange {
            exchange.early_hints(fields);
        }
    }

    /// Answers later, from this or any other thread. The worker serves other connections meanwhile.
    pub fn later(mut self) -> Later {
        Later { place: self.exchange.take().map(|exchange| exchange.defer()) }
    }
}

impl Drop for Reply<'_> {
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
    place: Option<(Arc<dyn Mailbox>, Ticket)>,
}

impl Later {
    /// Answers.
    pub fn send(mut self, response: Response) {
        if let Some((mailbox, ticket)) = self.place.take() {
            mailbox.answer(ticket, response);
        }
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        if let Some((mailbox, ticket)) = self.place.take() {
            mailbox.answer(ticket, unanswered());
        }
    }
}

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Later").field("ticket", &self.place.as_ref().map(|(_, ticket)| ticket)).finish()
    }
}

fn unanswered() -> Response {
    log::error!("Error handling request: the application dropped its reply without an answer");
    Response::error(500)
}
