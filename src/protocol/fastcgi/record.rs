//! Records and name-value pairs (FastCGI 1.0 §3.3 and §3.4), for either side of a connection.
//!
//! A record is a header of eight bytes, its content and its padding. [`Reader`] takes a byte stream apart without holding
//! any of it; the functions that write append to the caller's buffer.

use std::fmt;

/// Bytes of a record's header.
pub const HEADER_SIZE: usize = 8;

/// Content that one record holds at most, rounded down so that no padding is needed behind it (§3.3).
pub const CONTENT_SIZE: usize = 65528;

/// The id of management records (§4).
pub const MANAGEMENT: u16 = 0;

/// What a record is (§8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The web server begins a request.
    BeginRequest,
    /// The web server has no use for the answer any more.
    AbortRequest,
    /// The application has finished a request.
    EndRequest,
    /// Name-value pairs; a stream.
    Params,
    /// The request's body; a stream.
    Stdin,
    /// The response; a stream.
    Stdout,
    /// Messages for the web server's log; a stream.
    Stderr,
    /// The file that a filter is to work on; a stream.
    Data,
    /// The web server asks for values.
    GetValues,
    /// The answer to that.
    GetValuesResult,
    /// The answer to a management record of a type that is not known.
    UnknownType,
    /// Any other number.
    Other(u8),
}

impl Kind {
    /// Its number.
    pub const fn number(self) -> u8 {
        match self {
            Self::BeginRequest => 1,
            Self::AbortRequest => 2,
            Self::EndRequest => 3,
            Self::Params => 4,
            Self::Stdin => 5,
            Self::Stdout => 6,
            Self::Stderr => 7,
            Self::Data => 8,
            Self::GetValues => 9,
            Self::GetValuesResult => 10,
            Self::UnknownType => 11,
            Self::Other(number) => number,
        }
    }

    /// The kind of that number.
    pub const fn of(number: u8) -> Self {
        match number {
            1 => Self::BeginRequest,
            2 => Self::AbortRequest,
            3 => Self::EndRequest,
            4 => Self::Params,
            5 => Self::Stdin,
            6 => Self::Stdout,
            7 => Self::Stderr,
            8 => Self::Data,
            9 => Self::GetValues,
            10 => Self::GetValuesResult,
            11 => Self::UnknownType,
            number => Self::Other(number),
        }
    }
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// The request that it belongs to; [`MANAGEMENT`] for none.
    pub request: u16,
    /// Bytes of content.
    pub length: u16,
    /// Bytes behind the content that mean nothing.
    pub padding: u8,
}

/// A record that is not of version 1: the stream cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownVersion(pub u8);

impl fmt::Display for UnknownVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a record of version {} instead of 1", self.0)
    }
}

impl std::error::Error for UnknownVersion {}

impl Header {
    /// A header without padding.
    pub const fn new(kind: Kind, request: u16, length: u16) -> Self {
        Self { kind, request, length, padding: 0 }
    }

    /// The header at the front of `input`; `None` if more of it must come.
    ///
    /// # Errors
    /// The version is not 1, which is seen as early as the first byte.
    #[inline]
    pub fn parse(input: &[u8]) -> Result<Option<Self>, UnknownVersion> {
        match *input {
            [version, ..] if version != 1 => Err(UnknownVersion(version)),
            [_, kind, id1, id0, length1, length0, padding, _reserved, ..] => Ok(Some(Self {
                kind: Kind::of(kind),
                request: u16::from_be_bytes([id1, id0]),
                length: u16::from_be_bytes([length1, length0]),
                padding,
            })),
            _ => Ok(None),
        }
    }

    /// Its eight bytes.
    pub const fn to_bytes(self) -> [u8; HEADER_SIZE] {
        let ([id1, id0], [length1, length0]) = (self.request.to_be_bytes(), self.length.to_be_bytes());
        [1, self.kind.number(), id1, id0, length1, length0, self.padding, 0]
    }

    /// Bytes of the whole record.
    pub const fn record_size(self) -> usize {
        HEADER_SIZE + self.length as usize + self.padding as usize
    }
}

/// A part of a stream of records. Its bytes are used up with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Nothing whole yet.
    NeedMore,
    /// The header of a record.
    Header(Header),
    /// The bytes `input[start..end]` are content of the record whose header came last.
    Content {
        /// First byte.
        start: usize,
        /// One past the last byte.
        end: usize,
    },
    /// All of the record has been seen, padding and all.
    End,
}

/// Takes a stream of records apart, in pieces as large as they come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reader {
    /// Bytes of content, and of padding, that are still to come of the present record.
    record: Option<(u16, u8)>,
}

impl Reader {
    /// A reader at the start of a stream.
    pub const fn new() -> Self {
        Self { record: None }
    }

    /// What stands at the front of `input`, and how many bytes of it are done with. Content is never empty.
    ///
    /// # Errors
    /// The version of a record is not 1; nothing more can be read.
    pub fn next(&mut self, input: &[u8]) -> Result<(usize, Piece), UnknownVersion> {
        match &mut self.record {
            None => Ok(match Header::parse(input)? {
                Some(header) => {
                    self.record = Some((header.length, header.padding));
                    (HEADER_SIZE, Piece::Header(header))
                }
                None => (0, Piece::NeedMore),
            }),
            Some((0, 0)) => {
                self.record = None;
                Ok((0, Piece::End))
            }
            Some(_) if input.is_empty() => Ok((0, Piece::NeedMore)),
            Some((0, padding)) => {
                let skipped = input.len().min(usize::from(*padding));
                *padding -= skipped as u8;
                if *padding > 0 {
                    return Ok((skipped, Piece::NeedMore));
                }
                self.record = None;
                Ok((skipped, Piece::End))
            }
            Some((length, _)) => {
                let end = input.len().min(usize::from(*length));
                *length -= end as u16;
                Ok((end, Piece::Content { start: 0, end }))
            }
        }
    }
}

/// What an application is asked to be (§6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It answers requests.
    Responder,
    /// It decides whether a request is allowed.
    Authorizer,
    /// It changes a file on its way to the client.
    Filter,
    /// Any other number.
    Other(u16),
}

/// The content of a [`Kind::BeginRequest`] record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// What the application is to be.
    pub role: Role,
    /// Whether the connection stays open after the request.
    pub keep: bool,
}

impl Begin {
    /// Bytes of its content.
    pub const SIZE: usize = 8;

    /// Reads the content of a record.
    pub fn parse(content: &[u8]) -> Option<Self> {
        let [role1, role0, flags, _, _, _, _, _] = *content else { return None };
        let role = match u16::from_be_bytes([role1, role0]) {
            1 => Role::Responder,
            2 => Role::Authorizer,
            3 => Role::Filter,
            number => Role::Other(number),
        };
        Some(Self { role, keep: flags & 1 == 1 })
    }

    /// Appends the whole record.
    pub fn write(self, request: u16, out: &mut Vec<u8>) {
        let role = match self.role {
            Role::Responder => 1,
            Role::Authorizer => 2,
            Role::Filter => 3,
            Role::Other(number) => number,
        };
        let [role1, role0] = u16::to_be_bytes(role);
        record(Kind::BeginRequest, request, &[role1, role0, u8::from(self.keep), 0, 0, 0, 0, 0], out);
    }
}

/// How a request ended, for the protocol (§5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProtocolStatus {
    /// It was answered.
    Complete,
    /// Only one request at a time may be on a connection.
    CannotMultiplex,
    /// There is no room for it now.
    Overloaded,
    /// The role is not one that the application plays.
    UnknownRole,
    /// Any other number.
    Other(u8),
}

/// The content of a [`Kind::EndRequest`] record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// What a CGI program would have exited with.
    pub application: u32,
    /// How it ended.
    pub status: ProtocolStatus,
}

impl End {
    /// Bytes of its content.
    pub const SIZE: usize = 8;

    /// Reads the content of a record.
    pub fn parse(content: &[u8]) -> Option<Self> {
        let [a, b, c, d, status, _, _, _] = *content else { return None };
        let status = match status {
            0 => ProtocolStatus::Complete,
            1 => ProtocolStatus::CannotMultiplex,
            2 => ProtocolStatus::Overloaded,
            3 => ProtocolStatus::UnknownRole,
            number => ProtocolStatus::Other(number),
        };
        Some(Self { application: u32::from_be_bytes([a, b, c, d]), status })
    }

    /// Appends the whole record.
    pub fn write(self, request: u16, out: &mut Vec<u8>) {
        let status = match self.status {
            ProtocolStatus::Complete => 0,
            ProtocolStatus::CannotMultiplex => 1,
            ProtocolStatus::Overloaded => 2,
            ProtocolStatus::UnknownRole => 3,
            ProtocolStatus::Other(number) => number,
        };
        let [a, b, c, d] = self.application.to_be_bytes();
        record(Kind::EndRequest, request, &[a, b, c, d, status, 0, 0, 0], out);
    }
}

/// Appends records that hold `content`, as many as it takes; none if it is empty.
pub fn stream(kind: Kind, request: u16, content: &[u8], out: &mut Vec<u8>) {
    for part in content.chunks(CONTENT_SIZE) {
        record(kind, request, part, out);
    }
}

/// Appends the empty record that ends a stream.
pub fn end_stream(kind: Kind, request: u16, out: &mut Vec<u8>) {
    record(kind, request, &[], out);
}

/// Appends one record. What is more than it can hold is left out; [`stream`] has no such limit.
pub fn record(kind: Kind, request: u16, content: &[u8], out: &mut Vec<u8>) {
    let content = content.get(..CONTENT_SIZE).unwrap_or(content);
    out.reserve(HEADER_SIZE + content.len());
    out.extend_from_slice(&Header::new(kind, request, content.len() as u16).to_bytes());
    out.extend_from_slice(content);
}

/// Name-value pairs (§3.4), read one by one.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    rest: &'a [u8],
}

/// Pairs whose lengths point beyond their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated;

impl fmt::Display for Truncated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name-value pair is longer than what holds it")
    }
}

impl std::error::Error for Truncated {}

/// The pairs that `bytes` are, which must be all of a stream or of a management record's content.
pub const fn pairs(bytes: &[u8]) -> Pairs<'_> {
    Pairs { rest: bytes }
}

impl<'a> Pairs<'a> {
    /// The bytes of the pairs that have not been read.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn length(&mut self) -> Option<usize> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        if first < 0x80 {
            return Some(usize::from(first));
        }
        let (&[b, c, d], rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        usize::try_from(u32::from_be_bytes([first & 0x7f, b, c, d])).ok()
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn pair(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let (name, value) = (self.length()?, self.length()?);
        Some((self.take(name)?, self.take(value)?))
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), Truncated>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let pair = self.pair().ok_or(Truncated);
        if pair.is_err() {
            self.rest = &[];
        }
        Some(pair)
    }
}

/// Appends a pair. The longest name or value that can be written has 2^31 - 1 bytes; a longer one is cut.
///
/// A client does well not to split a pair over two records: php-cgi does not put them together again.
pub fn pair(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let cut = |text: &'_ [u8]| text.len().min(0x7fff_ffff) as u32;
    let (name_length, value_length) = (cut(name), cut(value));
    for length in [name_length, value_length] {
        match u8::try_from(length) {
            Ok(short @ ..0x80) => out.push(short),
            _ => out.extend_from_slice(&(length | 0x8000_0000).to_be_bytes()),
        }
    }
    out.extend_from_slice(name.get(..name_length as usize).unwrap_or_default());
    out.extend_from_slice(value.get(..value_length as usize).unwrap_or_default());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_they_are_written() {
        for number in 0..=255 {
            let header = Header { kind: Kind::of(number), request: 0x1234, length: 0xfedc, padding: number };
            assert_eq!(header.kind.number(), number);
            let bytes = header.to_bytes();
            assert_eq!(Header::parse(&bytes), Ok(Some(header)));
            for length in 0..HEADER_SIZE {
                assert_eq!(Header::parse(&bytes[..length]), Ok(None));
            }
            assert_eq!(header.record_size(), 8 + 0xfedc + usize::from(number));
        }
        for version in (0..=255).filter(|version| *version != 1) {
            assert_eq!(Header::parse(&[version]), Err(UnknownVersion(version)));
        }
    }

    /// What a reader makes of `pieces`, contents joined.
    fn read(pieces: &[&[u8]]) -> Vec<(Header, Vec<u8>, bool)> {
        let (mut reader, mut records) = (Reader::new(), Vec::<(Header, Vec<u8>, bool)>::new());
        let mut buffer = Vec::new();
        for piece in pieces {
            buffer.extend_from_slice(piece);
            loop {
                let (consumed, piece) = reader.next(&buffer).unwrap();
                match piece {
                    Piece::NeedMore => {}
                    Piece::Header(header) => records.push((header, Vec::new(), false)),
                    Piece::Content { start, end } => {
                        assert!(start < end);
                        records.last_mut().unwrap().1.extend_from_slice(&buffer[start..end]);
                    }
                    Piece::End => records.last_mut().unwrap().2 = true,
                }
                buffer.drain(..consumed);
                if piece == Piece::NeedMore {
                    break;
                }
            }
        }
        assert!(buffer.len() < HEADER_SIZE);
        records
    }

    #[test]
    fn however_a_stream_is_split_the_records_are_the_same() {
        let mut stream_of_bytes = Vec::new();
        Begin { role: Role::Responder, keep: true }.write(1, &mut stream_of_bytes);
        stream_of_bytes.extend_from_slice(&Header { kind: Kind::Stdout, request: 1, length: 3, padding: 5 }.to_bytes());
        stream_of_bytes.extend_from_slice(b"abcPPPPP");
        stream_of_bytes.extend_from_slice(&Header { kind: Kind::Stdout, request: 1, length: 0, padding: 2 }.to_bytes());
        stream_of_bytes.extend_from_slice(b"PP");
        end_stream(Kind::Stdout, 1, &mut stream_of_bytes);
        End { application: 7, status: ProtocolStatus::Complete }.write(1, &mut stream_of_bytes);
        let whole = read(&[&stream_of_bytes]);
        assert_eq!(whole.len(), 5);
        assert!(whole.iter().all(|(_, _, ended)| *ended));
        assert_eq!(Begin::parse(&whole[0].1), Some(Begin { role: Role::Responder, keep: true }));
        assert_eq!(whole[1].1, b"abc");
        let end = End { application: 7, status: ProtocolStatus::Complete };
        assert_eq!(End::parse(&whole[4].1), Some(end));
        for size in 1..20 {
            let pieces: Vec<_> = stream_of_bytes.chunks(size).collect();
            assert_eq!(read(&pieces), whole, "in pieces of {size}");
        }
    }

    #[test]
    fn a_long_stream_becomes_several_records_without_padding() {
        let content: Vec<u8> = (0..200_000_u32).map(|number| number as u8).collect();
        let mut out = Vec::new();
        stream(Kind::Stdout, 9, &content, &mut out);
        let records = read(&[&out]);
        assert_eq!(records.len(), 4);
        assert!(records.iter().all(|(header, ..)| header.padding == 0 && header.request == 9));
        assert!(records[..3].iter().all(|(header, ..)| header.length % 8 == 0));
        assert_eq!(records.iter().flat_map(|(_, content, _)| content.clone()).collect::<Vec<_>>(), content);
        stream(Kind::Stdout, 9, b"", &mut Vec::new());
    }

    #[test]
    fn pairs_are_read_as_they_are_written() {
        let long = vec![b'v'; 300];
        let cases: [(&[u8], &[u8]); 6] = [
            (b"", b""),
            (b"NAME", b"value"),
            (b"EMPTY", b""),
            (&long[..127], &long[..128]),
            (&long[..128], &long[..127]),
            (b"LONG", &long),
        ];
        let mut out = Vec::new();
        for (name, value) in cases {
            pair(name, value, &mut out);
        }
        assert_eq!(pairs(&out).map(Result::unwrap).collect::<Vec<_>>(), cases);
        assert_eq!(&out[..2], b"\0\0");
    }

    #[test]
    fn pairs_that_are_cut_short_or_lie_about_their_lengths_are_errors() {
        let mut out = Vec::new();
        pair(b"A", &[b'v'; 200], &mut out);
        for length in 1..out.len() {
            assert_eq!(pairs(&out[..length]).collect::<Vec<_>>(), [Err(Truncated)], "of {length} bytes");
        }
        for bytes in
            [b"\xff\xff\xff\xff\xff\xff\xff\xffab".as_slice(), b"\x05", b"\x80", b"\x01\x80\0\0", b"\x02\x01ab"]
        {
            assert_eq!(pairs(bytes).next(), Some(Err(Truncated)), "{}", bytes.escape_ascii());
        }
    }
}
