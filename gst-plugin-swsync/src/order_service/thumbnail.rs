//! Small pictures of frames in the ring, for whoever looks at the rig from afar: made on a thread of the least priority.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use swsync_core::log;
use swsync_core::name::DeviceId;
use swsync_core::thumbnail::{MAX_THUMBNAIL, ThumbnailReply, ThumbnailRequest};
use swsync_rig::{Reply, lower_priority};

use super::stored_frame::StoredFrame;
use super::thumbnail_picture::render;

/// Most pictures that wait to be made, each with its frame in memory. More who ask for the same one share it.
const MAX_WAITING: usize = 8;

/// Most who wait for one picture.
const MAX_REPLIES: usize = 64;

/// How old the picture of a frame may be that stands for the newest one. Chosen: cards are refreshed once a second.
const FRESH: Duration = Duration::from_millis(300);

/// The thread rests for so many times as long as it has worked: it takes a quarter of a core at most, whoever asks.
const REST: u32 = 3;

/// The lowest priority that there is: the thread runs when no other has anything to do.
const NICENESS: i32 = 19;

/// Makes small pictures on a thread of its own while somebody waits.
#[derive(Debug)]
pub struct Thumbnailer {
    device: DeviceId,
    work: Arc<Mutex<Work>>,
}

#[derive(Debug, Default)]
struct Work {
    waiting: Vec<Job>,
    /// The last picture of a frame that was the newest, its width, and when it was made.
    last: Option<(ThumbnailReply, u16, Instant)>,
    /// A thread works. It ends once nobody waits; nobody joins it.
    is_running: bool,
}

#[derive(Debug)]
struct Job {
    frame: StoredFrame,
    width: u16,
    is_newest: bool,
    replies: Vec<Reply<ThumbnailReply>>,
}

impl Thumbnailer {
    pub fn new(device: DeviceId) -> Self {
        Self { device, work: Arc::default() }
    }

    /// Replies with a picture of `frame`, which the ring has for `request`, or with why there is none.
    pub fn ask(
        &self,
        request: ThumbnailRequest,
        frame: Result<StoredFrame, String>,
        reply: Reply<ThumbnailReply>,
    ) {
        let frame = match frame {
            Ok(frame) => frame,
            Err(why) => return reply.refuse(&why),
        };
        let (width, is_newest) = (request.width, request.frame.is_none());
        let mut work = self.work.lock();
        if let Some((last, of, at)) = &work.last
            && is_newest
            && *of == width
            && at.elapsed() < FRESH
        {
            return reply.send(last);
        }
        let is_same = |job: &&mut Job| {
            job.width == width
                && job.is_newest == is_newest
                && (is_newest || job.frame.info.number == frame.info.number)
        };
        let has_room = work.waiting.len() < MAX_WAITING;
        match work.waiting.iter_mut().find(is_same) {
            Some(job) if job.replies.len() < MAX_REPLIES => return job.replies.push(reply),
            None if has_room => work.waiting.push(Job { frame, width, is_newest, replies: vec![reply] }),
            _ => return reply.refuse("too many wait for its pictures: ask again later"),
        }
        if std::mem::replace(&mut work.is_running, true) {
            return;
        }
        drop(work);
        let (device, work) = (self.device.clone(), Arc::clone(&self.work));
        let run = move || run(&device, &work);
        if std::thread::Builder::new().name("swsync-thumb".into()).spawn(run).is_err() {
            let mut work = self.work.lock();
            work.is_running = false;
            let replies = std::mem::take(&mut work.waiting).into_iter().flat_map(|job| job.replies);
            replies.for_each(|reply| reply.refuse("it has no thread to make a picture in"));
        }
    }
}

fn run(device: &DeviceId, work: &Mutex<Work>) {
    if let Err(error) = lower_priority(NICENESS) {
        log::warn!(%error, "small pictures are made at the priority of everything else");
    }
    loop {
        let begun = Instant::now();
        let job = {
            let mut work = work.lock();
            work.is_running = !work.waiting.is_empty();
            if !work.is_running {
                return;
            }
            work.waiting.remove(0)
        };
        let picture = render(&job.frame, job.width).and_then(|jpeg| match jpeg.len() {
            length if length > MAX_THUMBNAIL => {
                Err(format!("its picture has {length} bytes, which is too large"))
            }
            _ => Ok(jpeg),
        });
        match picture {
            Ok(jpeg) => {
                let (number, at_ns) = (job.frame.info.number, job.frame.info.rig_time_ns);
                let reply = ThumbnailReply { device: device.clone(), frame: number, at_ns, jpeg };
                if job.is_newest {
                    work.lock().last = Some((reply.clone(), job.width, Instant::now()));
                }
                job.replies.into_iter().for_each(|waiting| waiting.send(&reply));
            }
            Err(why) => job.replies.into_iter().for_each(|waiting| waiting.refuse(&why)),
        }
        drop(job.frame);
        std::thread::sleep(begun.elapsed() * REST);
    }
}
