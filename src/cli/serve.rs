//! `ringmain serve`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ringmain_wire::ids::NodeId;

use super::arguments::Format;
use super::failure::Failure;
use crate::serve::{ServeOptions, serve};

const NATIVE_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7092);
const NATIVE_SHARDS_DEFAULT: u16 = 7100;

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
    /// Configuration file (not in this version).
    #[arg(long, value_name = "FILE", hide = true)]
    pub(super) config: Option<PathBuf>,
    /// Where the data lives; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "./ringmain-data")]
    data_dir: PathBuf,
    /// Number of this node in its cluster.
    #[arg(long, value_name = "N", default_value_t = 1)]
    node_id: u32,
    /// Shards, one thread and one log each [default: as many as there are cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    shards: Option<u16>,
    /// Where native clients connect; port 0 takes any.
    #[arg(long, value_name = "ADDR", default_value_t = NATIVE_DEFAULT)]
    native: SocketAddr,
    /// Shard i also listens on BASE+i, or on any free port where that is taken; 0 takes any [default: 7100, any where
    /// --native is not the default].
    #[arg(long, value_name = "BASE")]
    native_shards: Option<u16>,
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
    /// How long a shard looks for work before it sleeps, in microseconds: latency against idle CPU.
    #[arg(long, value_name = "MICROS|off", default_value = "off", value_parser = parse_spin)]
    spin: Duration,
    /// Let the kernel choose the core of each shard.
    #[arg(long)]
    no_pin: bool,
}

/// Runs a broker until it is told to stop.
pub(super) fn run(arguments: &ServeArguments, format: Format) -> Result<(), Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    serve(&arguments.options(cores, format)).map_err(|error| {
        let failure = Failure::with_exit(error.exit_code(), "serve_failed", error.to_string());
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })
}

impl ServeArguments {
    fn options(&self, cores: usize, format: Format) -> ServeOptions {
        let shards = self.shards.unwrap_or_else(|| u16::try_from(cores).unwrap_or(u16::MAX).clamp(1, 1024));
        let native_shards = match self.native_shards {
            Some(base) => Some(base).filter(|&base| base != 0),
            None => (self.native.port() == NATIVE_DEFAULT.port()).then_some(NATIVE_SHARDS_DEFAULT),
        };
        ServeOptions {
            data_dir: self.data_dir.clone(),
            node: NodeId(self.node_id),
            shards,
            native: self.native,
            native_shards,
            spin: self.spin,
            pin_cores: !self.no_pin && usize::from(shards) <= cores,
            json: format == Format::Json,
            warnings: self.warnings(),
        }
    }

    fn warnings(&self) -> Vec<String> {
        let absent = [
            ("--kafka", &self.kafka),
            ("--http", &self.http),
            ("--rpc", &self.rpc),
            ("--peers", &self.peers),
        ];
        let absent = absent.into_iter().filter_map(|(flag, value)| {
            let value = value.as_ref()?;
            Some(match flag {
                "--peers" => format!("--peers {value}: this version has no clusters, the node is alone"),
                _ => format!("{flag} {value}: nothing listens there in this version"),
            })
        });
        let wide = (!self.native.ip().is_loopback()).then(|| {
            format!(
                "--native {}: whoever reaches that address may read, write and delete everything",
                self.native
            )
        });
        absent.chain(wide).collect()
    }
}

/// `off` or microseconds.
fn parse_spin(text: &str) -> Result<Duration, String> {
    /// More would be a core that never sleeps.
    const MICROSECONDS_MAX: u64 = 1_000_000;
    if text == "off" {
        return Ok(Duration::ZERO);
    }
    match text.parse() {
        Ok(microseconds @ 0..=MICROSECONDS_MAX) => Ok(Duration::from_micros(microseconds)),
        _ => Err(format!("expected off, or microseconds up to {MICROSECONDS_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        serve: ServeArguments,
    }

    fn options(arguments: &[&str]) -> Result<ServeOptions, clap::Error> {
        let line = Line::try_parse_from([&["serve"], arguments].concat())?;
        Ok(line.serve.options(4, Format::Text))
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
        assert!(!options(&["--shards", "5"]).expect("a flag of the contract").pin_cores);
        assert!(!options(&["--shards", "2", "--no-pin"]).expect("a flag of the contract").pin_cores);
        assert!(options(&["--shards", "0"]).is_err());
    }

    #[test]
    fn spin_is_off_or_microseconds() {
        assert_eq!(parse_spin("off"), Ok(Duration::ZERO));
        assert_eq!(parse_spin("250"), Ok(Duration::from_micros(250)));
        assert!(parse_spin("-1").is_err() && parse_spin("on").is_err() && parse_spin("1000001").is_err());
    }
}
