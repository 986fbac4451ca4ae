//! What one worker says to another of a connection that it hands over.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::app::Address;
use crate::clock::Moment;
use crate::protocol::Protocol;

/// The first byte of a message.
const VERSION: u8 = 1;

/// What is said of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parcel {
    /// When it was put into the channel, or whatever its request has waited since.
    pub(crate) since: Moment,
    /// Requests that were answered on it.
    pub(crate) requests: u32,
    pub(crate) protocol: Protocol,
    /// A PROXY header must come first.
    pub(crate) unproxied: bool,
    pub(crate) peer: Address,
    /// Where a PROXY header said that the client went.
    pub(crate) destination: Option<SocketAddr>,
    pub(crate) local: Address,
    /// Bytes that were received and not used.
    pub(crate) unread: Vec<u8>,
}

impl Parcel {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.unread.len());
        out.extend_from_slice(&[VERSION, self.protocol as u8, u8::from(self.unproxied)]);
        out.extend_from_slice(&self.since.as_nanos().to_le_bytes());
        out.extend_from_slice(&self.requests.to_le_bytes());
        encode_address(&self.peer, &mut out);
        encode_address(&self.destination.map_or(Address::Unix(None), Address::Ip), &mut out);
        encode_address(&self.local, &mut out);
        out.extend_from_slice(&self.unread);
        out
    }

    /// `None` if it is no message of ours.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let [VERSION, protocol, unproxied] = reader.take()? else { return None };
        Some(Self {
            protocol: Protocol::ALL.into_iter().find(|known| *known as u8 == protocol)?,
            unproxied: unproxied != 0,
            since: Moment::from_nanos(u64::from_le_bytes(reader.take()?)),
            requests: u32::from_le_bytes(reader.take()?),
            peer: reader.address()?,
            destination: match reader.address()? {
                Address::Ip(address) => Some(address),
                Address::Unix(_) => None,
            },
            local: reader.address()?,
            unread: reader.0.to_vec(),
        })
    }
}

fn encode_address(address: &Address, out: &mut Vec<u8>) {
    match address {
        Address::Ip(SocketAddr::V4(address)) => {
            out.push(4);
            out.extend_from_slice(&address.ip().octets());
            out.extend_from_slice(&address.port().to_le_bytes());
        }
        Address::Ip(SocketAddr::V6(address)) => {
            out.push(6);
            out.extend_from_slice(&address.ip().octets());
            out.extend_from_slice(&address.port().to_le_bytes());
            out.extend_from_slice(&address.flowinfo().to_le_bytes());
            out.extend_from_slice(&address.scope_id().to_le_bytes());
        }
        Address::Unix(None) => out.push(0),
        Address::Unix(Some(path)) => {
            // Paths of unix sockets have 108 bytes at most.
            let path = path.as_os_str().as_bytes();
            let path = path.get(..path.len().min(255)).unwrap_or_default();
            out.extend_from_slice(&[1, path.len() as u8]);
            out.extend_from_slice(path);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn address(&mut self) -> Option<Address> {
        Some(match self.take()? {
            [4] => {
                let ip = Ipv4Addr::from(self.take::<4>()?);
                Address::Ip(SocketAddrV4::new(ip, u16::from_le_bytes(self.take()?)).into())
            }
            [6] => {
                let ip = Ipv6Addr::from(self.take::<16>()?);
                let port = u16::from_le_bytes(self.take()?);
                let (flow, scope) = (u32::from_le_bytes(self.take()?), u32::from_le_bytes(self.take()?));
                Address::Ip(SocketAddrV6::new(ip, port, flow, scope).into())
            }
            [0] => Address::Unix(None),
            [1] => {
                let [length] = self.take()?;
                let (path, rest) = self.0.split_at_checked(usize::from(length))?;
                self.0 = rest;
                Address::Unix(Some(std::ffi::OsString::from_vec(path.to_vec()).into()))
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_connection_arrives() {
        let addresses = [
            Address::Ip("192.0.2.1:65535".parse().unwrap()),
            Address::Ip("[2001:db8::1]:1".parse().unwrap()),
            Address::Unix(None),
            Address::Unix(Some("/run/x".into())),
        ];
        for (peer, local) in addresses.iter().zip(addresses.iter().rev()) {
            let parcel = Parcel {
                since: Moment::from_nanos(1 << 40),
                requests: 7,
                protocol: Protocol::Scgi,
                unproxied: *peer == Address::Unix(None),
                peer: peer.clone(),
                destination: if let Address::Ip(address) = local { Some(*address) } else { None },
                local: local.clone(),
                unread: b"GET / HTTP/1.1\r\n".to_vec(),
            };
            let bytes = parcel.encode();
            assert_eq!(Parcel::decode(&bytes).as_ref(), Some(&parcel));
            for length in 0..bytes.len() - parcel.unread.len() {
                assert_eq!(Parcel::decode(&bytes[..length]), None, "{length} bytes");
            }
        }
        assert_eq!(Parcel::decode(b"\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), None, "another version");
    }
}
