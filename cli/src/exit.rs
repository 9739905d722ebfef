//! From any error to one paragraph on stderr, or one object where results are objects, and an exit code.

use std::any::Any;
use std::error::Error as _;
use std::ffi::OsString;
use std::io::{self, Write};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use experiments::error::Error;
use serde_json::{Value, json};
use storage::failure::{Failure, FailureKind, Located};
use storage::guard::words_of;
use storage::names::nearest;

use crate::args::definition;
use crate::hints::worded;
use crate::interrupt::INTERRUPTED;
use crate::output::{OutputClosed, harmless};
use crate::ranks::Ended;

/// Tells the user, and gives the exit code.
pub(crate) fn report(error: &anyhow::Error) -> u8 {
    if error.is::<OutputClosed>() {
        return 0;
    }
    if let Some(Ended(code)) = error.downcast_ref() {
        return *code;
    }
    let known = error.downcast_ref::<Error>();
    let located = known.and_then(Failure::place);
    let message = match &located {
        Some(at) => one_paragraph(&at.message),
        None => chain(error),
    };
    let hint = known.and_then(Failure::hint);
    let code = match known {
        Some(error) if error.is_interruption() => INTERRUPTED,
        Some(error) => error.kind().exit_code(),
        None => FailureKind::Io.exit_code(),
    };
    let several = known.map(Failure::places).unwrap_or_default();
    let line = |at: &Located| format!("{}: {}", at.place, worded(&one_paragraph(&at.message)));
    let places = match several.as_slice() {
        [] => located.into_iter().map(|at| at.place).collect(),
        several => several.iter().map(line).collect::<Vec<_>>(),
    };
    print(&message, &places, hint.as_deref(), code)
}

/// What is left when something that cannot be happened: one sentence, no stack.
pub(crate) fn report_panic(panic: Box<dyn Any + Send>) -> u8 {
    let message = format!("this should not happen: {}", one_paragraph(&words_of(panic)));
    let hint = "please report it with the command and its files; -vv says more";
    print(&message, &[], Some(hint), FailureKind::Io.exit_code())
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
    let verb = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) => meant(word, std::env::args_os()),
        _ => None,
    };
    let hint = source.or(verb).or(suggested).or_else(|| (error.kind() != ErrorKind::ValueValidation).then(general));
    print(message, &[], hint.as_deref(), FailureKind::Usage.exit_code())
}

/// The verb that was probably meant where clap, which leaves short words alone, has no idea: `fti` for `fit`.
fn meant(wrong: &str, words: impl IntoIterator<Item = OsString>) -> Option<String> {
    let mut at = definition();
    for word in words.into_iter().skip(1) {
        let Some(below) = word.to_str().and_then(|word| at.find_subcommand(word)) else { continue };
        at = below.clone();
    }
    let near = nearest(wrong, at.get_subcommands().map(clap::Command::get_name));
    near.first().map(|verb| format!("did you mean `{verb}`?"))
}

/// Whether results were asked for as JSON; of the words themselves, which may be no command line.
fn wants_json(words: impl IntoIterator<Item = OsString>) -> bool {
    let mut words = words.into_iter().skip(1).take_while(|word| word != "--");
    let mut json = false;
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--format") => json = words.next().is_some_and(|format| format == "json"),
            Some(word) => json = word.strip_prefix("--format=").map_or(json, |format| format == "json"),
            None => {}
        }
    }
    json
}

/// Tells the user, and gives the exit code back.
fn print(message: &str, places: &[String], hint: Option<&str>, code: u8) -> u8 {
    if wants_json(std::env::args_os()) {
        let (what, hint) = (worded(message), hint.map(worded));
        // One place as a text, several as a list.
        let place = match places {
            [] => Value::Null,
            [place] => json!(place),
            several => json!(several),
        };
        let error = json!({"error": {"what": what, "where": place, "hint": hint, "exit_code": code}});
        let _ = writeln!(io::stderr(), "{error}");
        return code;
    }
    let place: String = places.iter().map(|place| format!("  --> {place}\n")).collect();
    let hint = hint.map_or(String::new(), |hint| format!("hint: {}\n", worded(hint)));
    let _ = write!(io::stderr(), "{}", harmless(&format!("error: {}\n{place}{hint}", worded(message))));
    code
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_verb_is_guessed_among_those_of_its_group() {
        let guess = |wrong: &str, line: &str| meant(wrong, line.split_whitespace().map(OsString::from));
        assert_eq!(guess("fti", "ofa predictor fti --out x").as_deref(), Some("did you mean `fit`?"));
        assert_eq!(guess("rn", "ofa --quiet target rn").as_deref(), Some("did you mean `rm`?"));
        assert_eq!(guess("toaster", "ofa toaster"), None);
    }

    #[test]
    fn json_is_wanted_where_the_words_say_so_however_wrong_they_are() {
        let wants = |line: &str| wants_json(line.split_whitespace().map(OsString::from));
        assert!(wants("ofa serch --format json") && wants("ofa --format=json search"));
        assert!(!wants("ofa search") && !wants("ofa search --format human") && !wants("ofa search --format"));
        assert!(!wants("ofa space show -- --format=json") && !wants("ofa search --log-format json"));
    }
}
