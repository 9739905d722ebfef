//! From any error to one paragraph on stderr and an exit code.

use std::any::Any;
use std::error::Error as _;
use std::io::{self, Write};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use experiments::error::Error;
use storage::failure::{Failure, FailureKind, Located};
use storage::guard::words_of;

use crate::hints::worded;
use crate::output::{OutputClosed, harmless};

const INTERRUPTED: u8 = 130;

/// Tells the user, and gives the exit code.
pub(crate) fn report(error: &anyhow::Error) -> u8 {
    if error.is::<OutputClosed>() {
        return 0;
    }
    let known = error.downcast_ref::<Error>();
    let located = known.and_then(Failure::place);
    let message = match &located {
        Some(at) => one_paragraph(&at.message),
        None => chain(error),
    };
    let hint = known.and_then(Failure::hint);
    let several = known.map(Failure::places).unwrap_or_default();
    let place = match several.as_slice() {
        [] => located.map(|at| at.place),
        several => {
            let line = |at: &Located| format!("{}: {}", at.place, worded(&one_paragraph(&at.message)));
            Some(several.iter().map(line).collect::<Vec<_>>().join("\n  --> "))
        }
    };
    print(&message, place.as_deref(), hint.as_deref());
    match known {
        Some(error) if error.is_interruption() => INTERRUPTED,
        Some(error) => error.kind().exit_code(),
        None => FailureKind::Io.exit_code(),
    }
}

/// What is left when something that cannot be happened: one sentence, no stack.
pub(crate) fn report_panic(panic: Box<dyn Any + Send>) -> u8 {
    let message = format!("this should not happen: {}", one_paragraph(&words_of(panic)));
    print(&message, None, Some("please report it with the command and its files; -vv says more"));
    FailureKind::Io.exit_code()
}

/// What happened, and why, down to the first cause.
fn chain(error: &anyhow::Error) -> String {
    let mut message = String::new();
    for cause in error.chain() {
        let text = one_paragraph(&cause.to_string());
        // Many errors say in their own words what their source says.
        if message.contains(&text) {
            continue;
        }
        if !message.is_empty() {
            message.push_str(": ");
        }
        message.push_str(&text);
    }
    message
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
    let source = error.source().and_then(|source| source.downcast_ref::<Error>()).and_then(Failure::hint);
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
    let hint = hint.map_or(String::new(), |hint| format!("hint: {}\n", worded(hint)));
    let _ = write!(io::stderr(), "{}", harmless(&format!("error: {}\n{place}{hint}", worded(message))));
}

/// On one line, without the call stack that LibTorch adds to its messages.
fn one_paragraph(text: &str) -> String {
    let said = text.lines().take_while(|line| !line.starts_with("Exception raised from"));
    // Cut after what steers the terminal is spelled out, which makes it longer.
    shortened(harmless(&said.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")).into_owned())
}

/// Letters of a message that anybody reads: a file may hold words of megabytes, which errors repeat.
const MOST_LETTERS: usize = 2000;

/// The beginning and the end of what is too long.
fn shortened(text: String) -> String {
    let letters = text.chars().count();
    if letters <= MOST_LETTERS {
        return text;
    }
    let start: String = text.chars().take(MOST_LETTERS / 2).collect();
    let end: String = text.chars().skip(letters - MOST_LETTERS / 2).collect();
    format!("{start} … {end}")
}
