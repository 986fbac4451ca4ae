//! `exec://COMMAND`: programs that serve the listening socket themselves.

use std::env;
use std::ffi::CString;
use std::path::Path;

use super::cgi::find_program;
use super::{Application, Factory, LoadError};

/// How a program is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub(crate) path: CString,
    pub(crate) arguments: Vec<CString>,
    pub(crate) directory: CString,
}

impl Command {
    /// A program and its arguments, with blanks between them. It starts in the present working directory.
    ///
    /// # Errors
    /// There is no such program.
    pub fn parse(text: &str) -> Result<Self, LoadError> {
        let mut words = text.split_ascii_whitespace();
        let program = words.next().ok_or_else(|| LoadError::application("a command names a program"))?;
        let path = find_program(Path::new(program))?;
        let nul = |_| LoadError::application("a command has no NUL in it");
        let mut arguments = vec![path.clone()];
        for word in words {
            arguments.push(CString::new(word).map_err(nul)?);
        }
        let directory = env::current_dir().map_err(|error| LoadError::boot(error.to_string()))?;
        let directory = CString::new(directory.into_os_string().into_encoded_bytes()).map_err(nul)?;
        Ok(Self { path, arguments, directory })
    }
}

/// Has each worker keep a program alive, which accepts connections in its place.
#[derive(Clone, Debug)]
pub struct ExecFactory {
    command: String,
}

impl ExecFactory {
    /// For a program and its arguments, with blanks between them.
    pub fn new(command: String) -> Self {
        Self { command }
    }
}

impl Factory for ExecFactory {
    fn check(&mut self) -> Result<(), LoadError> {
        Command::parse(&self.command).map(drop)
    }

    fn load(&mut self) -> Result<Box<dyn Application>, LoadError> {
        Command::parse(&self.command)?;
        Err(LoadError::application(
            "exec:// serves all of a server's connections itself: it cannot be mounted, nor preloaded",
        ))
    }

    fn program(&self) -> Option<Result<Command, LoadError>> {
        Some(Command::parse(&self.command))
    }
}
