//! What is wrong with a device, its host or its rig: the types of `swsync doctor`, which travel between devices.
//!
//! A [`Check`] looks at one thing and ends in one of three ways: nothing wrong was seen, something was found, or it could not be done.
//! The last is never the first. docs/doctor.md lists every [`Problem`]; a test compares the two.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::bounded;
use crate::name::DeviceId;

/// Most checks of a diagnosis, and most findings of a check. Chosen: several times what there are.
pub const MAX_CHECKS: usize = 64;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It costs some precision, or may do harm later.
    Note,
    /// It does harm: frames are lost, time or phase is worse. A severity that this version does not know counts as this.
    Warning,
    /// Something does not work at all.
    Error,
}

impl<'de> Deserialize<'de> for Severity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match String::deserialize(deserializer)?.as_str() {
            "note" => Self::Note,
            "error" => Self::Error,
            _ => Self::Warning,
        })
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// Declares the problems with what is fixed about each: its id, severity, and whether `swsync doctor --fix` mends it.
macro_rules! problems {
    ($($(#[$doc:meta])+ $variant:ident = $id:literal, $severity:ident, $mended:literal;)+) => {
        /// What may be wrong. Its id, in kebab-case, never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Problem { $($(#[$doc])+ $variant,)+ }

        impl Problem {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its id.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$variant => $id,)+ }
            }

            /// How much it matters.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)+ }
            }

            /// Whether `swsync doctor --fix` mends it.
            #[must_use]
            pub const fn is_mended_by_doctor(self) -> bool {
                match self { $(Self::$variant => $mended,)+ }
            }
        }
    };
}

problems! {
    /// A WiFi interface sleeps between beacons.
    WifiPowerSave = "wifi-power-save", Warning, true;
    /// A WiFi interface receives its access point badly.
    WifiWeak = "wifi-weak", Warning, false;
    /// WiFi is switched off by rfkill.
    WifiBlocked = "wifi-blocked", Warning, false;
    /// An Ethernet interface runs at 10 Mbit/s or half duplex.
    EthernetSlow = "ethernet-slow", Warning, false;
    /// The CPU stays at its lowest frequency.
    CpuGovernorPowersave = "cpu-governor-powersave", Warning, true;
    /// The CPU's frequency follows its load.
    CpuGovernorVaries = "cpu-governor-varies", Note, true;
    /// The kernel reads the time from a slow or unstable source.
    SlowClocksource = "slow-clocksource", Warning, false;
    /// The supply voltage is too low at this moment.
    Undervoltage = "undervoltage", Error, false;
    /// The supply voltage was too low since the host started.
    UndervoltageSinceBoot = "undervoltage-since-boot", Warning, false;
    /// The CPU is slowed down at this moment.
    Throttled = "throttled", Warning, false;
    /// The CPU was slowed down since the host started.
    ThrottledSinceBoot = "throttled-since-boot", Note, false;
    /// The board is nearly as hot as it may be.
    TooHot = "too-hot", Warning, false;
    /// Two programs steer the wall clock.
    TwoClockDaemons = "two-clock-daemons", Error, false;
    /// Nothing tells this host the time of day when it starts.
    NoTimeOfDay = "no-time-of-day", Warning, false;
    /// The wall clock is plainly wrong.
    WallClockWrong = "wall-clock-wrong", Error, false;
    /// Files cannot be written where the takes go.
    DiskNotWritable = "disk-not-writable", Error, false;
    /// The disk is nearly full.
    DiskNearlyFull = "disk-nearly-full", Warning, false;
    /// The disk takes long to write something for good.
    DiskSlow = "disk-slow", Warning, false;
    /// Little memory is left.
    MemoryLow = "memory-low", Warning, false;
    /// The board is set to the camera stack before libcamera.
    LegacyCameraStack = "legacy-camera-stack", Error, false;
    /// The board neither looks for cameras nor names one.
    CameraNotEnabled = "camera-not-enabled", Error, false;
    /// The user may not open the cameras.
    CameraNotPermitted = "camera-not-permitted", Error, false;
    /// Another program has the camera.
    CameraHeld = "camera-held", Error, false;
    /// The camera's frames cannot be made shorter.
    LittleHeadroom = "little-headroom", Warning, false;
    /// The library of libcamera that the plugin needs is not there.
    LibcameraMissing = "libcamera-missing", Error, false;
    /// Another version of libcamera is there than the one that the plugin was built with.
    LibcameraVersion = "libcamera-version", Error, false;
    /// GStreamer does not find the plugin.
    PluginNotFound = "plugin-not-found", Error, false;
    /// GStreamer has put the plugin on its list of those that it does not load.
    PluginBlacklisted = "plugin-blacklisted", Error, true;
    /// There are several plugins of different contents; GStreamer takes the first.
    PluginTwice = "plugin-twice", Warning, false;
    /// The rig is reached at its address, and not found by multicast.
    MulticastLost = "multicast-lost", Warning, false;
    /// A device serves time on a UDP port that does not answer, while its TCP port does.
    TimePortBlocked = "time-port-blocked", Error, false;
    /// Two rigs of one name are in view.
    RigNameShared = "rig-name-shared", Error, false;
    /// Devices of this rig's name, or hubs in view, with a key where this side has none, or the other way round.
    RigKeyDiffers = "rig-key-differs", Warning, false;
    /// Devices of the rig have different versions of swsync.
    MixedVersions = "mixed-versions", Warning, false;
    /// A device of the rig does not answer.
    DeviceSilent = "device-silent", Error, false;
    /// Another device came with an id that is taken.
    DeviceIdTaken = "device-id-taken", Error, false;
    /// A device's clock is not synced.
    ClockNotSynced = "clock-not-synced", Warning, false;
    /// A device reports a problem of its own.
    DeviceProblem = "device-problem", Warning, false;
}

impl Problem {
    /// The problem with this id.
    #[must_use]
    pub fn of_id(id: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|problem| problem.id() == id)
    }

    /// The finding that `what` is wrong, seen by `found`, and mended by `mend`.
    #[must_use]
    pub fn finding(
        self,
        what: impl Into<String>,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Finding {
        Finding {
            id: self.id().to_owned(),
            severity: self.severity(),
            what: what.into(),
            found: found.into(),
            mend: mend.into(),
            mended_by_doctor: self.is_mended_by_doctor(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Finding {
    /// The id of the [`Problem`]; a newer version may have others.
    #[serde(deserialize_with = "bounded::text")]
    pub id: String,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong, and what that does.
    #[serde(deserialize_with = "bounded::text")]
    pub what: String,
    /// How it was found: the file and its value, or what was asked and what came.
    #[serde(deserialize_with = "bounded::text")]
    pub found: String,
    /// The command that mends it, or what to do.
    #[serde(deserialize_with = "bounded::text")]
    pub mend: String,
    /// Whether `swsync doctor --fix` does it, on that device.
    #[serde(default)]
    pub mended_by_doctor: bool,
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum CheckOutcome {
    /// It was done, and nothing is wrong.
    Ok {
        /// What was seen.
        #[serde(deserialize_with = "bounded::text")]
        seen: String,
    },
    /// Something is wrong.
    Found {
        /// At least one.
        #[serde(deserialize_with = "bounded::list::<_, _, MAX_CHECKS>")]
        findings: Vec<Finding>,
    },
    /// It could not be done, or only in part: whether something is wrong is not known.
    Unknown {
        /// Why not.
        #[serde(deserialize_with = "bounded::text")]
        why: String,
        /// What would let it be done.
        #[serde(deserialize_with = "bounded::text")]
        needs: String,
    },
}

/// A check and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Check {
    /// Its id.
    #[serde(rename = "check", deserialize_with = "bounded::text")]
    pub id: String,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: CheckOutcome,
}

impl Check {
    /// The check `id` saw `seen`, and nothing wrong.
    #[must_use]
    pub fn ok(id: &str, seen: impl Into<String>) -> Self {
        Self { id: id.to_owned(), outcome: CheckOutcome::Ok { seen: seen.into() } }
    }

    /// The check `id` found `findings`; without any it saw `seen`.
    #[must_use]
    pub fn found(id: &str, findings: Vec<Finding>, seen: impl Into<String>) -> Self {
        if findings.is_empty() {
            return Self::ok(id, seen);
        }
        Self { id: id.to_owned(), outcome: CheckOutcome::Found { findings } }
    }

    /// The check `id` could not be done.
    #[must_use]
    pub fn unknown(id: &str, why: impl Into<String>, needs: impl Into<String>) -> Self {
        Self { id: id.to_owned(), outcome: CheckOutcome::Unknown { why: why.into(), needs: needs.into() } }
    }

    /// What it found.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        match &self.outcome {
            CheckOutcome::Found { findings } => findings,
            CheckOutcome::Ok { .. } | CheckOutcome::Unknown { .. } => &[],
        }
    }

    /// Whether it could not be done.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        matches!(self.outcome, CheckOutcome::Unknown { .. })
    }
}

/// What a device says when it is examined: how each check ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Diagnosis {
    /// The device; `None`: a host on which no pipeline was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// The host's name.
    #[serde(deserialize_with = "bounded::text")]
    pub host: String,
    /// The version of swsync that examined it.
    #[serde(deserialize_with = "bounded::text")]
    pub software: String,
    /// The checks.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_CHECKS>")]
    pub checks: Vec<Check>,
}

impl Diagnosis {
    /// All findings, those that matter most first.
    #[must_use]
    pub fn findings(&self) -> Vec<&Finding> {
        let mut findings: Vec<_> = self.checks.iter().flat_map(Check::findings).collect();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings
    }

    /// Whether every check was done, and found nothing.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.checks.iter().all(|check| matches!(check.outcome, CheckOutcome::Ok { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{decode, encode};

    #[test]
    fn ids_are_kebab_case_and_found_again() {
        for problem in Problem::ALL {
            let id = problem.id();
            assert!(id.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{id}");
            assert_eq!(Problem::of_id(id), Some(*problem));
        }
        assert_eq!(Problem::of_id("no-such"), None);
    }

    fn diagnosis(checks: Vec<Check>) -> Diagnosis {
        Diagnosis { device: None, host: "pi".into(), software: "0.1.0".into(), checks }
    }

    #[test]
    fn a_check_that_could_not_be_done_is_not_well() {
        let ok = Check::ok("a", "fine");
        assert!(diagnosis(vec![ok.clone()]).is_well());
        assert!(!diagnosis(vec![ok.clone(), Check::unknown("b", "no such file", "sudo")]).is_well());
        let note = Problem::CpuGovernorVaries.finding("a", "b", "c");
        let error = Problem::Undervoltage.finding("a", "b", "c");
        let found = diagnosis(vec![ok, Check::found("c", vec![note, error], "-")]);
        assert!(!found.is_well());
        let severities: Vec<_> = found.findings().iter().map(|finding| finding.severity).collect();
        assert_eq!(severities, [Severity::Error, Severity::Note]);
    }

    #[test]
    fn a_diagnosis_is_read_back_and_newer_ones_too() {
        let finding = Problem::DiskSlow.finding("a", "b", "c");
        let checks =
            vec![Check::ok("a", "x"), Check::found("b", vec![finding], ""), Check::unknown("c", "y", "z")];
        let sent = Diagnosis { device: Some(DeviceId::new("pi-3").unwrap()), ..diagnosis(checks) };
        assert_eq!(decode::<Diagnosis>(&encode(&sent)).unwrap(), sent);
        let newer = serde_json::json!({
            "host": "pi", "software": "9", "more": 1,
            "checks": [{ "check": "x", "state": "found", "findings": [{
                "id": "new-problem", "severity": "catastrophe", "what": "w", "found": "f", "mend": "m"
            }] }],
        });
        let read = decode::<Diagnosis>(&encode(&newer)).unwrap();
        assert_eq!(read.findings()[0].severity, Severity::Warning);
    }

    #[test]
    fn a_strangers_diagnosis_is_bounded() {
        let check = serde_json::json!({ "check": "x", "state": "ok", "seen": "\u{1b}[2J" });
        let of = |number: usize| serde_json::json!({ "host": "pi", "software": "9", "checks": vec![check.clone(); number] });
        let read = decode::<Diagnosis>(&encode(&of(MAX_CHECKS))).unwrap();
        assert!(matches!(&read.checks[0].outcome, CheckOutcome::Ok { seen } if !seen.contains('\u{1b}')));
        assert!(decode::<Diagnosis>(&encode(&of(MAX_CHECKS + 1))).is_err());
    }
}
