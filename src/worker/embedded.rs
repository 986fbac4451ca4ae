//! The engine in a thread of a program's own: no arbiter, no other processes, no signals.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use super::engine::Engine;
use super::policy::Policy;
use super::world::{Common, World};
use crate::app::{Address, Application};
use crate::error::Error;
use crate::listener::{self, Listener};
use crate::logging;
use crate::logging::access::{AccessLog, SharedAccessLog};
use crate::scoreboard::Slot;
use crate::settings::{Bind, Settings};
use crate::sys;

/// What the waker's descriptor is watched as.
const BELL: usize = 0;

/// A server that runs while the program calls [`turn`](Self::turn).
///
/// It has the protocol, the limits and the logs of a worker. What needs other processes it does not have: nobody ends a
/// call that takes too long, and there is one call at a time.
pub struct Embedded {
    engine: Engine,
    world: World,
    listeners: Vec<Listener>,
    bell: UnixStream,
    clapper: Arc<UnixStream>,
}

impl Embedded {
    /// Listens as the settings say. Connections wait until the first turn.
    ///
    /// # Errors
    /// An address cannot be had, a log cannot be opened, or the process has no descriptors left.
    pub fn new(settings: &Settings, application: Box<dyn Application>) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::configuration(format!("Can't start: {error}"));
        logging::init(settings)?;
        let policy = listener::Policy { backlog: settings.backlog, socket_mode: settings.socket_mode, owner: None };
        let bind = |bind: &Bind| {
            let listener = Listener::bind(&bind.address, &policy)?;
            Ok::<_, Error>(listener.speaking(bind.protocol.unwrap_or(settings.protocol)))
        };
        let listeners = settings.bind.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        let mut policy = Policy::from(settings);
        policy.protocols = listeners.iter().map(Listener::protocol).collect();
        let (engine, letterbox) = Engine::new(&listeners, policy.connections, false, None).map_err(failed)?;
        let (bell, clapper) = UnixStream::pair().map_err(failed)?;
        bell.set_nonblocking(true).and_then(|()| clapper.set_nonblocking(true)).map_err(failed)?;
        engine.watch(bell.as_raw_fd(), BELL).and_then(|()| engine.start()).map_err(failed)?;
        let locals = listeners.iter().map(|listener| Arc::new(listener.local().clone())).collect();
        // Nobody else looks at it, and it is small.
        let slot: &'static Slot =
            sys::shared_slots(1).map_err(failed)?.first().ok_or_else(|| failed(io::ErrorKind::OutOfMemory.into()))?;
        slot.begin_threads(1);
        let access = AccessLog::open(settings)?.map(SharedAccessLog::new);
        let common = Common { policy, locals, slot, access, letterbox, lead: engine.lead(), alarm: None, threads: 1 };
        let world = World::new(application, 0, common);
        Ok(Self { engine, world, listeners, bell, clapper: Arc::new(clapper) })
    }

    /// The addresses that it listens on.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.listeners.iter().map(Listener::local)
    }

    /// Readable when a turn has something to do, other than the time.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.engine.fd()
    }

    /// Waits until something happens, at most as long as said, and handles it. Returns how many requests were answered
    /// so far.
    ///
    /// # Errors
    /// The system does not let it wait.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<u64> {
        if self.engine.turn(&mut self.world, timeout)?.watched & (1 << BELL) != 0 {
            // What rings again rings a new wait.
            while matches!(self.bell.read(&mut [0; 64]), Ok(1..)) {}
        }
        Ok(self.world.requests)
    }

    /// What ends a turn's wait, from any thread.
    pub fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.clapper))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        for listener in &self.listeners {
            // Whoever comes next may have to; there is nobody to tell.
            let _ = listener.unlink();
        }
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("listeners", &self.listeners).finish_non_exhaustive()
    }
}

/// Wakes an [`Embedded`] server.
#[derive(Clone, Debug)]
pub struct Waker(Arc<UnixStream>);

impl Waker {
    /// Ends the present or the next wait.
    pub fn wake(&self) {
        // If it is full, it rings already.
        let _ = (&*self.0).write(&[0]);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::app::{Handler, Request, Response};
    use crate::settings::BindAddress;

    #[test]
    fn a_program_serves_in_its_own_thread() {
        let settings = Settings {
            bind: vec![BindAddress::Tcp { host: "127.0.0.1".to_owned(), port: 0 }.into()],
            ..Settings::default()
        };
        let hello = Handler(|request: &Request<'_>| Response::text(format!("Hello, {}!", request.path())));
        let mut server = Embedded::new(&settings, Box::new(hello)).unwrap();
        let Some(Address::Ip(address)) = server.addresses().next().cloned() else { panic!("no address") };
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"GET /you HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        while server.turn(None).unwrap() == 0 {}
        let mut answer = [0; 4096];
        let length = client.read(&mut answer).unwrap();
        assert!(answer[..length].ends_with(b"Hello, /you!"));

        server.waker().wake();
        assert_eq!(server.turn(None).unwrap(), 1, "it did not wait for ever");
        assert_eq!(server.turn(Some(Duration::ZERO)).unwrap(), 1);
    }
}
