//! How the value of a setting is read and shown, whatever source it came from.

use std::borrow::Cow;
use std::fmt;

/// A value that cannot be had, and what would do in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    expected: Cow<'static, str>,
    part: Option<String>,
}

impl Invalid {
    /// `expected` completes the sentence "expected …".
    pub fn new(expected: impl Into<Cow<'static, str>>) -> Self {
        Self { expected: expected.into(), part: None }
    }

    /// Names the part of a longer value that is wrong.
    #[must_use]
    pub fn about(self, part: &str) -> Self {
        Self { part: Some(part.to_owned()), ..self }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.expected)?;
        self.part.as_ref().map_or(Ok(()), |part| write!(f, ", not {part:?}"))
    }
}

impl std::error::Error for Invalid {}

/// A value as a source gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raw {
    /// Text; a number in a file is the text that stands there.
    Text(String),
    /// `true`, `false`, or an option without a value.
    Bool(bool),
    /// An array, or an option that was given several times.
    List(Vec<String>),
    /// A table of texts.
    Table(Vec<(String, String)>),
    /// A whole number that was not read as text: permission bits are not in octal here.
    Number(i64),
    /// What no setting can be, as an interpreter shows it.
    Other(String),
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::List(texts) => write!(f, "{texts:?}"),
            Self::Table(entries) => {
                let entries: Vec<_> = entries.iter().map(|(key, value)| format!("{key:?} = {value:?}")).collect();
                write!(f, "{{ {} }}", entries.join(", "))
            }
            Self::Number(number) => write!(f, "{number}"),
            Self::Other(shown) => f.write_str(shown),
        }
    }
}

/// What is known of the machine when a value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    /// Processors that this process may use.
    pub(crate) cpus: usize,
}

/// How an option is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// A value; the last one counts.
    Value,
    /// A value each time; all count.
    Values,
    /// One of these values, or the first of them if it has none.
    OneOf(&'static [&'static str]),
    /// No value.
    Nothing,
}

/// How a kind of value looks on the command line.
pub(crate) trait Shape {
    /// What stands for the value in the help.
    const METAVAR: &'static str;
    /// How an option of this kind is written.
    const TAKES: Takes = Takes::Value;
}

/// A kind of value: how it is read into a `T` and shown.
pub(crate) trait Kind<T>: Shape {
    fn read(raw: &Raw, host: Host) -> Result<T, Invalid>;

    /// In TOML's notation; `None` if there is no value.
    fn show(value: &T) -> Option<String>;
}

/// Text in TOML's notation.
pub(crate) fn quoted(text: &str) -> String {
    if !text.contains('\'') && !text.contains(char::is_control) && (text.contains('"') || text.contains('\\')) {
        return format!("'{text}'");
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            _ if character.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn texts_are_shown_as_toml_reads_them() {
        let cases = [
            ("plain", r#""plain""#),
            (r#"%(h)s "%(r)s""#, r#"'%(h)s "%(r)s"'"#),
            (r"a\b", r"'a\b'"),
            ("it's \"so\"", r#""it's \"so\"""#),
            ("a\tb", "\"a\\u0009b\""),
        ];
        for (text, expected) in cases {
            assert_eq!(quoted(text), expected);
        }
    }
}
