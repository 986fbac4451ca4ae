//! The contract between a worker and an application, and the applications that ship.
//!
//! An [`Application`] is called with a [`Request`] whose body has arrived (or [streams](Application::streams)) and a [`Reply`], the right and duty to answer
//! once. It may answer at once, take a [`Later`] and answer from anywhere, or answer with a [`Body`] that is pulled while
//! the peer reads it. A [`Factory`] makes one application per application thread, after the fork.
//!
//! Architecture invariant: applications see neither sockets nor the wire; nothing in here depends on `mio` or on the
//! inside of a protocol.

pub mod body;
pub mod call;
pub mod cgi;
pub mod exec;
pub mod fastcgi;
pub mod files;
pub mod mounts;
mod percent;
mod pump;
pub mod reply;
pub mod request;
pub mod response;
pub mod streamed;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use call::{Watcher, extend_deadline};
pub(crate) use cgi::lines::Lines;
pub use exec::Command;

pub use body::{Body, BodySender, Disconnected, FileRange, Pull, Segment, Source};
pub use reply::{Later, Parts, Reply};
pub(crate) use request::queue_time;
pub use request::{Address, Peer, Request, RequestBody};
pub use response::Response;
pub use streamed::{BodyFault, BodyStream, StreamedBody};

/// Something that answers requests. One lives in each application thread of a worker: it is made on the main thread, and
/// called by its own from then on.
pub trait Application: Send {
    /// Answers `request` through `reply`, now or later. Dropping the reply unanswered is a 500.
    ///
    /// # Panics
    /// A panic is caught, logged and answered with 500; the application is called again for the next request.
    fn call(&mut self, request: &Request<'_>, reply: Reply<'_>);

    /// Whether the application wants to be called before the body of `request` has arrived, which it then gets as a
    /// [stream](RequestBody::Stream). Otherwise the body is buffered first, so that nobody waits for a client; that is the
    /// better choice for whatever handles one request after the other.
    ///
    /// It is asked when the head has arrived and part of the body has not, and must not take long. Bodies that come
    /// together with their head are given whole in any case, and so are those that were buffered while the application was
    /// busy. The body of `request` is empty here, and whether its client's connection is secure is not known yet.
    ///
    /// A client that waits for `100 Continue` gets it when the stream is first pulled, so that what is refused by its head
    /// is never sent. A response that is complete before the request is ends the connection.
    ///
    /// ```
    /// use ferricorn::app::{Application, Body, Reply, Request, RequestBody, Response};
    ///
    /// /// Sends back what it is sent, while it comes.
    /// struct Echo;
    ///
    /// impl Application for Echo {
    ///     fn streams(&self, request: &Request<'_>) -> bool {
    ///         request.path() == "/echo"
    ///     }
    ///
    ///     fn call(&mut self, request: &Request<'_>, reply: Reply<'_>) {
    ///         let body = match request.body() {
    ///             RequestBody::Stream(body) => body.take().map_or(Body::Empty, |stream| Body::Source(Box::new(stream))),
    ///             RequestBody::Memory(bytes) => Body::from(bytes.clone()),
    ///             _ => Body::Empty,
    ///         };
    ///         reply.send(Response::new(200).with_body(body));
    ///     }
    /// }
    /// ```
    fn streams(&self, request: &Request<'_>) -> bool {
        let _ = request;
        false
    }

    /// Calls `wait`, which sleeps until the worker has something to do.
    ///
    /// An application that holds what others need while nobody calls it, such as an interpreter's lock, lets go of it
    /// round that.
    fn idle(&mut self, wait: &mut dyn FnMut()) {
        wait();
    }

    /// Whether [`idle`](Self::idle) takes long enough to be worth sparing: as long as there is always something to do, the only
    /// application thread of a worker calls it once in some milliseconds, and not each time before it looks for more.
    fn idles_dearly(&self) -> bool {
        false
    }

    /// The applications that this one consists of, if it is several; nothing is asked of it any more.
    #[doc(hidden)]
    fn take_apart(&mut self) -> Vec<Box<dyn Application>> {
        Vec::new()
    }
}

/// Makes applications, and hears what happens to the process they live in.
///
/// The value is made before any fork. [`load`](Self::load) and what follows it run in a worker, on the worker's own copy.
/// With `preload_app`, `load` runs in a template process, and each worker goes on with a copy of what it has made.
pub trait Factory {
    /// Checks, in the arbiter and before anything is started, what can be checked without loading the application.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    fn check(&mut self) -> Result<(), LoadError> {
        Ok(())
    }

    /// Makes the application of one application thread. It is called once for each of them, on the main thread.
    ///
    /// # Errors
    /// Why it cannot be loaded; the worker logs it and exits with the error's exit code.
    fn load(&mut self) -> Result<Box<dyn Application>, LoadError>;

    /// What every application thread besides the main one spends its life in; it calls what it is given once. An interpreter
    /// gets to know the thread here.
    fn thread_life(&self) -> ThreadLife {
        Arc::new(|live| live())
    }

    /// As [`Application::idle`], for the main thread of a worker whose application threads are others.
    fn idle(&mut self, wait: &mut dyn FnMut()) {
        wait();
    }

    /// Does some work on the main thread, before anything is served, which calls the application. What can be interrupted of
    /// it (an interpreter's code) is, once the limit is over. Tells whether it was.
    fn within(&mut self, limit: Duration, work: &mut dyn FnMut()) -> bool {
        let _ = limit;
        work();
        false
    }

    /// What looks into calls of these applications for `slow_request_timeout` and `request_timeout`, in the worker.
    fn watcher(&mut self) -> Option<Box<dyn Watcher>> {
        None
    }

    /// The template has loaded the application, and is about to fork workers that share its memory.
    fn freeze(&mut self) {}

    /// Makes the application that was loaded in the template a worker's own: opens what processes cannot share. Called in
    /// each worker, in place of [`load`](Self::load).
    ///
    /// # Errors
    /// As for `load`.
    fn adopt(&mut self, application: Box<dyn Application>) -> Result<Box<dyn Application>, LoadError> {
        Ok(application)
    }

    /// The worker is about to accept its first connection.
    fn ready(&mut self) {}

    /// The worker has opened its logs again.
    fn reopened(&mut self) {}

    /// The worker has been told to finish.
    fn drain(&mut self) {}

    /// The worker's process is about to end.
    fn exit(&mut self) {}

    /// The program that serves the listening socket, if a worker is to keep one alive in place of serving an application.
    fn program(&self) -> Option<Result<Command, LoadError>> {
        None
    }

    /// What applications of this kind share in a process, such as an interpreter. Where several are mounted in one server,
    /// the hooks of the first of them are called for all, and so is its application's [`idle`](Application::idle).
    fn host(&self) -> Option<&'static str> {
        None
    }

    /// Whether the arbiter's process or the template's may have threads that are not this crate's (an interpreter's), and is
    /// to be forked all the same. They must not run code of this crate, and workers do not have them.
    fn has_threads(&self) -> bool {
        false
    }

    /// The arbiter or the template is about to fork (an interpreter's fork hooks go here and in the next two).
    fn before_fork(&mut self) {}

    /// It has forked, or failed to.
    fn after_fork_parent(&mut self) {}

    /// The new process, a worker's or a template's, has just begun.
    fn after_fork_child(&mut self) {}

    /// Something has happened to the server's processes.
    fn hook(&mut self, hook: Hook) {
        let _ = hook;
    }

    /// Whether [`Hook::PreExec`] is wanted, for which an upgrade has to be forked in full.
    fn hooks_exec(&self) -> bool {
        false
    }
}

/// What happens to the processes of a server, under the names of Gunicorn's hooks.
///
/// An arbiter tells the factory of the generation that is concerned, or else of the one whose settings it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// The number of workers was set, from `old`. At start there is none.
    WorkersChanged {
        /// How many there are to be.
        new: usize,
        /// How many there were to be.
        old: Option<usize>,
    },
    /// The arbiter has its pidfile.
    OnStarting,
    /// It has its sockets.
    WhenReady,
    /// It has loaded its settings again.
    OnReload,
    /// It is about to fork the worker that is the `age`-th of this server.
    PreFork {
        /// Counts the workers of a server, from 1 on.
        age: u64,
    },
    /// It has forked it, or failed to.
    Forked {
        /// The worker's.
        age: u64,
        /// Its process, if there is one.
        pid: Option<i32>,
    },
    /// In the new worker, after [`Factory::after_fork_child`] and before anything else.
    PostFork {
        /// The worker's.
        age: u64,
    },
    /// A worker was told to stop at once.
    WorkerInt,
    /// The arbiter has reaped a worker.
    ChildExit {
        /// Its process.
        pid: i32,
    },
    /// In the child that is to become the next arbiter, after [`Factory::after_fork_child`].
    PreExec,
    /// The arbiter's last act.
    OnExit,
}

/// See [`Factory::thread_life`].
pub type ThreadLife = Arc<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

/// Why an application could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    message: String,
    application: bool,
}

impl LoadError {
    /// The worker cannot boot (exit code 3): trying again may help.
    pub fn boot(message: impl Into<String>) -> Self {
        Self { message: message.into(), application: false }
    }

    /// The application itself is wrong (exit code 4): it is missing, or is not callable.
    pub fn application(message: impl Into<String>) -> Self {
        Self { message: message.into(), application: true }
    }

    /// The exit code of the worker, as Gunicorn's: 3 or 4.
    pub const fn exit_code(&self) -> i32 {
        if self.application { 4 } else { 3 }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for LoadError {}

/// A function from a request to a response, as an application. [`crate::run`] makes these.
#[derive(Clone, Debug)]
pub struct Handler<F>(pub F);

impl<F, R> Application for Handler<F>
where
    F: Fn(&Request<'_>) -> R + Send,
    R: Into<Response>,
{
    fn call(&mut self, request: &Request<'_>, reply: Reply<'_>) {
        reply.send((self.0)(request).into());
    }
}

impl<F, R> Factory for Handler<F>
where
    F: Fn(&Request<'_>) -> R + Clone + Send + 'static,
    R: Into<Response> + 'static,
{
    fn load(&mut self) -> Result<Box<dyn Application>, LoadError> {
        Ok(Box::new(self.clone()))
    }
}
