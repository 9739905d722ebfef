//! `ofa data`.

use anyhow::Result;
use experiments::torch::{self, DataChecked};

use crate::args::{DataCheckArgs, DataCommand};
use crate::next;
use crate::output::Output;

/// Classes that are listed for a reader; all of them are in JSON.
const SHOWN: usize = 100;

pub(crate) fn run(command: DataCommand, output: &mut Output) -> Result<()> {
    let DataCommand::Check(args) = command;
    check(&args, output)
}

fn check(args: &DataCheckArgs, output: &mut Output) -> Result<()> {
    let checked = torch::check_data(&args.data, args.sheet.as_deref(), args.seed)?;
    let DataChecked { json, rows, classes, broken, notes, failure } = checked;
    if output.is_json() {
        output.json(&json)?;
    } else {
        notes.iter().for_each(|note| output.say(format!("note: {note}")));
        output.rows(&rows)?;
        let header = ["class", "training", "test"];
        let columns = classes.first().map_or(1, Vec::len).min(header.len());
        let more = classes.len().saturating_sub(SHOWN);
        output.table(&header[..columns], classes.into_iter().take(SHOWN).collect())?;
        if more > 0 {
            output.line(format!("… and {more} classes more, which --format json lists"))?;
        }
        broken.iter().try_for_each(|image| output.line(format!("broken: {image}")))?;
    }
    match failure {
        Some(error) => {
            // What was found comes before what is wrong with it.
            output.finish()?;
            Err(error.into())
        }
        None => output.next(&next::init(&args.data.to_string())),
    }
}
