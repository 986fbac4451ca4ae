//! Errors of the operator's: what is wrong with the settings or the surroundings, and the exit code.

use std::fmt;

/// Why the server does not start, or has stopped. Its text is for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    message: String,
    exit_code: u8,
}

impl Error {
    /// The command line is wrong (exit code 2).
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: 2 }
    }

    /// A setting is wrong, or cannot be had here (exit code 1).
    pub fn configuration(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit_code: 1 }
    }

    /// The exit code of the process, as Gunicorn's.
    pub const fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
