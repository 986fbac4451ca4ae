//! What a program brings along that runs the command inside an interpreter.

use std::path::{Path, PathBuf};

use crate::app::Factory;
use crate::error::Error;
use crate::settings::{Raw, Settings};

/// A value for a setting, as a host has read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The setting's name, as in a file.
    pub name: String,
    /// Its value.
    pub value: Raw,
    /// Where it stands, from 1 on, if that is known.
    pub line: Option<usize>,
}

/// A settings file of a host's own kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFile {
    /// As errors name it.
    pub path: PathBuf,
    /// What it says.
    pub assignments: Vec<Assignment>,
}

/// Runs the command inside an interpreter: knows more kinds of settings files, and more kinds of applications.
///
/// It is asked anew whenever settings are loaded, which is at start and on each HUP: first for its own settings, then for
/// the file, and if all is well for the factories.
pub trait Host {
    /// Settings of a program that has no command line: then neither options, nor variables with options, nor files are
    /// read. The first call of a load.
    ///
    /// # Errors
    /// The program cannot say.
    fn own_settings(&mut self) -> Option<Result<Vec<Assignment>, Error>> {
        None
    }

    /// Reads the file that `--config` names, if it is of the host's kind. The working directory is `directory`.
    ///
    /// # Errors
    /// It cannot be read, or what it says cannot be done.
    fn named_file(&mut self, name: &str, directory: &Path) -> Option<Result<HostFile, Error>> {
        let _ = (name, directory);
        None
    }

    /// Reads the file that is read if none is named and there is no `ferricorn.toml`, if there is one.
    ///
    /// # Errors
    /// As for [`named_file`](Self::named_file).
    fn present_file(&mut self, directory: &Path) -> Option<Result<HostFile, Error>> {
        let _ = directory;
        None
    }

    /// Makes the factory of the application that the settings name, otherwise than by `kind://rest`.
    ///
    /// # Errors
    /// There can be no such application.
    fn factory(&mut self, settings: &Settings) -> Result<Box<dyn Factory>, Error>;

    /// Makes the factory of all applications one that calls the host's hooks as well. The last call of a load.
    ///
    /// # Errors
    /// The hooks are not what they should be.
    fn hooked(&mut self, settings: &Settings, factory: Box<dyn Factory>) -> Result<Box<dyn Factory>, Error> {
        let _ = settings;
        Ok(factory)
    }
}
