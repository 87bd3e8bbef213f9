//! The `location` of files: a path pattern with placeholders.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use swsync_core::grid::FrameNumber;
use swsync_core::name::{DeviceId, OrderId};

/// Appended to a location without placeholders, for pictures and for videos.
const PICTURES: &str = "{take}/{device}/{frame}.{ext}";
const VIDEOS: &str = "{take}/{device}/{segment}.{ext}";

/// Extensions of pictures and videos: a location that ends so is hardly meant as a folder.
const FILES: [&str; 10] = ["jpg", "jpeg", "png", "mp4", "m4v", "mov", "mkv", "webm", "avi", "flv"];

/// Why a location cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocationError {
    /// A placeholder that does not exist.
    #[error(
        "location has {{{0}}}, but there is only {{take}} (or {{order}}), {{device}}, {{frame}}, {{segment}} \
         and {{ext}}"
    )]
    Placeholder(String),
    /// A brace without its counterpart.
    #[error("location has a brace without its counterpart: {0}")]
    Brace(String),
    /// A number as in multifilesink and splitmuxsink.
    #[error(
        "location {0:?} has a number as in printf, but frames are named by {{frame}}, and videos by {{segment}}: \
         img{{frame}}.jpg, {{take}}/{{device}}/{{segment}}.mp4"
    )]
    Printf(String),
    /// The name of a single file.
    #[error(
        "location {0:?} names one file, and orders are many: give a folder, or a pattern, as \
         {{take}}/{{device}}/{{frame}}.jpg for pictures and {{take}}/{{device}}/{{segment}}.mp4 for videos"
    )]
    OneFile(String),
    /// `~` without a home folder.
    #[error("location {0:?} begins with the home folder, but HOME is not set: write it out")]
    Home(String),
    /// Characters that a manifest cannot hold, or another system cannot store.
    #[error(
        "location {0:?} holds a backslash or a control character, which no file of a take can have in its name"
    )]
    Characters(String),
    /// Several frames would have the same file name.
    #[error(
        "location {0} names the same file for every frame: it needs {{frame}}, or for videos {{segment}}"
    )]
    NotUnique(String),
    /// Files of several orders would have the same name, and `max-files` could remove one for another.
    #[error(
        "location {0} gives files of different orders the same names, which max-files cannot tell apart: it needs {{take}}"
    )]
    SharedByOrders(String),
    /// The folder cannot be made, or files in it cannot be written.
    #[error("cannot write to {folder}: {error}")]
    Unwritable {
        /// The folder.
        folder: PathBuf,
        /// The error of the system.
        error: io::Error,
    },
}

/// The names of a device's files: patterns for pictures and for videos.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pictures: Pattern,
    videos: Pattern,
}

/// What distinguishes the files of one order on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileId {
    /// A picture: the number of its frame.
    Picture(FrameNumber),
    /// A segment of a video.
    Segment {
        /// Its index in the take, from 0.
        index: u32,
        /// The number of its first frame.
        first: FrameNumber,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Order,
    Device,
    Frame,
    Segment,
    Extension,
}

impl Location {
    /// Parses a pattern. One without placeholders is a folder: pictures in it are named `{take}/{device}/{frame}.{ext}`, and
    /// videos `{take}/{device}/{segment}.{ext}`.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub fn parse(pattern: &str) -> Result<Self, LocationError> {
        Self::parse_below(pattern, std::env::var("HOME").ok().as_deref())
    }

    /// As [`parse`](Self::parse), with `home` for `~/`: shells do not expand it after `location=`.
    fn parse_below(pattern: &str, home: Option<&str>) -> Result<Self, LocationError> {
        let behind_home = pattern.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let pattern = match behind_home {
            Some(rest) => {
                let home = home.filter(|home| home.starts_with('/'));
                let home = home.ok_or_else(|| LocationError::Home(pattern.to_owned()))?;
                &format!("{}{rest}", home.trim_end_matches('/'))
            }
            None => pattern,
        };
        if has_printf(pattern) {
            return Err(LocationError::Printf(pattern.to_owned()));
        }
        if pattern.contains(['{', '}']) {
            let parsed = Pattern::parse(pattern)?;
            if !parsed.0.iter().any(|part| matches!(part, Part::Frame | Part::Segment)) {
                return Err(LocationError::NotUnique(pattern.into()));
            }
            return Ok(Self { pictures: parsed.clone(), videos: parsed });
        }
        let extension =
            Path::new(pattern).extension().map(|extension| extension.to_string_lossy().to_lowercase());
        let is_file = extension.is_some_and(|extension| FILES.contains(&&*extension));
        if is_file && !pattern.ends_with('/') && !Path::new(pattern).is_dir() {
            return Err(LocationError::OneFile(pattern.to_owned()));
        }
        let folder = match pattern {
            "" => ".",
            "/" => "",
            folder => folder.trim_end_matches('/'),
        };
        Ok(Self {
            pictures: Pattern::parse(&format!("{folder}/{PICTURES}"))?,
            videos: Pattern::parse(&format!("{folder}/{VIDEOS}"))?,
        })
    }

    /// Checks that every picture of an order gets a name of its own.
    ///
    /// # Errors
    /// [`LocationError::NotUnique`] if the pattern is for videos only.
    pub fn check_pictures(&self) -> Result<(), LocationError> {
        match self.pictures.0.contains(&Part::Frame) {
            true => Ok(()),
            false => Err(LocationError::NotUnique(self.pictures.fill(None, None, None, ""))),
        }
    }

    /// Checks that files of different orders have different names.
    ///
    /// # Errors
    /// [`LocationError::SharedByOrders`].
    pub fn check_orders(&self) -> Result<(), LocationError> {
        match [&self.pictures, &self.videos].into_iter().find(|pattern| !pattern.0.contains(&Part::Order)) {
            None => Ok(()),
            Some(pattern) => Err(LocationError::SharedByOrders(pattern.fill(None, None, None, "{ext}"))),
        }
    }

    /// Whether files of other orders and devices have other names.
    pub(crate) fn is_unambiguous(&self) -> bool {
        let has_both =
            |pattern: &Pattern| [Part::Order, Part::Device].iter().all(|part| pattern.0.contains(part));
        has_both(&self.pictures) && has_both(&self.videos)
    }

    /// The path of a file.
    #[must_use]
    pub fn path(&self, order: &OrderId, device: &DeviceId, file: FileId, extension: &str) -> PathBuf {
        let pattern = match file {
            FileId::Picture(_) => &self.pictures,
            FileId::Segment { .. } => &self.videos,
        };
        PathBuf::from(pattern.fill(Some(order), Some(device), Some(file), extension))
    }

    /// Whether `path` can be a file of this order and device.
    #[must_use]
    pub fn may_name(&self, order: &OrderId, device: &DeviceId, path: &Path) -> bool {
        [&self.pictures, &self.videos].into_iter().any(|pattern| pattern.matches(order, device, path))
    }

    /// Where the side files of an order are: the deepest folder that all its files share, and a prefix of their names, which
    /// keeps them apart from other orders and devices.
    #[must_use]
    pub fn side(&self, order: &OrderId, device: &DeviceId) -> (PathBuf, String) {
        let shared = self.pictures.shared();
        let path = shared.fill(Some(order), Some(device), None, "");
        let folder = match path.rsplit_once('/') {
            Some(("", _)) => "/",
            Some((folder, _)) => folder,
            None => ".",
        };
        let folders = shared.folders();
        let mut prefix = String::new();
        if !folders.contains(&Part::Order) {
            prefix = format!("{order}.");
        }
        if !folders.contains(&Part::Device) {
            prefix.push_str(&format!("{device}."));
        }
        (PathBuf::from(folder), prefix)
    }

    /// The extension in the pattern, if it has one.
    #[must_use]
    pub fn extension(&self) -> Option<&str> {
        match self.videos.0.last() {
            Some(Part::Text(text)) => {
                let (_, extension) = text.rsplit_once('.')?;
                (!extension.is_empty() && !extension.contains('/')).then_some(extension)
            }
            _ => None,
        }
    }

    /// The folder that holds all files: the pattern up to the first placeholder.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        let Some(Part::Text(text)) = self.pictures.0.first() else { return PathBuf::from(".") };
        match text.rsplit_once('/') {
            Some(("", _)) => PathBuf::from("/"),
            Some((folder, _)) => PathBuf::from(folder),
            None => PathBuf::from("."),
        }
    }

    /// Free and total bytes of the file system of the root folder, for ordinary users.
    ///
    /// # Errors
    /// The error of the system.
    pub fn space(&self) -> io::Result<(u64, u64)> {
        let stats = rustix::fs::statvfs(self.root())?;
        let bytes = |blocks: u64| blocks.saturating_mul(stats.f_frsize);
        Ok((bytes(stats.f_bavail), bytes(stats.f_blocks)))
    }

    /// Why no file can be written there now, for a person: the file system is read-only or gone, say. Writes nothing.
    #[must_use]
    pub fn unwritable(&self) -> Option<String> {
        let root = self.root();
        let why = match rustix::fs::access(&root, Access::WRITE_OK) {
            Err(error) => error.to_string(),
            Ok(()) => {
                let stats = rustix::fs::statvfs(&root).ok()?;
                // Zero total inodes means that the file system has no limit.
                (stats.f_files > 0 && stats.f_favail == 0)
                    .then(|| "it has no room for another file".to_owned())?
            }
        };
        Some(format!("cannot write below {}: {why}", root.display()))
    }

    /// Makes the root folder, and checks by a probe that files can be written there.
    ///
    /// # Errors
    /// [`LocationError::Unwritable`].
    pub fn check(&self) -> Result<(), LocationError> {
        let folder = self.root();
        let probe = folder.join(format!(".swsync-probe-{}", std::process::id()));
        let write = || File::create(&probe)?.write_all(&[0; 4096]);
        fs::create_dir_all(&folder)
            .and_then(|()| {
                let written = write();
                fs::remove_file(&probe).or_else(|error| if written.is_ok() { Err(error) } else { Ok(()) })?;
                written
            })
            .map_err(|error| LocationError::Unwritable { folder, error })
    }
}

/// Whether the pattern has a `%d`, with or without a width.
fn has_printf(pattern: &str) -> bool {
    pattern
        .split('%')
        .skip(1)
        .any(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(['d', 'i', 'u']))
}

impl Pattern {
    fn parse(pattern: &str) -> Result<Self, LocationError> {
        if pattern.contains(|c: char| c.is_control() || c == '\\') {
            return Err(LocationError::Characters(pattern.to_owned()));
        }
        let mut parts = Vec::new();
        let mut rest = pattern;
        while let Some((text, after)) = rest.split_once('{') {
            let (name, after) =
                after.split_once('}').ok_or_else(|| LocationError::Brace(pattern.to_owned()))?;
            parts.push(Part::Text(text.to_owned()));
            parts.push(match name {
                "order" | "take" => Part::Order,
                "device" => Part::Device,
                "frame" => Part::Frame,
                "segment" => Part::Segment,
                "ext" => Part::Extension,
                other => return Err(LocationError::Placeholder(other.to_owned())),
            });
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        if parts.iter().any(|part| matches!(part, Part::Text(text) if text.contains('}'))) {
            return Err(LocationError::Brace(pattern.to_owned()));
        }
        Ok(Self(parts))
    }

    /// The path with the given values. Other placeholders stay as they are.
    fn fill(
        &self,
        order: Option<&OrderId>,
        device: Option<&DeviceId>,
        file: Option<FileId>,
        extension: &str,
    ) -> String {
        let mut path = String::new();
        for part in &self.0 {
            match (part, file) {
                (Part::Text(text), _) => path.push_str(text),
                (Part::Order, _) => path.push_str(order.map_or("{take}", |order| order.as_str())),
                (Part::Device, _) => path.push_str(device.map_or("{device}", |device| device.as_str())),
                // As many digits as %08u of multifilesink and %04u of splitmuxsink, at least.
                (Part::Frame, Some(FileId::Picture(frame) | FileId::Segment { first: frame, .. })) => {
                    path.push_str(&format!("{frame:08}"));
                }
                (Part::Segment, Some(FileId::Segment { index, .. })) => {
                    path.push_str(&format!("{index:04}"));
                }
                (Part::Segment, Some(FileId::Picture(_))) => path.push_str("0000"),
                (Part::Frame, None) => path.push_str("{frame}"),
                (Part::Segment, None) => path.push_str("{segment}"),
                (Part::Extension, _) => path.push_str(extension),
            }
        }
        path
    }

    /// Whether `path` fits the pattern, with anything for the placeholders that differ between files.
    fn matches(&self, order: &OrderId, device: &DeviceId, path: &Path) -> bool {
        // A zero byte cannot be in a path.
        let marked = self.0.iter().map(|part| match part {
            Part::Frame | Part::Segment | Part::Extension => "\0",
            Part::Text(text) => text,
            Part::Order => order.as_str(),
            Part::Device => device.as_str(),
        });
        let marked: String = marked.collect();
        let path = path.to_string_lossy();
        let mut texts = marked.split('\0');
        let Some(mut rest) = texts.next().and_then(|text| path.strip_prefix(text)) else { return false };
        let mut texts = texts.peekable();
        while let Some(text) = texts.next() {
            if texts.peek().is_none() {
                return rest.len() > text.len() && rest.ends_with(text);
            }
            // A placeholder stands for one character at least.
            let first = rest.chars().next().map_or(0, char::len_utf8);
            let Some(at) = rest[first..].find(text).filter(|_| first > 0) else { return false };
            rest = &rest[first + at + text.len()..];
        }
        rest.is_empty()
    }

    /// The pattern up to the first placeholder that differs between files.
    fn shared(&self) -> Self {
        let differs = |part: &Part| matches!(part, Part::Frame | Part::Segment | Part::Extension);
        Self(self.0.iter().take_while(|part| !differs(part)).cloned().collect())
    }

    /// The parts of the path's folders, without the file name.
    fn folders(&self) -> Vec<Part> {
        let slash = self.0.iter().rposition(|part| matches!(part, Part::Text(text) if text.contains('/')));
        self.0[..slash.unwrap_or(0)].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swsync_core::name::Name;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn path(location: &Location, file: FileId, extension: &str) -> PathBuf {
        location.path(&name("o"), &name("pi"), file, extension)
    }

    #[test]
    fn a_folder_gets_the_default_pattern() {
        let location = Location::parse("/data/shots/").unwrap();
        let picture = FileId::Picture(54_000_000_001);
        assert_eq!(path(&location, picture, "jpg"), Path::new("/data/shots/o/pi/54000000001.jpg"));
        let segment = FileId::Segment { index: 3, first: 54_000_000_001 };
        assert_eq!(path(&location, segment, "mp4"), Path::new("/data/shots/o/pi/0003.mp4"));
        assert_eq!(location.root(), Path::new("/data/shots"));
        assert_eq!(location.extension(), None);
        let here = Location::parse("").unwrap();
        assert_eq!(path(&here, FileId::Picture(7), "raw"), Path::new("./o/pi/00000007.raw"));
        assert_eq!(
            path(&Location::parse("/").unwrap(), FileId::Picture(7), "a"),
            Path::new("/o/pi/00000007.a")
        );
    }

    #[test]
    fn patterns_are_checked() {
        let location = Location::parse("x/{device}-{frame}.{ext}").unwrap();
        assert_eq!(path(&location, FileId::Picture(1), "png"), Path::new("x/pi-00000001.png"));
        assert_eq!(location.root(), Path::new("x"));
        assert!(location.check_pictures().is_ok());
        assert!(matches!(Location::parse("{shot}/{frame}"), Err(LocationError::Placeholder(_))));
        assert!(matches!(Location::parse("{frame"), Err(LocationError::Brace(_))));
        assert!(matches!(Location::parse("{take}/a\\b{frame}"), Err(LocationError::Characters(_))));
        assert!(matches!(Location::parse("{device}}"), Err(LocationError::Brace(_))));
        assert!(matches!(Location::parse("{device}.jpg"), Err(LocationError::NotUnique(_))));
        let shared = location.check_orders().unwrap_err().to_string();
        assert!(
            shared.contains("location x/{device}-{frame}.{ext} gives") && shared.contains("{take}"),
            "{shared}"
        );
        let videos = Location::parse("{take}/{device}/{segment}.mkv").unwrap();
        assert!(videos.check_orders().is_ok() && Location::parse("x").unwrap().check_orders().is_ok());
        assert_eq!(videos.extension(), Some("mkv"));
        assert!(matches!(videos.check_pictures(), Err(LocationError::NotUnique(_))));
    }

    #[test]
    fn syntax_of_other_sinks_and_shells_is_expanded_or_refused() {
        for printf in ["img%05d.jpg", "{take}/%d.png", "/x/%08u", "video%02d.mp4"] {
            let error = Location::parse(printf).unwrap_err();
            assert!(
                matches!(error, LocationError::Printf(_)) && error.to_string().contains("img{frame}.jpg"),
                "{error}"
            );
        }
        assert!(Location::parse("100%/due").is_ok() && Location::parse("50%_done").is_ok());
        for file in ["out.mp4", "/x/picture.JPG"] {
            let error = Location::parse(file).unwrap_err();
            assert!(
                matches!(error, LocationError::OneFile(_)) && error.to_string().contains("{segment}.mp4"),
                "{error}"
            );
        }
        assert!(Location::parse("takes.v2").is_ok() && Location::parse("out.mp4/").is_ok());
        let below = |pattern| Location::parse_below(pattern, Some("/home/pi"));
        assert_eq!(below("~/x").unwrap().root(), Path::new("/home/pi/x"));
        assert_eq!(below("~").unwrap().root(), Path::new("/home/pi"));
        assert_eq!(below("~/{take}/{frame}.jpg").unwrap().root(), Path::new("/home/pi"));
        assert_eq!(below("~x").unwrap().root(), Path::new("~x"));
        for home in [None, Some(""), Some("here")] {
            assert!(matches!(Location::parse_below("~/x", home), Err(LocationError::Home(_))));
        }
    }

    #[test]
    fn side_files_have_names_of_their_own() {
        let side = |pattern: &str| {
            let (folder, prefix) = Location::parse(pattern).unwrap().side(&name("o"), &name("pi"));
            (folder.display().to_string(), prefix)
        };
        for (pattern, folder, prefix) in [
            ("shots", "shots/o/pi", ""),
            ("/", "/o/pi", ""),
            ("x/{device}-{frame}.{ext}", "x", "o.pi."),
            ("{take}/{device}-{segment}.mp4", "o", "pi."),
            ("{take}/{frame}/{device}.jpg", "o", "pi."),
            ("/a/{device}/{frame}.jpg", "/a/pi", "o."),
            ("{frame}.jpg", ".", "o.pi."),
        ] {
            assert_eq!(side(pattern), (folder.to_owned(), prefix.to_owned()), "{pattern}");
        }
    }

    #[test]
    fn files_of_an_order_are_distinguished_from_others() {
        let may = |pattern: &str, path: &str| {
            Location::parse(pattern).unwrap().may_name(&name("o"), &name("pi"), Path::new(path))
        };
        for path in ["x/o/pi/00000001.jpg", "x/o/pi/0001.mp4", "x/o/pi/0001-2.mp4"] {
            assert!(may("x", path), "{path}");
        }
        for path in ["x/o/pi2/1.jpg", "x/o2/pi/1.jpg", "y/o/pi/1.jpg", "x/o/pi/1", "x/o/pi/.jpg", "x/o/pi/"] {
            assert!(!may("x", path), "{path}");
        }
        assert!(may("x/{device}-{frame}.jpg", "x/pi-1.jpg"));
        assert!(!may("x/{device}-{frame}.jpg", "x/po-1.jpg") && !may("x/{device}-{frame}.jpg", "x/pi-1.png"));
    }

    #[test]
    fn an_unwritable_root_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a file");
        fs::write(&file, "").unwrap();
        let location = Location::parse(&format!("{}/sub", file.display())).unwrap();
        let error = location.check().unwrap_err().to_string();
        assert!(error.contains("a file/sub"), "{error}");
        assert!(Location::parse(folder.path().to_str().unwrap()).unwrap().check().is_ok());
    }

    #[test]
    fn a_root_that_is_gone_is_named_without_writing() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &Path| Location::parse(path.to_str().unwrap()).unwrap().unwritable();
        assert_eq!(at(folder.path()), None);
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "no file was written");
        let gone = at(&folder.path().join("gone")).unwrap();
        assert!(gone.contains("cannot write below ") && gone.contains("/gone: "), "{gone}");
    }

    #[test]
    fn placeholders_may_stand_beside_each_other() {
        let [order, device] = ["o-1", "pi"].map(|name| Name::new(name).unwrap());
        for pattern in ["/d/{frame}{segment}/{ext}", "{take}/{frame}0{segment}.jpg", "{frame}{ext}"] {
            let location = Location::parse(pattern).unwrap();
            let path = location.path(&order, &device, FileId::Picture(7), "jpg");
            assert!(location.may_name(&order, &device, &path), "{pattern}: {}", path.display());
        }
        let location = Location::parse("{take}/{frame}-{segment}.jpg").unwrap();
        for other in ["o-1/-5.jpg", "o-1/5.jpg", "o-1/5-.jpg", "o-2/5-5.jpg", "o-1/5-5.png"] {
            assert!(!location.may_name(&order, &device, Path::new(other)), "{other}");
        }
    }
}
