//! The socket pair between the arbiter and one worker, or one template.
//!
//! It carries a few one-byte messages; its closing tells either side that the other is gone. Over a template's go orders,
//! too: to fork a worker, with that worker's end of a channel of its own, over which it then says who it is.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::cmsg_space;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixCredentials, recv, recvmsg,
    send, sendmsg, setsockopt, socketpair, sockopt,
};

use crate::sys;

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
    /// Worker of a template: here I am. It can be told from its credentials.
    Born = b'B',
    /// Arbiter: go ahead.
    Begin = b'G',
    /// Template: the worker that was asked for last could not be forked.
    Failed = b'F',
    /// Worker: it may have been woken for a connection that it will not accept. Arbiter: look into the accept queues.
    Look = b'L',
    /// Worker: it has served its time, and serves on until a successor is there.
    Spent = b'E',
    /// Arbiter: the server is about to stop, and serves on for a while.
    Leaving = b'X',
}

impl Message {
    const ALL: [Self; 11] = [
        Self::Ready,
        Self::Drain,
        Self::DrainAlone,
        Self::DrainQueue,
        Self::Stop,
        Self::Look,
        Self::Born,
        Self::Begin,
        Self::Failed,
        Self::Spent,
        Self::Leaving,
    ];
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
        send(self.0.as_raw_fd(), &[message as u8], MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }

    /// Takes the next message. What is no message is skipped: the other side may be gone mad.
    pub(crate) fn receive(&self) -> Received {
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

/// Orders to templates, and what comes of them.
impl Channel {
    /// Arbiter: has a template fork worker `nr`, the `age`-th of all, whose end of its channel goes along.
    pub(crate) fn order(&self, nr: u64, age: u64, theirs: &Self) -> io::Result<()> {
        let fds = [theirs.0.as_raw_fd()];
        let (nr, age) = (nr.to_ne_bytes(), age.to_ne_bytes());
        let rights = [ControlMessage::ScmRights(&fds)];
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        sendmsg::<()>(self.0.as_raw_fd(), &[IoSlice::new(&nr), IoSlice::new(&age)], &rights, flags, None)?;
        Ok(())
    }

    /// Template: takes the next order. Anything else from the arbiter is the order to stop.
    pub(crate) fn receive_order(&self) -> Order {
        let (mut nr, mut age, mut space) = ([0; 8], [0; 8], cmsg_space!(i32));
        let mut slices = [IoSliceMut::new(&mut nr), IoSliceMut::new(&mut age)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let (length, fd) = match recvmsg::<()>(self.0.as_raw_fd(), &mut slices, Some(&mut space), flags) {
            Ok(received) => {
                let rights = received.cmsgs().ok().into_iter().flatten().find_map(|message| match message {
                    ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
                    _ => None,
                });
                (received.bytes, rights)
            }
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Order::Nothing,
            Err(_) => return Order::Stop,
        };
        match fd.map(sys::adopt) {
            Some(Ok(fd)) if length == nr.len() + age.len() => {
                Order::Fork { nr: u64::from_ne_bytes(nr), age: u64::from_ne_bytes(age), channel: Self(fd) }
            }
            _ => Order::Stop,
        }
    }

    /// Arbiter: has messages of this end carry the credentials of who sent them.
    pub(crate) fn ask_credentials(&self) -> io::Result<()> {
        Ok(setsockopt(&self.0, sockopt::PassCred, &true)?)
    }

    /// Arbiter: the process that says [`Message::Born`], as the kernel knows it.
    pub(crate) fn receive_born(&self) -> Birth {
        let (mut bytes, mut space) = ([0], cmsg_space!(UnixCredentials));
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let pid = match recvmsg::<()>(self.0.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::MSG_DONTWAIT) {
            Ok(received) => received.cmsgs().ok().into_iter().flatten().find_map(|message| match message {
                ControlMessageOwned::ScmCredentials(credentials) => Some(credentials.pid()),
                _ => None,
            }),
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => return Birth::Awaited,
            Err(_) => None,
        };
        match pid {
            Some(pid) if bytes == [Message::Born as u8] => Birth::Of(pid),
            _ => Birth::Failed,
        }
    }

    /// Worker: waits until the arbiter has taken note of it. False if the arbiter is not interested any more.
    pub(crate) fn await_begin(&self) -> bool {
        loop {
            match self.receive() {
                Received::Message(Message::Begin) => return true,
                Received::Message(_) => {}
                Received::Closed => return false,
                Received::Nothing => {
                    let _ = poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
                }
            }
        }
    }
}

/// What a template is to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// Fork a worker, which has that end of a channel.
    Fork { nr: u64, age: u64, channel: Channel },
    /// End: the arbiter says so, or has gone.
    Stop,
    /// Nothing for now.
    Nothing,
}

/// Whether a worker that was asked for has come to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Birth {
    /// It is that process.
    Of(i32),
    /// Not yet.
    Awaited,
    /// It will not.
    Failed,
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
