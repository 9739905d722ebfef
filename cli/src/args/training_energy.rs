//! What the verbs that train take for granted about energy.

use clap::Args;
use experiments::training::energy::settings::EnergySettings;

/// Powers where nothing measures, and what energy is converted into. The defaults are those of
/// `experiments::training::energy::settings`, which says where they come from.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct PowerArgs {
    /// Grams of CO2 per kilowatt-hour; without it 481, the world average of 2023 (Ember)
    #[arg(long, value_name = "GRAMS", value_parser = above_zero)]
    pub(crate) grid_intensity: Option<f64>,
    /// Watts of a busy core, where the processor's counters cannot be read
    #[arg(long, value_name = "WATTS", default_value_t = 10.0, value_parser = above_zero)]
    pub(crate) core_watts: f64,
    /// Watts of the GPU where its counter cannot be read; without it, the limit its driver states, else 300
    #[arg(long, value_name = "WATTS", value_parser = above_zero)]
    pub(crate) gpu_watts: Option<f64>,
}

/// The same for a supernet.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct TrainingEnergyArgs {
    #[command(flatten)]
    pub(crate) power: PowerArgs,
    /// With how many networks, trained one by one, the energy is compared
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) compare_networks: u64,
}

impl PowerArgs {
    pub(crate) fn settings(self) -> EnergySettings {
        let PowerArgs { grid_intensity, core_watts, gpu_watts } = self;
        EnergySettings { core_watts, gpu_watts, grid_intensity, ..Default::default() }
    }
}

impl TrainingEnergyArgs {
    pub(crate) fn settings(self) -> EnergySettings {
        EnergySettings { networks: self.compare_networks, ..self.power.settings() }
    }
}

fn above_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err("a number above 0 is wanted".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use experiments::training::energy::settings::EnergySettings;

    use crate::args::{Cli, Command};

    #[test]
    fn defaults_and_help_are_those_of_the_module_that_explains_them() {
        let cli = Cli::try_parse_from(["ofa", "train", "tiny.yaml", "--out", "run"]).unwrap();
        let Command::Train(args) = cli.command else { unreachable!() };
        assert_eq!(args.energy.power.core_watts, EnergySettings::CORE_WATTS);
        assert_eq!(args.energy.compare_networks, EnergySettings::NETWORKS);
        let text = include_str!("training_energy.rs");
        assert!(text.contains(&format!("without it {}, the world average", EnergySettings::WORLD_GRID)));
        assert!(text.contains(&format!("its driver states, else {}\n", EnergySettings::GPU_WATTS)));
    }
}
