//! The floor: one epoll loop that finds the ends of request heads and writes a fixed answer.
//!
//! `peer-bare PORT|unix:PATH [VARIANT..]`. Without variants it does the least that was found to work: edge triggering, one `recv`
//! and one `send` for each event, one `accept4` for each event of the listener. It parses nothing, knows no timeouts and
//! drops a client that does not take a whole answer at once. A variant does one thing in another way, as an engine might,
//! to show what it costs:
//!
//! | variant | does |
//! |---|---|
//! | `burst` | reads the whole batch before it answers |
//! | `clock` | reads the clock once for each event |
//! | `close` | answers `Connection: close` and closes |
//! | `drain` | reads until there is nothing left |
//! | `eager` | reads a new connection at once, and registers it only if it is still open after that |
//! | `greedy` | accepts until there is nothing left |
//! | `level` | level triggering, with interest in `EPOLLIN` alone |
//! | `one` | fetches one event at a time |
//! | `out` | interest in `EPOLLOUT`, too |
//! | `packet` | takes what one `recv` brings for a request, as nginx sends one by uwsgi |
//! | `read` | `read` and `write` in the place of `recv` and `send` |
//! | `rearm` | one `epoll_ctl` for each event, as with `EPOLLONESHOT` |
//! | `sendmsg` | the head and the body as two parts of one `sendmsg` |
//! | `shutdown` | shuts the write side down before it closes |
//! | `thread` | a second thread, asleep |
//! | `writev` | the head and the body as two parts of one `writev` |

use std::io::IoSlice;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Instant, SystemTime};

use memchr::memmem::Finder;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::{self, Errno};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags};

/// Events fetched at a time.
const BATCH: usize = 256;
/// Answers that one write can carry; 16 is what the load pipelines.
const ANSWERS: usize = 64;
const READ_BUFFER: usize = 16 * 1024;
const HEAD_END: &[u8] = b"\r\n\r\n";
const BODY: &[u8] = b"Hello, World!";

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().expect("usage: peer-bare PORT|unix:PATH [VARIANT..]");
    let variant = Variant::named(&arguments.collect::<Vec<_>>());
    if variant.thread {
        std::thread::spawn(|| {
            loop {
                std::thread::park();
            }
        });
    }
    Ok(Floor::new(listen(&address)?, variant)?.run()?)
}

fn listen(address: &str) -> std::io::Result<OwnedFd> {
    if let Some(path) = address.strip_prefix("unix:") {
        return Ok(UnixListener::bind(path)?.into());
    }
    let port: u16 = address.parse().expect("a port, or unix:PATH");
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    // Accepted sockets inherit it, which saves a call for each of them.
    rustix::net::sockopt::set_tcp_nodelay(&listener, true)?;
    Ok(listener.into())
}

#[derive(Clone, Copy)]
struct Variant {
    burst: bool,
    clock: bool,
    close: bool,
    drain: bool,
    eager: bool,
    one: bool,
    packet: bool,
    rearm: bool,
    read: bool,
    sendmsg: bool,
    shutdown: bool,
    greedy: bool,
    thread: bool,
    writev: bool,
    interest: EventFlags,
}

impl Variant {
    const NAMES: &str =
        "burst clock close drain eager greedy level one out packet read rearm sendmsg shutdown thread writev";

    fn named(names: &[String]) -> Self {
        for name in names {
            assert!(Self::NAMES.split(' ').any(|known| known == name), "no variant is called {name}: {}", Self::NAMES);
        }
        let has = |name: &str| names.iter().any(|given| given == name);
        let mut interest = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        if has("level") {
            interest = EventFlags::IN;
        }
        if has("out") {
            interest |= EventFlags::OUT;
        }
        Self {
            burst: has("burst"),
            clock: has("clock"),
            close: has("close"),
            drain: has("drain"),
            eager: has("eager"),
            one: has("one"),
            packet: has("packet"),
            rearm: has("rearm"),
            read: has("read"),
            sendmsg: has("sendmsg"),
            shutdown: has("shutdown"),
            greedy: has("greedy"),
            thread: has("thread"),
            writev: has("writev"),
            interest,
        }
    }
}

struct Connection {
    fd: OwnedFd,
    /// How many bytes of [`HEAD_END`] the last read ended with.
    matched: u8,
}

struct Floor {
    listener: OwnedFd,
    epoll: OwnedFd,
    /// By file descriptor.
    connections: Vec<Option<Connection>>,
    buffer: Vec<u8>,
    head_end: Finder<'static>,
    /// [`ANSWERS`] copies of the answer.
    answers: Vec<u8>,
    /// The length of one.
    answer: usize,
    variant: Variant,
    latest: Instant,
}

impl Floor {
    fn new(listener: OwnedFd, variant: Variant) -> std::io::Result<Self> {
        rustix::io::ioctl_fionbio(&listener, true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, event_data(&listener), EventFlags::IN)?;
        let date = httpdate::fmt_http_date(SystemTime::now());
        let close = if variant.close { "Connection: close\r\n" } else { "" };
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nServer: benchmark\r\nDate: {date}\r\n{close}\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
            BODY.len()
        )
        .into_bytes();
        answer.extend_from_slice(BODY);
        Ok(Self {
            listener,
            epoll,
            connections: Vec::new(),
            buffer: Vec::with_capacity(READ_BUFFER),
            head_end: Finder::new(HEAD_END),
            answers: answer.repeat(ANSWERS),
            answer: answer.len(),
            variant,
            latest: Instant::now(),
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(if self.variant.one { 1 } else { BATCH });
        let mut owed = Vec::with_capacity(BATCH);
        let listener = event_data(&self.listener);
        loop {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            }
            for event in &events {
                let (data, flags) = (event.data, event.flags);
                if data == listener {
                    self.accept()?;
                    continue;
                }
                let fd = data.u64() as usize;
                // Without one of these a short read has emptied the socket, and the next byte raises the next event.
                let ends = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
                let outcome = match self.read(fd, ends || self.variant.drain) {
                    Ok(heads) if self.variant.burst => {
                        owed.push((fd, heads));
                        Ok(())
                    }
                    Ok(heads) => self.answer(fd, heads),
                    Err(error) => Err(error),
                };
                if outcome.is_err() {
                    self.connections[fd] = None;
                }
            }
            for (fd, heads) in owed.drain(..) {
                if self.answer(fd, heads).is_err() {
                    self.connections[fd] = None;
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let fd = match rustix::net::accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(fd) => fd,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::CONNABORTED | Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            let slot = fd.as_raw_fd() as usize;
            if slot >= self.connections.len() {
                self.connections.resize_with(slot + 1, || None);
            }
            self.connections[slot] = Some(Connection { fd, matched: 0 });
            let outcome = match self.variant.eager {
                true => self.read(slot, false).and_then(|heads| self.answer(slot, heads)),
                false => Ok(()),
            };
            match (&self.connections[slot], outcome) {
                // What arrived before raises an event on registration, too.
                (Some(Connection { fd, .. }), Ok(())) => {
                    epoll::add(&self.epoll, fd, event_data(fd), self.variant.interest)?;
                }
                _ => self.connections[slot] = None,
            }
            if !self.variant.greedy {
                return Ok(());
            }
        }
    }

    /// Reads what there is and tells how many heads ended. Reads once more than a short read when told to `drain`.
    fn read(&mut self, fd: usize, drain: bool) -> io::Result<usize> {
        let Some(connection) = &mut self.connections[fd] else { return Err(Errno::BADF) };
        let mut heads = 0;
        loop {
            self.buffer.clear();
            let room = spare_capacity(&mut self.buffer);
            let read = if self.variant.read {
                io::read(&connection.fd, room)
            } else {
                rustix::net::recv(&connection.fd, room, RecvFlags::empty()).map(|(read, _)| read)
            };
            match read {
                Ok(0) => return Err(Errno::PIPE),
                Ok(_) if self.variant.packet => heads += 1,
                Ok(_) => heads += ended_heads(&self.head_end, &mut connection.matched, &self.buffer),
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error),
            }
            if !drain && self.buffer.len() < self.buffer.capacity() {
                break;
            }
        }
        if self.variant.clock {
            self.latest = Instant::now();
        }
        if self.variant.rearm {
            epoll::modify(&self.epoll, &connection.fd, event_data(&connection.fd), self.variant.interest)?;
        }
        Ok(heads)
    }

    fn answer(&self, fd: usize, mut heads: usize) -> io::Result<()> {
        let Some(connection) = &self.connections[fd] else { return Ok(()) };
        while heads > 0 {
            let count = heads.min(ANSWERS);
            let answers = &self.answers[..count * self.answer];
            let (head, body) = answers.split_at(answers.len() - BODY.len());
            let parts = [IoSlice::new(head), IoSlice::new(body)];
            let written = if self.variant.writev {
                io::writev(&connection.fd, &parts)?
            } else if self.variant.sendmsg {
                let mut control = SendAncillaryBuffer::default();
                rustix::net::sendmsg(&connection.fd, &parts, &mut control, SendFlags::NOSIGNAL)?
            } else if self.variant.read {
                io::write(&connection.fd, answers)?
            } else {
                rustix::net::send(&connection.fd, answers, SendFlags::NOSIGNAL)?
            };
            if self.variant.shutdown {
                rustix::net::shutdown(&connection.fd, Shutdown::Write)?;
            }
            if written < answers.len() || self.variant.close {
                return Err(Errno::PIPE);
            }
            heads -= count;
        }
        Ok(())
    }
}

fn event_data(fd: &impl AsRawFd) -> EventData {
    EventData::new_u64(fd.as_raw_fd() as u64)
}

/// Counts the heads that end in `bytes`, when `matched` bytes of [`HEAD_END`] came before.
fn ended_heads(finder: &Finder<'_>, matched: &mut u8, mut bytes: &[u8]) -> usize {
    let mut heads = 0;
    // What an earlier read began is matched byte by byte; that is rare.
    while *matched > 0 {
        let Some((&byte, rest)) = bytes.split_first() else { return heads };
        bytes = rest;
        *matched = match byte {
            b'\r' if *matched == 2 => 3,
            b'\r' => 1,
            b'\n' if *matched % 2 == 1 => *matched + 1,
            _ => 0,
        };
        if usize::from(*matched) == HEAD_END.len() {
            heads += 1;
            *matched = 0;
        }
    }
    let mut rest = bytes;
    for end in finder.find_iter(bytes) {
        heads += 1;
        rest = &bytes[end + HEAD_END.len()..];
    }
    let longest = rest.len().min(HEAD_END.len() - 1);
    let partial = (1..=longest).rev().find(|&length| HEAD_END.starts_with(&rest[rest.len() - length..]));
    *matched = partial.unwrap_or(0) as u8;
    heads
}

#[cfg(test)]
mod tests {
    use super::{Finder, HEAD_END, ended_heads};

    #[test]
    fn heads_are_counted_however_they_are_split() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /\r HTTP/1.1\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r";
        let finder = Finder::new(HEAD_END);
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let mut matched = 0;
                let parts = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                let heads: usize = parts.iter().map(|part| ended_heads(&finder, &mut matched, part)).sum();
                assert_eq!((heads, matched), (3, 3), "split at {first} and {second}");
            }
        }
    }
}
