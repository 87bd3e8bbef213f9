//! Lists and texts of others, bounded while they are parsed: for `#[serde(deserialize_with = "...")]`.
//!
//! A list that is longer than any honest one is refused before its elements are assembled. A text for the operator is cut,
//! and its control characters are replaced: it is printed on terminals, where they could move the cursor or change colours.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};

/// Longest text for the operator, in bytes. Chosen: an error of the system with two of the longest paths of a take fits.
pub const MAX_TEXT: usize = 2_400;

/// Longest path of a file on a device, in bytes: PATH_MAX of Linux.
pub const MAX_PATH: usize = 4_096;

/// Stands at the end of a text that was cut.
const CUT: char = '…';

/// A list of at most `MOST` elements.
///
/// # Errors
/// For a longer list, with the limit.
pub fn list<'de, D, T, const MOST: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_seq(ListVisitor::<T, MOST>(PhantomData))
}

struct ListVisitor<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for ListVisitor<T, MOST> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while list.len() < MOST {
            match elements.next_element()? {
                Some(element) => list.push(element),
                None => return Ok(list),
            }
        }
        match elements.next_element::<IgnoredAny>()? {
            Some(_) => {
                Err(A::Error::custom(format_args!("a list has more than the {MOST} elements allowed")))
            }
            None => Ok(list),
        }
    }
}

/// A text for the operator, cut at [`MAX_TEXT`] and without control characters.
///
/// # Errors
/// If it is no text.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    deserializer.deserialize_str(TextVisitor::<MAX_TEXT>)
}

/// A path for the operator, cut at [`MAX_PATH`] and without control characters.
///
/// # Errors
/// If it is no text.
pub fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    deserializer.deserialize_str(TextVisitor::<MAX_PATH>)
}

/// As [`text`], for a text that may be missing.
///
/// # Errors
/// If it is there and no text.
pub fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Text>::deserialize(deserializer)?.map(|text| text.0))
}

/// As [`path`], for a path that may be missing.
///
/// # Errors
/// If it is there and no text.
pub fn optional_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    struct Path(String);
    impl<'de> Deserialize<'de> for Path {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            path(deserializer).map(Self)
        }
    }
    Ok(Option::<Path>::deserialize(deserializer)?.map(|path| path.0))
}

/// At most `MOST` texts for the operator.
///
/// # Errors
/// As [`list`] and [`text`].
pub fn texts<'de, D: Deserializer<'de>, const MOST: usize>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = list::<D, Text, MOST>(deserializer)?;
    Ok(texts.into_iter().map(|text| text.0).collect())
}

/// `why`, cut at [`MAX_TEXT`] and without control characters.
#[must_use]
pub fn cut(why: &str) -> String {
    cut_at(why, MAX_TEXT)
}

/// As an element of a list, or in an option.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text(deserializer).map(Self)
    }
}

struct TextVisitor<const MOST: usize>;

impl<const MOST: usize> Visitor<'_> for TextVisitor<MOST> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(cut_at(text, MOST))
    }
}

fn cut_at(text: &str, most: usize) -> String {
    let end = if text.len() <= most { most } else { text.floor_char_boundary(most - CUT.len_utf8()) };
    let (kept, rest) = text.split_at_checked(end).unwrap_or((text, ""));
    // A space is no longer than what it replaces.
    let kept = kept.chars().map(|c| if c.is_control() { ' ' } else { c });
    kept.chain((!rest.is_empty()).then_some(CUT)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Message {
        #[serde(deserialize_with = "list::<_, _, 3>")]
        numbers: Vec<u8>,
        #[serde(default, deserialize_with = "optional_text")]
        why: Option<String>,
        #[serde(default, deserialize_with = "texts::<_, 2>")]
        whys: Vec<String>,
    }

    fn parse(json: &str) -> Result<Message, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn a_list_that_is_too_long_is_refused_with_the_limit() {
        assert_eq!(parse(r#"{"numbers":[1,2,3]}"#).unwrap().numbers, [1, 2, 3]);
        let why = parse(r#"{"numbers":[1,2,3,4]}"#).unwrap_err().to_string();
        assert!(why.contains("more than the 3"), "{why}");
        assert!(parse(r#"{"numbers":[],"whys":["a","b","c"]}"#).is_err());
        assert!(parse(r#"{"numbers":7}"#).is_err());
    }

    #[test]
    fn texts_are_cut_and_cannot_control_a_terminal() {
        let json = serde_json::json!({"numbers": [], "why": "a\u{1b}[2J\nb", "whys": ["ä".repeat(MAX_TEXT)]});
        let message = parse(&json.to_string()).unwrap();
        assert_eq!(message.why.as_deref(), Some("a [2J b"));
        let [long] = &message.whys[..] else { panic!("{message:?}") };
        assert!(long.len() <= MAX_TEXT && long.len() > MAX_TEXT - 5 && long.ends_with(CUT), "{}", long.len());
        assert_eq!(&cut(long), long, "cutting it again changes nothing");
        assert_eq!(cut("as it is"), "as it is");
        assert_eq!(parse(r#"{"numbers":[],"why":null}"#).unwrap().why, None);
    }
}
