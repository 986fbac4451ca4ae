//! Readiness to connections.
//!
//! [`Engine::turn`] waits once and drives what has become ready. The engine can be embedded in a foreign event loop: its
//! [`fd`](Engine::fd) is readable when a turn has something to do, and a turn with a timeout of zero does not wait.
//!
//! The poll, the events that it has given and the connections lie in [`Core`] behind a lock; a connection is checked out
//! of it and driven outside the lock, so that another thread can run the engine while an application is being called.
//! Sockets are watched edge-triggered for everything, once: the readiness that a connection has noted is the only record
//! of an event.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use nix::sys::epoll::Epoll;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::alarm::Alarm;
use super::connection::{Connection, Next, Watched};
use super::core::{Accepting, Batch, CONNECTIONS, Core, Done, Drain, Due, LETTERS, WATCHED};
use super::entrance::Entrance;
use super::handover::Handover;
use super::lead::Lead;
use super::mailbox::{Content, Letterbox};
use super::queue;
use super::world::World;
use crate::clock::Moment;
use crate::listener::Listener;

/// Events that one wait takes.
const BATCH: usize = 256;

/// After a wait of that length nothing was there when it began, and what it has told of is new. (Two ticks of a coarse clock:
/// one may pass in a wait that finds something at once.) A busy machine can make any wait that long, so that this is relied on
/// only where being wrong does not matter.
const SLEPT: Duration = Duration::from_millis(8);

/// When lines that the access log's pipe or disk did not take are offered to it again.
const LOG_RETRY: Duration = Duration::from_millis(100);

/// The engine of a worker, which its threads share.
#[derive(Debug)]
pub(crate) struct Engine {
    core: Mutex<Core>,
    poll: Poll,
    /// The poll's own epoll instance, for what mio cannot ask for.
    pub(super) epoll: Epoll,
    pub(super) lead: Arc<Lead>,
    letterbox: Arc<Letterbox>,
    /// Wakes the relief thread, if there is one.
    pub(super) alarm: Option<Arc<Alarm>>,
    pub(super) handover: Option<Handover>,
    pub(super) entrances: Vec<Entrance>,
    /// How many connections it may have.
    pub(super) limit: usize,
}

/// What a turn came to, for the worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turned {
    /// Bit n: the descriptor watched as n is readable.
    pub(crate) watched: u8,
    /// Siblings must be told to [look](Engine::look) into the accept queues.
    pub(crate) swallowed: bool,
    /// The listeners are not watched as they should be.
    astray: bool,
}

impl Turned {
    /// Notes what a turn that has nothing more to do leaves to others.
    fn take_from(&mut self, core: &mut Core, calls: bool) {
        self.swallowed |= std::mem::take(&mut core.swallowed);
        if calls {
            self.watched |= std::mem::take(&mut core.watched);
            self.astray = core.is_astray();
        }
    }
}

impl Engine {
    /// An engine that will accept from `listeners`, at most `limit` connections at a time; and its letterbox. With `relief`,
    /// a [relief thread](super::relief::start) must be started.
    pub(crate) fn new(
        listeners: &[Listener],
        limit: usize,
        relief: bool,
        handover: Option<Handover>,
    ) -> io::Result<(Self, Arc<Letterbox>)> {
        let poll = Poll::new()?;
        let letterbox = Arc::new(Letterbox::new(mio::Waker::new(poll.registry(), Token(LETTERS as usize))?));
        let epoll = Epoll(crate::sys::duplicate(poll.as_raw_fd())?);
        let entrances = listeners.iter().map(Entrance::new).collect::<io::Result<Vec<_>>>()?;
        let core = Mutex::new(Core::new(crate::sys::now_coarse()));
        let lead = Arc::new(Lead::new(!relief));
        let alarm = relief.then(Alarm::new).transpose()?.map(Arc::new);
        let engine =
            Self { core, poll, epoll, lead, letterbox: Arc::clone(&letterbox), alarm, handover, entrances, limit };
        Ok((engine, letterbox))
    }

    /// Who leads it.
    pub(crate) fn lead(&self) -> Arc<Lead> {
        Arc::clone(&self.lead)
    }

    /// What wakes the relief thread, if there is to be one.
    pub(crate) fn alarm(&self) -> Option<Arc<Alarm>> {
        self.alarm.clone()
    }

    /// Wakes whoever waits for readiness.
    pub(super) fn ring(&self) {
        self.letterbox.ring();
    }

    pub(super) fn core(&self) -> MutexGuard<'_, Core> {
        // Whoever panicked held no half-done change: nothing in a locked section calls foreign code.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Readable when a turn has something to do; for embedding in a foreign loop.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// Watches a descriptor of the worker's; turns report it as bit `number` (0 to 7).
    pub(crate) fn watch(&self, fd: RawFd, number: usize) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), Token(WATCHED as usize + number), Interest::READABLE)
    }

    /// Begins to accept.
    pub(crate) fn start(&self) -> io::Result<()> {
        let mut core = self.core();
        core.accepting = Accepting::Yes;
        self.enter_listeners()
    }

    /// Connections that live.
    pub(crate) fn connections(&self) -> usize {
        self.core().count()
    }

    /// Stops accepting and lets idle connections go: to other workers, if those go on. If none does, what was handed over before
    /// is taken still.
    pub(crate) fn drain(&self, world: &mut World, how: Drain) {
        self.lead.drain();
        world.draining = true;
        world.now = crate::sys::now();
        let deadline = world.now + world.policy.grace;
        {
            let mut core = self.core();
            core.accepting = Accepting::Ended;
            self.leave_listeners();
            core.swallowed = true;
            core.stops |= how != Drain::Retire;
            core.drain(deadline);
            if core.stops && self.enter_outlet().is_err() {
                log::debug!("What siblings have handed over is taken at the end only");
            }
        }
        if how == Drain::StopQueue {
            self.empty_queues(world);
        }
        let keys = self.core().keys();
        for key in keys {
            let Some(mut connection) = self.check_out(key) else { continue };
            if how == Drain::Retire {
                match self.hand_over_idle(connection) {
                    Some(kept) => connection = kept,
                    None => continue,
                }
            }
            connection.begin_drain(deadline);
            self.check_in(world, connection, Next::Wait);
        }
    }

    /// Has whoever leads drain.
    pub(crate) fn ask_drain(&self, how: Drain) {
        let mut core = self.core();
        core.asked = core.asked.max(Some(how));
        drop(core);
        self.letterbox.ring();
    }

    /// Waits until something happens, at most as long as said, and handles it.
    ///
    /// Where several threads do this, a turn may also begin with a sleep until the others leave this one something to do.
    ///
    /// # Errors
    /// The poll itself fails; that is a bug or the end of the machine's memory.
    pub(crate) fn turn(&self, world: &mut World, timeout: Option<Duration>) -> io::Result<Turned> {
        if !self.look_at_once(world)? {
            let (leads, relieved) = self.lead.begin_wait(world.thread);
            if relieved && let Some(alarm) = &self.alarm {
                alarm.set();
            }
            if leads {
                self.wait(world, timeout)?;
            } else {
                if self.core().has_work() {
                    self.letterbox.ring();
                }
                let World { application, lead, thread, .. } = world;
                application.idle(&mut || lead.sleep(*thread));
                world.tick(crate::sys::now_coarse());
            }
        }
        let mut turned = Turned::default();
        self.work(world, &mut turned);
        self.finish(world, &mut turned);
        Ok(turned)
    }

    /// Does all that is ready.
    pub(super) fn work(&self, world: &mut World, turned: &mut Turned) {
        let (mut done, mut batch) = (None, Batch::new());
        // What keeps a request or an answer too long is noticed by the relief thread alone.
        let burst = if self.alarm.is_some() { world.burst.length() } else { 1 };
        loop {
            if !world.after.is_empty() {
                // The answers before it do not wait for it.
                let late = give_back(&mut self.core(), &mut done, &mut batch);
                if late {
                    self.hurry(world);
                }
                world.end_after();
            }
            let (due, late) = {
                let mut core = self.core();
                let late = give_back(&mut core, &mut done, &mut batch);
                if batch.capacity() == 0 {
                    batch = core.lend_batch();
                }
                let due = core.next(world.calls, burst, &mut batch);
                world.crowded = burst > 1 && core.is_crowded();
                if due.is_none() {
                    core.take_back_batch(std::mem::take(&mut batch));
                    turned.take_from(&mut core, world.calls);
                }
                (due, late)
            };
            if late {
                self.hurry(world);
            }
            world.draining = self.lead.is_draining();
            world.leaving = self.lead.is_leaving();
            let (connection, next) = match due {
                None => return,
                Some(Due::Connection(mut connection)) => {
                    let next = connection.drive(world);
                    (connection, next)
                }
                Some(Due::Expired(mut connection)) => {
                    let next = match connection.deadline() {
                        Some(deadline) if deadline <= world.now => connection.expire(world),
                        _ => Next::Wait,
                    };
                    (connection, next)
                }
                Some(Due::Coming) => {
                    for (connection, _) in batch.iter_mut().flatten() {
                        connection.fetch(world);
                    }
                    continue;
                }
                Some(Due::Leaving) => {
                    self.have_leave(world, &mut batch);
                    continue;
                }
                Some(Due::Listener(index)) => {
                    self.accept_some(world, index);
                    continue;
                }
                Some(Due::Handed) => {
                    self.take_over(world);
                    continue;
                }
                Some(Due::Letters) => {
                    self.read_letters(world);
                    continue;
                }
                Some(Due::Watched(number)) => {
                    turned.watched |= 1 << number;
                    continue;
                }
            };
            done = self.put_down(world, connection, next);
        }
    }

    /// Has the answers of the batch leave.
    fn have_leave(&self, world: &mut World, batch: &mut Batch) {
        for done in batch {
            if let Some((mut connection, _)) = done.take() {
                let next = connection.leave(world);
                *done = self.put_down(world, connection, next);
            }
        }
    }

    /// Ends a turn.
    pub(super) fn finish(&self, world: &mut World, turned: &mut Turned) {
        if turned.astray {
            self.resume_accepting(world);
        }
        world.call.set_answered(world.requests);
        if let Some(access) = &world.access {
            access.lock().flush();
        }
    }

    fn wait(&self, world: &mut World, timeout: Option<Duration>) -> io::Result<()> {
        let log = world.access.as_ref().filter(|access| access.lock().is_waiting()).map(|_| LOG_RETRY);
        let mut begun = None;
        let unwatched;
        let timeout = {
            let mut core = self.core();
            unwatched = core.take_unwatched();
            if core.has_work() || core.watched != 0 {
                Some(Duration::ZERO)
            } else {
                let now = *begun.insert(crate::sys::now_coarse());
                let timeout = [timeout, core.next_timer(now), core.pause(now), log].into_iter().flatten().min();
                core.until = timeout.map(|timeout| now + timeout);
                world.slot.set_idle(Some(core.serving()));
                timeout
            }
        };
        let mut waited = Ok((0, world.now));
        // What has happened is the core's before anything else is waited for, such as an interpreter's lock.
        world.application.idle(&mut || waited = self.gather(timeout));
        world.has_idled(matches!(waited, Ok((2.., _))));
        world.slot.set_idle(None);
        let (count, now) = waited?;
        world.tick(now);
        if let Some(unwatched) = unwatched {
            world.earlier = world.earlier.min(unwatched);
        } else if begun.is_some_and(|begun| now.since(begun) >= SLEPT && !queue::is_worth_asking(world.earlier, begun))
        {
            world.earlier = now;
        }
        if count > 1 {
            self.balance(world);
        }
        Ok(())
    }

    /// Waits, as the leader.
    fn gather(&self, timeout: Option<Duration>) -> io::Result<(usize, Moment)> {
        let collected = self.collect(timeout);
        if self.lead.end_wait(!matches!(collected, Ok((0, _))))
            && let Some(alarm) = &self.alarm
        {
            alarm.set();
        }
        collected
    }

    /// Takes in what is there without a wait, by a leader who has just done so. Whether there was something.
    ///
    /// The lead is left as it is. If the relief thread takes it meanwhile, that is as if it did so after this.
    fn look_at_once(&self, world: &mut World) -> io::Result<bool> {
        if !world.spares_idling() || self.lead.is_relieved() || self.lead.is_parallel() {
            return Ok(false);
        }
        let mut events = [const { MaybeUninit::uninit() }; BATCH];
        let (events, now) = self.poll(&mut events, Some(Duration::ZERO))?;
        if events.is_empty() {
            return Ok(false);
        }
        let unwatched = {
            let mut core = self.core();
            core.gather(events, now);
            core.take_unwatched()
        };
        world.tick(now);
        world.earlier = unwatched.map_or(world.earlier, |unwatched| world.earlier.min(unwatched));
        if events.len() > 1 {
            self.balance(world);
        }
        Ok(true)
    }

    /// Takes in what has happened, and says how much, and when it has seen that.
    pub(super) fn collect(&self, timeout: Option<Duration>) -> io::Result<(usize, Moment)> {
        let mut events = [const { MaybeUninit::uninit() }; BATCH];
        let (events, now) = self.poll(&mut events, timeout)?;
        self.core().gather(events, now);
        Ok((events.len(), now))
    }

    /// Waits for what happens, and says when it has seen that.
    fn poll<'e>(
        &self,
        events: &'e mut [MaybeUninit<epoll::Event>],
        timeout: Option<Duration>,
    ) -> io::Result<(&'e [epoll::Event], Moment)> {
        let events = match epoll::wait(&self.epoll.0, events, milliseconds(timeout).as_ref()) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => &mut [],
            Err(error) => return Err(error.into()),
        };
        Ok((events, crate::sys::now_coarse()))
    }

    /// Has the leader wait anew: it waits for longer than it should, or something is left for it to do.
    pub(super) fn hurry(&self, world: &World) {
        if !self.lead.is_led_by(world.thread) {
            self.letterbox.ring();
        }
    }

    /// A connection has gone to another worker.
    pub(super) fn forget(&self, key: usize) {
        self.core().remove(key);
    }

    /// Makes a connection ready to be given back, or drops it: nothing that costs time is done with the core locked.
    fn put_down(&self, world: &mut World, mut connection: Box<Connection>, next: Next) -> Option<Done> {
        match next {
            Next::Close => {
                connection.break_off(world);
                return self.let_go(connection);
            }
            // It will be, when its answer leaves.
            Next::Join => return Some((connection, next)),
            _ => {}
        }
        let needed = connection.needs_watched();
        if connection.watched != needed
            && let Err(error) = self.watch_connection(&mut connection, needed)
        {
            log::error!("A connection cannot be watched: {error}");
            return self.let_go(connection);
        }
        Some((connection, next))
    }

    /// Drops a connection. Its place is there for as long as its socket is open.
    fn let_go(&self, connection: Box<Connection>) -> Option<Done> {
        let key = connection.key();
        drop(connection);
        self.forget(key);
        None
    }

    fn watch_connection(&self, connection: &mut Connection, needed: Watched) -> io::Result<()> {
        let token = Token(CONNECTIONS as usize + connection.key());
        let interest = match needed {
            Watched::Everything => Interest::READABLE | Interest::WRITABLE,
            Watched::Nothing | Watched::Reads => Interest::READABLE,
        };
        let (fd, registry) = (connection.raw_fd(), self.poll.registry());
        match connection.watched {
            Watched::Nothing => registry.register(&mut SourceFd(&fd), token, interest)?,
            Watched::Reads | Watched::Everything => registry.reregister(&mut SourceFd(&fd), token, interest)?,
        }
        connection.watched = needed;
        Ok(())
    }

    fn read_letters(&self, world: &mut World) {
        let asked = self.core().asked.take();
        if let Some(how) = asked {
            self.drain(world, how);
        }
        let (forwarded, kept) = {
            let mut core = self.core();
            (core.take_forwarded(), if world.calls { std::mem::take(&mut core.letters) } else { Vec::new() })
        };
        for letter in forwarded.into_iter().chain(kept).chain(world.letterbox.empty()) {
            let (Some(letter), Some(mut connection)) = self.core().deliver(letter) else { continue };
            let mut next = Next::Wait;
            if connection.awaits(letter.ticket) {
                match letter.content {
                    Content::Answer(response) => connection.answer_later(world, letter.ticket, response),
                    Content::Elsewhere(_) if !world.calls => {
                        self.core().letters.push(letter);
                        self.check_in(world, connection, Next::Wait);
                        continue;
                    }
                    Content::Elsewhere(target) => connection.go_elsewhere(world, letter.ticket, &target),
                    Content::More => {}
                }
                next = connection.drive(world);
            }
            self.check_in(world, connection, next);
        }
    }

    pub(super) fn check_out(&self, key: usize) -> Option<Box<Connection>> {
        self.core().check_out(key)
    }

    pub(super) fn check_in(&self, world: &mut World, connection: Box<Connection>, next: Next) {
        let Some(done) = self.put_down(world, connection, next) else { return };
        let late = self.core().take_back(done);
        if late {
            self.hurry(world);
        }
    }
}

/// Gives back what was taken. Whether the leader waits for too long now.
fn give_back(core: &mut Core, done: &mut Option<Done>, batch: &mut Batch) -> bool {
    let mut late = done.take().is_some_and(|done| core.take_back(done));
    for done in batch.drain(..).flatten() {
        late |= core.take_back(done);
    }
    late
}

/// As epoll_wait(2) wants it: whole milliseconds, rounded up.
fn milliseconds(timeout: Option<Duration>) -> Option<Timespec> {
    let milliseconds = i32::try_from(timeout?.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
    Some(Timespec { tv_sec: (milliseconds / 1000).into(), tv_nsec: (milliseconds % 1000 * 1_000_000).into() })
}
