//! `exec://COMMAND`: programs that serve the listening socket themselves.

use std::env;
use std::ffi::CString;
use std::path::Path;

use super::cgi::find_program;
use super::{Application, Factory, LoadError};
use crate::words;

/// How a program is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub(crate) path: CString,
    pub(crate) arguments: Vec<CString>,
    pub(crate) directory: CString,
}

impl Command {
    /// A program and its arguments, with blanks between them; quotes and backslashes are a shell's. It starts in the present
    /// working directory.
    ///
    /// # Errors
    /// There is no such program, or a quote has no end.
    pub fn parse(text: &str) -> Result<Self, LoadError> {
        let wrong = |problem: &str| LoadError::application(format!("{text}: {problem}"));
        let mut words = words::split(text).map_err(wrong)?.into_iter();
        let program = words.next().ok_or_else(|| LoadError::application("a command names a program"))?;
        let path = find_program(Path::new(&program))?;
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
    /// For a program and its arguments, as [`Command::parse`] reads them.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Command;

    #[test]
    fn a_command_is_split_as_a_shell_does() {
        let command = Command::parse(r#"/bin/sh -c "exit 3" 'a "b"' c\ d"#).unwrap();
        let words: Vec<_> = command.arguments.iter().skip(1).map(|word| word.to_str().unwrap()).collect();
        assert_eq!(words, ["-c", "exit 3", r#"a "b""#, "c d"]);
        let errors = [("", "names a program"), ("sh 'x", "has no end"), ("'no such program'", "no such program")];
        for (text, part) in errors {
            let error = Command::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
