//! What a training tells at the end of each epoch: a line of `metrics.jsonl`, and a row of a table for people.

use std::time::SystemTime;

use serde_json::{Value, json};
use tracing::field;
use tracing::span::EnteredSpan;

use crate::duration::duration;
use crate::torch::Left;

/// Columns of the table: all but the phase and what was measured.
const WIDTHS: [usize; 5] = [9, 8, 9, 9, 8];

/// An epoch that is over.
#[derive(Clone, Debug)]
pub(crate) struct EpochEnd<'e> {
    /// Steps of the run so far.
    pub(crate) global_step: u64,
    /// Name of its phase, where there are several.
    pub(crate) phase: Option<&'e str>,
    /// Its number in the phase, counted from 1.
    pub(crate) epoch: u64,
    /// The most epochs of the phase.
    pub(crate) epochs: u64,
    /// Mean loss of its steps.
    pub(crate) loss: f64,
    /// Images per second of its steps, and the learning rate of the last.
    pub(crate) pace: (f64, f64),
    /// Top-1 on so many held-out images of the networks of the table, in its order, where it was measured.
    pub(crate) top1: Option<(Vec<f64>, u64)>,
    /// How far the newest mask of channels is from those before it, where the phase ends on that and it is known.
    pub(crate) mask_distance: Option<f64>,
    /// Seconds since the start.
    pub(crate) seconds: f64,
    /// Joules of the run so far, and how they are known.
    pub(crate) energy: (f64, String),
    /// What is left to do.
    pub(crate) left: Left,
}

/// The span of `tracing` that an epoch's steps and what is measured at its end lie in; on the thread that made it.
pub(crate) struct EpochSpan(Option<EnteredSpan>);

impl EpochSpan {
    /// The first epoch begins.
    pub(crate) fn begin() -> EpochSpan {
        let span = tracing::debug_span!("epoch", phase = field::Empty, epoch = field::Empty);
        EpochSpan(Some(span.entered()))
    }

    /// It ends, and the next begins.
    pub(crate) fn end(&mut self, phase: Option<&str>, epoch: u64) {
        if let Some(span) = self.0.take() {
            phase.map(|phase| span.record("phase", phase));
            span.record("epoch", epoch);
        }
        *self = EpochSpan::begin();
    }
}

/// The table of a run's epochs.
#[derive(Clone, Debug)]
pub(crate) struct EpochTable {
    /// Networks that are measured, as keys name them.
    networks: Vec<&'static str>,
    /// Letters of the longest name of a phase; none where there are no phases.
    phases: Option<usize>,
}

impl EpochTable {
    /// Of a run of `phases` that measures `networks`.
    pub(crate) fn new<'p>(phases: impl Iterator<Item = &'p str>, networks: &[&'static str]) -> EpochTable {
        let longest = phases.chain(["phase"]).map(|name| name.chars().count()).max();
        EpochTable { networks: networks.to_vec(), phases: longest }
    }

    /// Of a run without phases.
    pub(crate) fn without_phases(networks: &[&'static str]) -> EpochTable {
        EpochTable { networks: networks.to_vec(), phases: None }
    }

    /// What stands above the rows.
    pub(crate) fn header(&self) -> String {
        let networks = self.networks.iter().map(|name| name.replace('_', "-"));
        self.line(
            "phase",
            ["epoch", "loss", "images/s"].map(str::to_owned),
            networks,
            ["phase left", "in all"].map(str::to_owned),
        )
    }

    /// The row of an epoch.
    pub(crate) fn row(&self, end: &EpochEnd<'_>) -> String {
        let EpochEnd { epoch, epochs, loss, pace: (images, _), left, .. } = end;
        let first = [format!("{epoch}/{epochs}"), format!("{loss:.4}"), format!("{images:.0}")];
        let top1 = (0..self.networks.len()).map(|at| match &end.top1 {
            Some((top1, _)) => format!("{:.2} %", 100.0 * top1[at]),
            None => "–".to_owned(),
        });
        self.line(end.phase.unwrap_or_default(), first, top1, [duration(left.phase), duration(left.run)])
    }

    fn line(
        &self,
        phase: &str,
        first: [String; 3],
        networks: impl Iterator<Item = String>,
        last: [String; 2],
    ) -> String {
        let [epoch, loss, images, top1, left] = WIDTHS;
        let phase = self.phases.map_or(String::new(), |width| format!("{phase:width$}  "));
        let [a, b, c] = first;
        let networks: String = networks.map(|cell| format!("  {cell:>top1$}")).collect();
        let [d, e] = last;
        let wide = left + 2;
        format!("{phase}{a:>epoch$}  {b:>loss$}  {c:>images$}{networks}  {d:>wide$}  {e:>left$}")
    }

    /// The line of an epoch in `metrics.jsonl`. Accuracies stand in it where they were measured.
    pub(crate) fn record(&self, end: &EpochEnd<'_>) -> Value {
        let mut record = json!({"global_step": end.global_step});
        if let Some(phase) = end.phase {
            record["phase"] = phase.into();
        }
        record["epoch"] = end.epoch.into();
        record["loss"] = end.loss.into();
        record["learning_rate"] = end.pace.1.into();
        record["images_per_second"] = end.pace.0.into();
        if let Some((top1, images)) = &end.top1 {
            for (name, top1) in self.networks.iter().zip(top1) {
                record[format!("{name}_top1")] = (*top1).into();
            }
            record["held_out_images"] = (*images).into();
        }
        if let Some(distance) = end.mask_distance {
            record["mask_distance"] = distance.into();
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        record["time"] = (now.as_millis() as f64 / 1e3).into();
        record["seconds"] = end.seconds.into();
        record["energy_j"] = end.energy.0.into();
        record["energy_method"] = end.energy.1.clone().into();
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(top1: Option<Vec<f64>>) -> EpochEnd<'static> {
        EpochEnd {
            global_step: 40,
            phase: Some("kernel"),
            epoch: 4,
            epochs: 12,
            loss: 1.5,
            pace: (1234.5, 0.02),
            top1: top1.map(|top1| (top1, 500)),
            mask_distance: None,
            seconds: 60.0,
            energy: (12.0, "estimated".to_owned()),
            left: Left { phase: 100.0, run: 7200.0 },
        }
    }

    #[test]
    fn rows_stand_under_their_header() {
        let table = EpochTable::new(["full", "kernel"].into_iter(), &["largest", "middle", "smallest"]);
        let lines = [table.header(), table.row(&end(Some(vec![0.5, 0.25, 1.0]))), table.row(&end(None))];
        assert_eq!(
            lines.join("\n"),
            "\
phase       epoch      loss   images/s    largest     middle   smallest  phase left    in all
kernel       4/12    1.5000       1234    50.00 %    25.00 %   100.00 %       2 min     2.0 h
kernel       4/12    1.5000       1234          –          –          –       2 min     2.0 h"
        );
        let table = EpochTable::without_phases(&["held_out"]);
        assert_eq!(table.header(), "    epoch      loss   images/s   held-out  phase left    in all");
    }

    #[test]
    fn a_record_names_what_was_measured_and_nothing_else() {
        let table = EpochTable::new([].into_iter(), &["largest", "smallest"]);
        let record = table.record(&end(Some(vec![0.5, 0.25])));
        assert_eq!((&record["largest_top1"], &record["smallest_top1"]), (&0.5.into(), &0.25.into()));
        assert_eq!((&record["learning_rate"], &record["held_out_images"]), (&0.02.into(), &500.into()));
        assert!(record["time"].as_f64().unwrap() > 1.7e9);
        let unmeasured = table.record(&end(None));
        assert!(unmeasured.get("largest_top1").is_none() && unmeasured.get("held_out_images").is_none());
        assert!(unmeasured.get("mask_distance").is_none());
        assert_eq!(unmeasured["loss"], 1.5);
        let awaited = table.record(&EpochEnd { mask_distance: Some(0.125), ..end(None) });
        assert_eq!(awaited["mask_distance"], 0.125);
    }
}
