//! A simulated encoder, and a path after it that loses frames.

use std::collections::BTreeSet;

use super::device::Device;
use super::grid;
use super::picture::Picture;
use crate::coded::Coding;
use crate::grid::FrameNumber;
use crate::ring::RingFrame;

#[derive(Default)]
pub struct Encoder {
    /// Frames that are held back: they come out after the next frame.
    behind: Vec<FrameNumber>,
    since_key: u64,
    place: u64,
    key: u64,
    leading: u64,
    /// Whether a frame since the last key frame was lost, and whether one right before it was.
    is_reference_lost: bool,
    is_lost_before_key: bool,
}

impl Encoder {
    /// The frames that come out when frame `number` goes in.
    pub fn encode(&mut self, number: FrameNumber, device: &mut Device<'_>) -> Vec<RingFrame<Picture>> {
        let (world, run) = (device.world, device.run);
        let is_requested = world.heeds && device.key_requests.range(..=number).next().is_some();
        let is_key = self.place == 0 || is_requested || self.since_key >= world.group;
        if is_key && world.open && !is_requested && self.place > 0 {
            self.since_key = 1;
            let key = self.frame(number, Coding::OpenKey, run);
            return [key].into_iter().chain(self.frames_behind(Coding::Leading, run)).collect();
        }
        if is_key {
            // A closed group: frames that are held back come out before it.
            device.key_requests.retain(|key| *key > number);
            self.since_key = 1;
            self.behind.sort_unstable();
            let mut frames = self.frames_behind(Coding::Delta, run);
            frames.push(self.frame(number, Coding::Key, run));
            return frames;
        }
        self.since_key += 1;
        if (self.behind.len() as u64) < world.reorder {
            self.behind.push(number);
            return Vec::new();
        }
        let first = self.frame(number, Coding::Delta, run);
        [first].into_iter().chain(self.frames_behind(Coding::Delta, run)).collect()
    }

    fn frames_behind(&mut self, coding: Coding, run: usize) -> Vec<RingFrame<Picture>> {
        let behind = std::mem::take(&mut self.behind);
        behind.into_iter().map(|number| self.frame(number, coding, run)).collect()
    }

    fn frame(&mut self, number: FrameNumber, coding: Coding, run: usize) -> RingFrame<Picture> {
        self.place += 1;
        if coding.is_key() {
            self.key = self.place;
        }
        let payload = Picture { run, place: self.place, coding, key: self.key, leading: self.leading };
        self.leading = if coding.is_leading() { self.leading + 1 } else { 0 };
        RingFrame {
            number,
            time: grid().instant(number),
            bytes: 100,
            coding,
            gap: None,
            timescale: None,
            payload,
        }
    }

    /// The frame as it arrives; `None`: its place is in `lost`.
    pub fn lose(
        &mut self,
        mut frame: RingFrame<Picture>,
        lost: &BTreeSet<u64>,
    ) -> Option<RingFrame<Picture>> {
        if lost.contains(&frame.payload.place) {
            self.is_reference_lost = true;
            return None;
        }
        if frame.coding.is_key() {
            self.is_lost_before_key = std::mem::take(&mut self.is_reference_lost);
        }
        if self.is_reference_lost {
            frame.coding = Coding::Undecodable;
        } else if self.is_lost_before_key && frame.coding == Coding::Leading {
            frame.coding = Coding::UndecodableLeading;
        }
        frame.payload.coding = frame.coding;
        Some(frame)
    }
}
