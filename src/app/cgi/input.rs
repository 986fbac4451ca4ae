//! A request's body on its way to a program's standard input, while it arrives.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::{Wake, Waker};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{pipe2, write};

use super::order::{Order, RunId};
use crate::app::pump::Orders;
use crate::app::{BodyFault, BodyStream, Pull, Source};

/// What a program reads.
#[derive(Debug)]
pub(super) enum Stdin {
    /// There is no body.
    Nothing,
    /// All of it.
    File(OwnedFd),
    /// It is still arriving.
    Stream(BodyStream),
}

/// What is to be a program's standard input, and our end of it if that is a pipe.
pub(super) enum Ends<'a> {
    Borrowed(BorrowedFd<'a>),
    Pipe { reader: OwnedFd, writer: OwnedFd },
}

impl Stdin {
    /// # Errors
    /// There is no descriptor for it.
    pub(super) fn ends<'a>(&'a self, nothing: &'a File) -> io::Result<Ends<'a>> {
        Ok(match self {
            Self::Nothing => Ends::Borrowed(nothing.as_fd()),
            Self::File(file) => Ends::Borrowed(file.as_fd()),
            Self::Stream(_) => {
                let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
                fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
                Ends::Pipe { reader, writer }
            }
        })
    }
}

impl Ends<'_> {
    pub(super) fn theirs(&self) -> BorrowedFd<'_> {
        match self {
            Self::Borrowed(fd) => *fd,
            Self::Pipe { reader, .. } => reader.as_fd(),
        }
    }

    pub(super) fn ours(self) -> Option<OwnedFd> {
        match self {
            Self::Borrowed(_) => None,
            Self::Pipe { writer, .. } => Some(writer),
        }
    }
}

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
    run: RunId,
}

impl Wake for Arrival {
    fn wake(self: Arc<Self>) {
        self.orders.send(Order::Arrived(self.run));
    }
}

impl Input {
    pub(super) fn new(pipe: OwnedFd, body: BodyStream, orders: Arc<Orders<Order>>, run: RunId) -> Self {
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
