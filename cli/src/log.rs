//! What is said on stderr of what is being done: messages of `tracing`, as `-v` or `RUST_LOG` choose them.

use tracing::Level;
use tracing::field::{Field, Visit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FmtSpan, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::args::{Common, LogFormat};
use crate::output::harmless;

/// Our crates: others' messages are for whoever asks by `RUST_LOG`.
const CRATES: [&str; 9] =
    ["ofa", "experiments", "deploy", "supernet", "predictors", "search", "hw_targets", "network", "storage"];

/// Begins to listen.
pub(crate) fn start(common: &Common) {
    // An empty variable is none, and one that cannot be read is no reason to say nothing.
    let asked = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|words| !words.trim().is_empty());
    let filter = asked.and_then(|words| EnvFilter::try_new(words).ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new(chosen(common.verbose)));
    let layer = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(filter);
    // The end of a span says how long it took.
    let layer = layer.with_span_events(FmtSpan::CLOSE);
    // Fails only if there is a log already.
    let _ = match common.log_format {
        LogFormat::Text => layer.event_format(Plain).try_init(),
        LogFormat::Json => layer.json().try_init(),
    };
}

/// Warnings are for everybody; each `-v` is one level more.
fn chosen(verbose: u8) -> String {
    let level = match verbose {
        0 => return "warn".to_owned(),
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let ours: Vec<String> = CRATES.iter().map(|name| format!("{name}={level}")).collect();
    format!("warn,{}", ours.join(","))
}

/// A message as the rest of the output is written: no time, no module.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> std::fmt::Result {
        let mut text = String::new();
        let mut took = Took(None);
        event.record(&mut took);
        match (took.0, context.parent_span()) {
            (Some(took), Some(span)) => {
                let name = span.name().replace('_', " ");
                let extensions = span.extensions();
                let fields = extensions.get::<FormattedFields<N>>().map_or("", |fields| fields.as_str());
                text = format!("{name} {fields}").trim_end().to_owned() + &format!(" took {took}");
            }
            _ => context.format_fields(Writer::new(&mut text), event)?,
        }
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        writeln!(writer, "{level}: {}", harmless(&text))
    }
}

/// How long the span was entered whose end an event is.
struct Took(Option<String>);

impl Visit for Took {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "time.busy" {
            self.0 = Some(format!("{value:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_a_filter_that_can_be_read() {
        for verbose in 0..=4 {
            assert!(EnvFilter::try_new(chosen(verbose)).is_ok(), "{}", chosen(verbose));
        }
        assert_eq!(chosen(0), "warn");
        assert!(chosen(1).contains("search=info") && chosen(9).contains("search=trace"));
    }
}
