//! Fast requests beside slow ones: how long each fast one took, as its client has seen it.
//!
//! `beside PORT FAST SLOW CONNECTIONS STREAMS SECONDS keep|new`. Each of `CONNECTIONS` clients asks for the path `FAST`,
//! thinks for a moment, and asks again, over a connection that it keeps or over a new one each time; each of `STREAMS`
//! asks for `SLOW` over and over. Every client is a thread that waits for its own socket and nothing else, so that none
//! is seen late because another was looked at. An answer must be `HTTP/1.1 200` with a `Content-Length`; who closes is
//! connected to again, and that time counts.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const USAGE: &str = "usage: beside PORT FAST SLOW CONNECTIONS STREAMS SECONDS keep|new";
/// What a client does between an answer and its next request.
const THINKING: Duration = Duration::from_millis(2);
/// An answer that takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(10);

struct Client {
    port: u16,
    request: Vec<u8>,
    keep: bool,
    stream: Option<TcpStream>,
}

impl Client {
    fn new(port: u16, path: &str, keep: bool) -> Self {
        let close = if keep { "" } else { "Connection: close\r\n" };
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{close}\r\n").into_bytes();
        Self { port, request, keep, stream: None }
    }

    /// Asks, and returns how long the answer took. A kept connection that turns out to be closed is made again, once.
    fn ask(&mut self) -> Result<Duration, Error> {
        let began = Instant::now();
        let kept = self.stream.is_some();
        let closes = match self.exchange() {
            Err(error) if kept && !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::InvalidData) => {
                self.stream = None;
                self.exchange()?
            }
            exchanged => exchanged?,
        };
        let took = began.elapsed();
        if closes || !self.keep {
            self.stream = None;
        }
        Ok(took)
    }

    /// Whether the server closes.
    fn exchange(&mut self) -> Result<bool, Error> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            place => {
                let stream = TcpStream::connect(("127.0.0.1", self.port))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                place.insert(stream)
            }
        };
        stream.write_all(&self.request)?;
        let mut buffer = [0; 4096];
        let mut length = 0;
        loop {
            match stream.read(&mut buffer[length..])? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                read => length += read,
            }
            if let Some((end, closes)) = parsed(&buffer[..length])? {
                if length >= end {
                    return Ok(closes);
                }
            }
        }
    }
}

/// Where an answer ends whose head is there, and whether the connection does, too.
fn parsed(answer: &[u8]) -> Result<Option<(usize, bool)>, Error> {
    let wrong = || Error::new(ErrorKind::InvalidData, String::from_utf8_lossy(answer).into_owned());
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| wrong())?.to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") {
        return Err(wrong());
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).ok_or_else(wrong)?;
    let length: usize = length.trim().parse().map_err(|_| wrong())?;
    Ok(Some((end + 4 + length, head.contains("\r\nconnection: close"))))
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, fast, slow, connections, streams, seconds, how] = arguments.as_slice() else { panic!("{USAGE}") };
    let port: u16 = port.parse().expect(USAGE);
    let connections: usize = connections.parse().expect(USAGE);
    let streams: usize = streams.parse().expect(USAGE);
    let duration = Duration::from_secs_f64(seconds.parse().expect(USAGE));
    let keep = match how.as_str() {
        "keep" => true,
        "new" => false,
        _ => panic!("{USAGE}"),
    };
    let (errors, slow_answers) = (AtomicU64::new(0), AtomicU64::new(0));
    let begun = Instant::now();
    // What comes while the slow ones begin is measured, too: they have begun by then.
    let first = begun + Duration::from_millis(500).min(duration / 4);
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        for number in 0..streams {
            let (errors, slow_answers) = (&errors, &slow_answers);
            scope.spawn(move || {
                let mut client = Client::new(port, slow, keep);
                // One stream after the other, so that each finds another worker or thread.
                std::thread::sleep(Duration::from_millis(50) * number as u32);
                while begun.elapsed() < duration {
                    let counter = if client.ask().is_ok() { slow_answers } else { errors };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let clients: Vec<_> = (0..connections)
            .map(|_| {
                let errors = &errors;
                scope.spawn(move || {
                    let (mut client, mut times) = (Client::new(port, fast, keep), Vec::new());
                    while begun.elapsed() < duration {
                        let late_enough = Instant::now() >= first;
                        match client.ask() {
                            Ok(time) if late_enough => times.push(time),
                            Ok(_) => {}
                            Err(error) => {
                                eprintln!("{error}");
                                errors.fetch_add(1, Ordering::Relaxed);
                                client.stream = None;
                            }
                        }
                        std::thread::sleep(THINKING);
                    }
                    times
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
    });
    times.sort_unstable();
    let at = |share: f64| {
        let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
        times.get(index).map_or(0, Duration::as_micros)
    };
    println!(
        "{{\"requests\": {}, \"p50\": {}, \"p99\": {}, \"max\": {}, \"slow\": {}, \"errors\": {}}}",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0),
        slow_answers.into_inner(),
        errors.into_inner(),
    );
}
