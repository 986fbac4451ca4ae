//! Who goes when a worker holds too many connections.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use super::connection::{Burden, Connection};
use super::peers;
use super::policy::Policy;
use crate::clock::Moment;

/// The keys of at most `count` connections that are to make room, those with the best reason first. Among those that have
/// not come to a request, the peers with the most of them are the first: they are the attack, if it is one.
pub(crate) fn victims<'a>(
    connections: impl Iterator<Item = (usize, &'a mut Connection)>,
    policy: &Policy,
    now: Moment,
    count: usize,
) -> Vec<usize> {
    let mut crowds: HashMap<Option<IpAddr>, u32> = HashMap::new();
    let mut burdens = Vec::new();
    for (key, connection) in connections {
        let Some((burden, moment)) = connection.burden(policy, now) else { continue };
        let peer = connection.peer_ip().map(peers::network);
        if burden != Burden::Idle {
            *crowds.entry(peer).or_insert(0) += 1;
        }
        burdens.push((burden, peer, moment, key));
    }
    let crowd = |burden, peer| if burden == Burden::Idle { 0 } else { crowds.get(&peer).copied().unwrap_or(0) };
    burdens.sort_by_cached_key(|&(burden, peer, moment, key)| (burden, Reverse(crowd(burden, peer)), moment, key));
    burdens.into_iter().take(count).map(|(.., key)| key).collect()
}
