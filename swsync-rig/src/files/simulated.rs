//! A disk for tests: it runs full, is pulled out, and loses at a power cut what was not flushed.
//!
//! Pessimistic where file systems differ: a flushed file has its bytes on the disk but not its name; names that
//! were not flushed appear in any combination, each change for itself; bytes that were not flushed are there up
//! to any point, or as zeros.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::storage::{Storage, StorageFile, folder_of};
use crate::lock;

/// What is wrong with the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    ReadOnly,
    Unplugged,
}

type Inode = u64;

#[derive(Debug, Default)]
struct File {
    cached: Vec<u8>,
    on_disk: Vec<u8>,
}

/// Names that change together: a rename is one change of two names.
type Change = Vec<(PathBuf, Option<Inode>)>;

#[derive(Debug, Default)]
struct Inner {
    inodes: BTreeMap<Inode, File>,
    next: Inode,
    /// As processes see it.
    names: BTreeMap<PathBuf, Inode>,
    folders: BTreeSet<PathBuf>,
    /// As the disk has it, and by folder what it lacks.
    names_on_disk: BTreeMap<PathBuf, Inode>,
    folders_on_disk: BTreeSet<PathBuf>,
    changes: BTreeMap<PathBuf, Vec<Change>>,
    new_folders: BTreeMap<PathBuf, Vec<PathBuf>>,
    capacity: Option<usize>,
    trouble: Option<Trouble>,
    /// Calls that still succeed before the process is killed.
    calls_left: Option<u64>,
    /// The call that fails, and no other.
    fails: Option<u64>,
    calls: u64,
}

/// The disk. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDisk(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    inode: Inode,
}

impl SimulatedDisk {
    /// An empty disk with the folder `/`.
    pub fn new() -> Self {
        let disk = Self::default();
        lock(&disk.0).folders.insert("/".into());
        lock(&disk.0).folders_on_disk.insert("/".into());
        disk
    }

    /// Has room for so many bytes in all.
    pub fn set_capacity(&self, capacity: Option<usize>) {
        lock(&self.0).capacity = capacity;
    }

    pub fn set_trouble(&self, trouble: Option<Trouble>) {
        lock(&self.0).trouble = trouble;
    }

    /// After so many more calls that change something, every call fails: the process is dead.
    pub fn die_after(&self, calls: Option<u64>) {
        lock(&self.0).calls_left = calls;
    }

    /// Of the calls that change something, the one of this number fails.
    pub fn fail_call(&self, call: u64) {
        lock(&self.0).fails = Some(call);
    }

    /// Removes an empty folder.
    pub fn remove_folder(&self, folder: &Path) {
        let mut inner = lock(&self.0);
        assert!(inner.folders.remove(folder));
        inner.folders_on_disk.remove(folder);
    }

    /// Calls so far that change something.
    pub fn calls(&self) -> u64 {
        lock(&self.0).calls
    }

    /// Power is lost: of what was not flushed, `coin` (below its argument) chooses what remains.
    pub fn cut_power(&self, coin: &mut dyn FnMut(usize) -> usize) {
        let mut inner = lock(&self.0);
        let inner = &mut *inner;
        for (parent, folders) in std::mem::take(&mut inner.new_folders) {
            for folder in folders {
                if inner.folders_on_disk.contains(&parent) && coin(2) == 1 {
                    inner.folders_on_disk.insert(folder);
                }
            }
        }
        for change in std::mem::take(&mut inner.changes).into_values().flatten() {
            if coin(2) == 1 {
                apply(&mut inner.names_on_disk, change);
            }
        }
        let folders = &inner.folders_on_disk;
        inner.names_on_disk.retain(|path, _| folders.contains(folder_of(path)));
        for file in inner.inodes.values_mut().filter(|file| file.cached != file.on_disk) {
            // Of what was written over something else that is there, or the other.
            let over = file.on_disk.len().min(file.cached.len());
            let (new, old) = (&mut file.cached[..over], &mut file.on_disk[..over]);
            if new != old {
                if coin(2) == 1 { old.copy_from_slice(new) } else { new.copy_from_slice(old) }
            }
            let flushed = file.cached.iter().zip(&file.on_disk).take_while(|(a, b)| a == b).count();
            let survives = flushed + coin(file.cached.len() - flushed + 1);
            let mut bytes = file.on_disk.clone();
            match coin(3) {
                0 => {}
                1 => bytes = file.cached[..survives].to_vec(),
                _ => {
                    bytes = file.cached[..survives].to_vec();
                    bytes.resize(file.cached.len(), 0);
                }
            }
            file.on_disk = bytes.clone();
            file.cached = bytes;
        }
        inner.names = inner.names_on_disk.clone();
        inner.folders = inner.folders_on_disk.clone();
        inner.calls_left = None;
        inner.trouble = None;
    }

    fn used(inner: &Inner) -> usize {
        let inodes: BTreeSet<_> = inner.names.values().collect();
        inodes.into_iter().map(|inode| inner.inodes[inode].cached.len()).sum()
    }

    /// Counts a call that changes something, unless it cannot be.
    fn change(inner: &mut Inner) -> io::Result<()> {
        if let Some(left) = &mut inner.calls_left {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::other("killed"))?;
        }
        inner.calls += 1;
        if inner.fails == Some(inner.calls - 1) {
            return Err(io::Error::from_raw_os_error(nix::errno::Errno::EIO as i32));
        }
        match inner.trouble {
            Some(Trouble::ReadOnly) => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            Some(Trouble::Unplugged) => Err(io::Error::from_raw_os_error(nix::errno::Errno::EIO as i32)),
            None => Ok(()),
        }
    }

    fn name(inner: &mut Inner, change: Change) {
        let folder = folder_of(&change[0].0).to_owned();
        apply(&mut inner.names, change.clone());
        inner.changes.entry(folder).or_default().push(change);
    }

    fn made(&self, path: &Path, empty: bool) -> io::Result<Box<dyn StorageFile>> {
        let mut inner = lock(&self.0);
        Self::change(&mut inner)?;
        if !inner.folders.contains(folder_of(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if inner.folders.contains(path) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let inode = match inner.names.get(path) {
            Some(inode) => *inode,
            None => {
                let inode = inner.next;
                inner.next += 1;
                inner.inodes.insert(inode, File::default());
                Self::name(&mut inner, vec![(path.to_owned(), Some(inode))]);
                inode
            }
        };
        if empty {
            inner.inodes.get_mut(&inode).expect("named").cached.clear();
        }
        Ok(Box::new(SimulatedFile { disk: self.clone(), inode }))
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Inode>, change: Change) {
    for (path, inode) in change {
        match inode {
            Some(inode) => names.insert(path, inode),
            None => names.remove(&path),
        };
    }
}

impl StorageFile for SimulatedFile {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inner = lock(&self.disk.0);
        SimulatedDisk::change(&mut inner)?;
        let room = inner.capacity.map_or(usize::MAX, |all| all.saturating_sub(SimulatedDisk::used(&inner)));
        let file = inner.inodes.get_mut(&self.inode).expect("open");
        let offset = usize::try_from(offset).expect("tests write little");
        let grows = (offset + bytes.len()).saturating_sub(file.cached.len());
        // As much as fits is written, as a real disk does it.
        let written = bytes.len() - grows.saturating_sub(room).min(bytes.len());
        if file.cached.len() < offset + written {
            file.cached.resize(offset + written, 0);
        }
        file.cached[offset..offset + written].copy_from_slice(&bytes[..written]);
        if written < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        let mut inner = lock(&self.disk.0);
        SimulatedDisk::change(&mut inner)?;
        let file = inner.inodes.get_mut(&self.inode).expect("open");
        file.cached.resize(usize::try_from(length).expect("tests write little"), 0);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut inner = lock(&self.disk.0);
        SimulatedDisk::change(&mut inner)?;
        let file = inner.inodes.get_mut(&self.inode).expect("open");
        file.on_disk.clone_from(&file.cached);
        Ok(())
    }
}

impl Storage for SimulatedDisk {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        let mut inner = lock(&self.0);
        Self::change(&mut inner)?;
        let parent = folder_of(folder).to_owned();
        if !inner.folders.contains(&parent) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if inner.names.contains_key(folder) || !inner.folders.insert(folder.to_owned()) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        inner.new_folders.entry(parent).or_default().push(folder.to_owned());
        Ok(())
    }

    fn is_folder(&self, path: &Path) -> bool {
        lock(&self.0).folders.contains(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.made(path, true)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        match self.len(path) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => self.made(path, true),
        }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.made(path, false)
    }

    fn read_at(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let inner = lock(&self.0);
        let inode = inner.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        let bytes = &inner.inodes[inode].cached;
        let from = usize::try_from(offset).expect("tests write little").min(bytes.len());
        Ok(bytes[from..from.saturating_add(length).min(bytes.len())].to_vec())
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let inner = lock(&self.0);
        let inode = inner.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(inner.inodes[inode].cached.len() as u64)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = lock(&self.0);
        Self::change(&mut inner)?;
        let inode = *inner.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        if inner.folders.contains(to) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Self::name(&mut inner, vec![(to.to_owned(), Some(inode)), (from.to_owned(), None)]);
        Ok(())
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self.len(to).is_ok() || self.is_folder(to) {
            true => Err(io::ErrorKind::AlreadyExists.into()),
            false => self.rename(from, to),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = lock(&self.0);
        Self::change(&mut inner)?;
        inner.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Self::name(&mut inner, vec![(path.to_owned(), None)]);
        Ok(())
    }

    fn files(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let inner = lock(&self.0);
        if !inner.folders.contains(folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(inner.names.keys().filter(|path| folder_of(path) == folder).cloned().collect())
    }

    fn max_file_bytes(&self, _folder: &Path) -> Option<u64> {
        None
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut inner = lock(&self.0);
        Self::change(&mut inner)?;
        if !inner.folders.contains(folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        for change in inner.changes.remove(folder).unwrap_or_default() {
            apply(&mut inner.names_on_disk, change);
        }
        let made = inner.new_folders.remove(folder).unwrap_or_default();
        inner.folders_on_disk.extend(made);
        Ok(())
    }
}
