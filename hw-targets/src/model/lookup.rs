//! Models that look up, multiply or ask in turn.

use std::sync::Arc;

use crate::cost::{CostSum, Estimate};
use crate::model::between::{Value, WidthGrid};
use crate::model::{CostModel, Uncovered};
use crate::table::{Measurement, OpTable};
use crate::table_op::TableOp;
use network::op::Op;
use network::units::Measured;

/// Standard deviation assumed, as a fraction of the value, where a table states none: between the two phone tables that
/// state theirs (2.5 % on a Note10, 8.5 % on a Pixel 1).
pub(crate) const UNSTATED_STD_REL: f64 = 0.05;

/// One quantity of a table of measured operators.
#[derive(Clone, Debug)]
pub struct TableModel {
    table: Arc<OpTable>,
    quantity: Measured,
    common_rel: f64,
    /// Whether rows are single convolutions and linear layers, whatever stands between them.
    is_of_layers: bool,
    /// The widths of its rows, where it answers for those between them, too.
    widths: Option<Arc<WidthGrid>>,
}

impl TableModel {
    /// `common_rel` is used for rows that state no systematic uncertainty.
    pub fn new(table: Arc<OpTable>, quantity: Measured, common_rel: f64) -> Self {
        Self { table, quantity, common_rel, is_of_layers: false, widths: None }
    }

    /// A table of bare layers: an operator costs what its convolutions and linear layers do, and nothing else counts.
    pub fn of_layers(table: Arc<OpTable>, quantity: Measured, common_rel: f64) -> Self {
        Self { is_of_layers: true, ..Self::new(table, quantity, common_rel) }
    }

    fn of_row(&self, key: &TableOp, network_resolution: u32) -> Result<Estimate, Uncovered> {
        let Some(row) = self.table.get(key, network_resolution) else {
            let between = self.widths.as_ref().and_then(|widths| widths.value(key, network_resolution));
            let near = || Uncovered { near: self.table.near(key, network_resolution) };
            let Value { value, std } = between.ok_or_else(near)?;
            return Ok(Estimate { value, std, common_rel: self.common_rel, fitted: true, outside: false });
        };
        let Some(measured) = row.measurement(self.quantity) else {
            return Err(Uncovered { near: format!("its row ({}) has no {}", row.place, self.quantity) });
        };
        Ok(Estimate {
            value: measured.value,
            std: std_of(measured),
            common_rel: measured.rel_unc.unwrap_or(self.common_rel),
            fitted: false,
            outside: false,
        })
    }
}

fn std_of(measured: &Measurement) -> f64 {
    measured.std.unwrap_or(UNSTATED_STD_REL * measured.value)
}

impl CostModel for TableModel {
    fn cost(&self, op: &Op, network_resolution: u32) -> Result<Estimate, Uncovered> {
        if self.is_of_layers {
            let mut sum = CostSum::default();
            for key in TableOp::of_layers(op) {
                sum.add(&self.of_row(&key, network_resolution)?);
            }
            return Ok(sum.estimate());
        }
        let Some(key) = TableOp::of(op) else {
            return Err(Uncovered { near: format!("tables have no rows for operators of kind {}", op.word()) });
        };
        self.of_row(&key, network_resolution)
    }

    fn between_widths(&self) -> Option<Arc<dyn CostModel>> {
        let widths = Arc::new(WidthGrid::new(&self.table, self.quantity, std_of));
        Some(Arc::new(Self { widths: Some(widths), ..self.clone() }))
    }

    fn network_resolutions(&self) -> Option<Vec<u32>> {
        self.table.network_resolutions()
    }
}

/// Energy as latency × a power.
#[derive(Clone, Debug)]
pub struct PowerModel {
    latency: Arc<dyn CostModel>,
    watts: f64,
    common_rel: f64,
}

impl PowerModel {
    /// `common_rel` is the uncertainty of the energy as a whole, the latency's common part included.
    pub fn new(latency: Arc<dyn CostModel>, watts: f64, common_rel: f64) -> Self {
        Self { latency, watts, common_rel }
    }
}

impl CostModel for PowerModel {
    fn cost(&self, op: &Op, network_resolution: u32) -> Result<Estimate, Uncovered> {
        let latency = self.latency.cost(op, network_resolution)?;
        Ok(Estimate {
            value: latency.value * self.watts,
            std: latency.std * self.watts,
            common_rel: self.common_rel.max(latency.common_rel),
            ..latency
        })
    }

    fn network_resolutions(&self) -> Option<Vec<u32>> {
        self.latency.network_resolutions()
    }

    fn between_widths(&self) -> Option<Arc<dyn CostModel>> {
        Some(Arc::new(Self { latency: self.latency.between_widths()?, ..self.clone() }))
    }

    fn without_limit(&self) -> Option<Arc<dyn CostModel>> {
        Some(Arc::new(Self { latency: self.latency.without_limit()?, ..self.clone() }))
    }
}

/// Another model's answers times a factor.
#[derive(Clone, Debug)]
pub struct ScaledModel {
    /// The other model.
    pub model: Arc<dyn CostModel>,
    /// Above zero.
    pub scale: f64,
}

impl CostModel for ScaledModel {
    fn cost(&self, op: &Op, network_resolution: u32) -> Result<Estimate, Uncovered> {
        let answer = self.model.cost(op, network_resolution)?;
        Ok(Estimate { value: answer.value * self.scale, std: answer.std * self.scale, ..answer })
    }

    fn network_resolutions(&self) -> Option<Vec<u32>> {
        self.model.network_resolutions()
    }

    fn between_widths(&self) -> Option<Arc<dyn CostModel>> {
        Some(Arc::new(Self { model: self.model.between_widths()?, scale: self.scale }))
    }

    fn without_limit(&self) -> Option<Arc<dyn CostModel>> {
        Some(Arc::new(Self { model: self.model.without_limit()?, scale: self.scale }))
    }
}

/// The first model's answer, else the second's: a table, and a fitted model for what it lacks.
#[derive(Clone, Debug)]
pub struct FirstOf {
    /// Asked first.
    pub first: Arc<dyn CostModel>,
    /// Asked where the first does not cover the operator.
    pub second: Arc<dyn CostModel>,
}

impl CostModel for FirstOf {
    fn cost(&self, op: &Op, network_resolution: u32) -> Result<Estimate, Uncovered> {
        self.first.cost(op, network_resolution).or_else(|missing| {
            let both = |refused: Uncovered| Uncovered { near: format!("{}; {}", missing.near, refused.near) };
            self.second.cost(op, network_resolution).map_err(both)
        })
    }

    fn network_resolutions(&self) -> Option<Vec<u32>> {
        self.second.network_resolutions()
    }

    fn between_widths(&self) -> Option<Arc<dyn CostModel>> {
        // A fitted model beside a table knows every width already.
        None
    }

    fn without_limit(&self) -> Option<Arc<dyn CostModel>> {
        let (first, second) = (self.first.without_limit(), self.second.without_limit());
        let lifted = first.is_some() || second.is_some();
        let or = |lifted: Option<Arc<dyn CostModel>>, kept: &Arc<dyn CostModel>| lifted.unwrap_or_else(|| kept.clone());
        lifted.then(|| -> Arc<dyn CostModel> {
            Arc::new(Self { first: or(first, &self.first), second: or(second, &self.second) })
        })
    }
}
