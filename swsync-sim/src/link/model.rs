//! Models of links: the parameters, and the presets with their sources.

use std::str::FromStr;

use swsync_core::time::Span;

/// A model of a link. In each direction, delays are a mixture of:
///
/// - the **body**: a floor plus a gamma-distributed time, for waiting, backing off, repeating;
/// - **quiet moments**, when nobody else is on the air: both directions are fast together;
/// - **spikes** from a retransmission after a timeout or a scan: a higher floor plus an exponential time;
/// - **bursts** of congestion that last for seconds: an additional queue, whose logarithm has a correlation time, so that
///   neighbouring packets have similar delays.
///
/// # Fits
///
/// The presets are fitted to the recorded-form traces with known truth (`shared/traces`), whose
/// one-way delays are `t1 - t0 - offset` to the leader and `t3 - t2 + offset` to the client.
///
/// | | floor us | gamma shape | mean excess us | Kolmogorov-Smirnov distance of the body |
/// | --- | --- | --- | --- | --- |
/// | `wifi` to leader | 880 | 2.0 | 991 | 0.006 |
/// | `wifi` to client | 880 | 1.0 | 244 | 0.010 |
/// | `wifi-busy` to leader | 708 | 1.93 | 885 | 0.007 |
/// | `wifi-busy` to client | 660 | 1.48 | 519 | 0.008 |
/// | `ethernet` both | 20 | 1.9 | 12.1 | 0.009 |
///
/// Lognormal bodies fit the same traces two to four times worse. In the traces without bursts
/// neighbouring delays are uncorrelated (rank autocorrelation within 0.01 of zero at every lag from
/// 1 to 200, at 3.4 ms), so apart from quiet moments the body has no memory. In bursts the log
/// delay has an autocorrelation of 0.82 after 20 ms and 0.41 to 0.57 after 100 ms, independently in
/// the two directions: the queue's correlation time of 120 ms.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkModel {
    /// Its name for `FromStr`.
    pub name: &'static str,
    /// Packets of the client.
    pub to_leader: DirectionModel,
    /// Packets of the leader.
    pub to_client: DirectionModel,
    /// Moments when both directions are fast.
    pub quiet: Option<Quiet>,
    /// Bursts of congestion.
    pub bursts: Option<Bursts>,
    /// Probability that a packet is lost, in `[0, 1]`, in each direction.
    pub loss: f64,
}

/// Delays of one direction when it is not congested.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DirectionModel {
    /// The body's shortest delay.
    pub floor: Span,
    /// Distribution of the body's time above the floor.
    pub law: Law,
    /// Mean time above the floor, if `law` does not say otherwise. Zero: the delay is constant.
    pub mean_excess: Span,
    /// Shortest delay of a quiet moment.
    pub quiet_floor: Span,
    /// Mean time above that, exponential.
    pub quiet_mean_excess: Span,
    /// Rare long delays.
    pub spikes: Option<Spikes>,
}

/// Distribution of a body's time above its floor. The last three have no sharp floor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Law {
    /// Gamma of this shape; 1 is exponential.
    Gamma(f64),
    /// Uniform from zero to twice the mean.
    Uniform,
    /// Normal: `floor` is the mean, `mean_excess` the standard deviation.
    Normal,
    /// Log-normal with this deviation of the natural logarithm; `mean_excess` is the median.
    LogNormal(f64),
    /// Half of the delays about half the mean, the others about three halves of it, normal to a tenth of that.
    TwoModes,
}

/// Rare long delays, one packet at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spikes {
    /// Share of packets, in `[0, 1]`.
    pub probability: f64,
    /// Shortest.
    pub floor: Span,
    /// Mean time above that, exponential.
    pub mean_excess: Span,
}

/// Moments when nobody else is on the air.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quiet {
    /// Length of one: long enough for a fast exchange.
    pub length: Span,
    /// Share of such moments, in `[0, 1]`.
    pub probability: f64,
}

/// Bursts of congestion, which add a queue to every delay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bursts {
    /// When bursts occur.
    pub pattern: BurstPattern,
    /// Median of the queue.
    pub median: Span,
    /// Standard deviation of the queue's natural logarithm.
    pub sigma: f64,
    /// Correlation time of the logarithm: the autocorrelation is 37 % after it.
    pub correlation: Span,
}

/// When bursts occur.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BurstPattern {
    /// In both directions at once, at random.
    Random {
        /// At most one burst begins in each cell of this length; no burst is longer.
        cell: Span,
        /// Probability of a burst in a cell, in `[0, 1]`.
        probability: f64,
        /// Shortest burst.
        min: Span,
        /// Mean length above that, exponential.
        mean_excess: Span,
    },
    /// In the two directions alternately, which biases an estimator that assumes symmetry most.
    Alternating {
        /// From one direction's burst to the other's.
        every: Span,
        /// Length of each burst, in the middle of its turn.
        length: Span,
    },
}

/// No preset has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown link `{name}`: use wifi, wifi-busy, wifi-asymmetric, ethernet, levels, ideal, or a shape of delays: {}",
    shapes()
)]
pub struct UnknownLink {
    /// The name as given.
    pub name: String,
}

/// The names of the shapes, for the message.
fn shapes() -> String {
    LinkModel::shapes().iter().map(|model| model.name).collect::<Vec<_>>().join(", ")
}

impl FromStr for LinkModel {
    type Err = UnknownLink;

    fn from_str(name: &str) -> Result<Self, UnknownLink> {
        Self::presets()
            .into_iter()
            .chain(Self::shapes())
            .find(|model| model.name == name)
            .ok_or_else(|| UnknownLink { name: name.to_owned() })
    }
}

/// Retransmissions and scans on WiFi. Fitted to the traces' delays beyond 6 ms, where the two
/// directions look alike; 0.32 % each way are beyond 10 ms, so 0.64 % of exchanges, as in the paper.
const WIFI_SPIKES: Spikes =
    Spikes { probability: 0.0046, floor: Span::from_millis(6), mean_excess: Span::from_millis(11) };

impl LinkModel {
    /// All presets.
    #[must_use]
    pub fn presets() -> [Self; 6] {
        [
            Self::wifi(),
            Self::wifi_busy(),
            Self::wifi_asymmetric(),
            Self::ethernet(),
            Self::levels(),
            Self::ideal(),
        ]
    }

    /// Half the difference of the least delays, to the leader minus to the client: no two-way exchange can measure it.
    #[must_use]
    pub fn asymmetry(&self) -> Span {
        let least = |direction: &DirectionModel| match self.quiet {
            Some(_) => direction.floor.min(direction.quiet_floor),
            None => direction.floor,
        };
        (least(&self.to_leader) - least(&self.to_client)) / 2
    }

    /// `wifi`: the paper's two phones, Table III. Means 1878 us to the leader and 1133 us to the
    /// client without outliers beyond 10 ms, minima 479 and 517 us.
    ///
    /// The minima belong to exchanges in quiet moments, 1 in 1000: their sum is the table's shortest round trip. The next fastest
    /// take 1.77 ms. Loss of 0.2 % in each direction is assumed: the paper does not tell.
    #[must_use]
    pub fn wifi() -> Self {
        let to_client = DirectionModel {
            floor: Span::from_micros(880),
            law: Law::Gamma(1.0),
            mean_excess: Span::from_micros(244),
            quiet_floor: Span::from_micros(512),
            quiet_mean_excess: Span::from_micros(17),
            spikes: Some(WIFI_SPIKES),
        };
        Self {
            name: "wifi",
            to_leader: DirectionModel {
                law: Law::Gamma(2.0),
                mean_excess: Span::from_micros(991),
                quiet_floor: Span::from_micros(474),
                quiet_mean_excess: Span::from_micros(20),
                ..to_client
            },
            to_client,
            quiet: Some(Quiet { length: Span::from_millis(6), probability: 0.0011 }),
            bursts: None,
            loss: 0.002,
        }
    }

    /// `wifi-busy`: Raspberry Pis on WiFi that others use too. Bursts of congestion for 7 % of the time, of at least 0.3 s (1.7 s on
    /// average), and 0.3 % loss.
    #[must_use]
    pub fn wifi_busy() -> Self {
        let calm = Self::wifi();
        Self {
            name: "wifi-busy",
            to_leader: DirectionModel {
                floor: Span::from_micros(708),
                law: Law::Gamma(1.93),
                mean_excess: Span::from_micros(885),
                ..calm.to_leader
            },
            to_client: DirectionModel {
                floor: Span::from_micros(660),
                law: Law::Gamma(1.48),
                mean_excess: Span::from_micros(519),
                ..calm.to_client
            },
            quiet: None,
            bursts: Some(Bursts {
                pattern: BurstPattern::Random {
                    cell: Span::from_secs(6),
                    probability: 0.25,
                    min: Span::from_millis(300),
                    mean_excess: Span::from_millis(1400),
                },
                median: Span::from_millis(5),
                sigma: 0.72,
                correlation: Span::from_millis(120),
            }),
            loss: 0.003,
        }
    }

    /// `wifi-asymmetric`: as `wifi-busy`, but one direction is congested for 5 s of every 15 s, then the other. An estimator that
    /// assumes symmetry errs by half the queue. The queue is that of the `asymmetric-bursts` trace: median 5.7 ms in both
    /// directions, standard deviation of its logarithm 0.53, which is steadier than in `wifi-busy`.
    #[must_use]
    pub fn wifi_asymmetric() -> Self {
        let busy = Self::wifi_busy();
        let pattern = BurstPattern::Alternating { every: Span::from_secs(15), length: Span::from_secs(5) };
        Self {
            name: "wifi-asymmetric",
            bursts: busy.bursts.map(|bursts| Bursts {
                pattern,
                median: Span::from_micros(5700),
                sigma: 0.53,
                ..bursts
            }),
            ..busy
        }
    }

    /// `ethernet`: a wire and a switch, with software timestamps (the `ethernet-sw` trace). Mean 34 us in both directions; 0.8 % are
    /// beyond 90 us because of late interrupts.
    #[must_use]
    pub fn ethernet() -> Self {
        let direction = DirectionModel {
            floor: Span::from_micros(20),
            law: Law::Gamma(1.9),
            mean_excess: Span::from_nanos(12_100),
            quiet_floor: Span::from_micros(20),
            quiet_mean_excess: Span::ZERO,
            spikes: Some(Spikes {
                probability: 0.008,
                floor: Span::from_micros(90),
                mean_excess: Span::from_micros(140),
            }),
        };
        Self {
            name: "ethernet",
            to_leader: direction,
            to_client: direction,
            quiet: None,
            bursts: None,
            loss: 0.0,
        }
    }

    /// `levels`: a link without other traffic, with kernel timestamps, so that round trips vary by less than a microsecond. But for
    /// seconds on end they are 11 us longer, alike in both directions (power save of a radio or a processor, another route).
    /// Observed on a virtual access point without neighbours: 121 and 132 us.
    #[must_use]
    pub fn levels() -> Self {
        let direction = DirectionModel {
            floor: Span::from_micros(60),
            law: Law::Gamma(2.0),
            mean_excess: Span::from_nanos(300),
            quiet_floor: Span::from_micros(60),
            quiet_mean_excess: Span::ZERO,
            spikes: None,
        };
        let pattern = BurstPattern::Random {
            cell: Span::from_secs(20),
            probability: 0.6,
            min: Span::from_secs(1),
            mean_excess: Span::from_secs(6),
        };
        let bursts = Bursts {
            pattern,
            median: Span::from_nanos(5_500),
            sigma: 0.0,
            correlation: Span::from_millis(120),
        };
        Self {
            name: "levels",
            to_leader: direction,
            to_client: direction,
            quiet: None,
            bursts: Some(bursts),
            loss: 0.0,
        }
    }

    /// `ideal`: always 50 us in both directions.
    #[must_use]
    pub fn ideal() -> Self {
        let direction = DirectionModel {
            floor: Span::from_micros(50),
            law: Law::Gamma(1.0),
            mean_excess: Span::ZERO,
            quiet_floor: Span::from_micros(50),
            quiet_mean_excess: Span::ZERO,
            spikes: None,
        };
        Self {
            name: "ideal",
            to_leader: direction,
            to_client: direction,
            quiet: None,
            bursts: None,
            loss: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asymmetry_is_of_the_least_delays() {
        let micros = LinkModel::presets().map(|model| model.asymmetry().as_nanos() / 1000);
        assert_eq!(micros, [-19, 24, 24, 0, 0, 0]);
    }

    #[test]
    fn presets_have_names() {
        for model in LinkModel::presets().into_iter().chain(LinkModel::shapes()) {
            assert_eq!(model.name.parse::<LinkModel>().unwrap(), model);
        }
        let error = "wlan".parse::<LinkModel>().unwrap_err();
        assert!(error.to_string().contains("`wlan`"));
    }
}
