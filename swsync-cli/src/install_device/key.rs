//! The rig's key, where the service finds it and nobody else reads it.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::Path;

use anyhow::Context as _;
use swsync_client::key_file;

use crate::output;

/// The group of the service (packaging/systemd/swsync.conf).
const GROUP: &str = "swsync";

/// Copies the key in `from` to `etc/swsync/rig.key` below `root`, readable by root and the service.
///
/// # Errors
/// `from` is no key, or is open to others; or the copy cannot be written.
pub fn install(from: &Path, root: &Path) -> anyhow::Result<()> {
    key_file::read(from)?;
    let to = root.join("etc/swsync/rig.key");
    let cannot = || format!("{} cannot be written (is this run with sudo?)", to.display());
    let content = fs::read(from).with_context(|| format!("{} cannot be read", from.display()))?;
    fs::create_dir_all(root.join("etc/swsync")).with_context(cannot)?;
    let new = to.with_extension("key.new");
    // What an interrupted run left, perhaps with other permissions.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).with_context(cannot),
        _ => {}
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).with_context(cannot)?;
    file.write_all(&content).with_context(cannot)?;
    match group(root) {
        Some(id) => {
            chown(&new, None, Some(id)).with_context(cannot)?;
            fs::set_permissions(&new, Permissions::from_mode(0o640)).with_context(cannot)?;
        }
        None => output::line(&format!(
            "no group {GROUP} in {} yet: once swsync is installed there, chgrp {GROUP} {to} && chmod 640 {to}",
            root.join("etc/group").display(),
            to = to.display(),
        )),
    }
    file.sync_all().with_context(cannot)?;
    fs::rename(&new, &to).with_context(cannot)?;
    output::line(&format!("{}: the rig's key", to.display()));
    Ok(())
}

/// The number of the service's group in the system below `root`.
fn group(root: &Path) -> Option<u32> {
    let text = fs::read_to_string(root.join("etc/group")).ok()?;
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    text.lines().map(fields).find(|it| it[0] == GROUP)?.get(2)?.parse().ok()
}
