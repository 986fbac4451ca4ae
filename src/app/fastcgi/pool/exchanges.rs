//! One request on its connection: sent, answered, and over, or given to another upstream.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, getsockopt, send, sockopt};

use super::Pool;
use crate::app::cgi::head::HeadBuffer;
use crate::app::cgi::lines::Lines;
use crate::app::cgi::output::{is_unsent, unsent};
use crate::app::fastcgi::answer::Answer;
use crate::app::fastcgi::decoder::Decoder;
use crate::app::fastcgi::exchange::{Connection, Exchange, Phase, whole};
use crate::app::fastcgi::order::{Arrival, SOCKET};
use crate::app::fastcgi::request::{Job, Next, Progress};
use crate::app::fastcgi::upstream::Program;
use crate::app::pump::{self, Flow, Handle, Wants};
use crate::app::{Body, Response};
use crate::protocol::fastcgi::record::ProtocolStatus;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How often a request is sent in vain before that is told.
const ATTEMPTS: u8 = 3;

/// The most that is collected before an answer begins, in the hope that it has ended by then.
const COLLECTED: usize = 256 * 1024;

impl Pool {
    pub(super) fn begin(&mut self, key: usize, mut job: Box<Job>, now: Instant) {
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
    pub(super) fn write(&mut self, key: usize) {
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
    pub(super) fn socket_ready(&mut self, key: usize) {
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

    pub(super) fn read(&mut self, key: usize) {
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
    pub(super) fn release(&mut self, key: usize, usable: bool) {
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
    pub(super) fn look_at(&mut self, key: usize, now: Instant) {
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
}
