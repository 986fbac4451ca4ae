//! Clients that keep a ledger: what they asked, what they were answered, and what was lost.
//!
//! One thread drives all of them over nonblocking sockets. Half keep their connection and never retry, half make a new
//! one for each request; a third of the requests are POSTs with bodies. A request is lost when it was sent whole on a
//! connection that the server had not announced to close, and no complete valid answer came within ten seconds. One that
//! could not be sent is lost as well: the server must not refuse anybody.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Events, Interest, Poll, Registry, Token};

use super::Address;
use super::answer::{Answer, Flaw};
use super::doors::{Ask, Door};

/// What the clients are to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) address: Address,
    pub(crate) door: Door,
    pub(crate) clients: usize,
    /// The longest pause of a client between an answer and its next request; it is random up to this.
    pub(crate) pause: Duration,
    /// How long an answer may take.
    pub(crate) patience: Duration,
    /// Ids begin here, so that several ledgers can share a server.
    pub(crate) first_id: u64,
}

impl Plan {
    pub(crate) fn new(address: &Address) -> Self {
        Self {
            address: address.clone(),
            door: Door::default(),
            clients: 200,
            pause: Duration::from_millis(200),
            patience: Duration::from_secs(10),
            first_id: 1,
        }
    }
}

/// How a client treats its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    KeepAlive,
    /// A new connection for each request.
    New,
}

/// Why there was no complete valid answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// The connection was refused, or could not be made.
    Connect,
    /// It broke before the request was out.
    Send,
    /// It was reset.
    Reset,
    /// It ended without a byte of an answer.
    Eof,
    /// It ended inside the answer.
    Truncated,
    /// The answer was another than 200.
    Status(u16),
    /// The answer was no HTTP, or somebody else's.
    Invalid,
    /// The answer did not come.
    Timeout,
}

/// A request that was lost.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    pub(crate) cause: Cause,
    pub(crate) detail: String,
    /// The client's port.
    pub(crate) port: u16,
    /// Whether the connection had carried a request before.
    pub(crate) reused: bool,
    /// How long it had been under way.
    pub(crate) after: Duration,
    pub(crate) at: Instant,
}

/// Clients at work.
#[derive(Debug)]
pub(crate) struct Ledger {
    thread: JoinHandle<Report>,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
}

impl Ledger {
    pub(crate) fn start(plan: Plan) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut crowd = Crowd::new(plan, Arc::clone(&answered)).expect("the ledger's poll");
        let halt = Arc::clone(&stop);
        let thread = std::thread::spawn(move || crowd.run(&halt).expect("the ledger's poll"));
        Self { thread, stop, answered }
    }

    /// Requests answered up to now.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Lets what is in flight finish, and counts.
    pub(crate) fn finish(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the ledger's thread")
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// Answered requests of each kind.
    pub(crate) answered: BTreeMap<Kind, u64>,
    pub(crate) posts: u64,
    pub(crate) lost: Vec<Loss>,
    /// Connections that the server had announced to close, and did.
    pub(crate) announced: u64,
    /// Connections that it closed between two requests.
    pub(crate) closed_idle: u64,
    pub(crate) connections: u64,
    /// Processes that answered.
    pub(crate) pids: Vec<i32>,
    first_id: u64,
    ids: u64,
    lost_ids: Vec<u64>,
    latencies: Vec<Duration>,
    elapsed: Duration,
}

/// How what was answered compares with what the application says it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Audit {
    /// Ids that the application saw more than once.
    pub(crate) twice: u64,
    /// Ids that were answered, although the application never saw them.
    pub(crate) phantom: u64,
    /// Ids that the application saw, but whose answer was lost.
    pub(crate) unanswered: u64,
}

impl Report {
    pub(crate) fn total(&self) -> u64 {
        self.answered.values().sum()
    }

    pub(crate) fn latency(&self, quantile: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f64 * quantile) as usize).copied().unwrap_or_default()
    }

    /// Compares with the file in which the application has noted each id.
    pub(crate) fn audit(&self, answered: &Path) -> Audit {
        let mut seen: HashMap<u64, u64> = HashMap::new();
        for line in std::fs::read_to_string(answered).unwrap_or_default().lines() {
            let id = line.split(' ').next().and_then(|word| word.parse().ok());
            *seen.entry(id.unwrap_or_else(|| panic!("{line:?} in {}", answered.display()))).or_default() += 1;
        }
        let lost: std::collections::HashSet<_> = self.lost_ids.iter().copied().collect();
        let mut audit = Audit::default();
        for id in self.first_id..self.first_id + self.ids {
            let times = seen.get(&id).copied().unwrap_or(0);
            audit.twice += u64::from(times > 1);
            audit.phantom += u64::from(times == 0 && !lost.contains(&id));
            audit.unanswered += u64::from(times > 0 && lost.contains(&id));
        }
        audit
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answered = |kind| self.answered.get(&kind).copied().unwrap_or(0);
        writeln!(
            f,
            "{} answered in {:.1} s ({} keep-alive, {} new connections; {} POST), {} lost; {} processes answered",
            self.total(),
            self.elapsed.as_secs_f64(),
            answered(Kind::KeepAlive),
            answered(Kind::New),
            self.posts,
            self.lost.len(),
            self.pids.len(),
        )?;
        writeln!(
            f,
            "{} connections, {} closed as announced, {} closed while idle; latency p50 {:?}, p99 {:?}, max {:?}",
            self.connections,
            self.announced,
            self.closed_idle,
            self.latency(0.5),
            self.latency(0.99),
            self.latency(1.0),
        )?;
        let mut causes: BTreeMap<(Kind, Cause, bool), u64> = BTreeMap::new();
        for loss in &self.lost {
            *causes.entry((loss.kind, loss.cause, loss.reused)).or_default() += 1;
        }
        for ((kind, cause, reused), count) in causes {
            let connection = if reused { "a used connection" } else { "a fresh connection" };
            writeln!(f, "  lost {count:6}  {kind:?}, {cause:?}, on {connection}")?;
        }
        for loss in self.lost.iter().take(10) {
            let Loss { id, port, after, cause, detail, .. } = loss;
            writeln!(f, "  id {id} from port {port} after {after:?}: {cause:?}: {detail}")?;
        }
        Ok(())
    }
}

#[derive(Debug)]
enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connection {
    fn open(address: &Address, registry: &Registry, token: Token) -> io::Result<Self> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        Ok(match address {
            Address::Tcp(address) => {
                let mut stream = TcpStream::connect(*address)?;
                registry.register(&mut stream, token, interest)?;
                Self::Tcp(stream)
            }
            Address::Unix(path) => {
                let mut stream = UnixStream::connect(path)?;
                registry.register(&mut stream, token, interest)?;
                Self::Unix(stream)
            }
        })
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
        }
    }

    /// Whether it is connected by now.
    fn is_open(&self) -> io::Result<bool> {
        let (error, peer) = match self {
            Self::Tcp(stream) => (stream.take_error()?, stream.peer_addr().map(drop)),
            Self::Unix(stream) => (stream.take_error()?, stream.peer_addr().map(drop)),
        };
        match (error, peer) {
            (Some(error), _) => Err(error),
            (None, peer) => Ok(peer.is_ok()),
        }
    }

    fn port(&self) -> u16 {
        match self {
            Self::Tcp(stream) => stream.local_addr().map_or(0, |address| address.port()),
            Self::Unix(_) => 0,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pausing,
    Connecting,
    Sending,
    Receiving,
}

#[derive(Debug)]
struct Member {
    kind: Kind,
    door: Door,
    state: State,
    connection: Option<Connection>,
    port: u16,
    /// Requests that the present connection has carried.
    carried: u64,
    /// The end of the pause, or of the patience.
    until: Instant,
    began: Instant,
    id: u64,
    padding: usize,
    request: Vec<u8>,
    body: std::ops::Range<usize>,
    sum: u64,
    sent: usize,
    received: Vec<u8>,
}

struct Crowd {
    plan: Plan,
    poll: Poll,
    members: Vec<Member>,
    report: Report,
    random: u64,
    answered: Arc<AtomicU64>,
    stopping: bool,
}

impl Crowd {
    fn new(plan: Plan, answered: Arc<AtomicU64>) -> io::Result<Self> {
        let now = Instant::now();
        let kind =
            |number: usize| if plan.door.keeps() && number.is_multiple_of(2) { Kind::KeepAlive } else { Kind::New };
        let member = |number: usize| Member {
            kind: kind(number),
            door: match plan.door {
                Door::FastCgi { .. } => Door::FastCgi { keep: kind(number) == Kind::KeepAlive },
                door => door,
            },
            state: State::Pausing,
            connection: None,
            port: 0,
            carried: 0,
            // They do not all come at once.
            until: now + plan.pause * number as u32 / plan.clients.max(1) as u32,
            began: now,
            id: 0,
            padding: 0,
            request: Vec::new(),
            body: 0..0,
            sum: 0,
            sent: 0,
            received: Vec::new(),
        };
        Ok(Self {
            poll: Poll::new()?,
            members: (0..plan.clients).map(member).collect(),
            report: Report { first_id: plan.first_id, ..Report::default() },
            random: plan.first_id.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            plan,
            answered,
            stopping: false,
        })
    }

    fn run(&mut self, stop: &AtomicBool) -> io::Result<Report> {
        let began = Instant::now();
        let mut events = Events::with_capacity(1024);
        loop {
            self.stopping = stop.load(Ordering::Relaxed);
            let now = Instant::now();
            for number in 0..self.members.len() {
                self.look_at_clock(number, now);
            }
            if self.stopping && self.members.iter().all(|member| member.state == State::Pausing) {
                break;
            }
            let next = self.members.iter().map(|member| member.until).min().unwrap_or(now);
            let wait = next.saturating_duration_since(Instant::now()).min(Duration::from_millis(50));
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => other?,
            }
            for event in &events {
                self.advance(event.token().0);
            }
        }
        let mut report = std::mem::take(&mut self.report);
        report.elapsed = began.elapsed();
        report.latencies.sort_unstable();
        Ok(report)
    }

    fn look_at_clock(&mut self, number: usize, now: Instant) {
        let member = &self.members[number];
        if now < member.until {
            return;
        }
        if member.state != State::Pausing {
            self.lose(number, Cause::Timeout, "no answer in time");
        } else if !self.stopping {
            self.begin(number);
        }
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 11
    }

    fn begin(&mut self, number: usize) {
        let id = self.plan.first_id + self.report.ids;
        self.report.ids += 1;
        let draw = self.random();
        let (patience, now) = (self.plan.patience, Instant::now());
        let member = &mut self.members[number];
        member.id = id;
        member.began = now;
        member.until = now + patience;
        member.sent = 0;
        member.received.clear();
        member.write_request(draw);
        self.report.posts += u64::from(member.sum != 0);
        // What the server has said in the meantime is heard before the request goes out.
        if member.connection.is_some() && member.has_ended() {
            self.report.closed_idle += 1;
            self.hang_up(number);
        }
        let member = &mut self.members[number];
        if member.connection.is_some() {
            member.state = State::Sending;
        } else {
            match Connection::open(&self.plan.address, self.poll.registry(), Token(number)) {
                Ok(connection) => {
                    member.connection = Some(connection);
                    member.carried = 0;
                    member.state = State::Connecting;
                    self.report.connections += 1;
                }
                Err(error) => return self.lose(number, Cause::Connect, &error.to_string()),
            }
        }
        self.advance(number);
    }

    fn advance(&mut self, number: usize) {
        let member = &mut self.members[number];
        if member.state == State::Pausing {
            if member.connection.is_some() && member.has_ended() {
                self.report.closed_idle += 1;
                self.hang_up(number);
            }
            return;
        }
        match member.proceed() {
            Ok(None) => {}
            Ok(Some(answer)) => self.check(number, &answer),
            Err((cause, detail)) => self.lose(number, cause, &detail),
        }
    }

    fn check(&mut self, number: usize, answer: &Answer) {
        if answer.status != 200 {
            return self.lose(number, Cause::Status(answer.status), &answer.text());
        }
        let member = &mut self.members[number];
        let text = answer.text();
        let (line, padding) = text.split_once('\n').unwrap_or_default();
        let words: Vec<&str> = line.split(' ').collect();
        let expected = [member.id.to_string(), member.body.len().to_string(), member.sum.to_string()];
        let right = matches!(words.as_slice(), [id, _, length, sum] if *id == expected[0] && *length == expected[1]
            && *sum == expected[2]);
        if !right || padding.len() != member.padding {
            let detail = format!("{line:?} and {} bytes, not {expected:?} and {}", padding.len(), member.padding);
            return self.lose(number, Cause::Invalid, &detail);
        }
        let pid = words[1].parse().unwrap_or(0);
        if !self.report.pids.contains(&pid) {
            self.report.pids.push(pid);
        }
        member.carried += 1;
        self.report.latencies.push(member.began.elapsed());
        *self.report.answered.entry(member.kind).or_default() += 1;
        self.answered.fetch_add(1, Ordering::Relaxed);
        if answer.closes() {
            self.report.announced += 1;
            self.hang_up(number);
        } else if member.kind == Kind::New {
            self.hang_up(number);
        }
        self.pause(number);
    }

    fn lose(&mut self, number: usize, cause: Cause, detail: &str) {
        let member = &self.members[number];
        self.report.lost_ids.push(member.id);
        self.report.lost.push(Loss {
            id: member.id,
            kind: member.kind,
            cause,
            detail: detail.to_owned(),
            port: member.port,
            reused: member.carried > 0,
            after: member.began.elapsed(),
            at: Instant::now(),
        });
        self.hang_up(number);
        self.pause(number);
    }

    fn hang_up(&mut self, number: usize) {
        if let Some(mut connection) = self.members[number].connection.take() {
            let _ = self.poll.registry().deregister(connection.source());
        }
    }

    fn pause(&mut self, number: usize) {
        let longest = self.plan.pause.as_micros() as u64;
        let pause = Duration::from_micros(self.random() % longest.max(1));
        let member = &mut self.members[number];
        member.state = State::Pausing;
        member.until = Instant::now() + pause;
    }
}

impl Member {
    /// GETs and POSTs of many sizes, some chunked, some whose answer is streamed.
    fn write_request(&mut self, draw: u64) {
        let pick = |from: &[usize], shift: u32| from[(draw >> shift) as usize % from.len()];
        self.padding = pick(&[0, 0, 0, 0, 100, 3000, 50_000], 4);
        let mode = if pick(&[0, 1], 20) == 1 && self.padding > 0 { "&stream=1" } else { "" };
        let target = format!("/id/{}?size={}{mode}", self.id, self.padding);
        let close = if self.kind == Kind::New && draw & 8 != 0 { "Connection: close\r\n" } else { "" };
        self.request.clear();
        self.sum = 0;
        self.body = 0..0;
        if self.door != Door::Http {
            return self.write_at(&target, draw);
        }
        if !draw.is_multiple_of(3) {
            let _ = write!(self.request, "GET {target} HTTP/1.1\r\nHost: ledger\r\n{close}\r\n");
            return;
        }
        let body = self.make_body(draw);
        let _ = write!(self.request, "POST {target} HTTP/1.1\r\nHost: ledger\r\n{close}");
        if pick(&[0, 0, 1], 24) == 1 {
            let _ = write!(self.request, "Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(1500) {
                let _ = write!(self.request, "{:x}\r\n", chunk.len());
                self.request.extend_from_slice(chunk);
                self.request.extend_from_slice(b"\r\n");
            }
            self.request.extend_from_slice(b"0\r\n\r\n");
        } else {
            let _ = write!(self.request, "Content-Length: {}\r\n\r\n", body.len());
            self.request.extend_from_slice(&body);
        }
    }

    /// The same at another door than HTTP's.
    fn write_at(&mut self, target: &str, draw: u64) {
        let posts = draw.is_multiple_of(3);
        let body = if posts { self.make_body(draw) } else { Vec::new() };
        let chunked = posts && self.door.streams() && (draw >> 24).is_multiple_of(3);
        let ask = Ask { method: if posts { "POST" } else { "GET" }, target, variables: &[], body: &body, chunked };
        self.request = self.door.request(ask);
    }

    fn make_body(&mut self, draw: u64) -> Vec<u8> {
        let length = [5, 300, 3000, 40_000][(draw >> 8) as usize % 4];
        let body: Vec<u8> = (0..length).map(|at| (self.id as usize * 31 + at * 7) as u8).collect();
        (self.body, self.sum) = (0..length, checksum(&body));
        body
    }

    /// Whether the server has closed the idle connection (or said something unasked).
    fn has_ended(&mut self) -> bool {
        let Some(connection) = &mut self.connection else { return true };
        match connection.read(&mut [0; 64]) {
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            Ok(_) => true,
        }
    }

    fn proceed(&mut self) -> Result<Option<Answer>, (Cause, String)> {
        let Some(connection) = &mut self.connection else { return Ok(None) };
        if self.state == State::Connecting {
            match connection.is_open() {
                Ok(true) => self.state = State::Sending,
                Ok(false) => return Ok(None),
                Err(error) => return Err((Cause::Connect, error.to_string())),
            }
            self.port = connection.port();
        }
        while self.state == State::Sending {
            match connection.write(&self.request[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err((Cause::Send, error.to_string())),
            }
            if self.sent == self.request.len() {
                self.state = State::Receiving;
            }
        }
        let mut ended = false;
        let mut bytes = [0; 16384];
        loop {
            match connection.read(&mut bytes) {
                Ok(0) => ended = true,
                Ok(count) => {
                    self.received.extend_from_slice(&bytes[..count]);
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err((Cause::Reset, format!("{error} after {} bytes", self.received.len()))),
            }
            break;
        }
        match self.door.parse(&self.received, false, ended) {
            Ok((answer, taken)) if taken == self.received.len() => Ok(Some(answer)),
            Ok((_, taken)) => Err((Cause::Invalid, format!("{} bytes too much", self.received.len() - taken))),
            Err(Flaw::Invalid(what)) => Err((Cause::Invalid, what)),
            Err(Flaw::Incomplete) if ended && self.received.is_empty() => Err((Cause::Eof, "no byte".to_owned())),
            Err(Flaw::Incomplete) if ended => Err((Cause::Truncated, format!("after {} bytes", self.received.len()))),
            Err(Flaw::Incomplete) => Ok(None),
        }
    }
}

/// FNV-1a; zero stands for no body. tests/faults/probe.rs has the same.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    let sum = bytes
        .iter()
        .fold(0xCBF2_9CE4_8422_2325, |sum: u64, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3));
    if bytes.is_empty() { 0 } else { sum }
}
