//! What the pump of FastCGI programs is told, and what it waits for.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::task::Wake;

use super::decoder::Decoder;
use super::request::Job;
use crate::app::pump::{Handle, Orders};

/// What the pump is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Start what is to run before the first request.
    Warm,
    /// Answer this.
    Ask(Box<Job>),
    /// Nobody reads from the connection any more, because the request has `ended`, or because the client has gone.
    Returned { connection: Handle, ended: bool, decoder: Box<Decoder> },
    /// More of the request on that connection has come from the client, or never will.
    Arrived(Handle),
    /// End all programs; the sender is dropped when they have gone.
    Stop(Sender<()>),
}

/// What is watched: a connection by its key, a program by the number of its upstream, and one of these.
pub(super) const SOCKET: u64 = 0;
pub(super) const EXITED: u64 = 1;
pub(super) const STDERR: u64 = 2;

/// Tells the pump that more of a request has come.
pub(super) struct Arrival {
    pub(super) orders: Arc<Orders<Order>>,
    pub(super) connection: Handle,
}

impl Wake for Arrival {
    fn wake(self: Arc<Self>) {
        self.orders.send(Order::Arrived(self.connection));
    }
}
