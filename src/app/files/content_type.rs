//! Content types, by the extension of a name.

use std::borrow::Cow;

/// The content type of the file at `path`.
pub(super) fn of(path: &[u8]) -> Cow<'static, str> {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let extension = match name.iter().rposition(|byte| *byte == b'.') {
        Some(dot) if dot > 0 => name.get(dot + 1..).unwrap_or_default(),
        _ => b"",
    };
    let extension = std::str::from_utf8(extension).unwrap_or_default();
    match mime_guess::from_ext(extension).first_raw() {
        Some(essence) => with_charset(essence),
        None => Cow::Borrowed("application/octet-stream"),
    }
}

fn with_charset(essence: &'static str) -> Cow<'static, str> {
    Cow::Borrowed(match essence {
        "text/html" => "text/html; charset=utf-8",
        "text/css" => "text/css; charset=utf-8",
        "text/javascript" => "text/javascript; charset=utf-8",
        "application/javascript" => "application/javascript; charset=utf-8",
        "text/plain" => "text/plain; charset=utf-8",
        "text/csv" => "text/csv; charset=utf-8",
        "text/markdown" => "text/markdown; charset=utf-8",
        // An XML document says its encoding itself, and a charset here would overrule it (RFC 7303 §3.2).
        "text/xml" => essence,
        text if text.starts_with("text/") => return Cow::Owned(format!("{text}; charset=utf-8")),
        other => other,
    })
}

/// Whether files of this type are compressed as they are, so that a compressed sibling is not worth looking for.
pub(super) fn is_compressed(content_type: &str) -> bool {
    match content_type.split_once('/') {
        Some(("image", subtype)) => !matches!(subtype, "svg+xml" | "bmp" | "x-icon"),
        Some(("audio" | "video", _)) => true,
        _ => matches!(content_type, "font/woff" | "font/woff2"),
    }
}

#[cfg(test)]
mod tests {
    use super::{is_compressed, of};

    #[test]
    fn the_extension_decides() {
        let cases = [
            ("index.html", "text/html; charset=utf-8"),
            ("INDEX.HTML", "text/html; charset=utf-8"),
            ("a.b/c.css", "text/css; charset=utf-8"),
            ("app.js", "text/javascript; charset=utf-8"),
            ("app.mjs", "application/javascript; charset=utf-8"),
            ("readme.md", "text/markdown; charset=utf-8"),
            ("a.yaml", "text/x-yaml; charset=utf-8"),
            ("feed.xml", "text/xml"),
            ("a.json", "application/json"),
            ("a.wasm", "application/wasm"),
            ("a.svg", "image/svg+xml"),
            ("a.woff2", "font/woff2"),
            ("archive.tar.gz", "application/gzip"),
            ("Makefile", "application/octet-stream"),
            ("a.html/Makefile", "application/octet-stream"),
            ("a.unheard-of", "application/octet-stream"),
            ("dot.", "application/octet-stream"),
            (".html", "application/octet-stream"),
            ("", "application/octet-stream"),
        ];
        for (path, expected) in cases {
            assert_eq!(of(path.as_bytes()), expected, "{path}");
        }
        assert_eq!(of(b"a.\xff"), "application/octet-stream");
    }

    #[test]
    fn media_are_compressed_as_they_are() {
        let cases = [("a.png", true), ("a.svg", false), ("a.mp4", true), ("a.html", false), ("a.woff2", true)];
        for (path, expected) in cases {
            assert_eq!(is_compressed(&of(path.as_bytes())), expected, "{path}");
        }
    }
}
