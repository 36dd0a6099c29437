//! Measurements by name, and the metrics of `burn-train` that show one of them each.

use std::sync::Arc;

use burn::tensor::{ExecutionError, TensorReadError};
use burn_train::ItemLazy;
use burn_train::metric::state::{FormatOptions, NumericMetricState};
use burn_train::metric::{
    Adaptor, Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};

/// What was measured in one update, or over a part of the held-out data: numbers by name.
#[derive(Debug, Clone, PartialEq)]
pub struct Readings {
    values: Vec<(&'static str, f64)>,
    weight: usize,
}

impl Readings {
    /// Nothing yet. In means over an epoch these readings count `weight` times: once for an update, as often as there are
    /// targets for a mean over targets.
    pub fn new(weight: usize) -> Self {
        Self {
            values: Vec::new(),
            weight,
        }
    }

    /// The same with one more number.
    pub fn with(mut self, name: &'static str, value: f64) -> Self {
        self.values.push((name, value));
        self
    }

    /// The number of that name, if it was measured.
    pub fn get(&self, name: &str) -> Option<f64> {
        let found = self.values.iter().find(|(own, _)| *own == name);
        found.map(|(_, value)| *value)
    }
}

impl ItemLazy for Readings {
    fn sync(self) -> Result<Self, ExecutionError> {
        Ok(self)
    }
}

impl Adaptor<Self> for Readings {
    fn adapt(&self) -> Self {
        self.clone()
    }
}

/// A metric of `burn-train`: the number of one name among the [`Readings`] of each update. Updates that did not measure it leave
/// it as it is.
#[derive(Clone)]
pub struct Gauge {
    reading: &'static str,
    name: MetricName,
    unit: Option<&'static str>,
    precision: usize,
    higher_is_better: bool,
    state: NumericMetricState,
    last: Option<NumericEntry>,
}

impl Gauge {
    /// Shows the reading of that name as `name`, lower being better, with four digits.
    pub fn new(reading: &'static str, name: &str) -> Self {
        Self {
            reading,
            name: Arc::new(name.to_string()),
            unit: None,
            precision: 4,
            higher_is_better: false,
            state: NumericMetricState::new(),
            last: None,
        }
    }

    /// The same with a unit behind its numbers.
    pub fn with_unit(mut self, unit: &'static str) -> Self {
        self.unit = Some(unit);
        self
    }

    /// The same with so many digits.
    pub fn with_precision(mut self, precision: usize) -> Self {
        self.precision = precision;
        self
    }

    /// The same for a number of which more is better.
    pub fn where_more_is_better(mut self) -> Self {
        self.higher_is_better = true;
        self
    }

    fn format(&self) -> FormatOptions {
        let options = FormatOptions::new(self.name.clone()).precision(self.precision);
        match self.unit {
            Some(unit) => options.unit(unit),
            None => options,
        }
    }
}

impl Metric for Gauge {
    type Input = Readings;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes {
            unit: self.unit.map(str::to_string),
            higher_is_better: self.higher_is_better,
        }
        .into()
    }

    fn update(
        &mut self,
        readings: &Readings,
        _: &MetricMetadata,
    ) -> Result<SerializedEntry, TensorReadError> {
        let Some(value) = readings.get(self.reading) else {
            self.last = None;
            return Ok(SerializedEntry::not_available(self.unit));
        };
        self.state.update(value, readings.weight);
        self.last = Some(self.state.current_value());
        Ok(self.state.compute_update(self.format()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(match self.state.running_value().current().is_nan() {
            true => SerializedEntry::not_available(self.unit),
            false => self.state.compute_final(self.format()),
        })
    }

    fn clear(&mut self) {
        self.state.reset();
        self.last = None;
    }
}

impl Numeric for Gauge {
    fn value(&self) -> Option<NumericEntry> {
        self.last.clone()
    }

    fn running_value(&self) -> Option<NumericEntry> {
        self.last.as_ref().map(|_| self.state.running_value())
    }

    fn final_value(&self) -> NumericEntry {
        self.state.final_value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::data::dataloader::Progress;

    #[test]
    fn a_gauge_shows_its_own_reading_and_weighs_it() {
        let mut gauge = Gauge::new("nll", "Loss").with_unit("nats");
        let metadata = MetricMetadata {
            progress: Progress::new(1, 2, None),
            iteration: Some(1),
            lr: None,
        };
        let mut update = |readings: &Readings| gauge.update(readings, &metadata).unwrap();
        update(&Readings::new(1).with("nll", 4.0).with("tau", 9.0));
        let entry = update(&Readings::new(3).with("nll", 2.0));
        assert!(entry.formatted.contains("2.0000 nats"), "{}", entry.formatted);
        assert!(update(&Readings::new(1).with("tau", 1.0)).is_not_available());
        assert!(gauge.value().is_none(), "nothing was measured");
        assert_eq!(gauge.final_value().current(), 2.5);
        gauge.clear();
        assert!(gauge.compute().unwrap().is_not_available());
    }
}
