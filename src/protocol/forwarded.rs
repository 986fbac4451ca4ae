//! What a trusted peer says about the client it speaks for.
//!
//! Only to be asked about heads that came from a peer the operator trusts.

use std::net::{IpAddr, SocketAddr};

use super::grammar;
use super::head::{FieldId, Head};
use super::http1::Error;

/// The fields by which a trusted peer says that the client's connection is `https`.
#[derive(Clone, Debug, Default)]
pub struct SecureSchemes {
    /// The name in lower case, and the value that means `https`. A field with another value means `http`.
    fields: Vec<(String, String)>,
    /// The kinds that they are of: most fields need not be compared with their names.
    kinds: u64,
}

impl SecureSchemes {
    /// These names in lower case, and the values that mean `https`.
    pub fn new(fields: &[(String, String)]) -> Self {
        let kinds = fields.iter().fold(0, |kinds, (name, _)| kinds | FieldId::of(name.as_bytes()).bit());
        Self { fields: fields.to_vec(), kinds }
    }

    /// Whether the client's connection is `https`. If none of the fields is there, it is not.
    ///
    /// # Errors
    /// [`Error::Scheme`], if two of the fields disagree.
    pub fn is_secure(&self, head: &Head) -> Result<bool, Error> {
        if !head.may_have(self.kinds) {
            return Ok(false);
        }
        let mut secure = None;
        for field in head.fields.iter().filter(|field| self.kinds & field.id.bit() != 0) {
            let name = head.bytes_of(field.name);
            let scheme = self.fields.iter().find(|(other, _)| name.eq_ignore_ascii_case(other.as_bytes()));
            let Some((_, value)) = scheme else { continue };
            let says = head.bytes_of(field.value) == value.as_bytes();
            if secure.is_some_and(|secure| secure != says) {
                return Err(Error::Scheme);
            }
            secure = Some(says);
        }
        Ok(secure.unwrap_or(false))
    }
}

/// The address of the client, from `X-Forwarded-For`: the right-most one that is not a trusted peer's, as everything to the
/// left of it is only what an untrusted one claimed. If all are trusted, or something else than an address stands in the
/// way, it is the last one that could be reached.
pub fn client(head: &Head, trusted: &dyn Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let mut nearest = None;
    for field in head.fields.iter().rev().filter(|field| field.id == FieldId::XForwardedFor) {
        for element in head.bytes_of(field.value).rsplit(|&byte| byte == b',').map(grammar::trim_blanks) {
            match address(element) {
                Some(address) => nearest = Some(address),
                None => return nearest,
            }
            if nearest.is_some_and(|address| !trusted(address)) {
                return nearest;
            }
        }
    }
    nearest
}

/// An address, which some proxies write with a port or in brackets.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(bracketed).or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::Limits;
    use crate::protocol::http1::Http1;

    fn head(fields: &str) -> Head {
        let mut head = Head::default();
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        Http1::new().next_event(text.as_bytes(), &Limits::default(), &mut head).unwrap();
        head
    }

    #[test]
    fn the_scheme_is_what_the_fields_agree_on() {
        let schemes: Vec<_> = [("x-forwarded-proto", "https"), ("x-forwarded-ssl", "on"), ("x-secure", "yes")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let cases = [
            ("", Ok(false)),
            ("X-Forwarded-Proto: https\r\n", Ok(true)),
            ("X-Forwarded-Proto: http\r\n", Ok(false)),
            ("X-Forwarded-Proto: HTTPS\r\n", Ok(false)),
            ("X-Secure: yes\r\nX-Forwarded-Ssl: on\r\n", Ok(true)),
            ("X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n", Err(Error::Scheme)),
            ("X-Forwarded-Proto: http\r\nX-Forwarded-Ssl: on\r\n", Err(Error::Scheme)),
            ("X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", Err(Error::Scheme)),
            ("X-Forwarded-Proto: https\r\nX-Forwarded-Protocol: http\r\n", Ok(true)),
        ];
        for (fields, expected) in cases {
            assert_eq!(SecureSchemes::new(&schemes).is_secure(&head(fields)), expected, "{fields}");
        }
    }

    #[test]
    fn the_client_is_the_right_most_untrusted_address() {
        let trusted =
            |address: IpAddr| matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 10) || address.is_loopback();
        let cases = [
            ("", None),
            ("X-Forwarded-For: 192.0.2.1\r\n", Some("192.0.2.1")),
            ("X-Forwarded-For: 192.0.2.1, 198.51.100.1\r\n", Some("198.51.100.1")),
            ("X-Forwarded-For: 192.0.2.1, 198.51.100.1, 10.0.0.1,10.0.0.2\r\n", Some("198.51.100.1")),
            ("X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 10.0.0.1\r\n", Some("192.0.2.1")),
            ("X-Forwarded-For: 192.0.2.1\r\nx-forwarded-for: 198.51.100.1\r\n", Some("198.51.100.1")),
            ("X-Forwarded-For: 10.0.0.9, 10.0.0.1\r\n", Some("10.0.0.9")),
            ("X-Forwarded-For: 192.0.2.1, unknown, 10.0.0.1\r\n", Some("10.0.0.1")),
            ("X-Forwarded-For: 192.0.2.1, unknown\r\n", None),
            ("X-Forwarded-For: ,\r\n", None),
            ("X-Forwarded-For:\r\n", None),
            ("X-Forwarded-For: 192.0.2.1:5000\r\n", Some("192.0.2.1")),
            ("X-Forwarded-For: [2001:db8::1]:5000\r\n", Some("2001:db8::1")),
            ("X-Forwarded-For: [2001:db8::1]\r\n", Some("2001:db8::1")),
            ("X-Forwarded-For: 2001:db8::1, ::1\r\n", Some("2001:db8::1")),
            ("X-Forwarded-For: 192.0.2.1, ::ffff:10.0.0.1\r\n", Some("192.0.2.1")),
            ("X-Forwarded-For: \"192.0.2.1\"\r\n", None),
            ("X-Forwarded-For: 192.0.2.1\u{a0}\r\n", None),
        ];
        for (fields, expected) in cases {
            let expected = expected.map(|address| address.parse().unwrap());
            assert_eq!(client(&head(fields), &trusted), expected, "{fields}");
        }
    }
}
