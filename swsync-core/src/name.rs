//! Names of devices, rigs and orders: safe in Zenoh keys, file names and terminals.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text cannot name a device, a rig or an order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It has other characters, or is too short or too long.
    #[error("{0:?} is not a name: use 1 to 64 of a-z A-Z 0-9 . _ - and begin with a letter or digit")]
    Characters(String),
    /// Windows drops a dot at the end, which makes it another name.
    #[error("{0:?} is not a name: it becomes a folder, and on Windows no folder's name ends with a dot")]
    TrailingDot(String),
    /// The name of a DOS device, with or without an extension.
    #[error("{0:?} is not a name: it becomes a folder, and Windows keeps {1} for a device of its own")]
    Reserved(String, String),
}

/// Names of DOS devices, which Windows reserves with any extension and in any case.
const RESERVED: [&str; 4] = ["CON", "PRN", "AUX", "NUL"];
/// The same, followed by a digit.
const RESERVED_WITH_DIGIT: [&str; 2] = ["COM", "LPT"];

/// A name that is safe in keys, file names and terminals: 1 to 64 of `a-z A-Z 0-9 . _ -`. It begins with a letter or digit,
/// does not end with a dot, and is not reserved by Windows (`con`, `com1.x`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("pattern" = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")))]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// The id of a device, unique in its rig.
pub type DeviceId = Name;

/// The id of an order, the same on every device: an order that arrives twice is served once.
pub type OrderId = Name;

impl Name {
    /// Checks `name`.
    ///
    /// # Errors
    /// [`NameError`] says which rule `name` breaks.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let valid = (1..=64).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(plain);
        if !valid {
            return Err(NameError::Characters(name));
        }
        if name.ends_with('.') {
            return Err(NameError::TrailingDot(name));
        }
        if is_reserved(&name) {
            let stem = stem(&name).to_ascii_uppercase();
            return Err(NameError::Reserved(name, stem));
        }
        Ok(Self(name))
    }

    /// Whether folders of both names would be the same folder on a file system that ignores case (Windows, macOS, FAT on SD
    /// cards and USB sticks).
    #[must_use]
    pub fn is_folder_of(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The part before the first dot.
fn stem(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

fn is_reserved(name: &str) -> bool {
    let stem = stem(name).to_ascii_uppercase();
    let digit = RESERVED_WITH_DIGIT.iter().filter_map(|device| stem.strip_prefix(device));
    RESERVED.contains(&&*stem) || digit.into_iter().any(|digit| matches!(digit.as_bytes(), [b'0'..=b'9']))
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(name: String) -> Result<Self, NameError> {
        Self::new(name)
    }
}
impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}
impl std::str::FromStr for Name {
    type Err = NameError;
    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_keys_and_paths() {
        for good in ["pi-3", "a", "CAM_1.left", &"x".repeat(64)] {
            assert_eq!(Name::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "..", ".hidden", "a/b", "a*", "a b", "-rf", "ü", &"x".repeat(65)] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<Name>("\"../etc\"").is_err());
    }

    #[test]
    fn names_are_folders_on_every_system() {
        for bad in ["CON", "con", "Aux.left", "nul", "PRN.1.2", "COM1", "com1.x", "lpt9", "COM0"] {
            assert!(matches!(Name::new(bad), Err(NameError::Reserved(..))), "{bad}");
        }
        for bad in ["cam1.", "a..", "con."] {
            assert!(matches!(Name::new(bad), Err(NameError::TrailingDot(_))), "{bad}");
        }
        for good in ["CONE", "com", "com10", "COMA", "x.con", "lpt-1", "auxiliary", "con-1"] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        let why = Name::new("com1.x").unwrap_err().to_string();
        assert!(why.contains("\"com1.x\"") && why.contains("COM1"), "{why}");
        let name = |name| Name::new(name).unwrap();
        assert!(name("Cam1").is_folder_of(&name("cAM1")) && !name("cam1").is_folder_of(&name("cam2")));
    }
}
