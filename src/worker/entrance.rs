//! A listener, as a worker has it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::app::Address;
use crate::listener::Listener;

/// A listener, as a worker has it.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) fd: OwnedFd,
    /// Its peers have addresses.
    pub(super) named: bool,
    /// Others hold it, too: its queue is never empty for good.
    pub(super) shared: bool,
}

impl Entrance {
    pub(super) fn new(listener: &Listener) -> io::Result<Self> {
        // Programs that had the socket before a reload may have made it wait.
        fcntl(listener, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let named = matches!(listener.local(), Address::Ip(_));
        Ok(Self { fd: listener.as_fd().try_clone_to_owned()?, named, shared: listener.is_inherited() })
    }
}
