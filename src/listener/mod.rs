//! Listening sockets: made, inherited, stopped.

mod unix;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::{Gid, Uid};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::app::Address;
use crate::error::Error;
use crate::process;
use crate::protocol::Protocol;
use crate::settings::BindAddress;
use crate::sys;

/// How sockets are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Length of the accept queue.
    pub(crate) backlog: u32,
    /// Permission bits of a unix socket.
    pub(crate) socket_mode: u32,
    /// Owner of a unix socket, if it is not to be whoever makes it.
    pub(crate) owner: Option<(Uid, Gid)>,
}

impl Policy {
    fn queue_length(&self) -> i32 {
        i32::try_from(self.backlog).unwrap_or(i32::MAX)
    }
}

/// Why a socket could not be bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BindError {
    address: String,
    reason: String,
    in_use: bool,
}

impl BindError {
    fn new(address: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self { address: address.into(), reason: reason.to_string(), in_use: false }
    }

    fn in_use(address: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self { in_use: true, ..Self::new(address, reason) }
    }

    fn from_io(address: impl Into<String>, error: &io::Error) -> Self {
        Self { in_use: error.kind() == io::ErrorKind::AddrInUse, ..Self::new(address, error) }
    }

    /// Whether somebody else has the address: trying again after a while makes sense.
    pub(crate) fn is_in_use(&self) -> bool {
        self.in_use
    }

    /// The address as Gunicorn's log lines write it: `('127.0.0.1', 8000)`, or a path.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What is wrong with it.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Can't bind to {}: {}", self.address, self.reason)
    }
}

impl From<BindError> for Error {
    fn from(error: BindError) -> Self {
        Self::configuration(error.to_string())
    }
}

/// Where a socket comes from, which decides what may be done to it.
#[derive(Debug)]
enum Origin {
    /// Made by this process, or by the one that it took over from.
    Own,
    /// The same for a unix socket, with the file it has.
    OwnFile(unix::SocketFile),
    /// Lent by a service manager, who may go on using it.
    Inherited,
}

/// A bound and listening stream socket: nonblocking, closed on exec.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    local: Address,
    origin: Origin,
    protocol: Protocol,
}

impl Listener {
    /// Binds and listens.
    ///
    /// A TCP host is resolved here and once: a literal address is what it says, an empty host is every IPv4 address, and
    /// of a name's addresses the first IPv4 one is taken, or the first of all if there is none (as Gunicorn does).
    ///
    /// # Errors
    /// Somebody else has the address ([`BindError::is_in_use`]), or it cannot be had at all.
    pub(crate) fn bind(address: &BindAddress, policy: &Policy) -> Result<Self, BindError> {
        match address {
            BindAddress::Tcp { host, port } => Self::bind_tcp(host, *port, policy),
            BindAddress::Unix(path) => {
                let (socket, file) = unix::bind(path, policy)?;
                let local = Address::Unix(Some(path.clone()));
                Ok(Self { socket, local, origin: Origin::OwnFile(file), protocol: Protocol::Http })
            }
            BindAddress::Fd(fd) => {
                Self::adopt(*fd, Origin::Inherited).map_err(|reason| BindError::new(format!("fd://{fd}"), reason))
            }
        }
    }

    fn bind_tcp(host: &str, port: u16, policy: &Policy) -> Result<Self, BindError> {
        let name = format!("('{host}', {port})");
        let address = resolve(host, port).map_err(|error| BindError::new(&*name, error))?;
        let bind = || {
            let socket = Socket::new(
                Domain::for_address(address),
                Type::STREAM.cloexec().nonblocking(),
                Some(socket2::Protocol::TCP),
            )?;
            socket.set_reuse_address(true)?;
            // Accepted sockets have it from their listener, which saves a system call for each.
            socket.set_tcp_nodelay(true)?;
            do_not_pace(&socket, address);
            socket.bind(&SockAddr::from(address))?;
            socket.listen(policy.queue_length())?;
            let local = local_address(&socket)?;
            Ok(Self { socket, local, origin: Origin::Own, protocol: Protocol::Http })
        };
        bind().map_err(|error: io::Error| BindError::from_io(name, &error))
    }

    /// Takes a socket that a service manager gave to this process (`fd://N`, `LISTEN_FDS`). It may have other users,
    /// now or later, so it is never stopped nor unlinked.
    ///
    /// # Errors
    /// It is not open, was not inherited, or is not a listening stream socket. It stays open then.
    pub(crate) fn inherit(fd: RawFd) -> Result<Self, Error> {
        Self::adopt(fd, Origin::Inherited).map_err(|reason| Error::configuration(format!("fd://{fd}: {reason}")))
    }

    /// Takes over a socket from the arbiter that this one replaces: from now on it is as if this process had made it.
    ///
    /// # Errors
    /// As for [`Self::inherit`].
    pub(crate) fn take_over(fd: RawFd) -> Result<Self, Error> {
        Self::adopt(fd, Origin::Own).map_err(|reason| Error::configuration(format!("inherited socket {fd}: {reason}")))
    }

    /// Finds the file of a unix socket that was taken over, where the server has gone to its directory: its path may be
    /// relative to that.
    pub(crate) fn with_file(mut self) -> Self {
        if let (Origin::Own, Address::Unix(Some(path))) = (&self.origin, &self.local)
            && let Some(file) = unix::SocketFile::of_predecessor(path)
        {
            self.origin = Origin::OwnFile(file);
        }
        self
    }

    fn adopt(fd: RawFd, origin: Origin) -> Result<Self, String> {
        let text = |error: io::Error| error.to_string();
        let socket = Socket::from(sys::adopt(fd).map_err(text)?);
        if let Err(reason) = check_inherited(&socket) {
            // Whatever it is, it is not ours: it might be the standard error that is to show the reason.
            sys::leak(socket.into());
            return Err(reason);
        }
        let socket = Socket::from(keep_from_children(socket.into()).map_err(text)?);
        socket.set_nonblocking(true).map_err(text)?;
        let local = local_address(&socket).map_err(text)?;
        if let Address::Ip(address) = local {
            socket.set_tcp_nodelay(true).map_err(text)?;
            if let Origin::Own = origin {
                do_not_pace(&socket, address);
            }
        }
        Ok(Self { socket, local, origin, protocol: Protocol::Http })
    }

    /// Sets the length of the accept queue; what an inherited socket has is seldom what a server needs.
    ///
    /// # Errors
    /// What listen(2) says.
    pub(crate) fn resize_queue(&self, policy: &Policy) -> io::Result<()> {
        self.socket.listen(policy.queue_length())
    }

    /// The same socket, on which that is spoken.
    pub(crate) fn speaking(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// What is spoken there.
    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The address that it is bound to.
    pub(crate) fn local(&self) -> &Address {
        &self.local
    }

    /// Whether a service manager made it: it is not ours to stop or to unlink.
    pub(crate) fn is_inherited(&self) -> bool {
        matches!(self.origin, Origin::Inherited)
    }

    /// Lets nobody new in, so that the accept queue can be emptied for good. What is queued stays acceptable.
    ///
    /// A TCP client that connects from now on gets no answer and tries again (after 1 s), by when another server may
    /// have the address; where the kernel wants CAP_NET_ADMIN for that (6.18 was seen to), it is refused. A connection
    /// whose handshake has begun completes and is queued, up to a round trip from now. A unix client is refused. A
    /// stopped unix socket is ready for reading for ever, with or without anything to accept: an event loop must
    /// deregister it at the first `WouldBlock`.
    ///
    /// It affects every process that has the socket. An inherited one is left alone: what is queued there is served by
    /// whoever shares it, or by our successor.
    pub(crate) fn stop_incoming(&self) -> io::Result<()> {
        match (&self.origin, &self.local) {
            (Origin::Inherited, _) => Ok(()),
            (_, Address::Ip(_)) => match sys::drop_incoming(self.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => sys::refuse_incoming(self.as_fd()),
                result => result,
            },
            (_, Address::Unix(_)) => self.socket.shutdown(Shutdown::Read),
        }
    }

    /// Removes a unix socket's file, if it is still the one that we made.
    pub(crate) fn unlink(&self) -> io::Result<()> {
        match &self.origin {
            Origin::OwnFile(file) => file.remove(),
            Origin::Own | Origin::Inherited => Ok(()),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// As Gunicorn's log lines have it: `http://127.0.0.1:8000`, `unix:/run/app.sock`, `uwsgi://unix:/run/app.sock`.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.protocol.name();
        match &self.local {
            Address::Ip(address) => write!(f, "{scheme}://{address}"),
            unix if self.protocol.is_gateway() => write!(f, "{scheme}://{unix}"),
            unix => unix.fmt(f),
        }
    }
}

/// Has what is accepted at a loopback address send as fast as it is read, where the system's congestion control is one that
/// paces (BBR).
///
/// No network can be congested between two ends on this machine, and the kernel sets a timer for each burst that it holds
/// back: more than half of what a response of 1 MiB costs. A kernel that refuses paces on, which is slower and no error.
fn do_not_pace(socket: &Socket, local: SocketAddr) {
    if local.ip().is_loopback() && socket.tcp_congestion().is_ok_and(|name| name.starts_with(b"bbr")) {
        let _ = socket.set_tcp_congestion(b"reno");
    }
}

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    if host.is_empty() {
        return Ok((Ipv4Addr::UNSPECIFIED, port).into());
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok((address, port).into());
    }
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    let first_v4 = addresses.iter().find(|address| address.is_ipv4());
    first_v4.or(addresses.first()).copied().ok_or_else(|| io::Error::other("the name has no address"))
}

fn local_address(socket: &Socket) -> io::Result<Address> {
    let address = socket.local_addr()?;
    if let Some(address) = address.as_socket() {
        return Ok(Address::Ip(address));
    }
    if let Some(name) = address.as_abstract_namespace() {
        return Ok(Address::Unix(Some(PathBuf::from(format!("@{}", String::from_utf8_lossy(name))))));
    }
    Ok(Address::Unix(address.as_pathname().map(PathBuf::from)))
}

/// Whether standard input is a listening socket, as a FastCGI program has it (FastCGI 1.0 §2.2).
pub(crate) fn stdin_listens() -> bool {
    socket2::SockRef::from(&io::stdin()).is_listener().unwrap_or(false)
}

fn check_inherited(socket: &Socket) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    let flags = fcntl(socket, FcntlArg::F_GETFD).map_err(|error| error.to_string())?;
    if FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC) {
        // It has not come through an exec: this process opened it itself, or has adopted it before.
        return Err("it was not inherited, or is named twice".to_owned());
    }
    let domain = socket.domain().map_err(|_| "it is not a socket".to_owned())?;
    if ![Domain::IPV4, Domain::IPV6, Domain::UNIX].contains(&domain) {
        return Err("it is neither a TCP nor a unix socket".to_owned());
    }
    if socket.r#type().map_err(text)? != Type::STREAM {
        return Err("it is not a stream socket".to_owned());
    }
    if !socket.is_listener().map_err(text)? {
        return Err("it is not listening".to_owned());
    }
    Ok(())
}

/// Sets close-on-exec. A standard descriptor is moved: children must not find the socket as their standard input, nor
/// may the number be free for what is opened next.
fn keep_from_children(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        return Ok(fd);
    }
    let moved = fd.try_clone()?;
    process::silence(sys::leak(fd))?;
    Ok(moved)
}

#[cfg(test)]
pub(crate) mod tests;
