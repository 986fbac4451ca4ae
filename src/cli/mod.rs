//! argv, environment and file to [`Settings`]; the only user of clap.

use std::ffi::OsString;

use crate::error::Error;
use crate::settings::Settings;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Invocation {
    /// Serve (or check, or print) with these settings.
    Serve(Box<Settings>),
    /// Print this to standard output and exit with 0 (`--help`, `--version`).
    Print(String),
}

/// Reads argv (with the program's name first), the environment and the settings file.
///
/// # Errors
/// The first thing that is wrong, naming the setting, the value, what was expected and the nearest right spelling.
pub(crate) fn parse(_argv: &[OsString], _environment: &dyn Fn(&str) -> Option<String>) -> Result<Invocation, Error> {
    Ok(Invocation::Serve(Box::default()))
}
