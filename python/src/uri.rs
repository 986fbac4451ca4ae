//! Parts of request targets and authorities (RFC 3986), as bytes.

/// Host and port of an authority.
pub(crate) fn split_port(host: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memrchr(b':', host).and_then(|colon| host.split_at_checked(colon)) {
        Some((name, port))
            if port.len() > 1 && port.get(1..).is_some_and(|port| port.iter().all(u8::is_ascii_digit)) =>
        {
            (name, port.get(1..))
        }
        _ => (host, None),
    }
}

/// Percent-decodes a path; what is no escape stays as it is.
pub(crate) fn decode(path: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16)).map(|digit| digit as u8);
    let mut rest = path;
    while let Some(percent) = memchr::memchr(b'%', rest) {
        let (plain, escape) = rest.split_at(percent);
        out.extend_from_slice(plain);
        if let (Some(high), Some(low)) = (digit(escape.get(1)), digit(escape.get(2))) {
            out.push(high << 4 | low);
            rest = escape.get(3..).unwrap_or_default();
        } else {
            out.push(b'%');
            rest = escape.get(1..).unwrap_or_default();
        }
    }
    out.extend_from_slice(rest);
}
