//! Arguments of `ofa sweep`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use experiments::shard::Shard;
use experiments::sweep::script::Scheduler;
use experiments::torch::DataSource;

use super::{Compute, SkipBrokenArg, Threads, parse, parse_count};

#[derive(Debug, Subcommand)]
pub(crate) enum SweepCommand {
    /// Check a sweep's file: which points it has, which are computed already, and how long the others take
    Plan {
        /// The sweep (YAML)
        sweep: PathBuf,
        /// Folder of results, to see which are there
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
        #[command(flatten)]
        threads: Threads,
    },
    /// Compute all points that are not there yet, on all cores; go on after a kill with the same command
    Run(SweepRunArgs),
    /// What a folder of results holds
    Status {
        /// Folder of results
        #[arg(value_name = "FOLDER")]
        out: PathBuf,
    },
    /// Gather the results of several folders in one, with one table
    Merge {
        /// Folder that gets all results
        #[arg(value_name = "FOLDER")]
        out: PathBuf,
        /// Folders of other shards of the same sweep
        #[arg(value_name = "OTHER")]
        others: Vec<PathBuf>,
    },
    /// Print a job file that runs a sweep in parts on a cluster
    Script {
        /// Whose job file
        #[arg(value_enum)]
        scheduler: SchedulerArg,
        /// The sweep (YAML), as the cluster sees it
        sweep: String,
        /// Folder of results, one that all tasks share
        #[arg(long, value_name = "FOLDER")]
        out: String,
        /// How many tasks
        #[arg(long, value_name = "TASKS", default_value_t = 8, value_parser = parse_count)]
        tasks: usize,
    },
}

/// `ofa sweep run`.
#[derive(Debug, Args)]
pub(crate) struct SweepRunArgs {
    /// The sweep (YAML)
    pub(crate) sweep: PathBuf,
    /// Folder of results; several processes may share it
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// Compute one part of the points: 2/4 is the second of four; without it, as SLURM_ARRAY_TASK_ID or
    /// JOB_COMPLETION_INDEX say, or all
    #[arg(long, value_name = "I/N", value_parser = parse::<Shard>)]
    pub(crate) shard: Option<Shard>,
    /// Images for what the sweep trains and measures, instead of those that it names: the same ones, elsewhere
    #[arg(long, value_name = "KIND:PATH", value_parser = parse::<DataSource>)]
    pub(crate) data: Option<DataSource>,
    #[command(flatten)]
    pub(crate) skip: SkipBrokenArg,
    #[command(flatten)]
    pub(crate) compute: Compute,
}

/// Whose job file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchedulerArg {
    /// An array job
    Slurm,
    /// An Indexed Job
    Kubernetes,
}

impl From<SchedulerArg> for Scheduler {
    fn from(scheduler: SchedulerArg) -> Self {
        match scheduler {
            SchedulerArg::Slurm => Scheduler::Slurm,
            SchedulerArg::Kubernetes => Scheduler::Kubernetes,
        }
    }
}
