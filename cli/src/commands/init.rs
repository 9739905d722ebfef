//! `ofa init`.

use anyhow::Result;
use experiments::init::{InitRequest, Initialised};
use experiments::torch;
use network::units::Macs;
use serde_json::json;

use super::set_threads;
use crate::args::InitArgs;
use crate::interrupt::stop_flag;
use crate::next;
use crate::output::{Output, duration};

/// Names of classes that are shown.
const SHOWN: usize = 6;

pub(crate) fn run(args: InitArgs, output: &mut Output) -> Result<()> {
    set_threads(args.compute.threads);
    let request = InitRequest {
        folder: args.folder,
        data: args.data,
        like: args.like,
        target: args.target,
        minutes: args.minutes,
        seed: args.seed,
        device: args.compute.device,
    };
    let made = torch::init(&request, &stop_flag())?;
    made.notes.iter().for_each(|note| output.say(format!("note: {note}")));
    let seconds = made.total();
    if let Some(minutes) = request.minutes.filter(|minutes| seconds > 60.0 * minutes) {
        output.say(format!("note: {minutes} minutes are too few; the shortest build takes {}", duration(seconds)));
    }
    if output.is_json() {
        let Initialised { classes, images, sides, image_size, resolutions, macs, target, epochs, files, .. } = &made;
        let stages: serde_json::Map<_, _> =
            made.seconds.iter().map(|(stage, seconds)| ((*stage).to_owned(), json!(seconds))).collect();
        return output.json(&json!({
            "folder": request.folder, "classes": classes, "training_images": images[0], "held_out_images": images[1],
            "test_images": images[2], "has_test_part": made.has_test_part, "sides": sides, "image_size": image_size,
            "mean": made.normalisation[0], "std": made.normalisation[1],
            "begins_with": made.begins_with, "resolutions": resolutions, "macs": macs,
            "target": target, "quantity": made.range.0.name(), "epochs": epochs, "estimated_seconds": seconds,
            "estimated_seconds_by_stage": stages, "files": files,
        }));
    }
    output.rows(&rows(&made))?;
    output.next(&next::build(&request.folder))
}

fn rows(made: &Initialised) -> Vec<(String, String)> {
    let row = |label: &str, value: String| (label.to_owned(), value);
    let [train, held_out, test] = made.images;
    let shown: Vec<&str> = made.classes.iter().take(SHOWN).map(String::as_str).collect();
    let more = if made.classes.len() > SHOWN { ", …" } else { "" };
    let [smallest, median, largest] = made.sides;
    let sides = match smallest == largest {
        true => format!("{median} px"),
        false => format!("{smallest} to {largest} px, median {median}, brought to {}", made.image_size),
    };
    let constants = made.normalisation.map(|values| values.map(|value| format!("{value:.2}")).join(" "));
    let resolutions: Vec<String> = made.resolutions.iter().map(u32::to_string).collect();
    let (quantity, least, most) = made.range;
    let stages = made.seconds.iter().filter(|(_, seconds)| *seconds >= 1.0);
    let stages: Vec<String> = stages.map(|(stage, seconds)| format!("{stage} {}", duration(*seconds))).collect();
    let files: Vec<String> = made.files.iter().map(|path| path.display().to_string()).collect();
    vec![
        row("classes", format!("{} ({}{more})", made.classes.len(), shown.join(", "))),
        row("images", format!("{train} to train on, {held_out} held out, {test} to test with")),
        row("sizes", sides),
        row("of your images", format!("mean {}, std {}", constants[0], constants[1])),
        row(
            "begins with",
            made.begins_with.as_ref().map_or("fresh weights".into(), |bundle| format!("the weights of {bundle}")),
        ),
        row("space", format!("{} px, {} to {}", resolutions.join(", "), Macs(made.macs[0]), Macs(made.macs[1]))),
        row("target", format!("{}, {quantity} {} to {}", made.target, quantity.format(least), quantity.format(most))),
        row(
            "time here",
            format!("about {} for {} epochs ({})", duration(made.total()), made.epochs, stages.join(", ")),
        ),
        row("files", files.join(", ")),
    ]
}
