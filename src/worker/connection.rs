//! One socket and one protocol machine.
//!
//! ```text
//!            bytes                complete request             all sent
//!   Idle ------------> Reading -----------------------> (call) ----------> Idle
//!    |                    |  refused, or the last one     |  |
//!    | timeout, drain     +------------+------------------+  | answered later
//!    v                                 v                     v
//!  Closing: shutdown(SHUT_WR), read and drop until the peer has closed, too      Waiting
//! ```

mod answering;
mod deadlines;
mod inflow;
mod waiting;

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SendFlags, send};

pub(crate) use deadlines::Burden;
use inflow::Inflow;

use super::buffers::{Buffer, Filled};
use super::exchange::Summary;
use super::gateway;
use super::intake::Intake;
use super::output::{Flushed, How, Output, Rest};
use super::parcel::Parcel;
use super::peers::Seat;
use super::refusal::Refusal;
use super::world::World;
use crate::app::reply::Ticket;
use crate::app::{Address, Peer, Request, RequestBody};
use crate::clock::Moment;
use crate::protocol::{Event, Head, Machine, Progress, Protocol, Reuse, proxy_protocol};

/// Pipelined requests that are answered before other connections get their turn.
const PIPELINE: usize = 64;

/// How often a connection is read from before others get theirs, times four: a body in chunks of a byte is much to do.
const READS: usize = 4;

/// Responses are collected up to so many bytes before they are sent.
const COLLECTED: usize = 64 * 1024;

/// What the engine is to do with a connection that has been driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Wait for its socket, its deadline or a letter.
    Wait,
    /// Drive it again after the others.
    Again,
    /// Its request is complete, but this thread may not call the application.
    Hold,
    /// Wait, and have a thread drive it that may call the application: that may want the body, of which a part has come.
    Offer,
    /// Drive it in its turn: it was read from ahead of that.
    Fetched,
    /// Have it [leave](Connection::leave) together with others whose answers are ready: its own is.
    Join,
    /// Drop it.
    Close,
}

/// What the engine's poll tells of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    /// Nothing: it is not registered.
    Nothing,
    /// That there is something to read.
    Reads,
    /// And that there is room to write.
    Everything,
}

/// Where a connection stands between two drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// A PROXY header must come first.
    Proxy,
    /// Between requests, nothing has come yet.
    Idle,
    /// Part of a head has come.
    Head,
    /// The head is complete, the body is not.
    Body,
    /// The body is complete, and the application was not called.
    Complete,
    /// The application will answer later.
    Waiting,
    /// The peer does not take what is sent as fast as it comes.
    Sending,
    /// Our side is closed; the peer's is not.
    Lingering,
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    machine: Machine,
    peer: Peer,
    /// Where it came in.
    local: Arc<Address>,
    stage: Stage,
    /// The socket may have something to read.
    readable: bool,
    /// The peer has closed its side: the next reads end in an end of file.
    read_closed: bool,
    /// Nothing more is read and parsed; close when everything is sent.
    closing: Option<Ending>,
    /// What the engine's poll tells of it.
    pub(crate) watched: Watched,
    /// Its socket has no room for what is to be sent.
    blocked: bool,
    requests: u32,
    ticket: Ticket,
    /// How long the present request waited for its turn, as far as this worker can tell.
    waited: Duration,
    /// When it was accepted, or the head began that it is at.
    since: Moment,
    /// Since when its request, which is complete, waits for an application thread of this worker or another; 0 if it does not.
    held: Moment,
    /// When the present stage has lasted too long.
    deadline: Option<Moment>,
    /// When the wheel asks for the deadline.
    pub(crate) armed: Option<Moment>,
    /// Bytes of a response that were given to the socket, or that were dropped while lingering.
    moved: u64,
    /// Those that the peer had taken when it was last asked, counted from anywhere.
    taken: Option<i64>,
    /// Its place among its peer's connections, where these are counted.
    _seat: Option<Box<Seat>>,
    input: Option<Box<Buffer>>,
    intake: Option<Box<Intake>>,
    /// The rest of a body that the application takes while it comes. The stage is `Waiting` or `Sending` then.
    inflow: Option<Box<Inflow>>,
    output: Option<Box<Output>>,
    log: Option<Box<Logged>>,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The peer said that it sends nothing more: close.
    Agreed,
    /// The peer may be sending: close in stages, or a reset destroys what it has not read yet.
    Staged,
}

/// What the access log needs when a response ends later than its call.
#[derive(Debug)]
struct Logged {
    head: Head,
    began: Moment,
    summary: Option<Summary>,
    /// How often the application was called again for another target.
    redirects: u8,
    /// Kept for an answer that comes later, as long as it is wanted.
    claim: Option<Arc<()>>,
}

impl Connection {
    /// A connection that has just been accepted, at that address of ours.
    pub(crate) fn new(
        socket: OwnedFd,
        peer: Option<std::net::SocketAddr>,
        seat: Option<Seat>,
        local: Arc<Address>,
        protocol: Protocol,
        key: usize,
        world: &World,
    ) -> Self {
        let policy = &world.policy;
        let (address, trusted) = match peer {
            Some(peer) => (Address::Ip(peer), policy.forwarders.contains(peer.ip())),
            None => (Address::Unix(None), true),
        };
        let closing = if gateway::admits(policy, protocol, peer) { None } else { Some(Ending::Agreed) };
        let stage = if policy.proxy_protocol.is_some() { Stage::Proxy } else { Stage::Idle };
        Self {
            socket,
            machine: Machine::new(protocol),
            peer: Peer { address, destination: None, trusted, secure: false },
            local,
            stage,
            readable: true,
            read_closed: false,
            closing,
            watched: Watched::Nothing,
            blocked: false,
            requests: 0,
            ticket: Ticket { key, serial: 0 },
            waited: Duration::ZERO,
            since: world.now,
            held: Moment::default(),
            deadline: Some(deadlines::first_byte_by(world, trusted || policy.is_proxy(peer))),
            armed: None,
            moved: 0,
            taken: None,
            _seat: seat.map(Box::new),
            input: None,
            intake: None,
            inflow: None,
            output: None,
            log: None,
        }
    }

    /// One that a sibling has accepted.
    pub(crate) fn taken_over(
        socket: OwnedFd,
        parcel: Parcel,
        local: Arc<Address>,
        key: usize,
        world: &mut World,
    ) -> Self {
        let peer = match parcel.peer {
            Address::Ip(peer) => Some(peer),
            Address::Unix(_) => None,
        };
        // It was let in by another worker, so it has a seat here if there is one.
        let seat = world.policy.seat(peer, world.now).ok().flatten();
        let mut connection = Self::new(socket, peer, seat, local, parcel.protocol, key, world);
        if parcel.requests > 0 {
            connection.deadline = Some(deadlines::first_byte_by(world, true));
        }
        if !parcel.unproxied {
            connection.stage = Stage::Idle;
        }
        connection.peer.destination = parcel.destination.map(Box::new);
        connection.requests = parcel.requests;
        if !parcel.unread.is_empty() {
            let mut input = world.buffers.lend();
            input.put(&parcel.unread);
            connection.input = Some(input);
            connection.held = parcel.since;
        }
        connection
    }

    /// What another worker has to know of it, with at most `most` unread bytes; `None` if it cannot move.
    pub(crate) fn parcel(&self, most: usize) -> Option<Parcel> {
        let unread = self.input.as_deref().map(Buffer::unread).unwrap_or_default();
        if !self.is_between_requests() || unread.len() > most {
            return None;
        }
        Some(Parcel {
            since: if self.held == Moment::default() { crate::sys::now_coarse() } else { self.held },
            requests: self.requests,
            protocol: self.machine.protocol(),
            unproxied: self.stage == Stage::Proxy,
            // What is known of the peer is its last request's client, for whom a web server spoke: the connection is not his.
            peer: if self.machine.is_gateway() {
                answering::address_of(&self.socket)
            } else {
                self.peer.address.clone()
            },
            destination: self.peer.destination.as_deref().copied(),
            local: (*self.local).clone(),
            unread: unread.to_vec(),
        })
    }

    pub(crate) fn raw_fd(&self) -> i32 {
        self.socket.as_raw_fd()
    }

    /// The peer's address, if it has one.
    pub(crate) fn peer_ip(&self) -> Option<IpAddr> {
        match &self.peer.address {
            Address::Ip(address) => Some(address.ip()),
            Address::Unix(_) => None,
        }
    }

    /// What the poll has to tell of it. A TCP socket speaks of room only after there was none, so it may be asked once for all;
    /// a unix socket does each time that its peer has read something.
    pub(crate) fn needs_watched(&self) -> Watched {
        match *self.local {
            Address::Unix(_) if !self.blocked => Watched::Reads,
            _ => Watched::Everything,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Moment> {
        match &self.inflow {
            None => self.deadline,
            Some(inflow) => inflow.deadline().into_iter().chain(self.deadline).min(),
        }
    }

    /// The socket has become ready.
    pub(crate) fn notice(&mut self, readable: bool, read_closed: bool) {
        self.readable |= readable || read_closed;
        self.read_closed |= read_closed;
    }

    /// Whether it may move to another worker as it is.
    pub(crate) fn is_portable(&self) -> bool {
        self.is_idle() && self.is_between_requests()
    }

    /// Goes on with whatever there is to do, until there is nothing or others should have their turn.
    pub(crate) fn drive(&mut self, world: &mut World) -> Next {
        if self.stage == Stage::Lingering {
            return self.linger(world);
        }
        for _ in 0..4 {
            let served = self.serve(world);
            if world.crowded && self.joins(world, served) {
                return Next::Join;
            }
            let sent = self.send(world, served);
            if !world.after.is_empty() {
                world.end_after();
            }
            match sent {
                Sent::GoOn => {}
                Sent::Stop(next) => return next,
            }
        }
        Next::Again
    }

    /// Parses and answers what has been received, and receives more, until something has to wait.
    fn serve(&mut self, world: &mut World) -> Served {
        if self.output.is_some() || self.stage == Stage::Waiting || self.closing.is_some() {
            return if self.inflow.is_some() { self.feed(world) } else { self.look_for_abort(world) };
        }
        if self.stage == Stage::Complete {
            if !world.calls {
                return Served::Held;
            }
            self.stage = Stage::Body;
            if !self.answer(world) {
                return Served::Some;
            }
        }
        if self.stage == Stage::Body && self.is_to_stream(world) {
            return self.begin_stream(world);
        }
        let (mut answered, mut reads) = (0, 0);
        loop {
            while self.input.is_some() {
                if self.stage == Stage::Proxy {
                    match self.proxy_header(world) {
                        Ok(true) => continue,
                        Ok(false) => break,
                        Err(error) => {
                            self.refuse(world, error);
                            return Served::Some;
                        }
                    }
                }
                if !world.calls && self.holds_request(world) {
                    return Served::Held;
                }
                let Some(input) = self.input.as_deref_mut() else { break };
                let head = &mut world.head;
                let progress = match self.machine.next_event(input.unread(), &world.policy.limits, head) {
                    Ok(progress) => progress,
                    Err(error) => {
                        self.refuse(world, error);
                        return Served::Some;
                    }
                };
                let complete = match progress.event {
                    Event::NeedMore => {
                        input.consume(progress.consumed);
                        if self.intake.is_some() && self.is_to_stream(world) {
                            return self.begin_stream(world);
                        }
                        break;
                    }
                    Event::Request => {
                        input.consume(progress.consumed);
                        let complete = self.machine.end_without_body();
                        // A thread that makes no calls needs a place for the head.
                        if (!complete || !world.calls) && self.begin_body(world) {
                            return self.begin_stream(world);
                        }
                        complete
                    }
                    Event::Body { start, end } => {
                        let bytes = input.unread().get(start..end).unwrap_or_default();
                        let (policy, count) = (&world.policy, bytes.len() as u64);
                        self.deadline = self.deadline.map(|old| policy.body.put_off(old, count, world.now));
                        if let Some(intake) = &mut self.intake
                            && let Err(full) = intake.append(bytes, policy.body_memory, &policy.storage)
                        {
                            self.refuse(world, full);
                            return Served::Some;
                        }
                        if let Some(input) = self.input.as_deref_mut() {
                            input.consume(progress.consumed);
                        }
                        false
                    }
                    Event::End => {
                        input.consume(progress.consumed);
                        true
                    }
                    Event::Reply | Event::Aborted => {
                        input.consume(progress.consumed);
                        if !self.reply(world, progress.event) || world.out.len() >= COLLECTED {
                            return Served::Some;
                        }
                        false
                    }
                };
                if complete {
                    if !world.calls && !self.asks_whether_ready(world) {
                        self.stage = Stage::Complete;
                        self.hold();
                        return Served::Held;
                    }
                    answered += 1;
                    let goes_on = self.answer(world) && answered < PIPELINE && world.out.len() < COLLECTED;
                    // What an application does behind a response is over before it is called again.
                    if !goes_on || !world.after.is_empty() {
                        return Served::Some;
                    }
                    if self.input.as_deref().is_some_and(Buffer::is_empty) {
                        break;
                    }
                }
            }
            // What is ready goes out before anything is waited for.
            if !self.readable || !world.out.is_empty() {
                return Served::Starved;
            }
            if reads == READS {
                return Served::Some;
            }
            reads += 1;
            match self.receive(world) {
                Ok(Filled::More | Filled::Drained) => {}
                Ok(Filled::WouldBlock) => return Served::Starved,
                Ok(Filled::Eof) => return Served::Eof,
                Err(_) => return Served::Drop,
            }
        }
    }

    /// Whether all of a request for the application has been received, of which nothing was used up.
    fn holds_request(&mut self, world: &mut World) -> bool {
        let Some(input) = self.input.as_deref().filter(|_| self.is_between_requests()) else { return false };
        let mut machine = Machine::new(self.machine.protocol());
        let mut rest = input.unread();
        let complete = loop {
            match machine.next_event(rest, &world.policy.limits, &mut world.head) {
                Ok(Progress { event: Event::End, .. }) => break true,
                Ok(Progress { event: Event::NeedMore, .. }) | Err(_) => break false,
                Ok(progress) => rest = rest.get(progress.consumed..).unwrap_or_default(),
            }
        };
        let held = complete && !self.asks_whether_ready(world);
        if held {
            self.hold();
        }
        held
    }

    /// Its request waits for an application thread; its peer has done what it had to.
    fn hold(&mut self) {
        self.deadline = None;
        if self.held == Moment::default() {
            self.held = crate::sys::now_coarse();
        }
    }

    /// Whether nothing of a request was used up, and nothing of a response is to be sent.
    fn is_between_requests(&self) -> bool {
        matches!(self.stage, Stage::Proxy | Stage::Idle | Stage::Head)
            && self.intake.is_none()
            && self.output.is_none()
            && self.closing.is_none()
            && (self.machine.keeps_heads_whole() || self.machine.is_idle())
    }

    fn receive(&mut self, world: &mut World) -> std::io::Result<Filled> {
        let input = self.input.get_or_insert_with(|| world.buffers.lend());
        let filled = input.fill(self.socket.as_fd())?;
        match filled {
            Filled::More => {}
            Filled::Drained => self.readable = self.read_closed,
            Filled::WouldBlock => self.readable = false,
            Filled::Eof => self.read_closed = true,
        }
        Ok(filled)
    }

    /// Reads the PROXY header; `Ok(false)` if more of it must come.
    fn proxy_header(&mut self, world: &World) -> Result<bool, proxy_protocol::Error> {
        let (Some(input), Some(versions)) = (self.input.as_deref_mut(), world.policy.proxy_protocol) else {
            return Ok(false);
        };
        let believed = match &self.peer.address {
            Address::Ip(address) => world.policy.proxies.contains(address.ip()),
            Address::Unix(_) => true,
        };
        let Some(header) = proxy_protocol::parse(input.unread(), versions)? else { return Ok(false) };
        if !believed {
            return Err(proxy_protocol::Error::Forbidden);
        }
        input.consume(header.consumed);
        if let Some((source, destination)) = header.addresses {
            self.peer.address = Address::Ip(source);
            self.peer.destination = Some(Box::new(destination));
            self.peer.trusted = world.policy.forwarders.contains(source.ip());
        }
        self.stage = Stage::Idle;
        Ok(true)
    }

    /// A head has come, and the body has not. Returns whether it is to be streamed.
    fn begin_body(&mut self, world: &mut World) -> bool {
        let head = std::mem::take(&mut world.head);
        let waits = head.expects_continue();
        self.intake = Some(Box::new(Intake::new(head)));
        self.stage = Stage::Body;
        self.deadline = Some(world.now + world.policy.body.patience);
        if waits {
            if self.is_to_stream(world) {
                return true;
            }
            self.machine.continue_body(&mut world.out);
        }
        false
    }

    /// Answers what is no request, or one that the web server has given up. Returns whether anything more may be parsed.
    fn reply(&mut self, world: &mut World, event: Event) -> bool {
        if event == Event::Aborted && self.intake.take().is_some() {
            self.stage = Stage::Idle;
        }
        if self.machine.reply(world.policy.gateway_connections, &mut world.out) == Reuse::Close {
            self.closing = Some(Ending::Agreed);
        }
        self.closing.is_none()
    }

    /// Sends what `serve` has collected and what was left over.
    fn send(&mut self, world: &mut World, served: Served) -> Sent {
        if matches!(served, Served::Drop) {
            world.out.clear();
            return Sent::Stop(Next::Close);
        }
        if !world.out.is_empty() {
            if let Some(output) = &mut self.output {
                output.extend(|bytes| bytes.append(&mut world.out));
            } else {
                match send(&self.socket, &world.out, SendFlags::NOSIGNAL) {
                    Ok(count) if count == world.out.len() => world.out.clear(),
                    Ok(count) => self.keep_output(world, count),
                    Err(Errno::AGAIN | Errno::INTR) => self.keep_output(world, 0),
                    Err(_) => {
                        world.out.clear();
                        return Sent::Stop(Next::Close);
                    }
                }
            }
        }
        self.blocked = false;
        while let Some(output) = &mut self.output {
            if let (Some(note), Some(log)) = (&world.note, &self.log)
                && output.is_pulled()
            {
                note.write(self.ticket.serial, &log.head);
                note.open_exit(self.socket.as_raw_fd(), &self.machine, &[], true);
            }
            let how = How { sendfile: world.policy.sendfile, pulls: world.calls, call: world.call };
            let World { scratch, flusher, .. } = &mut *world;
            let (flushed, count) = output.flush(self.socket.as_fd(), &mut self.machine, scratch, flusher, how);
            self.moved += count;
            if world.close_exit() {
                return Sent::Stop(Next::Close);
            }
            match flushed {
                Flushed::Everything | Flushed::Ended => self.output_done(world),
                Flushed::Blocked => {
                    self.begin_blocked(world);
                    return Sent::Stop(Next::Wait);
                }
                Flushed::Starved => {
                    self.deadline = None;
                    return Sent::Stop(Next::Wait);
                }
                Flushed::Held => return Sent::Stop(Next::Hold),
                Flushed::Enough => return Sent::Stop(Next::Again),
                Flushed::Broken => return Sent::Stop(Next::Close),
            }
        }
        self.settle(world, served)
    }

    /// Keeps an answer that is whole, to leave with others.
    fn joins(&mut self, world: &mut World, served: Served) -> bool {
        let whole = matches!(served, Served::Some | Served::Starved)
            && self.stage == Stage::Idle
            && self.output.is_none()
            && self.inflow.is_none()
            && self.closing.is_none()
            && !world.out.is_empty();
        if whole {
            let mut output = world.spare.lend();
            output.take_over(&mut world.out);
            self.output = Some(output);
            self.give_input_back(world);
        }
        whole
    }

    /// Sends an answer that was kept. What else there is to do is done in its turn, as it may be a call.
    pub(crate) fn leave(&mut self, world: &mut World) -> Next {
        if !self.output.as_mut().is_some_and(|output| output.leave(self.socket.as_fd())) {
            return Next::Again;
        }
        if let Some(output) = self.output.take() {
            world.spare.take_back(output);
        }
        self.blocked = false;
        if self.readable || self.input.is_some() {
            return Next::Again;
        }
        self.begin_idle(world);
        Next::Wait
    }

    /// Reads ahead of its turn what may be a request. Whatever comes of it is found out in its turn.
    pub(crate) fn fetch(&mut self, world: &mut World) {
        if self.stage == Stage::Idle && self.readable && self.is_between_requests() && self.input.is_none() {
            let _ = self.receive(world);
        }
    }

    fn give_input_back(&mut self, world: &mut World) {
        if self.input.as_ref().is_some_and(|input| input.is_empty())
            && let Some(input) = self.input.take()
        {
            world.buffers.take_back(input);
        }
    }

    fn keep_output(&mut self, world: &mut World, sent: usize) {
        let bytes = std::mem::take(&mut world.out);
        self.output = Some(Box::new(Output::new(bytes, sent, Rest::None)));
        self.begin_sending(world);
        self.moved = sent as u64;
    }

    /// Everything that was ready has been sent, or the body has ended; ends the response if one was being streamed.
    fn output_done(&mut self, world: &mut World) {
        if self.stage == Stage::Sending
            && let Some(output) = &mut self.output
            && !output.has_body()
            && let Some(log) = self.log.take()
        {
            let mut reuse = Reuse::Close;
            let machine = &mut self.machine;
            output.extend(|bytes| reuse = machine.finish(bytes));
            let log = *log;
            world.head = log.head;
            if let Some(summary) = &log.summary {
                self.account(world, log.began, summary);
            }
            self.finished(world, reuse);
            // The last chunk has to go out, too.
            return;
        }
        if let Some(output) = self.output.take()
            && world.out.capacity() == 0
        {
            world.out = output.into_buffer();
        }
    }

    /// Nothing is left to send: what now?
    fn settle(&mut self, world: &mut World, served: Served) -> Sent {
        if let Some(ending) = self.closing {
            return Sent::Stop(self.end(world, ending));
        }
        if self.stage == Stage::Waiting {
            if self.read_closed
                && let Some(log) = &mut self.log
            {
                log.claim = None;
            }
            return Sent::Stop(Next::Wait);
        }
        match served {
            Served::Some | Served::Nothing => return Sent::GoOn,
            Served::Eof => return Sent::Stop(Next::Close),
            Served::Held => return Sent::Stop(Next::Hold),
            Served::Starved | Served::Drop => {}
        }
        self.give_input_back(world);
        if self.readable {
            return Sent::GoOn;
        }
        if self.stage == Stage::Idle {
            self.begin_idle(world);
        }
        let offered = world.calls || !self.intake.as_ref().is_some_and(|intake| intake.waits_to_be_offered());
        Sent::Stop(if offered { Next::Wait } else { Next::Offer })
    }

    /// Its place among the worker's.
    #[inline]
    pub(crate) fn key(&self) -> usize {
        self.ticket.key
    }

    /// Whether a letter's ticket is for the request that this connection is busy with.
    pub(crate) fn awaits(&self, ticket: Ticket) -> bool {
        self.ticket == ticket
    }
}

/// What `serve` came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    /// There was something to be done first.
    Nothing,
    /// Something was answered, and there may be more.
    Some,
    /// A request waits for a thread that may call the application.
    Held,
    /// More has to be received.
    Starved,
    /// The peer sends nothing more.
    Eof,
    /// The connection is broken.
    Drop,
}

enum Sent {
    GoOn,
    Stop(Next),
}
