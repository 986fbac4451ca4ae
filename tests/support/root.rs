//! Tests that only root can run: those that change users. Shared, through `#[path]`, by the tests in `src`.

/// Fails, and says what to do, if the tests are not run by root.
#[track_caller]
pub(crate) fn needed() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test needs root, to change to other users: type `sudo make test`, or, to build as yourself and have only the \
         tests run by root, set CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER='sudo -E'",
        std::env::consts::ARCH.to_ascii_uppercase()
    );
}
