//! All there is in one run, and the loop that lets it happen.

use std::collections::BTreeMap;

use ringmain_wire::ids::TimestampMs;

use super::checker::{Checker, Violation};
use super::client::SimClient;
use super::coverage::Coverage;
use super::disk::Disk;
use super::files::FileWork;
use super::network::Link;
use super::node::Node;
use super::plan::Plan;
use super::queue::{Happening, Queue};
use super::random::Streams;
use super::rot::Rot;
use super::trace::Trace;
use super::{MILLISECOND, SECOND};

/// How many clients there are.
pub(super) const CLIENTS: usize = 3;
/// Wall clock at the start, in milliseconds.
const WALL_BEGINS: i64 = 1_700_000_000_000;
/// Things that may happen before a run counts as stuck.
const EVENTS_MAX: u64 = 3_000_000;

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Work and faults.
    Active,
    /// Faults are off: everything has to come to rest by this time.
    Healing { until: u64 },
    /// All is at rest; the node stops in order by this time and is started once more.
    Stopping { until: u64 },
    /// It is over.
    Done,
}

/// One run.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: u64,
    pub(super) phase: Phase,
    pub(super) random: Streams,
    pub(super) plan: Plan,
    pub(super) disk: Disk,
    pub(super) disk_work: BTreeMap<u64, FileWork>,
    pub(super) disk_work_started: u64,
    pub(super) node: Node,
    pub(super) links: BTreeMap<u64, Link>,
    pub(super) links_made: u64,
    pub(super) clients: Vec<SimClient>,
    pub(super) checker: Checker,
    pub(super) rot: Rot,
    pub(super) met: Coverage,
    /// Added to the wall clock, in milliseconds.
    pub(super) wall_offset: i64,
    queue: Queue,
    trace: Trace,
}

pub(super) type Step = Result<(), Violation>;

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Streams::new(seed);
        let plan = Plan::draw(&mut random.process);
        let mut disk = Disk::default();
        disk.read_errors = plan.read_errors;
        let clients = (0..CLIENTS).map(|index| SimClient::new(index, random.workload.number())).collect();
        Self {
            now: 0,
            phase: Phase::Active,
            random,
            plan,
            disk,
            disk_work: BTreeMap::new(),
            disk_work_started: 0,
            node: Node::default(),
            links: BTreeMap::new(),
            links_made: 0,
            clients,
            checker: Checker::new(),
            rot: Rot::default(),
            met: Coverage::default(),
            wall_offset: 0,
            queue: Queue::default(),
            trace: Trace::default(),
        }
    }

    pub(super) fn trace(&self) -> &Trace {
        &self.trace
    }

    pub(super) fn coverage(&self) -> &Coverage {
        &self.met
    }

    /// Lets everything happen.
    pub(super) fn run(&mut self) -> Step {
        self.begin();
        while self.phase != Phase::Done {
            let Some((at, happening)) = self.queue.pop() else {
                return Err(Violation { invariant: "liveness", what: "nothing happens any more".to_owned() });
            };
            self.now = self.now.max(at);
            self.happen(happening)?;
            if self.trace.events() > EVENTS_MAX {
                return Err(Violation { invariant: "liveness", what: "it never comes to rest".to_owned() });
            }
        }
        Ok(())
    }

    /// Lets something happen in a while.
    pub(super) fn after(&mut self, delay: u64, happening: Happening) {
        let tie = self.random.schedule.number();
        self.queue.push(self.now + delay, tie, happening);
    }

    /// Takes note of something that happened.
    pub(super) fn note(&mut self, what: &'static str, numbers: [u64; 3]) {
        self.trace.note(self.now, what, numbers);
    }

    /// What the wall clock shows.
    pub(super) fn wall(&self) -> TimestampMs {
        TimestampMs(WALL_BEGINS + (self.now / MILLISECOND) as i64 + self.wall_offset)
    }

    fn begin(&mut self) {
        self.after(0, Happening::Boot);
        for client in 0..CLIENTS {
            self.after(0, Happening::Wake { client });
            self.after(0, Happening::Wish { client });
        }
        for (index, (at, _)) in self.plan.endings.clone().into_iter().enumerate() {
            self.after(at, Happening::End { index });
        }
        if let Some((from, until)) = self.plan.disk_full {
            self.after(from, Happening::Full { full: true });
            self.after(until, Happening::Full { full: false });
        }
        if self.plan.pauses {
            self.after(30 * MILLISECOND, Happening::Pause);
        }
        if self.plan.segment_rot {
            self.after(40 * MILLISECOND, Happening::Rot);
        }
        if self.plan.clock_jumps {
            self.after(50 * MILLISECOND, Happening::ClockJump);
        }
        if self.plan.truncations || self.plan.log_starts {
            self.after(20 * MILLISECOND, Happening::Operate);
        }
        self.after(self.plan.active, Happening::Heal);
    }

    fn happen(&mut self, happening: Happening) -> Step {
        match happening {
            Happening::Turn { start, shard, ticket } => self.turn(start, shard, ticket),
            Happening::DiskDone { operation } => self.disk_done(operation),
            Happening::Arrive { link } => {
                self.arrive(link);
                Ok(())
            }
            Happening::Deliver { link, direction } => {
                self.deliver(link, direction);
                Ok(())
            }
            Happening::ClientHears { link } => {
                self.client_hears(link);
                Ok(())
            }
            Happening::Linger { link } => {
                self.linger_over(link);
                Ok(())
            }
            Happening::Wake { client } => self.wake(client),
            Happening::Wish { client } => self.wish(client),
            Happening::End { index } => self.end_wanted(index),
            Happening::Boot => self.boot(),
            Happening::Full { full } => {
                self.note(if full { "disk full" } else { "disk has room" }, [0; 3]);
                self.disk.full = full && self.phase == Phase::Active;
                Ok(())
            }
            Happening::Pause => {
                self.pause();
                Ok(())
            }
            Happening::ClockJump => {
                self.clock_jump();
                Ok(())
            }
            Happening::Rot => {
                self.rot();
                Ok(())
            }
            Happening::Operate => self.operate(),
            Happening::Heal => self.heal(),
            Happening::CheckHealed => self.check_healed(),
        }
    }

    fn clock_jump(&mut self) {
        if self.phase != Phase::Active {
            return;
        }
        let jump = self.random.process.below(7_200_000) as i64 - 3_600_000;
        self.wall_offset += jump;
        self.met.clock_jumps += 1;
        self.note("clock jumps", [jump.unsigned_abs(), 0, 0]);
        let gap = self.random.process.between(20, 200) * MILLISECOND;
        self.after(gap, Happening::ClockJump);
    }

    /// Faults end; from here on everything must come to rest.
    fn heal(&mut self) -> Step {
        self.note("faults end", [0; 3]);
        self.phase = Phase::Healing { until: self.now + 60 * SECOND };
        self.disk.full = false;
        self.disk.read_errors = 0;
        self.node.heal();
        for client in 0..self.clients.len() {
            self.clients[client].heal(self.now);
            self.after(0, Happening::Wake { client });
        }
        if self.node.is_down() {
            self.after(0, Happening::Boot);
        }
        self.after(MILLISECOND, Happening::CheckHealed);
        Ok(())
    }

    fn check_healed(&mut self) -> Step {
        if self.node.is_given_up() {
            self.phase = Phase::Done;
            return Ok(());
        }
        let until = match self.phase {
            Phase::Healing { until } => until,
            Phase::Stopping { until } if until < self.now => {
                let what = "the node did not stop in 10 s".to_owned();
                return Err(Violation { invariant: "liveness", what });
            }
            _ => return Ok(()),
        };
        if self.plan.is_tight() {
            self.make_room();
        }
        if self.clients_are_done() {
            self.check_all_partitions()?;
            self.note("all at rest", [0; 3]);
            self.phase = Phase::Stopping { until: self.now + 10 * SECOND };
            self.ask_to_stop();
            self.after(10 * SECOND + 1, Happening::CheckHealed);
            return Ok(());
        }
        if self.now > until {
            let what = self.what_is_left();
            return Err(Violation { invariant: "liveness", what });
        }
        self.after(5 * MILLISECOND, Happening::CheckHealed);
        Ok(())
    }
}
