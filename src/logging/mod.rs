//! Gunicorn's error and access logs.

use crate::error::Error;
use crate::settings::Settings;

/// Logs to standard error from now on.
pub(crate) fn init(settings: &Settings) -> Result<(), Error> {
    use std::io::Write;
    let _ = env_logger::Builder::new()
        .filter_level(settings.loglevel)
        .format(|out, record| writeln!(out, "[{}] [{}] {}", std::process::id(), record.level(), record.args()))
        .try_init();
    Ok(())
}

/// Reopens the files.
pub(crate) fn reopen() {}
