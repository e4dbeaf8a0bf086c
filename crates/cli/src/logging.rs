//! Logs, on stderr, as text or as lines of JSON.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use crate::args::{LogFormat, LoggingArgs};

/// Sets up logging for the whole program.
pub(crate) fn init(args: &LoggingArgs) {
    let mut filter = EnvFilter::try_new(&args.log).unwrap_or_else(|_| EnvFilter::new("info"));
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
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_target(false);
    match args.log_format {
        LogFormat::Text => {
            let has_colors = stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            logs.with_ansi(has_colors).init();
        }
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
}
