//! What is taken for granted about energy.

/// What is stated where nothing is measured, and what energy is converted into.
#[derive(Clone, Debug, PartialEq)]
pub struct EnergySettings {
    /// Watts of a core (a hardware thread) that works.
    pub core_watts: f64,
    /// Watts of a GPU's board; none = the limit that its driver states, else [`EnergySettings::GPU_WATTS`].
    pub gpu_watts: Option<f64>,
    /// Grams of CO₂ equivalents per kilowatt-hour; none = [`EnergySettings::WORLD_GRID`].
    pub grid_intensity: Option<f64>,
    /// With how many separately trained networks to compare.
    pub networks: u64,
}

impl EnergySettings {
    /// Thermal design power per core spans 4.4 W (AMD EPYC 7763, 280 W, 64 cores) to 16 W (Intel Core i7-8700K, 95 W, 6
    /// cores), with 7.3 W for the Xeon Platinum 8280 (205 W, 28 cores).
    pub const CORE_WATTS: f64 = 10.0;
    /// That of a Tesla V100 SXM2; today's boards have 70 W (T4) to 700 W (H100 SXM).
    pub const GPU_WATTS: f64 = 300.0;
    /// World average of 2023 over a power plant's life, in grams of CO₂ equivalents per kilowatt-hour.
    pub const WORLD_GRID: f64 = 481.0;
    /// Whose number that is.
    #[cfg_attr(not(feature = "torch"), allow(dead_code, reason = "only training estimates energy"))]
    pub(crate) const WORLD_GRID_SOURCE: &str = "world average of 2023, life cycle (Ember, July 2024)";
    /// As many as two dozen devices may ask for.
    pub const NETWORKS: u64 = 20;
}

impl Default for EnergySettings {
    fn default() -> Self {
        Self { core_watts: Self::CORE_WATTS, gpu_watts: None, grid_intensity: None, networks: Self::NETWORKS }
    }
}
