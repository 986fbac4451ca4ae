//! The listeners that an arbiter owns, and the generations that they belong to.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use super::children::Generation;
use super::state::FIRST_GENERATION;
use crate::app::Address;
use crate::error::Error;
use crate::listener::{BindError, Listener, Policy};
use crate::settings::{BindAddress, Settings};

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
        let asked_for = settings.bind.iter().any(|address| matches!(address, BindAddress::Fd(_)));
        if !legacy.lent.is_empty() && !asked_for {
            for listener in legacy.lent {
                sockets.add(listener, None, generation);
            }
            return Ok(sockets);
        }
        for address in &settings.bind {
            let listener = match (legacy.take(address), legacy.succeeding) {
                (Some(listener), _) => listener,
                (None, true) => Listener::bind(address, policy)?,
                (None, false) => bind_patiently(address, policy)?,
            };
            sockets.add(listener, Some(address.clone()), generation);
        }
        Ok(sockets)
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
        let is_known = |address: &&BindAddress| self.0.iter().any(|socket| socket.address.as_ref() == Some(address));
        let lent = self.0.iter().any(|socket| socket.address.is_none());
        let missing = settings.bind.iter().filter(|address| !lent && !is_known(address));
        let made = missing.map(|address| Ok((Listener::bind(address, policy)?, address.clone())));
        let made = made.collect::<Result<Vec<_>, BindError>>()?;
        for socket in &mut self.0 {
            if lent || socket.address.as_ref().is_some_and(|address| settings.bind.contains(address)) {
                socket.generations.push(generation);
            }
        }
        for (listener, address) in made {
            self.add(listener, Some(address), generation);
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

    /// The listeners of a generation; the others are closed (in a worker, that is, which has copies of them).
    pub(crate) fn into_listeners(self, generation: Generation) -> Vec<Listener> {
        let own = self.0.into_iter().filter(|socket| socket.generations.contains(&generation));
        own.map(|socket| socket.listener).collect()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.0.iter().map(|socket| &socket.listener)
    }
}

impl Legacy {
    /// What there is already for an address.
    fn take(&mut self, address: &BindAddress) -> Option<Listener> {
        let (listeners, position) = match address {
            BindAddress::Fd(_) => {
                let position = (self.succeeding && !self.lent.is_empty()).then_some(0);
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
