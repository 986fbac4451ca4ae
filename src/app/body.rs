//! Bodies of responses.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::Waker;

use bytes::Bytes;

/// The body of a response.
#[derive(Debug, Default)]
pub enum Body {
    /// None.
    #[default]
    Empty,
    /// These bytes.
    Bytes(Bytes),
    /// These one after the other; nothing is copied.
    Segments(Vec<Segment>),
    /// Pulled from a source while the peer has room for it.
    Source(Box<dyn Source>),
}

/// A part of a body that lies ready.
#[derive(Clone, Debug)]
pub enum Segment {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Part of a file, sent without passing through user space.
    File(FileRange),
}

/// Part of a file.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The file, open for reading.
    pub file: Arc<File>,
    /// Its first byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

/// What a [`Source`] had to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// Something was appended; ask again.
    More,
    /// Nothing now. The waker will be called.
    Pending,
    /// That was all.
    End,
    /// It broke in the middle: the connection is closed so that the peer can tell.
    Failed,
}

/// Produces a body piece by piece, as fast as the peer takes it.
///
/// It is pulled by application threads, by one at a time. It may be dropped by a thread of the worker's own, which must not be
/// kept waiting.
pub trait Source: Send {
    /// Appends the next piece to `out`: some 64 KiB at most, as it is held in memory until it is sent.
    ///
    /// A source that has nothing yet keeps a clone of `waker`, calls it when it has, and returns [`Pull::Pending`].
    fn pull(&mut self, waker: &Waker, out: &mut Vec<u8>) -> Pull;

    /// A piece that was too large to be copied: what the last [`pull`](Self::pull) has put here instead of into `out`, with
    /// [`Pull::More`]. It is sent from where it lies.
    fn take_piece(&mut self) -> Option<Bytes> {
        None
    }

    /// All bytes it is going to give, where that is known.
    fn length(&self) -> Option<u64> {
        None
    }
}

impl fmt::Debug for dyn Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("length", &self.length()).finish()
    }
}

impl Body {
    /// Bytes in all, if that is known before they are sent.
    pub fn len(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Segments(segments) => Some(segments.iter().map(Segment::len).sum()),
            Self::Source(source) => source.length(),
        }
    }

    /// Whether it is known to have no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// A body that another thread writes, and its writer. At most `capacity` bytes wait in between.
    pub fn channel(capacity: usize) -> (BodySender, Self) {
        let shared = Arc::new(Channel { state: Mutex::default(), room: Condvar::new(), capacity });
        (BodySender { shared: Arc::clone(&shared), finished: false }, Self::Source(Box::new(BodyReceiver { shared })))
    }
}

impl Segment {
    /// Bytes in it.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(range) => range.length,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<&'static str> for Body {
    #[inline]
    fn from(text: &'static str) -> Self {
        Self::Bytes(Bytes::from_static(text.as_bytes()))
    }
}

impl From<String> for Body {
    #[inline]
    fn from(text: String) -> Self {
        Self::Bytes(text.into())
    }
}

impl From<Vec<u8>> for Body {
    #[inline]
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<Bytes> for Body {
    #[inline]
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<FileRange> for Body {
    fn from(range: FileRange) -> Self {
        Self::Segments(vec![Segment::File(range)])
    }
}

#[derive(Debug)]
struct Channel {
    state: Mutex<ChannelState>,
    room: Condvar,
    capacity: usize,
}

#[derive(Debug, Default)]
struct ChannelState {
    pieces: VecDeque<Bytes>,
    waiting: usize,
    end: Option<Pull>,
    receiver_gone: bool,
    waker: Option<Waker>,
}

/// Writes a body from another thread. Dropping it before [`finish`](Self::finish) breaks the response off.
#[derive(Debug)]
pub struct BodySender {
    shared: Arc<Channel>,
    finished: bool,
}

/// The peer has gone: nobody reads what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnected;

impl fmt::Display for Disconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the peer has closed the connection")
    }
}

impl std::error::Error for Disconnected {}

impl BodySender {
    /// Sends a piece, waiting while the peer is behind.
    ///
    /// # Errors
    /// The peer has gone.
    pub fn send(&self, piece: impl Into<Bytes>) -> Result<(), Disconnected> {
        let piece = piece.into();
        let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |state: &mut ChannelState| {
            state.waiting > 0 && state.waiting + piece.len() > self.shared.capacity && !state.receiver_gone
        };
        let mut state = self.shared.room.wait_while(state, full).unwrap_or_else(PoisonError::into_inner);
        if state.receiver_gone {
            return Err(Disconnected);
        }
        state.waiting += piece.len();
        state.pieces.push_back(piece);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        Ok(())
    }

    /// The body is complete.
    pub fn finish(mut self) {
        self.finished = true;
        self.end(Pull::End);
    }

    fn end(&self, how: Pull) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.end.get_or_insert(how);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl Drop for BodySender {
    fn drop(&mut self) {
        if !self.finished {
            self.end(Pull::Failed);
        }
    }
}

struct BodyReceiver {
    shared: Arc<Channel>,
}

impl Source for BodyReceiver {
    fn pull(&mut self, waker: &Waker, out: &mut Vec<u8>) -> Pull {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(piece) = state.pieces.pop_front() else {
            state.waker = Some(waker.clone());
            return state.end.unwrap_or(Pull::Pending);
        };
        state.waiting -= piece.len();
        out.extend_from_slice(&piece);
        self.shared.room.notify_one();
        Pull::More
    }
}

impl Drop for BodyReceiver {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.receiver_gone = true;
        state.pieces.clear();
        self.shared.room.notify_all();
    }
}
