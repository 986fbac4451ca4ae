//! `start_response` and `write` of one request.

use ferricorn::Reply;
use ferricorn::app::{Body, Disconnected, Parts};
use ferricorn::protocol::Length;
use ferricorn::protocol::http1::{Lines, ResponseError};
use pyo3::exceptions::{PyAssertionError, PyBrokenPipeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::ffi::{self, Guarded, LentReply, Loan};

/// Bytes given to `write` that may wait for the client without the application's waiting, too.
const KEPT: usize = 256 * 1024;

/// Of a large piece only so many bytes are copied at a time.
const PIECE: usize = 128 * 1024;

/// How far the response has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// `start_response` has not been called.
    #[default]
    Waiting,
    /// It has; nothing was sent.
    Started,
    /// The head is out, or as good as.
    Sent,
    /// The request is over, and no head was sent.
    Over,
}

/// What the application has said with `start_response` and `write`.
#[derive(Debug, Default)]
pub(crate) struct Started {
    status: u16,
    /// The status as it was given, and behind it the names and values of the fields.
    bytes: Vec<u8>,
    /// The end of the status.
    status_end: usize,
    /// The ends of each field's name and value in `bytes`.
    fields: Vec<(usize, usize)>,
    lines: Lines,
    /// What the status was made of.
    known_status: Option<Py<PyAny>>,
    /// What the first fields were made of.
    known: Vec<Known>,
    /// There are others behind them.
    unknown: bool,
    /// Its `Content-Length`.
    pub(crate) declared: Option<u64>,
    /// The bytes that it gave to `write`; with the first of them the head went out.
    pub(crate) written: u64,
}

/// A field as objects of Python's, of which the same say the same, as strings never change: applications and frameworks name
/// constants, and give the same ones again and again.
#[derive(Debug)]
struct Known {
    name: Py<PyString>,
    value: Py<PyString>,
    /// Where the value begins, or how long the body is if this is the `Content-Length`.
    content: Content,
    /// What all up to it amount to.
    ends: Ends,
}

#[derive(Clone, Copy, Debug)]
enum Content {
    From(usize),
    Length(u64),
}

impl Known {
    /// Whether the next response has it, too, or another `Content-Length` in its place. What that says is `declared`.
    #[inline]
    fn recurs(
        &self,
        bytes: &[u8],
        declared: &mut Option<u64>,
        name: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> bool {
        if !self.name.is(name) {
            return false;
        }
        let same = self.value.is(value);
        match self.content {
            Content::From(_) if same => true,
            Content::From(start) => bytes.get(start..self.ends.bytes).is_some_and(|known| ffi::is_text(value, known)),
            Content::Length(length) if same && declared.is_none() => {
                *declared = Some(length);
                true
            }
            // Anything but digits is looked at as if it were unknown.
            Content::Length(_) => value
                .cast_exact::<PyString>()
                .ok()
                .and_then(ffi::latin1)
                .is_some_and(|value| decimal(value).is_some() && declare(declared, value).is_ok()),
        }
    }
}

/// How much of a [`Started`] there is.
#[derive(Clone, Copy, Debug)]
struct Ends {
    bytes: usize,
    fields: usize,
    lines: usize,
}

/// So many fields are kept as objects at most.
const MOST_KNOWN: usize = 16;

impl Started {
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// The words behind the status; `None` if it had none.
    pub(crate) fn reason(&self) -> Option<&[u8]> {
        self.bytes.get(4..self.status_end).filter(|reason| !reason.is_empty())
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut start = self.status_end;
        self.fields.iter().map(move |(name, value)| {
            let field = (self.bytes.get(start..*name), self.bytes.get(*name..*value));
            start = *value;
            (field.0.unwrap_or_default(), field.1.unwrap_or_default())
        })
    }

    /// The fields as they are sent.
    pub(crate) fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Sends the head.
    fn begin(&self, reply: &mut Reply<'_>) -> Result<(), ResponseError> {
        let mut fields = self.fields();
        reply.begin(Parts {
            status: self.status(),
            reason: self.reason(),
            fields: &mut fields,
            lines: Some(self.lines()),
            length: self.declared.map_or(Length::Unknown, Length::Known),
            first: &[],
            rest: Body::Empty,
            after: None,
        })
    }

    /// Takes note of a status and fields.
    fn set(&mut self, status: &Bound<'_, PyAny>, fields: &Bound<'_, PyAny>) -> PyResult<()> {
        self.declared = None;
        if !self.known_status.as_ref().is_some_and(|known| known.is(status) || ffi::is_text(status, self.status_text()))
        {
            self.set_status(status)?;
        }
        let Self { known, bytes, declared, .. } = self;
        let count = ffi::known_pairs(fields, |index, name, value| {
            known.get(index).is_some_and(|known| known.recurs(bytes, declared, name, value))
        });
        if count < self.known.len() || self.unknown {
            self.keep(count);
        }
        self.add_fields(fields, count)
    }

    /// Begins anew, with a status.
    fn set_status(&mut self, status: &Bound<'_, PyAny>) -> PyResult<()> {
        self.known_status = None;
        self.status_end = 0;
        self.keep(0);
        let Ok(text) = status.cast::<PyString>() else {
            return Err(PyTypeError::new_err(format!("status must be a str, not {status:?}")));
        };
        let line = ffi::latin1(text).unwrap_or_default();
        let (code, reason) = line.split_at_checked(3).unwrap_or_default();
        self.status = decimal(code)
            .and_then(|number| u16::try_from(number).ok())
            .filter(|number| (200..600).contains(number))
            .filter(|_| matches!(reason, [] | [b' ', ..]) && !reason.iter().any(|byte| byte.is_ascii_control()))
            .ok_or_else(|| {
                PyValueError::new_err(format!(
                    "status must be three digits from 200 to 599 and a reason, not {status:?}"
                ))
            })?;
        self.bytes.extend_from_slice(line);
        self.status_end = line.len();
        self.known_status = Some(status.clone().unbind());
        Ok(())
    }

    fn status_text(&self) -> &[u8] {
        self.bytes.get(..self.status_end).unwrap_or_default()
    }

    fn ends(&self) -> Ends {
        Ends { bytes: self.bytes.len(), fields: self.fields.len(), lines: self.lines.len() }
    }

    /// Forgets all but the status and so many known fields.
    #[inline]
    fn keep(&mut self, count: usize) {
        self.known.truncate(count);
        let none = Ends { bytes: self.status_end, fields: 0, lines: 0 };
        let ends = self.known.last().map_or(none, |known| known.ends);
        self.bytes.truncate(ends.bytes);
        self.fields.truncate(ends.fields);
        self.lines.truncate(ends.lines);
        self.unknown = false;
    }

    /// Takes note of fields but the first so many, which are known.
    #[inline]
    fn add_fields(&mut self, fields: &Bound<'_, PyAny>, first: usize) -> PyResult<()> {
        ffi::each_field(fields, first, |strings, name, value| {
            self.lines.push(name, value).map_err(|error| {
                let field = [name, b": ", value].concat();
                PyValueError::new_err(format!("{error}: {:?}", String::from_utf8_lossy(&field)))
            })?;
            let content = if name.len() == 14 && name.eq_ignore_ascii_case(b"content-length") {
                Content::Length(declare(&mut self.declared, value)?)
            } else {
                self.bytes.extend_from_slice(name);
                let start = self.bytes.len();
                self.bytes.extend_from_slice(value);
                self.fields.push((start, self.bytes.len()));
                Content::From(start)
            };
            // Those behind one that is not known would not be where they were looked for.
            match strings {
                Some((name, value)) if !self.unknown && self.known.len() < MOST_KNOWN => {
                    let (name, value) = (name.clone().unbind(), value.clone().unbind());
                    self.known.push(Known { name, value, content, ends: self.ends() });
                }
                _ => self.unknown = true,
            }
            Ok(())
        })
    }
}

/// Takes note of a `Content-Length`, and returns it.
fn declare(declared: &mut Option<u64>, value: &[u8]) -> PyResult<u64> {
    let length = decimal(value.trim_ascii()).filter(|length| *length < u64::MAX);
    match length {
        Some(length) if declared.is_none_or(|declared| declared == length) => {
            *declared = Some(length);
            Ok(length)
        }
        _ => {
            let value = String::from_utf8_lossy(value);
            Err(PyValueError::new_err(format!("Content-Length is invalid or comes twice: {value:?}")))
        }
    }
}

/// The number that these digits, and nothing but digits, are.
#[inline]
fn decimal(digits: &[u8]) -> Option<u64> {
    let digit = |byte: &u8| Some(u64::from(*byte).wrapping_sub(u64::from(b'0'))).filter(|digit| *digit < 10);
    let mut number = digits.split_first().and_then(|(first, _)| digit(first))?;
    for byte in digits.get(1..)? {
        number = number.checked_mul(10)?.checked_add(digit(byte)?)?;
    }
    Some(number)
}

#[derive(Default)]
struct Inner {
    phase: Phase,
    /// `None` while it is filled in, and when it was taken. Boxed, as it is handed on four times a request.
    started: Option<Box<Started>>,
    reply: LentReply,
    /// The client has gone, and the application was told so.
    disconnected: bool,
    /// Refers back to the responder, until [`Responder::retire`].
    write: Option<Py<PyAny>>,
}

impl Inner {
    /// Bytes that were given to `write`.
    fn written(&self) -> u64 {
        self.started.as_ref().map_or(0, |started| started.written)
    }

    fn note<T>(&mut self, sent: Result<T, Disconnected>) -> PyResult<T> {
        sent.map_err(|error| {
            self.disconnected = true;
            PyBrokenPipeError::new_err(error.to_string())
        })
    }
}

/// What the callbacks of one request share.
///
/// It is never held across a call that could run code of Python's.
#[pyclass(frozen, name = "Response", module = "ferricorn")]
pub(crate) struct Responder(Guarded<Inner>);

impl Responder {
    pub(crate) fn new() -> Self {
        Self(Guarded::new(Inner::default()))
    }

    pub(crate) fn set_write(&self, write: Bound<'_, PyAny>) {
        let py = write.py();
        self.0.with(py, |inner| inner.write = Some(write.unbind()));
    }

    /// Begins a request.
    #[inline]
    pub(crate) fn begin<'a>(
        &'a self,
        py: Python<'a>,
        reply: Option<&'a mut Reply<'_>>,
        mut spare: Box<Started>,
    ) -> Loan<'a, impl Fn(LentReply) + use<'a>> {
        spare.written = 0;
        self.0.with(py, |inner| {
            inner.phase = Phase::Waiting;
            inner.disconnected = false;
            inner.started = Some(spare);
        });
        Loan::new(reply, move |lent| self.0.with(py, |inner| inner.reply = lent))
    }

    /// Takes what was said, as the head is about to be sent. `None` if `start_response` was not called.
    #[inline]
    pub(crate) fn take(&self, py: Python<'_>) -> Option<Box<Started>> {
        self.0.with(py, |inner| {
            if inner.phase == Phase::Waiting {
                return None;
            }
            inner.phase = Phase::Sent;
            inner.started.take()
        })
    }

    /// The request is over: later calls come too late. One whose head is out stays that way: what goes wrong in what is left of
    /// its body is to be raised again.
    pub(crate) fn end(&self, py: Python<'_>) {
        self.0.with(py, |inner| {
            if inner.phase != Phase::Sent {
                inner.phase = Phase::Over;
            }
        });
    }

    /// Sends 103 Early Hints ahead of the response, if it is not too late for them.
    pub(crate) fn early_hints<'f>(
        &self,
        py: Python<'_>,
        fields: impl IntoIterator<Item = (&'f [u8], &'f [u8])>,
    ) -> Result<(), ResponseError> {
        self.0.with(py, |inner| {
            let in_time = matches!(inner.phase, Phase::Waiting | Phase::Started);
            let sent = if in_time { inner.reply.with(py, |reply| reply.early_hints(fields)) } else { None };
            sent.unwrap_or(Ok(()))
        })
    }

    /// It will not be used again.
    pub(crate) fn retire(&self, py: Python<'_>) {
        let write = self.0.with(py, |inner| inner.write.take());
        drop(write);
    }

    /// Makes sure that bytes may be written: the head goes before the first.
    fn begin_body(&self, py: Python<'_>, empty: bool) -> PyResult<()> {
        self.0.with(py, |inner| {
            match inner.phase {
                Phase::Sent if inner.written() > 0 && inner.reply.is_lent() => return Ok(()),
                Phase::Started if inner.reply.is_lent() => {}
                Phase::Sent => return Err(PyAssertionError::new_err("write() after the response was begun")),
                _ => return Err(PyAssertionError::new_err("write() out of turn")),
            }
            if empty {
                return Ok(());
            }
            let Inner { phase, started: Some(started), reply, .. } = inner else {
                return Err(PyAssertionError::new_err("write() out of turn"));
            };
            // From here on nobody may take the head back.
            *phase = Phase::Sent;
            match reply.with(py, |reply| started.begin(reply)) {
                Some(Err(error)) => Err(PyValueError::new_err(error.to_string())),
                _ => Ok(()),
            }
        })
    }

    /// Sends a piece, and returns how many bytes wait for the client.
    fn write_piece(&self, py: Python<'_>, piece: &[u8]) -> PyResult<usize> {
        self.0.with(py, |inner| {
            if let Some(started) = &mut inner.started {
                started.written += piece.len() as u64;
            }
            let written = inner.reply.with(py, |reply| reply.write(piece)).unwrap_or(Err(Disconnected));
            inner.note(written)
        })
    }

    /// Waits for the client; not in another thread than the one that waits for the application.
    fn wait_for_room(&self, py: Python<'_>) -> PyResult<()> {
        let reply = self.0.with(py, |inner| inner.reply.is_of_this_thread().then(|| std::mem::take(&mut inner.reply)));
        let Some(mut reply) = reply else { return Ok(()) };
        let waited = reply.with_detached(py, |reply| reply.wait_for_room()).unwrap_or(Err(Disconnected));
        self.0.with(py, |inner| {
            inner.reply = reply;
            inner.note(waited)
        })
    }

    /// Whether the client has gone while the response was written.
    pub(crate) fn is_disconnected(&self, py: Python<'_>) -> bool {
        self.0.with(py, |inner| inner.disconnected)
    }

    /// Whether anybody but us has hold of `write`.
    #[inline]
    pub(crate) fn write_is_held(&self, py: Python<'_>) -> bool {
        self.0.with(py, |inner| inner.write.as_ref().is_none_or(|write| ffi::references(write.bind(py)) > 1))
    }
}

#[pymethods]
impl Responder {
    /// start_response(status, headers, exc_info=None)
    #[pyo3(signature = (status, headers, exc_info=None))]
    pub(crate) fn start_response(
        &self,
        py: Python<'_>,
        status: &Bound<'_, PyAny>,
        headers: &Bound<'_, PyAny>,
        exc_info: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let phase = self.0.with(py, |inner| inner.phase);
        match (phase, exc_info) {
            (Phase::Over, _) => return Err(PyAssertionError::new_err("the request is over")),
            (Phase::Sent, Some(exc_info)) => return Err(reraised(&exc_info)),
            (Phase::Waiting, _) | (Phase::Started, Some(_)) => {}
            (Phase::Started | Phase::Sent, None) => {
                return Err(PyAssertionError::new_err("Response headers already set!"));
            }
        }
        // Iterating over something else than a list could run anything, which may call us.
        let mut started = self.0.with(py, |inner| inner.started.take()).unwrap_or_default();
        let set = started.set(status, headers);
        self.0.with(py, |inner| {
            inner.started = Some(started);
            set?;
            inner.phase = Phase::Started;
            match &inner.write {
                Some(write) => Ok(write.clone_ref(py)),
                None => Err(PyAssertionError::new_err("the request is over")),
            }
        })
    }

    /// write(data): PEP 3333's way for old applications. What it is given is on its way when it returns.
    fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let Ok(data) = data.cast::<PyBytes>() else {
            return Err(PyTypeError::new_err(format!("write() takes bytes, not {}", data.get_type())));
        };
        let py = data.py();
        let data = data.as_bytes();
        self.begin_body(py, data.is_empty())?;
        for piece in data.chunks(PIECE) {
            if self.write_piece(py, piece)? > KEPT {
                self.wait_for_room(py)?;
            }
        }
        Ok(())
    }
}

/// What `exc_info`, a type, a value and a traceback, says to raise again.
fn reraised(exc_info: &Bound<'_, PyAny>) -> PyErr {
    let raise = || {
        let value = exc_info.get_item(1)?;
        value.call_method1("with_traceback", (exc_info.get_item(2)?,))?;
        Ok::<_, PyErr>(PyErr::from_value(value))
    };
    raise().unwrap_or_else(|error| error)
}
