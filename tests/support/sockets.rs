//! What the kernel knows about TCP sockets (sock_diag(7)), without the cost of reading /proc/net/tcp.

use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// A socket of this network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    pub(crate) state: u8,
    pub(crate) peer_port: u16,
    /// Bytes to be read; of a listening socket the connections to be accepted.
    pub(crate) unread: u32,
    pub(crate) inode: u32,
}

const ESTABLISHED: u8 = 1;
const CLOSE_WAIT: u8 = 8;
const LISTEN: u8 = 10;

/// The IPv4 sockets with that local port that are connected, or half.
pub(crate) fn connected(port: u16) -> Vec<Socket> {
    query(port, 1 << ESTABLISHED | 1 << CLOSE_WAIT)
}

/// Connections that wait to be accepted at that port.
pub(crate) fn accept_queue(port: u16) -> u32 {
    query(port, 1 << LISTEN).iter().map(|socket| socket.unread).sum()
}

fn query(port: u16, states: u32) -> Vec<Socket> {
    let protocol = SockProtocol::NetlinkSockDiag;
    let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).expect("a netlink socket");
    // struct nlmsghdr: length, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, sequence, port
    let mut request = Vec::new();
    request.extend(72_u32.to_ne_bytes());
    request.extend(20_u16.to_ne_bytes());
    request.extend(0x301_u16.to_ne_bytes());
    request.extend([0; 8]);
    // struct inet_diag_req_v2: AF_INET, IPPROTO_TCP, states, then the local port in a struct of 48 bytes
    request.extend([2, 6, 0, 0]);
    request.extend(states.to_ne_bytes());
    request.extend(port.to_be_bytes());
    request.resize(72, 0);
    send(fd.as_raw_fd(), &request, MsgFlags::empty()).expect("a netlink request");
    let mut found = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = recv(fd.as_raw_fd(), &mut buffer, MsgFlags::empty()).expect("a netlink answer");
        let mut rest = &buffer[..length];
        while rest.len() >= 16 {
            let size = u32_at(rest, 0) as usize;
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            // NLMSG_ERROR, NLMSG_DONE
            if matches!(kind, 2 | 3) || size < 16 {
                return found;
            }
            // struct inet_diag_msg: family, state, timer, retransmissions, id (48), expires, rqueue, wqueue, uid, inode
            let message = &rest[16..size.min(rest.len())];
            if message.len() >= 72 {
                found.push(Socket {
                    state: message[1],
                    peer_port: u16::from_be_bytes([message[6], message[7]]),
                    unread: u32_at(message, 56),
                    inode: u32_at(message, 68),
                });
            }
            rest = &rest[size.next_multiple_of(4).min(rest.len())..];
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
