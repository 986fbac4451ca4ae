//! The body of a program's answer, read from its standard output while the client takes it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use nix::errno::Errno;

use super::run::{Order, RunId};
use crate::app::pump::{self, Orders, Wants};
use crate::app::{Pull, Source};

/// Bytes that one pull takes.
const STEP: usize = 64 * 1024;

/// What a run and the source of its body know of each other.
#[derive(Debug)]
pub(super) struct Flow {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    waker: Option<Waker>,
    /// Whether the output is to be taken for complete, once that can be said.
    complete: Option<bool>,
    /// Since when the source has waited for the program; `None` while the program waits for the client.
    waiting: Option<Instant>,
}

impl Flow {
    pub(super) fn new(complete: Option<bool>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { waker: None, complete, waiting: None }) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There may be something to read.
    pub(super) fn wake(&self) {
        let waker = self.state().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What has been written is, or is not, all that the program meant to write.
    pub(super) fn conclude(&self, complete: bool) {
        self.state().complete.get_or_insert(complete);
        self.wake();
    }

    /// Since when nothing has come, if the client is not the one that is waited for.
    pub(super) fn waiting(&self) -> Option<Instant> {
        self.state().waiting
    }
}

/// The body of an answer.
pub(super) struct Output {
    /// What came with the head.
    pub(super) first: Vec<u8>,
    /// `None` once it has ended.
    pub(super) stdout: Option<OwnedFd>,
    pub(super) flow: Arc<Flow>,
    pub(super) orders: Arc<Orders<Order>>,
    pub(super) run: RunId,
    /// Everything was read.
    pub(super) finished: bool,
}

impl Output {
    /// The output has ended; whether it is complete is seen from how the program ends.
    fn conclusion(&mut self, waker: &Waker) -> Pull {
        let mut state = self.flow.state();
        match state.complete {
            Some(complete) => {
                self.finished = true;
                if complete { Pull::End } else { Pull::Failed }
            }
            None => {
                state.waker = Some(waker.clone());
                Pull::Pending
            }
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
                self.flow.state().waiting = None;
                Pull::More
            }
            Err(Errno::EAGAIN) => {
                out.clear();
                {
                    let mut state = self.flow.state();
                    state.waker = Some(waker.clone());
                    state.waiting.get_or_insert_with(Instant::now);
                }
                match self.orders.watch().again(stdout, self.run.stdout(), Wants::Read) {
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
pub(super) struct Unsent;

impl Source for Unsent {
    fn pull(&mut self, _: &Waker, _: &mut Vec<u8>) -> Pull {
        Pull::End
    }
}
