//! The decoder of `swsync_core::panel` against simulated photographs: few of them here, thousands in
//! `examples/panel_precision`.

#![allow(
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "two threads, and times of some seconds in microseconds"
)]

#[path = "../examples/panel_precision/trial.rs"]
mod trial;

use swsync_core::panel::{CODE_PERIODS, Frame, Panel, read_sequence};
use swsync_core::time::Span;
use swsync_sim::photograph::{Photograph, Setup, Trouble};
use trial::{luma, told, trial};

/// Of each trouble so many; at another seed than those that the decoder was calibrated and judged with.
const EACH: u64 = 4;

#[test]
fn no_reading_is_confidently_wrong() {
    let count = EACH * Trouble::ALL.len() as u64;
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let worker =
            |start| scope.spawn(move || (start..count).step_by(2).map(|n| trial(77, n)).collect::<Vec<_>>());
        [worker(0), worker(1)].into_iter().flat_map(|w| w.join().expect("no panic")).collect()
    });
    for outcome in &outcomes {
        let Ok(read) = &outcome.reading else { continue };
        assert!(
            !outcome.is_wrong(),
            "{:?} {}: error {} us, said {} us; {}",
            outcome.trouble,
            outcome.number,
            read.error,
            read.uncertainty,
            outcome.tells
        );
        assert!(read.uncertainty < 0.5 * read.slot);
    }
    // A decoder that refuses everything would pass the above.
    let read = |trouble| outcomes.iter().filter(|o| o.trouble == trouble && o.reading.is_ok()).count() as u64;
    assert!(read(Trouble::Plain) >= EACH - 1, "{} of {EACH} plain ones", read(Trouble::Plain));
    let all: u64 = Trouble::ALL.into_iter().map(read).sum();
    assert!(all >= count * 2 / 5, "{all} of {count}");
}

/// `count` frames, 33.37 ms apart of a panel with or without the code light, and the true middle of the first, in microseconds.
fn frames(code: bool, count: u32) -> (Vec<(f64, Photograph)>, Setup, swsync_sim::photograph::Stated) {
    let (mut setup, mut stated) = Setup::draw(31, 4, Trouble::Plain);
    setup.board.code = code;
    setup.board.slot_us = 200.0;
    setup.rolling.exposure_us = 150.0;
    setup.rolling.readout_us = 9_000.0;
    stated = swsync_sim::photograph::Stated {
        slot_us: 200.0,
        exposure_us: Some(150.0),
        readout_us: Some(9_000.0),
        ..stated
    };
    let start = setup.rolling.start_us;
    let frames = (0..count)
        .map(|i| {
            let since = f64::from(i) * 33_370.0;
            setup.rolling.start_us = start + since;
            (since, setup.take(i.into()))
        })
        .collect();
    setup.rolling.start_us = start;
    (frames, setup, stated)
}

#[test]
fn a_sequence_tells_the_number_of_the_period() {
    for (code, count) in [(true, 20), (false, 4)] {
        let (pictures, setup, stated) = frames(code, count);
        let frames: Vec<Frame> = pictures
            .iter()
            .map(|(since, picture)| Frame {
                luma: luma(picture),
                since_first: Span::from_nanos_f64(since * 1e3),
            })
            .collect();
        let (panel, shutter) = told(&stated);
        let sequence = read_sequence(&frames, &panel, &shutter).expect("a readable sequence");
        let periods = if code { CODE_PERIODS } else { 1 };
        assert_eq!(sequence.modulo, Panel::PAPER.period() * periods);
        let modulo = sequence.modulo.as_micros_f64();
        let mut read = 0;
        for (reading, (since, _)) in sequence.readings.iter().zip(&pictures) {
            let Ok(reading) = reading else { continue };
            read += 1;
            let apart = reading.middle.as_nanos() as f64 / 1e3 - setup.middle_us(stated.row) - since;
            let error = (apart + modulo / 2.0).rem_euclid(modulo) - modulo / 2.0;
            assert!(error.abs() < 3.0 * reading.uncertainty.as_micros_f64(), "{since}: {error}");
        }
        assert!(read >= count * 3 / 4, "{read} of {count}");
    }
}

#[test]
fn a_frame_that_contradicts_the_others_is_refused() {
    let (pictures, _, stated) = frames(true, 5);
    let mut frames: Vec<Frame> = pictures
        .iter()
        .map(|(since, picture)| Frame { luma: luma(picture), since_first: Span::from_nanos_f64(since * 1e3) })
        .collect();
    // A wrong stamp.
    frames[2].since_first += Span::from_millis(3);
    let (panel, shutter) = told(&stated);
    let sequence = read_sequence(&frames, &panel, &shutter).expect("a readable sequence");
    assert_eq!(sequence.readings.iter().filter(|r| r.is_ok()).count(), 4);
    assert!(matches!(sequence.readings[2], Err(swsync_core::panel::Unreadable::Contradicts { .. })));
    // Two frames that contradict each other: neither can be trusted.
    assert!(read_sequence(&frames[1..3], &panel, &shutter).is_err());
}
