//! Where log lines go: stderr, coloured on a terminal unless `NO_COLOR` is set.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::arguments::{Format, OutputArguments};

/// Installs the subscriber; `serving`: the process is a broker, whose log is read, and not a command.
pub(super) fn install(output: &OutputArguments, serving: bool) {
    let level = output.log.as_deref().unwrap_or(if serving { "info" } else { "error" });
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_writer(io::stderr)
        .with_ansi(colour);
    // A subscriber that is there already is that of a test, and may stay.
    let _ = match output.log_format {
        Format::Text => builder.try_init(),
        Format::Json => builder.json().try_init(),
    };
}
