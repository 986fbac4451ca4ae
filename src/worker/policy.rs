//! What a worker's connections need of the settings, in the shape they need it.

use std::path::PathBuf;
use std::time::Duration;

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
    pub(crate) head_timeout: Duration,
    pub(crate) body: Pace,
    pub(crate) send: Pace,
    /// Bytes of a body in memory.
    pub(crate) body_memory: usize,
    /// Where larger ones go.
    pub(crate) spool: PathBuf,
    pub(crate) sendfile: bool,
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

/// How fast a body or a response must move: `minimum` bytes a second on average over each `window`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) window: Duration,
    pub(crate) minimum: u64,
}

impl Pace {
    /// Whether `bytes` in one window are enough. Standing still never is.
    pub(crate) fn is_met_by(self, bytes: u64) -> bool {
        bytes > 0 && bytes >= (self.minimum as f64 * self.window.as_secs_f64()) as u64
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
            head_timeout: settings.header_timeout,
            body: Pace { window: settings.body_timeout, minimum: settings.body_min_rate },
            send: Pace { window: settings.send_timeout, minimum: settings.send_min_rate },
            body_memory: settings.body_memory,
            spool: settings.worker_tmp_dir.clone().unwrap_or_else(std::env::temp_dir),
            sendfile: settings.sendfile,
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
