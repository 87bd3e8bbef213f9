//! A take's report, as `swsync report` makes it, on demand: its files are fetched to the dashboard's disk, the program makes the page, and
//! the files are removed again. One is made at a time.
//!
//! The devices are not told that their take was collected: it is not.

use std::collections::VecDeque;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;
use serde::Serialize;
use swsync_cli::handover::find;
use swsync_cli::table;
use swsync_client::collect::{CollectEvent, collect};
use swsync_client::{Rig, in_parallel};
use swsync_core::name::OrderId;

use crate::access::secret;
use crate::api::{Dash, Named};
use crate::failure::Failure;
use crate::json::Json;
use crate::pictures::takes_of;
use crate::state::{Dashboard, blocking};
use crate::takes;

/// The largest take that is fetched for a report. Chosen: what a Raspberry Pi's card has to spare, and some minutes of WiFi.
const LARGEST: u64 = 1 << 30;
/// The largest page that is kept: many times what `swsync report` writes.
const LARGEST_PAGE: u64 = 32 << 20;
/// Reports that are kept, in memory. The oldest gives way.
const KEPT: usize = 4;
/// Devices whose files are fetched at once.
const PARALLEL: u8 = 4;
/// Folders of reports in the making begin with it; the process follows, whose they are.
const PREFIX: &str = "swsync-report-";
/// What the page may do: what its own policy says, and nothing to this dashboard, as its words come from devices.
const POLICY: &str = "sandbox allow-scripts; frame-ancestors 'none'; form-action 'none'; base-uri 'none'";

const BY_HAND: &str =
    "`swsync collect takes ORDER`, then `swsync report takes/ORDER` makes it, however large";

/// How far a report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ReportStage {
    /// Another one is made first.
    Waiting,
    /// Its take's files are fetched.
    Fetching,
    /// They are here, and the page is made.
    Making,
    /// It can be opened.
    Ready,
    /// There is none: `problems` says why.
    Failed,
}

/// How far a report is.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ReportState {
    /// The order whose take it is about.
    pub order: OrderId,
    /// How far it is.
    pub stage: ReportStage,
    /// Bytes that were fetched.
    pub bytes: u64,
    /// Bytes that are to be fetched, once that is known.
    pub total: Option<u64>,
    /// Why there is none, or what is not in it.
    pub problems: Vec<String>,
}

/// A report that was asked for.
#[derive(Debug)]
struct Report {
    state: ReportState,
    page: Option<Arc<[u8]>>,
}

/// The reports that were asked for lately.
#[derive(Debug, Default)]
pub struct Reports {
    all: Mutex<VecDeque<Report>>,
    /// Held by the one that is made.
    turn: Mutex<()>,
}

impl Reports {
    /// Notes that one is wanted. `None`: it is being made already.
    fn begin(&self, order: &OrderId) -> Result<Option<ReportState>, Failure> {
        let mut all = self.all.lock();
        let is_over =
            |report: &Report| matches!(report.state.stage, ReportStage::Ready | ReportStage::Failed);
        if all.iter().any(|report| report.state.order == *order && !is_over(report)) {
            return Ok(None);
        }
        all.retain(|report| report.state.order != *order);
        if all.len() >= KEPT {
            let Some(oldest) = all.iter().position(is_over) else {
                return Err(Failure::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    format!("{KEPT} reports are being made already"),
                    "wait until one of them is done",
                ));
            };
            all.remove(oldest);
        }
        let (stage, problems) = (ReportStage::Waiting, Vec::new());
        let state = ReportState { order: order.clone(), stage, bytes: 0, total: None, problems };
        all.push_back(Report { state: state.clone(), page: None });
        Ok(Some(state))
    }

    fn change(&self, order: &OrderId, change: impl FnOnce(&mut Report)) {
        if let Some(report) = self.all.lock().iter_mut().find(|report| report.state.order == *order) {
            change(report);
        }
    }

    fn state(&self, order: &OrderId) -> Result<ReportState, Failure> {
        let all = self.all.lock();
        let found = all.iter().find(|report| report.state.order == *order);
        found.map(|report| report.state.clone()).ok_or_else(|| none(order))
    }

    fn page(&self, order: &OrderId) -> Result<Arc<[u8]>, Failure> {
        let all = self.all.lock();
        let found = all.iter().find(|report| report.state.order == *order);
        found.and_then(|report| report.page.clone()).ok_or_else(|| none(order))
    }

    /// Makes the report, which has been begun.
    fn make(&self, rig: &Rig, order: &OrderId) {
        let _turn = self.turn.lock();
        let made = self.try_make(rig, order);
        self.change(order, |report| match made {
            Ok((page, mut problems)) => {
                report.page = Some(page.into());
                report.state.stage = ReportStage::Ready;
                report.state.problems.append(&mut problems);
            }
            Err(why) => {
                swsync_core::log::warn!(%order, why, "no report");
                report.state.stage = ReportStage::Failed;
                report.state.problems.push(why);
            }
        });
    }

    /// The page, and what is not in it; or why there is none.
    fn try_make(&self, rig: &Rig, order: &OrderId) -> Result<(Vec<u8>, Vec<String>), String> {
        let take = takes::find(rig, order).map_err(|failure| failure.text())?;
        if take.is_open() {
            return Err("the take is under way: a report can be made once it has ended".to_owned());
        }
        let mut problems: Vec<_> =
            take.lacking.iter().map(|device| format!("{device} has nothing of it")).collect();
        let sizes = in_parallel(PARALLEL, take.parts.keys(), |device| {
            let files = takes_of(rig, device.clone()).files(order);
            files.map(|files| files.iter().map(|file| file.bytes).fold(0, u64::saturating_add))
        });
        let total = sizes.into_iter().filter_map(Result::ok).fold(0, u64::saturating_add);
        if total > LARGEST {
            let [total, most] = [total, LARGEST].map(table::size);
            return Err(format!(
                "the take has {total}, and {most} are the most that is fetched for a report: {BY_HAND}"
            ));
        }
        self.change(order, |report| {
            (report.state.stage, report.state.total) = (ReportStage::Fetching, Some(total));
        });
        let scratch = Scratch::new().map_err(|error| format!("no folder for its files: {error}"))?;
        let fetched = in_parallel(PARALLEL, take.parts.keys(), |device| {
            collect(&takes_of(rig, device.clone()), order, &scratch.0, |event| {
                if let CollectEvent::Bytes(bytes) = event {
                    self.change(order, |report| {
                        report.state.bytes = report.state.bytes.saturating_add(bytes)
                    });
                }
            })
            .map_err(|error| format!("{device}: {error}"))
        });
        problems.extend(fetched.into_iter().filter_map(Result::err));
        self.change(order, |report| report.state.stage = ReportStage::Making);
        let folder = scratch.0.join(order.as_str());
        if let Err(error) = swsync_cli::certify::renew(&folder) {
            problems.push(format!("no certificate: {error}"));
        }
        write_page(&folder).map(|page| (page, problems))
    }
}

fn none(order: &OrderId) -> Failure {
    Failure::not_found(
        format!("no report on {order} was made here lately"),
        format!("POST /api/v1/takes/{order}/report makes one"),
    )
}

/// The page about the take in `folder`.
fn write_page(folder: &Path) -> Result<Vec<u8>, String> {
    let (program, page) = (find("swsync-media"), folder.with_extension("html"));
    let mut command = Command::new(&program);
    command.arg("report").arg(folder).arg("--out").arg(&page).arg("--json").stdin(Stdio::null());
    let ran = command.output().map_err(|error| {
        format!(
            "{}: {error}; `swsync report` is a program of its own: install it beside this one",
            program.display()
        )
    })?;
    // A part that cannot be read is on the page, and another exit code.
    let file = fs::File::open(&page).map_err(|_| {
        let said = String::from_utf8_lossy(&ran.stderr);
        format!("`swsync report` failed: {}", said.trim().lines().last().unwrap_or("it does not say why"))
    })?;
    let mut bytes = Vec::new();
    file.take(LARGEST_PAGE + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LARGEST_PAGE {
        return Err(format!("the page has more than {}: {BY_HAND}", table::size(LARGEST_PAGE)));
    }
    Ok(bytes)
}

/// A folder that is removed once it is not needed.
struct Scratch(PathBuf);

/// Where such folders are: /tmp is memory on many systems.
fn scratch_root() -> PathBuf {
    let lasting = PathBuf::from("/var/tmp");
    if std::env::var_os("TMPDIR").is_none() && lasting.is_dir() { lasting } else { std::env::temp_dir() }
}

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let path = scratch_root().join(format!("{PREFIX}{}-{}", std::process::id(), secret()));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            swsync_core::log::warn!(folder = %self.0.display(), %error, "files of a report stay");
        }
    }
}

/// Removes what dashboards have left that were killed. Folders of others cannot be removed, and stay.
pub fn clean_up() {
    let Ok(entries) = fs::read_dir(scratch_root()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner.to_string()).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// `POST /api/v1/takes/{order}/report`.
pub async fn make(State(dashboard): Dash, Named(order): Named<OrderId>) -> Result<Response, Failure> {
    let rig = dashboard.rig()?;
    // Fails here, with a status code, if there is no such take.
    let (checked, wanted) = (rig.clone(), order.clone());
    blocking(move || takes::find(&checked, &wanted).map(drop)).await?;
    if dashboard.reports.begin(&order)?.is_some() {
        let (dashboard, order): (Arc<Dashboard>, _) = (Arc::clone(&dashboard), order.clone());
        // Ends with the report; its state is told to whoever asks.
        tokio::task::spawn_blocking(move || dashboard.reports.make(&rig, &order));
    }
    Ok((StatusCode::ACCEPTED, Json(dashboard.reports.state(&order)?)).into_response())
}

/// `GET /api/v1/takes/{order}/report`.
pub async fn state(
    State(dashboard): Dash,
    Named(order): Named<OrderId>,
) -> Result<Json<ReportState>, Failure> {
    dashboard.reports.state(&order).map(Json)
}

/// `GET /api/v1/takes/{order}/report.html`.
pub async fn page(State(dashboard): Dash, Named(order): Named<OrderId>) -> Result<Response, Failure> {
    let page = dashboard.reports.page(&order)?;
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY)];
    Ok((headers, page.to_vec()).into_response())
}

#[cfg(test)]
mod tests {
    use swsync_cli::testing::name;

    use super::*;

    fn finish(reports: &Reports, order: &str) {
        reports.change(&name(order), |report| {
            (report.state.stage, report.page) = (ReportStage::Ready, Some(Arc::from(&b"<p>"[..])));
        });
    }

    #[test]
    fn few_reports_are_kept_and_none_is_made_twice_at_once() {
        let reports = Reports::default();
        assert!(reports.page(&name("o0")).is_err() && reports.state(&name("o0")).is_err());
        for order in ["o0", "o1", "o2", "o3"] {
            assert!(reports.begin(&name(order)).unwrap().is_some());
            assert!(reports.begin(&name(order)).unwrap().is_none(), "it is being made");
        }
        assert!(reports.begin(&name("o4")).is_err(), "none can give way");
        finish(&reports, "o1");
        assert_eq!(&*reports.page(&name("o1")).unwrap(), b"<p>");
        assert!(reports.begin(&name("o4")).unwrap().is_some());
        assert!(reports.page(&name("o1")).is_err(), "it gave way");
        finish(&reports, "o4");
        assert!(reports.begin(&name("o4")).unwrap().is_some(), "made anew, as files may have come");
        assert!(reports.page(&name("o4")).is_err());
    }

    #[test]
    fn folders_are_private_and_vanish_and_those_of_dead_processes_too() {
        use std::os::unix::fs::PermissionsExt as _;
        let scratch = Scratch::new().unwrap();
        let path = scratch.0.clone();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(path.join("x"), "y").unwrap();
        // No process has this number: Linux's largest is 2^22.
        let dead = scratch_root().join(format!("{PREFIX}{}-{}", 1 << 23, secret()));
        fs::create_dir(&dead).unwrap();
        clean_up();
        assert!(path.exists() && !dead.exists());
        drop(scratch);
        assert!(!path.exists());
    }
}
