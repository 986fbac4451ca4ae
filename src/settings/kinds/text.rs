//! Texts: names, paths, and what they are given.

use std::path::PathBuf;

use super::raw::{array, text, texts};
use crate::settings::value::{Host, Invalid, Kind, Raw, Shape, Takes, quoted};

/// Text that is not empty.
pub(crate) struct Text;

impl Shape for Text {
    const METAVAR: &'static str = "TEXT";
}

impl Kind<String> for Text {
    fn read(raw: &Raw, _: Host) -> Result<String, Invalid> {
        let expected = || Invalid::new("text");
        Some(text(raw, expected)?).filter(|text| !text.is_empty()).map(str::to_owned).ok_or_else(expected)
    }

    fn show(value: &String) -> Option<String> {
        Some(quoted(value))
    }
}

/// Text; empty for none.
pub(crate) struct OptionalText;

impl Shape for OptionalText {
    const METAVAR: &'static str = "TEXT";
}

impl Kind<Option<String>> for OptionalText {
    fn read(raw: &Raw, _: Host) -> Result<Option<String>, Invalid> {
        let text = text(raw, || Invalid::new("text"))?;
        Ok(Some(text).filter(|text| !text.is_empty()).map(str::to_owned))
    }

    fn show(value: &Option<String>) -> Option<String> {
        value.as_deref().map(quoted)
    }
}

/// What a request asks for: a path, or a URL if the host matters. Empty for none.
pub(crate) struct Target;

impl Shape for Target {
    const METAVAR: &'static str = "PATH";
}

impl Kind<Option<String>> for Target {
    fn read(raw: &Raw, host: Host) -> Result<Option<String>, Invalid> {
        let Some(target) = OptionalText::read(raw, host)? else { return Ok(None) };
        let has_path = match target.strip_prefix("http://") {
            // The host must not be empty.
            Some(rest) => rest.find('/').is_some_and(|end| end > 0),
            None => target.starts_with('/'),
        };
        if !has_path || !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            let expected = "a path that begins with / and has no blanks, as `/health`, or http://HOST/PATH";
            return Err(Invalid::new(expected));
        }
        Ok(Some(target))
    }

    fn show(value: &Option<String>) -> Option<String> {
        OptionalText::show(value)
    }
}

/// A log: a path, or `-`.
pub(crate) struct Log;

impl Shape for Log {
    const METAVAR: &'static str = "FILE";
}

impl Kind<String> for Log {
    fn read(raw: &Raw, host: Host) -> Result<String, Invalid> {
        Text::read(raw, host).map_err(|_| Invalid::new("the path of a file, or -"))
    }

    fn show(value: &String) -> Option<String> {
        Some(quoted(value))
    }
}

impl Kind<Option<String>> for Log {
    fn read(raw: &Raw, host: Host) -> Result<Option<String>, Invalid> {
        OptionalText::read(raw, host).map_err(|_| Invalid::new("the path of a file, or -"))
    }

    fn show(value: &Option<String>) -> Option<String> {
        OptionalText::show(value)
    }
}

/// A path; empty for none.
pub(crate) struct OptionalPath;

impl Shape for OptionalPath {
    const METAVAR: &'static str = "PATH";
}

impl Kind<Option<PathBuf>> for OptionalPath {
    fn read(raw: &Raw, _: Host) -> Result<Option<PathBuf>, Invalid> {
        let text = text(raw, || Invalid::new("a path"))?;
        Ok(Some(text).filter(|text| !text.is_empty()).map(PathBuf::from))
    }

    fn show(value: &Option<PathBuf>) -> Option<String> {
        value.as_ref().map(|path| quoted(&path.to_string_lossy()))
    }
}

/// Names, one or several.
pub(crate) struct Names;

impl Shape for Names {
    const METAVAR: &'static str = "NAME";
    const TAKES: Takes = Takes::Values;
}

impl Kind<Vec<String>> for Names {
    fn read(raw: &Raw, _: Host) -> Result<Vec<String>, Invalid> {
        let texts = texts(raw, || Invalid::new("a name, or a list of names"))?;
        if let Some(path) = texts.iter().find(|text| text.is_empty() || text.contains('/')) {
            return Err(Invalid::new("names without a slash").about(path));
        }
        Ok(texts.into_iter().map(str::to_owned).collect())
    }

    fn show(value: &Vec<String>) -> Option<String> {
        Some(array(value.iter().cloned()))
    }
}

/// Environment variables, `NAME=VALUE` each.
pub(crate) struct Variables;

impl Shape for Variables {
    const METAVAR: &'static str = "NAME=VALUE";
    const TAKES: Takes = Takes::Values;
}

impl Kind<Vec<(String, String)>> for Variables {
    fn read(raw: &Raw, _: Host) -> Result<Vec<(String, String)>, Invalid> {
        let expected = || Invalid::new("NAME=VALUE, or a list of these");
        // One text is one variable: its value may well hold a comma.
        let texts = match raw {
            Raw::Text(text) => std::slice::from_ref(text),
            Raw::List(texts) => texts,
            _ => return Err(expected()),
        };
        let split = |text: &String| {
            let (name, value) = text.split_once('=')?;
            (!name.is_empty() && !text.contains('\0')).then(|| (name.to_owned(), value.to_owned()))
        };
        texts.iter().map(|text| split(text).ok_or_else(|| expected().about(text))).collect()
    }

    fn show(value: &Vec<(String, String)>) -> Option<String> {
        Some(array(value.iter().map(|(name, value)| format!("{name}={value}"))))
    }
}

/// Paths and the applications that answer below them.
pub(crate) struct Mounts;

impl Shape for Mounts {
    const METAVAR: &'static str = "/PREFIX=APP";
    const TAKES: Takes = Takes::Values;
}

impl Kind<Vec<(String, String)>> for Mounts {
    fn read(raw: &Raw, host: Host) -> Result<Vec<(String, String)>, Invalid> {
        let expected = || Invalid::new("/PREFIX=APPLICATION, or a list of these");
        let entries = match raw {
            Raw::Table(entries) => entries.clone(),
            _ => <Variables as Kind<Vec<(String, String)>>>::read(raw, host).map_err(|_| expected())?,
        };
        let read = |(prefix, application): (String, String)| {
            let prefix = prefix.trim().trim_end_matches('/');
            let segments = prefix.strip_prefix('/').ok_or_else(|| expected().about(prefix))?;
            if segments.split('/').any(|segment| matches!(segment, "" | "." | "..")) || application.trim().is_empty() {
                return Err(expected().about(prefix));
            }
            Ok((prefix.to_owned(), application.trim().to_owned()))
        };
        let mounts = entries.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let twice = |at: usize, prefix: &str| mounts.iter().take(at).any(|(other, _)| other == prefix);
        match mounts.iter().enumerate().find(|(at, (prefix, _))| twice(*at, prefix)) {
            Some((_, (prefix, _))) => Err(Invalid::new("each prefix once").about(prefix)),
            None => Ok(mounts),
        }
    }

    fn show(value: &Vec<(String, String)>) -> Option<String> {
        Some(array(value.iter().map(|(prefix, application)| format!("{prefix}={application}"))))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::settings::kinds::raw::shown;

    #[test]
    fn a_text_with_commas_is_a_list_where_lists_are_taken() {
        assert_eq!(shown(Names, "index.html,index.htm").as_deref(), Some(r#"["index.html", "index.htm"]"#));
        assert_eq!(shown(Names, "a/b"), None);
        assert_eq!(shown(Variables, "A=1,2").as_deref(), Some(r#"["A=1,2"]"#));
        assert_eq!(shown(Variables, "=1"), None);
    }
}
