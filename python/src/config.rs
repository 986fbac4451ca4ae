//! Settings that come from Python: `gunicorn.conf.py`, and programs that subclass `ferricorn.Application`.
//!
//! The files are executed, and hooks checked, in `ferricorn/_config.py`; what their values may be is the crate's to say.

use std::path::{Path, PathBuf};

use ferricorn::app::Factory;
use ferricorn::settings::Settings;
use ferricorn::{Assignment, Error, Host, HostFile};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors;
use crate::factory::{HookedFactory, Loader, PythonFactory};
use crate::ffi::{self, CalledByWorker};
use crate::hooks::Hooks;
use crate::values::assignments;

/// The command's interpreter, as the crate sees it.
pub(crate) struct PythonHost {
    /// A `ferricorn.Application`, if that runs the server.
    application: Option<Py<PyAny>>,
    /// The functions of the settings that were read last.
    functions: Option<Py<PyDict>>,
    /// The same, once they are known to be wanted.
    hooks: Option<Hooks>,
    /// What is to be said about them once there is a log.
    warnings: Vec<String>,
    /// Whether the log is there to say it.
    started: bool,
}

impl CalledByWorker for PythonHost {}

impl PythonHost {
    pub(crate) fn new(application: Option<Py<PyAny>>) -> Self {
        Self { application, functions: None, hooks: None, warnings: Vec::new(), started: false }
    }

    /// What `_config` has read: `None` if it is not for Python.
    fn file(&mut self, py: Python<'_>, read: PyResult<Bound<'_, PyAny>>) -> Option<Result<HostFile, Error>> {
        let file = read.and_then(|file| {
            if file.is_none() {
                return Ok(None);
            }
            self.functions = Some(file.getattr("hooks")?.cast_into::<PyDict>()?.unbind());
            self.warnings = file.getattr("warnings")?.extract()?;
            let path: PathBuf = file.getattr("path")?.extract()?;
            Ok(Some(HostFile { path, assignments: assignments(&file.getattr("assignments")?)? }))
        });
        match file {
            Ok(file) => file.map(Ok),
            Err(error) => Some(Err(self.wrong(py, &error))),
        }
    }

    /// The hooks, if there are any.
    fn hooks(&mut self, py: Python<'_>, settings: &Settings) -> Result<Option<Hooks>, Error> {
        if let Some(functions) = self.functions.take().filter(|functions| !functions.bind(py).is_empty()) {
            let hooks = Hooks::new(py, settings, functions.bind(py)).map_err(|error| self.wrong(py, &error))?;
            self.hooks = Some(hooks);
        }
        Ok(self.hooks.as_ref().map(|hooks| hooks.clone_ref(py)))
    }

    /// The error for the operator; where it comes from is shown beside it.
    fn wrong(&self, py: Python<'_>, error: &PyErr) -> Error {
        let expected = py.import("ferricorn._config").and_then(|module| module.getattr("ConfigError"));
        let expected = expected.is_ok_and(|class| error.is_instance(py, &class));
        if !expected || error.cause(py).is_some() {
            let described = py.import("ferricorn._config").and_then(|module| {
                module.call_method1("describe", (error.clone_ref(py).into_value(py),))?.extract::<String>()
            });
            let text = described.unwrap_or_else(|_| errors::describe(py, error));
            if self.started {
                log::error!(target: ferricorn::TRACEBACK, "Exception in the settings\n{text}");
            } else {
                // Nobody is left to tell if standard error is closed.
                let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{text}\n"));
            }
        }
        if expected {
            Error::configuration(error.value(py).to_string())
        } else {
            Error::configuration(errors::summarize(py, error))
        }
    }
}

impl Host for PythonHost {
    fn own_settings(&mut self) -> Option<Result<Vec<Assignment>, Error>> {
        let py = ffi::attached(self);
        (self.functions, self.hooks) = (None, None);
        self.warnings.clear();
        // Variables that settings have set count no longer.
        if let Ok(true) = Hooks::were_made(py)
            && let Err(error) = Hooks::restore_variables(py)
        {
            errors::log(py, "Variables cannot be taken back", &error);
        }
        let application = self.application.as_ref()?.clone_ref(py);
        let read = || {
            let given = application.bind(py).call_method0("_settings")?;
            let (settings, hooks): (Bound<'_, PyAny>, Bound<'_, PyDict>) = given.extract()?;
            Ok((assignments(&settings)?, hooks.unbind()))
        };
        Some(match read() {
            Ok((assignments, hooks)) => {
                self.functions = Some(hooks);
                Ok(assignments)
            }
            Err(error) => Err(self.wrong(py, &error)),
        })
    }

    fn named_file(&mut self, name: &str, _directory: &Path) -> Option<Result<HostFile, Error>> {
        let py = ffi::attached(self);
        let read = py.import("ferricorn._config").and_then(|module| module.call_method1("named", (name,)));
        self.file(py, read)
    }

    fn present_file(&mut self, _directory: &Path) -> Option<Result<HostFile, Error>> {
        let py = ffi::attached(self);
        // Most servers have none, and need none of it.
        if !["ferricorn.conf.py", "gunicorn.conf.py"].iter().any(|name| Path::new(name).is_file()) {
            return None;
        }
        let read = py.import("ferricorn._config").and_then(|module| module.call_method0("present"));
        self.file(py, read)
    }

    fn factory(&mut self, settings: &Settings) -> Result<Box<dyn Factory>, Error> {
        let py = ffi::attached(self);
        let hooks = self.hooks(py, settings)?;
        let loader = match &self.application {
            Some(application) if !names_application(application.bind(py)) => Loader::Program(application.clone_ref(py)),
            _ => Loader::Named(settings.application.clone().unwrap_or_default()),
        };
        Ok(Box::new(PythonFactory::new(settings, loader, hooks)))
    }

    fn hooked(&mut self, settings: &Settings, factory: Box<dyn Factory>) -> Result<Box<dyn Factory>, Error> {
        let py = ffi::attached(self);
        let hooks = self.hooks(py, settings)?;
        let checks = settings.check_config || settings.print_config;
        for warning in self.warnings.drain(..) {
            if checks {
                // Nobody is left to tell if standard error is closed.
                let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("Warning: {warning}\n"));
            } else {
                log::warn!("{warning}");
            }
        }
        self.started = !checks;
        Ok(match hooks {
            Some(hooks) => Box::new(HookedFactory::new(settings, factory, hooks)),
            None => factory,
        })
    }
}

/// Whether a program's settings name the application, as those of the command do.
fn names_application(program: &Bound<'_, PyAny>) -> bool {
    program.getattr("_named").is_ok_and(|named| named.is_truthy().unwrap_or(false))
}
