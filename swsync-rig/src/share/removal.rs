//! Removal of whole takes, and of what a crash left of takes that were being removed.

use std::fs;
use std::path::{Path, PathBuf};

use swsync_core::name::OrderId;
use swsync_files::{Disk, RemovedTake, hide_take, read_hidden, remove_hidden};

use super::catalog::{Catalog, CatalogError};

impl Catalog {
    /// Removes a take that is finished: all of it, or nothing. If the device crashes meanwhile, the rest is removed once it is back.
    /// `sha256`: of the files that the client has verified to be collected; `None`: it does not matter whether anybody has.
    pub(super) fn remove(
        &mut self,
        order: &OrderId,
        sha256: Option<&str>,
    ) -> Result<RemovedTake, CatalogError> {
        if self.place_of_known(order).is_none() {
            self.takes(); // it may be new, or was moved
        }
        let Some((folder, prefix)) = self.place_of_known(order) else {
            return Ok(RemovedTake::default()); // the client asks once more because it lost the reply
        };
        let take = self.read_known(order)?;
        if !take.complete {
            return Err(CatalogError::Unfinished(order.clone()));
        }
        if let Some(sha256) = sha256 {
            let mark = self.mark_of(order)?;
            if !mark.is_some_and(|mark| mark.keyed && mark.sha256 == sha256) {
                return Err(CatalogError::NotCollected(order.clone()));
            }
        }
        let io = |error| CatalogError::Io { path: order.to_string(), error };
        hide_take(&Disk, &folder, &prefix).map_err(io)?;
        self.forget(order);
        let removed = self.remove_files(&folder, &prefix).map_err(io)?;
        swsync_core::log::info!(%order, files = removed.files, bytes = removed.bytes, "removed a take");
        Ok(removed)
    }

    /// Whether there are removals that a crash, or an error of the disk, has interrupted, as far as is known.
    pub(super) fn has_removals(&self) -> bool {
        !self.hidden.is_empty()
    }

    /// Goes on with removals that a crash, or an error of the disk, has interrupted.
    pub(super) fn finish_removals(&mut self) {
        for (folder, prefix) in std::mem::take(&mut self.hidden) {
            match read_hidden(&Disk, &folder, &prefix) {
                Ok(take) if take.device != self.device => continue, // another device shares the disk
                Ok(_) => {}
                Err(error) => {
                    swsync_core::log::warn!(folder = %folder.display(), %error, "a removed take cannot be read");
                    continue;
                }
            }
            match self.remove_files(&folder, &prefix) {
                Ok(removed) => swsync_core::log::info!(
                    folder = %folder.display(), files = removed.files, "went on to remove a take"
                ),
                Err(error) => {
                    swsync_core::log::warn!(folder = %folder.display(), %error, "a take is not removed completely");
                }
            }
        }
    }

    /// Removes the files of a hidden take, and then its folders as far as they are empty.
    fn remove_files(&self, folder: &Path, prefix: &str) -> std::io::Result<RemovedTake> {
        let root = self.root.canonicalize()?;
        let is_ours = |folder: &Path| folder.canonicalize().is_ok_and(|real| real.starts_with(&root));
        let removed = remove_hidden(&Disk, folder, prefix, is_ours)?;
        self.remove_empty_folders(folder);
        Ok(removed)
    }

    /// Removes `folder` and those above it that are empty then, but never the root.
    pub(super) fn remove_empty_folders(&self, folder: &Path) {
        for folder in folder.ancestors().take_while(|folder| **folder != *self.root) {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }

    /// Forgets what is known of a take that is gone.
    pub(super) fn forget(&mut self, order: &OrderId) {
        self.lists.retain(|list| list.take.order != *order);
        self.known.retain(|_, known| !known.take.as_ref().is_ok_and(|take| take.order == *order));
    }

    /// The folder of a known take, and the prefix of its side files.
    pub(super) fn place_of_known(&self, order: &OrderId) -> Option<(PathBuf, String)> {
        let is_it = |take: &swsync_core::share::TakeSummary| take.order == *order;
        self.known
            .iter()
            .find(|(_, known)| known.take.as_ref().is_ok_and(is_it))
            .map(|(place, _)| place.clone())
    }
}
