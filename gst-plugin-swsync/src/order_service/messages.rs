//! Element messages about answers to orders.

use swsync_core::order::{Answer, FrameOutcome};

/// `swsync-served`: this device's answer to an order, whoever gave it.
pub fn served_message(answer: &Answer) -> gst::Structure {
    let (files, problems) = files_and_problems(answer);
    gst::Structure::builder("swsync-served")
        .field("order", answer.order.as_str())
        .field("complete", answer.is_complete())
        .field("finished", answer.unfinished.is_none())
        .field("named", answer.named())
        .field("saved", answer.saved())
        .field("files", gst::Array::new(files))
        .field("problems", gst::Array::new(problems))
        .build()
}

/// The files that an answer names (of a run of videos the first and the last), and the reasons for which frames are not saved.
pub fn files_and_problems(answer: &Answer) -> (Vec<String>, Vec<String>) {
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    problems.extend(answer.unnumbered.iter().chain(&answer.unfinished).cloned());
    for frame in &answer.frames {
        match &frame.outcome {
            FrameOutcome::Saved { file, .. } => files.push(file.clone()),
            FrameOutcome::Recorded(recorded) => {
                files.push(recorded.file.clone());
                files.extend(recorded.last_file.clone());
            }
            FrameOutcome::Missed { .. } | FrameOutcome::Failed { .. } | FrameOutcome::Partly { .. } => {
                problems.extend(frame.why().map(str::to_owned));
            }
        }
    }
    (files, problems)
}
