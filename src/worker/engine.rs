//! Readiness to connections.
//!
//! [`Engine::turn`] waits once and drives what has become ready. The engine can be embedded in a foreign event loop: its
//! [`fd`](Engine::fd) is readable when a turn has something to do, and a turn with a timeout of zero does not wait.
//!
//! The poll, the events that it has given and the connections lie in [`Core`] behind a lock; a connection is checked out
//! of it and driven outside the lock, so that another thread can run the engine while an application is being called.
//! Sockets are watched edge-triggered for everything, once: the readiness that a connection has noted is the only record
//! of an event.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use slab::Slab;

use super::connection::{Connection, Next};
use super::mailbox::{Content, Letterbox};
use super::peers::Crowded;
use super::pressure;
use super::timers::Wheel;
use super::world::World;
use crate::clock::Moment;
use crate::listener::Listener;

/// The letterbox.
const LETTERS: Token = Token(0);
/// What the worker itself watches: its channel and its signals.
const WATCHED: usize = 1;
/// The listeners, by index.
const LISTENERS: usize = 16;
/// The connections, by key.
const CONNECTIONS: usize = 4096;

/// Events that one wait takes.
const BATCH: usize = 256;

/// Connections that one wake of a listener takes: no more than are served before the next wait, so that idle siblings get
/// the others. To ask for one that is not there costs more than to be woken again.
const ACCEPTED_PER_WAKE: usize = 1;

/// After so many accepted connections the listeners are entered anew, behind the siblings': an exclusive wake-up goes to
/// whoever entered last, as a rule.
const REENTER: u32 = 64;

/// How long accepting pauses when the process has no descriptors left.
const STARVED: Duration = Duration::from_millis(250);

/// How often a full worker looks for connections that can be spared.
const BETWEEN_SHEDS: Duration = Duration::from_millis(100);

/// How often it is said that a worker is full.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// When lines that the access log's pipe or disk did not take are offered to it again.
const LOG_RETRY: Duration = Duration::from_millis(100);

/// One event that has not been handled.
#[derive(Clone, Copy, Debug)]
struct Ready {
    token: Token,
    readable: bool,
    read_closed: bool,
}

/// A place for a connection.
#[derive(Debug, Default)]
struct Place {
    /// `None` while it is checked out.
    connection: Option<Box<Connection>>,
    /// It is counted in [`Core::lingering`].
    lingering: bool,
}

#[derive(Debug)]
struct Core {
    poll: Poll,
    events: Events,
    ready: VecDeque<Ready>,
    again: VecDeque<usize>,
    connections: Slab<Place>,
    /// How many of them only wait for their peers to close, and so count for no limit.
    lingering: usize,
    timers: Wheel,
    expired: Vec<usize>,
    /// As of the last wait.
    now: Moment,
    accepting: Accepting,
    /// Connections accepted since the listeners were entered.
    accepted: u32,
    /// The listeners were left, perhaps after an exclusive wake-up that no sibling has had.
    swallowed: bool,
    /// When idle connections were last let go to make room.
    shed: Moment,
    /// When it was last said that there is no room.
    warned: Option<Moment>,
}

/// Whether the listeners are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    Yes,
    /// Full: until a connection ends.
    Full,
    /// No descriptors: until then.
    Starved(Moment),
    /// Never again.
    Ended,
}

/// The engine of a worker.
#[derive(Debug)]
pub(crate) struct Engine {
    core: Mutex<Core>,
    /// The poll's own epoll instance, for what mio cannot ask for.
    epoll: Epoll,
    entrances: Vec<Entrance>,
    limit: usize,
}

/// A listener, as a worker has it.
#[derive(Debug)]
struct Entrance {
    fd: OwnedFd,
    /// Others hold it, too: its queue is never empty for good.
    shared: bool,
}

/// What a turn came to, for the worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turned {
    /// Bit n: the descriptor watched as n is readable.
    pub(crate) watched: u8,
    /// Siblings must be told to [look](Engine::look) into the accept queues.
    pub(crate) swallowed: bool,
}

impl Engine {
    /// An engine that will accept from `listeners`, at most `limit` connections at a time; and its letterbox.
    pub(crate) fn new(listeners: &[Listener], limit: usize) -> io::Result<(Self, Arc<Letterbox>)> {
        let poll = Poll::new()?;
        let letterbox = Arc::new(Letterbox::new(mio::Waker::new(poll.registry(), LETTERS)?));
        let epoll = Epoll(crate::sys::duplicate(poll.as_raw_fd())?);
        let entrance = |listener: &Listener| -> io::Result<Entrance> {
            // Programs that had the socket before a reload may have made it wait.
            fcntl(listener, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            Ok(Entrance { fd: listener.as_fd().try_clone_to_owned()?, shared: listener.is_inherited() })
        };
        let entrances = listeners.iter().map(entrance).collect::<io::Result<Vec<_>>>()?;
        let core = Core {
            poll,
            events: Events::with_capacity(BATCH),
            ready: VecDeque::with_capacity(BATCH),
            again: VecDeque::new(),
            connections: Slab::new(),
            lingering: 0,
            timers: Wheel::new(crate::sys::now_coarse()),
            expired: Vec::new(),
            now: crate::sys::now_coarse(),
            accepting: Accepting::Ended,
            accepted: 0,
            swallowed: false,
            shed: Moment::default(),
            warned: None,
        };
        Ok((Self { core: Mutex::new(core), epoll, entrances, limit }, letterbox))
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        // Whoever panicked held no half-done change: nothing in a locked section calls foreign code.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Readable when a turn has something to do; for embedding in a foreign loop.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// Watches a descriptor of the worker's; turns report it as bit `number` (0 to 7).
    pub(crate) fn watch(&self, fd: RawFd, number: usize) -> io::Result<()> {
        self.core().poll.registry().register(&mut SourceFd(&fd), Token(WATCHED + number), Interest::READABLE)
    }

    /// Begins to accept.
    pub(crate) fn start(&self) -> io::Result<()> {
        let mut core = self.core();
        core.accepting = Accepting::Yes;
        self.enter_listeners()
    }

    fn enter_listeners(&self) -> io::Result<()> {
        for (index, entrance) in self.entrances.iter().enumerate() {
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
            match self.epoll.add(&entrance.fd, EpollEvent::new(flags, (LISTENERS + index) as u64)) {
                Ok(()) | Err(nix::Error::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn leave_listeners(&self) {
        for entrance in &self.entrances {
            // Fails where it was not entered, which is as good.
            let _ = self.epoll.delete(&entrance.fd);
        }
    }

    /// Connections that live.
    pub(crate) fn connections(&self) -> usize {
        self.core().connections.len()
    }

    /// Stops accepting and lets idle connections go. With `queue`, everything in the accept queues is taken first: nobody
    /// else will.
    pub(crate) fn drain(&self, world: &mut World, queue: bool) {
        world.draining = true;
        self.leave_listeners();
        {
            let mut core = self.core();
            core.accepting = Accepting::Ended;
            core.swallowed = true;
        }
        if queue {
            // What others hold, too, is theirs to empty, or waits for the next start.
            for (index, _) in self.entrances.iter().enumerate().filter(|(_, entrance)| !entrance.shared) {
                while let Ok(true) = self.accept(world, index) {}
            }
        }
        world.now = crate::sys::now();
        let keys: Vec<usize> = self.core().connections.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(mut connection) = self.check_out(key) else { continue };
            connection.begin_drain(world);
            self.check_in(key, connection, Next::Wait);
        }
    }

    /// Waits until something happens, at most as long as said, and handles it.
    ///
    /// # Errors
    /// The poll itself fails; that is a bug or the end of the machine's memory.
    pub(crate) fn turn(&self, world: &mut World, timeout: Option<Duration>) -> io::Result<Turned> {
        self.wait(world, timeout)?;
        let mut turned = Turned::default();
        let mut done = None;
        loop {
            let next = {
                let mut core = self.core();
                if let Some((key, connection, next)) = done.take() {
                    core.check_in(key, connection, next);
                }
                core.next_ready()
            };
            match next {
                None => break,
                Some(Due::Connection(key, mut connection)) => {
                    let next = connection.drive(world);
                    done = Some((key, connection, next));
                }
                Some(Due::Expired(key, mut connection)) => {
                    let next = match connection.deadline() {
                        Some(deadline) if deadline <= world.now => connection.expire(world),
                        _ => Next::Wait,
                    };
                    done = Some((key, connection, next));
                }
                Some(Due::Listener(index)) => self.accept_some(world, index),
                Some(Due::Letters) => self.read_letters(world),
                Some(Due::Watched(number)) => turned.watched |= 1 << number,
            }
        }
        self.resume_accepting(world);
        turned.swallowed = std::mem::take(&mut self.core().swallowed);
        if let Some(access) = &mut world.access {
            access.flush();
        }
        Ok(turned)
    }

    fn wait(&self, world: &mut World, timeout: Option<Duration>) -> io::Result<()> {
        let mut core = self.core();
        let core = &mut *core;
        let timeout = if core.again.is_empty() {
            let now = crate::sys::now_coarse();
            let starved = match core.accepting {
                Accepting::Starved(until) => Some(until.since(now)),
                Accepting::Full => Some(BETWEEN_SHEDS),
                _ => None,
            };
            let log = world.access.as_ref().filter(|access| access.is_waiting()).map(|_| LOG_RETRY);
            [timeout, core.timers.next(now), starved, log].into_iter().flatten().min()
        } else {
            Some(Duration::ZERO)
        };
        let mut polled = Ok(());
        world.application.idle(&mut || polled = core.poll.poll(&mut core.events, timeout));
        match polled {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        world.tick();
        core.ready.extend(core.events.iter().map(|event| Ready {
            token: event.token(),
            readable: event.is_readable(),
            read_closed: event.is_read_closed() || event.is_error(),
        }));
        for _ in 0..core.again.len() {
            let Some(key) = core.again.pop_front() else { break };
            core.ready.push_back(Ready { token: Token(CONNECTIONS + key), readable: false, read_closed: false });
        }
        core.now = world.now;
        core.timers.expired(world.now, &mut core.expired);
        Ok(())
    }

    fn accept_some(&self, world: &mut World, index: usize) {
        for _ in 0..ACCEPTED_PER_WAKE {
            if self.core().accepting != Accepting::Yes {
                return;
            }
            match self.accept(world, index) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    log::warn!("Cannot accept connections: {error}; trying again in {} ms", STARVED.as_millis());
                    let mut core = self.core();
                    core.accepting = Accepting::Starved(world.now + STARVED);
                    core.swallowed = true;
                    self.leave_listeners();
                    return;
                }
            }
        }
    }

    /// Accepts one connection and serves what it has sent already. `false` if there is none.
    fn accept(&self, world: &mut World, index: usize) -> io::Result<bool> {
        let Some(entrance) = self.entrances.get(index) else { return Ok(false) };
        let (socket, peer) = match crate::sys::accept(entrance.fd.as_fd()) {
            Ok(accepted) => accepted,
            Err(error) => {
                return match error.raw_os_error() {
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Err(error),
                    Some(libc::EAGAIN) => Ok(false),
                    // The peer was gone before it was accepted, or the like: the next one may be well.
                    Some(libc::ECONNABORTED | libc::EINTR | libc::EPROTO) => Ok(true),
                    _ => Ok(false),
                };
            }
        };
        let seat = match world.policy.seat(peer, world.now) {
            Ok(seat) => seat,
            Err(Crowded { limit, worth_telling }) => {
                if let (true, Some(peer)) = (worth_telling, peer) {
                    log::warn!("{} has all of its {limit} peer_connections: others are closed", peer.ip());
                }
                return Ok(true);
            }
        };
        let key = {
            let mut core = self.core();
            core.accepted += 1;
            core.connections.insert(Place::default())
        };
        let mut connection = Box::new(Connection::new(socket, peer, seat, index as u16, key, world));
        let next = connection.drive(world);
        self.check_in(key, connection, next);
        self.stay_below_limit(world);
        Ok(true)
    }

    /// Lets connections go that can be spared when there are nearly too many, and accepts no more when there are.
    fn stay_below_limit(&self, world: &mut World) {
        let spare = (self.limit / 16).max(1);
        let count = self.core().serving();
        if count + spare > self.limit || count >= self.limit {
            self.shed(world, spare);
        }
        let mut core = self.core();
        if core.serving() >= self.limit && core.accepting == Accepting::Yes {
            core.accepting = Accepting::Full;
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
        let victims = {
            let mut core = self.core();
            let all = core.connections.iter_mut();
            let there = all.filter_map(|(key, place)| Some((key, place.connection.as_deref_mut()?)));
            pressure::victims(there, &world.policy, world.now, count)
        };
        for key in victims {
            let Some(mut connection) = self.check_out(key) else { continue };
            let next = connection.give_way(world);
            self.check_in(key, connection, next);
        }
    }

    /// Looks into the accept queues at the next turn: whoever was woken for what is in them is gone, or will not accept it.
    pub(crate) fn look(&self) {
        if self.core().accepting == Accepting::Yes {
            self.leave_listeners();
            // To enter is to be told what is there. If that fails, the next turn tries again.
            if self.enter_listeners().is_err() {
                self.core().accepting = Accepting::Full;
            }
        }
    }

    /// Watches the listeners again when the reason not to has gone.
    fn resume_accepting(&self, world: &mut World) {
        let mut core = self.core();
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

    fn read_letters(&self, world: &mut World) {
        for letter in world.letterbox.empty() {
            let key = letter.ticket.key;
            let Some(mut connection) = self.check_out(key) else { continue };
            let mut next = Next::Wait;
            if connection.awaits(letter.ticket) {
                match letter.content {
                    Content::Answer(response) => connection.answer_later(world, letter.ticket, response),
                    Content::Elsewhere(target) => connection.go_elsewhere(world, letter.ticket, &target),
                    Content::More => {}
                }
                next = connection.drive(world);
            }
            self.check_in(key, connection, next);
        }
    }

    fn check_out(&self, key: usize) -> Option<Box<Connection>> {
        self.core().connections.get_mut(key)?.connection.take()
    }

    fn check_in(&self, key: usize, connection: Box<Connection>, next: Next) {
        self.core().check_in(key, connection, next);
    }
}

enum Due {
    Connection(usize, Box<Connection>),
    Expired(usize, Box<Connection>),
    Listener(usize),
    Letters,
    Watched(usize),
}

impl Core {
    /// Connections that count.
    fn serving(&self) -> usize {
        self.connections.len().saturating_sub(self.lingering)
    }

    fn remove(&mut self, key: usize) {
        if self.connections.try_remove(key).is_some_and(|place| place.lingering) {
            self.lingering -= 1;
        }
    }

    /// The next thing to handle of what the last wait gave.
    fn next_ready(&mut self) -> Option<Due> {
        while let Some(ready) = self.ready.pop_front() {
            let Token(token) = ready.token;
            if let Some(key) = token.checked_sub(CONNECTIONS) {
                // A connection that was dropped while its event waited has left an empty place.
                let Some(mut connection) = self.connections.get_mut(key).and_then(|place| place.connection.take())
                else {
                    continue;
                };
                connection.notice(ready.readable, ready.read_closed);
                return Some(Due::Connection(key, connection));
            }
            return Some(match token {
                0 => Due::Letters,
                LISTENERS.. => Due::Listener(token - LISTENERS),
                _ => Due::Watched(token - WATCHED),
            });
        }
        while let Some(key) = self.expired.pop() {
            let Some(place) = self.connections.get_mut(key) else { continue };
            // Else the entry is that of an earlier connection with this key.
            let due = |connection: &mut Box<Connection>| connection.armed.is_some_and(|armed| armed <= self.now);
            let Some(mut connection) = place.connection.take_if(due) else { continue };
            connection.armed = None;
            return Some(Due::Expired(key, connection));
        }
        None
    }

    fn check_in(&mut self, key: usize, mut connection: Box<Connection>, next: Next) {
        if next != Next::Close && !connection.registered {
            match watch(self.poll.registry(), connection.raw_fd(), key) {
                Ok(()) => connection.registered = true,
                Err(error) => {
                    log::error!("A connection cannot be watched: {error}");
                    self.remove(key);
                    return;
                }
            }
        }
        match next {
            Next::Close => {
                self.remove(key);
                return;
            }
            Next::Again => self.again.push_back(key),
            Next::Wait => {}
        }
        if let Some(deadline) = connection.deadline() {
            let due = self.timers.due(deadline);
            if connection.armed.is_none_or(|armed| due < armed) {
                self.timers.arm(key, deadline);
                connection.armed = Some(due);
            }
        }
        if let Some(place) = self.connections.get_mut(key) {
            if connection.is_lingering() && !std::mem::replace(&mut place.lingering, true) {
                self.lingering += 1;
            }
            place.connection = Some(connection);
        }
    }
}

fn watch(registry: &Registry, fd: RawFd, key: usize) -> io::Result<()> {
    registry.register(&mut SourceFd(&fd), Token(CONNECTIONS + key), Interest::READABLE | Interest::WRITABLE)
}
