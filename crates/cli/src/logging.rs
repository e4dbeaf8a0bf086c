//! Logs, on stderr, as text or as lines of JSON.

use std::io::stderr;
use std::str::FromStr;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::args::{LogFormat, LoggingArgs};
use crate::screen::{Screen, has_colors};

/// What is logged; nothing chosen when it is empty, as an unset variable is.
#[derive(Debug, Clone)]
pub(crate) struct LogFilter(String);

/// Sets up logging for the whole program: onto `screen`, where one is drawn on. What goes well can be seen there, so
/// only what does not is logged, unless more is asked for.
pub(crate) fn init(args: &LoggingArgs, screen: Option<&Arc<Screen>>) {
    let default = if screen.is_some() { "warn" } else { "info" };
    let chosen = args.log.as_ref().map(|filter| filter.0.as_str());
    let mut filter = EnvFilter::new(chosen.filter(|text| !text.is_empty()).unwrap_or(default));
    // These would print links with their signatures.
    for (crate_name, level) in [
        ("hyper", "warn"),
        ("hyper_util", "warn"),
        ("h2", "warn"),
        ("reqwest", "warn"),
    ] {
        if let Ok(directive) = format!("{crate_name}={level}").parse() {
            filter = filter.add_directive(directive);
        }
    }
    let writer = match screen.map(Arc::clone) {
        Some(screen) => BoxMakeWriter::new(screen),
        None => BoxMakeWriter::new(stderr),
    };
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_target(false);
    match args.log_format {
        LogFormat::Text => logs.with_ansi(has_colors()).init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        for directive in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            // A level that is misspelt alone would be taken for a module, and nothing be logged.
            let level = directive
                .rsplit_once('=')
                .map_or(directive, |(_, level)| level);
            if !LEVELS.contains(&level.to_lowercase().as_str()) {
                let levels = LEVELS.join(", ");
                return Err(format!(
                    "expected a level ({levels}) or `module=level`, got `{directive}`"
                ));
            }
        }
        EnvFilter::try_new(text).map_err(|error| error.to_string())?;
        Ok(Self(text.trim().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_would_log_nothing_is_refused() {
        for text in ["", "info", "WARN", "warn,answerlake_extract=debug", "off"] {
            assert!(text.parse::<LogFilter>().is_ok(), "{text}");
        }
        for text in [
            "inof",
            "answerlake_extract",
            "info,answerlake_load=loud",
            "a=b=c",
        ] {
            let error = text.parse::<LogFilter>().unwrap_err();
            assert!(
                error.starts_with("expected a level (off, error,"),
                "{error}"
            );
        }
    }
}
