//! Counts the bytes that are looked at, so that a test can say that their number is bounded by the input's whatever the
//! clock does. Outside of tests there is nothing in it.

#[cfg(test)]
thread_local! {
    static BYTES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[inline]
pub(super) fn looked_at(bytes: usize) {
    #[cfg(test)]
    BYTES.with(|total| total.set(total.get() + bytes));
    let _ = bytes;
}

/// The number since the last call.
#[cfg(test)]
pub(super) fn take() -> usize {
    BYTES.take()
}
