//! The WSGI application, as a worker calls it.

use ferricorn::app::{Application, Body, Parts};
use ferricorn::protocol::Length;
use ferricorn::{Reply, Request, Response};
use pyo3::exceptions::PyAssertionError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::abandoned::{self, Ours};
use crate::body::{self, COPIED, Piece, Returned, Stream};
use crate::early_hints::EarlyHints;
use crate::environ::{Environs, Unfit};
use crate::errors;
use crate::ffi::{self, CalledByWorker, Context};
use crate::ffi_start_response::start_response;
use crate::forks;
use crate::hooks::{Observed, RequestHooks};
use crate::responder::{Responder, Started};
use crate::stuck;
use crate::template::Surroundings;
use crate::watchdog;

/// A WSGI callable and what calling it takes.
pub(crate) struct Wsgi {
    callable: Py<PyAny>,
    environs: Environs,
    callbacks: Callbacks,
    file_wrapper: Py<PyAny>,
    hooks: Option<RequestHooks>,
    /// A blank one, for the next request of the same turn: no code runs in between that could set a variable for all.
    context: Option<Context>,
    /// Kept for its memory.
    spare: Option<Box<Started>>,
    joined: Vec<u8>,
    /// Its thread's, from the first call on.
    shown: Option<&'static stuck::Place>,
}

impl CalledByWorker for Wsgi {}

/// A responder and its bound methods, which are used again while nobody else has hold of them.
struct Callbacks {
    responder: Py<Responder>,
    start_response: Py<PyAny>,
}

impl Callbacks {
    /// With the `wsgi.early_hints` that belongs to them.
    fn new(py: Python<'_>) -> PyResult<(Self, Py<EarlyHints>)> {
        let responder = Bound::new(py, Responder::new())?;
        responder.get().set_write(responder.getattr("write")?);
        let start_response = start_response(&responder)?.unbind();
        let responder = responder.unbind();
        let early_hints = EarlyHints::new(py, responder.clone_ref(py))?;
        Ok((Self { responder, start_response }, early_hints))
    }
}

impl Drop for Callbacks {
    fn drop(&mut self) {
        Python::attach(|py| self.responder.get().retire(py));
    }
}

/// Why no answer of the application's can be sent.
enum Failure {
    /// It raised.
    Raised(PyErr),
    /// What it answered cannot be sent.
    Unsendable(String),
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

impl Wsgi {
    pub(crate) fn new(
        py: Python<'_>,
        callable: Py<PyAny>,
        surroundings: Surroundings,
        hooks: Option<RequestHooks>,
    ) -> PyResult<Self> {
        let (callbacks, early_hints) = Callbacks::new(py)?;
        forks::watch(py)?;
        Ok(Self {
            callable,
            environs: Environs::new(py, surroundings, early_hints)?,
            callbacks,
            file_wrapper: py.import("ferricorn._application")?.getattr("FileWrapper")?.unbind(),
            hooks,
            context: None,
            spare: None,
            joined: Vec::new(),
            shown: None,
        })
    }

    /// Calls the application and sends what it answers. The reply is still there if nothing was sent.
    fn respond(
        &mut self,
        py: Python<'_>,
        environ: Bound<'_, PyDict>,
        request: &Request<'_>,
        place: &stuck::Place,
        reply: &mut Option<Reply<'_>>,
    ) -> Result<(), Failure> {
        let mut observed = None;
        if let Some(hooks) = &self.hooks {
            let (begun, allowed) = hooks.begin(py, request, &environ);
            observed = Some(begun);
            allowed?;
        }
        let (context, was_blank) = match self.context.take() {
            Some(context) => (context, true),
            None => {
                let context = Context::copy_current(py)?;
                let blank = self.hooks.is_none() && context.is_blank(py);
                (context, blank)
            }
        };
        let responder = self.callbacks.responder.get();
        let prepared = {
            let _loan = responder.begin(py, reply.as_mut(), self.spare.take().unwrap_or_default());
            let start_response = self.callbacks.start_response.bind(py);
            let _window = place.calls.open(py);
            let forks = forks::count();
            let called = context.run(py, || {
                let result = self.callable.bind(py).call1((&environ, start_response));
                forks::stay(py, forks, || [request.method(), request.target()].join(" "), &result);
                // If it is released, then better here: in the context of its request.
                self.environs.take_back(environ);
                result
            });
            called.and_then(|result| result).map_err(Failure::from).and_then(|result| {
                Prepared::new(py, result, &context, request, responder, self.file_wrapper.bind(py))
            })?
        };
        if was_blank && context.is_blank(py) {
            self.context = Some(context);
        }
        match reply.take() {
            Some(reply) => self.send(py, prepared, request, reply, observed),
            None => Ok(()),
        }
    }

    fn send(
        &mut self,
        py: Python<'_>,
        prepared: Prepared<'_>,
        request: &Request<'_>,
        reply: Reply<'_>,
        mut observed: Option<Observed>,
    ) -> Result<(), Failure> {
        let Prepared { started, mut content } = prepared;
        if let (Content::One(piece), None, 0) = (&content, &observed, started.written)
            && piece.as_bytes().len() <= COPIED
        {
            let first = piece.as_bytes();
            check_length(request, &started, first.len() as u64);
            let sent = send_parts(&started, reply, first, Body::Empty, Some(first.len() as u64), None);
            self.spare = Some(started);
            return sent;
        }
        let written = started.written;
        let declared = started.declared;
        if let Some(observed) = &mut observed {
            observed.respond(py, (started.status(), started.reason()), started.fields(), declared);
            if request.method() != "HEAD" {
                observed.sent(written + content.known());
            }
        }
        let _until_sent = content.observe(observed);
        let length = content.known();
        let held;
        let mut after: Option<Box<dyn Send>> = None;
        let (first, rest, known): (&[u8], Body, Option<u64>) = match content {
            Content::One(piece) if length <= COPIED as u64 => {
                held = piece;
                (held.as_bytes(), Body::Empty, Some(length))
            }
            // What an iterable does after its last piece, and when it is closed, is not waited for.
            Content::Stream(piece, mut stream) if written == 0 && declared == Some(length) => {
                stream.with(Stream::complete);
                held = piece;
                if length <= COPIED as u64 {
                    after = Some(stream);
                    (held.as_bytes(), Body::Empty, Some(length))
                } else {
                    (&[], body::segment(held.clone(), stream), Some(length))
                }
            }
            Content::Nothing(mut stream) => {
                stream.with(Stream::complete);
                after = Some(stream);
                (&[], Body::Empty, Some(0))
            }
            content => {
                self.joined.clear();
                let left = declared.map(|declared| declared.saturating_sub(written));
                let (rest, known) = content.into_rest(&mut self.joined, left);
                (self.joined.as_slice(), rest, known)
            }
        };
        let known = known.map(|known| known + written);
        if let Some(known) = known {
            check_length(request, &started, known);
        }
        if written > 0 {
            reply.finish(first, rest);
            self.spare = Some(started);
            return Ok(());
        }
        let sent = send_parts(&started, reply, first, rest, known, after);
        self.spare = Some(started);
        sent
    }

    /// Makes sure that nobody else has hold of what the next request is going to use. Not before it comes, as what was kept until
    /// the last response was closed is free then.
    fn renew(&mut self, py: Python<'_>) -> PyResult<()> {
        let Callbacks { responder, start_response } = &self.callbacks;
        if ffi::references(start_response.bind(py)) > 1 || responder.get().write_is_held(py) {
            let (callbacks, early_hints) = Callbacks::new(py)?;
            self.callbacks = callbacks;
            return self.environs.set_early_hints(py, early_hints);
        }
        if self.environs.early_hints_are_held(py) {
            let early_hints = EarlyHints::new(py, responder.clone_ref(py))?;
            return self.environs.set_early_hints(py, early_hints);
        }
        Ok(())
    }
}

impl Application for Wsgi {
    fn call(&mut self, request: &Request<'_>, reply: Reply<'_>) {
        let py = ffi::attached(self);
        if let Err(error) = self.renew(py) {
            errors::log(py, "Exception before a request", &error);
        }
        let place = *self.shown.get_or_insert_with(stuck::Place::here);
        place.begin(request);
        let name = |what: &str| format!("{what} {} {}", request.method(), request.target());
        let environ = match self.environs.make(py, request) {
            Ok(environ) => environ,
            Err(unfit) => {
                match unfit {
                    Unfit::Ambiguous(field) => {
                        log::warn!("{}: ambiguous header field {field:?} (header_map)", name("Invalid request"));
                        return reply.send(Response::error(400));
                    }
                    Unfit::ScriptName(problem) => log::error!("Configuration problem: {problem}"),
                    Unfit::Python(error) => errors::log(py, &name("Error handling request"), &error),
                }
                return reply.send(Response::error(500));
            }
        };
        let (mut status, mut reply) = (500, Some(reply));
        if let Err(failure) = self.respond(py, environ, request, place, &mut reply) {
            match failure {
                Failure::Raised(error) if self.callbacks.responder.get().is_disconnected(py) => {
                    log::debug!("{}: {error}", name("The client has gone during"));
                }
                Failure::Raised(error) => {
                    if watchdog::is_timeout(py, &error) {
                        status = 504;
                    }
                    errors::log(py, &name("Error handling request"), &error);
                }
                Failure::Unsendable(problem) => log::error!("{}: {problem}", name("Error handling request")),
            }
            if let Some(reply) = reply {
                self.callbacks.responder.get().end(py);
                reply.send(Response::error(status));
            }
        }
        place.end();
        errors::end_line(py);
    }

    fn idle(&mut self, wait: &mut dyn FnMut()) {
        let py = ffi::attached(self);
        errors::end_line(py);
        abandoned::serve();
        self.context = None;
        ffi::detached(py, wait);
        abandoned::collect();
        errors::run_handlers(py);
    }

    fn idles_dearly(&self) -> bool {
        true
    }
}

/// Sends the response whose body is `first` and `rest`, so many bytes if that is known.
#[inline]
fn send_parts(
    started: &Started,
    reply: Reply<'_>,
    first: &[u8],
    rest: Body,
    known: Option<u64>,
    after: Option<Box<dyn Send>>,
) -> Result<(), Failure> {
    let parts = Parts {
        status: started.status(),
        reason: started.reason(),
        fields: &mut started.fields(),
        lines: Some(started.lines()),
        length: started.declared.or(known).map_or(Length::Unknown, Length::Known),
        first,
        rest,
        after,
    };
    reply.send_parts(parts).map_err(|error| Failure::Unsendable(error.to_string()))
}

/// Tells of a body that has not the length that its application has declared.
#[inline]
fn check_length(request: &Request<'_>, started: &Started, known: u64) {
    if let Some(declared) = started.declared
        && declared != known
    {
        tell_of_length(request, started, declared, known);
    }
}

#[cold]
fn tell_of_length(request: &Request<'_>, started: &Started, declared: u64, known: u64) {
    if request.method() != "HEAD" && !matches!(started.status(), 204 | 304) {
        log::error!(
            "Error handling request {} {}: the body has {known} bytes, its Content-Length is {declared}",
            request.method(),
            request.target()
        );
    }
}

/// A response whose head may be sent.
struct Prepared<'py> {
    started: Box<Started>,
    content: Content<'py>,
}

/// The body, as far as it is known.
enum Content<'py> {
    One(Bound<'py, PyBytes>),
    Many(Vec<Bound<'py, PyBytes>>),
    File(ferricorn::app::FileRange, Box<Returned>),
    /// The first piece of a stream, and the stream.
    Stream(Bound<'py, PyBytes>, Box<Ours<Stream>>),
    /// A stream without any.
    Nothing(Box<Ours<Stream>>),
}

impl<'py> Prepared<'py> {
    fn new(
        py: Python<'py>,
        result: Bound<'py, PyAny>,
        context: &Context,
        request: &Request<'_>,
        responder: &Responder,
        file_wrapper: &Bound<'py, PyAny>,
    ) -> Result<Self, Failure> {
        let content = match body::only_part(&result) {
            Some(part) => Content::One(part),
            None => Self::content(py, result, context, request, file_wrapper)?,
        };
        let not_started = || PyAssertionError::new_err("the application did not call start_response");
        let started = responder.take(py).ok_or_else(not_started)?;
        Ok(Self { started, content })
    }

    fn content(
        py: Python<'py>,
        result: Bound<'py, PyAny>,
        context: &Context,
        request: &Request<'_>,
        file_wrapper: &Bound<'py, PyAny>,
    ) -> Result<Content<'py>, Failure> {
        if let Some(parts) = body::parts(&result) {
            return Ok(Content::Many(parts));
        }
        let range = if result.get_type().is(file_wrapper) { body::file(&result) } else { None };
        let returned = Returned::new(result, context.share(py), request);
        if let Some(range) = range {
            return Ok(Content::File(range, Box::new(returned)));
        }
        // PEP 3333: start_response may be called as late as before the first piece.
        Ok(match Stream::new(py, returned)? {
            (stream, Piece::Bytes(bytes)) => Content::Stream(bytes, Box::new(Ours::new(stream))),
            (stream, Piece::End) => Content::Nothing(Box::new(Ours::new(stream))),
        })
    }
}

impl Content<'_> {
    /// Bytes of the body that are known now.
    fn known(&self) -> u64 {
        match self {
            Self::One(part) | Self::Stream(part, _) => part.as_bytes().len() as u64,
            Self::Many(parts) => parts.iter().map(|part| part.as_bytes().len() as u64).sum(),
            Self::File(range, _) => range.length,
            Self::Nothing(_) => 0,
        }
    }

    /// Has the hook called when the body is closed; it comes back if there is nothing to be closed.
    fn observe(&mut self, observed: Option<Observed>) -> Option<Observed> {
        match self {
            Self::File(_, returned) => returned.observe(observed?),
            Self::Stream(_, stream) | Self::Nothing(stream) => {
                let observed = observed?;
                stream.with(|stream| stream.observe(observed));
            }
            Self::One(_) | Self::Many(_) => return observed,
        }
        None
    }

    /// Appends what is to be copied, and returns the rest, and the length of all if it is known.
    fn into_rest(self, first: &mut Vec<u8>, declared: Option<u64>) -> (Body, Option<u64>) {
        let parts = match self {
            Self::Nothing(_) => return (Body::Empty, Some(first.len() as u64)),
            Self::One(part) => vec![part],
            Self::Many(parts) => parts,
            Self::File(mut range, returned) => {
                if let Some(declared) = declared {
                    // A part of the file, as in a response to a range request.
                    range.length = range.length.min(declared.saturating_sub(first.len() as u64));
                }
                let length = first.len() as u64 + range.length;
                return (body::file_body(range, *returned), Some(length));
            }
            Self::Stream(piece, mut stream) => {
                first.extend_from_slice(piece.as_bytes());
                let left = declared.map(|declared| declared.saturating_sub(first.len() as u64));
                stream.with(|stream| stream.limit(left));
                return (Body::Source(stream), None);
            }
        };
        let total = parts.iter().map(|part| part.as_bytes().len()).sum::<usize>();
        let length = (first.len() + total) as u64;
        if total > COPIED {
            return (body::segments(parts), Some(length));
        }
        parts.iter().for_each(|part| first.extend_from_slice(part.as_bytes()));
        (Body::Empty, Some(length))
    }
}
