//! Random runs that end in a crash: replay gives exactly the groups before the first hole, all that the mark had passed.

use std::ops::Range;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use ringmain_wal::commit::{FlushBound, GroupCommitConfig};
use ringmain_wal::group::Generation;

use crate::model::{Log, config, replay, replay_config, replay_with, sequences};

#[derive(Clone, Debug)]
enum Step {
    Append { partition: u32, length: usize },
    AppendRelaxed { partition: u32, length: usize, bound: FlushBound },
    Truncate { partition: u32 },
    Carry { partition: u32, length: usize },
    Recycle { groups_behind: u64 },
    Pump,
    Complete { which: usize },
    Wait { ms: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..4_u32, 61..6000_usize).prop_map(|(partition, length)| Step::Append { partition, length }),
        1 => (0..4_u32, 10_000..40_000_usize).prop_map(|(partition, length)| Step::Append { partition, length }),
        6 => (0..4_u32, 61..6000_usize, 1..20_u64, 0..30_u64).prop_map(|(partition, length, records, ms)| {
            let bound = FlushBound { records, within_ns: ms * 1_000_000 };
            Step::AppendRelaxed { partition, length, bound }
        }),
        1 => (0..4_u32).prop_map(|partition| Step::Truncate { partition }),
        1 => (0..4_u32, 61..6000_usize).prop_map(|(partition, length)| Step::Carry { partition, length }),
        1 => (0..6_u64).prop_map(|groups_behind| Step::Recycle { groups_behind }),
        4 => Just(Step::Pump),
        5 => (0..4_usize).prop_map(|which| Step::Complete { which }),
        1 => (0..30_u64).prop_map(|ms| Step::Wait { ms }),
    ];
    prop::collection::vec(step, 0..120)
}

fn run(log: &mut Log, steps: &[Step]) {
    for step in steps {
        match *step {
            Step::Append { partition, length } => drop(log.append(partition, length)),
            Step::AppendRelaxed { partition, length, bound } => log.append_relaxed(partition, length, bound),
            Step::Truncate { partition } => drop(log.truncate(partition)),
            Step::Carry { partition, length } => log.carry(partition, length),
            Step::Recycle { groups_behind } => log.recycle(groups_behind),
            Step::Pump => log.pump(),
            Step::Complete { which } => log.complete(which),
            Step::Wait { ms } => log.now_ns += ms * 1_000_000,
        }
    }
}

/// The groups from the first that has not been recycled to the last before one that is not wholly on disk.
fn groups_before_hole(log: &mut Log) -> Range<u64> {
    let first_file = log.first_file();
    let Log { disk, writes, .. } = log;
    let recycled = writes.iter().take_while(|write| write.file < first_file).count();
    let kept = writes[recycled..].iter().take_while(|write| disk.holds(write)).count();
    recycled as u64 + 1..(recycled + kept) as u64 + 1
}

fn check(log: &mut Log) -> Result<(), TestCaseError> {
    let expected = groups_before_hole(log);
    prop_assert!(expected.end > log.commit.mark().0, "the model lost what was durable");
    let (groups, report) = replay(&mut log.disk).unwrap();
    prop_assert_eq!(sequences(&groups), expected.clone().collect::<Vec<_>>());
    prop_assert_eq!(&report.rot, &[]);
    prop_assert!(report.durable_upto <= log.commit.mark());
    for group in &groups {
        log.assert_same(group, 0);
    }
    let lost = &log.writes[usize::try_from(expected.end - 1).unwrap()..];
    let whole = lost.iter().filter(|write| log.disk.holds(write)).count();
    let found = report.cut.map_or(0, |cut| cut.groups_complete) as usize;
    prop_assert_eq!(found, whole, "every whole group behind the hole is counted");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_crash_loses_only_what_was_in_flight(
        steps in steps(),
        seed in any::<u64>(),
        out_of in prop_oneof![Just(1), Just(-1), Just(2), Just(8), Just(-8)],
    ) {
        let mut log = Log::new(config(), seed);
        run(&mut log, &steps);
        log.crash(out_of);
        check(&mut log)?;
        log.disk.read_bytes_max = Some(1000);
        check(&mut log)?;
    }

    #[test]
    fn a_kill_loses_nothing_that_counts_as_stored(
        steps in steps(),
        seed in any::<u64>(),
        out_of in prop_oneof![Just(1), Just(2), Just(-8)],
    ) {
        let mut log = Log::new(config(), seed);
        run(&mut log, &steps);
        log.kill(out_of);
        prop_assert!(groups_before_hole(&mut log).end > log.stored.0);
        check(&mut log)?;
    }

    #[test]
    fn a_former_generation_in_recycled_files_is_never_taken_for_this_one(
        former in steps(),
        steps in steps(),
        seed in any::<u64>(),
        out_of in prop_oneof![Just(1), Just(-1), Just(2), Just(-8)],
    ) {
        let mut older = Log::new(GroupCommitConfig { generation: Generation(4), ..config() }, seed);
        run(&mut older, &former);
        let recycled = older.disk.files.pop_first().unwrap().1;
        let mut log = Log::on_recycled_files(config(), seed ^ 1, recycled);
        run(&mut log, &steps);
        log.crash(out_of);
        check(&mut log)?;
    }

    #[test]
    fn a_log_closed_in_order_needs_no_look_behind_its_end(steps in steps(), seed in any::<u64>()) {
        let mut log = Log::new(config(), seed);
        run(&mut log, &steps);
        log.commit.close();
        while !log.commit.is_drained() {
            log.pump();
            log.complete(1);
        }
        let written = log.writes.len() as u64;
        let expected = groups_before_hole(&mut log);
        prop_assert_eq!(expected.end, written + 1);
        let config = replay_config(&log.disk);
        let behind = config.last_file;
        let used = log.writes.last().unwrap().file;
        if used < behind {
            log.disk.broken_file = Some(behind);
        }
        let (groups, report) = replay_with(&mut log.disk, config).unwrap();
        prop_assert_eq!(sequences(&groups), expected.collect::<Vec<_>>());
        prop_assert!(report.cut.is_none() && report.rot.is_empty());
        // Only where there is no room for it is there no last group.
        let is_full = used == behind && report.end.1 == log.disk.files[&used].len() as u64;
        prop_assert_eq!(report.closed, !is_full);
        prop_assert!(is_full || report.durable_upto.0 >= written - 1);
    }
}
