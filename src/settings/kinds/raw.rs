//! What kinds of values have in common: texts, as they come from any source.

use crate::settings::value::{Invalid, Raw, quoted};

pub(in crate::settings) fn array(texts: impl IntoIterator<Item = String>) -> String {
    let texts: Vec<_> = texts.into_iter().map(|text| quoted(&text)).collect();
    format!("[{}]", texts.join(", "))
}

pub(super) fn text(raw: &Raw, expected: impl Fn() -> Invalid) -> Result<&str, Invalid> {
    match raw {
        Raw::Text(text) if !text.contains('\0') => Ok(text.trim()),
        _ => Err(expected()),
    }
}

/// Several texts, or one with commas in it.
pub(in crate::settings) fn texts(raw: &Raw, expected: impl Fn() -> Invalid) -> Result<Vec<&str>, Invalid> {
    match raw {
        Raw::List(texts) if texts.iter().all(|text| !text.contains('\0')) => {
            Ok(texts.iter().map(|text| text.trim()).collect())
        }
        Raw::Text(text) if !text.contains('\0') => {
            Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect())
        }
        _ => Err(expected()),
    }
}

/// The machine that tests read for.
#[cfg(test)]
pub(super) const HOST: crate::settings::Host = crate::settings::Host { cpus: 6 };

/// What a text is shown as, read as of that kind; `None` if it cannot be.
#[cfg(test)]
pub(super) fn shown<T, K: crate::settings::value::Kind<T>>(_: K, text: &str) -> Option<String> {
    K::read(&Raw::Text(text.to_owned()), HOST).ok().map(|value| K::show(&value).unwrap_or_default())
}
