//! Lengths of time as people write them: 500ms, 10s, 1h30m.

use std::time::Duration;

/// Longer ones are taken for a mistake. Rig time reaches a hundred years further.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A length of time, be it none at all.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn any(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("it is no length of time like 500ms, 10s or 1h30m: {error}"))?;
    if duration > LONGEST {
        return Err("it is longer than ten years".into());
    }
    Ok(duration)
}

/// A length of time that is longer than nothing.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn positive(text: &str) -> Result<Duration, String> {
    match any(text)? {
        Duration::ZERO => Err("it has to be longer than nothing, like 500ms, 10s or 1h30m".into()),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_refused_in_words() {
        assert_eq!(positive("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(any("0s"), Ok(Duration::ZERO));
        for (text, why) in [("0s", "longer than nothing"), ("soon", "500ms, 10s"), ("300years", "ten years")]
        {
            let error = positive(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
