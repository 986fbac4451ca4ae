//! The body of a program's answer, read from its connection while the client takes it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Instant;

use nix::errno::Errno;

use super::decoder::{Decoder, Garbled};
use super::order::{Order, SOCKET};
use crate::app::cgi::lines::Lines;
use crate::app::pump::{self, Flow, Handle, Orders, Wants};
use crate::app::{Pull, Source};

/// Bytes that are read at once.
pub(super) const STEP: usize = 64 * 1024;

/// The body of an answer whose end had not come when it began.
pub(super) struct Answer {
    /// What came with the head.
    pub(super) first: Vec<u8>,
    pub(super) socket: Arc<OwnedFd>,
    pub(super) decoder: Decoder,
    pub(super) lines: Lines,
    pub(super) flow: Arc<Flow>,
    pub(super) orders: Arc<Orders<Order>>,
    pub(super) connection: Handle,
    pub(super) buffer: Vec<u8>,
    /// The rest of the request waits for room in the same socket.
    pub(super) writing: Arc<AtomicBool>,
    /// The request has ended.
    pub(super) ended: bool,
}

impl Answer {
    /// Reads until there is something for the client.
    fn read(&mut self, waker: &Waker, out: &mut Vec<u8>) -> Pull {
        loop {
            if self.flow.concluded() == Some(false) {
                return Pull::Failed;
            }
            self.buffer.resize(STEP, 0);
            let count = match pump::read(self.socket.as_fd(), &mut self.buffer) {
                Ok(0) => {
                    log::error!("{}: it has closed the connection in the middle of its answer", self.lines.name());
                    return Pull::Failed;
                }
                Ok(count) => count,
                Err(Errno::EAGAIN) => {
                    self.flow.wait(waker);
                    let wants = if self.writing.load(Ordering::Acquire) { Wants::Both } else { Wants::Read };
                    return match self.orders.watch().again(&*self.socket, self.connection.token(SOCKET), wants) {
                        Ok(()) => Pull::Pending,
                        Err(error) => {
                            log::error!("{}: its answer cannot be waited for: {error}", self.lines.name());
                            Pull::Failed
                        }
                    };
                }
                Err(error) => {
                    log::error!("{}: {error} in the middle of its answer", self.lines.name());
                    return Pull::Failed;
                }
            };
            self.flow.go_on();
            let mut stderr = Vec::new();
            let bytes = self.buffer.get(..count).unwrap_or_default();
            let end = self.decoder.push(bytes, out, &mut stderr);
            self.lines.push(&stderr, Instant::now());
            match end {
                Ok(Some(_)) => {
                    self.ended = true;
                    return Pull::End;
                }
                Ok(None) if out.is_empty() => {}
                Ok(None) => return Pull::More,
                Err(Garbled) => {
                    log::error!("{}: what it sends is no FastCGI", self.lines.name());
                    return Pull::Failed;
                }
            }
        }
    }
}

impl Source for Answer {
    fn pull(&mut self, waker: &Waker, out: &mut Vec<u8>) -> Pull {
        if !self.first.is_empty() {
            out.append(&mut self.first);
            return Pull::More;
        }
        self.read(waker, out)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.lines.finish(Instant::now());
        let decoder = Box::new(std::mem::take(&mut self.decoder));
        self.orders.send(Order::Returned { connection: self.connection, ended: self.ended, decoder });
    }
}
