//! A disk for tests: it runs full, is pulled out, and loses unflushed data at a power cut.
//!
//! It is as bad as any file system: flushing a file does not flush its name. After a power cut, unflushed changes of names
//! are there in any combination, and unflushed bytes are there up to any point, or as zeros.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::storage::{Storage, StorageFile, folder_of};

/// A fault of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFault {
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
    /// The names as processes see them.
    names: BTreeMap<PathBuf, Inode>,
    folders: BTreeSet<PathBuf>,
    /// The names on the disk, and the unflushed changes by folder.
    names_on_disk: BTreeMap<PathBuf, Inode>,
    folders_on_disk: BTreeSet<PathBuf>,
    changes: BTreeMap<PathBuf, Vec<Change>>,
    new_folders: BTreeMap<PathBuf, Vec<PathBuf>>,
    capacity: Option<usize>,
    fault: Option<DiskFault>,
    /// Calls that still succeed before the process is killed.
    calls_left: Option<u64>,
    /// The number of the one call that fails.
    fails: Option<u64>,
    calls: u64,
}

/// The disk. Clones share it.
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
        disk.0.lock().folders.insert("/".into());
        disk.0.lock().folders_on_disk.insert("/".into());
        disk
    }

    /// Limits the bytes on the disk.
    pub fn set_capacity(&self, capacity: Option<usize>) {
        self.0.lock().capacity = capacity;
    }

    pub fn set_fault(&self, fault: Option<DiskFault>) {
        self.0.lock().fault = fault;
    }

    /// Makes every changing call fail after `calls` more of them, as if the process were dead.
    pub fn die_after(&self, calls: Option<u64>) {
        self.0.lock().calls_left = calls;
    }

    /// Makes the changing call of this number fail.
    pub fn fail_call(&self, call: u64) {
        self.0.lock().fails = Some(call);
    }

    /// Removes an empty folder.
    pub fn remove_folder(&self, folder: &Path) {
        let mut inner = self.0.lock();
        assert!(inner.folders.remove(folder));
        inner.folders_on_disk.remove(folder);
    }

    /// Number of changing calls so far.
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// Cuts the power. `coin` (a number below its argument) chooses which unflushed data remains.
    pub fn cut_power(&self, coin: &mut dyn FnMut(usize) -> usize) {
        let mut inner = self.0.lock();
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
            // Overwritten bytes are the new ones or the old ones.
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
        inner.fault = None;
    }

    fn used(inner: &Inner) -> usize {
        let inodes: BTreeSet<_> = inner.names.values().collect();
        inodes.into_iter().map(|inode| inner.inodes[inode].cached.len()).sum()
    }

    /// Counts a changing call, or fails.
    fn change(inner: &mut Inner) -> io::Result<()> {
        if let Some(left) = &mut inner.calls_left {
            *left = left.checked_sub(1).ok_or_else(|| io::Error::other("killed"))?;
        }
        inner.calls += 1;
        if inner.fails == Some(inner.calls - 1) {
            return Err(io::Error::from_raw_os_error(nix::errno::Errno::EIO as i32));
        }
        match inner.fault {
            Some(DiskFault::ReadOnly) => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            Some(DiskFault::Unplugged) => Err(io::Error::from_raw_os_error(nix::errno::Errno::EIO as i32)),
            None => Ok(()),
        }
    }

    fn name(inner: &mut Inner, change: Change) {
        let folder = folder_of(&change[0].0).to_owned();
        apply(&mut inner.names, change.clone());
        inner.changes.entry(folder).or_default().push(change);
    }

    fn open_file(&self, path: &Path, empty: bool) -> io::Result<Box<dyn StorageFile>> {
        let mut inner = self.0.lock();
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
        let mut inner = self.disk.0.lock();
        SimulatedDisk::change(&mut inner)?;
        let room = inner.capacity.map_or(usize::MAX, |all| all.saturating_sub(SimulatedDisk::used(&inner)));
        let file = inner.inodes.get_mut(&self.inode).expect("open");
        let offset = usize::try_from(offset).expect("tests write little");
        let grows = (offset + bytes.len()).saturating_sub(file.cached.len());
        // What fits is written, as on a real disk.
        let written = bytes.len() - grows.saturating_sub(room).min(bytes.len());
        if file.cached.len() < offset + written {
            file.cached.resize(offset + written, 0);
        }
        file.cached[offset..offset + written].copy_from_slice(&bytes[..written]);
        if written < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        let mut inner = self.disk.0.lock();
        SimulatedDisk::change(&mut inner)?;
        let file = inner.inodes.get_mut(&self.inode).expect("open");
        file.cached.resize(usize::try_from(length).expect("tests write little"), 0);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut inner = self.disk.0.lock();
        SimulatedDisk::change(&mut inner)?;
        let file = inner.inodes.get_mut(&self.inode).expect("open");
        file.on_disk.clone_from(&file.cached);
        Ok(())
    }
}

impl Storage for SimulatedDisk {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        let mut inner = self.0.lock();
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
        self.0.lock().folders.contains(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.open_file(path, true)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        match self.len(path) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => self.open_file(path, true),
        }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.open_file(path, false)
    }

    fn read_at(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let inner = self.0.lock();
        let inode = inner.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        let bytes = &inner.inodes[inode].cached;
        let from = usize::try_from(offset).expect("tests write little").min(bytes.len());
        Ok(bytes[from..from.saturating_add(length).min(bytes.len())].to_vec())
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let inner = self.0.lock();
        let inode = inner.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(inner.inodes[inode].cached.len() as u64)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.0.lock();
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
        let mut inner = self.0.lock();
        Self::change(&mut inner)?;
        inner.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Self::name(&mut inner, vec![(path.to_owned(), None)]);
        Ok(())
    }

    fn files(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let inner = self.0.lock();
        if !inner.folders.contains(folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(inner.names.keys().filter(|path| folder_of(path) == folder).cloned().collect())
    }

    fn max_file_bytes(&self, _folder: &Path) -> Option<u64> {
        None
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut inner = self.0.lock();
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
