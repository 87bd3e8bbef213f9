//! Checks answers against orders, and files against answers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};
use swsync_core::grid::FrameNumber;
use swsync_core::order::{Answer, Order};
use swsync_rig::DeviceOutcome;

use super::args::OrdersArgs;
use super::oracle;
use super::picture_times::PictureTimes;
use super::run_orders::{GivenOrder, OrdersRun, Outage};
use super::saved_part::{SavedPart, files_below};

/// At most so many violations are printed.
const SHOWN: usize = 20;

/// The result of all checks.
#[derive(Default)]
pub struct Report {
    seed: u64,
    devices: usize,
    seconds: f64,
    orders: u64,
    stopped: u64,
    cancelled: u64,
    kills: usize,
    leader_kills: usize,
    named: u64,
    saved: u64,
    /// Answers of devices that got a stop too late: they recorded more frames, and say so.
    late: u64,
    files: u64,
    /// Frames that are not saved, by reason.
    lost: BTreeMap<String, u64>,
    picture_times: Option<PictureTimes>,
    violations: Vec<String>,
}

impl Report {
    /// Checks all orders of the run, with files below `out`.
    pub fn of(args: &OrdersArgs, run: &OrdersRun, picture_times: Option<PictureTimes>, out: &Path) -> Self {
        let mut report = Self {
            seed: args.seed,
            devices: args.devices.into(),
            seconds: run.took.as_secs_f64(),
            kills: run.outages.len(),
            leader_kills: run.outages.iter().filter(|outage| outage.is_leaders()).count(),
            picture_times,
            ..Self::default()
        };
        for (given, summary) in &run.orders {
            report.orders += 1;
            report.cancelled += u64::from(given.cancelled);
            report.stopped += u64::from(given.stopped);
            report.check(given, &summary.outcomes, &run.outages, out);
        }
        report.check_leftovers(out);
        report
    }

    /// Whether there are no violations.
    pub const fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// Checks one order's answers and files.
    fn check(&mut self, given: &GivenOrder, outcomes: &[DeviceOutcome], outages: &[Outage], out: &Path) {
        let id = given.order.id();
        if outcomes.len() != self.devices {
            self.add_violation(format!("{id}: {} devices answered", outcomes.len()));
        }
        let mut parts = Vec::new();
        for outcome in outcomes {
            match outcome {
                DeviceOutcome::Answered(answer) => {
                    let is_disturbed = outages.iter().any(|o| o.disturbs(answer.device.as_str(), given));
                    match self.check_answer(given, answer, is_disturbed, out) {
                        Ok(part) => parts.extend(part),
                        Err(why) => self.add_violation(format!("{id}, {}: {why:#}", answer.device)),
                    }
                }
                DeviceOutcome::NoAnswer { device, why } | DeviceOutcome::Refused { device, why } => {
                    self.add_violation(format!("{id}, {device}: no answer: {why}"));
                }
            }
        }
        self.check_times(&parts);
    }

    fn check_answer(
        &mut self,
        given: &GivenOrder,
        answer: &Answer,
        is_disturbed: bool,
        out: &Path,
    ) -> anyhow::Result<Option<SavedPart>> {
        self.named += answer.named();
        self.saved += answer.saved();
        for run in &answer.frames {
            if let Some(why) = run.why() {
                // Reasons that name numbers count as one.
                let why: String = why.chars().filter(|c| !c.is_ascii_digit()).collect();
                *self.lost.entry(why).or_default() += run.count - run.saved();
            }
        }
        if let Some(why) = &answer.unnumbered {
            anyhow::bail!("its frames have no numbers: {why}");
        }
        let (account, saved) = expand(&given.order, answer)?;
        self.late += u64::from(check_account(given, &account)?);
        let folder = out.join("takes").join(given.order.id().as_str()).join(answer.device.as_str());
        if saved.is_empty() && files_below(&folder).is_empty() {
            return Ok(None); // a device that saved nothing writes no take.json
        }
        let part = SavedPart::read(&folder)?;
        let listed: BTreeSet<_> = part.records.keys().copied().collect();
        if listed != saved {
            let difference: Vec<_> = listed.symmetric_difference(&saved).take(5).collect();
            anyhow::bail!(
                "{} frames in the manifest, {} saved says the answer; {difference:?}",
                listed.len(),
                saved.len()
            );
        }
        self.files += part.check_files()?;
        part.check_take(&account)?;
        // A file that is open when its order is cancelled ends there.
        part.check_cuts(&given.order, &account, is_disturbed || given.cancelled)?;
        Ok(Some(part))
    }

    /// Checks the time of one picture of each device: of a number that as many as possible have.
    fn check_times(&mut self, parts: &[SavedPart]) {
        let Some(mut picture_times) = self.picture_times.take() else { return };
        let has =
            |number: &FrameNumber| parts.iter().filter(|part| part.records.contains_key(number)).count();
        let numbers: BTreeSet<_> = parts.iter().flat_map(|part| part.records.keys().copied()).collect();
        let most = numbers.iter().map(has).max().unwrap_or(0);
        let common: Vec<_> = numbers.into_iter().filter(|number| has(number) == most).collect();
        let mut seen = Vec::new();
        for part in parts {
            let own: Vec<_> = part.records.values().collect();
            let common = common.get(common.len() / 2).and_then(|number| part.records.get(number));
            let Some(record) = common.or_else(|| own.get(own.len() / 2).copied()) else { continue };
            match picture_times.check(&part.folder, record, part.is_video(record)) {
                Ok(one) => seen.push(one),
                Err(why) => self.add_violation(format!("{}/{}: {why:#}", part.folder.display(), record.file)),
            }
        }
        if let Err(why) = picture_times.compare(&seen) {
            self.add_violation(format!("{why:#}"));
        }
        self.picture_times = Some(picture_times);
    }

    /// Checks that no unfinished file was left behind.
    fn check_leftovers(&mut self, out: &Path) {
        for path in files_below(&out.join("takes")) {
            if path.extension().is_some_and(|extension| extension == "part") {
                self.add_violation(format!("{} was left behind", path.display()));
            }
        }
    }

    /// Adds a violation.
    pub fn add_violation(&mut self, what: String) {
        self.violations.push(what);
    }

    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!(
                "seed {}: {} orders ({} stopped, {} cancelled) to {} devices, {} killed and restarted ({} times the \
                 leader), in {:.0} s",
                self.seed,
                self.orders,
                self.stopped,
                self.cancelled,
                self.devices,
                self.kills,
                self.leader_kills,
                self.seconds
            ),
            format!(
                "{} frames named, {} saved in {} whole files; {} answers went on after a stop that they heard too late",
                self.named, self.saved, self.files, self.late
            ),
        ];
        lines.extend(self.lost.iter().map(|(why, count)| format!("  {count} lost: {why}")));
        lines.extend(self.picture_times.iter().flat_map(PictureTimes::lines));
        lines.extend(self.violations.iter().take(SHOWN).map(|what| format!("  WRONG: {what}")));
        lines.push(match self.violations.len() {
            0 => "every frame accounted for, every file whole".into(),
            count => format!("{count} violations"),
        });
        lines
    }

    pub fn json(&self) -> Value {
        json!({
            "seed": self.seed, "devices": self.devices, "orders": self.orders, "stopped": self.stopped,
            "cancelled": self.cancelled, "kills": self.kills, "leader_kills": self.leader_kills,
            "seconds": self.seconds, "named": self.named, "saved": self.saved, "files": self.files,
            "late_stops": self.late, "lost": self.lost, "truth": self.picture_times.as_ref().map(PictureTimes::json),
            "violations": self.violations,
        })
    }
}

/// The frame numbers that an answer accounts for, and those that it says are saved.
fn expand(order: &Order, answer: &Answer) -> anyhow::Result<(Vec<FrameNumber>, BTreeSet<FrameNumber>)> {
    let mut unstopped = oracle::unstopped(order).peekable();
    let (mut account, mut saved) = (Vec::new(), BTreeSet::new());
    for run in &answer.frames {
        let numbers: Vec<_> =
            std::iter::from_fn(|| unstopped.next_if(|number| *number <= run.last)).collect();
        anyhow::ensure!(
            numbers.len() as u64 == run.count
                && numbers.first() == Some(&run.first)
                && numbers.last() == Some(&run.last),
            "{} frames from {} to {} are not the next of those named, {:?} to {:?}",
            run.count,
            run.first,
            run.last,
            numbers.first(),
            numbers.last()
        );
        match run.saved() {
            0 => {}
            all if all == run.count => saved.extend(&numbers),
            some => anyhow::bail!("{some} of frames {} to {} are saved, and not which", run.first, run.last),
        }
        account.extend(numbers);
    }
    Ok((account, saved))
}

/// Checks the end of an account. Returns `true` if it goes beyond a stop, which the device then got too late.
fn check_account(given: &GivenOrder, account: &[FrameNumber]) -> anyhow::Result<bool> {
    let Some(named) = oracle::named(&given.order) else { return Ok(false) };
    // A cancelled order ends early.
    anyhow::ensure!(
        account.len() >= named.len() || given.cancelled,
        "accounts for {} frames to {:?}, named are {} to {:?}",
        account.len(),
        account.last(),
        named.len(),
        named.last()
    );
    let late = account.len() > named.len();
    anyhow::ensure!(
        !late || given.stopped,
        "accounts for {} frames, named are {}, and nobody stopped it",
        account.len(),
        named.len()
    );
    Ok(late)
}

#[cfg(test)]
mod tests {
    use super::*;
    use swsync_cli::testing::{missed, name, saved};
    use swsync_core::time::Timestamp;

    #[test]
    fn an_answer_about_other_frames_is_found() {
        let order = Order::burst(name("o1"), Timestamp::from_nanos(1_000_000_000), 3).unwrap();
        let answer = |frames| Answer {
            order: name("o1"),
            device: name("a"),
            frames,
            unnumbered: None,
            unfinished: None,
            basis: Default::default(),
        };
        let good = answer(vec![saved(30), missed(31, "x"), saved(32)]);
        assert_eq!(expand(&order, &good).unwrap(), (vec![30, 31, 32], [30, 32].into()));
        for wrong in
            [vec![saved(31), saved(30)], vec![saved(40)], vec![saved(30), saved(32)], vec![saved(29)]]
        {
            assert!(expand(&order, &answer(wrong)).is_err());
        }
    }
}
