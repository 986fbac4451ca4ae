//! Which peers are believed.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::Invalid;

/// Which peers are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustedPeers {
    /// `*`
    All,
    /// These networks.
    Networks(Vec<Network>),
}

/// `ADDRESS/PREFIX`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The address, its host bits zero.
    pub address: IpAddr,
    /// Leading bits that count.
    pub prefix: u8,
}

impl TrustedPeers {
    /// Whether a peer with this address is believed. An IPv4 peer of an IPv6 socket counts as the IPv4 peer it is.
    pub fn contains(&self, peer: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::Networks(networks) => networks.iter().any(|network| network.contains(peer)),
        }
    }
}

impl Network {
    /// Whether the address is one of this network's. `::ffff:192.0.2.1` is `192.0.2.1` (RFC 4291 §2.5.5.2).
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |ours: u128, theirs: u128, bits: u32| {
            let prefix = u32::from(self.prefix).min(bits);
            // A shift by all bits of the type is no shift in Rust: /0 has its own arm.
            prefix == 0 || (ours ^ theirs) >> (bits - prefix) == 0
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => same(ours.to_bits().into(), theirs.to_bits().into(), 32),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => same(ours.to_bits(), theirs.to_bits(), 128),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("an IP address, or a network such as 10.0.0.0/8");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(prefix) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => {
                prefix.parse().ok().filter(|prefix| *prefix <= bits).ok_or_else(invalid)?
            }
            Some(_) => return Err(invalid()),
        };
        let (canonical, prefix) = match address.to_canonical() {
            IpAddr::V4(mapped) if address.is_ipv6() && prefix >= 96 => (IpAddr::V4(mapped), prefix - 96),
            _ => (address, prefix),
        };
        let network = Self { address: canonical, prefix };
        let first = network.first();
        if first != canonical {
            return Err(Invalid::new(format!("a network without host bits, such as {first}/{prefix}")));
        }
        Ok(network)
    }
}

impl Network {
    /// The network's first address: the host bits zero.
    fn first(&self) -> IpAddr {
        let prefix = u32::from(self.prefix);
        match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix)).unwrap_or(0);
                IpAddr::V4((address.to_bits() & mask).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix)).unwrap_or(0);
                IpAddr::V6((address.to_bits() & mask).into())
            }
        }
    }
}

impl FromStr for TrustedPeers {
    type Err = Invalid;

    /// Networks with commas between them; `*` for everybody, nothing for nobody.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let mut networks = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            if part == "*" {
                return Ok(Self::All);
            }
            networks.push(part.parse().map_err(|error: Invalid| error.about(part))?);
        }
        Ok(Self::Networks(networks))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.address.is_ipv4() { 32 } else { 128 };
        if self.prefix == bits { self.address.fmt(f) } else { write!(f, "{}/{}", self.address, self.prefix) }
    }
}

impl fmt::Display for TrustedPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Networks(networks) => {
                for (index, network) in networks.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}{network}")?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_shown() {
        let cases = [
            ("127.0.0.1,::1", "127.0.0.1,::1"),
            (" 10.0.0.0/8 , 192.168.1.0/24,", "10.0.0.0/8,192.168.1.0/24"),
            ("10.1.2.3/32,::1/128", "10.1.2.3,::1"),
            ("0.0.0.0/0,::/0", "0.0.0.0/0,::/0"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("*", "*"),
            ("127.0.0.1,*", "*"),
            ("", ""),
        ];
        for (text, shown) in cases {
            assert_eq!(text.parse::<TrustedPeers>().unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for (text, part) in [
            ("localhost", "IP address"),
            ("10.0.0.1/8", "10.0.0.0/8"),
            ("fe80::1/10", "fe80::/10"),
            ("10.0.0.0/33", "network"),
            ("10.0.0.0/+8", "network"),
            ("10.0.0.0/", "network"),
            ("10.0.0.0/255.0.0.0", "network"),
            ("127.0.0.1 ::1", "network"),
        ] {
            let error = text.parse::<TrustedPeers>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_peer_belongs_to_the_networks_that_hold_its_address() {
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::10.1.2.3", false),
            ("::ffff:10.1.2.3", "10.1.2.3", true),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("::/0", "192.0.2.1", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("127.0.0.1,::1", "::1", true),
            ("127.0.0.1,::1", "127.0.0.2", false),
            ("*", "192.0.2.1", true),
            ("", "127.0.0.1", false),
        ];
        for (peers, peer, expected) in cases {
            let trusted = peers.parse::<TrustedPeers>().unwrap().contains(peer.parse().unwrap());
            assert_eq!(trusted, expected, "{peer} in {peers:?}");
        }
    }
}
