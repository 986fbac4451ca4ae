//! Puts everything together.

use std::process::ExitCode;

use crate::app::{Factory, Handler, Request, Response};

/// The command `ferricorn`: serves the application that the command line names.
pub fn command() -> ExitCode {
    ExitCode::FAILURE
}

/// Serves `handler`, with the whole command line of `ferricorn` (less the application's name), its arbiter, signals and
/// logs. Returns when the server has stopped.
pub fn run<F, R>(handler: F) -> ExitCode
where
    F: Fn(&Request<'_>) -> R + Clone + 'static,
    R: Into<Response> + 'static,
{
    serve(Handler(handler))
}

/// The same for any [`Factory`].
pub fn serve(_factory: impl Factory) -> ExitCode {
    ExitCode::FAILURE
}
