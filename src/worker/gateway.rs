//! What is different where the peers are web servers: who may be one, and whom it speaks for.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::task::Waker;

use super::policy::Policy;
use crate::app::{Address, Peer, Pull, Segment, Source};
use crate::protocol::head::Remote;
use crate::protocol::{Head, Protocol};

/// Bytes that one pull gives: as many as one record holds.
const PIECE: usize = crate::protocol::fastcgi::record::CONTENT_SIZE;

/// Whether a peer may speak for others. One that may not is told nothing, as FastCGI has it (§3.2).
pub(super) fn admits(policy: &Policy, protocol: Protocol, peer: Option<SocketAddr>) -> bool {
    let Some(peer) = peer else { return true };
    let admitted = !protocol.is_gateway() || policy.gateways.contains(peer.ip());
    if !admitted {
        log::warn!("Connection from {}, which is not in gateway_allow_ips ({}-forbidden)", peer.ip(), protocol.name());
    }
    admitted
}

/// The client, as the web server at `gateway` says it: the address behind which it is found in logs and environs.
pub(super) fn client(head: &Head, gateway: impl FnOnce() -> Address, policy: &Policy) -> Peer {
    let address = match head.remote() {
        Remote::Ip(address) => Address::Ip(address),
        Remote::Unix => Address::Unix(None),
        Remote::Unknown => gateway(),
    };
    let trusted = match &address {
        Address::Ip(address) => policy.forwarders.contains(address.ip()),
        Address::Unix(_) => true,
    };
    Peer { address, destination: None, trusted, secure: head.is_secure() }
}

/// Segments whose bytes have to be copied, as they are cut into records.
pub(super) struct Copied(pub(super) VecDeque<Segment>);

impl Source for Copied {
    fn pull(&mut self, _waker: &Waker, out: &mut Vec<u8>) -> Pull {
        while out.len() < PIECE {
            let room = PIECE - out.len();
            match self.0.front_mut() {
                None => return if out.is_empty() { Pull::End } else { Pull::More },
                Some(Segment::Bytes(bytes)) => {
                    let piece = bytes.split_to(room.min(bytes.len()));
                    out.extend_from_slice(&piece);
                }
                Some(Segment::File(range)) => {
                    let start = out.len();
                    out.resize(start + (room as u64).min(range.length) as usize, 0);
                    let read = range.file.read_at(out.get_mut(start..).unwrap_or_default(), range.offset).unwrap_or(0);
                    out.truncate(start + read);
                    range.offset += read as u64;
                    range.length -= read as u64;
                    if read == 0 && range.length > 0 {
                        // The file has become shorter than it was when its length was promised.
                        return Pull::Failed;
                    }
                }
            }
            if self.0.front().is_some_and(Segment::is_empty) {
                self.0.pop_front();
            }
        }
        Pull::More
    }
}
