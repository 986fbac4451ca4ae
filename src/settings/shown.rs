//! Settings as plain values, for whoever is to be shown them.

use toml::de::{DeTable, DeValue};

use super::{Setting, Settings, Unsupported};

/// What a setting is, in a notation that any interpreter has values for.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// It is not set.
    None,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
    /// Text.
    Text(String),
    /// Several.
    List(Vec<Self>),
    /// Names and a value for each.
    Table(Vec<(String, Self)>),
}

impl Settings {
    /// All settings by their names.
    pub fn values(&self) -> Vec<(&'static str, Value)> {
        let value = |shown: Option<String>| match shown {
            Some(text) => parse(&text).unwrap_or(Value::Text(text)),
            None => Value::None,
        };
        Setting::all().map(|setting| (setting.name, value((setting.show)(self)))).collect()
    }
}

/// The names of all settings that a file may have, and of those of Gunicorn's that are refused there.
pub fn names() -> impl Iterator<Item = &'static str> {
    let known = Setting::all().flat_map(|setting| [Some(setting.name), setting.alias]).flatten();
    known.chain(Unsupported::ALL.iter().map(|unsupported| unsupported.name))
}

fn parse(text: &str) -> Option<Value> {
    let line = format!("value = {text}");
    let table = DeTable::parse(&line).ok()?;
    table.get_ref().iter().next().and_then(|(_, value)| plain(value.get_ref()))
}

fn plain(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Integer(number) => Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()?),
        DeValue::Float(number) => Value::Float(number.as_str().parse().ok()?),
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Array(values) => {
            Value::List(values.iter().map(|value| plain(value.get_ref())).collect::<Option<_>>()?)
        }
        DeValue::Table(entries) => {
            let entry = |(name, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
                let name: &std::borrow::Cow<'_, str> = name.get_ref();
                Some((name.to_string(), plain(value.get_ref())?))
            };
            Value::Table(entries.iter().map(entry).collect::<Option<_>>()?)
        }
        DeValue::Datetime(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_plain_value() {
        let settings = Settings { umask: Some(0o22), proc_name: Some("a \"b\"".to_owned()), ..Settings::default() };
        let values = settings.values();
        assert_eq!(values.len(), Setting::all().count());
        let value = |name: &str| values.iter().find(|(other, _)| *other == name).map(|(_, value)| value.clone());
        assert_eq!(value("umask"), Some(Value::Integer(0o22)));
        assert_eq!(value("proc_name"), Some(Value::Text("a \"b\"".to_owned())));
        assert_eq!(value("timeout"), Some(Value::Integer(30)));
        assert_eq!(value("daemon"), Some(Value::Bool(false)));
        assert_eq!(value("pidfile"), Some(Value::None));
        assert_eq!(value("bind"), Some(Value::List(vec![Value::Text("127.0.0.1:8000".to_owned())])));
        let schemes = value("secure_scheme_headers");
        let https = |entries: &[(String, Value)]| {
            entries.contains(&("x-forwarded-proto".to_owned(), Value::Text("https".to_owned())))
        };
        assert!(matches!(schemes, Some(Value::Table(entries)) if https(&entries)));
    }
}
