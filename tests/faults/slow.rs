//! Thousands of clients that take their time, and one that does not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use super::Outcome;
use crate::support::{Address, Client, Directory, SOON, Server, poll_until, process};

/// What an attacker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A head that does not come to an end (slowloris).
    Head,
    /// The same after 60 KB of it have come at once.
    LargeHead,
    /// A body that trickles (RUDY).
    Body,
    /// A response that is hardly read.
    Reader,
}

/// How many of each, and how long the server bears them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attack {
    pub(crate) heads: usize,
    pub(crate) large_heads: usize,
    pub(crate) bodies: usize,
    pub(crate) readers: usize,
    /// New ones a second.
    pub(crate) rate: usize,
    /// Of heads, bodies and responses alike.
    pub(crate) patience: Duration,
    pub(crate) worker_connections: usize,
    /// The attackers take no processor time that others want, as if they had machines of their own. On a busy machine they
    /// notice late then that they are let go.
    pub(crate) aside: bool,
}

struct Attacker {
    kind: Kind,
    socket: Option<Socket>,
    began: Instant,
    next: Instant,
    lived: Duration,
    /// Bytes it has read.
    read: u64,
    /// Those that had come by the time at which the server first looks at what a reader takes: they fit into the kernel's
    /// buffers at once, and are no merit.
    given: Option<u64>,
    /// Those that have come since: each second's worth of them at `send_min_rate` puts its end off by one.
    earned: u64,
}

/// Between two drops of an attacker.
const DRIP: Duration = Duration::from_millis(500);

/// Bytes a second that are asked of bodies and responses.
const MINIMUM: u64 = 500;

/// After that the server looks at what a reader has taken for the first time.
const FIRST_LOOK: Duration = Duration::from_secs(1);

impl Attacker {
    fn connect(kind: Kind, address: SocketAddr, number: usize) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if kind == Kind::Reader {
            socket.set_recv_buffer_size(2048)?;
        }
        // One source address has ports for some of them only.
        let source = SocketAddr::from(([127, 0, 0, 2 + (number % 50) as u8], 0));
        socket.bind(&source.into())?;
        socket.connect_timeout(&address.into(), SOON)?;
        socket.set_nonblocking(true)?;
        let now = Instant::now();
        let first = match kind {
            Kind::Head => "GET / HTTP/1.1\r\nHost: x\r\n".to_owned(),
            Kind::LargeHead => {
                format!("GET / HTTP/1.1\r\nHost: x\r\n{}", format!("A: {}\r\n", "a".repeat(7500)).repeat(8))
            }
            Kind::Body => "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8192\r\n\r\n".to_owned(),
            Kind::Reader => "GET /large HTTP/1.1\r\nHost: x\r\n\r\n".repeat(5),
        };
        let _ = (&socket).write(first.as_bytes());
        Ok(Self {
            kind,
            socket: Some(socket),
            began: now,
            next: now + DRIP,
            lived: Duration::ZERO,
            read: 0,
            given: None,
            earned: 0,
        })
    }

    /// Sends its next drop, or takes it.
    fn drip(&mut self, now: Instant) {
        let Some(mut socket) = self.socket.as_ref() else { return };
        self.next = now + DRIP;
        // What is wrong is told by the poll.
        let _ = match self.kind {
            Kind::Head | Kind::LargeHead => socket.write(b"X: y\r\n"),
            Kind::Body => socket.write(b"x").inspect(|count| self.earned += *count as u64),
            Kind::Reader => socket.read(&mut [0; 16]).inspect(|count| self.read += *count as u64),
        };
        if self.kind == Kind::Reader {
            self.look(now);
        }
    }

    /// What its kernel has taken for it, it has taken.
    fn look(&mut self, now: Instant) {
        let Some(socket) = &self.socket else { return };
        let come = self.read + rustix::io::ioctl_fionread(socket).unwrap_or(0);
        if now - self.began < FIRST_LOOK {
            self.given = Some(come);
        }
        self.earned = self.earned.max(come.saturating_sub(self.given.unwrap_or(come)));
    }

    /// How long the settings allow it to live. A head is given `header_longest`, which is its patience here; bodies and
    /// responses `body_timeout` and `send_timeout`, and what they earn at the minimum rate.
    fn allowed(&self, patience: Duration) -> Duration {
        match self.kind {
            Kind::Head | Kind::LargeHead => patience,
            Kind::Body | Kind::Reader => patience + Duration::from_secs_f64(self.earned as f64 / MINIMUM as f64),
        }
    }

    /// What the poll is to tell of: that the server has closed, or has answered one that has asked nothing whole.
    fn end(&self) -> EpollFlags {
        let closed = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        if self.kind == Kind::Reader { closed } else { closed | EpollFlags::EPOLLIN }
    }

    fn is_over(&mut self, now: Instant) {
        self.lived = now - self.began;
        if self.kind == Kind::Reader {
            self.look(now);
        }
        self.socket = None;
    }
}

/// What the client that does not take its time has met.
#[derive(Debug, Default)]
struct Seen {
    times: Vec<Duration>,
    errors: Vec<String>,
}

impl Seen {
    fn quantile(&mut self, of: f64) -> f64 {
        self.times.sort_unstable();
        let last = self.times.len().saturating_sub(1);
        let at = ((last as f64) * of).round() as usize;
        self.times.get(at).map_or(f64::INFINITY, |time| time.as_secs_f64() * 1000.0)
    }
}

/// Asks for a small file every few milliseconds until it is told to stop: on a new connection, then on one that is kept.
fn probe(address: &Address, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut kept = Client::to(address);
    while !stop.load(Ordering::Relaxed) {
        for new in [true, false] {
            let began = Instant::now();
            let asked = if new {
                Client::connect(address).and_then(|mut client| client.ask("GET", "/small", ""))
            } else {
                kept.ask("GET", "/small", "")
            };
            match asked {
                Ok(answer) if answer.status == 200 => seen.times.push(began.elapsed()),
                Ok(answer) => seen.errors.push(format!("status {}", answer.status)),
                Err(error) => {
                    seen.errors.push(format!("{error} (new: {new}) after {:?}", began.elapsed()));
                    kept = Client::to(address);
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    seen
}

fn during<T>(address: &Address, what: impl FnOnce() -> T) -> (Seen, T) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let probe = scope.spawn(|| probe(address, &stop));
        let result = what();
        stop.store(true, Ordering::Relaxed);
        (probe.join().expect("the probe"), result)
    })
}

/// Makes room for as many descriptors as allowed.
pub(super) fn raise_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Has this thread run only when nobody else wants to.
fn give_way() {
    let thread = nix::unistd::gettid().to_string();
    let idle = Command::new("chrt").args(["--idle", "--pid", "0", &thread]).output();
    let idle = idle.expect("chrt, of Debian's util-linux");
    assert!(idle.status.success(), "{idle:?}");
}

/// Slow heads, bodies and readers all at once: nobody else notices, and they are gone when their time is over.
pub(crate) fn slow_clients(attack: Attack) -> Outcome {
    raise_limit();
    let mut outcome = Outcome::default();
    let directory = Directory::new();
    std::fs::write(directory.join("small"), "small").expect("a file");
    std::fs::write(directory.join("large"), vec![b'x'; 20_000_000]).expect("a file");
    let seconds = attack.patience.as_secs().to_string();
    let connections = attack.worker_connections.to_string();
    let minimum = MINIMUM.to_string();
    let server = Server::files(directory.path())
        .args(&["-w", "2", "--worker-connections", &connections, "--backlog", "4096"])
        .args(&["--header-timeout", &seconds, "--header-longest", &seconds, "--body-timeout", &seconds])
        .args(&["--send-timeout", &seconds, "--log-level", "error"])
        .args(&["--body-min-rate", &minimum, "--send-min-rate", &minimum])
        .start();
    let Address::Tcp(address) = &server.address else { panic!("not TCP") };
    let address: SocketAddr = *address;
    let workers = server.workers();
    let (mut quiet, ()) = during(&server.address, || std::thread::sleep(Duration::from_secs(3)));
    let resident = |pids: &[i32]| pids.iter().map(|pid| process::resident(*pid)).max().unwrap_or(0);
    let before = resident(&workers);
    let kinds = [
        (Kind::Head, attack.heads),
        (Kind::LargeHead, attack.large_heads),
        (Kind::Body, attack.bodies),
        (Kind::Reader, attack.readers),
    ];
    // Mixed, as many of each in each part of the time.
    let mut order: Vec<(usize, Kind)> = kinds
        .iter()
        .flat_map(|(kind, count)| (0..*count).map(move |number| (number * 1_000_000 / count.max(&1), *kind)))
        .collect();
    order.sort_by_key(|(at, _)| *at);
    let (mut seen, (attackers, peak)) = during(&server.address, || {
        if attack.aside {
            give_way();
        }
        let mut attackers: Vec<Attacker> = Vec::new();
        let (mut alive, mut peak) = (0, 0);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("a poll");
        let mut events = vec![EpollEvent::empty(); 256];
        let began = Instant::now();
        let mut sampled = began;
        let mut left = order.iter().enumerate();
        let end = began + Duration::from_secs_f64(order.len() as f64 / attack.rate as f64) + attack.patience * 4;
        loop {
            let now = Instant::now();
            let due = ((now - began).as_secs_f64() * attack.rate as f64) as usize;
            while attackers.len() < due.min(order.len()) {
                let Some((number, (_, kind))) = left.next() else { break };
                let attacker = Attacker::connect(*kind, address, number)
                    .unwrap_or_else(|error| panic!("attacker {number} cannot connect: {error}"));
                if let Some(socket) = &attacker.socket {
                    epoll.add(socket, EpollEvent::new(attacker.end(), number as u64)).expect("polled");
                }
                attackers.push(attacker);
                alive += 1;
            }
            for attacker in attackers.iter_mut().filter(|attacker| attacker.socket.is_some() && attacker.next <= now) {
                attacker.drip(now);
            }
            let count = epoll.wait(&mut events, EpollTimeout::from(2_u8)).unwrap_or(0);
            let now = Instant::now();
            for event in &events[..count] {
                attackers[event.data() as usize].is_over(now);
                alive -= 1;
            }
            if sampled.elapsed() > Duration::from_millis(50) {
                sampled = Instant::now();
                peak = peak.max(resident(&workers));
            }
            if (alive == 0 && attackers.len() == order.len()) || now > end {
                return (attackers, peak);
            }
        }
    });
    let name = format!("{} slow clients, {connections} connections a worker", order.len());
    for (kind, count) in kinds.iter().filter(|(_, count)| *count > 0) {
        let of_kind = attackers.iter().filter(|attacker| attacker.kind == *kind);
        let left = of_kind.clone().filter(|attacker| attacker.socket.is_some()).count();
        let late = |attacker: &Attacker| attacker.lived.as_secs_f64() - attacker.allowed(attack.patience).as_secs_f64();
        outcome.figure(format!("{name}: {count} {kind:?} left"), left.to_string(), "0", left == 0);
        let Some(worst) = of_kind.max_by(|one, other| late(one).total_cmp(&late(other))) else { continue };
        let (lived, allowed) = (worst.lived.as_secs_f64(), worst.allowed(attack.patience).as_secs_f64());
        outcome.figure(
            format!("{name}: {kind:?} that is latest behind its deadline"),
            format!("{:.3} s: {lived:.3} of {allowed:.3} s, {} bytes earned", late(worst), worst.earned),
            "<= 1 s",
            late(worst) <= 1.0,
        );
    }
    outcome.figure(
        format!("{name}: errors of others"),
        format!("{} of {} {:?}", seen.errors.len(), seen.times.len(), seen.errors.first()),
        "0",
        seen.errors.is_empty() && seen.times.len() > 100,
    );
    let (calm, busy) = (quiet.quantile(0.99), seen.quantile(0.99));
    outcome.figure(
        format!("{name}: p50 and p99 of others"),
        format!("{:.2} and {busy:.2} ms (quiet: {:.2} and {calm:.2})", seen.quantile(0.5), quiet.quantile(0.5)),
        "p99 < 2 x quiet, or 2 ms",
        busy < (2.0 * calm).max(2.0),
    );
    // What a connection may hold at most: its head, and the part of its body that stays in memory.
    let cap = before + (attack.worker_connections as u64) * (64 + 64);
    outcome.at_most(&format!("{name}: memory of a worker"), peak as f64 / 1024.0, cap as f64 * 1.2 / 1024.0, " MiB");
    let replaced = server.workers() != workers;
    outcome.figure(format!("{name}: workers lost"), replaced.to_string(), "false", !replaced);
    outcome
}

/// `peer_connections` and the like need no thousand clients.
#[test]
fn slow_clients_are_gone_when_their_time_is_over_and_nobody_else_notices() {
    let attack = Attack {
        heads: 200,
        large_heads: 20,
        bodies: 60,
        readers: 20,
        rate: 400,
        patience: Duration::from_secs(3),
        worker_connections: 1000,
        aside: false,
    };
    let outcome = slow_clients(attack);
    // How fast others are served is a figure for a quiet machine.
    let missed: Vec<_> =
        outcome.figures.iter().filter(|figure| !figure.holds && !figure.name.contains("p99")).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn a_worker_that_is_full_of_slow_clients_makes_room() {
    let directory = Directory::new();
    std::fs::write(directory.join("small"), "small").expect("a file");
    let server = Server::files(directory.path()).args(&["-w", "1", "--worker-connections", "50"]).start();
    let Address::Tcp(address) = &server.address else { panic!("not TCP") };
    let slow: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut socket = TcpStream::connect(address).expect("a connection");
            socket.write_all(b"GET / HTTP/1.1\r\n").expect("sent");
            socket
        })
        .collect();
    let began = Instant::now();
    poll_until("a client that is not slow to be served", SOON, || {
        Client::connect(&server.address).and_then(|mut client| client.ask("GET", "/small", "")).ok()
    });
    assert!(began.elapsed() < Duration::from_secs(8), "after {:?}", began.elapsed());
    drop(slow);
}
