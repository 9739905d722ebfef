//! From any error to one paragraph on stderr and an exit code.

use std::error::Error as StdError;
use std::io::{self, Write};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use experiments::error::AppError;
use hw_targets::error::HwError;
use network::units::UnitError;
use predictors::error::PredictorError;
use search::error::SearchError;
use storage::failure::{Failure, FailureKind};
use supernet::import::TensorFileError;

use crate::output::OutputClosed;

const INTERRUPTED: u8 = 130;

/// What one error of ours says about itself.
struct Known {
    kind: FailureKind,
    hint: Option<String>,
    /// File, line and field, and the message without them.
    place: Option<(String, String)>,
    interrupted: bool,
}

impl Known {
    fn new(kind: FailureKind, hint: Option<String>) -> Self {
        Self { kind, hint, place: None, interrupted: false }
    }
}

/// Tells the user, and gives the exit code.
pub(crate) fn report(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<OutputClosed>()) {
        return 0;
    }
    let mut message = String::new();
    let (mut code, mut place, mut hint) = (None, None, None);
    for cause in error.chain() {
        let mut text = one_paragraph(cause);
        if let Some(known) = known(cause) {
            code.get_or_insert(if known.interrupted { INTERRUPTED } else { known.kind.exit_code() });
            hint = hint.or(known.hint);
            if let Some((where_, rest)) = known.place {
                text = rest;
                place.get_or_insert(where_);
            }
        }
        // Many errors say in their own words what their source says.
        if message.contains(&text) {
            continue;
        }
        if !message.is_empty() {
            message.push_str(": ");
        }
        message.push_str(&text);
    }
    let full = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    if full.clone().any(|error| error.kind() == io::ErrorKind::StorageFull) {
        hint.get_or_insert("free some space on that disk".to_owned());
    }
    print(&message, place.as_deref(), hint.as_deref());
    code.unwrap_or(FailureKind::Io.exit_code())
}

/// Ends the process.
///
/// Without the destructors of the C library's `exit`: LibTorch takes its table of operators apart there, which takes as
/// long as many a command.
pub(crate) fn leave(code: u8) -> ! {
    // Whoever reads it may be gone, and then has what it wanted.
    let _ = io::stdout().flush();
    #[cfg(unix)]
    // SAFETY: ends the process without running anything more; files are synced and closed where they are written.
    unsafe {
        libc::_exit(code.into())
    }
    #[cfg(not(unix))]
    std::process::exit(code.into())
}

/// Help and version are results; everything else that clap says is a wrong command line.
pub(crate) fn refuse_arguments(error: &clap::Error) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            return 0;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            return FailureKind::Usage.exit_code();
        }
        _ => {}
    }
    let source = error.source().and_then(known).and_then(|known| known.hint);
    let suggestions = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    let suggested = suggestions.into_iter().find_map(|kind| match error.get(kind)? {
        ContextValue::String(word) => Some(format!("did you mean `{word}`?")),
        ContextValue::Strings(words) if !words.is_empty() => Some(format!("did you mean `{}`?", words.join("` or `"))),
        _ => None,
    });
    // Clap's own words, up to its tips and its usage, as one line.
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim);
    let lines = lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("tip:"));
    let message: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with("For more")).collect();
    let message = message.join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let general = || "`ofa help` and `ofa help VERB` show what there is".to_owned();
    // A value's own error says how to write it.
    let hint = source.or(suggested).or_else(|| (error.kind() != ErrorKind::ValueValidation).then(general));
    print(message, None, hint.as_deref());
    FailureKind::Usage.exit_code()
}

fn print(message: &str, place: Option<&str>, hint: Option<&str>) {
    let place = place.map_or(String::new(), |place| format!("  --> {place}\n"));
    let hint = hint.map_or(String::new(), |hint| format!("hint: {hint}\n"));
    let _ = write!(io::stderr(), "error: {message}\n{place}{hint}");
}

fn one_paragraph(error: &(dyn StdError + 'static)) -> String {
    let text = error.to_string();
    #[cfg(feature = "torch")]
    if error.is::<tch::TchError>() {
        // What follows is LibTorch's own call stack.
        return text.lines().next().unwrap_or_default().to_owned();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn known(error: &(dyn StdError + 'static)) -> Option<Known> {
    if let Some(error) = error.downcast_ref::<AppError>() {
        let mut known = Known::new(error.kind(), error.hint());
        known.place = error.place().map(|place| (place, one_paragraph(error)));
        known.interrupted = matches!(error, AppError::Interrupted);
        return Some(known);
    }
    if let Some(error) = error.downcast_ref::<UnitError>() {
        return Some(Known::new(error.kind(), error.hint()));
    }
    if let Some(error) = error.downcast_ref::<HwError>() {
        let mut known = Known::new(error.kind(), error.hint());
        known.place = hw_place(error);
        return Some(known);
    }
    if let Some(error) = error.downcast_ref::<SearchError>() {
        return Some(Known::new(error.kind(), error.hint()));
    }
    if let Some(error) = error.downcast_ref::<PredictorError>() {
        return Some(Known::new(error.kind(), error.hint()));
    }
    if let Some(error) = error.downcast_ref::<TensorFileError>() {
        return Some(Known::new(error.kind(), error.hint()));
    }
    #[cfg(feature = "torch")]
    if let Some(known) = known_to_torch(error) {
        return Some(known);
    }
    None
}

#[cfg(feature = "torch")]
fn known_to_torch(error: &(dyn StdError + 'static)) -> Option<Known> {
    use experiments::folders::recipe_file::RecipeError;
    use supernet::data::DataError;
    use supernet::device::DeviceError;
    use supernet::error::SupernetError;
    use supernet::import::ofa_mbv3::ImportError;

    if let Some(error) = error.downcast_ref::<SupernetError>() {
        let interrupted = matches!(error, SupernetError::Interrupted);
        return Some(Known { interrupted, ..Known::new(error.kind(), error.hint()) });
    }
    if let Some(error) = error.downcast_ref::<RecipeError>() {
        return Some(Known::new(error.kind(), error.hint()));
    }
    if let Some(error) = error.downcast_ref::<DataError>() {
        return Some(Known::new(error.kind(), error.hint()));
    }
    if let Some(error) = error.downcast_ref::<DeviceError>() {
        return Some(Known::new(error.kind(), error.hint()));
    }
    if let Some(error) = error.downcast_ref::<ImportError>() {
        return Some(Known::new(error.kind(), error.hint()));
    }
    None
}

/// `table.csv:14: latency_ms`, and the message without it.
fn hw_place(error: &HwError) -> Option<(String, String)> {
    use hw_targets::error::Place;

    let at = |place: &Place| match place {
        Place::Line(line) => format!(":{line}"),
        Place::Row(row) => format!(": row {row}"),
    };
    Some(match error {
        HwError::BadCell { path, place, column, value, problem } => {
            (format!("{}{}: {column}", path.display(), at(place)), format!("{column} is {value:?}, which {problem}"))
        }
        HwError::BadLayer { path, line, field, problem, .. } => {
            (format!("{}:{line}: {field}", path.display()), format!("{field}: {problem}"))
        }
        HwError::EmptyLayers { path } => (path.display().to_string(), "there is no layer in it".to_owned()),
        HwError::BadField { path, field, problem } => {
            (format!("{}: {field}", path.display()), format!("{field}: {problem}"))
        }
        HwError::MissingColumn { path, column, .. } => {
            (path.display().to_string(), format!("column {column:?} is missing"))
        }
        HwError::Duplicate { path, place, first, op } => {
            (format!("{}{}", path.display(), at(place)), format!("the same operator as in {first}: {op}"))
        }
        HwError::Defect { path, place, op, problem } => {
            (format!("{}{}", path.display(), at(place)), format!("{op}: {problem}"))
        }
        HwError::NoNetworks { path } => (path.display().to_string(), "no measured network is in it".to_owned()),
        HwError::Malformed { path, format, problem } => {
            (path.display().to_string(), format!("not a readable {format} file: {}", problem.trim()))
        }
        HwError::EmptyTable { path } => (path.display().to_string(), "no operator in it could be used".to_owned()),
        _ => return None,
    })
}
