//! The environ of the request before, which serves the next one where nobody can tell.
//!
//! Most applications look into an environ and forget it. Whoever keeps it has a reference to it, and whoever changes it
//! changes the number of its version (PEP 509); if neither was done, and the next request sets the same keys, it may set
//! them in place of making a copy of the template.

use ferricorn::Request;
use ferricorn::app::Address;
use ferricorn::protocol::head::RawLine;
use ferricorn::protocol::{FieldId, Head, Target, Version};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::ffi;
use crate::uri::split_port;

/// What the header fields of a request are, at a glance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Survey<'r> {
    /// The value of the first `Host`.
    pub(crate) host: Option<&'r [u8]>,
    /// There are some that are not known by name.
    pub(crate) others: bool,
    /// The ids in turn, if each is there once, all are known, and there are not too many.
    ids: Option<u128>,
}

/// Bits of a field's id in a [`Survey`]. Zero stands for the end.
const BITS: u32 = 7;

const _: () = assert!(FieldId::ALL.len() < 1 << BITS);

impl<'r> Survey<'r> {
    #[inline]
    pub(crate) fn of(head: &'r Head) -> Self {
        let (mut ids, mut seen, mut count, mut twice) = (0, 0, 0, 0);
        for id in head.ids() {
            let bit = id.bit();
            ids = ids << BITS | id as u128;
            count += 1;
            twice |= seen & bit;
            seen |= bit;
        }
        let others = seen & FieldId::Other.bit() != 0;
        let ids = (twice == 0 && !others && count <= u128::BITS / BITS).then_some(ids);
        Self { host: head.known(FieldId::Host), others, ids }
    }

    /// Whether there is nothing but a `Host`.
    #[inline]
    pub(crate) fn is_host(&self) -> bool {
        self.ids == Some(FieldId::Host as u128)
    }
}

/// Which keys a request sets beside those that the template has learned, and in which template's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    template: usize,
    flags: u8,
    ids: u128,
}

impl Shape {
    const GET: u8 = 1;
    const ADDRESS: u8 = 1 << 7;

    /// Flags that the head alone tells of.
    const OF_HEAD: u8 = 0b111;

    /// That of a request whose path and host the template learns. `None` if it sets keys that are not known from it.
    #[inline]
    pub(crate) fn of(request: &Request<'_>, line: &RawLine<'_>, survey: &Survey<'_>, template: usize) -> Option<Self> {
        let head = request.head();
        let (ids, host) = (survey.ids?, survey.host?);
        let by_gateway = head.protocol().is_gateway();
        // Web servers name variables as they like.
        let has_names = by_gateway && head.params().next().is_some();
        if has_names || head.form() == Target::Absolute || !request.body().is_empty() {
            return None;
        }
        let has_address = matches!(request.peer().address, Address::Ip(_));
        let (named, has_port) =
            if has_address || by_gateway { (false, false) } else { (!host.is_empty(), split_port(host).1.is_some()) };
        let flag = |is: bool, flag: u8| if is { flag } else { 0 };
        let flags = flag(line.method == b"GET", Self::GET)
            | flag(line.query.is_some(), 1 << 1)
            | flag(request.version() == Version::Http10, 1 << 2)
            | flag(request.peer().destination.is_some(), 1 << 3)
            | flag(named, 1 << 4)
            | flag(has_port, 1 << 5)
            | flag(by_gateway, 1 << 6)
            | flag(has_address, Self::ADDRESS);
        Some(Self { template, flags, ids })
    }
}

/// The last environ, while it may be used again.
#[derive(Default)]
pub(crate) struct Spare {
    environ: Option<Py<PyDict>>,
    shape: Option<Shape>,
    version: Option<u64>,
    /// The number of the request that it was lent to, until there is another.
    request: u64,
}

impl Spare {
    /// The last request's environ, if the next one, of that shape, can have it.
    #[inline]
    pub(crate) fn take(&mut self, shape: Option<Shape>) -> Option<Py<PyDict>> {
        let environ = self.environ.take();
        let same = shape.is_some() && self.shape == shape;
        (self.shape, self.version, self.request) = (shape, None, 0);
        environ.filter(|_| same)
    }

    /// The last request's environ, if the next one, which has the same head and comes to that template, can have it: of all
    /// other things both have nothing but the address of their client.
    #[inline]
    pub(crate) fn take_again(&mut self, template: usize) -> Option<Py<PyDict>> {
        let shape = self.shape?;
        if shape.template != template || shape.flags & !Shape::OF_HEAD != Shape::ADDRESS {
            return None;
        }
        self.version = None;
        self.environ.take()
    }

    /// Whether the last request has set nothing that this template has not learned but the client's port.
    #[inline]
    pub(crate) fn is_learned(&self, template: usize) -> bool {
        self.shape == Some(Shape { template, flags: Shape::GET | Shape::ADDRESS, ids: FieldId::Host as u128 })
    }

    /// A request has set all its keys, and none that its shape does not tell of. Without this it is not taken back.
    #[inline]
    pub(crate) fn lend(&mut self, environ: &Bound<'_, PyDict>, request: u64) {
        self.request = request;
        self.version = self.shape.and_then(|_| ffi::version(environ));
    }

    /// The application has returned from its call.
    #[inline]
    pub(crate) fn take_back(&mut self, environ: Bound<'_, PyDict>) {
        if self.version.is_some() && ffi::version(&environ) == self.version && ffi::references(&environ) == 1 {
            self.environ = Some(environ.unbind());
        }
    }

    /// It must not be used again.
    pub(crate) fn forget(&mut self) {
        self.environ = None;
    }

    /// The number of the request that had the last environ; 0 if that may not be used again.
    pub(crate) fn request(&self) -> u64 {
        self.request
    }

    /// Whether there is one.
    pub(crate) fn is_kept(&self) -> bool {
        self.environ.is_some()
    }
}
