//! A load for large answers: asks for the same thing over and over and has the kernel throw the answers away.
//!
//! `sink PORT PATH CONNECTIONS SECONDS LENGTH`. Every answer must be `HTTP/1.1 200` and `LENGTH` bytes long, head
//! included. wrk copies what it reads, 8 KiB at a time; with large files that saturates its core long before the server's.
//! Here the bytes are counted with `MSG_TRUNC`, which copies nothing, so the server is what limits the rate.

use std::io::{Error, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::RecvFlags;

/// The most that one call throws away.
const GULP: usize = 1 << 20;
const STATUS: &[u8] = b"HTTP/1.1 200 ";
const USAGE: &str = "usage: sink PORT PATH CONNECTIONS SECONDS LENGTH";

struct Connection {
    stream: TcpStream,
    asked: Instant,
    /// Bytes of the answer that have arrived.
    arrived: usize,
}

struct Load {
    connections: Vec<Connection>,
    request: Vec<u8>,
    length: usize,
    /// Never written to.
    gulp: Vec<u8>,
    latencies: Vec<u32>,
    bytes: u64,
}

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, path, connections, seconds, length] = arguments.as_slice() else { panic!("{USAGE}") };
    let port: u16 = port.parse().expect(USAGE);
    let connections: usize = connections.parse().expect(USAGE);
    let seconds: f64 = seconds.parse().expect(USAGE);
    let mut load = Load {
        connections: Vec::with_capacity(connections),
        request: format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").into_bytes(),
        length: length.parse().expect(USAGE),
        gulp: vec![0; GULP],
        latencies: Vec::new(),
        bytes: 0,
    };
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for index in 0..connections {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(
            &epoll,
            &stream,
            EventData::new_u64(index as u64),
            EventFlags::IN | EventFlags::RDHUP | EventFlags::ET,
        )?;
        load.connections.push(Connection { stream, asked: Instant::now(), arrived: 0 });
    }
    let begun = Instant::now();
    let duration = Duration::from_secs_f64(seconds);
    for index in 0..connections {
        load.ask(index)?;
    }
    let mut events = Vec::with_capacity(256);
    while begun.elapsed() < duration {
        let left = duration.saturating_sub(begun.elapsed());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        events.clear();
        match epoll::wait(&epoll, spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let data = event.data;
            load.read(data.u64() as usize)?;
        }
    }
    let elapsed = begun.elapsed().as_secs_f64();
    let answers = load.latencies.len();
    load.latencies.sort_unstable();
    let percentile = |percent: usize| load.latencies.get(answers * percent / 100).copied().unwrap_or_default();
    println!(
        "{{\"requests\": {answers}, \"seconds\": {elapsed:.6}, \"bytes\": {}, \"p50\": {}, \"p99\": {}}}",
        load.bytes,
        percentile(50),
        percentile(99),
    );
    Ok(())
}

impl Load {
    fn ask(&mut self, index: usize) -> Result<(), Error> {
        let connection = &mut self.connections[index];
        connection.arrived = 0;
        connection.asked = Instant::now();
        // The socket is empty: there is room for a request.
        connection.stream.write_all(&self.request)
    }

    /// Takes all that has arrived, and asks again when that ends an answer.
    fn read(&mut self, index: usize) -> Result<(), Error> {
        loop {
            let connection = &mut self.connections[index];
            let read = if connection.arrived < STATUS.len() {
                let mut start = [0; STATUS.len()];
                let wanted = STATUS.len() - connection.arrived;
                let read = rustix::net::recv(&connection.stream, &mut start[..wanted], RecvFlags::empty());
                if read.is_ok_and(|(read, _)| !STATUS[connection.arrived..].starts_with(&start[..read])) {
                    return Err(Error::other("an answer that does not begin with HTTP/1.1 200"));
                }
                read.map(|(read, _)| read)
            } else {
                let wanted = GULP.min(self.length - connection.arrived);
                let gulp = &mut self.gulp[..wanted];
                rustix::net::recv(&connection.stream, gulp, RecvFlags::TRUNC).map(|(_, read)| read)
            };
            match read {
                Ok(0) => return Err(Error::other("a connection was closed")),
                Ok(read) => {
                    connection.arrived += read;
                    self.bytes += read as u64;
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if connection.arrived == self.length {
                self.latencies.push(u32::try_from(connection.asked.elapsed().as_micros()).unwrap_or(u32::MAX));
                // Nothing more can have arrived, so what comes next raises a new event.
                return self.ask(index);
            }
        }
    }
}
