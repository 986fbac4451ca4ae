//! What a program reads.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

use crate::app::BodyStream;

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
