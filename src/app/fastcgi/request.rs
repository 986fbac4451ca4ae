//! A request on its way to a FastCGI program.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use crate::app::cgi::variables::Variables;
use crate::app::{Later, RequestBody, Response};
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
    /// All of them, but for a body that lies in a file.
    bytes: Vec<u8>,
    file: Option<(File, u64)>,
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
        let file = match body {
            RequestBody::Empty | RequestBody::Stream(_) => None,
            RequestBody::Memory(body) => {
                record::stream(Kind::Stdin, REQUEST, body, &mut bytes);
                None
            }
            RequestBody::File { file, length } => Some((file.try_clone()?, *length)),
        };
        if file.is_none() {
            record::end_stream(Kind::Stdin, REQUEST, &mut bytes);
        }
        Ok(Self { bytes, file })
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
    /// Of the body's file.
    read: u64,
    /// Records of the file that have not been sent.
    rest: Vec<u8>,
    rest_sent: usize,
    /// The file has been read to its end.
    ended: bool,
}

impl Progress {
    /// What is to be sent next; empty if that is nothing.
    ///
    /// # Errors
    /// The body's file cannot be read.
    pub(super) fn next<'a>(&'a mut self, message: &'a Message) -> io::Result<&'a [u8]> {
        if self.sent < message.bytes.len() {
            return Ok(message.bytes.get(self.sent..).unwrap_or_default());
        }
        if self.rest_sent < self.rest.len() {
            return Ok(self.rest.get(self.rest_sent..).unwrap_or_default());
        }
        let Some((file, length)) = &message.file else { return Ok(&[]) };
        if self.ended {
            return Ok(&[]);
        }
        self.rest.clear();
        self.rest_sent = 0;
        let wanted = (length - self.read.min(*length)).min(CONTENT_SIZE as u64) as usize;
        let mut content = vec![0; wanted];
        file.read_exact_at(&mut content, self.read)?;
        self.read += wanted as u64;
        record::stream(Kind::Stdin, REQUEST, &content, &mut self.rest);
        if self.read >= *length {
            record::end_stream(Kind::Stdin, REQUEST, &mut self.rest);
            self.ended = true;
        }
        Ok(&self.rest)
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

    use super::{Message, Progress};
    use crate::app::RequestBody;
    use crate::app::cgi::variables::Variables;
    use crate::protocol::fastcgi::record::{Kind, Piece, Reader, pairs};

    /// Records by their kinds, sent in steps of some bytes.
    fn records(message: &Message, step: usize) -> Vec<(Kind, Vec<u8>)> {
        let (mut progress, mut bytes) = (Progress::default(), Vec::new());
        loop {
            let next = progress.next(message).unwrap();
            let count = next.len().min(step);
            if count == 0 {
                break;
            }
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
            let expected = records(&Message::new(&variables, &RequestBody::Memory(body.clone())).unwrap(), usize::MAX);
            let message = Message::new(&variables, &of_file).unwrap();
            for step in [1000, 65_536, usize::MAX] {
                assert_eq!(records(&message, step), expected, "{length} bytes in steps of {step}");
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
        let records = records(&Message::new(&variables, &RequestBody::Empty).unwrap(), usize::MAX);
        let params: Vec<_> =
            records.iter().filter(|(kind, content)| *kind == Kind::Params && !content.is_empty()).collect();
        assert!(params.len() > 1);
        let count: usize = params.iter().map(|(_, content)| pairs(content).map(Result::unwrap).count()).sum();
        assert_eq!(count, 40);
    }
}
