//! The texts of clients' addresses, which are made once for a connection.

use std::net::{IpAddr, SocketAddr};

use pyo3::prelude::*;

use crate::ffi::text;

/// Peers whose texts are kept, by their ports.
const PLACES: usize = 1024;

/// Those of clients that were there last.
pub(crate) struct Peers {
    places: Vec<Option<Peer>>,
    last_host: Option<(IpAddr, Py<PyAny>)>,
}

/// Address and port of a client.
pub(crate) struct Peer {
    address: SocketAddr,
    pub(crate) host: Py<PyAny>,
    pub(crate) port: Py<PyAny>,
}

impl Peers {
    pub(crate) fn new() -> Self {
        Self { places: std::iter::repeat_with(|| None).take(PLACES).collect(), last_host: None }
    }

    #[inline]
    pub(crate) fn get(&mut self, py: Python<'_>, address: SocketAddr) -> PyResult<Option<&Peer>> {
        let Some(place) = self.places.get_mut(usize::from(address.port()) % PLACES) else { return Ok(None) };
        if place.as_ref().is_none_or(|known| known.address != address) {
            // As a rule all come from the same proxy.
            let host = match &self.last_host {
                Some((ip, host)) if *ip == address.ip() => host.clone_ref(py),
                _ => text(py, address.ip().to_string().as_bytes())?.unbind(),
            };
            self.last_host = Some((address.ip(), host.clone_ref(py)));
            let port = text(py, address.port().to_string().as_bytes())?.unbind();
            *place = Some(Peer { address, host, port });
        }
        Ok(place.as_ref())
    }
}
