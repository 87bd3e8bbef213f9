//! The thread that asks the devices how they are, for all pages at once.

use std::sync::{Arc, Weak};
use std::time::Duration;

use swsync_client::{PATIENCE, Rig};

use crate::state::{Dashboard, now_ms};

/// Starts the thread. It ends by itself once the dashboard is gone.
pub fn start(dashboard: &Arc<Dashboard>, every: Duration) {
    let dashboard = Arc::downgrade(dashboard);
    let watch = move || {
        let _: Option<()> = watch(&dashboard, every);
    };
    std::thread::Builder::new()
        .name("swsync-watch".into())
        .spawn(watch)
        .expect("the system has room for one more thread");
}

/// Looks for the rig, then asks its devices. `None`: the dashboard is gone.
fn watch(dashboard: &Weak<Dashboard>, every: Duration) -> Option<()> {
    let config = dashboard.upgrade()?.config.clone();
    let rig = loop {
        match Rig::connect_within(&config, PATIENCE) {
            Ok(rig) => break rig,
            Err(error) => {
                let dashboard = dashboard.upgrade()?;
                let change = dashboard.live.lock().not_found(error.to_string(), now_ms());
                dashboard.events.send("change", &change);
            }
        }
        std::thread::sleep(every);
    };
    dashboard.upgrade()?.found(rig.clone());
    let is_open = rig.is_open();
    for update in rig.statuses(every) {
        let dashboard = dashboard.upgrade()?;
        let change = dashboard.live.lock().update(update, is_open, now_ms());
        dashboard.events.send("change", &change);
    }
    None
}
