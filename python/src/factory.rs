//! The life of a process that serves a Python application.

use ferricorn::app::{Application, Factory, LoadError, ThreadLife};
use ferricorn::settings::Settings;
use pyo3::prelude::*;

use crate::application::Wsgi;
use crate::environ::Surroundings;
use crate::errors;
use crate::ffi::{self, CalledByWorker};
use crate::stuck::Watch;

/// Loads the application that the settings name.
pub(crate) struct PythonFactory {
    name: String,
    pythonpath: Option<String>,
    variables: Vec<(String, String)>,
    surroundings: Surroundings,
    /// The application, once it is loaded. All threads call the same.
    callable: Option<Py<PyAny>>,
    watch: Option<Watch>,
    /// Of threads that the arbiter has and workers will not.
    warned: bool,
}

impl CalledByWorker for PythonFactory {}

impl PythonFactory {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            name: settings.application.clone().unwrap_or_default(),
            pythonpath: settings.pythonpath.clone(),
            variables: settings.raw_env.clone(),
            surroundings: Surroundings { multiprocess: settings.workers > 1, multithread: settings.threads > 1 },
            callable: None,
            watch: None,
            warned: false,
        }
    }

    fn load_in(&mut self, py: Python<'_>) -> PyResult<Wsgi> {
        if let Some(callable) = &self.callable {
            return Wsgi::new(py, callable.clone_ref(py), self.surroundings);
        }
        let module = py.import("ferricorn._application")?;
        module.call_method1("prepare", (&self.pythonpath, &self.variables))?;
        let callable = module.call_method1("load", (&self.name,))?.unbind();
        self.callable = Some(callable.clone_ref(py));
        Wsgi::new(py, callable, self.surroundings)
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
        if self.callable.is_none() {
            self.watch = Watch::install(py)
                .inspect_err(|error| log::warn!("Stacks cannot be logged: {}", errors::summarize(py, error)))
                .ok();
        }
        match self.load_in(py) {
            Ok(application) => Ok(Box::new(application)),
            Err(error) => Err(self.failed(py, &error)),
        }
    }

    fn thread_life(&self) -> ThreadLife {
        // The thread's state is made once, and every call of this thread happens in it.
        |live| Python::attach(|_| live())
    }

    fn idle(&mut self, wait: &mut dyn FnMut()) {
        let py = ffi::attached(self);
        ffi::detached(py, wait);
        errors::run_handlers(py);
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
        let finished = py.import("ferricorn._application").and_then(|module| module.call_method0("finish"));
        if let Err(error) = finished {
            errors::log(py, "Exception while exiting", &error);
        }
    }

    fn has_threads(&self) -> bool {
        true
    }

    fn before_fork(&mut self) {
        let py = ffi::attached(self);
        if !self.warned {
            self.warned = true;
            let names = py.import("ferricorn._application").and_then(|module| module.call_method0("other_threads"));
            if let Ok(Some(names)) = names.and_then(|names| names.extract::<Option<String>>()) {
                log::warn!("Workers will not have the threads that were started before the fork: {names}");
            }
        }
        ffi::before_fork(py);
    }

    fn after_fork_parent(&mut self) {
        ffi::after_fork_parent(ffi::attached(self));
    }

    fn after_fork_child(&mut self) {
        ffi::after_fork_child(ffi::attached(self));
    }
}
