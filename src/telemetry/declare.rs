//! How each kind of metric is made and registered.

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

/// What a metric is called and what it says.
pub(super) struct Family {
    pub(super) name: &'static str,
    /// As the comment has it: with a space before each line.
    pub(super) help: &'static str,
    pub(super) labels: &'static [&'static str],
    /// The buckets of a histogram; nothing for all others.
    pub(super) buckets: &'static [&'static [f64]],
}

impl Family {
    /// The HELP.
    pub(super) fn text(&self) -> &'static str {
        self.help.trim()
    }

    fn opts(&self) -> Opts {
        Opts::new(self.name, self.text())
    }

    fn histogram_opts(&self) -> HistogramOpts {
        HistogramOpts::from(self.opts()).buckets(self.buckets.concat())
    }
}

/// A kind of metric.
pub(super) trait Declare: Sized {
    fn declare(registry: &Registry, family: &Family) -> Result<Self, prometheus::Error>;
}

macro_rules! declare {
    ($($kind:ty: |$family:ident| $make:expr;)*) => {$(
        impl Declare for $kind {
            fn declare(registry: &Registry, $family: &Family) -> Result<Self, prometheus::Error> {
                debug_assert_eq!(std::any::type_name::<Self>().contains("Vec"), !$family.labels.is_empty());
                debug_assert_eq!(std::any::type_name::<Self>().contains("istogram"), !$family.buckets.is_empty());
                let metric: Self = $make?;
                registry.register(Box::new(metric.clone()))?;
                Ok(metric)
            }
        }
    )*};
}

declare! {
    Gauge: |family| Gauge::with_opts(family.opts());
    GaugeVec: |family| GaugeVec::new(family.opts(), family.labels);
    IntGauge: |family| IntGauge::with_opts(family.opts());
    IntGaugeVec: |family| IntGaugeVec::new(family.opts(), family.labels);
    IntCounter: |family| IntCounter::with_opts(family.opts());
    IntCounterVec: |family| IntCounterVec::new(family.opts(), family.labels);
    Histogram: |family| Histogram::with_opts(family.histogram_opts());
    HistogramVec: |family| HistogramVec::new(family.histogram_opts(), family.labels);
}
