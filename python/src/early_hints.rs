//! `wsgi.early_hints` of an environ.
//!
//! Applications may keep an environ for longer than their request. So that this need not cost the next one all of its
//! callbacks, the one that lies in the environ is an object of its own, and made anew alone.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::ffi;
use crate::responder::Responder;

/// It is called with fields, and sends them as 103 Early Hints ahead of the response: nothing once it is retired.
#[pyclass(frozen, name = "EarlyHints", module = "ferricorn")]
pub(crate) struct EarlyHints {
    responder: Py<Responder>,
    /// The interpreter's lock orders what is done with it.
    retired: AtomicBool,
}

impl EarlyHints {
    pub(crate) fn new(py: Python<'_>, responder: Py<Responder>) -> PyResult<Py<Self>> {
        Py::new(py, Self { responder, retired: AtomicBool::new(false) })
    }

    /// The responder serves another request from now on.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }
}

#[pymethods]
impl EarlyHints {
    fn __call__(&self, py: Python<'_>, headers: &Bound<'_, PyAny>) -> PyResult<()> {
        let mut fields: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        ffi::each_field(headers, 0, |_, name, value| {
            fields.push((name.to_vec(), value.to_vec()));
            Ok(())
        })?;
        // Only now, as iterating over something else than a list could run anything.
        if self.retired.load(Ordering::Relaxed) {
            return Ok(());
        }
        let fields = fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        let sent = self.responder.get().early_hints(py, fields);
        sent.map_err(|error| PyValueError::new_err(error.to_string()))
    }
}
