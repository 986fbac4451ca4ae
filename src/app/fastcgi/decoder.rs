//! What comes back on a connection, as records.

use super::request::REQUEST;
use crate::protocol::fastcgi::record::{End, Header, Kind, Piece, Reader};

/// Takes records apart.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    reader: Reader,
    /// A header that has not come whole.
    pending: Vec<u8>,
    header: Option<Header>,
    /// The content of the record that ends the request.
    end: Vec<u8>,
}

/// What has come makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Garbled;

impl Decoder {
    /// Takes what has come, and appends what is in it of the response and of messages for the log. Returns how the
    /// request has ended, if it has; what follows that is dropped.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        stdout: &mut Vec<u8>,
        stderr: &mut Vec<u8>,
    ) -> Result<Option<End>, Garbled> {
        let joined;
        let mut input = bytes;
        if !self.pending.is_empty() {
            self.pending.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.pending);
            input = &joined;
        }
        loop {
            let (consumed, piece) = self.reader.next(input).map_err(|_| Garbled)?;
            match (piece, self.header) {
                (Piece::NeedMore, _) => {
                    self.pending.extend_from_slice(input.get(consumed..).unwrap_or_default());
                    return Ok(None);
                }
                (Piece::Header(header), _) => self.header = Some(header),
                (Piece::Content { start, end }, Some(header)) if header.request == REQUEST => {
                    let content = input.get(start..end).unwrap_or_default();
                    match header.kind {
                        Kind::Stdout => stdout.extend_from_slice(content),
                        Kind::Stderr => stderr.extend_from_slice(content),
                        Kind::EndRequest if self.end.len() <= End::SIZE => self.end.extend_from_slice(content),
                        _ => {}
                    }
                }
                (Piece::Content { .. }, _) => {}
                (Piece::End, Some(header)) => {
                    if header.kind == Kind::EndRequest && header.request == REQUEST {
                        return End::parse(&self.end).map(Some).ok_or(Garbled);
                    }
                }
                (Piece::End, None) => return Err(Garbled),
            }
            input = input.get(consumed..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
mod tests {
    use super::{Decoder, Garbled, REQUEST};
    use crate::protocol::fastcgi::record::{End, Header, Kind, ProtocolStatus, record};

    fn stream() -> Vec<u8> {
        let mut bytes = Vec::new();
        record(Kind::Stderr, REQUEST, b"oops\n", &mut bytes);
        record(Kind::Stdout, REQUEST, b"Status: 200\n\n", &mut bytes);
        record(Kind::Stdout, REQUEST + 1, b"of another request", &mut bytes);
        record(Kind::Other(99), REQUEST, b"of a later version", &mut bytes);
        bytes.extend_from_slice(&Header { kind: Kind::Stdout, request: REQUEST, length: 4, padding: 4 }.to_bytes());
        bytes.extend_from_slice(b"bodyPPPP");
        record(Kind::Stdout, REQUEST, b"", &mut bytes);
        End { application: 0, status: ProtocolStatus::Complete }.write(REQUEST, &mut bytes);
        bytes
    }

    #[test]
    fn however_an_answer_is_split_it_is_the_same() {
        let bytes = stream();
        for size in [bytes.len(), 1, 2, 3, 5, 7, 8, 9, 13, 64] {
            let (mut decoder, mut stdout, mut stderr, mut end) = (Decoder::default(), Vec::new(), Vec::new(), None);
            for piece in bytes.chunks(size) {
                assert_eq!(end, None, "in pieces of {size}");
                end = decoder.push(piece, &mut stdout, &mut stderr).unwrap();
            }
            assert_eq!(
                (stdout.as_slice(), stderr.as_slice()),
                (b"Status: 200\n\nbody".as_slice(), b"oops\n".as_slice())
            );
            assert_eq!(end.map(|end| end.status), Some(ProtocolStatus::Complete), "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_fastcgi_is_refused() {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"HTTP/1.1 200 OK\r\n\r\n", &mut Vec::new(), &mut Vec::new()), Err(Garbled));
        let mut short = Vec::new();
        record(Kind::EndRequest, REQUEST, b"123", &mut short);
        assert_eq!(Decoder::default().push(&short, &mut Vec::new(), &mut Vec::new()), Err(Garbled));
    }
}
