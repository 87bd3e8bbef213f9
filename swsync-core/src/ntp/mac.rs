//! Symmetric keys and the message authentication code of NTP packets: AES-CMAC (RFC 8573, RFC 4493).

use std::fmt;
use std::sync::Arc;

use aes::{Aes128, Aes256};
use cmac::{Cmac, KeyInit, Mac as _};

/// Length of a MAC on the wire: the key's id and 16 bytes of digest.
pub const MAC_LEN: usize = 20;

const DIGEST_LEN: usize = MAC_LEN - 4;

/// An error in a key file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("keys, line {line}: {problem}")]
pub struct KeyError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// A cipher with its key set up, so that a packet does not pay for that. It is shared, so that cloning a key does not allocate.
#[derive(Clone)]
enum Cipher {
    Aes128(Arc<Cmac<Aes128>>),
    Aes256(Arc<Cmac<Aes256>>),
}

/// One shared secret.
#[derive(Clone)]
pub struct Key {
    id: u32,
    cipher: Cipher,
}

impl Key {
    /// The key `id` from a secret of 16 (AES-128) or 32 (AES-256) bytes. `None` for other lengths, and for id 0, which means
    /// crypto-NAK.
    #[must_use]
    pub fn new(id: u32, secret: &[u8]) -> Option<Self> {
        let cipher = match secret.len() {
            16 => Cipher::Aes128(Arc::new(Cmac::new_from_slice(secret).ok()?)),
            32 => Cipher::Aes256(Arc::new(Cmac::new_from_slice(secret).ok()?)),
            _ => return None,
        };
        (id != 0).then_some(Self { id, cipher })
    }

    /// Its id on both sides.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    pub(crate) fn digest(&self, message: &[u8]) -> [u8; DIGEST_LEN] {
        match &self.cipher {
            Cipher::Aes128(cmac) => Cmac::clone(cmac).chain_update(message).finalize().into_bytes().into(),
            Cipher::Aes256(cmac) => Cmac::clone(cmac).chain_update(message).finalize().into_bytes().into(),
        }
    }

    /// Whether `digest` is that of `message`. The comparison takes constant time.
    fn verifies(&self, message: &[u8], digest: &[u8]) -> bool {
        match &self.cipher {
            Cipher::Aes128(cmac) => Cmac::clone(cmac).chain_update(message).verify_slice(digest).is_ok(),
            Cipher::Aes256(cmac) => Cmac::clone(cmac).chain_update(message).verify_slice(digest).is_ok(),
        }
    }
}

impl PartialEq for Key {
    /// Compares the ids only, never the secrets.
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

/// The keys that a server knows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// Parses a key file in chrony's format. A line is `ID TYPE SECRET`: TYPE is `AES128` or `AES256`, SECRET is `HEX:` and
    /// hexadecimal digits, or `ASCII:` (optional) and the secret itself. Lines that begin with one of `! ; # %` are comments.
    ///
    /// # Errors
    /// [`KeyError`] with the line. Invalid lines are never skipped.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut keys = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['!', ';', '#', '%']) {
                continue;
            }
            let key = parse_key(line)
                .and_then(|key| match keys.get(key.id) {
                    None => Ok(key),
                    Some(_) => Err(format!("key {} is given twice", key.id)),
                })
                .map_err(|problem| KeyError { line: index + 1, problem })?;
            keys.0.push(key);
        }
        Ok(keys)
    }

    /// The key with this id.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&Key> {
        self.0.iter().find(|key| key.id == id)
    }

    /// Adds the keys of `other`.
    ///
    /// # Errors
    /// [`KeyError`] if both have a key of one id.
    pub fn add(&mut self, other: Self) -> Result<(), KeyError> {
        for (line, key) in (1..).zip(other.0) {
            if self.get(key.id).is_some() {
                return Err(KeyError { line, problem: format!("key {} is given twice", key.id) });
            }
            self.0.push(key);
        }
        Ok(())
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Key> for Keys {
    fn from_iter<I: IntoIterator<Item = Key>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

fn parse_key(line: &str) -> Result<Key, String> {
    let mut words = line.split_ascii_whitespace();
    let (Some(id), Some(kind), Some(secret), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("expected `ID AES128 HEX:...`".into());
    };
    let id = match id.parse() {
        Ok(id) if id != 0 => id,
        // Do not quote the word: it may be the secret, in the wrong place.
        _ => return Err(format!("its first word is no key id: use a number from 1 to {}", u32::MAX)),
    };
    let length = match kind {
        "AES128" => 16,
        "AES256" => 32,
        _ => return Err("its second word is no type that is known here: use AES128 or AES256".into()),
    };
    let secret = match secret.strip_prefix("HEX:") {
        Some(digits) => from_hex(digits).ok_or("the digits after HEX: are not pairs of 0-9 and A-F")?,
        None => secret.strip_prefix("ASCII:").unwrap_or(secret).as_bytes().to_vec(),
    };
    if secret.len() != length {
        return Err(format!("{kind} takes {length} bytes, but the secret has {}", secret.len()));
    }
    Ok(Key::new(id, &secret).expect("id and length have been checked"))
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let nibble = |c: u8| char::from(c).to_digit(16);
            let value = nibble(*pair.first()?)? << 4 | nibble(*pair.get(1)?)?;
            u8::try_from(value).ok()
        })
        .collect()
}

/// The MAC of a received packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac<'a> {
    /// The id of its key.
    pub key: u32,
    covered: &'a [u8],
    digest: &'a [u8],
}

impl<'a> Mac<'a> {
    /// The MAC in `bytes`, a key id and a digest, which authenticates `covered`.
    pub(super) fn new(covered: &'a [u8], bytes: &'a [u8]) -> Self {
        let (key, digest) = bytes.split_first_chunk().expect("a MAC has 20 bytes or more");
        Self { key: u32::from_be_bytes(*key), covered, digest }
    }

    /// Whether `key` made this MAC.
    #[must_use]
    pub fn verifies(&self, key: &Key) -> bool {
        key.id == self.key && key.verifies(self.covered, self.digest)
    }
}
