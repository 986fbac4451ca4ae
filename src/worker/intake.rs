//! A request whose body is still arriving: in memory first, in an unlinked file when it gets large.

use super::storage::{Full, Share, Storage, Stored};
use crate::app::RequestBody;
use crate::protocol::Head;

/// A head, and what there is of its body.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    pub(crate) head: Head,
    memory: Vec<u8>,
    stored: Option<Stored>,
    /// The application was asked whether it wants the body as a stream.
    offered: bool,
}

/// Room that is made at once for a body whose length is known; a peer that only promises gets no more.
const FIRST_ROOM: usize = 16 * 1024;

impl Intake {
    /// Starts with the head of a request.
    pub(crate) fn new(head: Head) -> Self {
        let promised = usize::try_from(head.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
        Self { head, memory: Vec::with_capacity(promised.min(FIRST_ROOM)), stored: None, offered: false }
    }

    /// Adds bytes of the body. More than `in_memory` of them go to a file.
    ///
    /// # Errors
    /// They cannot be written there.
    pub(crate) fn append(&mut self, bytes: &[u8], in_memory: usize, storage: &Storage) -> Result<(), Full> {
        if let Some(stored) = &mut self.stored {
            return stored.append(bytes, storage);
        }
        if self.memory.len() + bytes.len() <= in_memory {
            self.memory.extend_from_slice(bytes);
            return Ok(());
        }
        let stored = self.stored.insert(storage.file()?);
        stored.append(&std::mem::take(&mut self.memory), storage)?;
        stored.append(bytes, storage)
    }

    /// Whether the application is to be asked whether it wants the body as a stream: once, and not when part of it was
    /// written to a file.
    pub(crate) fn is_to_be_offered(&mut self) -> bool {
        self.waits_to_be_offered() && !std::mem::replace(&mut self.offered, true)
    }

    /// Whether that is still to come.
    pub(crate) fn waits_to_be_offered(&self) -> bool {
        self.stored.is_none() && !self.offered
    }

    /// It wants that. What has come of the body begins it.
    pub(crate) fn into_stream(self) -> (Head, Vec<u8>) {
        (self.head, self.memory)
    }

    /// The request is complete. What is returned last is kept until its body is no longer needed.
    pub(crate) fn finish(self) -> (Head, RequestBody, Option<Share>) {
        match self.stored.map(Stored::into_parts) {
            Some((file, length, share)) => (self.head, RequestBody::File { file, length }, Some(share)),
            None if self.memory.is_empty() => (self.head, RequestBody::Empty, None),
            None => (self.head, RequestBody::Memory(self.memory), None),
        }
    }
}
