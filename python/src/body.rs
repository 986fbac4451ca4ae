//! From what an application returns to a body.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use ferricorn::Request;
use ferricorn::app::{Body, FileRange, Pull, Segment, Source};
use ferricorn::protocol::head::RawLine;
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyIterator, PyList, PyTuple};

use crate::abandoned::Ours;
use crate::errors;
use crate::ffi::Context;
use crate::forks;
use crate::hooks::Observed;
use crate::stuck::Place;

/// Bytes of a body that are copied behind its head, so that both leave in one write.
pub(crate) const COPIED: usize = 16 * 1024;

/// The parts of a list or a tuple that has nothing but bytes. Other types might have a `close`, or run code.
pub(crate) fn parts<'py>(result: &Bound<'py, PyAny>) -> Option<Vec<Bound<'py, PyBytes>>> {
    let part = |item: Bound<'py, PyAny>| item.cast_into_exact::<PyBytes>().ok();
    if let Ok(list) = result.cast_exact::<PyList>() {
        return list.iter().map(part).collect();
    }
    result.cast_exact::<PyTuple>().ok()?.iter().map(part).collect()
}

/// The only part of a list with one, which is what most applications return.
#[inline]
pub(crate) fn only_part<'py>(result: &Bound<'py, PyAny>) -> Option<Bound<'py, PyBytes>> {
    let list = result.cast_exact::<PyList>().ok()?;
    if list.len() != 1 {
        return None;
    }
    list.get_item(0).ok()?.cast_into_exact().ok()
}

/// A body that is sent from where it lies.
pub(crate) fn segments(parts: Vec<Bound<'_, PyBytes>>) -> Body {
    Body::Segments(
        parts.into_iter().map(|part| Segment::Bytes(Bytes::from_owner(Ours::new(PyBackedBytes::from(part))))).collect(),
    )
}

/// A body of one large piece, and what is left to do when it is sent.
pub(crate) fn segment(piece: Bound<'_, PyBytes>, stream: Box<Ours<Stream>>) -> Body {
    let piece = Bytes::from_owner(Ours::new(PyBackedBytes::from(piece)));
    Body::Segments(vec![Segment::Bytes(piece), Segment::Bytes(Bytes::from_owner(Kept { _returned: stream }))])
}

/// What an application has returned, and has to be closed.
pub(crate) struct Returned {
    result: Option<Py<PyAny>>,
    context: Context,
    /// The request, for the log.
    name: Vec<u8>,
    /// Dropped when all is over, which calls a hook.
    observed: Option<Observed>,
}

impl Returned {
    pub(crate) fn new(result: Bound<'_, PyAny>, context: Context, request: &Request<'_>) -> Self {
        let RawLine { method, target, .. } = request.head().raw_line();
        let name = [method, b" ", target].concat();
        Self { result: Some(result.unbind()), context, name, observed: None }
    }

    /// Calls `close`, if there is one, and releases it: once, however the response has ended, and in its own context.
    fn close(&mut self, py: Python<'_>, before: impl FnOnce(&[u8])) {
        let Some(result) = self.result.take() else { return };
        let result = result.into_bound(py);
        let closed = self.context.run(py, || {
            before(&self.name);
            let closed = match result.getattr_opt(intern!(py, "close")) {
                Ok(Some(close)) => close.call0().map(drop),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            drop(result);
            closed
        });
        if let Err(error) = closed.and_then(|closed| closed) {
            self.log(py, &error);
        }
    }

    /// Has the hook called when this is closed.
    pub(crate) fn observe(&mut self, observed: Observed) {
        self.observed = Some(observed);
    }

    fn log(&self, py: Python<'_>, error: &PyErr) {
        log_failure(py, &self.name, error);
    }
}

impl Drop for Returned {
    fn drop(&mut self) {
        if self.result.is_some() {
            Python::attach(|py| self.close(py, |_| ()));
        }
    }
}

/// A body that is iterated while the peer takes it.
pub(crate) struct Stream {
    iterator: Py<PyIterator>,
    returned: Returned,
    /// Bytes that may still be sent, if the application has said how many there are.
    left: Option<u64>,
    /// A piece that is not copied.
    large: Option<Bytes>,
    ended: bool,
    /// All bytes that were promised are known. What is left to do is done when this is dropped.
    complete: bool,
}

/// What the next piece of an iterable is.
pub(crate) enum Piece<'py> {
    Bytes(Bound<'py, PyBytes>),
    End,
}

impl Stream {
    /// Begins to iterate over what was returned.
    pub(crate) fn new<'py>(py: Python<'py>, returned: Returned) -> PyResult<(Self, Piece<'py>)> {
        let begun = returned.context.run(py, || {
            let iterator = match &returned.result {
                Some(result) => result.bind(py).try_iter()?,
                None => return Err(PyTypeError::new_err("the response was closed")),
            };
            let first = next_piece(&iterator, &returned.name);
            Ok((iterator.unbind(), first))
        });
        // What is dropped here on an error is closed.
        let (iterator, first) = begun.and_then(|begun| begun)?;
        let first = first?;
        let ended = matches!(first, Piece::End);
        Ok((Self { iterator, returned, left: None, large: None, ended, complete: false }, first))
    }

    /// The next piece, empty ones left out.
    fn next<'py>(&mut self, py: Python<'py>) -> PyResult<Piece<'py>> {
        if self.ended {
            return Ok(Piece::End);
        }
        let next = self
            .returned
            .context
            .run(py, || next_piece(self.iterator.bind(py), &self.returned.name))
            .and_then(|next| next);
        self.ended = !matches!(next, Ok(Piece::Bytes(_)));
        next
    }

    /// All bytes that were promised are known: when this is dropped, what the iterable does after its last piece is done, and it
    /// is closed.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }

    /// Does what is left to do.
    fn finish(&mut self, py: Python<'_>) {
        let ended = std::mem::replace(&mut self.ended, true);
        let iterator = self.iterator.bind(py);
        self.returned.close(py, |name| {
            if !ended {
                match next_piece(iterator, name) {
                    Ok(Piece::End) => {}
                    // PEP 3333: stop iterating when enough has been sent.
                    Ok(Piece::Bytes(_)) => log_excess(name),
                    Err(error) => log_failure(py, name, &error),
                }
            }
        });
    }

    /// The head says that so many bytes are to come.
    pub(crate) fn limit(&mut self, left: Option<u64>) {
        self.left = left;
    }

    /// Has the hook called when this is over.
    pub(crate) fn observe(&mut self, observed: Observed) {
        self.returned.observe(observed);
    }

    fn piece(&mut self, py: Python<'_>, place: &Place, out: &mut Vec<u8>) -> Pull {
        let next = {
            let _window = place.calls.open(py);
            self.next(py)
        };
        match next {
            Ok(Piece::End) => {
                if let Some(missing) = self.left.filter(|left| *left > 0) {
                    let name = String::from_utf8_lossy(&self.returned.name);
                    log::error!("Error handling request {name}: the body is {missing} bytes short");
                    return Pull::Failed;
                }
                Pull::End
            }
            Ok(Piece::Bytes(bytes)) => {
                let length = bytes.as_bytes().len();
                // What is too much is cut off where the response is framed.
                if let Some(observed) = &mut self.returned.observed {
                    observed.sent(length as u64);
                }
                if length > COPIED {
                    self.large = Some(Bytes::from_owner(PyBackedBytes::from(bytes)));
                } else {
                    out.extend_from_slice(bytes.as_bytes());
                }
                match self.left.map(|left| left.checked_sub(length as u64)) {
                    None => Pull::More,
                    Some(Some(left)) => {
                        self.left = Some(left);
                        Pull::More
                    }
                    Some(None) => {
                        log_excess(&self.returned.name);
                        // PEP 3333: stop iterating when enough has been sent.
                        self.ended = true;
                        self.left = None;
                        Pull::More
                    }
                }
            }
            Err(error) => {
                self.returned.log(py, &error);
                Pull::Failed
            }
        }
    }
}

/// The next piece of an iterable, empty ones left out; its context is entered.
fn next_piece<'py>(iterator: &Bound<'py, PyIterator>, name: &[u8]) -> PyResult<Piece<'py>> {
    let mut iterator = iterator.clone();
    loop {
        let forks = forks::count();
        let piece = iterator.next().transpose();
        forks::stay(iterator.py(), forks, || String::from_utf8_lossy(name).into_owned(), &piece);
        let Some(piece) = piece? else { return Ok(Piece::End) };
        let piece = piece.cast_into::<PyBytes>().map_err(|error| {
            let kind = error.into_inner().get_type();
            PyTypeError::new_err(format!("the application yielded {kind} instead of bytes"))
        })?;
        if !piece.as_bytes().is_empty() {
            return Ok(Piece::Bytes(piece));
        }
    }
}

fn log_excess(name: &[u8]) {
    let name = String::from_utf8_lossy(name);
    log::error!("Error handling request {name}: the body is longer than its Content-Length; the rest is not sent");
}

fn log_failure(py: Python<'_>, name: &[u8], error: &PyErr) {
    errors::log(py, &format!("Error handling request {}", String::from_utf8_lossy(name)), error);
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.complete {
            Python::attach(|py| self.finish(py));
        }
    }
}

impl Source for Stream {
    fn pull(&mut self, _waker: &Waker, out: &mut Vec<u8>) -> Pull {
        let place = Place::here();
        Python::attach(|py| {
            place.go_on(&self.returned.name);
            let pull = self.piece(py, place, out);
            place.end();
            pull
        })
    }

    fn take_piece(&mut self) -> Option<Bytes> {
        self.large.take()
    }
}

/// Keeps what was returned until the segment is sent, as an empty segment behind it.
struct Kept<T: Send + 'static> {
    _returned: Box<Ours<T>>,
}

impl<T: Send> AsRef<[u8]> for Kept<T> {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}

/// The rest of a real file that a `wsgi.file_wrapper` was made for: its bytes, from where it stands to its end.
///
/// `None` if it is no such file; then it is iterated over.
pub(crate) fn file(wrapper: &Bound<'_, PyAny>) -> Option<FileRange> {
    let py = wrapper.py();
    let filelike = wrapper.getattr(intern!(py, "filelike")).ok()?;
    if !wrapper.call_method0(intern!(py, "read_as_it_is")).ok()?.extract::<bool>().ok()? {
        return None;
    }
    let fd: i32 = filelike.call_method0(intern!(py, "fileno")).ok()?.extract().ok()?;
    let offset: u64 = filelike.call_method0(intern!(py, "tell")).ok()?.extract().ok()?;
    let file = File::from(duplicate(py, fd)?);
    let metadata = file.metadata().ok()?;
    // Those of the kernel's own (/proc) say that they have nothing until they are read.
    let length = metadata.len().checked_sub(offset).filter(|length| *length > 0)?;
    metadata.is_file().then(|| FileRange { file: Arc::new(file), offset, length })
}

fn duplicate(_py: Python<'_>, fd: i32) -> Option<std::os::fd::OwnedFd> {
    (fd >= 0).then(|| crate::ffi::borrow_fd(fd)).and_then(|fd: BorrowedFd<'_>| fd.try_clone_to_owned().ok())
}

/// A body of a file, and of what is to be closed when it is sent.
pub(crate) fn file_body(range: FileRange, returned: Returned) -> Body {
    Body::Segments(vec![
        Segment::File(range),
        Segment::Bytes(Bytes::from_owner(Kept { _returned: Box::new(Ours::new(returned)) })),
    ])
}
