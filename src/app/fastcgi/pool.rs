//! The connections of a worker to FastCGI programs, on the pump's thread.
//!
//! ```text
//!   Order::Ask -> choose: the least busy upstream --> a kept connection, or connect
//!                   |  all are full                        | write the request, read records
//!                   v                                      v
//!                 queue                      Head -> First ---- END ----> answer at once, keep the connection
//!                                                      |
//!                                                      +-- EAGAIN --> Body: its Source reads, and gives it back
//! ```

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::task::Waker;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, getsockopt, recv, send, sockopt};
use slab::Slab;

use super::answer::{Answer, STEP};
use super::choice::choose;
use super::decoder::Decoder;
use super::exchange::{Connection, Exchange, Phase, whole};
use super::order::{Arrival, EXITED, Order, SOCKET, STDERR};
use super::request::{Job, Next, Progress};
use super::upstream::{Program, Upstream};
use crate::app::cgi::head::HeadBuffer;
use crate::app::cgi::lines::Lines;
use crate::app::cgi::output::{is_unsent, unsent};
use crate::app::pump::{self, Duty, Flow, Handle, Orders, Wants, Watch};
use crate::app::{Body, Response};
use crate::protocol::fastcgi::record::ProtocolStatus;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How soon a full accept queue is tried again.
const AGAIN: Duration = Duration::from_millis(20);

/// How often a request is sent in vain before that is told.
const ATTEMPTS: u8 = 3;

/// The most that is collected before an answer begins, in the hope that it has ended by then.
const COLLECTED: usize = 256 * 1024;

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

    fn begin(&mut self, key: usize, mut job: Box<Job>, now: Instant) {
        let id = self.id(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(upstream) = self.upstreams.get_mut(connection.upstream) else { return };
        upstream.busy += 1;
        let keeps = upstream.program.is_some() || self.limits.keepalive != Some(Duration::ZERO);
        job.message.keep(keeps);
        let lines = Lines::new(format!("{} of {upstream}", job.name), now);
        let waker = if job.message.is_streamed() {
            Arc::new(Arrival { orders: Arc::clone(&self.orders), connection: id }).into()
        } else {
            Waker::noop().clone()
        };
        connection.exchange = Some(Exchange {
            job,
            progress: Progress::default(),
            writing: Arc::new(AtomicBool::new(true)),
            sent: false,
            awaits_client: false,
            waker,
            decoder: Decoder::default(),
            answered: false,
            lines: Some(lines),
            phase: Phase::Head(HeadBuffer::default()),
        });
        let connected = connection.connected;
        self.set_due(key, now + if connected { self.limits.timeout } else { CONNECT });
        if connected {
            self.write(key);
        }
    }

    /// Sends what the socket takes.
    fn write(&mut self, key: usize) {
        let id = self.id(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(exchange) = &mut connection.exchange else { return };
        exchange.awaits_client = false;
        let streamed = exchange.job.message.is_streamed();
        let more = loop {
            let next = match exchange.progress.next(&mut exchange.job.message, &exchange.waker) {
                Ok(Next::Bytes(next)) => next,
                Ok(Next::Pending) => {
                    exchange.awaits_client = true;
                    break false;
                }
                Ok(Next::End) => {
                    exchange.sent = true;
                    break false;
                }
                Err(error) if streamed => {
                    log::debug!("{}: {error}", exchange.name());
                    return self.give_up(key, 502);
                }
                Err(error) => {
                    log::error!("{}: the body of the request cannot be read: {error}", exchange.job.name);
                    return self.broken(key, "its request could not be sent whole");
                }
            };
            match send(connection.socket.as_raw_fd(), next, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT) {
                Ok(count) => {
                    exchange.progress.advance(&exchange.job.message, count);
                    if streamed {
                        // It could not answer before it had this.
                        connection.due = Some(Instant::now() + self.limits.timeout);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break true,
                // What it has said before it closed is still to be read.
                Err(_) => break false,
            }
        };
        exchange.writing.store(more, Ordering::Release);
        // While a source reads, it says itself when it waits.
        let reads = match &exchange.phase {
            Phase::Body(flow) => flow.waiting().is_some(),
            _ => true,
        };
        let wants = match (more, reads) {
            (true, true) => Wants::Both,
            (true, false) => Wants::Write,
            (false, true) => Wants::Read,
            (false, false) => return,
        };
        self.watch_again(key, id, wants);
    }

    fn watch_again(&mut self, key: usize, id: Handle, wants: Wants) {
        let Some(connection) = self.connections.get(key) else { return };
        if let Err(error) = self.orders.watch().again(&*connection.socket, id.token(SOCKET), wants) {
            log::error!("A connection to a FastCGI program cannot be waited for: {error}");
            self.broken(key, "it could not be waited for");
        }
    }

    /// The socket is ready.
    fn socket_ready(&mut self, key: usize) {
        let now = Instant::now();
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(exchange) = &connection.exchange else {
            // Nothing is expected of an idle connection but its end.
            self.connections.remove(key);
            return;
        };
        if !connection.connected {
            let error = getsockopt(&connection.socket.as_fd(), sockopt::SocketError).unwrap_or(libc::EIO);
            if error != 0 {
                return self.unreachable(key, &Errno::from_raw(error).to_string(), now);
            }
            connection.connected = true;
            self.set_due(key, now + self.limits.timeout);
            return self.write(key);
        }
        if let Phase::Body(flow) = &exchange.phase {
            flow.wake();
        } else {
            self.read(key);
        }
        let writing = |connection: &Connection| {
            connection.exchange.as_ref().is_some_and(|exchange| exchange.writing.load(Ordering::Acquire))
        };
        if self.connections.get(key).is_some_and(writing) {
            self.write(key);
        }
    }

    fn read(&mut self, key: usize) {
        loop {
            let id = self.id(key);
            let Some(connection) = self.connections.get_mut(key) else { return };
            let Some(exchange) = &mut connection.exchange else { return };
            let count = match pump::read(connection.socket.as_fd(), &mut self.buffer) {
                Ok(0) => return self.broken(key, "it has closed the connection"),
                Ok(count) => count,
                Err(Errno::EAGAIN) => {
                    let begin = matches!(exchange.phase, Phase::First(..));
                    let wants = if exchange.writing.load(Ordering::Acquire) { Wants::Both } else { Wants::Read };
                    self.watch_again(key, id, wants);
                    if begin {
                        self.begin_body(key);
                    }
                    return;
                }
                Err(error) => return self.broken(key, error.desc()),
            };
            exchange.answered = true;
            connection.due = Some(Instant::now() + self.limits.timeout);
            let bytes = self.buffer.get(..count).unwrap_or_default();
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            let end = exchange.decoder.push(bytes, &mut stdout, &mut stderr);
            if let (Some(lines), false) = (&mut exchange.lines, stderr.is_empty()) {
                lines.push(&stderr, Instant::now());
            }
            if let Err(fault) = exchange.take_output(&stdout) {
                return self.broken(key, &fault.to_string());
            }
            match end {
                Ok(None) => {
                    if matches!(&exchange.phase, Phase::First(_, body) if body.len() >= COLLECTED) {
                        // Its source reads on, and asks to be woken.
                        return self.begin_body(key);
                    }
                }
                Ok(Some(end)) => return self.ended(key, end.status),
                Err(_) => return self.broken(key, "what it sends is no FastCGI"),
            }
        }
    }

    /// Answers, and leaves the rest to whoever sends it.
    fn begin_body(&mut self, key: usize) {
        let id = self.id(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(exchange) = &mut connection.exchange else { return };
        let Phase::First(response, body) = std::mem::replace(&mut exchange.phase, Phase::Dropped) else { return };
        let Some(later) = exchange.job.later.take() else { return };
        if is_unsent(&response, exchange.job.bodiless) {
            return later.send(unsent(*response));
        }
        let flow = Flow::new(None);
        exchange.phase = Phase::Body(Arc::clone(&flow));
        let lines = exchange.lines.take();
        let source = Answer {
            first: body,
            socket: Arc::clone(&connection.socket),
            decoder: std::mem::take(&mut exchange.decoder),
            lines: lines.unwrap_or_else(|| Lines::new(exchange.job.name.clone(), Instant::now())),
            flow,
            orders: Arc::clone(&self.orders),
            connection: id,
            buffer: Vec::new(),
            writing: Arc::clone(&exchange.writing),
            ended: false,
        };
        later.send(response.with_body(Body::Source(Box::new(source))));
    }

    /// The program has said that the request is over.
    fn ended(&mut self, key: usize, status: ProtocolStatus) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(exchange) = &mut connection.exchange else { return };
        let upstream = connection.upstream;
        let later = exchange.job.later.take();
        match (std::mem::replace(&mut exchange.phase, Phase::Dropped), later) {
            (Phase::First(response, _), Some(later)) if is_unsent(&response, exchange.job.bodiless) => {
                later.send(unsent(*response));
            }
            (Phase::First(response, body), Some(later)) => later.send(whole(*response, body)),
            (Phase::Head(_), Some(later))
                if matches!(status, ProtocolStatus::Overloaded | ProtocolStatus::CannotMultiplex)
                    && !exchange.has_used_up_body() =>
            {
                exchange.job.later = Some(later);
                return self.try_another(key, "it is overloaded");
            }
            (Phase::Head(head), Some(later)) => {
                log::error!("{}: {}", exchange.name(), head.ended());
                later.send(Response::error(502));
            }
            _ => {}
        }
        if let Some(upstream) = self.upstreams.get_mut(upstream) {
            upstream.forgive();
        }
        self.release(key, true);
    }

    /// A connection is free again, or of no use any more.
    fn release(&mut self, key: usize, usable: bool) {
        let now = Instant::now();
        let id = self.id(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        let exchange = connection.exchange.take();
        let sent = exchange.as_ref().is_none_or(|exchange| exchange.sent);
        if let Some(mut lines) = exchange.and_then(|exchange| exchange.lines) {
            lines.finish(now);
        }
        let Some(upstream) = self.upstreams.get_mut(connection.upstream) else { return };
        upstream.busy = upstream.busy.saturating_sub(1);
        let owned = upstream.program.is_some();
        let keepalive = if owned { None } else { self.limits.keepalive };
        if usable && sent && keepalive != Some(Duration::ZERO) {
            connection.fresh = false;
            connection.due = keepalive.map(|keepalive| now + keepalive);
            if let Some(due) = connection.due {
                self.due_by(due);
            }
            self.watch_again(key, id, Wants::Read);
        } else {
            self.connections.remove(key);
        }
        self.advance(now);
    }

    /// A connection could not be made.
    fn unreachable(&mut self, key: usize, why: &str, now: Instant) {
        let Some(connection) = self.connections.get(key) else { return };
        if let Some(upstream) = self.upstreams.get_mut(connection.upstream) {
            log::error!("Cannot connect to {upstream}: {why}");
            upstream.penalize(now);
        }
        self.try_another(key, why);
    }

    /// Gives the request of a connection, of which nothing has been answered, to another upstream.
    fn try_another(&mut self, key: usize, why: &str) {
        let now = Instant::now();
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(mut exchange) = connection.exchange.take() else { return };
        log::debug!("{}: {why}; another is asked", exchange.name());
        let upstream = connection.upstream;
        exchange.job.attempts += 1;
        // One that has closed a kept connection may well take a new one.
        if connection.fresh {
            exchange.job.tried.push(upstream);
        }
        self.connections.remove(key);
        if let Some(upstream) = self.upstreams.get_mut(upstream) {
            upstream.busy = upstream.busy.saturating_sub(1);
        }
        self.ask(exchange.job, now);
    }

    /// A connection has ended before its request had.
    fn broken(&mut self, key: usize, why: &str) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(exchange) = &mut connection.exchange else { return };
        let job = &exchange.job;
        let again = job.idempotent && !exchange.has_used_up_body();
        if !exchange.answered && again && job.later.is_some() && job.attempts < ATTEMPTS {
            let program = self.upstreams.get(connection.upstream).and_then(|upstream| upstream.program.as_ref());
            // A request that has brought a program of ours down is not tried on the next one.
            if program.is_none_or(Program::has_exited_in_order) {
                return self.try_another(key, why);
            }
        }
        log::error!("{}: {why} before its answer was complete", exchange.name());
        self.give_up(key, 502);
    }

    /// Ends a request without an answer, or in its middle.
    fn give_up(&mut self, key: usize, status: u16) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(exchange) = &mut connection.exchange else { return };
        if let Some(later) = exchange.job.later.take() {
            later.send(Response::error(status));
        }
        if let Phase::Body(flow) = &exchange.phase {
            flow.conclude(false);
        }
        self.release(key, false);
    }

    /// Does what is due for one connection.
    fn look_at(&mut self, key: usize, now: Instant) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.due.is_none_or(|due| due > now) {
            return;
        }
        connection.due = None;
        let connected = connection.connected;
        let Some(exchange) = &mut connection.exchange else {
            self.connections.remove(key);
            return;
        };
        if !connected {
            return self.unreachable(key, "it does not answer", now);
        }
        if exchange.awaits_client {
            // It is the client's turn, which the worker times.
            return self.set_due(key, now + self.limits.timeout);
        }
        if let Phase::Body(flow) = &exchange.phase {
            let since = flow.waiting().unwrap_or(now);
            if now.saturating_duration_since(since) < self.limits.timeout {
                return self.set_due(key, since + self.limits.timeout);
            }
        }
        log::error!("{} has sent nothing for {} s", exchange.name(), self.limits.timeout.as_secs_f64());
        let upstream = self.upstreams.get_mut(connection.upstream);
        if let Some(program) = upstream.and_then(|upstream| upstream.program.as_mut()) {
            program.kill();
        }
        self.give_up(key, 504);
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
