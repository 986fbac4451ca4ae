//! What an application answers.

use std::borrow::Cow;

use super::body::Body;
use crate::html;

/// A response: status, header fields, body.
///
/// The server adds `Server`, `Date`, `Connection` and the framing; it checks everything else when it sends the response,
/// and answers 500 in its place when a status, a name or a value could not be sent as it is.
#[derive(Debug, Default)]
pub struct Response {
    pub(crate) status: u16,
    pub(crate) reason: Option<Cow<'static, str>>,
    // Apart from the others so that the commonest response allocates nothing.
    pub(crate) content_type: Option<Cow<'static, str>>,
    pub(crate) fields: Vec<(Cow<'static, str>, Cow<'static, [u8]>)>,
    pub(crate) body: Body,
}

impl Response {
    /// An empty response with that status.
    #[inline]
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// 200 with `text/plain; charset=utf-8`.
    #[inline]
    pub fn text(text: impl Into<Body>) -> Self {
        Self::page(200, "text/plain; charset=utf-8", text.into())
    }

    /// 200 with `text/html; charset=utf-8`.
    #[inline]
    pub fn html(text: impl Into<Body>) -> Self {
        Self::page(200, "text/html; charset=utf-8", text.into())
    }

    // Made in one piece: to move a response that was put together in parts costs more than to write it.
    #[inline]
    fn page(status: u16, content_type: &'static str, body: Body) -> Self {
        Self { status, reason: None, content_type: Some(Cow::Borrowed(content_type)), fields: Vec::new(), body }
    }

    /// The page that Gunicorn shows for an error without words of its own.
    pub fn error(status: u16) -> Self {
        Self::new(status).with_content_type("text/html").with_body(html::message(status, ""))
    }

    /// Sets the status, 200 to 599.
    #[must_use]
    #[inline]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Sets the words behind the status; the usual ones stand there otherwise.
    #[must_use]
    #[inline]
    pub fn with_reason(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Sets `Content-Type`.
    #[must_use]
    #[inline]
    pub fn with_content_type(mut self, content_type: impl Into<Cow<'static, str>>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// Adds a header field. `Connection`, `Transfer-Encoding`, `Server`, `Date` and the like are the server's and dropped.
    #[must_use]
    #[inline]
    pub fn with_field(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) -> Self {
        let value = match value.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        self.fields.push((name.into(), value));
        self
    }

    /// Sets the body.
    #[must_use]
    #[inline]
    pub fn with_body(mut self, body: impl Into<Body>) -> Self {
        self.body = body.into();
        self
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The header fields that the application set.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let content_type = self.content_type.as_deref().map(|value| (b"Content-Type".as_slice(), value.as_bytes()));
        content_type.into_iter().chain(self.fields.iter().map(|(name, value)| (name.as_bytes(), value.as_ref())))
    }

    /// The body.
    pub fn body(&self) -> &Body {
        &self.body
    }
}

impl From<&'static str> for Response {
    #[inline]
    fn from(text: &'static str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Response {
    #[inline]
    fn from(text: String) -> Self {
        Self::text(text)
    }
}
