//! The access log.

use crate::error::Error;
use crate::settings::Settings;

/// A compiled format.
#[derive(Debug)]
pub(crate) struct Format {}

impl Format {
    pub(crate) fn parse(_text: &str) -> Result<Self, Error> {
        Ok(Self {})
    }
}

/// The access log of one worker.
#[derive(Debug)]
pub(crate) struct AccessLog {}

impl AccessLog {
    pub(crate) fn open(_settings: &Settings) -> Result<Option<Self>, Error> {
        Ok(None)
    }
}
