//! `--reload`: the settings and moments that `ferricorn._reload` has to hear of.

use ferricorn::settings::Settings;
use pyo3::prelude::*;

use crate::errors;

/// A `Reloader` of Python's; `None` if it could not be made.
pub(crate) struct Reloader(Option<Py<PyAny>>);

impl Reloader {
    /// Made in the arbiter.
    pub(crate) fn new(settings: &Settings) -> Self {
        let made = Python::attach(|py| {
            let (engine, extra) = (settings.reload_engine.as_str(), settings.reload_extra_files.clone());
            let config = settings.config.as_deref();
            let reloader = py.import("ferricorn._reload").and_then(|module| module.getattr("Reloader"));
            let made = reloader.and_then(|reloader| reloader.call1((engine, extra, config)));
            made.map(Bound::unbind).inspect_err(|error| errors::log(py, "There is no reloader", error))
        });
        Self(made.ok())
    }

    /// The application is about to be loaded.
    pub(crate) fn begin(&self, py: Python<'_>) -> PyResult<()> {
        self.0.as_ref().map_or(Ok(()), |reloader| reloader.bind(py).call_method0("begin").map(drop))
    }

    /// It could not be. Returns what is to answer in its place, if that is needed.
    pub(crate) fn failed(&self, py: Python<'_>, error: &PyErr) -> PyResult<Option<Py<PyAny>>> {
        let Some(reloader) = &self.0 else { return Ok(None) };
        let error = error.clone_ref(py).into_value(py);
        let substitute = reloader.bind(py).call_method1("failed", (error,))?;
        Ok(Some(substitute).filter(|substitute| !substitute.is_none()).map(Bound::unbind))
    }

    /// Tells it what happens to the worker.
    pub(crate) fn tell(&self, py: Python<'_>, what: &str) {
        if let Some(reloader) = &self.0
            && let Err(error) = reloader.bind(py).call_method0(what)
        {
            errors::log(py, "Exception in the reloader", &error);
        }
    }
}
