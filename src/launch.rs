//! How this process was started.

use std::env;
use std::ffi::OsString;

/// How a command was started.
#[derive(Clone, Debug)]
pub struct CommandLine {
    /// All that was executed, the program first: what an upgrade executes again. An interpreter stands in front here.
    pub executed: Vec<OsString>,
    /// The command's own arguments, its name first.
    pub arguments: Vec<OsString>,
}

impl CommandLine {
    /// As this process was started.
    pub(crate) fn of_process() -> Self {
        let arguments: Vec<OsString> = env::args_os().collect();
        Self { executed: arguments.clone(), arguments }
    }
}
