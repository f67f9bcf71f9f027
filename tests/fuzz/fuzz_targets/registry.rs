//! Hands libFuzzer's inputs to the target that the environment names, as they are and with their checksums made right.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ringmain_tests::fuzz::Target;
use ringmain_tests::fuzz::registry::find;

/// The variable that names the target.
const NAMED_BY: &str = "FUZZ_TARGET";

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var(NAMED_BY).unwrap_or_default();
    find(&name).unwrap_or_else(|| panic!("{NAMED_BY}={name:?} names no target: see cargo fuzzing --list"))
});

fuzz_target!(|input: &[u8]| {
    (TARGET.run)(input);
    if let Some(seal) = TARGET.seal {
        let mut sealed = input.to_vec();
        seal(&mut sealed);
        (TARGET.run)(&sealed);
    }
});
