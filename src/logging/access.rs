//! The access log.

use std::time::Duration;

use crate::app::{Peer, Response};
use crate::error::Error;
use crate::protocol::Head;
use crate::settings::Settings;

/// A compiled format.
#[derive(Debug)]
pub(crate) struct Format {}

impl Format {
    pub(crate) fn parse(_text: &str) -> Result<Self, Error> {
        Ok(Self {})
    }
}

/// One answered request.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) head: &'a Head,
    pub(crate) peer: &'a Peer,
    pub(crate) status: u16,
    /// Bytes of the response's body.
    pub(crate) sent: u64,
    pub(crate) duration: Duration,
    pub(crate) response: &'a Response,
}

/// The access log of one worker.
#[derive(Debug)]
pub(crate) struct AccessLog {}

impl AccessLog {
    pub(crate) fn open(_settings: &Settings) -> Result<Option<Self>, Error> {
        Ok(None)
    }

    pub(crate) fn line(&mut self, _entry: &Entry<'_>) {}

    pub(crate) fn flush(&mut self) {}

    pub(crate) fn reopen(&mut self) {}

    pub(crate) fn lost(&self) -> u64 {
        0
    }
}
