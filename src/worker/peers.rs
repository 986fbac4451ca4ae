//! How many connections each peer address holds.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Moment;

/// Connections by address, up to so many each.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    limit: u32,
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    counts: HashMap<IpAddr, u32>,
    /// When it was last said that somebody has too many.
    told: Option<Moment>,
}

/// A peer has as many connections as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowded {
    /// How many those are.
    pub(crate) limit: u32,
    /// It has not been said for a while.
    pub(crate) worth_telling: bool,
}

/// How often it is said.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(60);

/// A connection that counts for its peer; dropping it makes room.
#[derive(Debug)]
pub(crate) struct Seat {
    address: IpAddr,
    peers: Peers,
}

impl Peers {
    /// At most `limit` connections for each address.
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, table: Arc::default() }
    }

    /// A seat for one more connection from `address`.
    ///
    /// # Errors
    /// It has as many as it may have.
    pub(crate) fn admit(&self, address: IpAddr, now: Moment) -> Result<Seat, Crowded> {
        let address = network(address);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let count = table.counts.entry(address).or_insert(0);
        if *count >= self.limit {
            let worth_telling = table.told.is_none_or(|told| now.since(told) >= BETWEEN_WARNINGS);
            if worth_telling {
                table.told = Some(now);
            }
            return Err(Crowded { limit: self.limit, worth_telling });
        }
        *count += 1;
        Ok(Seat { address, peers: self.clone() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.peers.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = table.counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                table.counts.remove(&self.address);
            }
        }
    }
}

/// What counts as one peer: a whole /64 of IPv6, since that is what one customer is given.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & (u128::MAX << 64)).into()),
        address => address,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos((1000 + seconds) * 1_000_000_000)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_gets_so_many_seats_and_a_seat_is_free_when_it_is_dropped() {
        let peers = Peers::new(2);
        let first = peers.admit(ip("192.0.2.1"), at(0)).unwrap();
        let _second = peers.admit(ip("::ffff:192.0.2.1"), at(0)).unwrap();
        assert!(peers.admit(ip("192.0.2.1"), at(0)).is_err());
        assert!(peers.admit(ip("192.0.2.2"), at(0)).is_ok());
        drop(first);
        let third = peers.admit(ip("192.0.2.1"), at(0));
        assert!(third.is_ok());
        assert!(peers.admit(ip("192.0.2.1"), at(0)).is_err());
    }

    #[test]
    fn a_64_of_ipv6_is_one_peer_and_nothing_is_kept_of_those_that_have_gone() {
        let peers = Peers::new(1);
        let seat = peers.admit(ip("2001:db8::1"), at(0)).unwrap();
        assert!(peers.admit(ip("2001:db8::ffff:2"), at(0)).is_err());
        assert!(peers.admit(ip("2001:db8:0:1::1"), at(0)).is_ok());
        drop(seat);
        assert!(peers.table.lock().unwrap().counts.is_empty());
    }

    #[test]
    fn that_a_peer_has_too_many_is_said_once_a_minute() {
        let peers = Peers::new(1);
        let _seat = peers.admit(ip("192.0.2.1"), at(0)).unwrap();
        let told: Vec<bool> =
            [0, 1, 59, 60, 61].map(|now| peers.admit(ip("192.0.2.1"), at(now)).unwrap_err().worth_telling).into();
        assert_eq!(told, [true, false, false, true, false]);
    }
}
