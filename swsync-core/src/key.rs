//! The key of a rig: one secret that all devices and the operator have in a file.
//!
//! From it, by HKDF-SHA256 (RFC 5869), each use gets a secret of its own: the MAC of NTP packets ([`RigKey::ntp_key`]), the
//! certificate authority of the control plane ([`RigKey::authority_seed`]), and a fingerprint that may be shown
//! ([`RigKey::fingerprint`]). None of them tells anything about the key or about another one.
//!
//! This module parses and derives. `swsync_rig::key_file` reads and creates files.

use std::fmt;
use std::sync::Arc;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::ntp::{Key, KeyError, Keys};

/// The first word of the line that holds the key. Files of NTP keys (chrony's format) begin each line with a number.
const KEYWORD: &str = "swsync-rig-key";
/// The version of the format, the second word.
const VERSION: &str = "1";
/// The length of the secret, in bytes.
pub const SECRET_LEN: usize = 32;

/// Set in the ids of NTP keys that are derived from a rig's key, and in no others that people choose.
const DERIVED_ID: u32 = 1 << 31;

/// HKDF's salt: which protocol the key is of.
const SALT: &[u8] = b"swsync rig key 1";
/// HKDF's labels, one for each use.
const NTP_KEY: &[u8] = b"ntp mac key";
const NTP_KEY_ID: &[u8] = b"ntp mac key id";
const AUTHORITY: &[u8] = b"certificate authority seed";
const FINGERPRINT: &[u8] = b"fingerprint";

/// Why a text holds no key. It never quotes the text, which may be the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyTextError {
    /// It is empty, or has comments only.
    #[error("it holds no key; `swsync key new FILE` makes one")]
    Empty,
    /// Its line has another first word.
    #[error("line {line} is not `{KEYWORD} {VERSION} SECRET`, the line that `swsync key new FILE` writes")]
    NoKey {
        /// The line, from 1.
        line: usize,
    },
    /// Of a version that this swsync does not know.
    #[error("line {line}: the key is of another version than {VERSION}: update swsync")]
    Version {
        /// The line, from 1.
        line: usize,
    },
    /// The secret is damaged.
    #[error("line {line}: the secret is not 64 hexadecimal digits: the file is damaged, copy it again")]
    Secret {
        /// The line, from 1.
        line: usize,
    },
    /// More than one key.
    #[error("line {line}: a second key; a rig has one")]
    Second {
        /// The line, from 1.
        line: usize,
    },
    /// Keys of NTP, where the key of a rig is needed.
    #[error(
        "it holds NTP keys in chrony's format, which protect the time only; `swsync key new FILE` makes a key for the rig"
    )]
    NtpKeys,
    /// A file of NTP keys that cannot be parsed.
    #[error(transparent)]
    Ntp(#[from] KeyError),
}

/// The key of a rig. Clones share the secret, which is overwritten in memory when the last of them is dropped.
#[derive(Clone)]
pub struct RigKey(Arc<Zeroizing<[u8; SECRET_LEN]>>);

/// A short name of a key, to compare those of two devices. It may be shown: the key cannot be found from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl RigKey {
    /// The key with this secret, which must come from a cryptographic random number generator.
    #[must_use]
    pub fn from_secret(secret: Zeroizing<[u8; SECRET_LEN]>) -> Self {
        Self(Arc::new(secret))
    }

    /// Parses the text of a key file: one line `swsync-rig-key 1 SECRET`, where SECRET is 64 hexadecimal digits. Lines that begin
    /// with `#` are comments.
    ///
    /// # Errors
    /// [`KeyTextError`] with the line.
    pub fn parse(text: &str) -> Result<Self, KeyTextError> {
        let mut key = None;
        for (line, content) in lines(text) {
            let mut words = content.split_ascii_whitespace();
            if words.next() != Some(KEYWORD) {
                return Err(if is_ntp_line(content) {
                    KeyTextError::NtpKeys
                } else {
                    KeyTextError::NoKey { line }
                });
            }
            if words.next() != Some(VERSION) {
                return Err(KeyTextError::Version { line });
            }
            let secret = words.next().and_then(from_hex).ok_or(KeyTextError::Secret { line })?;
            if words.next().is_some() {
                return Err(KeyTextError::Secret { line });
            }
            if key.replace(Self::from_secret(secret)).is_some() {
                return Err(KeyTextError::Second { line });
            }
        }
        key.ok_or(KeyTextError::Empty)
    }

    /// The text of this key's file, with the secret.
    #[must_use]
    pub fn to_file_text(&self) -> Zeroizing<String> {
        let fingerprint = self.fingerprint();
        // Allocated once, so that no copy of the secret stays behind when the text grows.
        let mut text = Zeroizing::new(String::with_capacity(1024));
        text.push_str(
            "# The key of a swsync rig. Whoever has this file can order, read and delete everything on the rig.\n\
             # Copy it to each device and to the operator's computer (scp -p), readable by its owner only (chmod 600).\n\
             # Never mail it, and keep it out of version control.\n",
        );
        text.push_str(&format!("# Fingerprint, to compare (swsync key check FILE): {fingerprint}\n"));
        text.push_str(KEYWORD);
        text.push(' ');
        text.push_str(VERSION);
        text.push(' ');
        for byte in self.0.iter() {
            for nibble in [byte >> 4, byte & 0xf] {
                text.push(char::from_digit(u32::from(nibble), 16).expect("a nibble is a digit"));
            }
        }
        text.push('\n');
        text
    }

    /// A name of this key that may be shown.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(*self.derive(FINGERPRINT))
    }

    /// The key of the MAC of the rig's NTP packets: AES-256-CMAC. Its id is derived as well, so that a device with another key is
    /// told apart from one whose packets are forged. The id is above 2^31, and thus out of the way of those that people choose.
    #[must_use]
    pub fn ntp_key(&self) -> Key {
        let id = u32::from_be_bytes(*self.derive(NTP_KEY_ID)) | DERIVED_ID;
        Key::new(id, &*self.derive::<32>(NTP_KEY))
            .expect("the length is that of AES-256, and the id is not 0")
    }

    /// The seed of the private key of the rig's certificate authority.
    #[must_use]
    pub fn authority_seed(&self) -> Zeroizing<[u8; 32]> {
        self.derive(AUTHORITY)
    }

    fn derive<const N: usize>(&self, label: &[u8]) -> Zeroizing<[u8; N]> {
        let mut output = Zeroizing::new([0; N]);
        Hkdf::<Sha256>::new(Some(SALT), self.0.as_slice())
            .expand(label, output.as_mut_slice())
            .expect("the output is shorter than 255 hashes");
        output
    }
}

impl PartialEq for RigKey {
    /// Compares fingerprints, so that the time it takes tells nothing about the secrets.
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

impl Eq for RigKey {}

impl fmt::Debug for RigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RigKey({})", self.fingerprint())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pair) in self.0.chunks(2).enumerate() {
            if index > 0 {
                f.write_str("-")?;
            }
            for byte in pair {
                write!(f, "{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a file of either format holds.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyFile {
    /// The key of a rig.
    Rig(RigKey),
    /// NTP keys, in chrony's format.
    Ntp(Keys),
}

impl KeyFile {
    /// Parses `text` in the format that it has: that of [`RigKey::parse`] or that of [`Keys::parse`].
    ///
    /// # Errors
    /// [`KeyTextError`] with the line.
    pub fn parse(text: &str) -> Result<Self, KeyTextError> {
        match RigKey::parse(text) {
            Ok(key) => Ok(Self::Rig(key)),
            Err(KeyTextError::NtpKeys) => Ok(Self::Ntp(Keys::parse(text)?)),
            Err(error) => Err(error),
        }
    }
}

/// Whether the NTP key `id` is one that a rig's key derives.
#[must_use]
pub const fn is_rig_key(id: u32) -> bool {
    id & DERIVED_ID != 0
}

/// The lines of `text` that are not empty, numbered from 1, without comments of both formats.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = (1..).zip(text.lines().map(str::trim));
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with(['!', ';', '#', '%']))
}

/// Whether `line` looks like chrony's `ID TYPE SECRET`.
fn is_ntp_line(line: &str) -> bool {
    line.split_ascii_whitespace().next().is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit()))
}

fn from_hex(digits: &str) -> Option<Zeroizing<[u8; SECRET_LEN]>> {
    let digits = digits.as_bytes();
    if digits.len() != 2 * SECRET_LEN {
        return None;
    }
    let mut secret = Zeroizing::new([0; SECRET_LEN]);
    for (byte, pair) in secret.iter_mut().zip(digits.chunks(2)) {
        for digit in pair {
            let nibble = char::from(*digit).to_digit(16)?;
            *byte = *byte << 4 | u8::try_from(nibble).ok()?;
        }
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> RigKey {
        RigKey::from_secret(Zeroizing::new([byte; SECRET_LEN]))
    }

    #[test]
    fn a_file_holds_what_was_written() {
        let key = key(0x5a);
        let text = key.to_file_text();
        assert!(text.contains(&format!("\nswsync-rig-key 1 {}\n", "5a".repeat(32))), "{}", *text);
        assert_eq!(RigKey::parse(&text).unwrap(), key);
        assert_eq!(KeyFile::parse(&text).unwrap(), KeyFile::Rig(key));
        assert!(text.contains("Whoever has this file"));
    }

    #[test]
    fn derived_secrets_are_rfc_5869s() {
        // Computed by Python's hmac: extract = HMAC(salt, secret), output = HMAC(extract, label + b"\x01").
        let key = key(0x5a);
        assert_eq!(key.fingerprint().to_string(), "db3c-186d-5600-8375-a1f9-f527-886a-32b2");
        assert_eq!(key.ntp_key().id(), 3661799180);
    }

    #[test]
    fn another_key_derives_other_secrets() {
        let (a, b) = (key(1), key(2));
        assert_ne!(a, b);
        assert_ne!(a.fingerprint(), b.fingerprint());
        assert_ne!(a.authority_seed(), b.authority_seed());
        assert_ne!(a.ntp_key().id(), b.ntp_key().id());
        assert_ne!(a.ntp_key().digest(b"message"), b.ntp_key().digest(b"message"));
        assert_ne!(&a.authority_seed()[..16], &a.fingerprint().0, "each use has a secret of its own");
    }

    #[test]
    fn damaged_files_say_what_is_wrong_and_never_the_secret() {
        let secret = "5a".repeat(32);
        let short = &secret[1..];
        for (text, error) in [
            (String::new(), KeyTextError::Empty),
            ("# nothing\n\n".into(), KeyTextError::Empty),
            (format!("{secret}\n"), KeyTextError::NoKey { line: 1 }),
            (format!("#\nswsync-rig-key 2 {secret}"), KeyTextError::Version { line: 2 }),
            (format!("swsync-rig-key 1 {short}"), KeyTextError::Secret { line: 1 }),
            (format!("swsync-rig-key 1 {short}x"), KeyTextError::Secret { line: 1 }),
            (format!("swsync-rig-key 1 {secret} {secret}"), KeyTextError::Secret { line: 1 }),
            (format!("swsync-rig-key 1 {short}é"), KeyTextError::Secret { line: 1 }),
            ("swsync-rig-key".into(), KeyTextError::Version { line: 1 }),
            (
                format!("swsync-rig-key 1 {secret}\nswsync-rig-key 1 {secret}"),
                KeyTextError::Second { line: 2 },
            ),
        ] {
            let found = KeyFile::parse(&text).unwrap_err();
            assert_eq!(found, error, "{text}");
            assert!(!format!("{found} {found:?}").contains(short), "{found}");
        }
    }

    #[test]
    fn chronys_format_is_recognised_by_its_lines() {
        let text = format!("! of the studio\n12 AES128 HEX:{}\n", "0f".repeat(16));
        let KeyFile::Ntp(keys) = KeyFile::parse(&text).unwrap() else { panic!("a rig's key") };
        assert!(keys.get(12).is_some());
        assert_eq!(RigKey::parse(&text).unwrap_err(), KeyTextError::NtpKeys);
        assert!(matches!(KeyFile::parse("12 AES128 HEX:0f").unwrap_err(), KeyTextError::Ntp(_)));
    }

    #[test]
    fn debug_does_not_show_the_secret() {
        let key = key(0x5a);
        for text in
            [format!("{key:?}"), format!("{:?}", KeyFile::Rig(key.clone())), format!("{:?}", key.ntp_key())]
        {
            assert!(!text.to_lowercase().contains("5a5a5a"), "{text}");
            assert!(!text.contains("90, 90"), "{text}");
        }
    }
}
