//! Durations in arguments, as people write them: 500ms, 10s, 1h30m.

use std::time::Duration;

/// Longer durations are taken for a mistake. Rig time reaches a hundred years further.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// A duration, which may be zero.
///
/// # Errors
/// What is wrong with the text, for the user.
pub fn any(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("it is no length of time like 500ms, 10s or 1h30m: {error}"))?;
    if duration > LONGEST {
        return Err("it is longer than ten years".into());
    }
    Ok(duration)
}

/// A duration longer than zero.
///
/// # Errors
/// What is wrong with the text, for the user.
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
    fn a_wrong_duration_is_refused_with_the_reason() {
        assert_eq!(positive("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(any("0s"), Ok(Duration::ZERO));
        for (text, why) in [("0s", "longer than nothing"), ("soon", "500ms, 10s"), ("300years", "ten years")]
        {
            let error = positive(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
