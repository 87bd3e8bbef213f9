//! Seeds: what swsync writes.

use swsync_core::exchanges::{ClockExchange, ClockExchanges};
use swsync_core::frame::{FrameInfo, LockState, SyncState};
use swsync_core::grid::FrameGrid;
use swsync_core::manifest::{FrameRecord, Hole, PipelineSettings, SCHEMA, Take, TakeSegment};
use swsync_core::message::{self, TimeScale, encode};
use swsync_core::name::Name;
use swsync_core::ntp::{self, Key, NtpShort, NtpTimestamp, Packet, RigField, ServerPath};
use swsync_core::order::{
    Acknowledgement, Answer, CommandOutcome, Fill, FrameOutcome, FrameRun, JournalRecord, Order,
    OrderCommand, OrderKind, OrderProgress, OrderRoster, RecordedFrames, Targets, TimeBasis,
};
use swsync_core::place::DevicePlace;
use swsync_core::profile::{shipped, shipped_models};
use swsync_core::rig_date::RigDate;
use swsync_core::share::{
    Chunk, FileDigest, FileEntry, FileReply, FileRequest, TakeEntry, Unreadable, frame,
};
use swsync_core::status::{
    CameraMode, CameraStatus, ClockStatus, FrameStatus, HostStatus, Status, StorageStatus, TimeScaleChange,
    TimeSource, TimedError, Versions, WifiStatus,
};
use swsync_core::thumbnail::{ThumbnailReply, ThumbnailRequest};
use swsync_core::time::{Rig, Span, Timestamp};
use swsync_core::time_service::{AdvertKind, AdvertisedTime, TimeAdvert};

const NOW: Timestamp<Rig> = Timestamp::from_nanos(1_800_000_000_000_000_000);

/// A seed of a target.
pub struct Seed {
    pub target: &'static str,
    pub name: &'static str,
    pub bytes: Vec<u8>,
}

pub fn seeds() -> Vec<Seed> {
    let all = [packets(), requests(), replies(), shares(), journals(), texts(), videos()];
    all.into_iter().flatten().collect()
}

fn seed(target: &'static str, name: &'static str, bytes: impl Into<Vec<u8>>) -> Seed {
    Seed { target, name, bytes: bytes.into() }
}

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

fn grid() -> FrameGrid {
    FrameGrid::new(30, 1).unwrap()
}

fn info() -> FrameInfo {
    let number = grid().nearest(NOW);
    let mut info = FrameInfo {
        sync: SyncState::Synced,
        lock: Some(LockState::Locked),
        clock_uncertainty_ns: Some(Span::from_micros(12)),
        timescale: Some(TimeScale(7)),
        exposure_ns: Some(Span::from_millis(5)),
        analogue_gain: Some(1.5),
        sensor_time_ns: Some(Timestamp::from_nanos(12_345)),
        ..FrameInfo::new(number, grid().instant(number), Span::from_micros(3))
    };
    info.details.colour_gains = Some([1.75, 2.25]);
    info.details.row_time_ns = Some(18_904.25);
    info
}

fn packets() -> Vec<Seed> {
    let field = RigField {
        rig: 1,
        timescale: 7,
        leader: 2,
        began: NOW,
        path: ServerPath::new(&[3, 4]).unwrap(),
        uncertainty_ns: 12_000,
        port: 11_123,
        ..RigField::default()
    };
    let request = Packet {
        mode: ntp::MODE_CLIENT,
        transmit: NtpTimestamp(0x0123_4567_89ab_cdef),
        rig: Some(field),
        ..Packet::default()
    };
    let response = Packet {
        mode: ntp::MODE_SERVER,
        stratum: 2,
        root_delay: NtpShort(100),
        origin: request.transmit,
        receive: NtpTimestamp(5 << 32),
        transmit: NtpTimestamp(6 << 32),
        ..request
    };
    let plain = Packet { rig: None, ..request };
    let key = Key::new(7, &[5; 16]).unwrap();
    let with_field = |kind: u16, length: u16| {
        let mut bytes = ntp::encode(&plain).to_vec();
        bytes.extend(kind.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.resize(ntp::HEADER_LEN + 32, 9);
        bytes
    };
    vec![
        seed("ntp", "request", ntp::encode(&request).to_vec()),
        seed("ntp", "response", ntp::encode(&response).to_vec()),
        seed("ntp", "plain", ntp::encode(&plain).to_vec()),
        seed("ntp", "sealed", ntp::encode(&request).sealed(&key).to_vec()),
        seed("ntp", "nak", ntp::encode(&response).with_crypto_nak().to_vec()),
        seed("ntp", "other-field", with_field(0x0104, 32)),
        seed("ntp", "long-field", with_field(0x0104, 0xfffc)),
        seed("mac", "sealed", [&[6; 16][..], &ntp::encode(&request).sealed(&key)].concat()),
        seed("mac", "plain", [&[5; 32][..], &ntp::encode(&plain), b"\0"].concat()),
    ]
}

fn orders() -> Vec<Order> {
    let take = OrderKind::Take { segment: Some(Span::from_secs(600)), fill: Fill::Black };
    let lapse = OrderKind::Still { every: Some(Span::from_secs(2)), count: Some(30) };
    let targets = Targets::Devices([name("pi-1"), name("pi.2")].into());
    vec![
        Order::still(name("shot-1"), NOW).unwrap(),
        Order::burst(name("burst"), NOW, 5).unwrap().with_targets(targets).unwrap(),
        Order::new(name("take-1"), NOW, Some(NOW + Span::from_secs(60)), take).unwrap(),
        Order::new(name("lapse"), NOW, None, lapse).unwrap().on_timescale(Some(TimeScale(7))),
    ]
}

fn commands() -> [OrderCommand; 2] {
    [
        OrderCommand::Stop { order: name("take-1"), at_ns: NOW + Span::from_secs(5) },
        OrderCommand::Cancel { order: name("lapse") },
    ]
}

fn requests() -> Vec<Seed> {
    let [still, burst, take, lapse] = &orders()[..] else { unreachable!() };
    let lines = |messages: &[Vec<u8>]| messages.join(&b'\n');
    let all: Vec<_> = orders().iter().map(encode).chain(commands().iter().map(encode)).collect();
    let roster = OrderRoster { orders: orders(), commands: commands().to_vec(), ..OrderRoster::default() };
    let acknowledgement = Acknowledgement {
        order: name("take-1"),
        device: name("pi-1"),
        outcome: CommandOutcome::Late { surplus: 2 },
    };
    vec![
        seed("message", "still", encode(still)),
        seed("message", "burst", encode(burst)),
        seed("message", "take", encode(take)),
        seed("message", "lapse", encode(lapse)),
        seed("message", "stop", encode(&commands()[0])),
        seed("message", "cancel", encode(&commands()[1])),
        seed("message", "roster", encode(&roster)),
        seed("message", "acknowledgement", encode(&acknowledgement)),
        seed("orders", "all", lines(&all)),
        seed("orders", "again", lines(&[all.clone(), all].concat())),
    ]
}

fn answer() -> Answer {
    let recorded = RecordedFrames::frame("take-1/pi-1/0000.mp4".into(), 5_000, &info());
    let run = |first, last, outcome| FrameRun { first, last, count: last - first + 1, outcome };
    Answer {
        order: name("take-1"),
        device: name("pi-1"),
        frames: vec![
            FrameRun::one(5, FrameOutcome::Saved { file: "5.jpg".into(), bytes: 400_000, info: info() }),
            run(6, 9, FrameOutcome::Recorded(recorded)),
            run(10, 11, FrameOutcome::Missed { why: "dropped".into() }),
            run(12, 12, FrameOutcome::Failed { why: "the disk is full".into() }),
            run(13, 20, FrameOutcome::Partly { saved: 5, lost: 3, bytes: 9_000 }),
        ],
        unnumbered: None,
        unfinished: Some("the device was stopped".into()),
        basis: TimeBasis { timescale: Some(TimeScale(7)), rate: Some(grid()) },
    }
}

fn status() -> Status {
    let source = TimeSource { stratum: 2, leader: 5, timescale: 7, least_delay_ns: Span::from_micros(900) };
    Status {
        device: name("pi-1"),
        software: "0.1.0".into(),
        clock: Some(ClockStatus {
            quality: SyncState::Synced,
            rig_time_ns: NOW,
            offset_ns: Span::from_secs(1_000),
            uncertainty_ns: Some(Span::from_micros(12)),
            skew_ppm: -3.25,
            round_trip_ns: Some(Span::from_millis(2)),
            source: Some(source),
            server: Some(9),
            path_offset_ns: Span::ZERO,
        }),
        frames: Some(FrameStatus {
            newest: info(),
            rate: grid(),
            bytes_per_second: 12_000_000,
            ring_frames: 60,
            ring_bytes: 24_000_000,
            oldest: info().number - 59,
            latency_ns: Span::from_millis(60),
        }),
        storage: Some(StorageStatus {
            free_bytes: 9_000_000_000,
            queued_bytes: 0,
            queue_limit_bytes: 32_000_000,
            max_files: Some(10),
        }),
        open: vec![OrderProgress {
            order: name("take-1"),
            at_ns: NOW,
            stop_ns: None,
            named: None,
            saved: 50,
            lost: 1,
            bytes: 5_000_000,
            why: Some("dropped".into()),
        }],
        saved: 500,
        missed: 2,
        problems: vec!["cannot write below /media/usb".into()],
        refused: vec!["process 7 on pi9".into()],
        timescale_change: Some(TimeScaleChange {
            from: TimeScale(6),
            to: TimeScale(7),
            ago_ns: Span::from_secs(30),
        }),
        place: DevicePlace { group: Some(name("left")), place: Some(3) },
        date: Some(RigDate {
            timescale: TimeScale(7),
            rig_time_ns: NOW,
            utc_ns: Timestamp::from_nanos(1_900_000_000_000_000_000),
            uncertainty_ns: Span::from_millis(8),
            by: "browser at 10.0.0.7".into(),
        }),
        host: Some(HostStatus {
            age_ns: Span::from_millis(400),
            board: Some("Raspberry Pi 5 Model B Rev 1.0".into()),
            temperature_celsius: Some(61.5),
            throttled: Some(false),
            throttle_count: None,
            undervoltage: Some(false),
            frequency_limit: Some(1.0),
            cpu_load: Some(0.41),
            wifi: vec![WifiStatus {
                interface: "wlan0".into(),
                signal_dbm: Some(-58),
                tx_bitrate_bps: Some(433_300_000),
                power_save: Some(false),
            }],
        }),
        camera: Some(CameraStatus {
            model: Some("imx708".into()),
            mode: Some(CameraMode { width: 2304, height: 1296, rate: grid(), format: "image/jpeg".into() }),
            exposure_ns: Some(Span::from_millis(5)),
            analogue_gain: Some(2.5),
        }),
        recording_left_ns: Some(Span::from_secs(750)),
        versions: Some(Versions {
            gstreamer: Some("1.26.2".into()),
            libcamera: Some("0.4.0".into()),
            kernel: Some("6.12.47".into()),
            os: Some("Debian GNU/Linux 13".into()),
        }),
        last_error: Some(TimedError { text: "the disk is full".into(), rig_time_ns: Some(NOW) }),
    }
}

fn replies() -> Vec<Seed> {
    let field =
        RigField { timescale: 7, leader: 5, path: ServerPath::new(&[8]).unwrap(), ..RigField::default() };
    let advert = TimeAdvert {
        server: u64::MAX,
        device: "pi-1".into(),
        kind: AdvertKind::Serves,
        priority: 128,
        clock_class: 2,
        time: Some(AdvertisedTime::of_field(&field, NOW)),
        addresses: vec!["10.0.0.7:11123".parse().unwrap(), "[fd00::7]:11123".parse().unwrap()],
        room: 3,
    };
    let picture = ThumbnailReply { device: name("pi-1"), frame: 7, at_ns: NOW, jpeg: Vec::new() };
    let exchange = ClockExchange {
        ago_ns: Span::from_millis(1_500),
        delay_ns: Span::from_micros(900),
        offset_ns: Span::from_micros(-12),
    };
    let exchanges = ClockExchanges { device: name("pi-1"), exchanges: vec![exchange; 2] };
    vec![
        seed("message", "answer", encode(&answer())),
        seed("message", "status", encode(&status())),
        seed("message", "advert", encode(&advert)),
        seed("message", "thumbnail", encode(&ThumbnailRequest { frame: Some(7), width: 320 })),
        seed("message", "picture", message::frame(&picture, b"\xff\xd8")),
        seed("message", "exchanges", encode(&exchanges)),
    ]
}

fn shares() -> Vec<Seed> {
    let (order, path, sha256) = (name("take-1"), "0000.mp4".to_owned(), "0a".repeat(32));
    let take = TakeEntry {
        order: order.clone(),
        started_ns: NOW,
        accepted_ns: Some(Timestamp::from_nanos(5)),
        complete: true,
    };
    let unreadable = Unreadable { path: "x/take.json".into(), why: "it is torn".into() };
    let file = FileEntry { path: path.clone(), bytes: 5_000, modified_ns: 7 };
    let chunk = Chunk { bytes: 3, modified_ns: 7, sha256: Some(sha256.clone()) };
    let digest = FileDigest { bytes: 3, modified_ns: 7, sha256: sha256.clone() };
    let reply = |reply: FileReply| frame(&reply, b"");
    vec![
        seed("share", "ask-files", encode(&FileRequest::Files { order: order.clone(), skip: 2_000 })),
        seed(
            "share",
            "ask-read",
            encode(&FileRequest::Read {
                order: order.clone(),
                path: path.clone(),
                offset: 5,
                length: 1 << 20,
            }),
        ),
        seed("share", "ask-delete", encode(&FileRequest::Delete { order, path, sha256: sha256.clone() })),
        seed("share", "takes", reply(FileReply::Takes { takes: vec![take], unreadable: vec![unreadable] })),
        seed("share", "files", reply(FileReply::Files { files: vec![file], total: 1 })),
        seed("share", "chunk", frame(&FileReply::Chunk { chunk }, b"\n\0{")),
        seed("share", "digest", reply(FileReply::Digest { digest })),
        seed("share", "differs", reply(FileReply::Differs { sha256 })),
        seed("share", "busy", reply(FileReply::Busy { why: "take-1 is being recorded".into() })),
    ]
}

fn journals() -> Vec<Seed> {
    let order = || orders()[2].clone();
    let records = [
        JournalRecord::Grid { grid: grid() },
        JournalRecord::TimeScale { timescale: TimeScale(7) },
        JournalRecord::Opened { opened: order() },
        JournalRecord::Stopped { order: order().id().clone(), at_ns: NOW },
        JournalRecord::Cancelled { order: order().id().clone() },
        JournalRecord::Answered { answer: answer() },
        JournalRecord::Opened { opened: orders()[3].clone() },
    ];
    let whole: Vec<u8> = records.iter().flat_map(JournalRecord::to_line).collect();
    let torn = whole[..whole.len() - 20].to_vec();
    vec![seed("journal", "whole", whole), seed("journal", "torn", torn)]
}

fn take() -> Take {
    let order = &orders()[2];
    let segment = |index: u64| TakeSegment {
        file: format!("{index:04}.mp4"),
        first: 100 + 30 * index,
        count: 30,
        lead_in: Some(0),
        bytes: 1_000,
        sha256: Some("0a".repeat(32)),
    };
    let mut take = Take {
        schema: SCHEMA,
        order: order.id().clone(),
        ordered: serde_json::to_value(order).unwrap(),
        device: name("pi-1"),
        place: Default::default(),
        host: "raspberrypi".into(),
        software: "0.1.0".into(),
        camera: Some("imx708".into()),
        orientation: Some(6),
        maker: None,
        caps: "video/x-h264, width=1280, height=720, framerate=30/1".into(),
        settings: PipelineSettings::from([("src".into(), [("exposure-time".into(), 5_000.into())].into())]),
        grid: grid(),
        first: 100,
        count: 60,
        picture_bytes: None,
        segments: vec![segment(0), segment(1)],
        holes: Vec::new(),
        lead_in: 0,
        removed: None,
        fill: Fill::Hold,
        started_ns: NOW,
        accepted_ns: Some(Timestamp::from_nanos(3)),
        finished_ns: None,
        date: Some(RigDate {
            timescale: TimeScale(7),
            rig_time_ns: NOW,
            utc_ns: Timestamp::from_nanos(1_900_000_000_000_000_000),
            uncertainty_ns: Span::from_millis(8),
            by: "browser at 10.0.0.7".into(),
        }),
        complete: false,
    };
    let holes = vec![Hole::run(105, 2, "dropped"), Hole { last: Some(125), ..Hole::run(120, 3, "late") }];
    take.finish(60, holes, NOW + Span::from_secs(2));
    take
}

fn texts() -> Vec<Seed> {
    let record = FrameRecord {
        order: name("take-1"),
        device: name("pi-1"),
        file: "0000.mp4".into(),
        offset: 3,
        bytes: 5_000,
        info: info(),
    };
    let infinite = record.to_line().replace("[1.75,2.25]", "[1e39,2.25]");
    assert!(infinite.contains("1e39"));
    let keys = "# keys\n7 AES128 HEX:000102030405060708090A0B0C0D0E0F\n8 AES256 ASCII:0123456789abcdef0123456789abcdef\n";
    let models: Vec<_> = shipped_models().collect();
    let profile = shipped(models[0]).unwrap().to_json();
    vec![
        seed("keys", "two", keys),
        seed("take", "take", take().to_json()),
        seed("frames", "two", record.to_line().repeat(2)),
        seed("frames", "regression-infinite-gain", infinite),
        seed("profile", "shipped", profile),
        seed("profile", "change", format!(r#"{{"model":"{}","exposure_margin_lines":8}}"#, models[0])),
        seed("location", "pattern", "/data/{take}/{device}/{frame}.{ext}"),
        seed("location", "videos", "{order}-{device}/x{segment}.mp4"),
        seed("location", "folder", "shots/"),
        seed("location", "home", "~/shots"),
        seed("location", "regression-neighbours", "/data/{frame}{frame}//{ext}"),
        seed("location", "regression-digit-between", "{take}/{frame}0{segment}.jpg"),
    ]
}

fn videos() -> Vec<Seed> {
    let mp4_box = |kind: &[u8; 4], content: &[u8]| {
        let length = u32::try_from(content.len() + 8).unwrap();
        [&length.to_be_bytes()[..], kind, content].concat()
    };
    let fragment = |pictures: u8| {
        let trun = mp4_box(b"trun", &[0, 0, 0, 1, 0, 0, 0, pictures]);
        let traf = mp4_box(b"traf", &[mp4_box(b"tfhd", &[0; 8]), trun].concat());
        [mp4_box(b"moof", &traf), mp4_box(b"mdat", &[7; 20])].concat()
    };
    let mp4 = [mp4_box(b"ftyp", b"isom"), mp4_box(b"moov", &[1; 20]), fragment(3), fragment(2)].concat();
    let mut matroska = vec![0x1a, 0x45, 0xdf, 0xa3, 0x82, 1, 2];
    matroska.extend([0x18, 0x53, 0x80, 0x67, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    matroska.extend([0x1f, 0x43, 0xb6, 0x75, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xe7, 0x81, 0]);
    matroska.extend([0xa3, 0x85, 0x81, 0, 0, 0x80, 9].repeat(3));
    let mut packet = [0xff; 188];
    packet[..5].copy_from_slice(&[0x47, 0x41, 0, 0x30, 100]);
    packet[105..109].copy_from_slice(&[0, 0, 1, 0xe0]);
    let avi = b"RIFF\0\0\0\0AVI LIST\x08\0\0\0hdrl....LIST\0\0\0\0movi00dc\x04\0\0\0....00dc\x04\0\0\0....";
    let tag = b"\x09\0\0\x05\0\0\0\0\0\0\0\x17\x01...\0\0\0\x10";
    let flv = [&b"FLV\x01\x01\0\0\0\x09\0\0\0\0"[..], tag, tag].concat();
    let nested = (0..2_000).fold(Vec::new(), |content, _| mp4_box(b"traf", &content));
    let deep = [mp4_box(b"ftyp", b"isom"), mp4_box(b"moov", &[1; 20]), mp4_box(b"moof", &nested)].concat();
    let of = |count: u8, bytes: &[u8]| [&[count][..], bytes].concat();
    vec![
        seed("video", "mp4", of(5, &mp4)),
        seed("video", "matroska", of(3, &matroska)),
        seed("video", "transport", of(2, &packet.repeat(3))),
        seed("video", "avi", of(2, avi)),
        seed("video", "flv", of(2, &flv)),
        seed("video", "elementary", of(2, &[9; 250])),
        seed("video", "regression-nested-boxes", of(5, &deep)),
    ]
}
