//! A request whose body is still arriving: in memory first, in an unlinked file when it gets large.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::app::RequestBody;
use crate::protocol::Head;

/// A head, and what there is of its body.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    pub(crate) head: Head,
    memory: Vec<u8>,
    file: Option<(File, u64)>,
}

/// Room that is made at once for a body whose length is known; a peer that only promises gets no more.
const FIRST_ROOM: usize = 16 * 1024;

impl Intake {
    /// Starts with the head of a request.
    pub(crate) fn new(head: Head) -> Self {
        let promised = usize::try_from(head.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
        Self { head, memory: Vec::with_capacity(promised.min(FIRST_ROOM)), file: None }
    }

    /// Adds bytes of the body. More than `in_memory` of them go to a file in `spool`.
    ///
    /// # Errors
    /// They cannot be written there.
    pub(crate) fn append(&mut self, bytes: &[u8], in_memory: usize, spool: &Path) -> io::Result<()> {
        if let Some((file, length)) = &mut self.file {
            file.write_all(bytes)?;
            *length += bytes.len() as u64;
        } else if self.memory.len() + bytes.len() <= in_memory {
            self.memory.extend_from_slice(bytes);
        } else {
            let mut file = tempfile::tempfile_in(spool)?;
            file.write_all(&self.memory)?;
            file.write_all(bytes)?;
            self.file = Some((file, (self.memory.len() + bytes.len()) as u64));
            self.memory = Vec::new();
        }
        Ok(())
    }

    /// The request is complete.
    pub(crate) fn finish(self) -> (Head, RequestBody) {
        let body = match self.file {
            Some((file, length)) => RequestBody::File { file, length },
            None if self.memory.is_empty() => RequestBody::Empty,
            None => RequestBody::Memory(self.memory),
        };
        (self.head, body)
    }
}
