//! What the tests share: servers as child processes, a raw HTTP client, the ledger, and the real programs around them.

pub(crate) mod address;
pub(crate) mod answer;
pub(crate) mod client;
pub(crate) mod doors;
pub(crate) mod gateways;
pub(crate) mod ledger;
pub(crate) mod process;
pub(crate) mod programs;
pub(crate) mod root;
pub(crate) mod server;
pub(crate) mod sockets;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub(crate) use address::Address;
pub(crate) use answer::Answer;
pub(crate) use client::Client;
pub(crate) use server::Server;

/// How long anything may take that ought to happen at once; long, as the machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer. A machine that stands still for a while, as virtual ones do, uses up little
/// of the time: what is waited for stood still, too.
#[track_caller]
pub(crate) fn poll_until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let (mut left, mut before) = (limit, Instant::now());
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(!left.is_zero(), "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
        left = left.saturating_sub(before.elapsed().min(Duration::from_secs(1)));
        before = Instant::now();
    }
}

/// A directory of one test's own, gone when it ends.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ferricorn-test-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("a directory for the test");
        // Servers that have given up root must be able to look in.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and says where it is.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("the file's directory");
        }
        fs::write(&path, content).expect("the file");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}
