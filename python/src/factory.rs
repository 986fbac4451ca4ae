//! The life of a process that serves a Python application.

use std::sync::Once;
use std::time::Duration;

use ferricorn::Hook;
use ferricorn::app::{Application, Command, Factory, LoadError, ThreadLife, Watcher};
use ferricorn::settings::Settings;
use pyo3::prelude::*;

use crate::application::Wsgi;
use crate::errors;
use crate::ffi::{self, CalledByWorker};
use crate::hooks::Hooks;
use crate::reload::Reloader;
use crate::stuck::Watch;
use crate::template::Surroundings;
use crate::watchdog::{self, PythonWatcher};

/// Where the application comes from.
pub(crate) enum Loader {
    /// That name leads to it.
    Named(String),
    /// A `ferricorn.Application` loads it.
    Program(Py<PyAny>),
}

/// Loads the application.
pub(crate) struct PythonFactory {
    loader: Loader,
    /// Those for requests, and who is told of the application; [`HookedFactory`] calls the others.
    hooks: Option<Hooks>,
    pythonpath: Option<String>,
    variables: Vec<(String, String)>,
    /// There is a `request_timeout`.
    interrupts: bool,
    /// What was loaded, if there are hooks that are to be given it.
    callable: Option<Py<PyAny>>,
    surroundings: Surroundings,
    /// The same for all threads.
    shared: Option<Py<PyAny>>,
    /// With `--reload`.
    reloader: Option<Reloader>,
    watch: Option<Watch>,
    forks: Forks,
}

impl CalledByWorker for PythonFactory {}

impl PythonFactory {
    pub(crate) fn new(settings: &Settings, loader: Loader, hooks: Option<Hooks>) -> Self {
        Self {
            hooks,
            pythonpath: settings.pythonpath.clone(),
            variables: settings.raw_env.clone(),
            interrupts: settings.request_timeout.is_some(),
            reloader: (settings.reload && !settings.check_config).then(|| Reloader::new(settings)),
            loader,
            surroundings: Surroundings {
                multiprocess: settings.workers.max(settings.workers_most) > 1,
                multithread: settings.threads > 1,
                header_map: settings.header_map,
                forwarder_headers: settings.forwarder_headers.clone(),
            },
            callable: None,
            shared: None,
            watch: None,
            forks: Forks::new(settings),
        }
    }

    fn load_in(&mut self, py: Python<'_>) -> PyResult<Wsgi> {
        if let Some(callable) = &self.shared {
            // For another thread.
            let hooks = self.hooks.as_ref().map(|hooks| hooks.for_requests(py)).transpose()?.flatten();
            return Wsgi::new(py, callable.clone_ref(py), self.surroundings.clone(), hooks);
        }
        if let Some(reloader) = &self.reloader {
            reloader.begin(py)?;
        }
        let module = py.import("ferricorn._application")?;
        module.call_method1("prepare", (&self.pythonpath, &self.variables, log::max_level().as_str()))?;
        let callable = match &self.loader {
            Loader::Program(program) => program.bind(py).call_method0("wsgi")?,
            Loader::Named(name) => module.call_method1("load", (name,))?,
        };
        if self.interrupts {
            watchdog::install(py)?;
        }
        self.shared = Some(callable.clone().unbind());
        self.callable = self.hooks.is_some().then(|| callable.clone().unbind());
        self.hooked(py, callable.unbind())
    }

    /// The application with the hooks for its requests.
    fn hooked(&self, py: Python<'_>, callable: Py<PyAny>) -> PyResult<Wsgi> {
        let mut hooks = None;
        if let Some(all) = &self.hooks {
            all.loaded(py, callable.bind(py));
            hooks = all.for_requests(py)?;
        }
        Wsgi::new(py, callable, self.surroundings.clone(), hooks)
    }

    /// What answers in place of an application that cannot be loaded, if anything does.
    fn substitute(&self, py: Python<'_>, error: &PyErr) -> Option<Wsgi> {
        let substitute = self.reloader.as_ref()?.failed(py, error);
        let application = substitute.and_then(|callable| {
            callable.map(|callable| Wsgi::new(py, callable, self.surroundings.clone(), None)).transpose()
        });
        application.unwrap_or_else(|error| {
            errors::log(py, "Exception in the reloader", &error);
            None
        })
    }

    fn failed(&self, py: Python<'_>, error: &PyErr) -> LoadError {
        let module = py.import("ferricorn._application");
        let wrong = module.and_then(|module| module.getattr("ApplicationError"));
        if wrong.is_ok_and(|wrong| error.is_instance(py, &wrong)) {
            return LoadError::application(format!("App failed to load: {}", error.value(py)));
        }
        errors::log(py, "Exception in worker process", error);
        LoadError::boot(errors::summarize(py, error))
    }
}

/// How often it is tried to stop an alarm that may go off meanwhile.
const TRIES: usize = 3;

/// Makes the memory of this process fit to be shared.
fn freeze(py: Python<'_>) {
    let frozen = py.import("ferricorn._forks").and_then(|module| module.call_method0("freeze"));
    if let Err(error) = frozen {
        errors::log(py, "Exception before a fork", &error);
    }
    ffi::fill_gaps(py);
}

impl Factory for PythonFactory {
    fn load(&mut self) -> Result<Box<dyn Application>, LoadError> {
        let py = ffi::attached(self);
        // Its handler must be there before the other.
        if let Some(hooks) = &self.hooks {
            hooks.watch_abort(py);
        }
        if self.watch.is_none() {
            self.watch = Watch::install(py)
                .inspect_err(|error| log::warn!("Stacks cannot be logged: {}", errors::summarize(py, error)))
                .ok();
        }
        match self.load_in(py) {
            Ok(application) => Ok(Box::new(application)),
            Err(error) => {
                let failed = self.failed(py, &error);
                match self.substitute(py, &error) {
                    Some(application) => {
                        log::error!("{failed}; waiting for a change");
                        Ok(Box::new(application))
                    }
                    None => Err(failed),
                }
            }
        }
    }

    fn thread_life(&self) -> ThreadLife {
        // The thread's state is made once, and every call of this thread happens in it.
        std::sync::Arc::new(|live| Python::attach(|_| live()))
    }

    fn idle(&mut self, wait: &mut dyn FnMut()) {
        let py = ffi::attached(self);
        ffi::detached(py, wait);
        errors::run_handlers(py);
    }

    fn within(&mut self, limit: Duration, work: &mut dyn FnMut()) -> bool {
        let py = ffi::attached(self);
        let alarm =
            py.import("ferricorn._alarm").and_then(|module| module.call_method1("Alarm", (limit.as_secs_f64(),)));
        let alarm = alarm.inspect_err(|error| errors::log(py, "Exception before the warm-up request", error)).ok();
        work();
        let Some(alarm) = alarm else { return false };
        // If the alarm goes off at the last moment, its exception comes up here.
        let stopped = (0..TRIES).find_map(|_| alarm.call_method0("stop").ok());
        if stopped.is_none() {
            log::warn!("The time limit of the warm-up request cannot be taken back");
        }
        alarm.getattr("rung").and_then(|rung| rung.extract()).unwrap_or(false)
    }

    fn drain(&mut self) {
        let py = ffi::attached(self);
        if let Some(reloader) = &self.reloader {
            reloader.tell(py, "drain");
        }
    }

    fn watcher(&mut self) -> Option<Box<dyn Watcher>> {
        Some(Box::new(PythonWatcher))
    }

    fn freeze(&mut self) {
        freeze(ffi::attached(self));
    }

    fn adopt(&mut self, application: Box<dyn Application>) -> Result<Box<dyn Application>, LoadError> {
        let py = ffi::attached(self);
        // The hooks of the template's know nothing of this worker.
        match self.callable.take() {
            None => Ok(application),
            Some(callable) => match self.hooked(py, callable) {
                Ok(hooked) => Ok(Box::new(hooked)),
                Err(error) => Err(self.failed(py, &error)),
            },
        }
    }

    fn ready(&mut self) {
        let py = ffi::attached(self);
        if let Some(reloader) = &self.reloader {
            reloader.tell(py, "ready");
        }
    }

    fn reopened(&mut self) {
        let py = ffi::attached(self);
        match Watch::renew(py) {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => log::warn!("Stacks go to the old log: {}", errors::summarize(py, &error)),
        }
    }

    fn exit(&mut self) {
        let py = ffi::attached(self);
        finish(py);
    }

    fn host(&self) -> Option<&'static str> {
        Some("python")
    }

    fn has_threads(&self) -> bool {
        true
    }

    fn before_fork(&mut self) {
        let py = ffi::attached(self);
        self.forks.before(py);
    }

    fn after_fork_parent(&mut self) {
        ffi::after_fork_parent(ffi::attached(self));
    }

    fn after_fork_child(&mut self) {
        ffi::after_fork_child(ffi::attached(self));
    }
}

/// What is done before forks.
struct Forks {
    /// Workers load the application themselves: what they need for that is shared as far as it can be.
    shares: bool,
    pythonpath: Option<String>,
    /// Threads that this process has and workers will not, as of the last warning.
    threads: Option<String>,
}

impl Forks {
    fn new(settings: &Settings) -> Self {
        Self { shares: !settings.preload_app, pythonpath: settings.pythonpath.clone(), threads: None }
    }

    fn before(&mut self, py: Python<'_>) {
        // The arbiter's interpreter, too, is shared by all that it forks. What each of them needs is imported before.
        static ARBITER: Once = Once::new();
        ARBITER.call_once(|| {
            let imported = py.import("ferricorn._application").and_then(|_| {
                if self.shares {
                    py.import("ferricorn._forks")?.call_method1("share", (&self.pythonpath,))?;
                }
                Ok(())
            });
            if let Err(error) = imported {
                errors::log(py, "Exception before a fork", &error);
            }
            freeze(py);
        });
        let names = py.import("ferricorn._forks").and_then(|module| module.call_method0("other_threads"));
        if let Ok(names) = names.and_then(|names| names.extract::<Option<String>>())
            && names != self.threads
        {
            if let Some(names) = &names {
                log::warn!("Workers will not have the threads that were started before the fork: {names}");
            }
            self.threads = names;
        }
        ffi::before_fork(py);
    }
}

fn finish(py: Python<'_>) {
    let finished = py.import("ferricorn._application").and_then(|module| module.call_method0("finish"));
    if let Err(error) = finished {
        errors::log(py, "Exception while exiting", &error);
    }
}

/// Calls Gunicorn's hooks round the factory of whatever is served.
pub(crate) struct HookedFactory {
    inner: Box<dyn Factory>,
    hooks: Hooks,
    forks: Forks,
}

impl CalledByWorker for HookedFactory {}

impl HookedFactory {
    pub(crate) fn new(settings: &Settings, inner: Box<dyn Factory>, hooks: Hooks) -> Self {
        Self { inner, hooks, forks: Forks::new(settings) }
    }
}

impl Factory for HookedFactory {
    fn check(&mut self) -> Result<(), LoadError> {
        self.inner.check()
    }

    fn load(&mut self) -> Result<Box<dyn Application>, LoadError> {
        self.inner.load()
    }

    fn program(&self) -> Option<Result<Command, LoadError>> {
        self.inner.program()
    }

    fn thread_life(&self) -> ThreadLife {
        self.inner.thread_life()
    }

    fn idle(&mut self, wait: &mut dyn FnMut()) {
        self.inner.idle(wait);
    }

    fn within(&mut self, limit: Duration, work: &mut dyn FnMut()) -> bool {
        self.inner.within(limit, work)
    }

    fn watcher(&mut self) -> Option<Box<dyn Watcher>> {
        self.inner.watcher()
    }

    fn freeze(&mut self) {
        self.inner.freeze();
    }

    fn adopt(&mut self, application: Box<dyn Application>) -> Result<Box<dyn Application>, LoadError> {
        self.inner.adopt(application)
    }

    fn ready(&mut self) {
        self.inner.ready();
        let py = ffi::attached(self);
        self.hooks.ready(py);
    }

    fn reopened(&mut self) {
        self.inner.reopened();
    }

    fn drain(&mut self) {
        self.inner.drain();
    }

    fn exit(&mut self) {
        let py = ffi::attached(self);
        self.hooks.exit(py);
        self.inner.exit();
        finish(py);
    }

    fn host(&self) -> Option<&'static str> {
        Some("python")
    }

    fn has_threads(&self) -> bool {
        true
    }

    // The interpreter's own hooks run here, and not once more for what is inside.

    fn before_fork(&mut self) {
        let py = ffi::attached(self);
        self.forks.before(py);
    }

    fn after_fork_parent(&mut self) {
        ffi::after_fork_parent(ffi::attached(self));
    }

    fn after_fork_child(&mut self) {
        ffi::after_fork_child(ffi::attached(self));
    }

    fn hook(&mut self, hook: Hook) {
        let py = ffi::attached(self);
        self.hooks.happened(py, hook);
    }

    fn hooks_exec(&self) -> bool {
        // Called as the others are; it is not for want of a token that this one has no `&mut`.
        Python::attach(|py| self.hooks.has(py, "pre_exec"))
    }
}
