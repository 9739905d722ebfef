//! `ofa predictor`.

use anyhow::Result;
use experiments::error::Error;
use experiments::folders::predictor_file;
use experiments::predictor::fit::FitJob;
use experiments::predictor::near_front::NearFront;
use experiments::target as targets;
use hw_targets::target::Target;
use network::units::{Macs, Quantity};
use predictors::diagnostics::Calibration;
use predictors::error::PredictorError;
use predictors::report::{Ceiling, Scores};
use predictors::settings::FitSettings;
use serde_json::json;

use super::set_threads;
use crate::args::{FitArgs, FrontArgs, ModelArg, PredictorCommand, ProposeArgs};
use crate::interrupt::stop_flag;
use crate::next::{self, SearchIn};
use crate::output::{Output, as_text, percent};

mod collect;

pub(crate) fn run(command: PredictorCommand, output: &mut Output) -> Result<()> {
    match command {
        PredictorCommand::Collect(args) => collect::run(*args, output),
        PredictorCommand::Fit(args) => fit(args, output),
        PredictorCommand::Propose(args) => propose(args, output),
        PredictorCommand::Eval { predictor, pairs, space } => {
            let (space, predictor) = predictor_file::load(&predictor, space.as_deref())?;
            let report = experiments::predictor::judge::judge(&space, &predictor, &pairs)?;
            if output.is_json() {
                let Scores { rmse, bias, kendall, spearman, pearson } = report.scores;
                return output.json(&json!({
                    "pairs": report.pairs,
                    "rmse": rmse,
                    "bias": bias,
                    "kendall_tau_b": kendall,
                    "spearman": spearman,
                    "pearson": pearson,
                    "ceiling": report.ceiling.map(|ceiling| json!({
                        "label_noise": ceiling.noise,
                        "kendall_tau_b": ceiling.kendall,
                        "spearman": ceiling.spearman,
                    })),
                }));
            }
            let mut rows = vec![row("pairs", report.pairs.to_string())];
            rows.extend(score_rows(&report.scores, report.ceiling.as_ref()));
            output.rows(&rows)
        }
        PredictorCommand::Import { file, space, resolutions, out } => {
            let known = experiments::predictor::import::import(&file, &space, resolutions.as_deref(), &out)?;
            if output.is_json() {
                return output.json(&json!({"predictor": as_text(&out), "space": space, "resolutions": known}));
            }
            let known: Vec<String> = known.iter().map(u32::to_string).collect();
            output.line(format!("a predictor for space {space} at {} is in {}", known.join(", "), out.display()))?;
            let file = out.display().to_string();
            let of = SearchIn::Predictor { file: &file, space: Some(&space) };
            output.next(&next::front(&of, None, Quantity::Latency))
        }
        PredictorCommand::Predict { predictor, subnets, space } => {
            let predictions = experiments::predictor::predict::predict(&predictor, space.as_deref(), &subnets)?;
            predictions.iter().try_for_each(|prediction| match (output.is_json(), prediction.spread) {
                (true, spread) => output.json(&json!({"top1": prediction.top1, "spread": spread})),
                (false, Some(spread)) => output.line(format!("{} ± {}", percent(prediction.top1), percent(spread))),
                (false, None) => output.line(percent(prediction.top1)),
            })
        }
    }
}

fn propose(args: ProposeArgs, output: &mut Output) -> Result<()> {
    set_threads(args.threads);
    let near_front = near_front(&args.front, args.n, args.seed)?;
    let stop = stop_flag();
    let proposed = experiments::predictor::propose::propose(args.space.as_deref(), &args.pairs, &near_front, &stop)?;
    proposed.iter().try_for_each(|subnet| output.json(subnet))
}

/// The front that the command line describes.
fn near_front(args: &FrontArgs, count: usize, seed: u64) -> Result<NearFront, Error> {
    let target = args.target.as_deref().map(targets::list::find).transpose()?;
    let quantity = args.along.unwrap_or_else(|| {
        let first = |target: &Target| Quantity::ALL.into_iter().find(|quantity| target.knows(*quantity));
        target.as_ref().and_then(first).unwrap_or(Quantity::Macs)
    });
    match &target {
        Some(target) => target.require(quantity)?,
        None if quantity.is_exact() => {}
        None => return Err(Error::NeedsTarget { quantity }),
    }
    let range = match (&args.from, &args.to) {
        (Some(from), Some(to)) => {
            let (low, high) = (quantity.read(from)?, quantity.read(to)?);
            if low > high {
                return Err(Error::UpsideDown { from: from.clone(), to: to.clone() });
            }
            Some((low, high))
        }
        _ => None,
    };
    Ok(NearFront { target, quantity, range, count, seed })
}

fn fit(args: FitArgs, output: &mut Output) -> Result<()> {
    set_threads(args.threads);
    let models = models(&args)?;
    let FitArgs { space, pairs, out, test_pairs, .. } = args;
    let job = FitJob { space, pairs, out, test_pairs, models };
    let bar = output.progress(0, "fitting {bar:40} {pos}/{len} epochs, {eta} left");
    let chosen = experiments::predictor::fit::fit(&job, &mut |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    chosen.notes.iter().for_each(|note| output.warn(note));
    if output.is_json() {
        return output.json(&chosen.to_json());
    }
    let report = &chosen.report;
    let number = |value: Option<f64>| value.map_or("undefined".to_owned(), |value| format!("{value:.4}"));
    let candidates = chosen.candidates.iter().map(|(name, kendall)| format!("{name} {}", number(*kendall)));
    let mut rows = vec![
        row("predictor", job.out.display().to_string()),
        row(
            "model",
            format!("{} (cross-validated tau-b: {})", chosen.model, candidates.collect::<Vec<_>>().join(", ")),
        ),
        row("fitted to", format!("{} pairs", report.train_pairs)),
        row("judged by", format!("{} pairs it never saw", report.test_pairs)),
    ];
    rows.extend(score_rows(&report.scores, report.ceiling.as_ref()));
    if let Some(additive) = report.additive_scores.and_then(|scores| scores.kendall) {
        rows.push(row("additive part", format!("Kendall tau-b {additive:.4} alone")));
    }
    for slice in &report.slices {
        let at_best = slice.ceiling.map_or(String::new(), |ceiling| format!(" (label noise leaves {ceiling:.4})"));
        let (low, high) = (Macs(slice.macs.0), Macs(slice.macs.1));
        rows.push(row(&format!("{low} to {high}"), format!("Kendall tau-b {}{at_best}", number(slice.kendall))));
    }
    if let Some(repeatable) = report.repeatable {
        let words = format!("{repeatable:.2} of what one says beyond the prediction repeats on other images");
        rows.push(row("measurements", words));
    }
    if let Some(Calibration { z, within_95 }) = report.calibration {
        let words =
            format!("errors are {z:.2} times what it and label noise let expect; {} within 1.96", percent(within_95));
        rows.push(row("spread", words));
    }
    let curve = report.learning_curve.iter().map(|point| format!("{} pairs {}", point.pairs, number(point.kendall)));
    if !report.learning_curve.is_empty() {
        rows.push(row("closed form", format!("Kendall tau-b with {}", curve.collect::<Vec<_>>().join(", "))));
    }
    output.rows(&rows)?;
    let file = job.out.display().to_string();
    let bundle = chosen.bundle.as_ref().map(|bundle| bundle.display().to_string());
    let of = match &bundle {
        Some(bundle) => SearchIn::Bundle(bundle),
        None => SearchIn::Predictor { file: &file, space: None },
    };
    output.next(&next::front(&of, None, Quantity::Latency))
}

/// The ways to fit that the command line asks for.
fn models(args: &FitArgs) -> Result<Vec<(&'static str, FitSettings)>, Error> {
    let defaults = FitSettings::default();
    if args.model == ModelArg::Additive && args.members.is_some_and(|members| members > 0) {
        let problem = "is above 0, but --model additive has no MLPs".to_owned();
        return Err(PredictorError::Setting { name: "members", problem }.into());
    }
    let members = args.members.unwrap_or(if experiments::torch::IS_THERE { defaults.members } else { 0 });
    let common = FitSettings { seed: args.seed, members, epochs: args.epochs.unwrap_or(defaults.epochs), ..defaults };
    let additive = || ("additive", FitSettings { members: 0, interactions: false, ..common.clone() });
    let mlp = || {
        let members = args.members.unwrap_or(1);
        ("mlp", FitSettings { additive: false, interactions: false, members, hidden: vec![400; 3], ..common.clone() })
    };
    Ok(match args.model {
        ModelArg::Additive => vec![additive()],
        ModelArg::Mlp => vec![mlp()],
        ModelArg::Ensemble => vec![("ensemble", common)],
        ModelArg::Auto if members == 0 => vec![("ensemble", common.clone()), additive()],
        ModelArg::Auto => vec![("ensemble", common.clone()), additive(), mlp()],
    })
}

fn row(label: &str, value: String) -> (String, String) {
    (label.to_owned(), value)
}

fn score_rows(scores: &Scores, ceiling: Option<&Ceiling>) -> Vec<(String, String)> {
    let number = |value: Option<f64>| value.map_or("undefined".to_owned(), |value| format!("{value:.4}"));
    let at_best =
        |value: Option<f64>| value.map_or(String::new(), |value| format!(" (label noise leaves {value:.4} at best)"));
    let noise = ceiling.map_or(String::new(), |ceiling| format!(" (label noise {})", percent(ceiling.noise)));
    vec![
        row("RMSE", format!("{}{noise}", percent(scores.rmse))),
        row("bias", percent(scores.bias)),
        row("Kendall tau-b", number(scores.kendall) + &at_best(ceiling.map(|ceiling| ceiling.kendall))),
        row("Spearman", number(scores.spearman) + &at_best(ceiling.map(|ceiling| ceiling.spearman))),
    ]
}
