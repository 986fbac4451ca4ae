//! The way out that a client has of a call that does not return: the answer that it is given in the call's place.
//!
//! Whoever calls opens it for the time of the call, and closes it before it touches the connection again; who watches may
//! take it in between. Both happen under the lock of the [`Note`](super::watchdog::Note) that it lies in, so that the
//! descriptor is that of the connection for as long as it is there.

use std::os::fd::RawFd;

use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};

use super::date::Date;
use crate::protocol::Machine;

/// What is said of it to the client.
const TEXT: &str = "The request has taken longer than it may";

/// Where the answer of a call goes.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) socket: RawFd,
    /// What the connection's own machine was when the call began: it knows how the request is answered, and to whom.
    pub(crate) machine: Machine,
    /// Part of the response is out, or may be.
    pub(crate) begun: bool,
    /// Answers of earlier requests of the connection, which were to leave together with this one's.
    pub(crate) earlier: Vec<u8>,
    /// It was taken.
    pub(crate) taken: bool,
}

impl Exit {
    /// Answers 504 and ends the connection; only ends it, so that it shows, if the response has been begun. The
    /// descriptor stays open, as it belongs to whoever made the call.
    pub(crate) fn take(&mut self) {
        if std::mem::replace(&mut self.taken, true) {
            return;
        }
        let mut out = std::mem::take(&mut self.earlier);
        let answered = !self.begun && {
            self.page(&mut out);
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            send(self.socket, &out, flags).is_ok_and(|sent| sent == out.len())
        };
        // The client may be sending: to close the reading side, too, would have the kernel reset what it has not read.
        let how = if answered { Shutdown::Write } else { Shutdown::Both };
        let _ = shutdown(self.socket, how);
    }

    fn page(&mut self, out: &mut Vec<u8>) {
        let mut date = Date::default();
        let date = date.at(crate::sys::unix_time_coarse());
        self.machine.refuse_with(504, TEXT, Some(date), out);
    }
}
