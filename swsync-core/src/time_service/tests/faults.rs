//! Random sequences of faults: the clock stays monotonic and recovers.

use proptest::prelude::*;

use crate::servo::Adjustment;
use crate::time::{Rig, Span, Timestamp};
use crate::time_service::SyncState;
use crate::time_service::testing::{Faults, World, at_s, identity};
use crate::time_service::{ClientConfig, RequestLimit, Server, ServerConfig, ServerStatus};

#[derive(Debug, Clone)]
enum Mishap {
    Outage,
    Loss(f64),
    /// Another leader, with another time scale and another time.
    Restart(Span),
    /// The leader's clock steps without notice.
    Step(Span),
    /// Another path through the network.
    Path(Span),
    /// Another rate of the leader relative to the client, in ppm.
    Drift(f64),
    LosesTime,
    LimitsRate(u32),
    OtherServer,
}

fn any_mishap() -> impl Strategy<Value = Mishap> {
    let span = |most: i64| (-most..most).prop_map(Span::from_micros);
    prop_oneof![
        Just(Mishap::Outage),
        (0.0..0.9).prop_map(Mishap::Loss),
        span(50_000).prop_map(Mishap::Restart),
        span(50_000).prop_map(Mishap::Step),
        (50_i64..3_000).prop_map(|us| Mishap::Path(Span::from_micros(us))),
        (-10.0..10.0).prop_map(Mishap::Drift),
        Just(Mishap::LosesTime),
        (1_u32..50).prop_map(Mishap::LimitsRate),
        Just(Mishap::OtherServer),
    ]
}

impl World {
    fn suffer(&mut self, mishap: &Mishap, device: u64) {
        match *mishap {
            Mishap::Outage => self.up = false,
            Mishap::Loss(loss) => self.faults = Faults { loss, ..self.faults },
            Mishap::Restart(by) => {
                self.recover(device);
                self.link.offset += by;
            }
            Mishap::Step(by) => self.link.offset += by,
            Mishap::Path(floor) => self.link.floor = floor,
            Mishap::Drift(ppm) => {
                // Change the rate without a step.
                self.link.offset += (self.now - Timestamp::ZERO).mul_f64((self.link.ppm - ppm) * 1e-6);
                self.link.ppm = ppm;
            }
            Mishap::LosesTime => self.status = ServerStatus::unsynchronized(&identity(device)),
            Mishap::LimitsRate(per_second) => {
                let rate_limit = RequestLimit { burst: 10, per_second };
                self.server = Server::new(ServerConfig { rate_limit, ..ServerConfig::default() });
            }
            Mishap::OtherServer => self.client.handle_new_server(self.now),
        }
    }

    /// A network and a leader without fault.
    fn recover(&mut self, device: u64) {
        (self.up, self.faults) = (true, Faults::default());
        self.server = Server::new(ServerConfig::default());
        self.status = ServerStatus::leading(&identity(device), Timestamp::ZERO);
    }

    /// Fails if the clock ever read less than before, once it was synced, unless it began anew.
    fn check_monotonic(&self) -> Result<(), TestCaseError> {
        let synced = |quality| quality == SyncState::Synced;
        let Some(first) = self.updates.iter().position(|(_, update)| synced(update.quality)) else {
            return Ok(());
        };
        let mut last = Timestamp::<Rig>::ZERO;
        for pair in self.updates[first..].windows(2) {
            let [(begin, update), (end, _)] = pair else { continue };
            if let Some(Adjustment::Began { .. }) = update.adjustment {
                last = Timestamp::ZERO;
            }
            for at in [*begin, *begin + (*end - *begin) / 2, *end] {
                let reading = update.map.rig_at(at);
                prop_assert!(reading >= last, "{:?} after {:?} at {:?}", reading, last, at);
                last = reading;
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_clock_stays_monotonic_and_recovers(
        seed in 1_u64..1_000_000, mishaps in proptest::collection::vec((any_mishap(), 0.01..15.0), 1..8),
    ) {
        let mut world = World::new(seed, ClientConfig::default());
        let mut device = 1;
        for (mishap, seconds) in &mishaps {
            device += u64::from(matches!(mishap, Mishap::Restart(_)));
            world.suffer(mishap, device);
            world.run_until(world.now + Span::from_secs_f64(*seconds));
        }
        world.recover(device);
        // Long enough for the client to recover from RATE, and for the estimator to forget wrong exchanges.
        world.run_until(world.now + Span::from_secs(180));
        world.check_monotonic()?;
        prop_assert_eq!(world.quality(), SyncState::Synced);
        prop_assert!(world.error().abs() < Span::from_millis(1), "{:?} {:?}", world.error(), world.stats());
        prop_assert!(world.rate() < 50, "{}", world.rate());
        prop_assert!(world.now > at_s(180.0));
    }
}
