//! Addresses, networks, and header fields of peers.

use super::raw::{array, texts};
use crate::settings::value::{Host, Invalid, Kind, Raw, Shape, Takes, quoted};
use crate::settings::{Bind, TrustedPeers};

/// Addresses to listen on.
pub(crate) struct Addresses;

impl Shape for Addresses {
    const METAVAR: &'static str = "ADDRESS";
    const TAKES: Takes = Takes::Values;
}

impl Kind<Vec<Bind>> for Addresses {
    fn read(raw: &Raw, _: Host) -> Result<Vec<Bind>, Invalid> {
        let expected = || Invalid::new("HOST, HOST:PORT, :PORT, unix:PATH or fd://N, or a list of these");
        let texts = texts(raw, expected)?;
        if texts.is_empty() {
            return Err(expected());
        }
        let mut addresses: Vec<Bind> = Vec::with_capacity(texts.len());
        for text in texts {
            let address: Bind = text.parse().map_err(|error: Invalid| error.about(text))?;
            if addresses.iter().any(|other| other.address == address.address) {
                return Err(Invalid::new("each address only once").about(text));
            }
            addresses.push(address);
        }
        Ok(addresses)
    }

    fn show(value: &Vec<Bind>) -> Option<String> {
        Some(array(value.iter().map(ToString::to_string)))
    }
}

/// Networks with commas between them.
pub(crate) struct Peers;

impl Shape for Peers {
    const METAVAR: &'static str = "NETWORKS";
}

impl Kind<TrustedPeers> for Peers {
    fn read(raw: &Raw, _: Host) -> Result<TrustedPeers, Invalid> {
        texts(raw, || Invalid::new("addresses and networks with commas between them, or *"))?.join(",").parse()
    }

    fn show(value: &TrustedPeers) -> Option<String> {
        Some(quoted(&value.to_string()))
    }
}

/// Names of header fields and a value for each.
pub(crate) struct FieldValues;

impl Shape for FieldValues {
    const METAVAR: &'static str = "TABLE";
}

impl Kind<Vec<(String, String)>> for FieldValues {
    fn read(raw: &Raw, _: Host) -> Result<Vec<(String, String)>, Invalid> {
        let expected =
            || Invalid::new("a table of header fields and values, such as { X-FORWARDED-PROTO = \"https\" }");
        let Raw::Table(entries) = raw else { return Err(expected()) };
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let read = |(name, value): &(String, String)| {
            let right = !name.is_empty() && name.bytes().all(token) && !value.contains(char::is_control);
            right.then(|| (name.to_ascii_lowercase(), value.clone())).ok_or_else(|| expected().about(name))
        };
        let mut fields = entries.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        // A table has no order.
        fields.sort();
        Ok(fields)
    }

    fn show(value: &Vec<(String, String)>) -> Option<String> {
        let entries: Vec<_> =
            value.iter().map(|(name, value)| format!("{} = {}", quoted(name), quoted(value))).collect();
        Some(format!("{{ {} }}", entries.join(", ")))
    }
}

/// Names of header fields with commas between them, in capitals.
pub(crate) struct FieldNames;

impl Shape for FieldNames {
    const METAVAR: &'static str = "NAMES";
}

impl Kind<Vec<String>> for FieldNames {
    fn read(raw: &Raw, _: Host) -> Result<Vec<String>, Invalid> {
        let expected = || Invalid::new("names of header fields with commas between them, or *");
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let name = |text: &str| match text.bytes().all(token) {
            true => Ok(text.to_ascii_uppercase()),
            false => Err(expected().about(text)),
        };
        texts(raw, expected)?.into_iter().map(name).collect()
    }

    fn show(value: &Vec<String>) -> Option<String> {
        Some(quoted(&value.join(",")))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::settings::kinds::raw::shown;

    #[test]
    fn addresses_are_named_once_and_one_at_least() {
        assert_eq!(shown(Addresses, ":80, unix:/s").as_deref(), Some(r#"[":80", "unix:/s"]"#));
        assert_eq!(shown(Addresses, ""), None);
        assert_eq!(shown(Addresses, ":80,:80"), None);
    }
}
