//! The body of a program's answer, read from its standard output while the client takes it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::task::Waker;

use nix::errno::Errno;

use super::order::{Order, STDOUT};
use crate::app::pump::{self, Flow, Handle, Orders, Wants};
use crate::app::{Body, Pull, Response, Source};

/// Bytes that one pull takes.
const STEP: usize = 64 * 1024;

/// The body of an answer.
pub(super) struct Output {
    /// What came with the head.
    pub(super) first: Vec<u8>,
    /// `None` once it has ended.
    pub(super) stdout: Option<OwnedFd>,
    pub(super) flow: Arc<Flow>,
    pub(super) orders: Arc<Orders<Order>>,
    pub(super) run: Handle,
    /// Everything was read.
    pub(super) finished: bool,
}

impl Output {
    /// The output has ended; whether it is complete is seen from how the program ends.
    fn conclusion(&mut self, waker: &Waker) -> Pull {
        match self.flow.concluded_or_wait(waker) {
            Some(complete) => {
                self.finished = true;
                if complete { Pull::End } else { Pull::Failed }
            }
            None => Pull::Pending,
        }
    }
}

impl Source for Output {
    fn pull(&mut self, waker: &Waker, out: &mut Vec<u8>) -> Pull {
        if !self.first.is_empty() {
            out.append(&mut self.first);
            return Pull::More;
        }
        let Some(stdout) = &self.stdout else { return self.conclusion(waker) };
        out.resize(STEP, 0);
        match pump::read(stdout.as_fd(), out) {
            Ok(0) => {
                out.clear();
                self.stdout = None;
                self.orders.send(Order::Ended(self.run));
                self.conclusion(waker)
            }
            Ok(count) => {
                out.truncate(count);
                self.flow.go_on();
                Pull::More
            }
            Err(Errno::EAGAIN) => {
                out.clear();
                self.flow.wait(waker);
                match self.orders.watch().again(stdout, self.run.token(STDOUT), Wants::Read) {
                    Ok(()) => Pull::Pending,
                    Err(error) => {
                        log::error!("The output of a program cannot be waited for: {error}");
                        Pull::Failed
                    }
                }
            }
            Err(error) => {
                log::error!("The output of a program cannot be read: {error}");
                out.clear();
                Pull::Failed
            }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.orders.send(Order::Dropped { run: self.run, finished: self.finished });
    }
}

/// The body of an answer that has a length but is not sent: that to HEAD, or one with a status that has none.
struct Unsent;

impl Source for Unsent {
    fn pull(&mut self, _: &Waker, _: &mut Vec<u8>) -> Pull {
        Pull::End
    }
}

/// A body that has been read, whose length the head gives: so it is seen whether everything has come.
pub(in crate::app) struct Collected(pub(in crate::app) Vec<u8>);

impl Source for Collected {
    fn pull(&mut self, _: &Waker, out: &mut Vec<u8>) -> Pull {
        out.append(&mut self.0);
        Pull::End
    }
}

/// The answer with no body, which has none to be sent.
pub(in crate::app) fn unsent(response: Response) -> Response {
    response.with_body(Body::Source(Box::new(Unsent)))
}

/// Whether the body of an answer is not sent, because it is `bodiless` or for its status (RFC 9110 §15.3.5, §15.4.5).
pub(in crate::app) fn is_unsent(response: &Response, bodiless: bool) -> bool {
    bodiless || matches!(response.status(), 204 | 304)
}
