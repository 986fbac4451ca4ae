//! What a worker's connections need of the settings, in the shape they need it.

use std::net::SocketAddr;
use std::time::Duration;

use super::pace::Pace;
use super::peers::{Crowded, Peers, Seat};
use super::storage::Storage;
use crate::clock::Moment;
use crate::protocol::forwarded::SecureSchemes;
use crate::protocol::proxy_protocol::Versions;
use crate::protocol::{Limits, Protocol};
use crate::settings::{ProxyProtocol, Settings, TrustedPeers};

/// How long and how large things may be, and who is believed.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) limits: Limits,
    /// Connections at once.
    pub(crate) connections: usize,
    /// Requests on one connection; 0 is no limit.
    pub(crate) requests: u64,
    /// Idle time of a connection.
    pub(crate) keepalive: Duration,
    /// The same while draining.
    pub(crate) grace: Duration,
    /// Silence of a new connection.
    pub(crate) first_byte: Duration,
    pub(crate) head: Pace,
    /// Time of a head at most, however much comes.
    pub(crate) head_longest: Duration,
    pub(crate) body: Pace,
    pub(crate) send: Pace,
    /// Bytes of a body in memory.
    pub(crate) body_memory: usize,
    /// Where larger ones go.
    pub(crate) storage: Storage,
    /// Connections of one address, if they are limited.
    pub(crate) peers: Option<Peers>,
    /// The path that tells whether the server is to be sent requests.
    pub(crate) ready_path: Option<Box<str>>,
    /// How long a request may wait for its turn.
    pub(crate) queue_timeout: Option<Duration>,
    /// How long a call may take before something ends it.
    pub(crate) call_limit: Option<Duration>,
    /// How long the application may take that has deferred its answer.
    pub(crate) request_timeout: Option<Duration>,
    pub(crate) sendfile: bool,
    /// Threads may have others go first.
    pub(crate) batch_scheduling: bool,
    pub(crate) forwarders: TrustedPeers,
    pub(crate) secure_schemes: SecureSchemes,
    pub(crate) proxy_protocol: Option<Versions>,
    pub(crate) proxies: TrustedPeers,
    /// Web servers that may speak for others.
    pub(crate) gateways: TrustedPeers,
    /// Connections that web servers may make, to all workers.
    pub(crate) gateway_connections: usize,
    /// What each listener speaks; HTTP beyond that.
    pub(crate) protocols: Vec<Protocol>,
}

impl Policy {
    /// Whether that peer may speak for others.
    pub(crate) fn is_proxy(&self, peer: Option<SocketAddr>) -> bool {
        let listed = |peers: &TrustedPeers, address| peers.contains(address);
        peer.is_none_or(|peer| {
            listed(&self.forwarders, peer.ip())
                || (self.proxy_protocol.is_some() && listed(&self.proxies, peer.ip()))
                || (self.protocols.iter().any(|protocol| protocol.is_gateway()) && listed(&self.gateways, peer.ip()))
        })
    }

    /// A seat for a connection from `peer`, or that it needs none.
    ///
    /// # Errors
    /// It has as many as it may have. Whoever counts for many clients is not counted.
    pub(crate) fn seat(&self, peer: Option<SocketAddr>, now: Moment) -> Result<Option<Seat>, Crowded> {
        match (&self.peers, peer) {
            (Some(peers), Some(peer)) if !peer.ip().to_canonical().is_loopback() && !self.is_proxy(Some(peer)) => {
                peers.admit(peer.ip(), now).map(Some)
            }
            _ => Ok(None),
        }
    }
}

impl From<&Settings> for Policy {
    fn from(settings: &Settings) -> Self {
        Self {
            limits: Limits {
                request_line: settings.limit_request_line,
                fields: settings.limit_request_fields,
                field_size: settings.limit_request_field_size,
                head_size: settings.limit_request_head,
                body_size: settings.limit_request_body,
            },
            connections: settings.worker_connections.max(1),
            requests: settings.keepalive_requests,
            keepalive: settings.keepalive,
            grace: settings.keepalive_grace,
            first_byte: settings.first_byte_timeout,
            head: Pace { patience: settings.header_timeout, minimum: settings.header_min_rate },
            head_longest: settings.header_longest,
            body: Pace { patience: settings.body_timeout, minimum: settings.body_min_rate },
            send: Pace { patience: settings.send_timeout, minimum: settings.send_min_rate },
            body_memory: settings.body_memory,
            storage: Storage::new(
                settings.worker_tmp_dir.clone().unwrap_or_else(std::env::temp_dir),
                settings.body_disk,
            ),
            peers: (settings.peer_connections > 0).then(|| Peers::new(settings.peer_connections)),
            ready_path: settings.ready_path.as_deref().map(Box::from),
            queue_timeout: settings.queue_timeout,
            request_timeout: settings.request_timeout,
            call_limit: settings.request_timeout.into_iter().chain(settings.timeout).min(),
            sendfile: settings.sendfile,
            batch_scheduling: settings.batch_scheduling,
            forwarders: settings.forwarded_allow_ips.clone(),
            secure_schemes: SecureSchemes::new(&settings.secure_scheme_headers),
            proxy_protocol: match settings.proxy_protocol {
                ProxyProtocol::Off => None,
                ProxyProtocol::V1 => Some(Versions::V1),
                ProxyProtocol::V2 => Some(Versions::V2),
                ProxyProtocol::Auto => Some(Versions::Either),
            },
            proxies: settings.proxy_allow_ips.clone(),
            gateways: settings.gateway_allow_ips.clone(),
            gateway_connections: settings.worker_connections.max(1).saturating_mul(settings.workers),
            protocols: Vec::new(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed step is a failed test")]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_counted_and_proxies_and_neighbours_are_not() {
        let settings = Settings {
            peer_connections: 1,
            forwarded_allow_ips: "192.0.2.10".parse().unwrap(),
            proxy_allow_ips: "192.0.2.20".parse().unwrap(),
            ..Settings::default()
        };
        let on = Settings { proxy_protocol: ProxyProtocol::Auto, ..settings.clone() };
        let off = Settings { peer_connections: 0, ..settings.clone() };
        let cases = [
            (&settings, "198.51.100.1", true),
            (&settings, "127.0.0.1", false),
            (&settings, "::1", false),
            (&settings, "::ffff:127.0.0.1", false),
            (&settings, "192.0.2.10", false),
            (&settings, "192.0.2.20", true),
            (&on, "192.0.2.20", false),
            (&off, "198.51.100.1", false),
        ];
        for (settings, address, counted) in cases {
            let policy = Policy::from(settings);
            let peer = Some(SocketAddr::new(address.parse().unwrap(), 1000));
            let first = policy.seat(peer, Moment::default());
            let second = policy.seat(peer, Moment::default());
            assert!(first.is_ok(), "{address}");
            assert_eq!(second.is_err(), counted, "{address}");
        }
        assert!(matches!(Policy::from(&settings).seat(None, Moment::default()), Ok(None)), "unix sockets");
    }
}
