//! The life of a process that serves a Python application.

use ferricorn::Hook;
use ferricorn::app::{Application, Factory, LoadError, ThreadLife};
use ferricorn::settings::Settings;
use pyo3::prelude::*;

use crate::application::Wsgi;
use crate::environ::Surroundings;
use crate::errors;
use crate::ffi::{self, CalledByWorker};
use crate::hooks::Hooks;
use crate::stuck::Watch;

/// Where the application comes from.
pub(crate) enum Loader {
    /// That name leads to it.
    Named(String),
    /// A `ferricorn.Application` loads it.
    Program(Py<PyAny>),
    /// It is none of Python's, but there are hooks.
    Native(Box<dyn Factory>),
}

/// Loads the application, and calls the hooks.
pub(crate) struct PythonFactory {
    loader: Loader,
    hooks: Option<Hooks>,
    pythonpath: Option<String>,
    variables: Vec<(String, String)>,
    surroundings: Surroundings,
    /// The application, once it is loaded. All threads call the same.
    callable: Option<Py<PyAny>>,
    watch: Option<Watch>,
    /// Threads that this process has and workers will not, as of the last warning.
    threads: Option<String>,
}

impl CalledByWorker for PythonFactory {}

impl PythonFactory {
    pub(crate) fn new(settings: &Settings, loader: Loader, hooks: Option<Hooks>) -> Self {
        Self {
            loader,
            hooks,
            pythonpath: settings.pythonpath.clone(),
            variables: settings.raw_env.clone(),
            surroundings: Surroundings {
                multiprocess: settings.workers > 1,
                multithread: settings.threads > 1,
                header_map: settings.header_map,
                forwarder_headers: settings.forwarder_headers.clone(),
            },
            callable: None,
            watch: None,
            threads: None,
        }
    }

    fn load_in(&mut self, py: Python<'_>) -> PyResult<Wsgi> {
        if let Some(callable) = &self.callable {
            return self.make(py, callable.clone_ref(py));
        }
        let module = py.import("ferricorn._application")?;
        module.call_method1("prepare", (&self.pythonpath, &self.variables, log::max_level().as_str()))?;
        let callable = match &self.loader {
            Loader::Program(program) => program.bind(py).call_method0("wsgi")?,
            Loader::Named(name) => module.call_method1("load", (name,))?,
            Loader::Native(_) => py.None().into_bound(py),
        };
        if let Some(all) = &self.hooks {
            all.loaded(py, &callable);
        }
        self.callable = Some(callable.clone().unbind());
        self.make(py, callable.unbind())
    }

    fn make(&self, py: Python<'_>, callable: Py<PyAny>) -> PyResult<Wsgi> {
        let hooks = match &self.hooks {
            Some(all) => all.for_requests(py)?,
            None => None,
        };
        Wsgi::new(py, callable, self.surroundings.clone(), hooks)
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

impl Factory for PythonFactory {
    fn load(&mut self) -> Result<Box<dyn Application>, LoadError> {
        let py = ffi::attached(self);
        if let Loader::Native(native) = &mut self.loader {
            return native.load();
        }
        if self.callable.is_none() {
            let hooked = self.hooks.as_ref().is_some_and(|hooks| hooks.watch_abort(py));
            self.watch = Watch::install(py, hooked)
                .inspect_err(|error| log::warn!("Stacks cannot be logged: {}", errors::summarize(py, error)))
                .ok();
        }
        match self.load_in(py) {
            Ok(application) => Ok(Box::new(application)),
            Err(error) => Err(self.failed(py, &error)),
        }
    }

    fn thread_life(&self) -> ThreadLife {
        match &self.loader {
            Loader::Native(native) => native.thread_life(),
            // The thread's state is made once, and every call of this thread happens in it.
            Loader::Named(_) | Loader::Program(_) => std::sync::Arc::new(|live| Python::attach(|_| live())),
        }
    }

    fn idle(&mut self, wait: &mut dyn FnMut()) {
        let py = ffi::attached(self);
        ffi::detached(py, wait);
        errors::run_handlers(py);
    }

    fn check(&mut self) -> Result<(), LoadError> {
        match &mut self.loader {
            Loader::Native(native) => native.check(),
            Loader::Named(_) | Loader::Program(_) => Ok(()),
        }
    }

    fn freeze(&mut self) {
        let py = ffi::attached(self);
        let frozen = py.import("ferricorn._application").and_then(|module| module.call_method0("freeze"));
        if let Err(error) = frozen {
            errors::log(py, "Exception after loading the application", &error);
        }
    }

    fn ready(&mut self) {
        let py = ffi::attached(self);
        if let Some(hooks) = &self.hooks {
            hooks.ready(py);
        }
    }

    fn reopened(&mut self) {
        let py = ffi::attached(self);
        if self.watch.is_none() {
            return;
        }
        match Watch::renew(py) {
            Ok(watch) => self.watch = Some(watch),
            Err(error) => log::warn!("Stacks go to the old log: {}", errors::summarize(py, &error)),
        }
    }

    fn exit(&mut self) {
        let py = ffi::attached(self);
        if let Some(hooks) = &self.hooks {
            hooks.exit(py);
        }
        let finished = py.import("ferricorn._application").and_then(|module| module.call_method0("finish"));
        if let Err(error) = finished {
            errors::log(py, "Exception while exiting", &error);
        }
    }

    fn host(&self) -> Option<&'static str> {
        Some("python")
    }

    fn has_threads(&self) -> bool {
        true
    }

    fn before_fork(&mut self) {
        let py = ffi::attached(self);
        let names = py.import("ferricorn._application").and_then(|module| module.call_method0("other_threads"));
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

    fn after_fork_parent(&mut self) {
        ffi::after_fork_parent(ffi::attached(self));
    }

    fn after_fork_child(&mut self) {
        ffi::after_fork_child(ffi::attached(self));
    }

    fn hook(&mut self, hook: Hook) {
        let py = ffi::attached(self);
        if let Some(hooks) = &self.hooks {
            hooks.happened(py, hook);
        }
    }

    fn hooks_exec(&self) -> bool {
        // Called as the others are; it is not for want of a token that this one has no `&mut`.
        Python::attach(|py| self.hooks.as_ref().is_some_and(|hooks| hooks.has(py, "pre_exec")))
    }
}
