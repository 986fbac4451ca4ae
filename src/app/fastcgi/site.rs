//! Scripts and files below a document root, as PHP wants them.

use crate::app::cgi::locate::{Located, Lookup, locate};
use crate::app::files::Files;
use crate::app::files::root::Root;

/// A document root.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) root: Root,
    /// Its absolute path, without links in it.
    pub(super) directory: Vec<u8>,
    /// How the names of scripts end: `.php`.
    pub(super) extension: String,
    /// The script that answers for its directory.
    pub(super) index: String,
    /// Files that do, if there is no such script.
    pub(super) indexes: Vec<String>,
    /// The script that answers for what there is no file for, without a leading slash.
    pub(super) fallback: Option<String>,
    /// Serves what is no script.
    pub(super) files: Files,
}

/// Who answers for a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A script; what follows it in the path.
    Script(Located),
    /// The file itself, or a directory.
    File,
    /// Nothing: a status.
    Refused(u16),
}

impl Site {
    /// A path that leads to nothing here is never looked up by the rules of plain files, which are others: they might find
    /// a script, and send its source.
    pub(super) fn find(&self, path: &str) -> Target {
        match locate(&self.root, path) {
            Lookup::File(located) if located.file.ends_with(self.extension.as_bytes()) => Target::Script(located),
            // A file has nothing below it.
            Lookup::File(located) if located.rest.is_empty() => Target::File,
            Lookup::File(_) | Lookup::Nothing => self.fall_back(Target::Refused(404)),
            Lookup::Directory { path, slash } => {
                let below = |name: &str| {
                    let mut file = path.clone();
                    if !file.is_empty() {
                        file.push(b'/');
                    }
                    file.extend_from_slice(name.as_bytes());
                    file
                };
                let index = below(&self.index);
                match (self.root.locate(&index).is_ok(), slash) {
                    (true, true) => Target::Script(Located { file: index, ..Located::default() }),
                    // The application for files redirects to the same path with a slash.
                    (true, false) => Target::File,
                    (false, _) if self.indexes.iter().any(|name| self.root.locate(&below(name)).is_ok()) => {
                        Target::File
                    }
                    (false, _) => self.fall_back(Target::File),
                }
            }
            Lookup::Malformed => Target::Refused(400),
            Lookup::Failed(error) => {
                log::error!("{path:?} cannot be looked up: {error}");
                Target::Refused(503)
            }
        }
    }

    /// A front controller answers for everything that there is no file for; it reads the path from `REQUEST_URI`.
    fn fall_back(&self, otherwise: Target) -> Target {
        match &self.fallback {
            Some(script) => Target::Script(Located { file: script.clone().into_bytes(), ..Located::default() }),
            None => otherwise,
        }
    }
}
