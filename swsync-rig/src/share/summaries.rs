//! What a device lists of its takes, and what others have it keep beside them: notes, and who has collected a take.
//!
//! A list costs a look at the age of three files per take. Their content is read only when it has changed. Manifests are never
//! read for it.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use swsync_core::manifest::NOTE_JSON;
use swsync_core::name::OrderId;
use swsync_core::share::{CollectedMark, MAX_SUMMARIES, TakeNote, TakeSummary};
use swsync_files::{collected_mark_path, read_small_json, write_whole};

use super::catalog::{Catalog, CatalogError, changed, is_settled};

/// A small file beside a take, as it was last read.
#[derive(Debug)]
struct SmallFile<T> {
    changed: (i64, u64),
    /// Whether its last change was old enough when it was read, so that any later change changes its time stamp.
    is_settled: bool,
    content: Option<T>,
}

/// Notes and marks of takes, as they were last read, by path.
#[derive(Debug, Default)]
pub(super) struct SmallFiles {
    notes: HashMap<PathBuf, SmallFile<TakeNote>>,
    marks: HashMap<PathBuf, SmallFile<CollectedMark>>,
}

/// The content of the file `path`, which is read only if it has changed. `None`: there is none, or it cannot be read.
fn content<T: DeserializeOwned + Clone>(
    known: &mut HashMap<PathBuf, SmallFile<T>>,
    path: PathBuf,
) -> Option<T> {
    let about = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file);
    let Some(about) = about else {
        known.remove(&path);
        return None;
    };
    let changed = changed(&about);
    if let Some(known) = known.get(&path).filter(|known| known.changed == changed && known.is_settled) {
        return known.content.clone();
    }
    let text = read_small_json(&path);
    let content: Option<T> = text.ok().and_then(|text| match serde_json::from_slice(&text) {
        Ok(content) => Some(content),
        Err(error) => {
            swsync_core::log::debug!(path = %path.display(), %error, "a note or mark cannot be read");
            None
        }
    });
    let file = SmallFile { changed, is_settled: is_settled(changed.0), content: content.clone() };
    known.insert(path, file);
    content
}

impl SmallFiles {
    fn note(&mut self, folder: &Path, prefix: &str) -> Option<TakeNote> {
        // An empty text takes the place of a note that was removed.
        content(&mut self.notes, note_path(folder, prefix))
    }

    fn mark(&mut self, folder: &Path, prefix: &str) -> Option<CollectedMark> {
        content(&mut self.marks, collected_mark_path(folder, prefix))
    }
}

fn note_path(folder: &Path, prefix: &str) -> PathBuf {
    folder.join(format!("{prefix}{NOTE_JSON}"))
}

impl Catalog {
    /// A page of summaries, by name, of the takes after `after`, and whether there are more. The disk is looked at for the first
    /// page only.
    pub(super) fn summaries(&mut self, after: Option<&OrderId>) -> (Vec<TakeSummary>, bool) {
        if after.is_none() {
            self.takes();
        }
        let all = self.listed();
        let mut rest = all.into_iter().filter(|(take, ..)| after.is_none_or(|after| take.order > *after));
        let mut page = Vec::new();
        for (mut take, folder, prefix) in rest.by_ref().take(MAX_SUMMARIES) {
            take.note = self.small.note(&folder, &prefix);
            take.collected = self.small.mark(&folder, &prefix);
            page.push(take);
        }
        let more = rest.next().is_some();
        (page, more)
    }

    /// The folder of a take and the prefix of its side files.
    fn place_of(&mut self, order: &OrderId) -> Result<(PathBuf, String), CatalogError> {
        let known = self.place_of_known(order);
        let known = known.or_else(|| {
            self.takes(); // the take may be new, or was moved
            self.place_of_known(order)
        });
        known.ok_or_else(|| CatalogError::NoTake(order.clone()))
    }

    /// Keeps a note with a take, unless it has a later one already. Returns the note that it has then.
    pub(super) fn set_note(&mut self, order: &OrderId, note: TakeNote) -> Result<TakeNote, CatalogError> {
        note.check().map_err(CatalogError::Note)?;
        let (folder, prefix) = self.place_of(order)?;
        if let Some(own) = self.small.note(&folder, &prefix).filter(|own| own.at_ns >= note.at_ns) {
            return Ok(own);
        }
        let path = note_path(&folder, &prefix);
        let written = write_whole(&path, note.to_json().as_bytes());
        written.map_err(|error| CatalogError::Io { path: NOTE_JSON.into(), error })?;
        self.small.notes.remove(&path);
        // A list of files that was made before lacks the note, or has the size of the one before.
        self.lists.retain(|list| list.take.order != *order);
        swsync_core::log::info!(%order, "a note on a take was written");
        Ok(note)
    }

    /// Keeps it with a take that it was collected. `keyed`: the rig has a key.
    pub(super) fn mark_collected(
        &mut self,
        order: &OrderId,
        mark: CollectedMark,
        keyed: bool,
    ) -> Result<(), CatalogError> {
        let (folder, prefix) = self.place_of(order)?;
        if !self.is_complete(order) {
            return Err(CatalogError::Unfinished(order.clone()));
        }
        let note_at_ns = self.small.note(&folder, &prefix).map(|note| note.at_ns);
        let mark = CollectedMark { note_at_ns, keyed, ..mark };
        let path = collected_mark_path(&folder, &prefix);
        if self.small.mark(&folder, &prefix).is_some_and(|own| own.is_same_copy(&mark)) {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(&mark).expect("a struct of texts and numbers");
        write_whole(&path, &text).map_err(|error| CatalogError::Io { path: "the mark".into(), error })?;
        self.small.marks.remove(&path);
        Ok(())
    }

    /// Who has collected a take.
    pub(super) fn mark_of(&mut self, order: &OrderId) -> Result<Option<CollectedMark>, CatalogError> {
        let (folder, prefix) = self.place_of(order)?;
        Ok(self.small.mark(&folder, &prefix))
    }
}
