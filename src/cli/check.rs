//! What can only be checked once all settings are known, or on the machine.

use std::path::{Path, PathBuf};

use nix::unistd::{Group, User, getegid, geteuid};

use crate::logging::access::Format;
use crate::settings::{BindAddress, Settings};

/// A setting that does not go with another one, or with the machine.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Conflict {
    pub(super) setting: &'static str,
    pub(super) problem: String,
}

fn conflict<T>(setting: &'static str, problem: impl Into<String>) -> Result<T, Conflict> {
    Err(Conflict { setting, problem: problem.into() })
}

/// Gives settings that depend on others their value, and refuses what does not go together.
/// `given` says whether the operator has set the setting of that name.
pub(super) fn settle(settings: &mut Settings, given: &dyn Fn(&str) -> bool) -> Result<(), Conflict> {
    if settings.limit_request_fields == 0 {
        settings.limit_request_fields = 32768;
    }
    let head = settings.limit_request_head;
    for (name, limit) in [
        ("limit_request_line", &mut settings.limit_request_line),
        ("limit_request_field_size", &mut settings.limit_request_field_size),
    ] {
        if *limit == usize::MAX || !given(name) {
            *limit = head.min(*limit);
        }
        if *limit > head {
            return conflict(name, format!("the whole head may have only {head} bytes; raise limit_request_head, too"));
        }
    }
    if settings.initgroups && settings.user.is_none() {
        return conflict("initgroups", "it needs the user whose groups they are: set user");
    }
    match Format::parse(&settings.access_log_format) {
        Ok(_) => Ok(()),
        Err(error) => conflict("access_log_format", error.to_string()),
    }
}

/// Checks what has to exist on the machine. Relative paths start where the server will be, in `chdir`; those of logs are made
/// absolute, as logs are opened again wherever the server has gone.
pub(super) fn surroundings(settings: &mut Settings, directory: &Path) -> Result<(), Conflict> {
    let base = match &settings.chdir {
        Some(path) => directory.join(path),
        None => directory.to_owned(),
    };
    if settings.chdir.is_some() && !base.is_dir() {
        return conflict("chdir", "there is no such directory");
    }
    if let Some(path) = &settings.worker_tmp_dir
        && !base.join(path).is_dir()
    {
        return conflict("worker_tmp_dir", "there is no such directory");
    }
    for log in [Some(&mut settings.errorlog), settings.accesslog.as_mut()].into_iter().flatten() {
        if let Some(path) = base.join(&log).to_str().filter(|_| log != "-") {
            *log = path.to_owned();
        }
    }
    let log = |text: &str| Some(PathBuf::from(text)).filter(|_| text != "-");
    let mut files = vec![
        ("pidfile", settings.pidfile.clone()),
        ("errorlog", log(&settings.errorlog)),
        ("accesslog", settings.accesslog.as_deref().and_then(log)),
    ];
    files.extend(settings.bind.iter().map(|bind| match &bind.address {
        BindAddress::Unix(path) => ("bind", Some(path.clone())),
        _ => ("bind", None),
    }));
    for (name, path) in files {
        let Some(path) = path.map(|path| base.join(path)) else { continue };
        match path.parent() {
            Some(parent) if !parent.is_dir() => {
                return conflict(name, format!("there is no directory {}", parent.display()));
            }
            _ if path.is_dir() => return conflict(name, format!("{} is a directory", path.display())),
            _ => {}
        }
    }
    identity(settings)
}

fn identity(settings: &Settings) -> Result<(), Conflict> {
    let number = |text: &str| text.parse::<u32>().ok();
    if let Some(name) = &settings.user {
        let uid = match number(name) {
            Some(uid) => uid,
            None => match User::from_name(name) {
                Ok(Some(user)) => user.uid.as_raw(),
                Ok(None) => return conflict("user", "there is no such user"),
                Err(error) => return conflict("user", error.desc()),
            },
        };
        if !geteuid().is_root() && geteuid().as_raw() != uid {
            return conflict("user", "only root can start workers as another user");
        }
    }
    if let Some(name) = &settings.group {
        let gid = match number(name) {
            Some(gid) => gid,
            None => match Group::from_name(name) {
                Ok(Some(group)) => group.gid.as_raw(),
                Ok(None) => return conflict("group", "there is no such group"),
                Err(error) => return conflict("group", error.desc()),
            },
        };
        if !geteuid().is_root() && getegid().as_raw() != gid {
            return conflict("group", "only root can start workers with another group");
        }
    }
    Ok(())
}
