//! From records to the parts of a request.

use super::record::{self, Begin, HEADER_SIZE, Header, Kind, ProtocolStatus, Role};
use crate::protocol::gateway::stranger;
use crate::protocol::gateway::variables::{self, Pair};
use crate::protocol::{Error, Head, Limits, Protocol};

/// A request that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) id: u16,
    pub(super) keep: bool,
    /// An authorizer has neither a body nor a stream for one (§6.3).
    authorizer: bool,
}

/// What is to be said beside the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    Values(Asked),
    UnknownType(u8),
    End { id: u16, status: ProtocolStatus, keep: bool },
}

/// The values that were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    connections: bool,
    requests: bool,
    multiplexing: bool,
}

impl Asked {
    pub(super) fn contains(self, name: &str) -> bool {
        match name {
            "FCGI_MAX_CONNS" => self.connections,
            "FCGI_MAX_REQS" => self.requests,
            "FCGI_MPXS_CONNS" => self.multiplexing,
            _ => false,
        }
    }

    fn of(content: &[u8]) -> Result<Self, Error> {
        let mut asked = Self::default();
        for pair in record::pairs(content) {
            match pair.map_err(|_| Error::Variables)?.0 {
                b"FCGI_MAX_CONNS" => asked.connections = true,
                b"FCGI_MAX_REQS" => asked.requests = true,
                b"FCGI_MPXS_CONNS" => asked.multiplexing = true,
                // §4.1: what is not understood is left out.
                _ => {}
            }
        }
        Ok(asked)
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    NeedMore,
    Request(Begun),
    Body { start: usize, end: usize },
    End,
    Note(Note),
    Aborted(Note),
}

/// Which records come next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Intake {
    /// A head, of which so much has been looked at.
    Head(Scan),
    Body(Body),
    /// The end of a request without a body, which was seen with its head.
    Ended,
    Complete,
    Closed,
}

/// How much of a head has been looked at, none of it used up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    begun: Option<Begun>,
    /// Up to here records have been dealt with.
    cursor: u32,
    /// Bytes of variables up to there.
    params: u32,
    /// The stream of variables has ended.
    ended: bool,
}

/// A body that is arriving.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body {
    begun: Begun,
    /// `CONTENT_LENGTH`, if there was one.
    promised: Option<u64>,
    received: u64,
    /// Content and padding that are left of the present record.
    content: u16,
    padding: u8,
}

impl Default for Intake {
    fn default() -> Self {
        Self::Head(Scan::default())
    }
}

impl Intake {
    pub(super) fn is_fresh(&self) -> bool {
        matches!(self, Self::Head(scan) if scan.begun.is_none())
    }

    /// The request that is arriving.
    pub(super) fn begun(&self) -> Option<Begun> {
        match self {
            Self::Head(scan) => scan.begun,
            Self::Body(body) => Some(body.begun),
            Self::Ended | Self::Complete | Self::Closed => None,
        }
    }

    /// Takes the end of a request without a body, if that has been seen.
    pub(super) fn end_without_body(&mut self) -> bool {
        let ends = matches!(self, Self::Ended);
        if ends {
            *self = Self::Complete;
        }
        ends
    }

    pub(super) fn close(&mut self) {
        *self = Self::Closed;
    }

    /// Waits for the next request, if the last one was seen to its end.
    pub(super) fn renew(&mut self) -> bool {
        let complete = matches!(self, Self::Complete);
        if complete {
            *self = Self::default();
        }
        complete
    }

    /// What stands at the front of `input`, and how much of it is used up.
    pub(super) fn next(&mut self, input: &[u8], limits: &Limits, head: &mut Head) -> Result<(usize, Found), Error> {
        match self {
            Self::Head(scan) => {
                let (consumed, step) = scan.next(input, limits)?;
                match step {
                    Step::Found(Found::Aborted(note)) => {
                        // Nobody has been told of it.
                        *self = Self::default();
                        Ok((consumed, Found::Note(note)))
                    }
                    Step::Found(found) => Ok((consumed, found)),
                    Step::Complete { start, streams, begun } => {
                        let packet = input.get(start..consumed).unwrap_or_default();
                        gather(packet, begun.id, head);
                        variables::read(Protocol::FastCgi, pair, false, limits, head)?;
                        if begun.authorizer {
                            head.content_length = None;
                            head.add_param(b"FCGI_ROLE", b"AUTHORIZER");
                            *self = Self::Ended;
                            return Ok((consumed, Found::Request(begun)));
                        }
                        let promised = head.content_length;
                        head.chunked = streams && promised.is_none();
                        let end = input.get(consumed..consumed + HEADER_SIZE);
                        if !streams && promised.unwrap_or(0) == 0 && end.is_some_and(|end| end.get(6) == Some(&0)) {
                            *self = Self::Ended;
                            return Ok((consumed + HEADER_SIZE, Found::Request(begun)));
                        }
                        *self = Self::Body(Body { begun, promised, received: 0, content: 0, padding: 0 });
                        Ok((consumed, Found::Request(begun)))
                    }
                }
            }
            Self::Body(body) => {
                let (consumed, found) = body.next(input, limits)?;
                match found {
                    Found::End => *self = Self::Complete,
                    Found::Aborted(_) => *self = Self::default(),
                    _ => {}
                }
                Ok((consumed, found))
            }
            Self::Ended => {
                *self = Self::Complete;
                Ok((0, Found::End))
            }
            Self::Complete => Ok((0, Found::NeedMore)),
            Self::Closed => Ok((input.len(), Found::NeedMore)),
        }
    }
}

/// What a record of a head came to.
enum Step {
    Found(Found),
    /// The head is complete, and a body follows or does not.
    Complete {
        /// Where the request begins: records in front of it are nobody's, whatever their number.
        start: usize,
        streams: bool,
        begun: Begun,
    },
}

impl Scan {
    fn next(&mut self, input: &[u8], limits: &Limits) -> Result<(usize, Step), Error> {
        // Records in front of a request that are nobody's are used up; behind its beginning, all stays where it is.
        let mut skipped = 0;
        loop {
            let at = skipped + self.cursor as usize;
            let rest = input.get(at..).unwrap_or_default();
            let Some(header) = header(rest, self.begun.is_none())? else { break };
            if self.cursor as usize + header.record_size() > most(limits) {
                return Err(Error::HeadTooLarge);
            }
            if self.ended
                && let Some(begun) = self.begun.filter(|begun| begun.id == header.request)
            {
                if header.kind == Kind::Stdin {
                    return Ok((at, Step::Complete { start: skipped, streams: header.length > 0, begun }));
                }
                if header.kind == Kind::Params || header.kind == Kind::BeginRequest {
                    return Err(Error::FastCgiRecord);
                }
            }
            let Some(content) = rest.get(HEADER_SIZE..HEADER_SIZE + usize::from(header.length)) else { break };
            if rest.len() < header.record_size() {
                break;
            }
            let found = self.record(header, content, limits)?;
            let size = header.record_size();
            if self.begun.is_some() {
                self.cursor += size as u32;
            } else {
                skipped += size;
            }
            match found {
                Some(Found::Aborted(note)) => {
                    return Ok((skipped + self.cursor as usize, Step::Found(Found::Aborted(note))));
                }
                Some(found) => return Ok((skipped, Step::Found(found))),
                None => {}
            }
            if self.ended
                && let Some(begun) = self.begun.filter(|begun| begun.authorizer)
            {
                return Ok((skipped + self.cursor as usize, Step::Complete { start: skipped, streams: false, begun }));
            }
        }
        Ok((skipped, Step::Found(Found::NeedMore)))
    }

    /// Deals with a whole record. What came of it, if it has to be told.
    fn record(&mut self, header: Header, content: &[u8], limits: &Limits) -> Result<Option<Found>, Error> {
        let Some(begun) = self.begun else {
            return match header.kind {
                _ if header.request == record::MANAGEMENT => management(header.kind, content),
                Kind::BeginRequest => self.begin(header.request, content),
                // §3.3: records of requests that are over may still be on their way.
                _ => Ok(None),
            };
        };
        if header.request != begun.id {
            return beside(header, content);
        }
        match header.kind {
            Kind::Params if header.length == 0 => self.ended = true,
            Kind::Params => {
                self.params += u32::from(header.length);
                if self.params as usize > limits.head_size {
                    return Err(Error::HeadTooLarge);
                }
            }
            Kind::AbortRequest => return Ok(Some(Found::Aborted(aborted(begun)))),
            Kind::BeginRequest | Kind::Stdin => return Err(Error::FastCgiRecord),
            _ => {}
        }
        Ok(None)
    }

    fn begin(&mut self, id: u16, content: &[u8]) -> Result<Option<Found>, Error> {
        let begin = Begin::parse(content).ok_or(Error::FastCgiRecord)?;
        let authorizer = match begin.role {
            Role::Responder => false,
            Role::Authorizer => true,
            Role::Filter | Role::Other(_) => {
                let status = ProtocolStatus::UnknownRole;
                return Ok(Some(Found::Note(Note::End { id, status, keep: begin.keep })));
            }
        };
        *self = Self { begun: Some(Begun { id, keep: begin.keep, authorizer }), ..Self::default() };
        Ok(None)
    }
}

impl Body {
    fn next(&mut self, input: &[u8], limits: &Limits) -> Result<(usize, Found), Error> {
        let mut at = 0;
        loop {
            let rest = input.get(at..).unwrap_or_default();
            if self.content > 0 {
                let length = rest.len().min(usize::from(self.content));
                if length == 0 {
                    break;
                }
                self.content -= length as u16;
                let wanted = match self.promised {
                    Some(promised) => (length as u64).min(promised - self.received) as usize,
                    None => length,
                };
                self.received += wanted as u64;
                if self.received > limits.body_size {
                    return Err(Error::BodyTooLarge);
                }
                if wanted > 0 {
                    return Ok((at + length, Found::Body { start: at, end: at + wanted }));
                }
                // What is more than was promised is dropped.
                at += length;
                continue;
            }
            if self.padding > 0 {
                let length = rest.len().min(usize::from(self.padding));
                if length == 0 {
                    break;
                }
                self.padding -= length as u8;
                at += length;
                continue;
            }
            let Some(header) = header(rest, false)? else { break };
            if header.request == self.begun.id && header.kind == Kind::Stdin && header.length > 0 {
                (self.content, self.padding) = (header.length, header.padding);
                at += HEADER_SIZE;
                continue;
            }
            let Some(content) = rest.get(HEADER_SIZE..HEADER_SIZE + usize::from(header.length)) else { break };
            if rest.len() < header.record_size() {
                break;
            }
            at += header.record_size();
            if header.request != self.begun.id {
                match beside(header, content)? {
                    Some(found) => return Ok((at, found)),
                    None => continue,
                }
            }
            match header.kind {
                Kind::Stdin if self.promised.is_some_and(|promised| promised > self.received) => {
                    return Err(Error::BodyShort);
                }
                Kind::Stdin => return Ok((at, Found::End)),
                Kind::AbortRequest => return Ok((at, Found::Aborted(aborted(self.begun)))),
                Kind::Params | Kind::BeginRequest => return Err(Error::FastCgiRecord),
                // flup sends an empty DATA record to responders, too.
                _ => {}
            }
        }
        Ok((at, Found::NeedMore))
    }
}

fn aborted(begun: Begun) -> Note {
    Note::End { id: begun.id, status: ProtocolStatus::Complete, keep: begun.keep }
}

/// A record that is not of the request that is arriving.
fn beside(header: Header, content: &[u8]) -> Result<Option<Found>, Error> {
    match header.kind {
        _ if header.request == record::MANAGEMENT => management(header.kind, content),
        Kind::BeginRequest => {
            let status = ProtocolStatus::CannotMultiplex;
            // Whatever it says of the connection, the request that is arriving needs it.
            Ok(Some(Found::Note(Note::End { id: header.request, status, keep: true })))
        }
        _ => Ok(None),
    }
}

fn management(kind: Kind, content: &[u8]) -> Result<Option<Found>, Error> {
    Ok(Some(Found::Note(match kind {
        Kind::GetValues => Note::Values(Asked::of(content)?),
        kind => Note::UnknownType(kind.number()),
    })))
}

/// The header at the front of `input`; between requests, a stranger is called by its name.
fn header(input: &[u8], idle: bool) -> Result<Option<Header>, Error> {
    match Header::parse(input) {
        Ok(header) => Ok(header),
        Err(_) if idle => stranger(input, Protocol::FastCgi, Error::FastCgiVersion).map_or(Ok(None), Err),
        Err(_) => Err(Error::FastCgiVersion),
    }
}

/// Bytes of records that a head may take, whatever its variables are wrapped in.
fn most(limits: &Limits) -> usize {
    limits.head_size.saturating_mul(2).saturating_add(1 << 17).min(u32::MAX as usize)
}

/// Puts the variables of a head's records together.
fn gather(packet: &[u8], id: u16, head: &mut Head) {
    head.bytes.clear();
    let mut rest = packet;
    while let Ok(Some(header)) = Header::parse(rest) {
        if header.kind == Kind::Params && header.request == id {
            let end = HEADER_SIZE + usize::from(header.length);
            head.bytes.extend_from_slice(rest.get(HEADER_SIZE..end).unwrap_or_default());
        }
        rest = rest.get(header.record_size()..).unwrap_or_default();
    }
}

/// The pair at that place of all parameters.
#[inline]
fn pair(bytes: &[u8], at: usize) -> Option<Pair> {
    let rest = bytes.get(at..)?;
    let mut pairs = record::pairs(rest);
    let (name, value) = pairs.next()?.ok()?;
    let next = at + rest.len() - pairs.rest().len();
    let start = next - value.len();
    Some(Pair { name: start - name.len()..start, value: start..next, next })
}
