//! Connections that move from one worker to another.
//!
//! All workers of an arbiter share one pair of sockets: what one writes into it, the first that has time reads, as if it
//! were a listening socket of connections that are accepted already. A message holds the connection's descriptor, so that
//! it lives on whoever dies. Nothing travels of which a part was given to the application or answered.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socketpair};

use super::connection::{Connection, Next};
use super::core::Accepting;
use super::engine::Engine;
use super::world::World;
use crate::app::Address;
use crate::clock::Moment;
use crate::protocol::Protocol;
use crate::scoreboard::Slot;

/// Unread bytes that travel with a connection at most: the channel holds a dozen messages of that size, and 278 small ones.
const UNREAD: usize = 16 * 1024;

/// Room for everything else in a message.
const REST: usize = 1024;

/// The first byte of a message.
const VERSION: u8 = 1;

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

/// What is said of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parcel {
    /// When it was put into the channel, or whatever its request has waited since.
    pub(crate) since: Moment,
    /// Requests that were answered on it.
    pub(crate) requests: u32,
    pub(crate) protocol: Protocol,
    /// A PROXY header must come first.
    pub(crate) unproxied: bool,
    pub(crate) peer: Address,
    /// Where a PROXY header said that the client went.
    pub(crate) destination: Option<SocketAddr>,
    pub(crate) local: Address,
    /// Bytes that were received and not used.
    pub(crate) unread: Vec<u8>,
}

impl Parcel {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.unread.len());
        out.extend_from_slice(&[VERSION, self.protocol as u8, u8::from(self.unproxied)]);
        out.extend_from_slice(&self.since.as_nanos().to_le_bytes());
        out.extend_from_slice(&self.requests.to_le_bytes());
        encode_address(&self.peer, &mut out);
        encode_address(&self.destination.map_or(Address::Unix(None), Address::Ip), &mut out);
        encode_address(&self.local, &mut out);
        out.extend_from_slice(&self.unread);
        out
    }

    /// `None` if it is no message of ours.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let [VERSION, protocol, unproxied] = reader.take()? else { return None };
        Some(Self {
            protocol: Protocol::ALL.into_iter().find(|known| *known as u8 == protocol)?,
            unproxied: unproxied != 0,
            since: Moment::from_nanos(u64::from_le_bytes(reader.take()?)),
            requests: u32::from_le_bytes(reader.take()?),
            peer: reader.address()?,
            destination: match reader.address()? {
                Address::Ip(address) => Some(address),
                Address::Unix(_) => None,
            },
            local: reader.address()?,
            unread: reader.0.to_vec(),
        })
    }
}

fn encode_address(address: &Address, out: &mut Vec<u8>) {
    match address {
        Address::Ip(SocketAddr::V4(address)) => {
            out.push(4);
            out.extend_from_slice(&address.ip().octets());
            out.extend_from_slice(&address.port().to_le_bytes());
        }
        Address::Ip(SocketAddr::V6(address)) => {
            out.push(6);
            out.extend_from_slice(&address.ip().octets());
            out.extend_from_slice(&address.port().to_le_bytes());
            out.extend_from_slice(&address.flowinfo().to_le_bytes());
            out.extend_from_slice(&address.scope_id().to_le_bytes());
        }
        Address::Unix(None) => out.push(0),
        Address::Unix(Some(path)) => {
            // Paths of unix sockets have 108 bytes at most.
            let path = path.as_os_str().as_bytes();
            let path = path.get(..path.len().min(255)).unwrap_or_default();
            out.extend_from_slice(&[1, path.len() as u8]);
            out.extend_from_slice(path);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn address(&mut self) -> Option<Address> {
        Some(match self.take()? {
            [4] => {
                let ip = Ipv4Addr::from(self.take::<4>()?);
                Address::Ip(SocketAddrV4::new(ip, u16::from_le_bytes(self.take()?)).into())
            }
            [6] => {
                let ip = Ipv6Addr::from(self.take::<16>()?);
                let port = u16::from_le_bytes(self.take()?);
                let (flow, scope) = (u32::from_le_bytes(self.take()?), u32::from_le_bytes(self.take()?));
                Address::Ip(SocketAddrV6::new(ip, port, flow, scope).into())
            }
            [0] => Address::Unix(None),
            [1] => {
                let [length] = self.take()?;
                let (path, rest) = self.0.split_at_checked(usize::from(length))?;
                self.0 = rest;
                Address::Unix(Some(std::ffi::OsString::from_vec(path.to_vec()).into()))
            }
            _ => return None,
        })
    }
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

    fn send(&self, parcel: &Parcel, connection: BorrowedFd<'_>) -> nix::Result<()> {
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
    fn take(&self) -> io::Result<Option<(Parcel, OwnedFd)>> {
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

    fn siblings(&self) -> impl Iterator<Item = &Slot> {
        let slots = self.scoreboard.iter().enumerate().take(SIBLINGS);
        slots.filter(|(nr, _)| *nr != self.own).map(|(_, slot)| slot)
    }

    /// Whether there is, or was until lately, another worker.
    fn has_siblings(&self) -> bool {
        self.siblings().any(Slot::is_taken)
    }
}

/// What became of an attempt.
enum Attempt {
    Gone,
    /// It cannot go, now or ever.
    Kept(Box<Connection>),
    /// The channel is full.
    Full(Box<Connection>),
}

impl Engine {
    /// Gives a connection away that is checked out.
    fn hand_over(&self, handover: &Handover, key: usize, mut connection: Box<Connection>) -> Attempt {
        let Some(parcel) = connection.parcel(UNREAD) else { return Attempt::Kept(connection) };
        // First, or this worker would hear of it for as long as another has it.
        if std::mem::take(&mut connection.registered) && self.epoll.delete(connection.as_fd()).is_err() {
            return Attempt::Kept(connection);
        }
        match handover.send(&parcel, connection.as_fd()) {
            Ok(()) => {
                self.forget(key);
                Attempt::Gone
            }
            Err(nix::Error::EAGAIN) => Attempt::Full(connection),
            Err(error) => {
                log::debug!("A connection stays, as it cannot be handed over: {error}");
                Attempt::Kept(connection)
            }
        }
    }

    /// Relief: gives away what waits for an application thread. Whether the channel is full.
    pub(super) fn hand_over_held(&self, world: &World) -> bool {
        let Some(handover) = &self.handover else { return false };
        let count = self.core().held();
        if count == 0 || self.core().stops || !handover.has_siblings() {
            return false;
        }
        for _ in 0..count {
            let Some((key, connection)) = self.core().next_held() else { break };
            match self.hand_over(handover, key, connection) {
                Attempt::Gone => {}
                Attempt::Kept(connection) => self.check_in(world, key, connection, Next::Hold),
                Attempt::Full(connection) => {
                    self.check_in(world, key, connection, Next::Wait);
                    self.core().hold_first(key);
                    return true;
                }
            }
        }
        false
    }

    /// Draining: gives an idle connection away, or gives it back.
    pub(super) fn hand_over_idle(&self, key: usize, connection: Box<Connection>) -> Option<Box<Connection>> {
        let Some(handover) = &self.handover else { return Some(connection) };
        if !connection.is_portable() {
            return Some(connection);
        }
        match self.hand_over(handover, key, connection) {
            Attempt::Gone => None,
            Attempt::Kept(connection) | Attempt::Full(connection) => Some(connection),
        }
    }

    /// Gives one of several connections with something to do to a sibling that has nothing to do and fewer of them. Looked at
    /// once in a tick of the coarse clock.
    pub(super) fn balance(&self, world: &World) {
        let Some(handover) = &self.handover else { return };
        {
            let mut balanced = handover.balanced.lock().unwrap_or_else(PoisonError::into_inner);
            if std::mem::replace(&mut *balanced, world.now) == world.now {
                return;
            }
        }
        let own = self.core().serving();
        let fewest = handover.siblings().filter_map(Slot::idle_connections).min();
        if fewest.is_none_or(|fewest| fewest.saturating_add(1) >= own) {
            return;
        }
        let Some((key, connection)) = self.core().last_idle() else { return };
        match self.hand_over(handover, key, connection) {
            Attempt::Gone => {}
            Attempt::Kept(connection) | Attempt::Full(connection) => {
                self.check_in(world, key, connection, Next::Again);
            }
        }
    }

    /// Takes one connection from a sibling, if there is one, and serves it.
    pub(super) fn take_over(&self, world: &mut World) -> bool {
        let (parcel, socket) = match self.handover.as_ref().map(Handover::take) {
            Some(Ok(Some(taken))) => taken,
            Some(Err(error)) => {
                self.starve(world, &error);
                return false;
            }
            Some(Ok(None)) | None => return false,
        };
        let known = world.locals.iter().find(|local| ***local == parcel.local).cloned();
        // Settings have changed since it was accepted.
        let local = known.unwrap_or_else(|| Arc::new(parcel.local.clone()));
        let key = self.core().insert();
        let mut connection = Box::new(Connection::taken_over(socket, parcel, local, key, world));
        let next = connection.drive(world);
        self.check_in(world, key, connection, next);
        self.stay_below_limit(world);
        true
    }

    /// Whether a draining worker may go: it has no connections, and nobody waits for it in the channel.
    pub(crate) fn is_finished(&self, world: &mut World) -> bool {
        let (idle, stops) = {
            let core = self.core();
            (core.count() == 0 && core.asked.is_none() && core.accepting == Accepting::Ended, core.stops)
        };
        if !idle || !stops {
            return idle;
        }
        while self.take_over(world) {}
        let core = self.core();
        let work = core.has_work();
        let idle = core.count() == 0;
        drop(core);
        if work {
            self.ring();
        }
        idle
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_connection_arrives() {
        let addresses = [
            Address::Ip("192.0.2.1:65535".parse().unwrap()),
            Address::Ip("[2001:db8::1]:1".parse().unwrap()),
            Address::Unix(None),
            Address::Unix(Some("/run/x".into())),
        ];
        for (peer, local) in addresses.iter().zip(addresses.iter().rev()) {
            let parcel = Parcel {
                since: Moment::from_nanos(1 << 40),
                requests: 7,
                protocol: Protocol::Scgi,
                unproxied: *peer == Address::Unix(None),
                peer: peer.clone(),
                destination: if let Address::Ip(address) = local { Some(*address) } else { None },
                local: local.clone(),
                unread: b"GET / HTTP/1.1\r\n".to_vec(),
            };
            let bytes = parcel.encode();
            assert_eq!(Parcel::decode(&bytes).as_ref(), Some(&parcel));
            for length in 0..bytes.len() - parcel.unread.len() {
                assert_eq!(Parcel::decode(&bytes[..length]), None, "{length} bytes");
            }
        }
        assert_eq!(Parcel::decode(b"\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), None, "another version");
    }

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
