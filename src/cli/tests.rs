//! What is understood, what is not, and what belongs to a later version.

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;

fn parse(line: &str) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(std::iter::once("ringmain").chain(line.split_whitespace()))
}

fn refusal(line: &str) -> clap::Error {
    parse(line).expect_err(line)
}

#[test]
fn the_definition_holds_together() {
    Arguments::command().debug_assert();
}

#[test]
fn the_commands_of_the_contract_are_understood() {
    let lines = [
        "serve --data-dir d --node-id 2 --shards 3 --kafka a:1 --native 127.0.0.1:0 --http a:2 --rpc a:3 --peers 1@a",
        "serve --log info,ringmain=debug",
        "serve --spin off --log debug --log-format json --format json --native-shards 7200",
        "demo",
        "demo --for 3 --rate 5000 --data-dir d --format json",
        "topic create orders --partitions 4 --replication-factor 1 --config a=b --config c=d",
        "topic list --format json",
        "topic describe orders --broker a:1,b:2 --timeout 5",
        "topic alter orders --set a=b --unset c",
        "topic add-partitions orders --partitions 8",
        "topic delete orders",
        "topic produce orders -K : -p 3 -H a=b -H c=d -Z -D \\x00 --acks all -z zstd --report",
        "topic produce orders -k key --acks 1 file another",
        "topic produce orders -K - -D --",
        "topic consume orders -p 1,2 -p 3 --from -10 --to end -n 5 -f %o",
        "topic consume orders --from @-1h -e --format json",
        "bench limit --dir d",
        "bench run --target ringmain://a:1 --connections 8 --rate 500 --record-bytes 1 --batch-records 2",
        "bench run --broker a:1 --duration 60s --warm-up 5 --acks all --partitions 4 --verify",
        "debug log d/logs/0000000007-0003-000012.log",
        "debug segment 00000000000000004711.log --format json",
        "debug verify data --format json",
        "cluster info --format json",
        "cluster health --wait 5 --broker a:1",
        "serve --config ringmain.toml",
        "config print --origin --config ringmain.toml",
        "config lint ringmain.toml",
        "completions zsh",
        "bench pair --pairs 10 --spin 500 --dir d",
    ];
    for line in lines {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let lines = [
        "serve --shards 0",
        "serve --native nowhere",
        "topic create orders",
        "topic create orders --partitions 0",
        "topic create orders --partitions 1 --config a",
        "topic alter orders",
        "topic produce orders -K : -k a",
        "topic produce orders --acks 2",
        "topic produce orders -z rar",
        "topic produce orders -D \\0x",
        "topic consume orders --from yesterday",
        "topic consume orders -e --to 5",
        "topic consume orders -f %q",
        "debug log",
        "debug segment a b",
        "debug verify",
        "topic list --timeout 0",
        "topic list --broker a:x",
        "topic list --format yaml",
        "topic list --unknown",
        "serve --log loud=very=much",
        "serve --log loud",
        "serve --log info,loud",
        "topic produce orders -H nohdr",
        "topic produce orders -H =value",
    ];
    for line in lines {
        assert_eq!(refusal(line).exit_code(), 2, "{line}");
    }
}

#[test]
fn a_typo_is_answered_with_what_was_meant() {
    for (line, meant) in
        [("topic crate orders", "create"), ("topik list", "topic"), ("serve --data-dri x", "--data-dir")]
    {
        let error = refusal(line);
        assert!(error.to_string().contains(meant), "{line}: {error}");
    }
}

#[test]
fn a_level_that_does_not_exist_is_answered_with_those_that_do() {
    let message = refusal("serve --log loud").to_string();
    assert!(message.contains("error, warn, info, debug or trace"), "{message}");
}

#[test]
fn help_and_version_are_no_failures() {
    for line in ["--help", "topic produce --help", "topic consume --help", "serve --help", "bench run --help"]
    {
        assert_eq!(refusal(line).kind(), ErrorKind::DisplayHelp, "{line}");
    }
    assert_eq!(refusal("--version").kind(), ErrorKind::DisplayVersion);
}

#[test]
fn what_a_later_version_understands_is_named() {
    let lines = [
        ("group list", "`group`"),
        ("group --help", "`group`"),
        ("cluster reassign", "`cluster reassign`"),
        ("user", "`user`"),
        ("acl x --y z", "`acl`"),
        ("quota", "`quota`"),
        ("txn", "`txn`"),
        ("mirror", "`mirror`"),
        ("dr drill", "`dr`"),
        ("plan capacity", "`plan`"),
        ("tune", "`tune`"),
        ("generate", "`generate`"),
        ("debug bundle", "`debug bundle`"),
        ("topic undelete orders", "`topic undelete`"),
        ("topic consume orders --group g", "`topic consume --group`"),
        ("bench compare a b", "`bench compare`"),
        ("bench report", "`bench report`"),
    ];
    for (line, name) in lines {
        match parse(line) {
            Ok(parsed) => assert_eq!(not_yet::find(&parsed.command).as_deref(), Some(name), "{line}"),
            Err(error) => panic!("{line}: {error}"),
        }
    }
    assert!(not_yet::find(&parse("topic list").expect("a command").command).is_none());
}

#[test]
fn json_is_wanted_before_anything_could_be_parsed() {
    let wants = |line: &str| {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        wants_json(&arguments)
    };
    assert!(wants("ringmain topic lst --format json"));
    assert!(wants("ringmain --format=json topic"));
    assert!(!wants("ringmain topic produce --format text json"));
    assert!(!wants("ringmain topic produce t -- --format json"));
}
