//! The `ringmain` program: see [`ringmain::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ringmain::cli::run(std::env::args_os())
}
