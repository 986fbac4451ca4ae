//! Files that were opened since the worker last waited for events.
//!
//! Under load many clients ask for the same few files at once: one `openat2`, `fstat` and `close` serves all requests of
//! one batch of events. Nothing outlives the batch, so that no change goes unseen and no descriptor of a removed file is
//! held while nobody asks.

use super::Found;

/// Beyond so many, a batch asks for so many different files that looking for one here does not pay.
const KEPT: usize = 8;

/// A few files by their paths.
#[derive(Debug, Default)]
pub(super) struct Recent {
    files: Vec<(Box<[u8]>, Found)>,
}

impl Recent {
    /// The file at that path, if it is among them.
    pub(super) fn find(&self, path: &[u8]) -> Option<Found> {
        self.files.iter().find(|(other, _)| **other == *path).map(|(_, found)| found.clone())
    }

    /// Keeps a file for the rest of the batch.
    pub(super) fn keep(&mut self, path: &[u8], found: &Found) {
        if self.files.len() < KEPT {
            self.files.push((path.into(), found.clone()));
        }
    }

    /// Closes them all.
    pub(super) fn clear(&mut self) {
        self.files.clear();
    }
}
