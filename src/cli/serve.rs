//! `ringmain serve`.

mod made_directories;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use ringmain_shard::store::UpkeepConfig;
use ringmain_wire::ids::NodeId;

use self::made_directories::MadeDirectories;
use super::arguments::Format;
use super::config::keys::{
    find, parse_address, parse_auto, parse_bool, parse_number, parse_path, parse_period, parse_shards,
    parse_spin,
};
use super::config::{self, Values};
use super::failure::Failure;
use super::session::check_descriptors;
use super::size::parse_size;
use crate::serve::{ServeError, ServeOptions, serve};

pub(super) const NATIVE_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7092);
pub(super) const NATIVE_SHARDS_DEFAULT: u16 = 7100;
/// More would only wait for each other.
const SHARDS_A_CORE_MAX: usize = 2;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmain serve
  ringmain serve --data-dir /srv/ringmain --shards 4
  ringmain serve --native 127.0.0.1:0 --format json   # any free port; the ready line names it

Every record is synced before it is acknowledged. When the broker can be used it prints one line:
  ready node=1 shards=4 native=127.0.0.1:7092 in 12 ms
SIGTERM or Ctrl-C stops it.")]
pub(super) struct ServeArguments {
    /// Configuration file [default: /etc/ringmain/ringmain.toml if it is there]; `config print` shows what it may say.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the data lives; made if it is not there [default: ./ringmain-data].
    #[arg(long, value_name = "DIR", value_parser = checked("node.data_dir"))]
    data_dir: Option<String>,
    /// Number of this node in its cluster [default: 1].
    #[arg(long, value_name = "N", value_parser = checked("node.id"))]
    node_id: Option<String>,
    /// Shards, one thread and one log each [default: as many as there are cores].
    #[arg(long, value_name = "N", value_parser = checked("node.shards"))]
    shards: Option<String>,
    /// Where native clients connect; port 0 takes any [default: 127.0.0.1:7092].
    #[arg(long, value_name = "ADDR", value_parser = checked("listen.native"))]
    native: Option<String>,
    /// Shard i also listens on BASE+i, or on any free port where that is taken; 0 takes any [default: 7100, any where
    /// --native is not the default].
    #[arg(long, value_name = "BASE", value_parser = checked("listen.native_shards"))]
    native_shards: Option<String>,
    /// Where Kafka clients connect (nothing listens there in this version).
    #[arg(long, value_name = "ADDR")]
    kafka: Option<String>,
    /// Where HTTP clients connect (nothing listens there in this version).
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Where other nodes connect (nothing listens there in this version).
    #[arg(long, value_name = "ADDR")]
    rpc: Option<String>,
    /// The other nodes (not used in this version).
    #[arg(long, value_name = "ID@ADDR,…")]
    peers: Option<String>,
    /// How long a shard looks for work before it sleeps, in microseconds: latency against idle CPU [default: off].
    #[arg(long, value_name = "MICROS|off", value_parser = checked("node.spin"))]
    spin: Option<String>,
    /// Memory of each shard for records: those that lie in the log only, and the newest that readers are likely to want
    /// [default: a quarter of what is free, shared by all, at most 2GiB].
    #[arg(long, value_name = "SIZE", value_parser = checked("storage.memory"))]
    memory: Option<String>,
    /// Bytes of each shard's log; at the limit producers are held back until records are in segments [default: 1GiB].
    #[arg(long, value_name = "SIZE", value_parser = checked("storage.log_size"))]
    log_size: Option<String>,
    /// How fast each shard reads its segments over and over to find rot, in bytes a second [default: 16MiB].
    #[arg(long, value_name = "SIZE", value_parser = checked("storage.scrub_rate"))]
    scrub_rate: Option<String>,
    /// How often it reads all of them; off leaves rot to be found by readers [default: 1d].
    #[arg(long, value_name = "TIME|off", value_parser = checked("storage.scrub_every"))]
    scrub_every: Option<String>,
    /// Let the kernel choose the core of each shard.
    #[arg(long)]
    no_pin: bool,
}

/// The text of a flag, if the setting of that name may be that.
fn checked(name: &'static str) -> impl Fn(&str) -> Result<String, String> + Clone {
    let key = find(name).expect("flags are of settings");
    move |text: &str| (key.check)(text).map(|()| text.to_owned())
}

/// Smallest `--memory`: what a few of the largest batches take.
const MEMORY_MIN: u64 = 32 << 20;
/// Smallest `--log-size`: a first file and three more.
const LOG_SIZE_MIN: u64 = 64 << 20;
/// Smallest `--scrub-rate`: a GiB in less than five hours.
const SCRUB_RATE_MIN: u64 = 64 << 10;

/// Runs a broker until it is told to stop.
pub(super) fn run(arguments: &ServeArguments, format: Format) -> Result<(), Failure> {
    let values = config::resolve(&arguments.flags(), arguments.config.as_deref())?;
    let options = options(&values, cores(), format)?;
    check_descriptors()?;
    let made = MadeDirectories::expect(&options.data_dir);
    serve(&options).map_err(|error| {
        made.remove_unused();
        failure_of(&error)
    })
}

/// Whether a broker can be started with these settings on this host.
///
/// # Errors
/// What is wrong with them.
pub(super) fn check(values: &Values) -> Result<(), Failure> {
    options(values, cores(), Format::Text).map(drop)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How a command ends whose broker did not start, or did not go on.
pub(super) fn failure_of(error: &ServeError) -> Failure {
    let (exit, code, words) = (error.exit_code(), "serve_failed", error.to_string());
    match error.hint() {
        Some(hint) => Failure::with_exit(exit, code, words).hint(hint),
        None => Failure::passed_on(exit, code, &words),
    }
}

impl ServeArguments {
    /// What was given, by name of the setting.
    fn flags(&self) -> BTreeMap<&'static str, String> {
        let given = [
            ("node.id", &self.node_id),
            ("node.data_dir", &self.data_dir),
            ("node.shards", &self.shards),
            ("node.spin", &self.spin),
            ("node.peers", &self.peers),
            ("listen.native", &self.native),
            ("listen.native_shards", &self.native_shards),
            ("listen.kafka", &self.kafka),
            ("listen.http", &self.http),
            ("listen.rpc", &self.rpc),
            ("storage.memory", &self.memory),
            ("storage.log_size", &self.log_size),
            ("storage.scrub_rate", &self.scrub_rate),
            ("storage.scrub_every", &self.scrub_every),
        ];
        let given = given.into_iter().filter_map(|(name, text)| Some((name, text.clone()?)));
        given.chain(self.no_pin.then(|| ("node.pin", false.to_string()))).collect()
    }
}

/// What a broker with these settings is started with on a host of so many cores.
fn options(values: &Values, cores: usize, format: Format) -> Result<ServeOptions, Failure> {
    let asked = values.get("node.shards", |text| parse_auto(text, parse_shards))?;
    let shards = asked.unwrap_or_else(|| u16::try_from(cores).unwrap_or(u16::MAX).clamp(1, 1024));
    if usize::from(shards) > SHARDS_A_CORE_MAX * cores {
        let spoken = values.spoken("node.shards");
        return Err(Failure::usage(format!("{spoken} {shards}: this host has {}", counted(cores)))
            .hint(format!("use at most {}, or leave --shards out", SHARDS_A_CORE_MAX * cores)));
    }
    let native = values.get("listen.native", parse_address)?;
    let native_shards = match values.get("listen.native_shards", |text| parse_auto(text, parse_number))? {
        Some(base) => Some(base).filter(|&base| base != 0),
        None => (native.port() == NATIVE_DEFAULT.port()).then_some(NATIVE_SHARDS_DEFAULT),
    };
    if let Some(base) = native_shards {
        check_ports(&values.spoken("listen.native_shards"), base, shards, native.port())?;
    }
    let memory = values.get("storage.memory", |text| parse_auto(text, parse_size))?;
    let log_size = values.get("storage.log_size", parse_size)?;
    let scrub_rate = values.get("storage.scrub_rate", parse_size)?;
    check_sizes(values, memory, log_size, scrub_rate)?;
    Ok(ServeOptions {
        data_dir: values.get("node.data_dir", parse_path)?,
        node: NodeId(values.get("node.id", parse_number)?),
        shards,
        native,
        native_shards,
        spin: values.get("node.spin", parse_spin)?,
        pin_cores: values.get("node.pin", parse_bool)? && usize::from(shards) <= cores,
        memory_bytes: memory.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        log_bytes_max: log_size,
        upkeep: UpkeepConfig {
            scrub_bytes_per_second: scrub_rate,
            scrub_every: values.get("storage.scrub_every", parse_period)?.0,
            ..UpkeepConfig::default()
        },
        json: format == Format::Json,
        warnings: warnings(values, native, shards, cores),
    })
}

fn check_sizes(values: &Values, memory: Option<u64>, log_size: u64, scrub_rate: u64) -> Result<(), Failure> {
    if let Some(bytes) = memory.filter(|&bytes| bytes < MEMORY_MIN) {
        let spoken = values.spoken("storage.memory");
        return Err(Failure::usage(format!("{spoken} {bytes}: a shard needs at least {MEMORY_MIN} bytes"))
            .hint("use --memory 32MiB or more"));
    }
    if log_size < LOG_SIZE_MIN {
        let spoken = values.spoken("storage.log_size");
        return Err(Failure::usage(format!(
            "{spoken} {log_size}: a log needs at least {LOG_SIZE_MIN} bytes"
        ))
        .hint("use --log-size 64MiB or more"));
    }
    if scrub_rate < SCRUB_RATE_MIN {
        let spoken = values.spoken("storage.scrub_rate");
        return Err(Failure::usage(format!(
            "{spoken} {scrub_rate}: segments are read at {SCRUB_RATE_MIN} bytes a second or more"
        ))
        .hint("use --scrub-rate 64KiB or more, or --scrub-every off"));
    }
    Ok(())
}

fn warnings(values: &Values, native: SocketAddr, shards: u16, cores: usize) -> Vec<String> {
    let absent = ["listen.kafka", "listen.http", "listen.rpc", "node.peers"].into_iter().filter_map(|name| {
        let (spoken, value) = (values.spoken(name), values.text(name)?);
        Some(match name {
            "node.peers" => format!("{spoken} {value}: this version has no clusters, the node is alone"),
            _ => format!("{spoken} {value}: nothing listens there in this version"),
        })
    });
    let wide = (!native.ip().is_loopback()).then(|| {
        let spoken = values.spoken("listen.native");
        format!("{spoken} {native}: whoever reaches that address may read, write and delete everything")
    });
    let crowded = (usize::from(shards) > cores).then(|| {
        let spoken = values.spoken("node.shards");
        format!("{spoken} {shards}: this host has {}, the shards take turns on them", counted(cores))
    });
    absent.chain(wide).chain(crowded).collect()
}

fn counted(cores: usize) -> String {
    if cores == 1 { "1 core".to_owned() } else { format!("{cores} cores") }
}

/// Every shard has a port of its own, and none of them is the one that all share.
fn check_ports(spoken: &str, base: u16, shards: u16, native: u16) -> Result<(), Failure> {
    let last = u32::from(base) + u32::from(shards) - 1;
    if last > u32::from(u16::MAX) {
        return Err(Failure::usage(format!("{spoken} {base}: {shards} ports from there on end at {last}"))
            .hint("ports end at 65535; use a lower BASE, or 0 for any free ports"));
    }
    if u32::from(native) <= last && native >= base {
        return Err(Failure::usage(format!(
            "{spoken} {base}: its ports {base} to {last} contain port {native} of --native"
        ))
        .hint("use another BASE, or 0 for any free ports"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        serve: ServeArguments,
    }

    fn options(arguments: &[&str]) -> Result<ServeOptions, Failure> {
        let line = Line::try_parse_from([&["serve"], arguments].concat());
        let line = line.map_err(|error| Failure::usage(error.to_string()))?;
        let values = Values::resolve(&line.serve.flags(), std::iter::empty(), None)?;
        super::options(&values, 4, Format::Text)
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let options = options(&[]).expect("no flag is needed");
        assert_eq!(options.data_dir, PathBuf::from("./ringmain-data"));
        assert_eq!((options.node, options.shards), (NodeId(1), 4));
        assert_eq!((options.native, options.native_shards), (NATIVE_DEFAULT, Some(7100)));
        assert_eq!((options.spin, options.pin_cores, options.json), (Duration::ZERO, true, false));
        assert_eq!(options.warnings, Vec::<String>::new());
    }

    #[test]
    fn the_ports_of_shards_follow_the_native_port() {
        let base =
            |arguments: &[&str]| options(arguments).map(|options| options.native_shards).ok().flatten();
        assert_eq!(base(&["--native", "127.0.0.1:0"]), None);
        assert_eq!(base(&["--native", "127.0.0.1:9999"]), None);
        assert_eq!(base(&["--native", "127.0.0.1:9999", "--native-shards", "9100"]), Some(9100));
        assert_eq!(base(&["--native-shards", "0"]), None);
    }

    #[test]
    fn what_nothing_listens_for_is_warned_of_once_each() {
        let options =
            options(&["--kafka", "127.0.0.1:9092", "--http", "127.0.0.1:0", "--native", "0.0.0.0:7092"]);
        let warnings = options.expect("flags of the contract").warnings;
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(
            warnings[0].contains("--kafka")
                && warnings[1].contains("--http")
                && warnings[2].contains("0.0.0.0")
        );
    }

    #[test]
    fn more_shards_than_cores_are_not_pinned() {
        let crowded = options(&["--shards", "5"]).expect("a flag of the contract");
        assert!(!crowded.pin_cores);
        assert_eq!(crowded.warnings, ["--shards 5: this host has 4 cores, the shards take turns on them"]);
        assert!(!options(&["--shards", "2", "--no-pin"]).expect("a flag of the contract").pin_cores);
        assert!(options(&["--shards", "0"]).is_err());
    }

    #[test]
    fn far_more_shards_than_cores_are_refused() {
        assert!(options(&["--shards", "8"]).is_ok());
        let refused = Failure::usage("--shards 9: this host has 4 cores");
        let refused = refused.hint("use at most 8, or leave --shards out");
        assert_eq!(options(&["--shards", "9"]).map(drop), Err(refused));
    }

    #[test]
    fn the_ports_of_shards_end_in_time_and_leave_out_the_shared_one() {
        let check = |base: &str, native: &str| {
            options(&["--native-shards", base, "--native", native]).map(|options| options.native_shards)
        };
        assert_eq!(check("7088", "127.0.0.1:7092"), Ok(Some(7088)));
        assert_eq!(check("7093", "127.0.0.1:7092"), Ok(Some(7093)));
        for base in ["7089", "7092"] {
            assert!(check(base, "127.0.0.1:7092").is_err(), "{base}");
        }
        assert_eq!(check("65532", "127.0.0.1:0"), Ok(Some(65532)));
        let refused = Failure::usage("--native-shards 65533: 4 ports from there on end at 65536");
        let hint = "ports end at 65535; use a lower BASE, or 0 for any free ports";
        assert_eq!(check("65533", "127.0.0.1:0"), Err(refused.hint(hint)));
    }

    #[test]
    fn the_scrub_has_a_rate_and_a_period_or_is_off() {
        let scrub = |arguments: &[&str]| {
            options(arguments)
                .map(|options| (options.upkeep.scrub_bytes_per_second, options.upkeep.scrub_every))
        };
        let day = Duration::from_secs(86_400);
        assert_eq!(scrub(&[]), Ok((16 << 20, Some(day))));
        assert_eq!(scrub(&["--scrub-rate", "1MiB", "--scrub-every", "1w"]), Ok((1 << 20, Some(7 * day))));
        assert_eq!(scrub(&["--scrub-every", "off"]), Ok((16 << 20, None)));
        assert!(scrub(&["--scrub-every", "59s"]).is_err() && scrub(&["--scrub-every", "often"]).is_err());
        let refused = Failure::usage("--scrub-rate 1: segments are read at 65536 bytes a second or more");
        let hint = "use --scrub-rate 64KiB or more, or --scrub-every off";
        assert_eq!(scrub(&["--scrub-rate", "1"]), Err(refused.hint(hint)));
    }
}
