//! Requests that are refused before they reach the application.

use std::borrow::Cow;
use std::fmt;

use super::storage::Full;
use crate::app::Address;
use crate::protocol::http1::Error;
use crate::protocol::proxy_protocol;

/// Why a request is not given to the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// The stable code that stands in the log.
    reason: &'static str,
    pub(crate) text: Cow<'static, str>,
}

impl Refusal {
    /// Writes Gunicorn's line about it.
    pub(crate) fn log(&self, peer: &Address) {
        log::warn!("Invalid request from ip={}: {} ({})", PeerIp(peer), self.text, self.reason);
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { status: error.status(), reason: error.reason(), text: error.to_string().into() }
    }
}

impl From<proxy_protocol::Error> for Refusal {
    fn from(error: proxy_protocol::Error) -> Self {
        Self { status: error.status(), reason: error.reason(), text: error.to_string().into() }
    }
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        let (status, reason, text) = match full {
            Full::Quota => (503, "body-quota", "Too many large request bodies are being received"),
            Full::Disk => (507, "body-disk-full", "There is no room for the request body"),
            Full::Failed => (500, "body-storage", "The request body cannot be stored"),
        };
        Self { status, reason, text: Cow::Borrowed(text) }
    }
}

/// The address as Gunicorn's log shows it: without the port.
struct PeerIp<'a>(&'a Address);

impl fmt::Display for PeerIp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Address::Ip(address) => address.ip().fmt(f),
            unix @ Address::Unix(_) => unix.fmt(f),
        }
    }
}
