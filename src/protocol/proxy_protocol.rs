//! The PROXY protocol, versions 1 and 2, as the first bytes of a connection.
//!
//! Whether a peer may send one, and must, is the caller's to decide; it is never guessed from the bytes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::grammar;

/// Bytes of a version 1 line with its CRLF (specification, §2.1).
const LINE_SIZE: usize = 107;
/// Bytes of a version 2 header with its addresses and extensions.
const HEADER_SIZE: usize = 4096;
const LINE_START: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Which versions may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// Version 1 only.
    V1,
    /// Version 2 only.
    V2,
    /// Either.
    Either,
}

/// A PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its bytes, to be dropped.
    pub consumed: usize,
    /// Source and destination of the proxied connection; `None` where the socket's own addresses are to be kept (`LOCAL`,
    /// `UNKNOWN`, unspecified and unix addresses).
    pub addresses: Option<(SocketAddr, SocketAddr)>,
}

/// Why a connection that must begin with a PROXY header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// It begins with something else, or with a version that is not allowed.
    Missing,
    /// A version 1 line that is malformed.
    Line,
    /// A version 1 line of more than 107 bytes.
    LineTooLong,
    /// A version 2 header that is malformed.
    Header,
    /// A version 2 header of more than 4096 bytes.
    HeaderTooLarge,
    /// The peer may not send one.
    Forbidden,
}

impl Error {
    /// Every one of them.
    pub const ALL: &'static [Error] =
        &[Self::Missing, Self::Line, Self::LineTooLong, Self::Header, Self::HeaderTooLarge, Self::Forbidden];

    /// The stable code that stands in the log.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "proxy-header-missing",
            Self::Line => "bad-proxy-line",
            Self::LineTooLong => "proxy-line-too-long",
            Self::Header => "bad-proxy-header",
            Self::HeaderTooLarge => "proxy-header-too-large",
            Self::Forbidden => "proxy-header-forbidden",
        }
    }

    /// The status of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::Forbidden => 403,
            _ => 400,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "Invalid PROXY line: it is missing",
            Self::Line => "Invalid PROXY line",
            Self::LineTooLong => "Invalid PROXY line: it is too long",
            Self::Header => "Invalid PROXY header",
            Self::HeaderTooLarge => "Invalid PROXY header: it is too large",
            Self::Forbidden => "Request forbidden: the peer may not send a PROXY header",
        })
    }
}

impl std::error::Error for Error {}

/// The PROXY header at the front of `input`; `None` while it is incomplete.
///
/// # Errors
/// Anything that is not exactly such a header.
pub fn parse(input: &[u8], versions: Versions) -> Result<Option<Header>, Error> {
    let starts_like = |start: &[u8]| input.iter().zip(start).all(|(a, b)| a == b);
    if versions != Versions::V2 && starts_like(LINE_START) {
        return line(input);
    }
    if versions != Versions::V1 && starts_like(SIGNATURE) {
        return header(input);
    }
    Err(Error::Missing)
}

fn line(input: &[u8]) -> Result<Option<Header>, Error> {
    let window = input.get(..LINE_SIZE).unwrap_or(input);
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if input.len() < LINE_SIZE { Ok(None) } else { Err(Error::LineTooLong) };
    };
    let line = window.get(LINE_START.len()..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(Error::Line)?;
    let text = std::str::from_utf8(line).map_err(|_| Error::Line)?;
    let consumed = end + 1;
    let mut words = text.split(' ');
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        // What follows is to be ignored (§2.1), but it is still text.
        return if grammar::is_value_text(line) {
            Ok(Some(Header { consumed, addresses: None }))
        } else {
            Err(Error::Line)
        };
    }
    let (Some(source), Some(destination), Some(source_port), Some(destination_port), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Error::Line);
    };
    let end_of = |address: &str, port: &str| {
        let address = match family {
            "TCP4" => address.parse().ok().map(IpAddr::V4),
            "TCP6" => address.parse().ok().map(IpAddr::V6),
            _ => None,
        };
        Ok(SocketAddr::new(address.ok_or(Error::Line)?, port_of(port).ok_or(Error::Line)?))
    };
    let addresses = Some((end_of(source, source_port)?, end_of(destination, destination_port)?));
    Ok(Some(Header { consumed, addresses }))
}

/// A decimal number up to 65535 without sign or leading zeros (§2.1).
fn port_of(text: &str) -> Option<u16> {
    let number = grammar::decimal(text.as_bytes()).and_then(|number| u16::try_from(number).ok())?;
    (text.len() == 1 || !text.starts_with('0')).then_some(number)
}

fn header(input: &[u8]) -> Result<Option<Header>, Error> {
    let Some(rest) = input.get(SIGNATURE.len()..) else { return Ok(None) };
    // Each byte is judged as soon as it is there: the rest may never come.
    let local = match rest.first() {
        None => return Ok(None),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(Error::Header),
    };
    let family = match rest.get(1) {
        None => return Ok(None),
        // Datagrams, and whatever a LOCAL connection names, which is to be ignored (§2.2).
        Some(0x12 | 0x22 | 0x32) if !local => return Err(Error::Header),
        Some(family @ (0x00 | 0x11 | 0x12 | 0x21 | 0x22 | 0x31 | 0x32)) => *family,
        Some(_) => return Err(Error::Header),
    };
    let Some((&[high, low], rest)) = rest.get(2..).and_then(|rest| rest.split_first_chunk()) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let consumed = SIGNATURE.len() + 4 + length;
    if consumed > HEADER_SIZE {
        return Err(Error::HeaderTooLarge);
    }
    let address_size = match family {
        _ if local => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ => 0,
    };
    if length < address_size {
        return Err(Error::Header);
    }
    let Some(block) = rest.get(..length) else { return Ok(None) };
    if local || family == 0x00 {
        return Ok(Some(Header { consumed, addresses: None }));
    }
    let (addresses, extensions) = block.split_at(address_size);
    check_extensions(extensions)?;
    let addresses = match family {
        0x11 => ends::<4>(addresses, |octets| Ipv4Addr::from(octets).into()),
        0x21 => ends::<16>(addresses, |octets| Ipv6Addr::from(octets).into()),
        _ => None,
    };
    Ok(Some(Header { consumed, addresses }))
}

/// Source and destination: an address of `N` bytes each, then a port each.
fn ends<const N: usize>(block: &[u8], address: fn([u8; N]) -> IpAddr) -> Option<(SocketAddr, SocketAddr)> {
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let destination_port = rest.first_chunk::<2>()?;
    Some((
        SocketAddr::new(address(*source), u16::from_be_bytes(*source_port)),
        SocketAddr::new(address(*destination), u16::from_be_bytes(*destination_port)),
    ))
}

/// Type, length and value, again and again, exactly to the end (§2.2). None is used.
fn check_extensions(mut rest: &[u8]) -> Result<(), Error> {
    while let [_, high, low, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = after.get(length..).ok_or(Error::Header)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(Error::Header) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The verdict on `input`, which must not depend on how it arrives: no prefix has another than "incomplete" or the same.
    #[track_caller]
    fn verdict(input: &[u8], versions: Versions) -> Result<Option<Header>, Error> {
        let whole = parse(input, versions);
        for length in 0..input.len() {
            let prefix = parse(&input[..length], versions);
            assert!(prefix == Ok(None) || prefix == whole, "{} {prefix:?} {whole:?}", input[..length].escape_ascii());
        }
        whole
    }

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        [SIGNATURE, &[command, family], &(block.len() as u16).to_be_bytes(), block].concat()
    }

    const V4_BLOCK: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 2, 0x30, 0x39, 0x01, 0xbb];

    #[test]
    fn lines_name_addresses() {
        let cases = [
            ("PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n", Some(("192.0.2.1:12345", "198.51.100.2:443"))),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                Some(("255.255.255.255:65535", "255.255.255.255:65535")),
            ),
            ("PROXY TCP6 2001:db8::1 ::1 0 443\r\n", Some(("[2001:db8::1]:0", "[::1]:443"))),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
        ];
        for (line, expected) in cases {
            let addresses = expected.map(|(a, b)| (a.parse().unwrap(), b.parse().unwrap()));
            let expected = Header { consumed: line.len(), addresses };
            assert_eq!(verdict(line.as_bytes(), Versions::V1), Ok(Some(expected)), "{line}");
            let with_more = format!("{line}GET / HTTP/1.1\r\n");
            assert_eq!(verdict(with_more.as_bytes(), Versions::Either), Ok(Some(expected)), "{line}");
        }
    }

    #[test]
    fn bad_lines_are_refused() {
        let cases = [
            "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443 \r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.2 12345 443\r\n",
            "PROXY  TCP4 192.0.2.1 198.51.100.2 12345 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 12345\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 12345 65536\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 12345 0443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 12345 +443\r\n",
            "PROXY TCP4 192.0.2.01 198.51.100.2 12345 443\r\n",
            "PROXY TCP4 192.0.2 198.51.100.2 12345 443\r\n",
            "PROXY TCP4 ::1 ::1 12345 443\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.2 12345 443\r\n",
            "PROXY TCP6 [::1] [::1] 12345 443\r\n",
            "PROXY TCP6 fe80::1%eth0 ::1 12345 443\r\n",
            "PROXY tcp4 192.0.2.1 198.51.100.2 12345 443\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.2 12345 443\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY UNKNOWN a\rb\r\n",
            "PROXY UNKNOWN a\0b\r\n",
            "PROXY \r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\r\n",
        ];
        for line in cases {
            assert_eq!(verdict(line.as_bytes(), Versions::V1), Err(Error::Line), "{line}");
        }
    }

    #[test]
    fn a_line_ends_within_107_bytes() {
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
        assert_eq!(longest.len(), LINE_SIZE);
        assert_eq!(verdict(longest.as_bytes(), Versions::V1), Ok(Some(Header { consumed: 107, addresses: None })));
        let longer = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
        assert_eq!(verdict(longer.as_bytes(), Versions::V1), Err(Error::LineTooLong));
    }

    #[test]
    fn only_the_allowed_versions_are_taken() {
        let (line, header) = (b"PROXY UNKNOWN\r\n".as_slice(), v2(0x20, 0, &[]));
        assert_eq!(verdict(line, Versions::V2), Err(Error::Missing));
        assert_eq!(verdict(&header, Versions::V1), Err(Error::Missing));
        assert!(verdict(&header, Versions::Either).unwrap().is_some());
        for other in [b"GET / HTTP/1.1\r\n".as_slice(), b"\r\nPROXY UNKNOWN\r\n", b"proxy UNKNOWN\r\n", b"\x16\x03\x01"]
        {
            assert_eq!(verdict(other, Versions::Either), Err(Error::Missing));
        }
        assert_eq!(parse(b"", Versions::Either), Ok(None));
    }

    #[test]
    fn headers_name_addresses() {
        let parsed = verdict(&v2(0x21, 0x11, V4_BLOCK), Versions::V2).unwrap().unwrap();
        let expected = ("192.0.2.1:12345".parse().unwrap(), "198.51.100.2:443".parse().unwrap());
        assert_eq!(parsed, Header { consumed: 28, addresses: Some(expected) });

        let block = [[0; 15].as_slice(), &[1], &[0; 15], &[2], &[0, 80, 1, 187]].concat();
        let parsed = verdict(&v2(0x21, 0x21, &block), Versions::V2).unwrap().unwrap();
        assert_eq!(parsed.addresses, Some(("[::1]:80".parse().unwrap(), "[::2]:443".parse().unwrap())));
    }

    #[test]
    fn local_unspecified_and_unix_keep_the_sockets_addresses() {
        let cases =
            [v2(0x20, 0x00, &[]), v2(0x20, 0x12, &[1, 2, 3]), v2(0x21, 0x00, &[1, 2, 3]), v2(0x21, 0x31, &[0; 216])];
        for header in cases {
            let expected = Header { consumed: header.len(), addresses: None };
            assert_eq!(verdict(&header, Versions::V2), Ok(Some(expected)), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn bad_headers_are_refused() {
        let with = |extension: &[u8]| v2(0x21, 0x11, &[V4_BLOCK, extension].concat());
        assert!(verdict(&with(&[0x04, 0, 2, 7, 7, 0x04, 0, 0]), Versions::V2).unwrap().is_some());
        let cases = [
            v2(0x11, 0x11, V4_BLOCK),
            v2(0x31, 0x11, V4_BLOCK),
            v2(0x22, 0x11, V4_BLOCK),
            v2(0x21, 0x12, V4_BLOCK),
            v2(0x21, 0x22, &[0; 36]),
            v2(0x21, 0x32, &[0; 216]),
            v2(0x21, 0x13, V4_BLOCK),
            v2(0x21, 0x41, V4_BLOCK),
            v2(0x20, 0x41, V4_BLOCK),
            v2(0x21, 0x11, &V4_BLOCK[1..]),
            v2(0x21, 0x21, &[0; 35]),
            v2(0x21, 0x31, &[0; 215]),
            with(&[0x04]),
            with(&[0x04, 0]),
            with(&[0x04, 0, 1]),
            with(&[0x04, 0xff, 0xff, 0]),
        ];
        for header in cases {
            assert_eq!(verdict(&header, Versions::V2), Err(Error::Header), "{}", header.escape_ascii());
        }
        assert_eq!(verdict(&v2(0x20, 0, &[0; 4081]), Versions::V2), Err(Error::HeaderTooLarge));
        assert!(verdict(&v2(0x20, 0, &[0; 4080]), Versions::V2).unwrap().is_some());
    }
}
