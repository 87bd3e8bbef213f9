//! Writes one photograph per trouble as PNG, to look at.
//!
//! `cargo run -p swsync-sim --example photographs -- FOLDER [SEED]`

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "an example for people: it prints, takes arguments and writes pictures; sizes are small"
)]

use std::path::PathBuf;

use swsync_sim::photograph::{Setup, Trouble};

fn main() {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().expect("a folder"));
    let seed = args.next().map_or(1, |seed| seed.parse().expect("a number"));
    std::fs::create_dir_all(&folder).expect("a folder to write to");
    for trouble in Trouble::ALL {
        let (setup, stated) = Setup::draw(seed, 0, trouble);
        let picture = setup.take(seed);
        let path = folder.join(format!("{trouble:?}.png"));
        let (width, height) = (setup.width as u32, setup.height as u32);
        image::save_buffer(&path, &picture.pixels, width, height, image::ColorType::L8)
            .expect("a written picture");
        println!("{}: {:?} {stated:?}", path.display(), setup.rolling);
    }
}
