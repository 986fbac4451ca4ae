//! The connections of a worker to FastCGI programs, on the pump's thread: which request goes over which, and when. What
//! happens to it there is in `exchanges`.
//!
//! ```text
//!   Order::Ask -> choose: the least busy upstream --> a kept connection, or connect
//!                   |  all are full                        | write the request, read records
//!                   v                                      v
//!                 queue                      Head -> First ---- END ----> answer at once, keep the connection
//!                                                      |
//!                                                      +-- EAGAIN --> Body: its Source reads, and gives it back
//! ```

mod exchanges;

use std::collections::VecDeque;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use slab::Slab;

use super::answer::STEP;
use super::choice::choose;
use super::exchange::{Connection, Phase};
use super::order::{EXITED, Order, SOCKET, STDERR};
use super::request::Job;
use super::upstream::{Program, Upstream};
use crate::app::pump::{self, Duty, Handle, Orders, Wants, Watch};

/// How soon a full accept queue is tried again.
const AGAIN: Duration = Duration::from_millis(20);

/// How many connections there may be, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// To one upstream.
    pub(super) connections: usize,
    /// Requests that wait.
    pub(super) backlog: usize,
    /// How long a program may be silent, and a request wait.
    pub(super) timeout: Duration,
    /// How long an idle connection is kept; `None` is for ever, zero not at all.
    pub(super) keepalive: Option<Duration>,
}

/// The upstreams of a worker and its connections to them.
pub(super) struct Pool {
    orders: Arc<Orders<Order>>,
    limits: Limits,
    upstreams: Vec<Upstream>,
    connections: Slab<Connection>,
    queue: VecDeque<Box<Job>>,
    serial: u64,
    /// The upstream that was chosen last.
    last: usize,
    buffer: Vec<u8>,
    /// Nothing is due before.
    earliest: Option<Instant>,
    stopped: bool,
    /// Dropped when all programs have gone.
    stopping: Option<Sender<()>>,
}

impl Pool {
    pub(super) fn new(orders: Arc<Orders<Order>>, upstreams: Vec<Upstream>, limits: Limits) -> Self {
        Self {
            orders,
            limits,
            upstreams,
            connections: Slab::new(),
            queue: VecDeque::new(),
            serial: 0,
            last: 0,
            buffer: vec![0; STEP],
            earliest: Some(Instant::now()),
            stopping: None,
            stopped: false,
        }
    }

    fn id(&self, key: usize) -> Handle {
        Handle { key, serial: self.connections.get(key).map_or(0, |connection| connection.serial) }
    }

    fn due_by(&mut self, due: Instant) {
        self.earliest = Some(self.earliest.map_or(due, |earliest| earliest.min(due)));
    }

    fn set_due(&mut self, key: usize, due: Instant) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.due = Some(due);
            self.due_by(due);
        }
    }

    /// Gives a request to an upstream, has it wait, or refuses it.
    fn ask(&mut self, job: Box<Job>, now: Instant) {
        let waits = if self.queue.is_empty() || !job.tried.is_empty() { self.place(job, now) } else { Some(job) };
        match waits {
            Some(job) if self.queue.len() < self.limits.backlog => self.enqueue(job, now),
            Some(job) => {
                log::warn!("{} is refused: all connections are busy, and {} requests wait", job.name, self.queue.len());
                job.refuse(503);
            }
            None => {}
        }
    }

    fn enqueue(&mut self, job: Box<Job>, now: Instant) {
        self.due_by(job.since + self.limits.timeout);
        if let Some(until) =
            self.upstreams.iter().filter_map(|upstream| upstream.until).filter(|until| *until > now).min()
        {
            self.due_by(until);
        }
        self.queue.push_back(job);
    }

    /// Gives requests that wait to upstreams that have become free.
    fn advance(&mut self, now: Instant) {
        while let Some(mut job) = self.queue.pop_front() {
            if let Some(later) = job.later.take_if(|later| pump::is_abandoned(later, job.since)) {
                log::debug!("{} is not asked for: its client has gone", job.name);
                later.send(pump::to_nobody());
            } else if let Some(job) = self.place(job, now) {
                self.queue.push_front(job);
                return;
            }
        }
    }

    /// Sends a request to the least busy upstream; returns it if all are too busy.
    fn place(&mut self, mut job: Box<Job>, now: Instant) -> Option<Box<Job>> {
        loop {
            let Some(upstream) = choose(&self.upstreams, &job.tried, self.limits.connections, self.last, now) else {
                let full = self.upstreams.iter().enumerate().any(|(index, upstream)| {
                    !job.tried.contains(&index)
                        && (!upstream.has_room(self.limits.connections) || upstream.is_starting())
                });
                if full {
                    return Some(job);
                }
                log::error!("{}: no FastCGI program answers", job.name);
                job.refuse(502);
                return None;
            };
            self.last = upstream;
            if let Some(key) = self.idle_connection(upstream) {
                self.begin(key, job, now);
                return None;
            }
            match self.connect(upstream) {
                Ok(key) => {
                    self.begin(key, job, now);
                    return None;
                }
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                    // Its accept queue is full, which is no failure: it is only busy.
                    self.due_by(now + AGAIN);
                    return Some(job);
                }
                Err(error) => {
                    let Some(upstream) = self.upstreams.get_mut(upstream) else { return Some(job) };
                    log::error!("Cannot connect to {upstream}: {error}");
                    upstream.penalize(now);
                    job.tried.push(self.last);
                }
            }
        }
    }

    /// A kept connection that the program has not closed.
    fn idle_connection(&mut self, upstream: usize) -> Option<usize> {
        loop {
            let mut idle = self
                .connections
                .iter()
                .filter(|(_, connection)| connection.upstream == upstream && connection.exchange.is_none());
            let (key, connection) = idle.next()?;
            let mut byte = [0];
            let peeked = recv(connection.socket.as_raw_fd(), &mut byte, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
            if peeked == Err(Errno::EAGAIN) {
                return Some(key);
            }
            self.connections.remove(key);
        }
    }

    fn connect(&mut self, upstream: usize) -> std::io::Result<usize> {
        let Some(target) = self.upstreams.get(upstream) else { return Err(std::io::ErrorKind::NotFound.into()) };
        let (socket, connected) = target.connect()?;
        self.serial += 1;
        let key = self.connections.insert(Connection {
            serial: self.serial,
            upstream,
            socket: Arc::new(socket),
            connected,
            fresh: true,
            due: None,
            exchange: None,
        });
        let id = self.id(key);
        let Some(connection) = self.connections.get(key) else { return Err(std::io::ErrorKind::NotFound.into()) };
        let wants = if connected { Wants::Read } else { Wants::Write };
        if let Err(error) = self.orders.watch().add(&*connection.socket, id.token(SOCKET), wants) {
            self.connections.remove(key);
            return Err(error);
        }
        Ok(key)
    }

    fn expire_queue(&mut self, now: Instant) {
        while let Some(job) = self.queue.front() {
            if now < job.since + self.limits.timeout {
                return;
            }
            if let Some(job) = self.queue.pop_front() {
                log::warn!("{} is refused: no FastCGI program was free in time", job.name);
                job.refuse(503);
            }
        }
    }

    /// Starts programs that do not run and may.
    fn start_programs(&mut self, now: Instant) {
        for index in 0..self.upstreams.len() {
            let Some(upstream) = self.upstreams.get_mut(index) else { return };
            let Some(program) = &mut upstream.program else { continue };
            if program.watched().is_some() || self.stopping.is_some() || self.stopped {
                continue;
            }
            if let Some(until) = upstream.until.filter(|until| *until > now) {
                self.due_by(until);
                continue;
            }
            let started = program.start(now).and_then(|()| {
                let Some((pidfd, stderr)) = program.watched() else { return Ok(()) };
                let watch = self.orders.watch();
                watch.add(pidfd, pump::token(index, EXITED), Wants::Read)?;
                stderr.map_or(Ok(()), |stderr| watch.add(stderr, pump::token(index, STDERR), Wants::Read))
            });
            if let Err(error) = started {
                log::error!("{program} cannot be run: {error}");
                program.kill();
                upstream.penalize(now);
                if let Some(until) = upstream.until {
                    self.due_by(until);
                }
            }
        }
    }

    fn program_wrote(&mut self, index: usize) {
        let Some(program) = self.upstreams.get_mut(index).and_then(|upstream| upstream.program.as_mut()) else {
            return;
        };
        if program.read_stderr(&mut self.buffer, Instant::now())
            && let Some((_, Some(stderr))) = program.watched()
        {
            // If that fails, what it writes is not logged.
            let _ = self.orders.watch().again(stderr, pump::token(index, STDERR), Wants::Read);
        }
    }

    fn program_exited(&mut self, index: usize) {
        let now = Instant::now();
        self.program_wrote(index);
        // What it has still sent is read before its connection ends.
        let keys: Vec<usize> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.upstream == index)
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            self.socket_ready(key);
        }
        let Some(upstream) = self.upstreams.get_mut(index) else { return };
        let Some(program) = &mut upstream.program else { return };
        match program.reap(now) {
            Some(true) => upstream.penalize(now),
            Some(false) => upstream.forgive(),
            None => {
                if let Some((pidfd, _)) = program.watched() {
                    let _ = self.orders.watch().again(pidfd, pump::token(index, EXITED), Wants::Read);
                }
                return;
            }
        }
        self.look_at_end();
        self.start_programs(now);
        self.advance(now);
    }

    /// Tells whoever has stopped the programs that they have gone, if they have.
    fn look_at_end(&mut self) {
        let mut programs = self.upstreams.iter().filter_map(|upstream| upstream.program.as_ref());
        if programs.all(|program| program.watched().is_none()) {
            self.stopped |= self.stopping.take().is_some();
        }
    }
}

impl Duty for Pool {
    type Order = Order;

    fn take(&mut self, order: Order, _: &Watch) {
        match order {
            Order::Warm => {}
            Order::Ask(job) => {
                self.start_programs(Instant::now());
                self.ask(job, Instant::now());
            }
            Order::Arrived(id) => {
                let is_it = |connection: &&Connection| connection.serial == id.serial && connection.connected;
                if self.connections.get(id.key).filter(is_it).is_some() {
                    self.write(id.key);
                }
            }
            Order::Returned { connection: id, ended, decoder } => {
                let Some(connection) = self.connections.get_mut(id.key) else { return };
                let Some(exchange) = connection.exchange.as_mut().filter(|_| connection.serial == id.serial) else {
                    return;
                };
                let owned = self.upstreams.get(connection.upstream).is_some_and(|upstream| upstream.program.is_some());
                if ended || !owned {
                    return self.release(id.key, ended);
                }
                // One of our own is busy until its program says that it is done, whoever listens.
                exchange.decoder = *decoder;
                exchange.phase = Phase::Dropped;
                self.set_due(id.key, Instant::now() + self.limits.timeout);
                self.read(id.key);
            }
            Order::Stop(gone) => {
                self.stopping = Some(gone);
                let programs = self.upstreams.iter_mut().filter_map(|upstream| upstream.program.as_mut());
                programs.for_each(Program::terminate);
                self.look_at_end();
            }
        }
    }

    fn ready(&mut self, index: usize, kind: u64, _: &Watch) {
        match kind {
            SOCKET => self.socket_ready(index),
            STDERR => self.program_wrote(index),
            _ => self.program_exited(index),
        }
    }

    fn tend(&mut self, now: Instant, _: &Watch) -> Option<Instant> {
        if self.earliest.is_some_and(|earliest| earliest <= now) {
            self.earliest = None;
            self.start_programs(now);
            let keys: Vec<usize> = self.connections.iter().map(|(key, _)| key).collect();
            for key in keys {
                self.look_at(key, now);
            }
            self.advance(now);
            self.expire_queue(now);
            let of_connections = self.connections.iter().filter_map(|(_, connection)| connection.due).min();
            let of_queue = self.queue.front().map(|job| job.since + self.limits.timeout);
            self.earliest = [self.earliest, of_connections, of_queue].into_iter().flatten().min();
        }
        self.earliest
    }
}
