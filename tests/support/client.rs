//! A raw HTTP/1.1 client that believes nothing: it checks the framing of what it gets, and never retries.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::Address;
use super::address::Stream;
use super::answer::{Answer, Flaw};
use super::doors::Door;

/// How long a client waits for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: Stream,
    buffer: Vec<u8>,
    ended: bool,
}

impl Client {
    pub(crate) fn connect(address: &Address) -> io::Result<Self> {
        Ok(Self { stream: address.connect(PATIENCE)?, buffer: Vec::new(), ended: false })
    }

    /// Connects to a server that must be there.
    #[track_caller]
    pub(crate) fn to(address: &Address) -> Self {
        Self::connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// The next response; those that are interim (1xx) count.
    pub(crate) fn answer(&mut self) -> io::Result<Answer> {
        self.answer_to(false)
    }

    /// The next response, to a HEAD if `head_only`.
    pub(crate) fn answer_to(&mut self, head_only: bool) -> io::Result<Answer> {
        self.answer_by(Door::Http, head_only)
    }

    /// The same by another protocol.
    pub(crate) fn answer_by(&mut self, door: Door, head_only: bool) -> io::Result<Answer> {
        loop {
            match door.parse(&self.buffer, head_only, self.ended) {
                Ok((answer, taken)) => {
                    self.buffer.drain(..taken);
                    return Ok(answer);
                }
                Err(Flaw::Invalid(what)) => return Err(io::Error::new(io::ErrorKind::InvalidData, what)),
                Err(Flaw::Incomplete) if self.ended => {
                    let got = String::from_utf8_lossy(&self.buffer).into_owned();
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("the end after {got:?}")));
                }
                Err(Flaw::Incomplete) => self.fill()?,
            }
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut bytes = [0; 65536];
        match self.stream.read(&mut bytes)? {
            0 => self.ended = true,
            count => self.buffer.extend_from_slice(&bytes[..count]),
        }
        Ok(())
    }

    /// Sends a request without a body and returns its answer.
    pub(crate) fn ask(&mut self, method: &str, target: &str, fields: &str) -> io::Result<Answer> {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"))?;
        self.answer_to(method == "HEAD")
    }

    #[track_caller]
    pub(crate) fn get(&mut self, target: &str) -> Answer {
        self.ask("GET", target, "").unwrap_or_else(|error| panic!("GET {target}: {error}"))
    }

    /// Reads until what has come ends in `end`.
    pub(crate) fn rest_until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        while !self.ended && !self.buffer.ends_with(end) {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Waits for the server to close, and returns what came before it did.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        while !self.ended {
            match self.fill() {
                // A reset is an end, too; what came before it counts.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => self.ended = true,
                other => other?,
            }
        }
        Ok(std::mem::take(&mut self.buffer))
    }
}

/// One request on a connection of its own.
#[track_caller]
pub(crate) fn get(address: &Address, target: &str) -> Answer {
    try_get(address, target).unwrap_or_else(|error| panic!("GET {target} from {address}: {error}"))
}

pub(crate) fn try_get(address: &Address, target: &str) -> io::Result<Answer> {
    Client::connect(address)?.ask("GET", target, "Connection: close\r\n")
}

/// What the server says to these bytes until it closes.
pub(crate) fn exchange(address: &Address, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut client = Client::connect(address)?;
    client.send(bytes)?;
    client.rest()
}
