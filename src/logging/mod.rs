//! Gunicorn's error and access logs.
//!
//! Lines are written whole, in one write(2) each, and nothing that a client sent can end one: control characters are
//! escaped. No write waits: what a full disk or a full pipe does not take is lost, and counted.

pub(crate) mod access;
mod errors;
#[cfg(test)]
mod scratch;
mod sink;

pub use errors::{TRACEBACK, error_log_descriptor, log_critical};
pub(crate) use errors::{init, lost, reopen};

/// Logs a line of the level CRITICAL, which `log` does not have; every `loglevel` lets it through.
macro_rules! critical {
    ($($argument:tt)+) => {
        $crate::logging::write_critical(::std::format_args!($($argument)+))
    };
}

pub(crate) use critical;
pub(crate) use errors::write_critical;
