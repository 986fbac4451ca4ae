//! What all threads of an engine share: its connections, the events that have not been handled, the timers.
//!
//! Architecture invariant: it lies behind a lock, and nothing in here waits, drops a connection or runs foreign code.

use std::collections::VecDeque;
use std::time::Duration;

use rustix::event::epoll::{Event, EventFlags};
use slab::Slab;

use super::connection::{Connection, Next};
use super::mailbox::Letter;
use super::timers::Wheel;
use crate::clock::Moment;

// Tokens and keys are made of two halves.
const _: () = assert!(usize::BITS == 64);

/// The letterbox.
pub(crate) const LETTERS: u64 = 0;
/// What the worker itself watches: its channel and its signals.
pub(crate) const WATCHED: u64 = 1;
/// Connections that siblings hand over.
pub(crate) const HANDED: u64 = 15;
/// The listeners, by index.
pub(crate) const LISTENERS: u64 = 16;
/// The connections, by key.
pub(crate) const CONNECTIONS: u64 = 4096;

/// After so many accepted connections the listeners are entered anew, behind the siblings': an exclusive wake-up goes to
/// whoever entered last, as a rule.
pub(super) const REENTER: u32 = 64;

/// How often a full worker looks for connections that can be spared.
pub(super) const BETWEEN_SHEDS: Duration = Duration::from_millis(100);

/// One event that has not been handled.
#[derive(Clone, Copy, Debug)]
struct Ready {
    token: u64,
    readable: bool,
    read_closed: bool,
}

/// A place for a connection.
#[derive(Debug, Default)]
struct Place {
    /// `None` while it is checked out.
    connection: Option<Box<Connection>>,
    /// Tells its key from those of earlier connections in the same place.
    serial: u32,
    /// It is counted in [`Core::lingering`].
    lingering: bool,
    /// It is one of [`Core::offers`].
    offered: bool,
    /// What has happened while it was checked out.
    latch: Latch,
}

#[derive(Clone, Copy, Debug, Default)]
struct Latch {
    ready: bool,
    readable: bool,
    read_closed: bool,
    /// Its entry in the wheel was given out.
    expired: bool,
    drain: bool,
}

/// Whether the listeners are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepting {
    Yes,
    /// Full: until a connection ends.
    Full,
    /// No descriptors: until then.
    Starved(Moment),
    /// Never again.
    Ended,
}

/// How a worker drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Drain {
    /// Other workers go on.
    Retire,
    /// None does, but the accept queues are another server's as well.
    Stop,
    /// None does: what is in the accept queues is served first.
    StopQueue,
}

#[derive(Debug)]
pub(crate) struct Core {
    /// Complete requests that wait for an application thread; older than anything in `ready`.
    held: VecDeque<usize>,
    /// Requests that have come in part, for an application thread to see whether the application wants the rest as it comes.
    offers: VecDeque<usize>,
    ready: VecDeque<Ready>,
    /// Letters that only a thread can answer that may call the application.
    pub(crate) letters: Vec<Letter>,
    /// Letters that came while another thread had their connections.
    early: Vec<Letter>,
    /// Those of them that can be read now.
    forwarded: Vec<Letter>,
    /// Connections that were read from ahead of their turn. Neither these nor the joined are in their places, so that nothing
    /// else is done with them.
    fetched: VecDeque<Box<Connection>>,
    /// Connections whose answers leave together.
    joined: Batch,
    /// An empty one, kept for its memory.
    batch: Batch,
    /// Connections that gave others their turn.
    again: VecDeque<usize>,
    places: Slab<Place>,
    serial: u32,
    /// How many of them only wait for their peers to close, and so count for no limit.
    lingering: usize,
    timers: Wheel,
    expired: Vec<usize>,
    /// As of the last wait.
    now: Moment,
    /// Until when the leader waits, if nothing happens.
    pub(crate) until: Option<Moment>,
    pub(crate) accepting: Accepting,
    /// The relief thread has left the listeners.
    pub(crate) left: bool,
    /// Since when the listeners have not been watched, if they were not: what waits in them may be as old.
    pub(crate) unwatched: Option<Moment>,
    /// Connections accepted since the listeners were entered.
    pub(crate) accepted: u32,
    /// The listeners were left, perhaps after an exclusive wake-up that no sibling has had.
    pub(crate) swallowed: bool,
    /// Bit n: the descriptor watched as n is readable, and the worker was not told.
    pub(crate) watched: u8,
    /// When idle connections were last let go to make room.
    pub(crate) shed: Moment,
    /// When it was last said that there is no room.
    pub(crate) warned: Option<Moment>,
    /// The worker is to drain.
    pub(crate) asked: Option<Drain>,
    /// No other worker goes on.
    pub(crate) stops: bool,
    /// Deadline of idle connections, since the worker drains.
    drain: Option<Moment>,
}

/// The next thing to do.
pub(crate) enum Due {
    Connection(Box<Connection>),
    Expired(Box<Connection>),
    /// Those in the batch are to be [read from](Connection::fetch).
    Coming,
    /// The answers of those in the batch are to [leave](Connection::leave).
    Leaving,
    Listener(usize),
    Handed,
    Letters,
    Watched(u64),
}

/// A connection that a thread gives back before it takes the next thing, registered with the poll. A pair, as it is moved from
/// hand to hand in registers.
pub(crate) type Done = (Box<Connection>, Next);

/// Connections with which the same thing is done. `None` is one that was dropped on the way.
pub(crate) type Batch = Vec<Option<Done>>;

impl Core {
    pub(crate) fn new(now: Moment) -> Self {
        Self {
            held: VecDeque::new(),
            offers: VecDeque::new(),
            ready: VecDeque::new(),
            letters: Vec::new(),
            early: Vec::new(),
            forwarded: Vec::new(),
            fetched: VecDeque::new(),
            joined: Vec::new(),
            batch: Vec::new(),
            again: VecDeque::new(),
            places: Slab::new(),
            serial: 0,
            lingering: 0,
            timers: Wheel::new(now),
            expired: Vec::new(),
            now,
            until: None,
            accepting: Accepting::Ended,
            left: false,
            unwatched: None,
            accepted: 0,
            swallowed: false,
            watched: 0,
            shed: Moment::default(),
            warned: None,
            asked: None,
            stops: false,
            drain: None,
        }
    }

    /// Connections that live.
    pub(crate) fn count(&self) -> usize {
        self.places.len()
    }

    /// Connections that count.
    pub(crate) fn serving(&self) -> usize {
        self.places.len().saturating_sub(self.lingering)
    }

    /// Whether there is something to do without a wait.
    pub(crate) fn has_work(&self) -> bool {
        !(self.ready.is_empty()
            && self.held.is_empty()
            && self.offers.is_empty()
            && self.joined.is_empty()
            && self.fetched.is_empty()
            && self.again.is_empty()
            && self.expired.is_empty()
            && self.letters.is_empty()
            && self.forwarded.is_empty())
    }

    /// When the leader must wake for a deadline at the latest.
    pub(crate) fn next_timer(&self, now: Moment) -> Option<Duration> {
        self.timers.next(now)
    }

    /// Whether the listeners are not watched as they should be.
    pub(crate) fn is_astray(&self) -> bool {
        self.left
            || match self.accepting {
                Accepting::Yes => self.accepted >= REENTER,
                Accepting::Ended => false,
                Accepting::Full | Accepting::Starved(_) => true,
            }
    }

    /// For how long a worker that accepts nothing may wait before it looks again.
    pub(crate) fn pause(&self, now: Moment) -> Option<Duration> {
        match self.accepting {
            Accepting::Starved(until) => Some(until.since(now)),
            Accepting::Full => Some(BETWEEN_SHEDS),
            Accepting::Yes | Accepting::Ended => None,
        }
    }

    /// A place for a connection that is about to be accepted, unless that has ended or pauses. It is there before the
    /// connection is: a worker that drains on another thread waits for it.
    pub(crate) fn expect(&mut self) -> Option<usize> {
        if self.accepting != Accepting::Yes {
            return None;
        }
        self.accepted += 1;
        Some(self.insert())
    }

    /// A place for a connection that is checked out for the time being.
    pub(crate) fn insert(&mut self) -> usize {
        self.serial = self.serial.wrapping_add(1);
        let index = self.places.insert(Place { serial: self.serial, ..Place::default() });
        (self.serial as usize) << 32 | index
    }

    fn place(&mut self, key: usize) -> Option<&mut Place> {
        self.places.get_mut(index(key)).filter(|place| place.serial as usize == key >> 32)
    }

    pub(crate) fn check_out(&mut self, key: usize) -> Option<Box<Connection>> {
        self.place(key)?.connection.take()
    }

    /// The connection that a letter is for, and the letter. While another thread has it the letter is kept until it comes
    /// back; if it has gone, there is only a letter that is to be dropped outside the lock.
    pub(crate) fn deliver(&mut self, letter: Letter) -> (Option<Letter>, Option<Box<Connection>>) {
        let key = letter.ticket.key;
        let connection = self.check_out(key);
        if connection.is_none() && self.place(key).is_some() {
            self.early.push(letter);
            return (None, None);
        }
        (Some(letter), connection)
    }

    /// The letters whose connections have come back.
    pub(crate) fn take_forwarded(&mut self) -> Vec<Letter> {
        std::mem::take(&mut self.forwarded)
    }

    pub(crate) fn keys(&self) -> Vec<usize> {
        self.places.iter().map(|(index, place)| (place.serial as usize) << 32 | index).collect()
    }

    /// The connections that are not checked out.
    pub(crate) fn connections(&mut self) -> impl Iterator<Item = (usize, &mut Connection)> {
        let key = |index, place: &Place| (place.serial as usize) << 32 | index;
        self.places.iter_mut().filter_map(move |(index, place)| {
            let key = key(index, place);
            Some((key, place.connection.as_deref_mut()?))
        })
    }

    /// The connections that come in from now on get that deadline if they are idle, and those that are checked out as soon
    /// as they come back.
    pub(crate) fn drain(&mut self, deadline: Moment) {
        self.drain = Some(deadline);
        for (_, place) in &mut self.places {
            place.latch.drain = place.connection.is_none();
        }
    }

    /// Takes in what a wait has given.
    pub(crate) fn gather(&mut self, events: &[Event], now: Moment) {
        for event in events {
            let flags = event.flags;
            let has = |any| flags.intersects(any);
            let ready = Ready {
                token: event.data.u64(),
                readable: has(EventFlags::IN | EventFlags::PRI),
                read_closed: has(EventFlags::HUP | EventFlags::RDHUP | EventFlags::ERR),
            };
            if ready.token == HANDED {
                // What is in there has waited for longer than anything here.
                self.ready.push_front(ready);
            } else {
                self.ready.push_back(ready);
            }
        }
        self.requeue();
        self.now = now;
        self.timers.expired(now, &mut self.expired);
    }

    /// Since when the listeners had not been watched, once they are.
    pub(crate) fn take_unwatched(&mut self) -> Option<Moment> {
        if self.accepting == Accepting::Yes && !self.left { self.unwatched.take() } else { None }
    }

    /// Gives those their turn who gave it to others.
    pub(crate) fn requeue(&mut self) {
        for key in self.again.drain(..) {
            self.ready.push_back(Ready { token: CONNECTIONS + key as u64, readable: false, read_closed: false });
        }
    }

    /// Room for a batch.
    #[inline]
    pub(crate) fn lend_batch(&mut self) -> Batch {
        std::mem::take(&mut self.batch)
    }

    /// Takes that back when it is empty.
    pub(crate) fn take_back_batch(&mut self, batch: Batch) {
        self.batch = batch;
    }

    /// The next thing to do of what the last waits gave. Without `calls`, held requests are left where they are. As many as
    /// `burst` says are read from together; answers leave when there are as many, or when there is nothing else to do. Whom
    /// either is about is put into `batch`, which is empty.
    pub(crate) fn next(&mut self, calls: bool, burst: usize, batch: &mut Batch) -> Option<Due> {
        if (self.joined.len() >= burst || !calls)
            && let Some(due) = self.leave(batch)
        {
            return Some(due);
        }
        if let Some(connection) = self.fetched.pop_front() {
            return Some(Due::Connection(connection));
        }
        if calls && burst > 1 && self.held.is_empty() && self.offers.is_empty() && self.fetch(burst, batch) {
            return Some(Due::Coming);
        }
        self.next_coming(calls).or_else(|| self.leave(batch))
    }

    fn leave(&mut self, batch: &mut Batch) -> Option<Due> {
        std::mem::swap(&mut self.joined, batch);
        (!batch.is_empty()).then_some(Due::Leaving)
    }

    /// Whether there are several connections that can be read from before anything else is due.
    fn fetch(&mut self, most: usize, batch: &mut Batch) -> bool {
        let count = self.ready.iter().take(most).take_while(|ready| ready.token >= CONNECTIONS).count();
        if count < 2 {
            return false;
        }
        for _ in 0..count {
            if let Some(Due::Connection(connection)) = self.ready.pop_front().and_then(|ready| self.due(ready)) {
                batch.push(Some((connection, Next::Fetched)));
            }
        }
        !batch.is_empty()
    }

    /// Whether requests may be waiting, or answers.
    pub(crate) fn is_crowded(&self) -> bool {
        !(self.ready.is_empty() && self.held.is_empty() && self.joined.is_empty() && self.fetched.is_empty())
    }

    /// What an event is for, if that is still there.
    fn due(&mut self, ready: Ready) -> Option<Due> {
        let Some(key) = ready.token.checked_sub(CONNECTIONS) else {
            return Some(match ready.token {
                LETTERS => Due::Letters,
                HANDED => Due::Handed,
                LISTENERS.. => Due::Listener((ready.token - LISTENERS) as usize),
                _ => Due::Watched(ready.token - WATCHED),
            });
        };
        let key = key as usize;
        // A connection that was dropped while its event waited has left its place.
        let place = self.place(key)?;
        let Some(mut connection) = place.connection.take() else {
            place.latch.ready = true;
            place.latch.readable |= ready.readable;
            place.latch.read_closed |= ready.read_closed;
            return None;
        };
        connection.notice(ready.readable, ready.read_closed);
        Some(Due::Connection(connection))
    }

    fn next_coming(&mut self, calls: bool) -> Option<Due> {
        while calls && let Some(key) = self.held.pop_front() {
            if let Some(connection) = self.check_out(key) {
                return Some(Due::Connection(connection));
            }
        }
        while calls && let Some(key) = self.offers.pop_front() {
            let Some(place) = self.place(key) else { continue };
            place.offered = false;
            if let Some(connection) = place.connection.take() {
                return Some(Due::Connection(connection));
            }
        }
        if !self.forwarded.is_empty() || (calls && !self.letters.is_empty()) {
            return Some(Due::Letters);
        }
        while let Some(ready) = self.ready.pop_front() {
            if let Some(due) = self.due(ready) {
                return Some(due);
            }
        }
        while let Some(key) = self.expired.pop() {
            let now = self.now;
            let Some(place) = self.place(key) else { continue };
            if place.connection.is_none() {
                place.latch.expired = true;
                continue;
            }
            // Else the entry was made for an earlier deadline.
            let due = |connection: &mut Box<Connection>| connection.armed.is_some_and(|armed| armed <= now);
            let Some(mut connection) = place.connection.take_if(due) else { continue };
            connection.armed = None;
            return Some(Due::Expired(connection));
        }
        None
    }

    /// The oldest request that is held.
    pub(crate) fn next_held(&mut self) -> Option<Box<Connection>> {
        while let Some(key) = self.held.pop_front() {
            if let Some(connection) = self.check_out(key) {
                return Some(connection);
            }
        }
        None
    }

    /// Requests that are held.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// That one is the first to be served.
    pub(crate) fn hold_first(&mut self, key: usize) {
        self.held.push_front(key);
    }

    /// The latest of the connections that became ready and wait for their turn, if it may be handed over as it is.
    pub(crate) fn last_idle(&mut self) -> Option<Box<Connection>> {
        let ready = *self.ready.back()?;
        let key = ready.token.checked_sub(CONNECTIONS)? as usize;
        let place = self.place(key)?;
        let mut connection = place.connection.take_if(|connection| connection.is_portable())?;
        connection.notice(ready.readable, ready.read_closed);
        self.ready.pop_back();
        Some(connection)
    }

    /// Takes back what a thread had. Whether the leader waits for too long now.
    #[inline]
    pub(crate) fn take_back(&mut self, (connection, next): Done) -> bool {
        match next {
            Next::Fetched => self.fetched.push_back(connection),
            Next::Join => self.joined.push(Some((connection, next))),
            _ => return self.check_in(connection, next),
        }
        false
    }

    /// A connection that a thread had is none of the worker's any more.
    pub(crate) fn remove(&mut self, key: usize) {
        self.forward_letters(key);
        if self.place(key).is_some() && self.places.remove(index(key)).lingering {
            self.lingering -= 1;
        }
    }

    #[inline]
    fn forward_letters(&mut self, key: usize) {
        if !self.early.is_empty() {
            self.forwarded.extend(self.early.extract_if(.., |letter| letter.ticket.key == key));
        }
    }

    // Not in line, so that what is before it can be.
    #[inline(never)]
    fn check_in(&mut self, mut connection: Box<Connection>, next: Next) -> bool {
        let key = connection.key();
        self.forward_letters(key);
        let (drain, until) = (self.drain, self.until);
        let Some(place) = self.place(key) else {
            debug_assert!(false, "a connection without a place");
            return false;
        };
        let latch = std::mem::take(&mut place.latch);
        if latch.expired {
            connection.armed = None;
        }
        if latch.drain
            && let Some(deadline) = drain
        {
            connection.begin_drain(deadline);
        }
        let lingers = connection.is_lingering() && !std::mem::replace(&mut place.lingering, true);
        if latch.ready {
            connection.notice(latch.readable, latch.read_closed);
        }
        let mut late = false;
        let deadline = connection.deadline();
        let due = deadline.map(|deadline| (deadline, self.timers.due(deadline)));
        if let Some((deadline, due)) = due
            && connection.armed.is_none_or(|armed| due < armed)
        {
            self.timers.arm(key, deadline);
            connection.armed = Some(due);
            late = until.is_none_or(|until| due < until);
        }
        if let Some(place) = self.place(key) {
            place.connection = Some(connection);
            let offers = next == Next::Offer && !std::mem::replace(&mut place.offered, true);
            if offers {
                self.offers.push_back(key);
            }
        }
        self.lingering += usize::from(lingers);
        match next {
            Next::Again => self.again.push_back(key),
            Next::Hold => self.held.push_back(key),
            Next::Wait | Next::Offer if latch.ready => {
                self.ready.push_back(Ready {
                    token: CONNECTIONS + key as u64,
                    readable: latch.readable,
                    read_closed: latch.read_closed,
                });
            }
            Next::Wait | Next::Offer | Next::Join | Next::Fetched | Next::Close => {}
        }
        late
    }
}

fn index(key: usize) -> usize {
    key & 0xFFFF_FFFF
}
