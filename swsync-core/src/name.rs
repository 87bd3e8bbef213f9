//! Names of devices, rigs and orders: safe wherever they end up.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text cannot name a device, a rig or an order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name: use 1 to 64 of a-z A-Z 0-9 . _ - and begin with a letter or digit")]
pub struct NameError(String);

/// A name that is safe in keys, file names and terminals: 1 to 64 of `a-z A-Z 0-9 . _ -`, the first a
/// letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A device's id, unique in its rig.
pub type DeviceId = Name;

/// An order's id: the same everywhere, so that an order that arrives twice is served once.
pub type OrderId = Name;

impl Name {
    /// `name`, if it is one.
    ///
    /// # Errors
    /// [`NameError`] says what a name may hold.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let valid = (1..=64).contains(&name.len())
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.chars().all(plain);
        if valid { Ok(Self(name)) } else { Err(NameError(name)) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
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
}
