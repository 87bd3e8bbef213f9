//! Chromium without a window, driven by its DevTools protocol over a pipe.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::{Value, json};

/// Longest wait for an answer, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A browser. It ends on drop.
pub struct Browser {
    child: Child,
    to: Option<ChildStdin>,
    from: Receiver<Value>,
    session: Option<String>,
    calls: u64,
    /// What happened, as far as it was not an answer to a call.
    pub events: Vec<Value>,
    _profile: tempfile::TempDir,
}

/// A page, and what it is shown on.
pub struct View<'a> {
    pub page: &'a Path,
    pub width: u32,
    pub height: u32,
    pub is_dark: bool,
}

/// Where Chromium is: SWSYNC_CHROMIUM names it, or it is in PATH.
fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("SWSYNC_CHROMIUM") {
        return Some(named.into());
    }
    let folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let names = ["chromium", "chromium-headless-shell", "chromium-browser", "google-chrome"];
    let places = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    places.into_iter().find(|place| place.is_file())
}

impl Browser {
    /// Starts it. `None`: it is not here, which is said.
    pub fn start() -> Option<Self> {
        let Some(program) = find() else {
            eprintln!("skipped: no chromium here; install it, or name it in SWSYNC_CHROMIUM");
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        // It reads the protocol from descriptor 3 and writes it to 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec 3<&0 4>&1 0</dev/null 1>/dev/null; exec \"$0\" \"$@\""])
            .arg(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (sender, from) = mpsc::channel();
        let mut pipe = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while pipe.read_until(0, &mut message).is_ok_and(|length| length > 0) {
                let text = message.strip_suffix(&[0]).unwrap_or(&message);
                if serde_json::from_slice(text).is_ok_and(|json| sender.send(json).is_err()) {
                    break;
                }
                message.clear();
            }
        });
        let to = child.stdin.take();
        let mut browser =
            Self { child, to, from, session: None, calls: 0, events: Vec::new(), _profile: profile };
        let target = browser.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", &attach);
        browser.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Network", "Log", "Runtime"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        Some(browser)
    }

    /// Opens a page, and waits until it is loaded.
    pub fn open(&mut self, view: &View<'_>) {
        let size = json!({ "width": view.width, "height": view.height, "deviceScaleFactor": 1, "mobile": view.width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let scheme = if view.is_dark { "dark" } else { "light" };
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", &scheme);
        self.events.clear();
        let url = format!("file://{}", view.page.display());
        let opened = self.call("Page.navigate", &json!({ "url": url }));
        assert!(opened.get("errorText").is_none(), "{opened}");
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.from.recv_timeout(PATIENCE).expect("the page loads");
            self.events.push(event);
        }
    }

    /// The value of a JavaScript expression in the page.
    pub fn value(&mut self, expression: &str) -> Value {
        let result =
            self.call("Runtime.evaluate", &json!({ "expression": expression, "returnByValue": true }));
        assert!(result.get("exceptionDetails").is_none(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Errors and warnings of the page, and what it asked of any network.
    pub fn complaints(&self) -> Vec<String> {
        let told = |event: &Value| match event["method"].as_str()? {
            "Log.entryAdded" => Some(event["params"]["entry"].to_string()),
            "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" => Some(event["params"].to_string()),
            "Network.requestWillBeSent" => {
                let url = event["params"]["request"]["url"].as_str()?;
                let is_local = url.starts_with("file:") || url.starts_with("data:");
                (!is_local).then(|| format!("it asks for {url}"))
            }
            _ => None,
        };
        self.events.iter().filter_map(told).collect()
    }

    /// Saves a picture of the whole page, if SWSYNC_SCREENSHOTS names a folder for them.
    pub fn screenshot(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("SWSYNC_SCREENSHOTS") else { return };
        let (width, height) = (self.value("innerWidth"), self.value("document.documentElement.scrollHeight"));
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let how = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let shot = self.call("Page.captureScreenshot", &how);
        let png = gst::glib::base64_decode(shot["data"].as_str().unwrap());
        std::fs::write(Path::new(&folder).join(name), png).unwrap();
    }

    fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.clone().into();
        }
        let to = self.to.as_mut().unwrap();
        to.write_all(message.to_string().as_bytes()).and_then(|()| to.write_all(&[0])).expect("it runs");
        loop {
            let answer = self.from.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{method}: {error}"));
            if answer["id"] == self.calls {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // At the end of its pipe it ends by itself.
        self.to = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
