//! Has the `swsyncsrc` upstream measure the centre of a frame, and tells those who asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gst::prelude::*;
use parking_lot::Mutex;
use swsync_core::centre::{CentreReply, CentreRequest};
use swsync_core::name::DeviceId;
use swsync_rig::Reply;

use super::element::ElementHooks;
use crate::centre_query;

/// Longest wait for the frame. Longer than exposures take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Most who wait for an answer. Chosen: ten operators who each ask again.
const MAX_WAITING: usize = 64;

/// Pause between questions to a source that has no frame at all.
const AGAIN: Duration = Duration::from_millis(20);

/// Asks for the centre on a thread of its own while somebody waits.
#[derive(Debug)]
pub struct CentreAsker {
    device: DeviceId,
    element: ElementHooks,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    replies: Vec<(CentreRequest, Reply<CentreReply>)>,
    /// A thread works. It ends once nobody waits, after [`PATIENCE`] at most; nobody joins it.
    is_running: bool,
}

impl CentreAsker {
    pub fn new(device: DeviceId, element: ElementHooks) -> Self {
        Self { device, element, waiting: Arc::default() }
    }

    /// Replies once the frame was measured, or says why it cannot be.
    pub fn ask(&self, request: CentreRequest, reply: Reply<CentreReply>) {
        {
            let mut waiting = self.waiting.lock();
            if waiting.replies.len() >= MAX_WAITING {
                return reply.refuse("too many wait for its pictures to be measured: ask again later");
            }
            waiting.replies.push((request, reply));
            if std::mem::replace(&mut waiting.is_running, true) {
                return;
            }
        }
        let (device, element, waiting) =
            (self.device.clone(), self.element.clone(), Arc::clone(&self.waiting));
        let run = move || {
            loop {
                let Some(from) = ({
                    let mut waiting = waiting.lock();
                    let latest = waiting.replies.iter().map(|(request, _)| request.from).max();
                    waiting.is_running = latest.is_some();
                    latest
                }) else {
                    return;
                };
                let result = measure(&device, &element, from);
                let (served, rest) = std::mem::take(&mut waiting.lock().replies)
                    .into_iter()
                    .partition::<Vec<_>, _>(|(request, _)| request.from <= from);
                waiting.lock().replies.extend(rest);
                for (_, reply) in served {
                    match &result {
                        Ok(measured) => reply.send(measured),
                        Err(why) => reply.refuse(why),
                    }
                }
            }
        };
        if std::thread::Builder::new().name("swsync-centre".into()).spawn(run).is_err() {
            let replies = {
                let mut waiting = self.waiting.lock();
                waiting.is_running = false;
                std::mem::take(&mut waiting.replies)
            };
            replies
                .into_iter()
                .for_each(|(_, reply)| reply.refuse("it has no thread to measure a picture in"));
        }
    }
}

fn measure(device: &DeviceId, element: &ElementHooks, from: u64) -> Result<CentreReply, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Not held on to: the element may be stopped meanwhile.
        let element = element.element().ok_or("the device was stopped first")?;
        let pad = element.static_pad("sink").ok_or("the device was stopped first")?;
        let mut query = centre_query::ask(from);
        let is_heard = pad.peer_query(query.query_mut());
        if let Some(measured) = centre_query::answered(query.query()) {
            return Ok(CentreReply {
                device: device.clone(),
                frame: measured.frame,
                colour: measured.colour,
                format: measured.format,
            });
        }
        if !is_heard {
            return Err("no swsyncsrc is upstream of it whose pictures could be measured".into());
        }
        if Instant::now() >= deadline {
            return Err(format!("no frame came within {} s that could be measured", PATIENCE.as_secs()));
        }
        drop((pad, element));
        std::thread::sleep(AGAIN);
    }
}
