//! A request on its way to a FastCGI program.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::task::Waker;
use std::time::Instant;

use crate::app::cgi::variables::Variables;
use crate::app::{BodyFault, BodyStream, Later, Pull, RequestBody, Response, Source};
use crate::protocol::fastcgi::record::{self, Begin, CONTENT_SIZE, HEADER_SIZE, Kind, Role};

/// The id of every request: there is one at a time on a connection.
pub(super) const REQUEST: u16 = 1;

/// A request that is to be answered by a program.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) message: Message,
    /// `None` once the answer has begun.
    pub(super) later: Option<Later>,
    /// The body of the answer is not sent.
    pub(super) bodiless: bool,
    /// It may be sent again when the program has gone without a word (RFC 9110 §9.2.2).
    pub(super) idempotent: bool,
    /// What it is called in the log.
    pub(super) name: String,
    /// When it was asked.
    pub(super) since: Instant,
    /// The upstreams that could not answer.
    pub(super) tried: Vec<usize>,
    /// How often it was sent in vain.
    pub(super) attempts: u8,
}

impl Job {
    /// Answers that it cannot be answered, unless it has been.
    pub(super) fn refuse(mut self, status: u16) {
        if let Some(later) = self.later.take() {
            let response = Response::error(status);
            later.send(if status == 503 { response.with_field("Retry-After", "1") } else { response });
        }
    }
}

/// The records of a request.
#[derive(Debug)]
pub(super) struct Message {
    /// All of them, but for a body that is somewhere else.
    bytes: Vec<u8>,
    rest: Rest,
}

/// Where the body is that is not in memory.
#[derive(Debug)]
enum Rest {
    None,
    File(File, u64),
    /// It is still arriving.
    Stream(BodyStream),
}

impl Message {
    /// # Errors
    /// The body's file cannot be had a second time.
    pub(super) fn new(variables: &Variables, body: &RequestBody) -> io::Result<Self> {
        let mut bytes = Vec::with_capacity(2048);
        // Whether the connection is kept is decided when it is known which one it is.
        Begin { role: Role::Responder, keep: false }.write(REQUEST, &mut bytes);
        let mut params = Vec::with_capacity(2048);
        let mut pair = Vec::new();
        for (name, value) in variables.iter() {
            pair.clear();
            record::pair(name, value, &mut pair);
            // php-cgi does not put pairs together that lie in two records.
            if params.len() + pair.len() > CONTENT_SIZE {
                record::stream(Kind::Params, REQUEST, &params, &mut bytes);
                params.clear();
            }
            params.extend_from_slice(&pair);
        }
        record::stream(Kind::Params, REQUEST, &params, &mut bytes);
        record::end_stream(Kind::Params, REQUEST, &mut bytes);
        let rest = match body {
            RequestBody::Empty => Rest::None,
            RequestBody::Memory(body) => {
                record::stream(Kind::Stdin, REQUEST, body, &mut bytes);
                Rest::None
            }
            RequestBody::File { file, length } => Rest::File(file.try_clone()?, *length),
            RequestBody::Stream(body) => body.take().map_or(Rest::None, Rest::Stream),
        };
        if matches!(rest, Rest::None) {
            record::end_stream(Kind::Stdin, REQUEST, &mut bytes);
        }
        Ok(Self { bytes, rest })
    }

    /// Whether its body is still arriving.
    pub(super) fn is_streamed(&self) -> bool {
        matches!(self.rest, Rest::Stream(_))
    }

    /// Says whether the program is to keep the connection.
    pub(super) fn keep(&mut self, keep: bool) {
        if let Some(flags) = self.bytes.get_mut(HEADER_SIZE + 2) {
            *flags = u8::from(keep);
        }
    }
}

/// How far a message has been sent.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Of the bytes in memory.
    sent: usize,
    /// Of the body's file or stream.
    read: u64,
    /// Records of it that have not been sent.
    rest: Vec<u8>,
    rest_sent: usize,
    /// It has been read to its end.
    ended: bool,
}

/// What is to be sent.
#[derive(Debug)]
pub(super) enum Next<'a> {
    Bytes(&'a [u8]),
    /// Nothing before the client has sent more.
    Pending,
    /// Nothing any more.
    End,
}

impl Progress {
    /// What is to be sent next. If that has not arrived, `waker` is called when it has.
    ///
    /// # Errors
    /// The body's file cannot be read, or its stream breaks off.
    pub(super) fn next<'a>(&'a mut self, message: &'a mut Message, waker: &Waker) -> io::Result<Next<'a>> {
        if self.sent < message.bytes.len() {
            return Ok(Next::Bytes(message.bytes.get(self.sent..).unwrap_or_default()));
        }
        if self.rest_sent == self.rest.len() && !self.ended {
            self.rest.clear();
            self.rest_sent = 0;
            let mut content = Vec::new();
            match &mut message.rest {
                Rest::None => self.ended = true,
                Rest::File(file, length) => {
                    let wanted = (*length - self.read.min(*length)).min(CONTENT_SIZE as u64) as usize;
                    content.resize(wanted, 0);
                    file.read_exact_at(&mut content, self.read)?;
                    self.ended = self.read + wanted as u64 >= *length;
                }
                Rest::Stream(stream) => match stream.pull(waker, &mut content) {
                    Pull::More => {}
                    Pull::Pending => return Ok(Next::Pending),
                    Pull::End => self.ended = true,
                    Pull::Failed => {
                        let fault = stream.fault().unwrap_or(BodyFault::Disconnected);
                        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, fault));
                    }
                },
            }
            self.read += content.len() as u64;
            record::stream(Kind::Stdin, REQUEST, &content, &mut self.rest);
            if self.ended && !matches!(message.rest, Rest::None) {
                record::end_stream(Kind::Stdin, REQUEST, &mut self.rest);
            }
        }
        match self.rest.get(self.rest_sent..).unwrap_or_default() {
            [] => Ok(Next::End),
            rest => Ok(Next::Bytes(rest)),
        }
    }

    /// Whether part of a stream was taken, which nobody has any more: the request cannot be sent again.
    pub(super) fn has_used_up(&self, message: &Message) -> bool {
        message.is_streamed() && self.read > 0
    }

    /// So many bytes of that were sent.
    pub(super) fn advance(&mut self, message: &Message, count: usize) {
        if self.sent < message.bytes.len() {
            self.sent += count;
        } else {
            self.rest_sent += count;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
mod tests {
    use std::io::Write;

    use std::task::Waker;

    use super::{Message, Next, Progress};
    use crate::app::RequestBody;
    use crate::app::cgi::variables::Variables;
    use crate::protocol::fastcgi::record::{Kind, Piece, Reader, pairs};

    /// Records by their kinds, sent in steps of some bytes.
    fn records(message: &mut Message, step: usize) -> Vec<(Kind, Vec<u8>)> {
        let (mut progress, mut bytes) = (Progress::default(), Vec::new());
        while let Next::Bytes(next) = progress.next(message, Waker::noop()).unwrap() {
            let count = next.len().min(step);
            bytes.extend_from_slice(&next[..count]);
            progress.advance(message, count);
        }
        let (mut reader, mut at, mut records) = (Reader::new(), 0, Vec::new());
        loop {
            match reader.next(&bytes[at..]).unwrap() {
                (_, Piece::NeedMore) => return records,
                (used, Piece::Header(header)) => {
                    records.push((header.kind, Vec::new()));
                    at += used;
                }
                (used, Piece::Content { start, end }) => {
                    records.last_mut().unwrap().1.extend_from_slice(&bytes[at + start..at + end]);
                    at += used;
                }
                (used, Piece::End) => at += used,
            }
        }
    }

    #[test]
    fn a_body_in_a_file_is_sent_as_one_in_memory_is() {
        let mut variables = Variables::default();
        variables.set(b"REQUEST_METHOD", b"POST");
        for length in [1, 65_528, 65_529, 200_000] {
            let body: Vec<u8> = (0..length).map(|at: u32| at as u8).collect();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&body).unwrap();
            let of_file = RequestBody::File { file, length: body.len() as u64 };
            let expected =
                records(&mut Message::new(&variables, &RequestBody::Memory(body.clone())).unwrap(), usize::MAX);
            let mut message = Message::new(&variables, &of_file).unwrap();
            for step in [1000, 65_536, usize::MAX] {
                assert_eq!(records(&mut message, step), expected, "{length} bytes in steps of {step}");
            }
            let stdin: Vec<u8> = expected
                .iter()
                .filter(|(kind, _)| *kind == Kind::Stdin)
                .flat_map(|(_, content)| content.clone())
                .collect();
            assert!(stdin == body && expected.last() == Some(&(Kind::Stdin, Vec::new())));
        }
    }

    #[test]
    fn no_pair_lies_in_two_records() {
        let mut variables = Variables::default();
        for number in 0..40 {
            variables.set(format!("HTTP_X_{number}").as_bytes(), &vec![b'v'; 4000 + number]);
        }
        let records = records(&mut Message::new(&variables, &RequestBody::Empty).unwrap(), usize::MAX);
        let params: Vec<_> =
            records.iter().filter(|(kind, content)| *kind == Kind::Params && !content.is_empty()).collect();
        assert!(params.len() > 1);
        let count: usize = params.iter().map(|(_, content)| pairs(content).map(Result::unwrap).count()).sum();
        assert_eq!(count, 40);
    }
}
