use super::{Setup, Trouble};

#[test]
fn a_picture_is_a_function_of_its_seed() {
    let (setup, _) = Setup::draw(5, 7, Trouble::Plain);
    let picture = setup.take(3);
    assert_eq!(picture.pixels.len(), picture.width * picture.height);
    assert_eq!(picture, setup.take(3));
    assert_ne!(picture, setup.take(4));
}

#[test]
fn a_column_shines_for_its_slot_once_per_period() {
    let (mut setup, _) = Setup::draw(5, 7, Trouble::Plain);
    setup.board = super::Board { slot_us: 200.0, rise_us: 2.0, fall_us: 2.0, glow: 0.0, ..setup.board };
    let shines = |start, length| setup.board.shines(super::lights::Drive::Fast(3), start, length);
    // Rise and fall take equally long: the whole pulse has the light of 200 us.
    assert!((shines(500.0, 2_000.0) - 200.0).abs() < 0.01, "{}", shines(500.0, 2_000.0));
    assert!((shines(650.0, 50.0) - 50.0).abs() < 0.01);
    assert!(shines(100.0, 400.0) < 1e-9);
    // The first half of a pulse has a little less than half: the LED rises late.
    assert!((shines(6_500.0, 200.0) - 98.0).abs() < 0.1, "{}", shines(6_500.0, 200.0));
}
