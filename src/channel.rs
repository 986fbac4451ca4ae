//! The socket pair between the arbiter and one worker.
//!
//! It carries a few one-byte messages; its closing tells either side that the other is gone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

/// What one side says to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Message {
    /// Worker: the application is loaded, connections are accepted from now on.
    Ready = b'R',
    /// Arbiter: stop accepting, finish what is in flight, exit.
    Drain = b'D',
    /// Arbiter: the same, but serve everything in the accept queue first: nobody else will.
    DrainQueue = b'Q',
    /// Arbiter: the same as `Drain`, but no worker of this arbiter's goes on.
    DrainAlone = b'A',
    /// Arbiter: stop now.
    Stop = b'S',
    /// Worker: it may have been woken for a connection that it will not accept. Arbiter: look into the accept queues.
    Look = b'L',
}

impl Message {
    const ALL: [Self; 6] = [Self::Ready, Self::Drain, Self::DrainAlone, Self::DrainQueue, Self::Stop, Self::Look];
}

/// What came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A message.
    Message(Message),
    /// Nothing for now.
    Nothing,
    /// The other side has gone.
    Closed,
}

/// One end; nonblocking, closed on exec.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    /// Two connected ends.
    pub(crate) fn pair() -> io::Result<(Self, Self)> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (one, other) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok((Self(one), Self(other)))
    }

    /// Sends a message. A full or closed channel is no error of the sender's: the other side is beyond listening.
    pub(crate) fn send(&self, message: Message) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        send(self.0.as_raw_fd(), &[message as u8], MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }

    /// Takes the next message. What is no message is skipped: the other side may be gone mad.
    pub(crate) fn receive(&self) -> Received {
        use std::os::fd::AsRawFd;
        for _ in 0..64 {
            let mut byte = [0];
            match recv(self.0.as_raw_fd(), &mut byte, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Received::Closed,
                Ok(_) => {
                    if let Some(message) = Message::ALL.into_iter().find(|message| *message as u8 == byte[0]) {
                        return Received::Message(message);
                    }
                }
                Err(nix::Error::EINTR) => {}
                Err(nix::Error::EAGAIN) => return Received::Nothing,
                Err(_) => return Received::Closed,
            }
        }
        Received::Nothing
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A channel that was inherited from another process.
impl From<OwnedFd> for Channel {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}
