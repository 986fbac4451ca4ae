//! What an application is asked.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::streamed::StreamedBody;
use crate::protocol::{FieldId, Fields, Head, Version, request_start};

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP address.
    Ip(SocketAddr),
    /// A unix socket; a peer's has no path as a rule.
    Unix(Option<PathBuf>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            Self::Unix(None) => f.write_str("unix:"),
        }
    }
}

/// Who is at the other end, and how far what it says about others is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address: that of the socket, or the one that a trusted peer's PROXY header named.
    pub address: Address,
    /// The address that the client had connected to, where a trusted peer's PROXY header named it.
    pub destination: Option<Box<SocketAddr>>,
    /// Whether its forwarded fields are believed (`forwarded_allow_ips`; unix peers always are).
    pub trusted: bool,
    /// Whether the client's own connection is known to be `https`.
    pub secure: bool,
}

/// The body of a request, complete: in memory, or in an unlinked file if it was large. Or a stream, for who asked for it.
#[derive(Debug, Default)]
pub enum RequestBody {
    /// There is none.
    #[default]
    Empty,
    /// All of it.
    Memory(Vec<u8>),
    /// An unlinked file that holds all of it.
    File {
        /// The file.
        file: File,
        /// Bytes in it.
        length: u64,
    },
    /// It is still arriving, and the application has [asked](super::Application::streams) for that.
    Stream(StreamedBody),
}

impl RequestBody {
    /// Bytes in it. Of a stream those that the client has promised, and none if it has not.
    pub fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
            Self::Stream(body) => body.length().unwrap_or(0),
        }
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(_) => false,
            _ => self.len() == 0,
        }
    }

    /// Reads it from its beginning; several readers do not disturb each other. Not for a stream, of which there is one.
    pub fn reader(&self) -> BodyReader<'_> {
        BodyReader { body: self, offset: 0 }
    }
}

/// Reads a [`RequestBody`].
#[derive(Clone, Debug)]
pub struct BodyReader<'a> {
    body: &'a RequestBody,
    offset: u64,
}

impl Read for BodyReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self.body {
            RequestBody::Empty => 0,
            RequestBody::Memory(bytes) => {
                let start = usize::try_from(self.offset).unwrap_or(usize::MAX);
                bytes.get(start..).unwrap_or_default().read(buffer)?
            }
            RequestBody::File { file, .. } => file.read_at(buffer, self.offset)?,
            RequestBody::Stream(_) => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "the body of this request is streamed"));
            }
        };
        self.offset += read as u64;
        Ok(read)
    }
}

/// A request: its head, its body, and where it came from.
#[derive(Debug)]
pub struct Request<'a> {
    head: &'a Head,
    body: &'a RequestBody,
    peer: &'a Peer,
    local: &'a Address,
    /// Bytes of the path that have led to the application.
    mount: usize,
    waited: Duration,
}

/// A front-end's word that a request is older than this is a clock that goes wrong.
const OLDEST: Duration = Duration::from_secs(3600);

/// How long a request has waited before it was started: in the server for as long as `waited`, or since the moment that a
/// trusted front-end names.
pub(crate) fn queue_time(head: &Head, peer: &Peer, waited: Duration) -> Duration {
    let Some(value) = head.known(FieldId::XRequestStart).filter(|_| peer.trusted) else { return waited };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let since = request_start::parse(value).and_then(|start| now.checked_sub(start));
    since.filter(|since| *since <= OLDEST).map_or(waited, |since| since.max(waited))
}

impl<'a> Request<'a> {
    /// Puts a request together (a worker does this; so may a test).
    #[inline]
    pub fn new(head: &'a Head, body: &'a RequestBody, peer: &'a Peer, local: &'a Address) -> Self {
        Self { head, body, peer, local, mount: head.script_length(), waited: Duration::ZERO }
    }

    /// The same after it has waited in the server.
    #[must_use]
    #[inline]
    pub fn after(mut self, waited: Duration) -> Self {
        self.waited = waited;
        self
    }

    /// How long it has waited until now, to some milliseconds: from the moment when it had arrived in the server, or from
    /// the one that a trusted front-end says in `X-Request-Start`.
    pub fn queue_time(&self) -> Duration {
        queue_time(self.head, self.peer, self.waited)
    }

    /// Lets this call go on for so long from now, whatever `request_timeout` and `timeout` say, for work that is known to
    /// take its time; never less than before. `false` in a thread that is not the one that was called.
    pub fn extend_deadline(&self, time: Duration) -> bool {
        super::extend_deadline(time)
    }

    /// The head, with all that is not repeated here.
    pub fn head(&self) -> &'a Head {
        self.head
    }

    /// The method, in the case that the client used.
    pub fn method(&self) -> &'a str {
        self.head.method()
    }

    /// The target exactly as it was received.
    pub fn target(&self) -> &'a str {
        self.head.target()
    }

    /// The path, still percent-encoded.
    pub fn path(&self) -> &'a str {
        self.head.path()
    }

    /// The beginning of the path, still percent-encoded, that has led to the application: what a web server in front has
    /// said (`SCRIPT_NAME`), and the place of the application in this one. Empty if it answers for all.
    pub fn mount(&self) -> &'a str {
        if self.mount == 0 {
            return "";
        }
        self.path().get(..self.mount).unwrap_or_default()
    }

    /// The path behind [`mount`](Self::mount): what the application is asked for, still percent-encoded.
    pub fn path_below(&self) -> &'a str {
        self.path().get(self.mount..).unwrap_or_default()
    }

    /// The same request for an application that answers for what lies below the first `mount` bytes of the path.
    pub(crate) fn mounted(&self, mount: usize) -> Self {
        Self { mount, ..*self }
    }

    /// What follows the first `?` of the target.
    pub fn query(&self) -> Option<&'a str> {
        self.head.query()
    }

    /// The version of HTTP that the client speaks.
    pub fn version(&self) -> Version {
        self.head.version()
    }

    /// All header fields in the order of arrival.
    pub fn fields(&self) -> Fields<'a> {
        self.head.fields()
    }

    /// The value of the first header field of that name, in any case.
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.head.field(name)
    }

    /// The value of the first header field of that kind; quicker than by name.
    pub fn known(&self, id: FieldId) -> Option<&'a [u8]> {
        self.head.known(id)
    }

    /// The body, which has arrived completely unless the application has asked for a stream.
    pub fn body(&self) -> &'a RequestBody {
        self.body
    }

    /// Who sent it.
    pub fn peer(&self) -> &'a Peer {
        self.peer
    }

    /// The address of the listener it came in by.
    pub fn local(&self) -> &'a Address {
        self.local
    }
}
