//! What the pump of CGI programs is told, and what it waits for.

use std::ffi::CString;
use std::sync::mpsc::Sender;
use std::time::Instant;

use super::stdin::Stdin;
use super::variables::Variables;
use crate::app::Later;
use crate::app::pump::Handle;

/// A program to be run for a request.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) path: CString,
    pub(super) arguments: Vec<CString>,
    pub(super) directory: CString,
    pub(super) variables: Variables,
    pub(super) stdin: Stdin,
    /// The body of the answer is not sent.
    pub(super) bodiless: bool,
    pub(super) later: Later,
    /// When it was asked for.
    pub(super) since: Instant,
}

impl Job {
    /// What it is called in the log.
    pub(super) fn name(&self) -> String {
        self.arguments.last().unwrap_or(&self.path).to_string_lossy().into_owned()
    }
}

/// What the pump is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Run this.
    Start(Box<Job>),
    /// The output has been read to its end.
    Ended(Handle),
    /// Nobody reads the output any more; `finished` if that is because it has been read.
    Dropped { run: Handle, finished: bool },
    /// More of the body has come from the client, or never will.
    Arrived(Handle),
    /// End all programs; the sender is dropped when they have gone.
    Stop(Sender<()>),
}

/// What is watched of a run is one of these.
pub(super) const STDOUT: u64 = 0;
pub(super) const STDERR: u64 = 1;
pub(super) const EXITED: u64 = 2;
pub(super) const STDIN: u64 = 3;
