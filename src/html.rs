//! HTML, as far as error pages and listings need it.

use std::borrow::Cow;

use crate::status;

/// The page that Gunicorn shows for an error, with `text` below its heading.
pub(crate) fn message(status: u16, text: &str) -> String {
    let reason = Some(status::reason(status)).filter(|reason| !reason.is_empty()).unwrap_or("Error");
    let text = escape(text);
    format!(
        "<html>\n  <head>\n    <title>{reason}</title>\n  </head>\n  <body>\n    <h1><p>{reason}</p></h1>\n    {text}\n  \
         </body>\n</html>\n"
    )
}

/// `text` as HTML text or the value of an attribute in quotes, as Python's `html.escape` has it.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#x27;"),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}
