//! The board's LED, which blinks so that a person finds the device.
//!
//! Linux has LEDs in `/sys/class/leds`. Each has a trigger, the part of the kernel that switches it (the SD card's activity, on a
//! Raspberry Pi). While it blinks the trigger is `none`. What was there before is noted in a file until it is restored: dropping a
//! [`BlinkingLed`] does that, and [`restore_after_crash`] does it for a process that was killed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::HostRoot;

const LEDS: &str = "/sys/class/leds";

/// LEDs of Raspberry Pis, by the names of newer and older kernels: activity first, as it can be switched on every model.
const BOARD_LEDS: [&str; 4] = ["ACT", "led0", "PWR", "led1"];

/// Ends of LEDs' names that stand for the board and not for a key or a port (the kernel's `dt-bindings/leds/common.h`).
const BOARD_FUNCTIONS: [&str; 4] = [":status", ":activity", ":heartbeat", ":indicator"];

/// Folders for the note, empty after a restart of the host, as triggers are. The first that can be written to counts.
const NOTE_FOLDERS: [&str; 2] = ["/run/lock", "/tmp"];

/// Why the LED cannot blink.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedError {
    /// The board has no LED that can be switched.
    #[error(
        "there is no LED to blink: looked in {folder} for {}, or a name that ends with {}; there is {there}",
        BOARD_LEDS.join(", "), BOARD_FUNCTIONS.join(", ")
    )]
    None {
        /// Where it was looked for.
        folder: PathBuf,
        /// The names that are there.
        there: String,
    },
    /// The LED may not be switched by this user.
    #[error(
        "the LED {led} may not be switched by this user ({path}: permission denied). As root, write to \
         /etc/udev/rules.d/60-swsync-led.rules: SUBSYSTEM==\"leds\", KERNEL==\"{led}\", RUN+=\"/bin/chmod a+w \
         /sys/class/leds/%k/trigger /sys/class/leds/%k/brightness\" and run: udevadm control --reload && udevadm trigger \
         --subsystem-match=leds --action=add"
    )]
    Permission {
        /// Its name.
        led: String,
        /// The file that cannot be written.
        path: PathBuf,
    },
    /// The system does not let it be switched.
    #[error("the LED {led} cannot be switched: {path}: {source}")]
    Io {
        /// Its name.
        led: String,
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

/// An LED of the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Led {
    root: HostRoot,
    name: String,
}

/// What an LED was before it blinked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Before {
    led: String,
    trigger: String,
    brightness: u32,
    /// The process that makes it blink.
    process: u32,
}

impl Led {
    /// The board's LED.
    ///
    /// # Errors
    /// [`LedError::None`] says what was looked for, and what is there.
    pub fn find(root: &HostRoot) -> Result<Self, LedError> {
        let folder = root.path(LEDS);
        let entries = fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok);
        let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        let by_name = BOARD_LEDS.iter().find_map(|led| names.iter().find(|name| name == led));
        let by_function = || names.iter().find(|name| BOARD_FUNCTIONS.iter().any(|end| name.ends_with(end)));
        match by_name.or_else(by_function) {
            Some(name) => Ok(Self { root: root.clone(), name: name.clone() }),
            None if names.is_empty() => Err(LedError::None { folder, there: "none".into() }),
            None => Err(LedError::None { folder, there: names.join(", ") }),
        }
    }

    /// Its name, as `ACT`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn path(&self, file: &str) -> PathBuf {
        self.root.path(LEDS).join(&self.name).join(file)
    }

    fn write(&self, file: &str, text: &str) -> Result<(), LedError> {
        let path = self.path(file);
        // Files of sysfs exist: none is created.
        let written = fs::OpenOptions::new().write(true).truncate(true).open(&path);
        let written = written.and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()));
        written.map_err(|source| self.error(path, source))
    }

    fn read(&self, file: &str) -> Result<String, LedError> {
        let path = self.path(file);
        fs::read_to_string(&path).map_err(|source| self.error(path, source))
    }

    fn error(&self, path: PathBuf, source: io::Error) -> LedError {
        let led = self.name.clone();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                LedError::Permission { led, path }
            }
            _ => LedError::Io { led, path, source },
        }
    }

    /// What it is now.
    fn before(&self) -> Result<Before, LedError> {
        Ok(Before {
            led: self.name.clone(),
            trigger: selected(&self.read("trigger")?).unwrap_or("none").to_owned(),
            brightness: self.read("brightness")?.trim().parse().unwrap_or(0),
            process: std::process::id(),
        })
    }

    fn restore(&self, before: &Before) -> Result<(), LedError> {
        // First: a trigger then switches it as it likes.
        self.write("brightness", &before.brightness.to_string())?;
        self.write("trigger", &before.trigger)
    }
}

/// The trigger in brackets, of all that a `trigger` file lists.
fn selected(triggers: &str) -> Option<&str> {
    let (_, rest) = triggers.split_once('[')?;
    Some(rest.split_once(']')?.0)
}

/// An LED that is switched on and off by hand. Dropping it restores what was there before.
#[derive(Debug)]
pub struct BlinkingLed {
    led: Led,
    before: Before,
    on: String,
    note: PathBuf,
}

impl BlinkingLed {
    /// Takes the LED from its trigger.
    ///
    /// # Errors
    /// [`LedError`]: it cannot be switched. Then it is as before.
    pub fn begin(led: Led) -> Result<Self, LedError> {
        // One that blinks already, for another device of this host, was something else before that.
        let noted = read_note(&led.root).filter(|(_, noted)| noted.led == led.name);
        let (note, before) = match noted {
            Some((path, before)) => (path, Before { process: std::process::id(), ..before }),
            None => (PathBuf::new(), led.before()?),
        };
        let on = led.read("max_brightness")?.trim().to_owned();
        led.write("brightness", &before.brightness.to_string())?; // whether that is allowed, before anything changes
        let note = if note.as_os_str().is_empty() { write_note(&led, &before)? } else { note };
        let this = Self { led, before, on, note };
        this.led.write("trigger", "none")?; // if it fails, dropping `this` restores it
        Ok(this)
    }

    /// The LED.
    #[must_use]
    pub const fn led(&self) -> &Led {
        &self.led
    }

    /// Switches it on or off.
    ///
    /// # Errors
    /// [`LedError`].
    pub fn switch(&self, on: bool) -> Result<(), LedError> {
        self.led.write("brightness", if on { &self.on } else { "0" })
    }
}

impl Drop for BlinkingLed {
    fn drop(&mut self) {
        match self.led.restore(&self.before) {
            Ok(()) => drop(fs::remove_file(&self.note)), // or another device of this host has removed it
            Err(error) => swsync_core::log::warn!(%error, "the LED is not as it was before"),
        }
    }
}

/// Restores the LED that a process made blink which was killed meanwhile. Returns its name.
///
/// # Errors
/// [`LedError`]: it cannot be switched any more.
pub fn restore_after_crash(root: &HostRoot) -> Result<Option<String>, LedError> {
    let Some((path, before)) = read_note(root) else { return Ok(None) };
    if before.process != std::process::id() && root.path("/proc").join(before.process.to_string()).exists() {
        return Ok(None); // it blinks
    }
    let led = Led { root: root.clone(), name: before.led.clone() };
    led.restore(&before)?;
    let _ = fs::remove_file(path); // or another process was quicker
    Ok(Some(before.led))
}

fn note_in(root: &HostRoot, folder: &str) -> PathBuf {
    root.path(folder).join("swsync-led")
}

fn read_note(root: &HostRoot) -> Option<(PathBuf, Before)> {
    NOTE_FOLDERS.iter().find_map(|folder| {
        let path = note_in(root, folder);
        Some((path.clone(), Before::parse(&read_short(&path)?)?))
    })
}

/// The text of a file, if it is a short one: others may write to the folder too.
fn read_short(path: &Path) -> Option<String> {
    const MOST: u64 = 1_024;
    let about = fs::symlink_metadata(path).ok().filter(|about| about.is_file() && about.len() <= MOST)?;
    debug_assert!(about.len() <= MOST);
    fs::read_to_string(path).ok()
}

fn write_note(led: &Led, before: &Before) -> Result<PathBuf, LedError> {
    let mut failed = None;
    for folder in NOTE_FOLDERS {
        let path = note_in(&led.root, folder);
        match fs::write(&path, before.to_text()) {
            Ok(()) => return Ok(path),
            Err(error) => failed = Some((path, error)),
        }
    }
    let (path, source) = failed.expect("there are folders to try");
    Err(LedError::Io { led: led.name.clone(), path, source })
}

impl Before {
    fn to_text(&self) -> String {
        let Self { led, trigger, brightness, process } = self;
        format!("{led}\n{trigger}\n{brightness}\n{process}\n")
    }

    /// `None` for what [`to_text`](Self::to_text) does not write. The name is one file's, not a path.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let led =
            lines.next().filter(|led| !led.is_empty() && !led.contains('/') && *led != "..")?.to_owned();
        let trigger = lines.next()?.to_owned();
        Some(Self {
            led,
            trigger,
            brightness: lines.next()?.parse().ok()?,
            process: lines.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with these LEDs, whose triggers are the SD card's activity.
    fn host(leds: &[&str]) -> (tempfile::TempDir, HostRoot) {
        let folder = tempfile::tempdir().unwrap();
        let root = HostRoot::at(folder.path());
        fs::create_dir_all(root.path("/run/lock")).unwrap();
        for led in leds {
            let at = root.path(LEDS).join(led);
            fs::create_dir_all(&at).unwrap();
            fs::write(at.join("trigger"), "none timer [mmc0] default-on\n").unwrap();
            fs::write(at.join("brightness"), "0\n").unwrap();
            fs::write(at.join("max_brightness"), "255\n").unwrap();
        }
        (folder, root)
    }

    fn state(root: &HostRoot, led: &str) -> [String; 2] {
        ["trigger", "brightness"].map(|file| root.text(format!("{LEDS}/{led}/{file}")).unwrap().unwrap())
    }

    #[test]
    fn the_boards_led_is_found_and_no_other() {
        let found = |leds: &[&str]| Led::find(&host(leds).1).map(|led| led.name().to_owned());
        assert_eq!(found(&["PWR", "ACT", "input3::capslock"]).unwrap(), "ACT");
        assert_eq!(found(&["led1", "led0"]).unwrap(), "led0");
        assert_eq!(found(&["blue:status", "mmc0::"]).unwrap(), "blue:status");
        let why = found(&["input3::capslock"]).unwrap_err().to_string();
        assert!(
            why.contains("for ACT, led0, PWR, led1") && why.contains("there is input3::capslock"),
            "{why}"
        );
        let why = Led::find(&HostRoot::at("/nonexistent")).unwrap_err().to_string();
        assert!(why.contains("/nonexistent/sys/class/leds") && why.ends_with("there is none"), "{why}");
    }

    #[test]
    fn it_is_as_before_when_it_has_blinked() {
        let (_folder, root) = host(&["ACT"]);
        let led = BlinkingLed::begin(Led::find(&root).unwrap()).unwrap();
        led.switch(true).unwrap();
        assert_eq!(state(&root, "ACT"), ["none", "255"]);
        led.switch(false).unwrap();
        assert_eq!(state(&root, "ACT"), ["none", "0"]);
        // A second device of the host does not take that for what was there before.
        let second = BlinkingLed::begin(Led::find(&root).unwrap()).unwrap();
        drop(led);
        second.switch(true).unwrap();
        drop(second);
        assert_eq!(state(&root, "ACT"), ["mmc0", "0"]);
        assert_eq!(read_note(&root), None);
        assert_eq!(restore_after_crash(&root).unwrap(), None);
    }

    #[test]
    fn the_led_of_a_process_that_was_killed_is_restored() {
        let (_folder, root) = host(&["ACT"]);
        let led = BlinkingLed::begin(Led::find(&root).unwrap()).unwrap();
        led.switch(true).unwrap();
        std::mem::forget(led);
        let (path, before) = read_note(&root).unwrap();
        fs::write(&path, Before { process: 4_194_305, ..before.clone() }.to_text()).unwrap();
        fs::create_dir_all(root.path("/proc/4194305")).unwrap();
        assert_eq!(restore_after_crash(&root).unwrap(), None, "it runs still");
        fs::remove_dir(root.path("/proc/4194305")).unwrap();
        assert_eq!(restore_after_crash(&root).unwrap(), Some("ACT".into()));
        assert_eq!(state(&root, "ACT"), ["mmc0", "0"]);
        for forged in ["", "../../x\nmmc0\n0\n1\n", "ACT\nmmc0\nbright\n1\n"] {
            fs::write(&path, forged).unwrap();
            assert_eq!(restore_after_crash(&root).unwrap(), None, "{forged:?}");
        }
    }

    #[test]
    fn an_led_that_cannot_be_switched_says_what_to_do() {
        let (_folder, root) = host(&["ACT"]);
        let led = Led::find(&root).unwrap();
        let denied = led.error(led.path("trigger"), io::ErrorKind::PermissionDenied.into()).to_string();
        assert!(denied.contains("60-swsync-led.rules") && denied.contains("KERNEL==\"ACT\""), "{denied}");
        fs::remove_file(led.path("max_brightness")).unwrap();
        let error = BlinkingLed::begin(led).unwrap_err();
        assert!(
            matches!(&error, LedError::Io { path, .. } if path.ends_with("ACT/max_brightness")),
            "{error}"
        );
        assert_eq!(state(&root, "ACT")[0], "none timer [mmc0] default-on", "it is as before");
    }
}
