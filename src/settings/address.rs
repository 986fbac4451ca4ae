//! Where a listener is bound.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

use super::Invalid;
use crate::protocol::Protocol;

/// The port of an address that names none.
pub const DEFAULT_PORT: u16 = 8000;

/// What the kernel's `sockaddr_un` holds, less the NUL at the end.
const UNIX_PATH_LENGTH: usize = 107;

/// Where a listener is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindAddress {
    /// `HOST:PORT`; an empty host is every address. Resolved when it is bound.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// Port; 0 lets the kernel choose.
        port: u16,
    },
    /// `unix:PATH`
    Unix(PathBuf),
    /// `fd://N`: a listening socket that was inherited.
    Fd(i32),
}

/// Where a listener is bound, and what is spoken there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The protocol that its scheme names; `None` is that of the setting `protocol`.
    pub protocol: Option<Protocol>,
    /// Where.
    pub address: BindAddress,
}

impl From<BindAddress> for Bind {
    fn from(address: BindAddress) -> Self {
        Self { protocol: None, address }
    }
}

impl FromStr for Bind {
    type Err = Invalid;

    /// An address, with a protocol in front of it: `uwsgi://127.0.0.1:3031`, `fastcgi://unix:/run/app.sock`, `scgi://fd://3`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        for protocol in Protocol::ALL {
            if let Some(rest) = text.strip_prefix(protocol.name()).and_then(|rest| rest.strip_prefix("://")) {
                if rest.starts_with('/') {
                    return Err(Invalid::new(format!("{}://unix:{rest} for a unix socket", protocol.name())));
                }
                return Ok(Self { protocol: Some(protocol), address: rest.parse()? });
            }
        }
        if let Some((scheme, _)) = text.split_once("://")
            && !["unix", "fd", "tcp", "https"].contains(&scheme)
        {
            return Err(Invalid::new(format!("http://, uwsgi://, fastcgi:// or scgi:// instead of {scheme}://")));
        }
        text.parse().map(|address| Self { protocol: None, address })
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(protocol) = self.protocol {
            write!(f, "{}://", protocol.name())?;
        }
        self.address.fmt(f)
    }
}

impl FromStr for BindAddress {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if let Some(path) = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")) {
            return unix(path);
        }
        if let Some(number) = text.strip_prefix("fd://") {
            let number = digits(number).ok_or_else(|| Invalid::new("fd:// and the number of a descriptor"))?;
            return Ok(Self::Fd(number));
        }
        if text.starts_with("https://") {
            return Err(Invalid::new("an address without https://, as TLS is not served; put nginx in front of it"));
        }
        let rest = text.strip_prefix("tcp://").unwrap_or(text);
        tcp(rest)
    }
}

fn unix(path: &str) -> Result<BindAddress, Invalid> {
    if path.is_empty() || path.contains('\0') {
        return Err(Invalid::new("unix: and the path of a socket"));
    }
    if path.len() > UNIX_PATH_LENGTH {
        return Err(Invalid::new(format!("a path of at most {UNIX_PATH_LENGTH} bytes behind unix:")));
    }
    Ok(BindAddress::Unix(PathBuf::from(path)))
}

fn tcp(text: &str) -> Result<BindAddress, Invalid> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or_else(|| Invalid::new("a ] behind the IPv6 address"))?;
        let address = host.split_once('%').map_or(host, |(address, _zone)| address);
        if address.parse::<Ipv6Addr>().is_err() {
            return Err(Invalid::new("an IPv6 address between [ and ]"));
        }
        let port = if port.is_empty() {
            None
        } else {
            Some(port.strip_prefix(':').ok_or_else(|| Invalid::new("[ADDRESS]:PORT"))?)
        };
        (host, port)
    } else if text.parse::<Ipv6Addr>().is_ok() {
        return Err(Invalid::new(format!("an IPv6 address in brackets: [{text}]:{DEFAULT_PORT}")));
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if port.is_none() && !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Invalid::new(format!("HOST:PORT; for port {host} on every address, :{host}")));
    }
    let port = match port {
        None if host.is_empty() => return Err(Invalid::new("HOST, HOST:PORT, :PORT, unix:PATH or fd://N")),
        None => DEFAULT_PORT,
        Some(port) => digits(port).ok_or_else(|| Invalid::new("a port from 0 to 65535 behind the colon"))?,
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
    if !host.bytes().all(allowed) {
        return Err(Invalid::new("HOST, HOST:PORT, :PORT, unix:PATH or fd://N"));
    }
    Ok(BindAddress::Tcp { host: host.to_ascii_lowercase(), port })
}

/// A number in digits only: `parse` alone takes a plus sign too.
fn digits<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Fd(number) => write!(f, "fd://{number}"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_shown_in_its_shortest_form() {
        let long_path = format!("unix:/{}", "s".repeat(106));
        let cases = [
            ("127.0.0.1", "127.0.0.1:8000"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("LocalHost:9000", "localhost:9000"),
            (":8001", ":8001"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("[::1]", "[::1]:8000"),
            ("[::1]:443", "[::1]:443"),
            ("[fe80::1%eth0]:443", "[fe80::1%eth0]:443"),
            ("tcp://example.org", "example.org:8000"),
            ("unix:/run/a b.sock", "unix:/run/a b.sock"),
            ("unix:///run/app.sock", "unix:/run/app.sock"),
            ("unix:app.sock", "unix:app.sock"),
            (long_path.as_str(), long_path.as_str()),
            ("fd://0", "fd://0"),
            ("fd://13", "fd://13"),
        ];
        for (text, shown) in cases {
            let address: BindAddress = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(address.to_string(), shown, "{text}");
            assert_eq!(shown.parse::<BindAddress>().unwrap(), address, "{shown}");
        }
    }

    #[test]
    fn a_scheme_names_the_protocol() {
        let cases = [
            ("127.0.0.1:80", None, "127.0.0.1:80"),
            ("http://example.org", Some(Protocol::Http), "http://example.org:8000"),
            ("uwsgi://:3031", Some(Protocol::Uwsgi), "uwsgi://:3031"),
            ("fastcgi://unix:/run/app.sock", Some(Protocol::FastCgi), "fastcgi://unix:/run/app.sock"),
            ("fastcgi://fd://0", Some(Protocol::FastCgi), "fastcgi://fd://0"),
            ("scgi://[::1]:4000", Some(Protocol::Scgi), "scgi://[::1]:4000"),
        ];
        for (text, protocol, shown) in cases {
            let bind: Bind = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(bind.protocol, protocol, "{text}");
            assert_eq!(bind.to_string(), shown, "{text}");
            assert_eq!(shown.parse::<Bind>().unwrap(), bind, "{shown}");
        }
        for (text, part) in [
            ("uwsgi:///run/app.sock", "uwsgi://unix:/run/app.sock"),
            ("fcgi://127.0.0.1:9000", "fastcgi://"),
            ("gopher://127.0.0.1:70", "instead of gopher://"),
            ("http://localhost/", "HOST"),
            ("uwsgi://http://localhost", "port"),
        ] {
            let error = text.parse::<Bind>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn what_cannot_be_bound_is_refused_with_what_was_expected() {
        let long_path = format!("unix:/{}", "s".repeat(107));
        let cases = [
            ("", "HOST"),
            ("8000", ":8000"),
            ("::1", "[::1]:8000"),
            ("[::1", "]"),
            ("[::1]8000", "[ADDRESS]:PORT"),
            ("[localhost]:80", "IPv6"),
            ("localhost:", "port"),
            ("localhost:+80", "port"),
            ("localhost:65536", "port"),
            ("localhost:80:80", "port"),
            ("local host:80", "HOST"),
            ("localhost/", "HOST"),
            ("https://localhost", "TLS"),
            ("unix:", "path"),
            ("unix:\0name", "path"),
            (long_path.as_str(), "107"),
            ("fd://", "descriptor"),
            ("fd://-1", "descriptor"),
            ("fd://x", "descriptor"),
        ];
        for (text, part) in cases {
            let error = text.parse::<BindAddress>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
