use proptest::prelude::*;

use super::*;
use crate::time::{Offset, Skew};

const NOBODY: InFlight = InFlight { requests: 0, oldest: None };

fn config() -> ClientConfig {
    ClientConfig::default()
}

fn estimate(at: Timestamp<Local>, micros: i64) -> ClockEstimate {
    ClockEstimate {
        at,
        offset: Offset::between(Timestamp::ZERO, Timestamp::<Local>::ZERO),
        skew: Skew::ZERO,
        uncertainty: Span::from_micros(micros),
        skew_uncertainty: Skew::ZERO,
        least_delay: Span::from_micros(100),
    }
}

/// A pacer whose every request is answered 1 ms later, for `seconds`. Returns when the requests were sent.
fn run(pacer: &mut Pacer, from: Timestamp<Local>, seconds: i64, micros: i64) -> Vec<Timestamp<Local>> {
    let end = from + Span::from_secs(seconds);
    run_while(pacer, from, micros, |_, now| now < end)
}

fn run_while(
    pacer: &mut Pacer,
    from: Timestamp<Local>,
    micros: i64,
    goes_on: impl Fn(&Pacer, Timestamp<Local>) -> bool,
) -> Vec<Timestamp<Local>> {
    let mut sent = Vec::new();
    let mut now = pacer.next().max(from);
    while goes_on(pacer, now) {
        sent.push(now);
        pacer.handle_sent(&config(), now, NOBODY, Pacer::patience(None), 0.0);
        let answered = now + Span::from_millis(1);
        pacer.handle_response(&config(), answered, 0.0);
        pacer.end_burst(&config(), answered, false);
        pacer.handle_estimate(&config(), answered, &estimate(answered, micros));
        now = pacer.next();
    }
    sent
}

fn burst(least: Span) -> (Pacer, Vec<Timestamp<Local>>) {
    let mut pacer = Pacer::new(&config(), Timestamp::ZERO);
    pacer.set_budget(least);
    pacer.start_burst(&config(), Timestamp::ZERO, config().burst);
    let sent = run_while(&mut pacer, Timestamp::ZERO, 50, |pacer, _| pacer.is_in_burst());
    (pacer, sent)
}

#[test]
fn a_burst_is_thinned_to_what_the_server_grants() {
    for (least_ms, most) in [(0, 700), (3, 700), (5, 200), (15, 67), (30, 34), (125, 21), (60_000, 21)] {
        let (_, sent) = burst(Span::from_millis(least_ms));
        let first = sent.iter().filter(|at| **at < Timestamp::ZERO + Span::from_secs(1)).count();
        assert!(first <= most, "{least_ms} ms: {first} in the first second");
        assert!(sent.len() >= 32, "{least_ms} ms: {} until it was over", sent.len());
        let took = *sent.last().unwrap() - Timestamp::ZERO;
        assert!(took < Span::from_millis(2_100), "{least_ms} ms: {took:?}");
    }
}

#[test]
fn the_steady_phase_keeps_to_what_the_server_grants() {
    for (least_ms, expected) in [(0, 480), (125, 480), (400, 150), (2_000, 30), (60_000, 15)] {
        let (mut pacer, sent) = burst(Span::from_millis(least_ms));
        // Up to the first trial of the search.
        let from = *sent.last().unwrap() + Span::from_secs(15);
        run(&mut pacer, from - Span::from_secs(15), 15, 50);
        let sent = run(&mut pacer, from, 60, 50).len();
        assert!(sent.abs_diff(expected) <= 3, "{least_ms} ms: {sent}");
    }
}

#[test]
fn a_lifted_budget_is_used() {
    let (mut pacer, sent) = burst(Span::from_secs(2));
    let now = *sent.last().unwrap();
    run(&mut pacer, now, 30, 50);
    pacer.set_budget(Span::ZERO);
    let sent = run(&mut pacer, now + Span::from_secs(32), 20, 50).len();
    assert!((155..=165).contains(&sent), "{sent}");
}

#[test]
fn rates_for_requests_in_flight_count_once() {
    let mut pacer = Pacer::new(&config(), Timestamp::ZERO);
    let at = |ms| Timestamp::ZERO + Span::from_millis(ms);
    pacer.start_burst(&config(), at(0), 300);
    for ms in 0..8 {
        pacer.handle_rate(&config(), at(ms));
    }
    assert_eq!(pacer.interval(&config(), at(8)), Span::from_millis(250));
    pacer.handle_rate(&config(), at(260));
    assert_eq!(pacer.interval(&config(), at(260)), Span::from_millis(500));
}

#[test]
fn a_burst_that_is_not_answered_ends() {
    let mut pacer = Pacer::new(&config(), Timestamp::ZERO);
    pacer.start_burst(&config(), Timestamp::ZERO, 300);
    let mut sent =
        run_while(&mut pacer, Timestamp::ZERO, 50, |_, now| now < Timestamp::ZERO + Span::from_millis(100))
            .len();
    while pacer.is_in_burst() {
        pacer.handle_sent(&config(), pacer.next(), NOBODY, Pacer::patience(None), 0.0);
        sent += 1;
    }
    assert!(pacer.is_calling() && sent < 200, "{sent}");
}

#[test]
fn a_burst_without_end_ends() {
    // Every response counts, but none completes an exchange.
    let mut pacer = Pacer::new(&config(), Timestamp::ZERO);
    pacer.start_burst(&config(), Timestamp::ZERO, 300);
    let (mut now, mut sent) = (Timestamp::ZERO, 0);
    while pacer.is_in_burst() {
        pacer.handle_sent(&config(), now, NOBODY, Pacer::patience(None), 0.0);
        pacer.handle_response(&config(), now, 0.0);
        sent += 1;
        now = pacer.next();
    }
    assert!(sent <= 1201, "{sent}");
}

/// What may happen to a pacer.
#[derive(Debug, Clone)]
enum Event {
    Timeout,
    Response,
    Exchange(i64),
    Settled,
    Burst(u32),
    Silence(bool),
    Nonsense,
    Rate,
    Denial,
    Budget(i64),
    NewServer,
    AskNow,
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => Just(Event::Timeout),
        4 => Just(Event::Response),
        4 => (0_i64..100_000).prop_map(Event::Exchange),
        1 => Just(Event::Settled),
        1 => prop_oneof![Just(300_u32), Just(32), Just(96)].prop_map(Event::Burst),
        1 => any::<bool>().prop_map(Event::Silence),
        1 => Just(Event::Nonsense),
        1 => Just(Event::Rate),
        1 => Just(Event::Denial),
        1 => (0_i64..70_000).prop_map(Event::Budget),
        1 => Just(Event::NewServer),
        1 => Just(Event::AskNow),
    ]
}

/// What happens to it, again and again, each time after so many microseconds.
fn happen(pacer: &mut Pacer, event: &Event, now: Timestamp<Local>) -> bool {
    let config = config();
    match *event {
        Event::Timeout if now >= pacer.next() => {
            pacer.handle_sent(&config, now, NOBODY, Pacer::patience(None), 0.0);
            return true;
        }
        Event::Timeout => {}
        Event::Response => pacer.handle_response(&config, now, 0.9),
        Event::Exchange(micros) => pacer.handle_estimate(&config, now, &estimate(now, micros)),
        Event::Settled => pacer.end_burst(&config, now, true),
        Event::Burst(total) => pacer.start_burst(&config, now, total),
        Event::Silence(synced) => pacer.call(synced),
        Event::Nonsense => pacer.handle_nonsense(false),
        Event::Rate => pacer.handle_rate(&config, now),
        Event::Denial => pacer.handle_denial(now),
        Event::Budget(ms) => pacer.set_budget(Span::from_millis(ms)),
        Event::NewServer => pacer.restart(&config, now),
        Event::AskNow => pacer.ask_now(now),
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens in whatever order: never more than a request a millisecond, in the long run not more than ten a second, and
    /// never silent for longer than a refused client.
    #[test]
    fn requests_are_bounded_and_go_on(
        pattern in proptest::collection::vec((any_event(), 0_i64..3_000), 1..40),
    ) {
        let mut pacer = Pacer::new(&config(), Timestamp::ZERO);
        let (mut now, mut sent) = (Timestamp::ZERO, Vec::new());
        for (event, micros) in pattern.iter().cycle().take(60_000) {
            now += Span::from_micros(*micros);
            if happen(&mut pacer, event, now) {
                sent.push(now);
            }
            prop_assert!(pacer.next() <= now + DENIED, "{:?} after {:?}", pacer.next(), now);
        }
        prop_assert!(sent.windows(2).all(|pair| pair[1] - pair[0] >= BURST_PAUSE));
        let allowed = 1_900 + (now - Timestamp::ZERO).as_nanos() / 95_000_000;
        prop_assert!(i64::try_from(sent.len()).unwrap() <= allowed, "{} > {allowed}", sent.len());
        // Left alone, it asks at once or after the last refusal, and then goes on calling.
        pacer.call(false);
        for _ in 0..20 {
            let next = pacer.next();
            prop_assert!(next <= now + DENIED);
            now = next.max(now);
            pacer.handle_sent(&config(), now, NOBODY, Pacer::patience(None), 0.0);
        }
        prop_assert!(pacer.next() - now <= LONGEST_FLOOR);
    }
}
