//! How much shorter than the wanted period a mode's frames can be: the room to shift them.

use swsync_core::time::Span;

use super::rate::Rate;

/// Less headroom is too little to hold phase. Crystals differ by up to 100 ppm, but slewed clocks and a shift within seconds need
/// far more. Chosen: at 2 % a shift by half a period takes 25 frames.
const ENOUGH: f64 = 0.02;

/// By how much frames can be shorter than the period, as a fraction of it. Negative: they cannot be as short.
pub fn headroom(shortest: Span, rate: Rate) -> f64 {
    let period = rate.period().as_nanos_f64();
    (period - shortest.as_nanos_f64()) / period
}

/// The warning for a mode with this shortest frame, if it needs one.
pub fn warning(shortest: Option<Span>, rate: Rate) -> Option<String> {
    let Some(shortest) = shortest else {
        return Some("it does not say how long its frames are, so its phase cannot be controlled".to_owned());
    };
    let (headroom, fastest) = (headroom(shortest, rate), 1.0 / shortest.as_secs_f64());
    let comfortable = fastest * (1.0 - ENOUGH);
    // libcamera truncates to microseconds, so a shortfall of less than one microsecond is none.
    if shortest - rate.period() >= Span::from_micros(1) {
        return Some(format!(
            "it does not reach {rate} fps: its fastest is {fastest:.3} fps. Choose a smaller mode, or a rate of at most \
             {comfortable:.3} fps"
        ));
    }
    (headroom < ENOUGH).then(|| {
        format!(
            "its headroom is {:.1} %, less than {:.0} %: phase needs room to shorten frames. Choose a smaller mode, or a \
             rate of at most {comfortable:.3} fps",
            headroom.max(0.0) * 100.0,
            ENOUGH * 100.0
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn headroom_is_what_frames_can_be_shorter_by() {
        let half = headroom(Span::from_nanos(16_666_666), rate("30"));
        assert!((half - 0.5).abs() < 1e-6, "{half}");
        assert!(headroom(Span::from_micros(47_183), rate("30")) < 0.0);
    }

    #[test]
    fn too_little_headroom_is_warned_of_with_the_reason() {
        assert_eq!(warning(Some(Span::from_micros(16_666)), rate("30")), None);
        // An IMX219 reads 3280x2464 in 47.18 ms.
        let slow = warning(Some(Span::from_micros(47_183)), rate("30")).unwrap();
        assert!(slow.contains("does not reach 30 fps") && slow.contains("21.194 fps"), "{slow}");
        let tight = warning(Some(Span::from_micros(33_000)), rate("30")).unwrap();
        assert!(
            tight.contains("1.0 %") && tight.contains("room to shorten") && tight.contains("29.697"),
            "{tight}"
        );
        // Truncated to 33333 us by libcamera: reached, without any room.
        let exact = warning(Some(Span::from_micros(33_333)), rate("30")).unwrap();
        assert!(exact.contains("0.0 %"), "{exact}");
        assert!(warning(None, rate("30")).unwrap().contains("cannot be controlled"));
    }

    #[test]
    fn the_advised_rate_has_enough_headroom() {
        for us in (5_000..200_000).step_by(777) {
            let shortest = Span::from_micros(us);
            let advised = format!("{:.3}", 0.98 / shortest.as_secs_f64() - 0.001);
            assert_eq!(warning(Some(shortest), rate(&advised)), None, "{us} us at {advised} fps");
        }
    }
}
