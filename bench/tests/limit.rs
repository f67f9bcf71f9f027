//! `bench limit` from its options to its report, short, on the disk of the build directory.

use std::path::PathBuf;
use std::time::Duration;

use ringmain_bench::limit::{LimitOptions, LimitReport, run};

#[test]
fn a_short_run_reports_every_part_in_time_and_leaves_nothing_behind() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("limit");
    std::fs::create_dir_all(&directory).unwrap();
    let options = LimitOptions {
        budget: Duration::from_millis(1_500),
        connections: vec![1, 4],
        file_bytes: 8 << 20,
        ..LimitOptions::new(directory.clone())
    };
    let mut steps = Vec::new();
    let report = run(&options, &mut |progress| steps.push(progress)).unwrap();
    assert!(report.elapsed_seconds < 5.0, "took {} s", report.elapsed_seconds);

    assert!(std::fs::read_dir(&directory).unwrap().next().is_none(), "a file was left behind");
    let numbers: Vec<usize> = steps.iter().map(|progress| progress.number).collect();
    let total = steps.len();
    assert_eq!(numbers, (1..=total).collect::<Vec<_>>());
    assert!(steps.iter().all(|progress| progress.steps == total), "{steps:?}");

    let parked = &report.echoes[0];
    assert_eq!(parked.waiting, "parked");
    assert!(parked.light_load.latency.samples > 50, "{report:?}");
    assert_eq!(parked.closed_loops.len(), 2);
    assert!(parked.closed_loops.iter().all(|closed| closed.requests_per_second > 10.0), "{report:?}");
    assert!(report.disk.ring_write_4k.samples > 0);
    assert!(report.disk.blocking_write_4k.samples > 0);
    assert!(report.disk.streams.iter().all(|stream| stream.megabytes_per_second > 0.0), "{report:?}");
    assert!(report.machine.loopback_round_trip_512.samples > 0);
    assert!(report.machine.crc32c_gigabytes_per_second > 0.0);

    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<LimitReport>(&json).unwrap(), report);
    assert!(json.contains("\"ring_write_4k\":{\"samples\":"), "{json}");

    let text = report.render_text();
    for wanted in
        ["O_DIRECT", "RWF_DSYNC", &report.host.kernel, "stolen", "server parked", "crc32c", "4 connections"]
    {
        assert!(text.contains(wanted), "{wanted:?} is missing in\n{text}");
    }
    // So short a run has no 99.9th percentile to show.
    assert_eq!(parked.light_load.latency.p999_us, None);
}
