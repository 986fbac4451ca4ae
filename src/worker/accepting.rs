//! Connections from the accept queues, and room for them.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::connection::{Connection, Next};
use super::core::{Accepting, BETWEEN_SHEDS, LISTENERS, REENTER};
use super::engine::Engine;
use super::handover::Handover;
use super::peers::Crowded;
use super::pressure;
use super::world::World;

/// Connections that one wake of a listener takes, at most, and only within the same tick of the clock: those that were there
/// before wait meanwhile. After one that stays and has been served, a worker takes no more while a sibling idles, which has been
/// woken, too, and no more than its share while all are busy: what came at once is served in turn, and not one by one while the
/// others go round.
const ACCEPTED_PER_WAKE: u32 = 32;

/// How long accepting pauses when the process has no descriptors left.
const STARVED: Duration = Duration::from_millis(250);

/// How often it is said that a worker is full.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// What has become of a connection in the accept queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepted {
    /// There was none.
    Nothing,
    /// It is one of the worker's now, and has sent nothing yet.
    Silent,
    /// It is one of the worker's now.
    Stays,
    /// It was served and is closed, or there is nobody any more.
    Gone,
}

impl Engine {
    pub(super) fn enter_listeners(&self) -> io::Result<()> {
        for (index, entrance) in self.entrances.iter().enumerate() {
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
            match self.epoll.add(&entrance.fd, EpollEvent::new(flags, LISTENERS + index as u64)) {
                Ok(()) | Err(nix::Error::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.enter_outlet()
    }

    pub(super) fn leave_listeners(&self) {
        if let Some(handover) = &self.handover {
            let _ = self.epoll.delete(handover.outlet());
        }
        for entrance in &self.entrances {
            // Fails where it was not entered, which is as good.
            let _ = self.epoll.delete(&entrance.fd);
        }
    }

    /// Accepts what a listener's wake was for.
    pub(super) fn accept_some(&self, world: &mut World, index: usize) {
        let woken = world.now;
        for taken in 0..ACCEPTED_PER_WAKE {
            let Some(key) = self.core().expect() else { return };
            let accepted = match self.accept(world, index, key) {
                Ok(accepted) => accepted,
                Err(error) => return self.starve(world, &error),
            };
            if taken == 1 {
                world.further.note(accepted != Accepted::Nothing);
            }
            // What comes behind one that is silent has hardly sent anything, either, and costs less once it has.
            let comes_early = matches!(accepted, Accepted::Nothing | Accepted::Silent);
            if comes_early || crate::sys::now_coarse() != woken {
                return;
            }
            // Of the two, only the second looks at the pages of others.
            if (taken == 0 && !world.further.begin()) || (accepted == Accepted::Stays && taken + 1 >= self.share(world))
            {
                return;
            }
        }
    }

    /// Accepts and serves all that has come before the server stops.
    pub(super) fn empty_queues(&self, world: &mut World) {
        // What others hold, too, is theirs to empty, or waits for the next start.
        for (index, _) in self.entrances.iter().enumerate().filter(|(_, entrance)| !entrance.shared) {
            loop {
                let key = self.core().insert();
                if matches!(self.accept(world, index, key), Ok(Accepted::Nothing) | Err(_)) {
                    break;
                }
            }
        }
    }

    /// How many connections that stay a wake may take, as siblings are now. A thread that makes no calls takes no more than it
    /// must.
    fn share(&self, world: &World) -> u32 {
        if !world.calls {
            return 1;
        }
        let siblings = self.handover.as_ref().map_or(Some(0), Handover::busy_siblings);
        siblings.map_or(1, |siblings| ACCEPTED_PER_WAKE / (siblings + 1))
    }

    /// Accepts no more for a while, as there are no descriptors left.
    pub(super) fn starve(&self, world: &World, error: &io::Error) {
        let mut core = self.core();
        if core.accepting == Accepting::Ended {
            return;
        }
        log::warn!("Cannot accept connections: {error}; trying again in {} ms", STARVED.as_millis());
        core.accepting = Accepting::Starved(world.now + STARVED);
        core.unwatched.get_or_insert(world.now);
        core.swallowed = true;
        self.leave_listeners();
    }

    /// The next connection of an accept queue; or that there was none, or nobody to serve.
    fn take_in(&self, world: &mut World, index: usize, key: usize) -> Result<Box<Connection>, io::Result<Accepted>> {
        let Some(entrance) = self.entrances.get(index) else { return Err(Ok(Accepted::Nothing)) };
        let (socket, peer) = match crate::sys::accept(entrance.fd.as_fd(), entrance.named) {
            Ok(accepted) => accepted,
            Err(error) => {
                return Err(match error.raw_os_error() {
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Err(error),
                    Some(libc::EAGAIN) => Ok(Accepted::Nothing),
                    // The peer was gone before it was accepted, or the like: the next one may be well.
                    Some(libc::ECONNABORTED | libc::EINTR | libc::EPROTO) => Ok(Accepted::Gone),
                    _ => Ok(Accepted::Nothing),
                });
            }
        };
        let local = world.locals.get(index).map(Arc::clone).ok_or(Err(io::ErrorKind::NotFound.into()))?;
        let protocol = world.policy.protocols.get(index).copied().unwrap_or_default();
        let seat = match world.policy.seat(peer, world.now) {
            Ok(seat) => seat,
            Err(Crowded { limit, worth_telling }) => {
                if let (true, Some(peer)) = (worth_telling, peer) {
                    log::warn!("{} has all of its {limit} peer_connections: others are closed", peer.ip());
                }
                return Err(Ok(Accepted::Gone));
            }
        };
        Ok(Box::new(Connection::new(socket, peer, seat, local, protocol, key, world)))
    }

    /// Accepts one connection, if there is one, to that place, and serves what it has sent already.
    fn accept(&self, world: &mut World, index: usize, key: usize) -> io::Result<Accepted> {
        let mut connection = match self.take_in(world, index, key) {
            Ok(connection) => connection,
            Err(none) => {
                self.forget(key);
                return none;
            }
        };
        let mut next = connection.drive(world);
        if connection.is_silent() && world.calls && !self.core().has_work() && world.yields.begin() {
            // There is nothing else to do but to wait for what the peer is about to send.
            std::thread::yield_now();
            next = connection.look_once_more(world);
            world.yields.note(!connection.is_silent());
        }
        let stays = if connection.is_silent() { Accepted::Silent } else { Accepted::Stays };
        self.check_in(world, connection, next);
        if next == Next::Close {
            return Ok(Accepted::Gone);
        }
        self.stay_below_limit(world);
        Ok(stays)
    }

    /// Lets connections go that can be spared when there are nearly too many, and accepts no more when there are.
    pub(super) fn stay_below_limit(&self, world: &mut World) {
        let spare = (self.limit / 16).max(1);
        let count = self.core().serving();
        if count + spare > self.limit || count >= self.limit {
            self.shed(world, spare);
        }
        let mut core = self.core();
        if core.serving() >= self.limit && core.accepting == Accepting::Yes {
            core.accepting = Accepting::Full;
            core.unwatched.get_or_insert(world.now);
            core.swallowed = true;
            self.leave_listeners();
            if core.warned.is_none_or(|warned| world.now.since(warned) > BETWEEN_WARNINGS) {
                core.warned = Some(world.now);
                log::warn!("All {} worker_connections are in use: others wait in the accept queue", self.limit);
            }
        }
    }

    /// Ends connections that do nothing or too little, as [`pressure`] chooses.
    fn shed(&self, world: &mut World, count: usize) {
        let victims = pressure::victims(self.core().connections(), &world.policy, world.now, count);
        for key in victims {
            let Some(mut connection) = self.check_out(key) else { continue };
            let next = connection.give_way(world);
            self.check_in(world, connection, next);
        }
    }

    /// Looks into the accept queues at the next turn: whoever was woken for what is in them is gone, or will not accept it.
    pub(crate) fn look(&self) {
        let core = self.core();
        if core.accepting == Accepting::Yes && !core.left {
            drop(core);
            self.leave_listeners();
            // To enter is to be told what is there. If that fails, the next turn tries again.
            if self.enter_listeners().is_err() {
                self.core().accepting = Accepting::Full;
            }
        }
    }

    /// Watches the listeners again when the reason not to has gone.
    pub(super) fn resume_accepting(&self, world: &mut World) {
        let mut core = self.core();
        if core.left {
            drop(core);
            self.step_forward();
            core = self.core();
        }
        let resume = match core.accepting {
            Accepting::Yes if core.accepted >= REENTER => {
                core.accepted = 0;
                self.leave_listeners();
                true
            }
            Accepting::Yes | Accepting::Ended => false,
            Accepting::Full if core.serving() < self.limit => true,
            Accepting::Full if world.now.since(core.shed) > BETWEEN_SHEDS => {
                core.shed = world.now;
                drop(core);
                self.shed(world, (self.limit / 8).max(1));
                core = self.core();
                core.serving() < self.limit
            }
            Accepting::Full => false,
            Accepting::Starved(until) => world.now >= until,
        };
        if resume {
            match self.enter_listeners() {
                Ok(()) => core.accepting = Accepting::Yes,
                Err(_) => core.accepting = Accepting::Starved(world.now + STARVED),
            }
        }
    }
}
