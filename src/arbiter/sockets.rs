//! The listeners that an arbiter owns, and the generations that they belong to.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use super::children::Generation;
use super::state::FIRST_GENERATION;
use crate::app::Address;
use crate::error::Error;
use crate::listener::{Listener, Policy};
use crate::protocol::Protocol;
use crate::settings::{Bind, BindAddress, Settings};
use crate::sys;

/// All listeners that some generation serves.
#[derive(Debug, Default)]
pub(crate) struct Sockets(Vec<Socket>);

#[derive(Debug)]
struct Socket {
    listener: Listener,
    /// What the settings call it; `None` for one that was lent to us without being asked for.
    address: Option<BindAddress>,
    /// The generations that serve it.
    generations: Vec<Generation>,
}

/// Listeners that were there before this process.
#[derive(Debug, Default)]
pub(crate) struct Legacy {
    /// Made by the arbiter that this one replaces.
    pub(crate) own: Vec<Listener>,
    /// Lent by a service manager.
    pub(crate) lent: Vec<Listener>,
    /// Whether there is a predecessor, who has taken `fd://N` in already.
    pub(crate) succeeding: bool,
}

/// How often binding an address is tried that somebody else has, as Gunicorn does.
const TRIES: u32 = 5;
/// The time between.
const PAUSE: Duration = Duration::from_secs(1);

impl Sockets {
    /// Takes what there was before and binds the rest, for the first generation.
    ///
    /// Lent sockets that no `fd://N` names take the place of all addresses of the settings.
    ///
    /// # Errors
    /// An address cannot be had; one that is in use is tried several times.
    pub(crate) fn open(settings: &Settings, policy: &Policy, mut legacy: Legacy) -> Result<Self, Error> {
        let generation = FIRST_GENERATION;
        let mut sockets = Self::default();
        let asked_for = settings.bind.iter().any(|bind| matches!(bind.address, BindAddress::Fd(_)));
        if !legacy.lent.is_empty() && !asked_for {
            for listener in legacy.lent {
                sockets.add(listener.speaking(settings.protocol), None, generation);
            }
            sockets.resize_queues(policy);
            return Ok(sockets);
        }
        for Bind { address, .. } in &settings.bind {
            let listener = match (legacy.take(address), legacy.succeeding) {
                (Some(listener), _) => Ok(listener.with_file()),
                (None, true) => Listener::bind(address, policy).map_err(Error::from),
                (None, false) => bind_patiently(address, policy),
            };
            let listener = listener.inspect_err(|_| {
                if !legacy.succeeding {
                    sockets.unlink();
                }
            })?;
            sockets.add(listener.speaking(protocol_of(Some(address), settings)), Some(address.clone()), generation);
        }
        sockets.resize_queues(policy);
        Ok(sockets)
    }

    /// Gives the sockets that others have made the queues that the settings want.
    fn resize_queues(&self, policy: &Policy) {
        for listener in self.iter().filter(|listener| listener.is_inherited()) {
            if let Err(error) = listener.resize_queue(policy) {
                log::warn!("The accept queue of {listener} keeps its length: {error}");
            }
        }
    }

    fn add(&mut self, listener: Listener, address: Option<BindAddress>, generation: Generation) {
        self.0.push(Socket { listener, address, generations: vec![generation] });
    }

    /// Makes what a new generation needs: keeps what has the same address, binds what is new. Whether something is left
    /// over that the new generation does not serve.
    ///
    /// # Errors
    /// An address cannot be had. Nothing has changed then.
    pub(crate) fn extend(
        &mut self,
        generation: Generation,
        settings: &Settings,
        policy: &Policy,
    ) -> Result<bool, Error> {
        // Lent sockets that nobody asked for are served whatever the addresses say.
        let lent = self.0.iter().any(|socket| socket.address.is_none());
        let asked = |socket: &Socket| {
            socket.address.as_ref().is_some_and(|address| settings.bind.iter().any(|bind| bind.address == *address))
        };
        for socket in self.0.iter_mut().filter(|socket| lent || asked(socket)) {
            socket.generations.push(generation);
        }
        for Bind { address, .. } in settings.bind.iter().filter(|_| !lent) {
            if self.0.iter().all(|socket| socket.address.as_ref() != Some(address)) {
                let listener = Listener::bind(address, policy).inspect_err(|_| self.retract(generation))?;
                let listener = listener.speaking(protocol_of(Some(address), settings));
                self.add(listener, Some(address.clone()), generation);
            }
        }
        Ok(self.0.iter().any(|socket| !socket.generations.contains(&generation)))
    }

    /// Undoes [`extend`](Self::extend).
    pub(crate) fn retract(&mut self, generation: Generation) {
        for socket in &mut self.0 {
            socket.generations.retain(|other| *other != generation);
        }
        let (kept, made) = std::mem::take(&mut self.0).into_iter().partition(|socket| !socket.generations.is_empty());
        self.0 = kept;
        Self(made).unlink();
    }

    /// Drops what only other generations serve. `shared` tells that another arbiter has the same sockets.
    pub(crate) fn keep(&mut self, generation: Generation, shared: bool) {
        let (kept, dropped) =
            std::mem::take(&mut self.0).into_iter().partition(|socket| socket.generations.contains(&generation));
        self.0 = kept;
        for socket in &mut self.0 {
            socket.generations = vec![generation];
        }
        let dropped = Self(dropped);
        if !shared {
            dropped.stop_incoming();
            dropped.unlink();
        }
    }

    /// Lets no new connection in.
    pub(crate) fn stop_incoming(&self) {
        for Socket { listener, .. } in &self.0 {
            if let Err(error) = listener.stop_incoming() {
                log::warn!("Cannot stop the accept queue of {listener}: {error}");
            }
        }
    }

    /// Removes the files of unix sockets that are ours.
    pub(crate) fn unlink(&self) {
        for Socket { listener, .. } in &self.0 {
            if let Err(error) = listener.unlink() {
                log::warn!("Cannot remove {listener}: {error}");
            }
        }
    }

    /// How many connections wait to be accepted, as far as that can be known.
    pub(crate) fn queued(&self) -> u32 {
        self.iter().filter_map(|listener| sys::accept_queue(listener.as_fd())).fold(0, u32::saturating_add)
    }

    /// The listeners of a generation, speaking what its settings say; the others are closed (in a worker, that is, which
    /// has copies of them).
    pub(crate) fn into_listeners(self, generation: Generation, settings: &Settings) -> Vec<Listener> {
        let own = self.0.into_iter().filter(|socket| socket.generations.contains(&generation));
        own.map(|socket| {
            let protocol = protocol_of(socket.address.as_ref(), settings);
            socket.listener.speaking(protocol)
        })
        .collect()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.0.iter().map(|socket| &socket.listener)
    }
}

/// What is spoken at an address.
fn protocol_of(address: Option<&BindAddress>, settings: &Settings) -> Protocol {
    let bind = settings.bind.iter().find(|bind| Some(&bind.address) == address);
    bind.and_then(|bind| bind.protocol).unwrap_or(settings.protocol)
}

impl Legacy {
    /// What there is already for an address.
    fn take(&mut self, address: &BindAddress) -> Option<Listener> {
        let (listeners, position) = match address {
            BindAddress::Fd(fd) => {
                // A successor has them under other numbers, in the same order.
                let is_it = |listener: &Listener| self.succeeding || listener.as_fd().as_raw_fd() == *fd;
                let position = self.lent.iter().position(is_it);
                (&mut self.lent, position)
            }
            _ => {
                let position = self.own.iter().position(|listener| names(address, listener.local()));
                (&mut self.own, position)
            }
        };
        position.map(|position| listeners.remove(position))
    }
}

/// Whether a socket that is bound to `local` is what `address` asks for.
fn names(address: &BindAddress, local: &Address) -> bool {
    match (address, local) {
        (BindAddress::Tcp { host, port }, Address::Ip(local)) => {
            (*port == local.port() || *port == 0)
                && match host.parse::<IpAddr>() {
                    Ok(ip) => ip == local.ip(),
                    Err(_) if host.is_empty() => local.ip() == Ipv4Addr::UNSPECIFIED,
                    Err(_) => (host.as_str(), *port)
                        .to_socket_addrs()
                        .is_ok_and(|mut found| found.any(|found| found.ip() == local.ip())),
                }
        }
        (BindAddress::Unix(path), Address::Unix(local)) => local.as_deref().is_some_and(|local| same_file(path, local)),
        _ => false,
    }
}

fn same_file(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn bind_patiently(address: &BindAddress, policy: &Policy) -> Result<Listener, Error> {
    for tried in 1.. {
        match Listener::bind(address, policy) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.is_in_use() => {
                log::error!("Connection in use: {}", error.address());
                log::error!("connection to {} failed: {}", error.address(), error.reason());
                if tried == TRIES {
                    log::error!("Can't connect to {}", error.address());
                    return Err(error.into());
                }
                sleep(PAUSE);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::configuration("no address could be bound"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::SocketAddr;
    use std::os::unix::net::UnixStream;
    use std::path::PathBuf;

    use super::*;
    use crate::scenario::Scratch;

    const POLICY: Policy = Policy { backlog: 16, socket_mode: 0o600, owner: None };

    fn binding(paths: &[&PathBuf]) -> Settings {
        Settings {
            bind: paths.iter().map(|path| BindAddress::Unix((*path).clone()).into()).collect(),
            ..Settings::default()
        }
    }

    fn is_served(path: &Path) -> bool {
        UnixStream::connect(path).is_ok()
    }

    fn count(sockets: &Sockets, generation: Generation) -> usize {
        sockets.0.iter().filter(|socket| socket.generations.contains(&generation)).count()
    }

    #[test]
    fn a_reload_keeps_common_addresses_binds_new_ones_and_drops_old_ones_once_it_is_through() {
        let scratch = Scratch::new();
        let [old, common, new] = ["old", "common", "new"].map(|name| scratch.join(name));
        let mut sockets = Sockets::open(&binding(&[&old, &common]), &POLICY, Legacy::default()).unwrap();
        let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&common).unwrap());
        let before = inode();
        assert!(sockets.extend(2, &binding(&[&common, &new]), &POLICY).unwrap(), "one is left over");
        assert!([&old, &common, &new].into_iter().all(|path| is_served(path)), "both generations serve");
        assert_eq!((count(&sockets, 1), count(&sockets, 2)), (2, 2));
        sockets.keep(2, false);
        assert!(!old.exists() && is_served(&common) && is_served(&new));
        assert_eq!(inode(), before, "the common one was never closed");
        assert!(!sockets.extend(3, &binding(&[&common, &new]), &POLICY).unwrap());
        sockets.keep(3, false);
        assert_eq!(sockets.into_listeners(3, &Settings::default()).len(), 2);
    }

    #[test]
    fn a_reload_that_is_given_up_leaves_nothing_behind() {
        let scratch = Scratch::new();
        let [old, new] = ["old", "new"].map(|name| scratch.join(name));
        let mut sockets = Sockets::open(&binding(&[&old]), &POLICY, Legacy::default()).unwrap();
        sockets.extend(2, &binding(&[&new]), &POLICY).unwrap();
        sockets.keep(1, false);
        assert!(is_served(&old) && !new.exists());
        let impossible = scratch.join("nowhere/socket");
        assert!(sockets.extend(3, &binding(&[&new, &impossible]), &POLICY).is_err());
        assert!(is_served(&old) && !new.exists());
        assert_eq!((count(&sockets, 1), count(&sockets, 3)), (1, 0));
        sockets.unlink();
        assert!(!old.exists());
    }

    #[test]
    fn a_start_that_fails_leaves_nothing_behind() {
        let scratch = Scratch::new();
        let [one, impossible] = ["one", "nowhere/socket"].map(|name| scratch.join(name));
        assert!(Sockets::open(&binding(&[&one, &impossible]), &POLICY, Legacy::default()).is_err());
        assert!(!one.exists());
    }

    #[test]
    fn what_other_arbiters_serve_as_well_is_dropped_without_a_trace() {
        let scratch = Scratch::new();
        let [old, new] = ["old", "new"].map(|name| scratch.join(name));
        let mut sockets = Sockets::open(&binding(&[&old]), &POLICY, Legacy::default()).unwrap();
        sockets.extend(2, &binding(&[&new]), &POLICY).unwrap();
        sockets.keep(2, true);
        assert!(old.exists());
    }

    #[test]
    fn sockets_of_a_predecessor_are_known_by_their_addresses() {
        let tcp = |host: &str, port| BindAddress::Tcp { host: host.to_owned(), port };
        let bound = |address: &str| Address::Ip(address.parse::<SocketAddr>().unwrap());
        let unix = |path: &str| Address::Unix(Some(path.into()));
        let cases = [
            (tcp("127.0.0.1", 80), bound("127.0.0.1:80"), true),
            (tcp("127.0.0.1", 0), bound("127.0.0.1:40000"), true),
            (tcp("127.0.0.1", 81), bound("127.0.0.1:80"), false),
            (tcp("127.0.0.2", 80), bound("127.0.0.1:80"), false),
            (tcp("", 80), bound("0.0.0.0:80"), true),
            (tcp("", 80), bound("127.0.0.1:80"), false),
            (tcp("::1", 80), bound("[::1]:80"), true),
            (tcp("localhost", 80), bound("127.0.0.1:80"), true),
            (BindAddress::Unix("/run/x".into()), unix("/run/x"), true),
            (BindAddress::Unix("/run/x".into()), unix("/run/y"), false),
            (BindAddress::Unix("/run/x".into()), Address::Unix(None), false),
            (BindAddress::Unix("/run/x".into()), bound("127.0.0.1:80"), false),
        ];
        for (address, local, expected) in cases {
            assert_eq!(names(&address, &local), expected, "{address:?} {local:?}");
        }
    }
}
