//! Buffers that are lent to connections while they need them.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

/// Bytes of a buffer as it is lent: two thirds of all heads fit many times over, and it stays in the first-level cache.
const SIZE: usize = 16 * 1024;

/// Buffers kept for the next borrower.
const KEPT: usize = 32;

/// Received bytes that have not been used up.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// All of it is initialised, so that it can be read into; what counts lies in `start..end`.
    bytes: Vec<u8>,
    // Invariant: start <= end <= bytes.len()
    start: usize,
    end: usize,
}

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// Some bytes, and there may be more.
    More,
    /// Some bytes, fewer than there was room for: the socket is empty.
    Drained,
    /// Nothing for now.
    WouldBlock,
    /// The peer will send no more.
    Eof,
}

impl Buffer {
    /// The unused bytes.
    pub(crate) fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Drops bytes from the front.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Drops all bytes.
    pub(crate) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Puts bytes behind the unused ones.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.bytes.truncate(self.end);
        self.bytes.extend_from_slice(bytes);
        self.end = self.bytes.len();
        self.bytes.resize(self.end.max(SIZE), 0);
    }

    /// Reads from the socket once, making room if there is none.
    pub(crate) fn fill(&mut self, socket: BorrowedFd<'_>) -> io::Result<Filled> {
        if self.end == self.bytes.len() {
            if self.start > 0 {
                self.bytes.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            } else {
                self.bytes.resize((self.bytes.len() * 2).max(SIZE), 0);
            }
        }
        let room = self.bytes.get_mut(self.end..).unwrap_or_default();
        let length = room.len();
        // recv(2) is cheaper than read(2), which looks first what kind of file it has.
        match recv(socket, room, RecvFlags::empty()) {
            Ok((0, _)) => Ok(Filled::Eof),
            Ok((count, _)) => {
                self.end += count;
                Ok(if count < length { Filled::Drained } else { Filled::More })
            }
            Err(Errno::AGAIN) => Ok(Filled::WouldBlock),
            // Nothing was read; asking again at once is as good as anything.
            Err(Errno::INTR) => Ok(Filled::More),
            Err(error) => Err(error.into()),
        }
    }
}

/// The buffers that nobody uses.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    // Boxed as connections hold them, which are the smaller for it.
    #[expect(clippy::vec_box, reason = "the boxes are what is lent")]
    free: Vec<Box<Buffer>>,
}

impl Buffers {
    /// Lends a buffer.
    pub(crate) fn lend(&mut self) -> Box<Buffer> {
        self.free.pop().unwrap_or_else(|| Box::new(Buffer { bytes: vec![0; SIZE], start: 0, end: 0 }))
    }

    /// Takes one back.
    pub(crate) fn take_back(&mut self, mut buffer: Box<Buffer>) {
        // One that has grown is not kept: idle connections hold nothing, and neither do we for them.
        if buffer.bytes.len() == SIZE && self.free.len() < KEPT {
            buffer.clear();
            self.free.push(buffer);
        }
    }
}
