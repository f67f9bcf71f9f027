//! How a test says that it could not run here: `cargo ci` counts it, and fails it where everything must run.

use std::fs::OpenOptions;
use std::io::{self, Write};

/// Environment variable with the path of the file that `cargo ci` collects skips in.
const FILE_VARIABLE: &str = "RINGMAIN_CI_SKIPS";

/// Reports that `test` did not run, and `why`; the caller returns right after. Call it at most once a test.
///
/// Writes `SKIPPED test: why` to standard error, past the test harness that would hide it, and appends the same line
/// to the file that `RINGMAIN_CI_SKIPS` names, if it is set.
///
/// # Panics
/// If either cannot be written: a skip that nobody hears of would pass for a test that ran.
pub fn skip(test: &str, why: &str) {
    let line = format!("SKIPPED {test}: {}\n", why.replace('\n', " "));
    io::stderr().write_all(line.as_bytes()).expect("standard error takes the skip");
    if let Some(path) = std::env::var_os(FILE_VARIABLE) {
        // One write in append mode: lines of tests that run side by side do not mix.
        let mut file =
            OpenOptions::new().create(true).append(true).open(path).expect("the file of skips opens");
        file.write_all(line.as_bytes()).expect("the file of skips takes the skip");
    }
}
