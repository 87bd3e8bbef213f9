use swsync_core::time::Span;
use swsync_core::time_service::SyncState;
use swsync_sim::link::LinkModel;
use swsync_sim::rig::{DeviceConfig, Rig};
fn main() {
    let seed: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let mut rig = Rig::new(LinkModel::wifi(), seed);
    for index in 0..6 { let skew = [12.0, -31.0, 4.0, 40.0, -9.0, 22.0][index % 6];
        rig.add(DeviceConfig::auto(&format!("skew={skew}ppm,wander=0.01ppm"))); }
    let mut killed = false;
    for i in 0..600 {
        rig.run_for(Span::from_millis(100));
        if i == 200 && !killed { killed = true; let l = (0..6).find(|i| rig.reading(*i).unwrap().quality == SyncState::Leading).unwrap(); println!("kill {l}"); rig.kill(l, true); }
        if i % 5 == 0 { 
        let base = rig.now().as_nanos();
        let r0 = (0..6).filter_map(|d| rig.reading(d)).next().unwrap().rig;
        print!("{:6.1} ", base as f64 / 1e9);
        for d in 0..6 { match rig.reading(d) { Some(r) => print!("{:>10}", format!("{:.0}{}{:.0}", (r.rig - r0).as_nanos() as f64 / 1e3, match r.quality { SyncState::Synced => "s", SyncState::Leading => "L", SyncState::Holdover => "h", _ => "?" }, r.uncertainty.map_or(-1.0, |u| u.as_nanos() as f64/1e3))), None => print!("{:>10}", "-") } }
        println!(); }
    }
}
