//! The list of cameras, for people and as JSON.

use serde::Serialize;
use swsync_core::time::Span;

use super::headroom::{headroom, warning};
use super::rate::Rate;
use swsync_cli::table::{Align, Column, NOTHING, Table, clean};

/// A mode of a camera.
#[derive(Debug, Clone, PartialEq)]
pub struct Mode {
    pub width: i32,
    pub height: i32,
    /// Shortest and longest frame, where they are known.
    pub frame: Option<(Span, Span)>,
}

/// A camera.
#[derive(Debug, Clone, PartialEq)]
pub struct Camera {
    pub id: String,
    pub model: String,
    pub location: Option<String>,
    pub modes: Vec<Mode>,
    /// If the modes are those of the profile: why.
    pub from_profile: Option<String>,
    /// If the modes are not known: why.
    pub error: Option<String>,
}

/// All cameras, with their headroom at a frame rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    pub fps: Rate,
    pub cameras: Vec<Camera>,
}

/// The document of `swsync cameras --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CamerasDocument<'a> {
    /// Frames per second that headroom is for.
    pub fps: f64,
    /// The cameras that libcamera finds.
    pub cameras: Vec<CameraDocument<'a>>,
}

/// A camera.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CameraDocument<'a> {
    /// libcamera's id: swsyncsrc's property camera-name.
    pub camera_name: &'a str,
    /// The sensor's model.
    pub model: &'a str,
    /// Where on the board it is. `None`: not known.
    pub location: Option<&'a str>,
    /// A command that shows its picture.
    pub launch: String,
    /// Its modes.
    pub modes: Vec<ModeDocument>,
    /// If the modes are those of the camera's profile: why.
    pub from_profile: Option<&'a str>,
    /// If the modes are not known: why.
    pub error: Option<&'a str>,
}

/// A mode of a camera.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ModeDocument {
    /// In pixels.
    pub width: i32,
    /// In pixels.
    pub height: i32,
    /// The shortest frame. `None`: not known.
    pub min_frame_duration_ns: Option<Span>,
    /// The longest frame.
    pub max_frame_duration_ns: Option<Span>,
    /// By how much frames can be made shorter for alignment, as a part of the frame; negative: the rate is not reached.
    pub headroom: Option<f64>,
    /// What is wrong with it at this rate, for a person.
    pub warning: Option<String>,
}

const TABLE: Table<5> = Table::new([
    Column { heading: "", width: 2, align: Align::Left },
    Column { heading: "mode", width: 10, align: Align::Left },
    Column { heading: "shortest us", width: 11, align: Align::Right },
    Column { heading: "fastest fps", width: 11, align: Align::Right },
    Column { heading: "headroom", width: 9, align: Align::Right },
]);

impl Mode {
    /// From the plugin's description.
    pub fn of(structure: &gst::Structure) -> Option<Self> {
        let span = |name: &str| structure.get::<i64>(name).ok().map(Span::from_nanos);
        Some(Self {
            width: structure.get("width").ok()?,
            height: structure.get("height").ok()?,
            frame: span("min-frame-duration").zip(span("max-frame-duration")),
        })
    }

    fn name(&self) -> String {
        format!("{}x{}", self.width, self.height)
    }

    fn shortest(&self) -> Option<Span> {
        self.frame.map(|(shortest, _)| shortest)
    }

    fn row(&self, fps: Rate) -> String {
        let or_nothing = |text: Option<String>| text.unwrap_or_else(|| NOTHING.to_owned());
        let shortest = self.shortest();
        TABLE.row(&[
            String::new(),
            self.name(),
            or_nothing(shortest.map(|shortest| format!("{:.1}", shortest.as_micros_f64()))),
            or_nothing(shortest.map(|shortest| format!("{:.2}", 1.0 / shortest.as_secs_f64()))),
            or_nothing(shortest.map(|shortest| format!("{:.1} %", headroom(shortest, fps) * 100.0))),
        ])
    }

    fn document(&self, fps: Rate) -> ModeDocument {
        ModeDocument {
            width: self.width,
            height: self.height,
            min_frame_duration_ns: self.shortest(),
            max_frame_duration_ns: self.frame.map(|(_, longest)| longest),
            headroom: self.shortest().map(|shortest| headroom(shortest, fps)),
            warning: warning(self.shortest(), fps),
        }
    }
}

impl Camera {
    /// A command that shows the camera's picture.
    fn launch(&self) -> String {
        let bare = |c: char| c.is_ascii_alphanumeric() || "-_./@:".contains(c);
        let id = if !self.id.is_empty() && self.id.chars().all(bare) {
            self.id.clone()
        } else {
            // Quoted for gst-launch-1.0, and that for the shell.
            format!("'\"{}\"'", self.id.replace('\\', "\\\\").replace('"', "\\\"").replace('\'', "'\\''"))
        };
        format!("gst-launch-1.0 swsyncsrc camera-name={id} ! videoconvert ! autovideosink")
    }

    fn lines(&self, fps: Rate) -> Vec<String> {
        let location = self.location.as_ref().map(|location| format!(", {location}")).unwrap_or_default();
        let mut lines = vec![clean(&format!("{}: {}{location}", self.id, self.model))];
        lines.push(format!("    {}", clean(&self.launch())));
        if let Some(error) = &self.error {
            lines.push(format!("    its modes are not known: {}", clean(error)));
            return lines;
        }
        if let Some(why) = &self.from_profile {
            lines.push(format!("    its modes are those of its profile: {}", clean(why)));
        }
        lines.push(TABLE.headings());
        lines.extend(self.modes.iter().map(|mode| mode.row(fps)));
        for mode in &self.modes {
            lines.extend(
                warning(mode.shortest(), fps).map(|warning| format!("    {}: {warning}", mode.name())),
            );
        }
        lines
    }

    fn document(&self, fps: Rate) -> CameraDocument<'_> {
        CameraDocument {
            camera_name: &self.id,
            model: &self.model,
            location: self.location.as_deref(),
            launch: self.launch(),
            modes: self.modes.iter().map(|mode| mode.document(fps)).collect(),
            from_profile: self.from_profile.as_deref(),
            error: self.error.as_deref(),
        }
    }
}

impl Report {
    /// Whether all modes of all cameras are known; `None` where there is no camera.
    pub fn is_whole(&self) -> Option<bool> {
        let known = |camera: &Camera| camera.error.is_none();
        (!self.cameras.is_empty()).then(|| self.cameras.iter().all(known))
    }

    pub fn lines(&self) -> Vec<String> {
        if self.cameras.is_empty() {
            return vec![
                "libcamera finds no camera (`cam -l` lists what it finds). Check the ribbon cable, the camera's overlay in \
                 config.txt, and that this user may open /dev/media* and /dev/video* (group video)"
                    .to_owned(),
            ];
        }
        let mut lines = vec![format!("headroom at {} fps", self.fps)];
        lines.extend(self.cameras.iter().flat_map(|camera| camera.lines(self.fps)));
        lines
    }

    pub fn document(&self) -> CamerasDocument<'_> {
        CamerasDocument {
            fps: self.fps.per_second(),
            cameras: self.cameras.iter().map(|camera| camera.document(self.fps)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(id: &str) -> Camera {
        let mode = |width, height, us| Mode {
            width,
            height,
            frame: Some((Span::from_micros(us), Span::from_secs(1))),
        };
        Camera {
            id: id.into(),
            model: "imx219".into(),
            location: Some("back".into()),
            modes: vec![mode(1640, 1232, 23_895), mode(3280, 2464, 47_183)],
            from_profile: None,
            error: None,
        }
    }

    fn report(cameras: Vec<Camera>) -> Report {
        Report { fps: "30".parse().unwrap(), cameras }
    }

    #[test]
    fn each_mode_has_a_row_and_warnings_follow() {
        let lines = report(vec![camera("/base/soc/i2c0mux/i2c@1/imx219@10")]).lines().join("\n");
        let id = "/base/soc/i2c0mux/i2c@1/imx219@10";
        for line in [
            "headroom at 30 fps".to_owned(),
            format!("{id}: imx219, back"),
            format!("    gst-launch-1.0 swsyncsrc camera-name={id} ! videoconvert ! autovideosink"),
            "    1640x1232       23895.0        41.85     28.3 %".to_owned(),
            "    3280x2464       47183.0        21.19    -41.5 %".to_owned(),
        ] {
            assert!(lines.lines().any(|found| found == line), "{line}\n{lines}");
        }
        assert!(lines.contains("    3280x2464: it does not reach 30"), "{lines}");
        assert!(!lines.contains("1640x1232: "), "{lines}");
    }

    #[test]
    fn ids_are_quoted_for_the_shell_if_needed() {
        assert!(camera("Virtual 0").launch().contains("camera-name='\"Virtual 0\"' !"));
        assert!(camera("a'b").launch().contains(r#"camera-name='"a'\''b"' !"#));
    }

    #[test]
    fn unknown_modes_have_a_reason() {
        let mut unknown = camera("a");
        (unknown.error, unknown.modes) = (Some("camera a is in use by another process".into()), Vec::new());
        let report = report(vec![camera("b"), unknown]);
        assert_eq!(report.is_whole(), Some(false));
        assert!(report.lines().iter().any(|line| line.contains("in use by another process")));
        let json = serde_json::to_value(report.document()).unwrap();
        assert_eq!(json["cameras"][1]["error"], "camera a is in use by another process");
        assert_eq!(json["cameras"][0]["modes"][0]["min_frame_duration_ns"], 23_895_000);
        assert_eq!(Report { cameras: Vec::new(), ..report }.is_whole(), None);
    }
}
