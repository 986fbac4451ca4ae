//! The values of settings, from Python and to it.

use ferricorn::Assignment;
use ferricorn::settings::{Raw, Settings, Value};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString};

/// Characters of a value that an error shows.
const SHOWN: usize = 200;

/// Names, values and lines, as `_config` or a program gives them.
pub(crate) fn assignments(given: &Bound<'_, PyAny>) -> PyResult<Vec<Assignment>> {
    let mut assignments = Vec::new();
    for item in given.try_iter()? {
        let (name, value, line): (String, Bound<'_, PyAny>, Option<usize>) = item?.extract()?;
        // In Gunicorn, too, `None` is as good as not to set it.
        if !value.is_none() {
            assignments.push(Assignment { name, value: raw(&value), line });
        }
    }
    Ok(assignments)
}

/// A value as the crate takes it.
fn raw(value: &Bound<'_, PyAny>) -> Raw {
    let read = || {
        if let Ok(value) = value.cast::<PyBool>() {
            return Some(Raw::Bool(value.is_true()));
        }
        if value.is_instance_of::<PyInt>() {
            return value.extract().ok().map(Raw::Number);
        }
        if let Some(text) = text(value) {
            return Some(Raw::Text(text));
        }
        if let Ok(entries) = value.cast::<PyDict>() {
            let entries = entries.iter().map(|(name, value)| Some((name.extract().ok()?, text(&value)?)));
            return entries.collect::<Option<_>>().map(Raw::Table);
        }
        let sequence = ["list", "tuple", "set", "frozenset"];
        let name = value.get_type().name().ok()?;
        if !sequence.iter().any(|known| name.to_str().is_ok_and(|name| name == *known)) {
            return None;
        }
        value.try_iter().ok()?.map(|item| text(&item.ok()?)).collect::<Option<_>>().map(Raw::List)
    };
    read().unwrap_or_else(|| {
        let shown = value.repr().map_or_else(|_| value.get_type().to_string(), |shown| shown.to_string());
        let cut = shown.char_indices().nth(SHOWN).map(|(end, _)| end);
        Raw::Other(match cut.and_then(|end| shown.get(..end)) {
            Some(beginning) => format!("{beginning}..."),
            None => shown,
        })
    })
}

/// Text, the path of an object that has one, or a number as it is written.
fn text(value: &Bound<'_, PyAny>) -> Option<String> {
    if value.is_instance_of::<PyBool>() {
        return None;
    }
    if value.is_instance_of::<PyString>() {
        return value.extract().ok();
    }
    if value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>() {
        return value.str().ok()?.extract().ok();
    }
    value.call_method0("__fspath__").ok()?.extract().ok()
}

/// All settings, as Python has them.
pub(crate) fn of<'py>(py: Python<'py>, settings: &Settings) -> PyResult<Bound<'py, PyDict>> {
    let values = PyDict::new(py);
    for (name, value) in settings.values() {
        values.set_item(name, object(py, &value)?)?;
    }
    Ok(values)
}

fn object<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::None => py.None().into_bound(py),
        Value::Bool(value) => value.into_pyobject(py)?.to_owned().into_any(),
        Value::Integer(number) => number.into_pyobject(py)?.into_any(),
        Value::Float(number) => number.into_pyobject(py)?.into_any(),
        Value::Text(text) => PyString::new(py, text).into_any(),
        Value::List(values) => {
            let values: Vec<_> = values.iter().map(|value| object(py, value)).collect::<PyResult<_>>()?;
            PyList::new(py, values)?.into_any()
        }
        Value::Table(entries) => {
            let table = PyDict::new(py);
            for (name, value) in entries {
                table.set_item(name.to_uppercase(), object(py, value)?)?;
            }
            table.into_any()
        }
    })
}
