//! `ferricorn.toml`, and the files that a host reads.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::nearest::nearest;
use super::{Given, Origin, Program};
use crate::error::Error;
use crate::host::{Assignment, Host, HostFile};
use crate::settings::{Raw, Setting, Unsupported, hook_named};

/// The name of the file that is read if there is one and no other was named.
const NAME: &str = "ferricorn.toml";

/// What a settings file says.
pub(super) struct Read {
    /// As it was named.
    pub(super) path: PathBuf,
    pub(super) given: Vec<Given>,
}

/// A settings file in TOML.
struct File {
    /// As errors name it.
    name: String,
    text: String,
}

/// Reads the file of that name; it must exist.
pub(super) fn named(
    name: &str,
    directory: &Path,
    program: Program,
    host: Option<&mut dyn Host>,
) -> Result<Read, Error> {
    if let Some(read) = host.and_then(|host| host.named_file(name, directory)) {
        return hosts(read?, program);
    }
    let wrong = |problem: String| Error::configuration(format!("config = {name:?} (--config): {problem}"));
    let path = name.strip_prefix("file:").unwrap_or(name);
    if name.starts_with("python:") || Path::new(path).extension().is_some_and(|extension| extension == "py") {
        return Err(wrong(
            "settings in Python are read by the Python package: pip install ferricorn; without it they stand in a TOML file"
                .to_owned(),
        ));
    }
    let text = fs::read_to_string(directory.join(path)).map_err(|error| wrong(error.to_string()))?;
    File { name: path.to_owned(), text }.read(program)
}

/// Reads [`NAME`] or a host's file, if there is one.
pub(super) fn present(directory: &Path, program: Program, host: Option<&mut dyn Host>) -> Result<Option<Read>, Error> {
    let path: PathBuf = directory.join(NAME);
    match fs::read_to_string(&path) {
        Ok(text) => File { name: NAME.to_owned(), text }.read(program).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match host.and_then(|host| host.present_file(directory)) {
                Some(read) => hosts(read?, program).map(Some),
                None => Ok(None),
            }
        }
        Err(error) => Err(Error::configuration(format!("{}: {error}", path.display()))),
    }
}

fn hosts(HostFile { path, assignments }: HostFile, program: Program) -> Result<Read, Error> {
    let given = assigned(assignments, Some(&path), program)?;
    Ok(Read { path, given })
}

/// What a host has read: from a file, or else out of its own program.
pub(super) fn assigned(
    assignments: Vec<Assignment>,
    file: Option<&Path>,
    program: Program,
) -> Result<Vec<Given>, Error> {
    let file = file.map(|file| file.display().to_string());
    let mut given = Vec::with_capacity(assignments.len());
    for Assignment { name, value, line } in assignments {
        let origin = match (&file, line) {
            (Some(file), Some(line)) => Origin::Line { file: file.clone(), line },
            (Some(file), None) => Origin::File(file.clone()),
            (None, _) => Origin::Program,
        };
        given.extend(entry(&name, Some(value), &origin, program)?);
    }
    Ok(given)
}

impl File {
    /// The settings that stand in it.
    fn read(self, program: Program) -> Result<Read, Error> {
        let table = DeTable::parse(&self.text).map_err(|error| {
            let line = self.line(error.span().unwrap_or_default());
            Error::configuration(format!("{}:{line}: {}", self.name, error.message().trim_end()))
        })?;
        let mut entries: Vec<_> = table.get_ref().iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        let mut given = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            let origin = Origin::Line { file: self.name.clone(), line: self.line(name.span()) };
            given.extend(entry(name.get_ref(), raw(value.get_ref()), &origin, program)?);
        }
        Ok(Read { path: PathBuf::from(&self.name), given })
    }

    fn line(&self, span: Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

fn entry(name: &str, raw: Option<Raw>, origin: &Origin, program: Program) -> Result<Option<Given>, Error> {
    let wrong = |problem: String| Err(origin.error(format!("{origin}: {problem}")));
    if let Some(unsupported) = Unsupported::named(name) {
        return match raw {
            Some(raw) if unsupported.allows(&raw) => Ok(None),
            Some(raw) => wrong(format!("{name} = {raw} is not supported: {}", unsupported.because)),
            None => wrong(format!("{name} is not supported: {}", unsupported.because)),
        };
    }
    if hook_named(name).is_some() {
        return wrong(match program {
            Program::Hosted => format!("{name} is a function: it stands in a gunicorn.conf.py"),
            _ => format!("{name} is a function of Python's, which the Python package calls: pip install ferricorn"),
        });
    }
    let Some(setting) = Setting::named(name) else {
        let hint = match nearest(name) {
            Some(nearest) => format!("did you mean {}?", nearest.name),
            None => "see docs/reference/settings.md".to_owned(),
        };
        return wrong(format!("there is no setting {name}; {hint}"));
    };
    match setting.name {
        "config" => return wrong("a settings file cannot name another".to_owned()),
        "application" if program == Program::OwnApplication => {
            return wrong("this program brings its own application".to_owned());
        }
        _ => {}
    }
    let Some(raw) = raw else {
        return wrong(format!("{name}: expected text, a number, true, false, or a list or a table of texts"));
    };
    let raw = match raw {
        // Text holds a number as it was written; here it has been read, and only permission bits care for their base.
        Raw::Number(number) if setting.takes_numbers() => Raw::Text(number.to_string()),
        raw => raw,
    };
    Ok(Some(Given { setting, raw, origin: origin.clone() }))
}

fn raw(value: &DeValue<'_>) -> Option<Raw> {
    Some(match value {
        DeValue::Boolean(value) => Raw::Bool(*value),
        DeValue::Array(values) => Raw::List(values.iter().map(|value| text(value.get_ref())).collect::<Option<_>>()?),
        DeValue::Table(entries) => Raw::Table(
            entries
                .iter()
                .map(|(name, value)| Some((name.get_ref().to_string(), text(value.get_ref())?)))
                .collect::<Option<_>>()?,
        ),
        _ => Raw::Text(text(value)?),
    })
}

fn text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        _ => None,
    }
}
