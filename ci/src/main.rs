//! `cargo ci`: the one command that a laptop and the server run.
//!
//! Must never import another member of this workspace: it has to run, and say why, when none of them compiles.

mod arguments;
mod command;
mod libtest;
mod readme;
mod report;
mod rules;
mod run;
mod skips;
mod steps;
mod workspace;

use std::process::ExitCode;

use crate::arguments::{Arguments, Request, USAGE};
use crate::report::Report;
use crate::workspace::Workspace;

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Request::Run(arguments)) => arguments,
        Ok(Request::Help) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("cargo ci: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let plan = steps::plan(&arguments);
    if arguments.list {
        for step in plan {
            println!("{step}");
        }
        return ExitCode::SUCCESS;
    }
    let workspace = match Workspace::locate() {
        Ok(workspace) => workspace,
        Err(error) => {
            eprintln!("cargo ci: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut report = Report::to_stdout();
    run::run(&plan, &workspace, arguments.full, &mut report);
    let total = report.finish();
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
