//! One session per rig and process: an application with several swsync elements joins once.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use super::config::{RigConfig, Role};
use super::{ControlError, Session};
use crate::lock;

/// The sessions that [`Session::open`] handed out.
struct Registry {
    entries: Mutex<Vec<(RigConfig, Weak<Session>)>>,
    removed: Condvar,
}

static REGISTRY: Registry = Registry { entries: Mutex::new(Vec::new()), removed: Condvar::new() };

impl Registry {
    fn entries(&self) -> MutexGuard<'_, Vec<(RigConfig, Weak<Session>)>> {
        lock(&self.entries)
    }
}

/// The process's session for `config`, opened if need be.
pub(super) fn open(config: &RigConfig) -> Result<Arc<Session>, ControlError> {
    let mut entries = REGISTRY.entries();
    loop {
        match entries.iter().find(|(known, _)| known == config) {
            None => break,
            Some((_, session)) => {
                if let Some(session) = session.upgrade() {
                    return Ok(session);
                }
                // Its last user has just dropped it. It holds its port until it is closed.
                entries = REGISTRY.removed.wait(entries).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
    let session = Session::open_new(config, Role::Resident)?;
    entries.push((config.clone(), Arc::downgrade(&session)));
    Ok(session)
}

/// `session` is closed. No-op for those that are not registered.
pub(super) fn remove(session: &Session) {
    let mut entries = REGISTRY.entries();
    entries.retain(|(_, known)| !std::ptr::eq(known.as_ptr(), session));
    REGISTRY.removed.notify_all();
}
