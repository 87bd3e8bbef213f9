//! Scores of estimators against a known true offset.

use swsync_core::estimate::ClockEstimate;
use swsync_core::estimate::Exchange;
use swsync_core::time::{Local, Offset, Span, Timestamp};

use super::filter::Filter;
use crate::stats::{as_f64, quantile};
use swsync_cli::table::{Align, Column, NOTHING, Table, micros, micros_unsigned};

/// Largest error that counts as synced.
const SYNCED: Span = Span::from_micros(100);
/// The stated uncertainty has jumped if one exchange changed it by more than this factor.
pub const JUMP: f64 = 1.5;
/// The error has to stay below it for so long.
const SYNCED_FOR: Span = Span::from_secs(1);

/// An estimator's error after one exchange.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Index of the exchange in the trace, from 0.
    pub exchange: usize,
    /// When the response arrived.
    pub at: Timestamp<Local>,
    /// Estimated minus true offset.
    pub error: Span,
    /// The uncertainty that the estimator stated, 1 sigma.
    pub uncertainty: Span,
}

impl Sample {
    /// The error of `estimate` at `at`, the end of the `exchange`-th exchange, where the offset is `truth`.
    #[must_use]
    pub fn of(exchange: usize, estimate: &ClockEstimate, at: Timestamp<Local>, truth: Offset) -> Self {
        let offset = Offset::between(estimate.rig_at(at), at);
        let error = offset.as_span() - truth.as_span();
        Self { exchange, at, error, uncertainty: estimate.uncertainty_at(at) }
    }
}

/// The least delays of both directions of a path. They show the asymmetry, which no two-way exchange can.
#[derive(Debug, Clone, Copy)]
pub struct LeastDelays {
    to_leader: Span,
    to_client: Span,
}

impl Default for LeastDelays {
    fn default() -> Self {
        Self { to_leader: Span::MAX, to_client: Span::MAX }
    }
}

impl LeastDelays {
    /// Adds an exchange at whose end the true offset was `truth`.
    pub fn add(&mut self, exchange: &Exchange, truth: Offset) {
        if exchange.is_plausible() {
            self.to_leader = self.to_leader.min(exchange.upper().as_span() - truth.as_span());
            self.to_client = self.to_client.min(truth.as_span() - exchange.lower().as_span());
        }
    }

    /// Half of the difference of the least delays: the error that every two-way estimate has.
    #[must_use]
    pub fn asymmetry(&self) -> Span {
        (self.to_leader - self.to_client) / 2
    }
}

/// Which samples count, and the asymmetry for coverage.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Exchanges at the beginning whose samples count only for the time to be synced.
    pub after: usize,
    /// What the path's asymmetry adds to every error.
    pub asymmetry: Span,
}

/// An estimator's errors over one or many traces.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Magnitudes of errors, sorted within each trace.
    sizes: Vec<Span>,
    /// Sum of the errors, ns.
    sum: f64,
    /// Errors within twice the stated uncertainty.
    within: usize,
    /// Sudden changes of the stated uncertainty.
    jumps: usize,
    /// Per trace: the time until it was synced, the mean magnitude, and the 99 % quantile.
    traces: Vec<(Option<Span>, Span, Span)>,
}

impl Tally {
    /// Adds the samples of a trace that began at `begin`. Returns whether any of them counts.
    pub fn add(&mut self, samples: &[Sample], begin: Timestamp<Local>, rules: Rules) -> bool {
        let counted = &samples[samples.partition_point(|sample| sample.exchange < rules.after)..];
        if counted.is_empty() {
            return false;
        }
        let within = |sample: &&Sample| (sample.error - rules.asymmetry).abs() <= sample.uncertainty * 2;
        let mut sizes: Vec<Span> = counted.iter().map(|sample| sample.error.abs()).collect();
        sizes.sort_unstable();
        self.jumps +=
            counted.windows(2).filter(|pair| is_jump(pair[0].uncertainty, pair[1].uncertainty)).count();
        self.within += counted.iter().filter(within).count();
        self.sum += counted.iter().map(|sample| sample.error.as_nanos_f64()).sum::<f64>();
        self.traces.push((time_to_synced(samples, begin), mean(&sizes), quantile(&sizes, 99)));
        self.sizes.extend(sizes);
        true
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: Self) {
        self.sizes.extend(other.sizes);
        self.sum += other.sum;
        self.within += other.within;
        self.jumps += other.jumps;
        self.traces.extend(other.traces);
    }

    /// The score; `None` if no sample counted.
    #[must_use]
    pub fn score(mut self) -> Option<Score> {
        let mean_abs = (!self.sizes.is_empty()).then(|| mean(&self.sizes))?;
        self.sizes.sort_unstable();
        let n = as_f64(self.sizes.len());
        let mut times: Vec<Option<Span>> = self.traces.iter().map(|(time, _, _)| *time).collect();
        times.sort_by_key(|time| time.unwrap_or(Span::MAX));
        Some(Score {
            count: self.sizes.len(),
            mean_abs,
            p95: quantile(&self.sizes, 95),
            p99: quantile(&self.sizes, 99),
            max: quantile(&self.sizes, 100),
            bias: Span::from_nanos_f64(self.sum / n),
            to_synced: times[(times.len() - 1) / 2],
            coverage: as_f64(self.within) / n,
            jumps: as_f64(self.jumps) * 1e3 / n,
            worst_mean: self.traces.iter().map(|(_, mean, _)| *mean).max()?,
            worst_p99: self.traces.iter().map(|(_, _, p99)| *p99).max()?,
        })
    }
}

/// The score of an estimator.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Errors that were counted.
    pub count: usize,
    /// Mean magnitude.
    pub mean_abs: Span,
    /// 95 % of magnitudes are not above it.
    pub p95: Span,
    /// 99 % of magnitudes are not above it.
    pub p99: Span,
    /// The greatest magnitude.
    pub max: Span,
    /// Mean, with its sign.
    pub bias: Span,
    /// Time from the first exchange until errors stay within 100 us for a second: the median over the traces. `None`: in most
    /// traces they never did.
    pub to_synced: Option<Span>,
    /// Share of errors within twice the stated uncertainty, less the path's asymmetry, in `[0, 1]`.
    pub coverage: f64,
    /// Of a thousand exchanges, how many changed the stated uncertainty by more than a factor of [`JUMP`].
    pub jumps: f64,
    /// The greatest mean magnitude of one trace.
    pub worst_mean: Span,
    /// The greatest 99 % quantile of one trace.
    pub worst_p99: Span,
}

impl Score {
    /// The score as cells of [`table`].
    #[must_use]
    pub fn cells(&self, filter: Filter) -> [String; 8] {
        [
            filter.name().to_owned(),
            micros_unsigned(self.mean_abs),
            micros_unsigned(self.p95),
            micros_unsigned(self.p99),
            micros_unsigned(self.max),
            micros(self.bias),
            self.to_synced.map_or_else(|| NOTHING.into(), |time| format!("{:.2}", time.as_secs_f64())),
            self.coverage_of(filter).map_or_else(|| NOTHING.into(), |share| format!("{:.1}", 100.0 * share)),
        ]
    }

    /// The coverage; `None` if the filter states no uncertainty.
    fn coverage_of(&self, filter: Filter) -> Option<f64> {
        filter.states_uncertainty().then_some(self.coverage)
    }

    /// The score as JSON; spans in ns.
    #[must_use]
    pub fn to_json(&self, filter: Filter) -> serde_json::Value {
        serde_json::json!({
            "filter": filter.name(),
            "count": self.count,
            "mean_abs_ns": self.mean_abs,
            "p95_ns": self.p95,
            "p99_ns": self.p99,
            "max_ns": self.max,
            "bias_ns": self.bias,
            "to_100_us_ns": self.to_synced,
            "coverage": self.coverage_of(filter),
            "uncertainty_jumps_per_1000": self.jumps,
            "worst_trace_mean_abs_ns": self.worst_mean,
            "worst_trace_p99_ns": self.worst_p99,
        })
    }
}

/// The columns of a score.
const COLUMNS: [Column; 8] = {
    const fn number(heading: &'static str, width: usize) -> Column {
        Column { heading, width, align: Align::Right }
    }
    [
        Column { heading: "filter", width: 10, align: Align::Left },
        number("mean abs", 8),
        number("p95", 8),
        number("p99", 8),
        number("max", 8),
        number("bias", 8),
        number("s to 100us", 10),
        number("% in 2u", 7),
    ]
};

/// The table of scores of one trace.
#[must_use]
pub const fn table() -> Table<8> {
    Table::new(COLUMNS)
}

/// The table of scores of several traces, with the worst of them: mean and 99 % quantile.
#[must_use]
pub fn table_of_many() -> Table<9> {
    let worst = Column { heading: "worst seed", width: 15, align: Align::Right };
    let [a, b, c, d, e, f, g, h] = COLUMNS;
    Table::new([a, b, c, d, e, f, g, h, worst])
}

impl Score {
    /// The score as cells of [`table_of_many`].
    #[must_use]
    pub fn cells_of_many(&self, filter: Filter) -> [String; 9] {
        let [a, b, c, d, e, f, g, h] = self.cells(filter);
        let worst = format!("{} / {}", micros_unsigned(self.worst_mean), micros_unsigned(self.worst_p99));
        [a, b, c, d, e, f, g, h, worst]
    }
}

/// Whether the stated uncertainty changed suddenly.
fn is_jump(before: Span, after: Span) -> bool {
    let change = (after.as_nanos_f64() / before.as_nanos_f64().max(1.0)).max(f64::MIN_POSITIVE);
    change.ln().abs() > JUMP.ln()
}

/// The mean of `spans` (not empty).
fn mean(spans: &[Span]) -> Span {
    Span::from_nanos_f64(spans.iter().map(|span| span.as_nanos_f64()).sum::<f64>() / as_f64(spans.len()))
}

/// The time from `begin` to the first sample from which on errors stay small for [`SYNCED_FOR`].
fn time_to_synced(samples: &[Sample], begin: Timestamp<Local>) -> Option<Span> {
    let mut since = None;
    for sample in samples {
        if sample.error.abs() > SYNCED {
            since = None;
            continue;
        }
        let since = *since.get_or_insert(sample.at);
        if sample.at - since >= SYNCED_FOR {
            return Some(since - begin);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(ms: i64) -> Timestamp<Local> {
        Timestamp::ZERO + Span::from_millis(ms)
    }

    /// One sample every 100 ms.
    fn samples(errors_us: &[i64]) -> Vec<Sample> {
        let sample = |(k, error): (usize, &i64)| Sample {
            exchange: k,
            at: at_ms(i64::try_from(k).unwrap() * 100),
            error: Span::from_micros(*error),
            uncertainty: Span::from_micros(10),
        };
        (0..).zip(errors_us).map(sample).collect()
    }

    #[test]
    fn a_score_as_computed_by_hand() {
        let rules = Rules { after: 1, asymmetry: Span::from_micros(-19) };
        let mut tally = Tally::default();
        assert!(tally.add(&samples(&[500, -39, 1, 2, -40]), at_ms(0), rules));
        assert!(!tally.add(&samples(&[1]), at_ms(0), rules));
        let score = tally.score().unwrap();
        assert_eq!((score.count, score.max, score.p95), (4, Span::from_micros(40), Span::from_micros(40)));
        assert_eq!((score.mean_abs, score.bias), (Span::from_nanos(20_500), Span::from_micros(-19)));
        // Without the asymmetry: -20, 20, 21 and -21 us.
        assert!((score.coverage - 0.5).abs() < 1e-9, "{score:?}");
        assert_eq!(score.to_synced, None);
        assert!(score.jumps.abs() < 1e-9, "{score:?}");
        assert_eq!(Tally::default().score(), None);
    }

    #[test]
    fn traces_are_pooled_and_the_worst_is_kept() {
        let rules = Rules { after: 0, asymmetry: Span::ZERO };
        let mut all = Tally::default();
        for errors in [[10_i64; 20], [30; 20], [200; 20]] {
            let mut one = Tally::default();
            assert!(one.add(&samples(&errors), at_ms(0), rules));
            all.merge(one);
        }
        let score = all.score().unwrap();
        assert_eq!((score.count, score.mean_abs, score.max), (60, Span::from_micros(80), score.worst_p99));
        assert_eq!((score.worst_mean, score.to_synced), (Span::from_micros(200), Some(Span::ZERO)));
        assert!((score.coverage - 1.0 / 3.0).abs() < 1e-9, "{score:?}");
    }

    #[test]
    fn synced_means_synced_for_a_second() {
        let mut errors = vec![300, 20, 20, 20, 200];
        errors.extend([-99; 11]);
        assert_eq!(time_to_synced(&samples(&errors), at_ms(-200)), Some(Span::from_millis(700)));
        assert_eq!(time_to_synced(&samples(&errors[..15]), at_ms(0)), None);
    }

    #[test]
    fn asymmetry_is_half_the_difference_of_the_least_delays() {
        let mut least = LeastDelays::default();
        let truth = Offset::from_span(Span::from_micros(1000));
        for (up, down) in [(700, 900), (900, 660), (708, 700)] {
            least.add(
                &Exchange {
                    t1: at_ms(5),
                    t2: truth.to_rig(at_ms(5) + Span::from_micros(up)),
                    t3: truth.to_rig(at_ms(5) + Span::from_micros(up)),
                    t4: at_ms(5) + Span::from_micros(up + down),
                },
                truth,
            );
        }
        assert_eq!(least.asymmetry(), Span::from_micros(20));
    }
}
