//! Progress of collecting on a terminal: a bar for each device that files are fetched from.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use swsync_client::collect::CollectEvent;
use swsync_core::name::{DeviceId, OrderId};

use crate::output;
use crate::table::clean;

/// The bars, on standard error. Nothing is drawn if that is no terminal.
pub struct Bars(MultiProgress);

/// One device's bar.
#[derive(Clone)]
pub struct Bar(ProgressBar);

impl Bars {
    /// No bars yet. With `hidden` none is ever drawn.
    pub fn new(hidden: bool) -> Self {
        let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        Self(MultiProgress::with_draw_target(target))
    }

    /// A bar for `device`.
    pub fn add(&self, device: &DeviceId) -> Bar {
        let template = "{prefix:>16} {bar:30} {bytes:>10}/{total_bytes:10} {binary_bytes_per_sec:>12} {eta:>4}  {wide_msg}";
        let style = ProgressStyle::with_template(template).expect("the template is a constant");
        let bar = self.0.add(ProgressBar::new(0)).with_style(style).with_prefix(device.to_string());
        Bar(bar)
    }

    /// Prints a line on standard output, above the bars.
    pub fn print(&self, line: &str) {
        self.0.suspend(|| output::line(line));
    }
}

impl Bar {
    /// A bar that is never drawn.
    pub fn none() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Shows which take is fetched.
    pub fn begin(&self, order: &OrderId) {
        self.0.set_message(order.to_string());
    }

    /// Updates the bar.
    pub fn show(&self, event: CollectEvent) {
        match event {
            CollectEvent::Planned { bytes, .. } => self.0.inc_length(bytes),
            CollectEvent::Bytes(bytes) => self.0.inc(bytes),
            CollectEvent::Again(bytes) => self.0.inc_length(bytes),
            CollectEvent::Verified => (),
        }
    }

    /// Shows why the device lets us wait; `None`: it no longer does.
    pub fn pause(&self, busy: Option<&str>) {
        self.0.set_message(busy.map(|why| format!("waiting: {}", clean(why))).unwrap_or_default());
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}
