//! `start_response` as a function of C's: applications call it once a request, with two arguments as a rule, and PyO3's way
//! to find out which is which costs as much as all that it does.
#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;

use crate::responder::Responder;

struct Definition(ffi::PyMethodDef);

// SAFETY: it points at constants and a function, and is never changed.
unsafe impl Sync for Definition {}

static DEFINITION: Definition = Definition(ffi::PyMethodDef {
    ml_name: c"start_response".as_ptr(),
    ml_meth: ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: called },
    ml_flags: ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
    ml_doc: c"start_response(status, headers, exc_info=None)".as_ptr(),
});

/// The `start_response` of a responder.
pub(crate) fn start_response<'py>(responder: &Bound<'py, Responder>) -> PyResult<Bound<'py, PyAny>> {
    let definition = ptr::from_ref(&DEFINITION.0).cast_mut();
    // SAFETY: attached, as whoever has a bound object is. The definition is static and only read; the function keeps a
    // reference to the responder. The result is a new reference, or NULL with an exception set.
    unsafe {
        let function = ffi::PyCFunction_NewEx(definition, responder.as_ptr(), ptr::null_mut());
        Bound::from_owned_ptr_or_err(responder.py(), function)
    }
}

unsafe extern "C" fn called(
    this: *mut ffi::PyObject,
    arguments: *const *mut ffi::PyObject,
    count: ffi::Py_ssize_t,
    names: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let answer = |py: Python<'_>| {
        // SAFETY: Python calls this attached, with the object that the function was made for, which is a responder; with
        // so many positional arguments, all alive until it returns, and as many behind them as there are names.
        unsafe {
            let this = Bound::ref_from_ptr(py, &this).cast_unchecked::<Responder>();
            if count == 2 && names.is_null() {
                let (status, headers) = (&*arguments, &*arguments.add(1));
                return this.get().start_response(
                    py,
                    Bound::ref_from_ptr(py, status),
                    Bound::ref_from_ptr(py, headers),
                    None,
                );
            }
            let method = this.getattr(intern!(py, "start_response"))?;
            let result = ffi::PyObject_Vectorcall(method.as_ptr(), arguments, count as usize, names);
            Bound::from_owned_ptr_or_err(py, result).map(Bound::unbind)
        }
    };
    // It may be called on any thread of the application's; and what unwinds must not reach Python.
    Python::attach(|py| match catch_unwind(AssertUnwindSafe(|| answer(py))) {
        Ok(Ok(write)) => write.into_ptr(),
        Ok(Err(error)) => {
            error.restore(py);
            ptr::null_mut()
        }
        Err(_) => {
            PyRuntimeError::new_err("start_response has panicked").restore(py);
            ptr::null_mut()
        }
    })
}
