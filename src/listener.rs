//! Listening sockets.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::app::Address;
use crate::settings::BindAddress;

/// A bound and listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    fd: OwnedFd,
    local: Address,
}

impl Listener {
    /// Binds.
    pub(crate) fn bind(_address: &BindAddress, _backlog: u32, _mode: u32) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The address that it is bound to.
    pub(crate) fn local(&self) -> &Address {
        &self.local
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
