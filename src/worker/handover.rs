//! The channel by which connections move from one worker to another.
//!
//! All workers of an arbiter share one pair of sockets: what one writes into it, the first that has time reads, as if it
//! were a listening socket of connections that are accepted already. A message holds the connection's descriptor, so that
//! it lives on whoever dies.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socketpair};

use super::parcel::Parcel;
use crate::clock::Moment;
use crate::scoreboard::Slot;

/// Unread bytes that travel with a connection at most: the channel holds a dozen messages of that size, and 278 small ones.
pub(super) const UNREAD: usize = 16 * 1024;

/// Room for everything else in a message.
const REST: usize = 1024;

/// Slots of siblings that are looked at: numbers are given out from the lowest on.
const SIBLINGS: usize = 64;

/// The two ends of the channel, both of which everybody has.
#[derive(Debug)]
pub(crate) struct Ends {
    inlet: OwnedFd,
    outlet: OwnedFd,
}

impl Ends {
    /// A new channel.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (inlet, outlet) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok(Self { inlet, outlet })
    }

    /// The same channel, as another worker has it.
    #[cfg(test)]
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { inlet: self.inlet.try_clone()?, outlet: self.outlet.try_clone()? })
    }
}

/// How a worker takes part.
#[derive(Debug)]
pub(crate) struct Handover {
    ends: Ends,
    /// A descriptor's number that is kept free for the next one that is taken: the kernel drops those that there is no
    /// number for.
    reserve: Mutex<Option<OwnedFd>>,
    /// The slots of all workers, and our own.
    scoreboard: &'static [Slot],
    own: usize,
    /// When it was last seen to that no sibling has less to do.
    balanced: Mutex<Moment>,
}

impl Handover {
    pub(crate) fn new(ends: Ends, scoreboard: &'static [Slot], own: usize) -> Self {
        let reserve = Mutex::new(ends.outlet.try_clone().ok());
        Self { ends, reserve, scoreboard, own, balanced: Mutex::default() }
    }

    /// Readable when there is something to take.
    pub(crate) fn outlet(&self) -> BorrowedFd<'_> {
        self.ends.outlet.as_fd()
    }

    /// Writable when there is room.
    pub(crate) fn inlet(&self) -> BorrowedFd<'_> {
        self.ends.inlet.as_fd()
    }

    pub(super) fn send(&self, parcel: &Parcel, connection: BorrowedFd<'_>) -> nix::Result<()> {
        let bytes = parcel.encode();
        let fds = [connection.as_raw_fd()];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let rights = [ControlMessage::ScmRights(&fds)];
        sendmsg::<UnixAddr>(self.ends.inlet.as_raw_fd(), &[io::IoSlice::new(&bytes)], &rights, flags, None).map(drop)
    }

    /// The next connection, if there is one.
    ///
    /// # Errors
    /// There is no descriptor's number for it.
    pub(super) fn take(&self) -> io::Result<Option<(Parcel, OwnedFd)>> {
        let mut reserve = self.reserve.lock().unwrap_or_else(PoisonError::into_inner);
        if reserve.is_none() {
            *reserve = Some(self.ends.outlet.try_clone()?);
        }
        *reserve = None;
        let mut buffer = vec![0; UNREAD + REST];
        let received = crate::sys::receive_descriptor(self.outlet(), &mut buffer);
        *reserve = self.ends.outlet.try_clone().ok();
        drop(reserve);
        let Ok((length, connection)) = received else { return Ok(None) };
        let parcel = buffer.get(..length).and_then(Parcel::decode);
        let taken = parcel.zip(connection);
        if taken.is_none() {
            log::error!("A connection was lost on its way from another worker");
        }
        Ok(taken)
    }

    pub(super) fn siblings(&self) -> impl Iterator<Item = &Slot> {
        let slots = self.scoreboard.iter().enumerate().take(SIBLINGS);
        slots.filter(|(nr, _)| *nr != self.own).map(|(_, slot)| slot)
    }

    /// How many siblings there are, all of which have something to do; `None` if one of them waits.
    pub(super) fn busy_siblings(&self) -> Option<u32> {
        self.siblings()
            .filter(|slot| slot.is_taken())
            .try_fold(0, |busy, slot| slot.idle_connections().is_none().then_some(busy + 1))
    }

    /// Whether it is time to see to that no sibling has less to do: once at each `now`.
    pub(super) fn is_balance_due(&self, now: Moment) -> bool {
        let mut balanced = self.balanced.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *balanced, now) != now
    }

    /// Whether there is, or was until lately, another worker.
    pub(super) fn has_siblings(&self) -> bool {
        self.siblings().any(Slot::is_taken)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::app::Address;
    use crate::protocol::Protocol;

    #[test]
    fn a_full_channel_says_so_and_loses_nothing() {
        use std::io::{Read, Write};
        let slots = crate::sys::shared_slots::<Slot>(2).unwrap();
        let handover = Handover::new(Ends::new().unwrap(), slots, 0);
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let parcel = |requests| Parcel {
            since: Moment::default(),
            requests,
            protocol: Protocol::Http,
            unproxied: false,
            peer: Address::Unix(None),
            destination: None,
            local: Address::Unix(None),
            unread: vec![b'x'; UNREAD],
        };
        let sent = (0..1000).take_while(|number| handover.send(&parcel(*number), theirs.as_fd()).is_ok()).count();
        assert!((2..1000).contains(&sent), "{sent} messages");
        drop(theirs);
        for number in 0..sent {
            let (taken, descriptor) = handover.take().unwrap().unwrap();
            assert_eq!((taken.requests as usize, taken.unread.len()), (number, UNREAD));
            let mut stream = std::os::unix::net::UnixStream::from(descriptor);
            stream.write_all(b"!").unwrap();
            let mut byte = [0];
            ours.read_exact(&mut byte).unwrap();
        }
        assert!(handover.take().unwrap().is_none());
    }
}
