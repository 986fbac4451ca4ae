//! The only unsafe code of the crate: calls into CPython for which PyO3 has no safe function, or one that costs more than
//! the hot path should.
//!
//! Whoever calls these is attached to the interpreter: functions take a token or a bound object, or say why they need none.
#![allow(unsafe_code)]

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::ptr::NonNull;

use ferricorn::Reply;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

use crate::forks;

/// The token of a worker's own thread, inside the calls that the server makes to its application.
///
/// Those come from `ferricorn::serve_hosted`, which was called with the interpreter attached; it is detached in [`detached`]
/// only, which calls nothing of the application's.
pub(crate) fn attached<'py>(_call: &mut impl CalledByWorker) -> Python<'py> {
    // SAFETY: see above. The argument makes sure that the caller is one of those calls.
    unsafe { Python::assume_attached() }
}

/// Marks the types whose methods the server calls, on the thread that runs it.
pub(crate) trait CalledByWorker {}

/// Lets other threads of Python's run while `wait` does. It must not touch Python.
pub(crate) fn detached(_py: Python<'_>, wait: &mut dyn FnMut()) {
    struct Detached(*mut ffi::PyThreadState);
    impl Drop for Detached {
        fn drop(&mut self) {
            // SAFETY: the state is this thread's own, saved below, and restored once.
            unsafe { ffi::PyEval_RestoreThread(self.0) };
        }
    }
    // SAFETY: this thread is attached, as the token says.
    let _detached = Detached(unsafe { ffi::PyEval_SaveThread() });
    wait();
}

/// Python is about to be forked.
pub(crate) fn before_fork(_py: Python<'_>) {
    // SAFETY: attached, as the token says; one of the two calls below follows on the same thread.
    unsafe { ffi::PyOS_BeforeFork() };
}

/// It has been, or that failed; this is the old process.
pub(crate) fn after_fork_parent(_py: Python<'_>) {
    // SAFETY: attached, as the token says; `before_fork` was called.
    unsafe { ffi::PyOS_AfterFork_Parent() };
}

/// It has been; this is the new process.
pub(crate) fn after_fork_child(_py: Python<'_>) {
    // SAFETY: attached, as the token says, on the thread that forked; `before_fork` was called.
    forks::in_ours(|| unsafe { ffi::PyOS_AfterFork_Child() });
}

/// A new string of these bytes, taken for latin-1.
#[inline]
pub(crate) fn text<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let length = bytes.len() as ffi::Py_ssize_t;
    if !bytes.is_ascii() {
        // SAFETY: pointer and length are of one slice; the result is a new reference or NULL with an exception set.
        return unsafe {
            Bound::from_owned_ptr_or_err(
                py,
                ffi::PyUnicode_DecodeLatin1(bytes.as_ptr().cast(), length, std::ptr::null()),
            )
        };
    }
    // SAFETY: the result is a new reference or NULL with an exception set. A string made for the largest character 127 is
    // compact with a byte for each character, so `length` bytes may be written before anybody else sees it. The empty one
    // is shared, and nothing is written to it.
    unsafe {
        let string = Bound::from_owned_ptr_or_err(py, ffi::PyUnicode_New(length, 127))?;
        if length > 0 {
            let data = ffi::PyUnicode_DATA(string.as_ptr()).cast::<u8>();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
        }
        Ok(string)
    }
}

/// The characters of a string, if all of them are latin-1.
#[inline]
pub(crate) fn latin1<'s>(string: &'s Bound<'_, PyString>) -> Option<&'s [u8]> {
    // SAFETY: `string` is alive and a string, which never changes; of the kind with a byte for each character, its data
    // are as many bytes as it has characters. Before 3.12 a string may have to be made ready first.
    unsafe {
        #[cfg(not(Py_3_12))]
        if ffi::PyUnicode_READY(string.as_ptr()) != 0 {
            ffi::PyErr_Clear();
            return None;
        }
        if ffi::PyUnicode_KIND(string.as_ptr()) != ffi::PyUnicode_1BYTE_KIND {
            return None;
        }
        let data = ffi::PyUnicode_1BYTE_DATA(string.as_ptr());
        Some(std::slice::from_raw_parts(data, ffi::PyUnicode_GET_LENGTH(string.as_ptr()) as usize))
    }
}

/// Whether an object is a string of these bytes, taken for latin-1.
#[inline]
pub(crate) fn is_text(object: &Bound<'_, PyAny>, bytes: &[u8]) -> bool {
    object.cast_exact::<PyString>().is_ok_and(|string| latin1(string) == Some(bytes))
}

/// How many of the items that a list begins with are pairs that are `known`, which is told the place and both objects.
///
/// `known` must not run code of Python's.
#[inline]
pub(crate) fn known_pairs<'py>(
    object: &Bound<'py, PyAny>,
    mut known: impl FnMut(usize, &Bound<'py, PyAny>, &Bound<'py, PyAny>) -> bool,
) -> usize {
    let (py, mut count) = (object.py(), 0);
    // SAFETY: `object` is alive, and its thread attached; nothing runs here that could change the list, `known` included.
    // Items are borrowed with indices below the length, and those of tuples, which never change, for `known` alone.
    unsafe {
        let list = object.as_ptr();
        if ffi::PyList_CheckExact(list) == 0 {
            return 0;
        }
        while (count as ffi::Py_ssize_t) < ffi::PyList_GET_SIZE(list) {
            let pair = ffi::PyList_GET_ITEM(list, count as ffi::Py_ssize_t);
            if ffi::PyTuple_CheckExact(pair) == 0 || ffi::PyTuple_GET_SIZE(pair) != 2 {
                break;
            }
            let (name, value) = (ffi::PyTuple_GET_ITEM(pair, 0), ffi::PyTuple_GET_ITEM(pair, 1));
            if !known(count, Bound::ref_from_ptr(py, &name), Bound::ref_from_ptr(py, &value)) {
                break;
            }
            count += 1;
        }
    }
    count
}

/// Name and value of a header field, as the strings that the application gave.
pub(crate) type Strings<'s, 'py> = (&'s Bound<'py, PyString>, &'s Bound<'py, PyString>);

/// Calls `each` with name and value of every header field of a list but the first so many, or of anything else that can be
/// iterated. It is given the strings, too, if they are a tuple's and of no other class.
///
/// `each` must not run code of Python's.
///
/// # Errors
/// Something in it is not a pair of strings, or is not latin-1; or `each` failed.
#[inline]
pub(crate) fn each_field(
    fields: &Bound<'_, PyAny>,
    first: usize,
    mut each: impl FnMut(Option<Strings<'_, '_>>, &[u8], &[u8]) -> PyResult<()>,
) -> PyResult<()> {
    let py = fields.py();
    // SAFETY: `fields` is alive. The item is read with an index below the length, and borrowed while nothing runs that
    // could take it out of the list: `one_field` runs no code of Python's on a tuple of strings, and holds a reference to
    // anything else.
    unsafe {
        let list = fields.as_ptr();
        if ffi::PyList_CheckExact(list) != 0 {
            let mut index = first as ffi::Py_ssize_t;
            while index < ffi::PyList_GET_SIZE(list) {
                let item = Bound::from_borrowed_ptr(py, ffi::PyList_GET_ITEM(list, index));
                one_field(&item, &mut each)?;
                index += 1;
            }
            return Ok(());
        }
    }
    for item in fields.try_iter()?.skip(first) {
        one_field(&item?, &mut each)?;
    }
    Ok(())
}

#[inline]
fn one_field(
    item: &Bound<'_, PyAny>,
    each: &mut impl FnMut(Option<Strings<'_, '_>>, &[u8], &[u8]) -> PyResult<()>,
) -> PyResult<()> {
    if let Ok(tuple) = item.cast_exact::<PyTuple>()
        && let (2, Ok(name), Ok(value)) = (tuple.len(), tuple.get_borrowed_item(0), tuple.get_borrowed_item(1))
        && let (Ok(name), Ok(value)) = (name.cast_exact::<PyString>(), value.cast_exact::<PyString>())
        && let (Some(name_bytes), Some(value_bytes)) = (latin1(&name), latin1(&value))
    {
        return each(Some((&name, &value)), name_bytes, value_bytes);
    }
    let not_latin1 = |what: &str| PyValueError::new_err(format!("header {what} is not latin-1: {item:?}"));
    let pair = item.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>();
    let (name, value) = match pair.or_else(|_| item.extract().map(|[name, value]: [Bound<'_, PyAny>; 2]| (name, value)))
    {
        Ok(pair) => pair,
        Err(_) => {
            return Err(PyTypeError::new_err(format!(
                "a response header must be a tuple of a name and a value, not {item:?}"
            )));
        }
    };
    let (Ok(name), Ok(value)) = (name.cast::<PyString>(), value.cast::<PyString>()) else {
        return Err(PyTypeError::new_err(format!("name and value of a response header must be str: {item:?}")));
    };
    let name = latin1(name).ok_or_else(|| not_latin1("name"))?;
    let value = latin1(value).ok_or_else(|| not_latin1("value"))?;
    each(None, name, value)
}

/// A value that the interpreter's lock protects.
///
/// (The module asks for that lock where an interpreter could do without.)
pub(crate) struct Guarded<T> {
    value: UnsafeCell<T>,
    busy: Cell<bool>,
}

// SAFETY: both fields are touched in `with` only, by threads that are attached, of which there is one at a time; passing
// the lock on orders the accesses.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: UnsafeCell::new(value), busy: Cell::new(false) }
    }

    /// Does something with the value. It must not run code of Python's.
    ///
    /// # Panics
    /// It did, and that has come back here.
    #[inline]
    pub(crate) fn with<R>(&self, _py: Python<'_>, act: impl FnOnce(&mut T) -> R) -> R {
        struct Busy<'a>(&'a Cell<bool>);
        impl Drop for Busy<'_> {
            fn drop(&mut self) {
                self.0.set(false);
            }
        }
        assert!(!self.busy.replace(true), "a guarded value is in use");
        let _busy = Busy(&self.busy);
        // SAFETY: this thread is attached, as the token says, and `busy` was false: so no other reference exists. Should
        // `act` let another thread have the lock after all, that one finds `busy` set.
        act(unsafe { &mut *self.value.get() })
    }
}

/// A context of context variables that a request has for itself.
pub(crate) struct Context(Py<PyAny>);

impl Context {
    /// A copy of the thread's own.
    #[inline]
    pub(crate) fn copy_current(py: Python<'_>) -> PyResult<Self> {
        // SAFETY: attached; a new reference, or NULL with an exception set.
        let context = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent())? };
        Ok(Self(context.unbind()))
    }

    /// The same, for somebody else.
    pub(crate) fn share(&self, py: Python<'_>) -> Self {
        Self(self.0.clone_ref(py))
    }

    /// Whether nobody else has it and no variable is set in it.
    #[inline]
    pub(crate) fn is_blank(&self, py: Python<'_>) -> bool {
        // SAFETY: attached; a context has a length, and asking for it does not fail.
        references(self.0.bind(py)) == 1 && unsafe { ffi::PyObject_Size(self.0.as_ptr()) } == 0
    }

    /// Does `inside` with the context entered.
    #[inline]
    pub(crate) fn run<R>(&self, py: Python<'_>, inside: impl FnOnce() -> R) -> PyResult<R> {
        struct Entered<'a>(&'a Py<PyAny>);
        impl Drop for Entered<'_> {
            fn drop(&mut self) {
                // SAFETY: attached, as entering was; the context was entered below on this thread and is left once. A
                // pending exception cannot be there: all are taken where they arise. Should it fail, the next request
                // has a copy of the wrong context, which is no reason to stop.
                unsafe {
                    if ffi::PyContext_Exit(self.0.as_ptr()) != 0 {
                        ffi::PyErr_Clear();
                    }
                }
            }
        }
        // SAFETY: attached; the context is one. A failure sets an exception.
        if unsafe { ffi::PyContext_Enter(self.0.as_ptr()) } != 0 {
            return Err(PyErr::fetch(py));
        }
        let _entered = Entered(&self.0);
        Ok(inside())
    }
}

/// A reply that callbacks may use while the application is being called, and a mark of the thread that calls it.
#[derive(Default)]
pub(crate) struct LentReply(Option<(NonNull<Reply<'static>>, usize)>);

// SAFETY: it is used only under the interpreter's lock, while the thread that lent the reply is inside a call into Python,
// or by that thread; so it is used by one thread at a time, and passing the lock on orders the accesses.
unsafe impl Send for LentReply {}

impl LentReply {
    /// Lends `reply`. It must be taken back ([`Self::default`]) before `reply` is used or dropped; [`Loan`] sees to that.
    fn new(reply: &mut Reply<'_>) -> Self {
        Self(Some((NonNull::from(reply).cast(), thread_mark())))
    }

    /// Whether it is lent at the moment.
    pub(crate) fn is_lent(&self) -> bool {
        self.0.is_some()
    }

    /// Does something with the reply, if it is lent.
    pub(crate) fn with<R>(&mut self, _py: Python<'_>, act: impl FnOnce(&mut Reply<'_>) -> R) -> Option<R> {
        // SAFETY: it was made from a unique reference that nobody uses until it is taken back; `&mut self` and the lock
        // of the interpreter keep others out, and `act` cannot keep it, as its lifetime is any.
        self.0.map(|(mut reply, _)| act(unsafe { reply.as_mut() }))
    }

    /// Whether this is the thread that lent it, which cannot take it back meanwhile.
    pub(crate) fn is_of_this_thread(&self) -> bool {
        self.0.is_some_and(|(_, thread)| thread == thread_mark())
    }

    /// The same while other threads of Python's run; only on the thread that lent it.
    pub(crate) fn with_detached<R>(&mut self, py: Python<'_>, act: impl FnOnce(&mut Reply<'_>) -> R) -> Option<R> {
        let (mut reply, _) = self.0.filter(|_| self.is_of_this_thread())?;
        let mut act = Some(act);
        let mut result = None;
        detached(py, &mut || {
            // SAFETY: it was made from a unique reference that this very thread, which is inside the call that it was
            // lent for, will not use before it comes back from here; `&mut self` keeps others out.
            result = act.take().map(|act| act(unsafe { reply.as_mut() }));
        });
        result
    }
}

/// A server that may be taken from one thread to another.
pub(crate) struct Parcel(ferricorn::Embedded);

// SAFETY: nothing in it belongs to a thread: applications are this crate's, and hold objects of Python's and plain data. It
// is opened by whoever has it for itself and is attached to the interpreter, which orders what different threads do.
unsafe impl Send for Parcel {}

impl Parcel {
    pub(crate) fn new(server: ferricorn::Embedded) -> Self {
        Self(server)
    }

    pub(crate) fn open(&mut self, _py: Python<'_>) -> &mut ferricorn::Embedded {
        &mut self.0
    }
}

/// Tells threads apart.
#[inline]
fn thread_mark() -> usize {
    thread_local!(static MARK: u8 = const { 0 });
    MARK.with(|mark| std::ptr::from_ref(mark) as usize)
}

/// The time for which a reply is lent.
pub(crate) struct Loan<'a, F: Fn(LentReply)> {
    place: F,
    reply: PhantomData<&'a mut ()>,
}

impl<'a, F: Fn(LentReply)> Loan<'a, F> {
    /// Lends `reply`, if there is one, by way of `place`, until this is dropped.
    #[inline]
    pub(crate) fn new(reply: Option<&'a mut Reply<'_>>, place: F) -> Self {
        place(reply.map_or_else(LentReply::default, LentReply::new));
        Self { place, reply: PhantomData }
    }
}

impl<F: Fn(LentReply)> Drop for Loan<'_, F> {
    fn drop(&mut self) {
        (self.place)(LentReply::default());
    }
}

/// A descriptor that an object of Python's says it has.
pub(crate) fn borrow_fd<'a>(fd: i32) -> std::os::fd::BorrowedFd<'a> {
    // SAFETY: callers pass numbers from 0 on, and use it only to duplicate the descriptor at once; if it is not open after
    // all, that fails.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }
}

/// Python's identifier of this thread.
pub(crate) fn this_thread(_py: Python<'_>) -> u64 {
    // SAFETY: it may be called anywhere.
    unsafe { ffi::PyThread_get_thread_ident() }
}

/// Has an exception of that class raised in the thread of Python's with that identifier, as soon as it runs something.
pub(crate) fn raise_in(thread: u64, class: &Bound<'_, PyType>) {
    // SAFETY: attached, as whoever has a bound object is; the class is alive, and a reference to it is kept by the callee.
    // There may be no such thread.
    unsafe { ffi::PyThreadState_SetAsyncExc(thread as std::ffi::c_long, class.as_ptr()) };
}

/// Takes back what was to be raised in that thread and was not yet.
pub(crate) fn raise_nothing_in(_py: Python<'_>, thread: u64) {
    // SAFETY: attached, as the token says; NULL is what the function is given for that.
    unsafe { ffi::PyThreadState_SetAsyncExc(thread as std::ffi::c_long, std::ptr::null_mut()) };
}

/// How many references there are to an object.
#[inline]
pub(crate) fn references(object: &Bound<'_, PyAny>) -> usize {
    // SAFETY: `object` is alive, and its thread attached.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }.max(0) as usize
}

/// A number that is another one after each change of the dictionary (PEP 509); `None` where Python has none any more.
#[inline]
pub(crate) fn version(dict: &Bound<'_, PyDict>) -> Option<u64> {
    #[cfg(not(Py_3_14))]
    // SAFETY: `dict` is alive and a dictionary, its thread is attached, and the field is one of its header's.
    #[allow(deprecated, reason = "it is there up to 3.13, and later ones do without")]
    return Some(unsafe { (*dict.as_ptr().cast::<ffi::PyDictObject>()).ma_version_tag });
    #[cfg(Py_3_14)]
    {
        let _ = dict;
        None
    }
}

/// Fills the gaps between the small objects of Python's, so that what forked processes allocate lies on pages of its own,
/// not on shared ones that would have to be copied for it. What it takes is never given back.
pub(crate) fn fill_gaps(_py: Python<'_>) {
    /// CPython's allocator has pools of that size, with a header, for each size of block; a pool is filled before a fresh
    /// one is begun. Should it be otherwise, no more is lost than the memory that is taken.
    const POOL: usize = 16 * 1024;
    const HEADER: usize = 48;
    for size in (16..=512).step_by(16) {
        // SAFETY: attached; any size may be asked for.
        let allocate = || unsafe { ffi::PyObject_Malloc(size) as usize };
        for _ in 0..3 * POOL / size {
            let first = allocate();
            if first % POOL == HEADER && allocate() == first + size && allocate() == first + 2 * size {
                break;
            }
        }
    }
}
