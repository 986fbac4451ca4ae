//! A request's body on its way to a program's standard input, while it arrives.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Wake, Waker};

use nix::errno::Errno;
use nix::unistd::write;

use super::order::Order;
use crate::app::pump::{Handle, Orders};
use crate::app::{BodyFault, BodyStream, Pull, Source};

/// A body and the pipe that it goes to.
pub(super) struct Input {
    pub(super) pipe: OwnedFd,
    body: BodyStream,
    waker: Waker,
    bytes: Vec<u8>,
    written: usize,
    /// Nothing has come from the client that the program does not have.
    pub(super) awaits_client: bool,
}

/// How far that has come.
pub(super) enum Passed {
    /// The program has not read what was written.
    Full,
    /// The client has not sent more.
    Awaited,
    /// Everything is written, or the program reads no more.
    Over,
    /// The rest never comes.
    Broken(BodyFault),
}

struct Arrival {
    orders: Arc<Orders<Order>>,
    run: Handle,
}

impl Wake for Arrival {
    fn wake(self: Arc<Self>) {
        self.orders.send(Order::Arrived(self.run));
    }
}

impl Input {
    pub(super) fn new(pipe: OwnedFd, body: BodyStream, orders: Arc<Orders<Order>>, run: Handle) -> Self {
        let waker = Arc::new(Arrival { orders, run }).into();
        Self { pipe, body, waker, bytes: Vec::new(), written: 0, awaits_client: false }
    }

    /// Writes what has come. The pump is told when there is more.
    pub(super) fn pass(&mut self) -> Passed {
        self.awaits_client = false;
        loop {
            match self.bytes.get(self.written..).unwrap_or_default() {
                [] => {
                    self.bytes.clear();
                    self.written = 0;
                    match self.body.pull(&self.waker, &mut self.bytes) {
                        Pull::More => {}
                        Pull::Pending => {
                            self.awaits_client = true;
                            return Passed::Awaited;
                        }
                        Pull::End => return Passed::Over,
                        Pull::Failed => return Passed::Broken(self.body.fault().unwrap_or(BodyFault::Disconnected)),
                    }
                }
                rest => match write(&self.pipe, rest) {
                    Ok(count) => self.written += count,
                    Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN) => return Passed::Full,
                    Err(_) => return Passed::Over,
                },
            }
        }
    }
}
