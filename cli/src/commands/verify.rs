//! `ofa verify`.

use anyhow::Result;
use experiments::error::Error;
use experiments::torch::{self, Runtimes, VerifiedFile, VerifyRequest};
use serde_json::json;

use super::set_threads;
use crate::args::{By, VerifyArgs};
use crate::output::{Output, share};

/// The part of all images of which a file in int8 must say the network's class.
const SAME_CLASS: f64 = 0.9;

pub(crate) fn run(args: &VerifyArgs, output: &mut Output) -> Result<()> {
    set_threads(args.compute.threads);
    let by = match args.by {
        By::Any => Runtimes::Any,
        By::Tract => Runtimes::Tract,
        By::Python => Runtimes::Python,
    };
    let (file, against, data) = (&args.file, &args.against, args.data.as_ref());
    let request = VerifyRequest { file, against, data, images: args.images, by };
    let verified = torch::verify_file(&request, args.compute.device)?;
    let VerifiedFile { runtime, is_int8, agreement, top1, signal_to_noise_db, milliseconds, checked_with, .. } =
        &verified;
    verified.warnings.iter().for_each(|warning| output.warn(warning));
    verified.notes.iter().for_each(|note| output.say(note));
    if output.is_json() {
        output.json(&json!({
            "file": args.file, "against": args.against, "runtime": runtime, "int8": is_int8,
            "checked_with": checked_with, "images": agreement.images, "largest_error": agreement.largest_error,
            "same_class": agreement.same_class, "other_class": agreement.other_class, "network_top1": top1.map(|[network, _]| network),
            "top1": top1.map(|[_, file]| file), "signal_to_noise_db": signal_to_noise_db,
            "milliseconds": milliseconds,
        }))?;
    } else {
        let numbers = if *is_int8 { "int8" } else { "float32" };
        let mut rows = vec![
            ("file".to_owned(), format!("{}, {numbers}", args.file.display())),
            (format!("{runtime}, {checked_with}"), agreement.to_string()),
            ("signal to noise".to_owned(), format!("{signal_to_noise_db:.1} dB")),
            (
                format!("one image here, {}", runtime.split(',').next().unwrap_or_default()),
                format!("{milliseconds:.2} ms"),
            ),
        ];
        if let Some([network, file]) = top1 {
            rows.push(("top-1, network".to_owned(), share(*network, agreement.images as u64)));
            rows.push(("top-1, file".to_owned(), share(*file, agreement.images as u64)));
        }
        output.rows(&rows)?;
    }
    let is_same = match is_int8 {
        true => agreement.same_class as f64 >= SAME_CLASS * agreement.images as f64,
        false => agreement.holds(),
    };
    if is_same {
        return Ok(());
    }
    let problem = match is_int8 {
        true => format!("{runtime} says the network's class of fewer than nine images in ten: {agreement}"),
        false => {
            format!("{runtime} computes something else: {agreement}; {:.0e} would be rounding", agreement.tolerance)
        }
    };
    Err(Error::NotTheSame { file: args.file.clone(), problem }.into())
}
