//! What a figure has to be read with: kernel, processor, disk, filesystem, and processor time that others took.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The machine that a run was made on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Release of the running kernel.
    pub kernel: String,
    /// Model of the first processor.
    pub cpu_model: String,
    /// Processors that this process may use.
    pub cpus: usize,
    /// Where the directory in question is stored.
    pub mount: Mount,
}

impl Host {
    /// Describes this machine; what cannot be found out is "unknown".
    pub fn describe(directory: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            kernel: or_unknown(read("/proc/sys/kernel/osrelease").trim()),
            cpu_model: or_unknown(cpu_model(&read("/proc/cpuinfo"))),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            mount: Mount::of(directory).unwrap_or_default(),
        }
    }
}

/// The filesystem of a directory and the disk below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Type, such as `ext4`.
    pub filesystem: String,
    /// Mount options, the filesystem's own included.
    pub options: String,
    /// The mounted device.
    pub device: String,
    /// What the kernel knows of the disk's cache: `write back` has to be flushed for every synced write.
    pub write_cache: String,
}

impl Mount {
    /// The mount that `directory` lies on.
    ///
    /// # Errors
    /// When the directory or `/proc/self/mountinfo` cannot be read.
    pub fn of(directory: &Path) -> io::Result<Self> {
        let device = fs::metadata(directory)?.dev();
        let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
        let mut mount = mountinfo.lines().find_map(|line| parse_mount(line, &number)).unwrap_or_default();
        mount.write_cache = or_unknown(write_cache(&number).trim());
        Ok(mount)
    }
}

/// Processor time of the whole machine up to now, in the kernel's ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessorTime {
    all: u64,
    stolen: u64,
}

impl ProcessorTime {
    /// Reads `/proc/stat`; zero where there is none.
    pub fn now() -> Self {
        Self::parse(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    /// How much of a core the hypervisor gave to others since `earlier`, on a machine with `cpus`.
    pub fn stolen_cores_since(self, earlier: Self, cpus: usize) -> f64 {
        let all = self.all.saturating_sub(earlier.all);
        if all == 0 {
            return 0.0;
        }
        self.stolen.saturating_sub(earlier.stolen) as f64 / all as f64 * cpus as f64
    }

    /// The line `cpu  user nice system idle iowait irq softirq steal guest guest_nice`; guest time is part of user.
    fn parse(stat: &str) -> Self {
        let fields = stat.lines().next().unwrap_or_default().split_ascii_whitespace().skip(1).take(8);
        let ticks: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
        Self { all: ticks.iter().sum(), stolen: ticks.get(7).copied().unwrap_or(0) }
    }
}

fn cpu_model(cpuinfo: &str) -> &str {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':')).map_or("", |(_, model)| model.trim())
}

/// A line of proc(5)'s mountinfo: `36 35 98:0 /root /mount/point options optional… - type source super-options`.
fn parse_mount(line: &str, number: &str) -> Option<Mount> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(2);
    if mount.next()? != number {
        return None;
    }
    let options = mount.nth(2)?;
    let mut filesystem = filesystem.split(' ');
    let (kind, device) = (filesystem.next()?, filesystem.next()?);
    let own_options = filesystem.next().unwrap_or_default();
    Some(Mount {
        filesystem: kind.to_owned(),
        options: format!("{options},{own_options}"),
        device: device.to_owned(),
        write_cache: String::new(),
    })
}

/// A partition has no queue of its own; its disk is the folder above.
fn write_cache(number: &str) -> String {
    ["queue/write_cache", "../queue/write_cache"]
        .iter()
        .find_map(|place| fs::read_to_string(format!("/sys/dev/block/{number}/{place}")).ok())
        .unwrap_or_default()
}

fn or_unknown(text: &str) -> String {
    if text.is_empty() { "unknown".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_device_number() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let mount = parse_mount(line, "98:0");
        let wanted = Mount {
            filesystem: "ext3".to_owned(),
            options: "rw,noatime,rw,errors=continue".to_owned(),
            device: "/dev/root".to_owned(),
            write_cache: String::new(),
        };
        assert_eq!(mount, Some(wanted));
        assert_eq!(parse_mount(line, "98:1"), None);
        assert_eq!(parse_mount("36 35", "98:0"), None);
    }

    #[test]
    fn stolen_time_is_told_in_cores() {
        let earlier = ProcessorTime::parse("cpu  100 0 50 800 10 0 0 40 7 0\ncpu0 1 2 3");
        let later = ProcessorTime::parse("cpu  150 0 60 900 10 0 0 80 9 0\n");
        assert_eq!(earlier, ProcessorTime { all: 1_000, stolen: 40 });
        assert!((later.stolen_cores_since(earlier, 2) - 0.4).abs() < 1e-9);
        assert_eq!(earlier.stolen_cores_since(earlier, 2), 0.0);
    }

    #[test]
    fn the_processor_model_is_the_first_ones() {
        assert_eq!(cpu_model("processor\t: 0\nmodel name\t: AMD EPYC\nmodel name\t: other"), "AMD EPYC");
        assert_eq!(cpu_model(""), "");
    }

    #[test]
    fn this_host_can_be_described() {
        let host = Host::describe(Path::new("."));
        assert_ne!(host.kernel, "unknown");
        assert!(host.cpus >= 1);
        assert!(!host.mount.filesystem.is_empty(), "{host:?}");
    }
}
