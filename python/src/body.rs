//! From what an application returns to a body.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use ferricorn::app::{Body, FileRange, Pull, Segment, Source};
use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::abandoned::Ours;
use crate::errors;
use crate::ffi::Context;
use crate::hooks::Observed;
use crate::responder::Responder;
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

/// What an application has returned, and has to be closed.
pub(crate) struct Returned {
    result: Option<Py<PyAny>>,
    context: Context,
    /// The request, for the log.
    name: String,
    /// Dropped when all is over, which calls a hook.
    observed: Option<Observed>,
}

impl Returned {
    pub(crate) fn new(result: Bound<'_, PyAny>, context: Context, name: String) -> Self {
        Self { result: Some(result.unbind()), context, name, observed: None }
    }

    /// Has the hook called when this is closed.
    pub(crate) fn observe(&mut self, observed: Observed) {
        self.observed = Some(observed);
    }

    fn log(&self, py: Python<'_>, error: &PyErr) {
        errors::log(py, &format!("Error handling request {}", self.name), error);
    }
}

impl Drop for Returned {
    /// Calls `close`, if there is one: once, however the response has ended.
    fn drop(&mut self) {
        let Some(result) = self.result.take() else { return };
        Python::attach(|py| {
            let result = result.into_bound(py);
            let closed = self.context.run(py, || match result.getattr_opt(intern!(py, "close"))? {
                Some(close) => close.call0().map(drop),
                None => Ok(()),
            });
            if let Err(error) = closed.and_then(|closed| closed) {
                self.log(py, &error);
            }
            // Whatever is released with it, in its own context.
            let _ = self.context.run(py, || drop(result));
        });
    }
}

/// A body that is iterated while the peer takes it.
pub(crate) struct Stream {
    iterator: Py<PyAny>,
    returned: Returned,
    responder: Option<Py<Responder>>,
    /// Bytes that may still be sent, if the application has said how many there are.
    left: Option<u64>,
    /// A piece that is not copied.
    large: Option<Bytes>,
    ended: bool,
}

/// What the next piece of an iterable is.
pub(crate) enum Piece<'py> {
    Bytes(Bound<'py, PyBytes>),
    End,
}

impl Stream {
    /// Begins to iterate over what was returned.
    pub(crate) fn new(py: Python<'_>, returned: Returned) -> PyResult<Self> {
        let iterator = match &returned.result {
            Some(result) => returned.context.run(py, || result.bind(py).try_iter())??.into_any().unbind(),
            None => py.None(),
        };
        Ok(Self { iterator, returned, responder: None, left: None, large: None, ended: false })
    }

    /// The next piece, empty ones left out.
    pub(crate) fn next<'py>(&mut self, py: Python<'py>) -> PyResult<Piece<'py>> {
        while !self.ended {
            let iterator = self.iterator.bind(py);
            let next = self.returned.context.run(py, || match iterator.cast::<pyo3::types::PyIterator>() {
                Ok(iterator) => iterator.clone().next(),
                Err(error) => Some(Err(error.into())),
            })?;
            match next {
                Some(Ok(piece)) => {
                    let piece = piece.cast_into::<PyBytes>().map_err(|error| {
                        let kind = error.into_inner().get_type();
                        PyTypeError::new_err(format!("the application yielded {kind} instead of bytes"))
                    })?;
                    if !piece.as_bytes().is_empty() {
                        return Ok(Piece::Bytes(piece));
                    }
                }
                Some(Err(error)) => {
                    self.ended = true;
                    return Err(error);
                }
                None => self.ended = true,
            }
        }
        Ok(Piece::End)
    }

    /// The head says that so many bytes are to come.
    pub(crate) fn limit(&mut self, left: Option<u64>) {
        self.left = left;
    }

    /// Has the hook called when this is over.
    pub(crate) fn observe(&mut self, observed: Observed) {
        self.returned.observe(observed);
    }

    /// Keeps the callbacks that know of this response.
    pub(crate) fn keep(&mut self, responder: Py<Responder>) {
        self.responder = Some(responder);
    }

    fn piece(&mut self, py: Python<'_>, place: &Place, out: &mut Vec<u8>) -> Pull {
        let next = {
            let _window = place.calls.open(py);
            self.next(py)
        };
        match next {
            Ok(Piece::End) => {
                if let Some(missing) = self.left.filter(|left| *left > 0) {
                    log::error!("Error handling request {}: the body is {missing} bytes short", self.returned.name);
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
                        log::error!(
                            "Error handling request {}: the body is longer than its Content-Length; the rest is not sent",
                            self.returned.name
                        );
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

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(responder) = &self.responder {
            Python::attach(|py| responder.get().end(py));
        }
    }
}

/// Keeps what was returned until the segment is sent, as an empty segment behind it.
struct Kept(#[expect(dead_code, reason = "for its drop")] Ours<Returned>);

impl AsRef<[u8]> for Kept {
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
    let fd: i32 = filelike.call_method0(intern!(py, "fileno")).ok()?.extract().ok()?;
    let offset: u64 = filelike.call_method0(intern!(py, "tell")).ok()?.extract().ok()?;
    let file = File::from(duplicate(py, fd)?);
    let metadata = file.metadata().ok()?;
    let length = metadata.len().checked_sub(offset)?;
    metadata.is_file().then(|| FileRange { file: Arc::new(file), offset, length })
}

fn duplicate(_py: Python<'_>, fd: i32) -> Option<std::os::fd::OwnedFd> {
    (fd >= 0).then(|| crate::ffi::borrow_fd(fd)).and_then(|fd: BorrowedFd<'_>| fd.try_clone_to_owned().ok())
}

/// A body of a file, and of what is to be closed when it is sent.
pub(crate) fn file_body(range: FileRange, returned: Returned) -> Body {
    Body::Segments(vec![Segment::File(range), Segment::Bytes(Bytes::from_owner(Kept(Ours::new(returned))))])
}
