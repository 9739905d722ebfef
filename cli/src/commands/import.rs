//! `ofa import`.

use anyhow::Result;
use experiments::torch::{self, Family, ImportRequest, Imported};
use serde_json::json;

use crate::args::{ImportArgs, ImportCommand};
use crate::next;
use crate::output::Output;

pub(crate) fn run(command: ImportCommand, output: &mut Output) -> Result<()> {
    let (family, args) = match command {
        ImportCommand::OfaMbv3(args) => (Family::MobileNetV3, args),
        ImportCommand::OfaProxyless(args) => (Family::ProxylessNas, args),
    };
    let ImportArgs { checkpoint, space, out, image_size, mean, std, class_names } = args;
    let request = ImportRequest { checkpoint, family, space, out, image_size, mean, std, class_names };
    let Imported { parameters, space, notes } = torch::import(&request)?;
    notes.iter().for_each(|note| output.say(format!("note: {note}")));
    let bundle = request.out.display().to_string();
    if output.is_json() {
        return output.json(&json!({"bundle": bundle, "space": space, "parameters": parameters}));
    }
    output.line(format!("{parameters} parameters of space {space} are in {bundle}"))?;
    output.next(&next::collect(&bundle, None, &request.out.join("accuracy.parquet")))
}
