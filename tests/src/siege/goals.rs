//! What a run measured, each figure beside its goal, and whether that is good enough.

use core::fmt;

use serde_json::{Value, json};

use super::error::SiegeError;

/// How many times its goal a figure may be where a run is not strict: machines are shared, and a defect of the kind that
/// goals are there to find is larger.
const LENIENT_FACTOR: f64 = 5.0;

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line a figure.
    Text,
    /// One JSON object.
    Json,
}

/// How figures are printed, and how strictly they are held against their goals.
#[derive(Clone, Copy, Debug)]
pub struct Judgement {
    /// How they are printed.
    pub format: Format,
    /// Whether goals are held to the letter: only where nothing else runs on the machine.
    pub strict: bool,
}

/// What may be of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Goal {
    /// There is none: it is told.
    Told,
    /// It is below this; up to [`LENIENT_FACTOR`] times as much where a run is not strict.
    Below(f64),
    /// It is below this in a strict run, and only told in others: it compares latencies, which are noisy.
    BelowWhenQuiet(f64),
}

/// Something measured.
#[derive(Clone, Debug)]
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    goal: Goal,
}

/// Everything a run measured, in the order measured.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    run: String,
    figures: Vec<Figure>,
}

impl Figures {
    /// Those of a run that is described like this.
    pub(super) fn of(run: String) -> Self {
        Self { run, figures: Vec::new() }
    }

    /// Adds one.
    pub(super) fn add(&mut self, name: &'static str, value: f64, unit: &'static str, goal: Goal) {
        self.figures.push(Figure { name, value, unit, goal });
    }

    /// Prints all, and fails where one misses its goal.
    pub(super) fn finish(&self, Judgement { format, strict }: Judgement) -> Result<(), SiegeError> {
        match format {
            Format::Text => println!("{self}"),
            Format::Json => println!("{}", self.to_json()),
        }
        let missed: Vec<String> =
            self.figures.iter().filter(|figure| !figure.is_met(strict)).map(ToString::to_string).collect();
        if missed.is_empty() {
            return Ok(());
        }
        Err(SiegeError::broken(format!("each figure meets its goal: {}", missed.join("; "))))
    }

    fn to_json(&self) -> Value {
        let figures: Vec<Value> = self.figures.iter().map(Figure::to_json).collect();
        json!({ "run": self.run, "figures": figures })
    }
}

impl Figure {
    fn is_met(&self, strict: bool) -> bool {
        match self.goal {
            Goal::Told => true,
            Goal::Below(goal) => self.value < goal * if strict { 1.0 } else { LENIENT_FACTOR },
            Goal::BelowWhenQuiet(goal) => !strict || self.value < goal,
        }
    }

    fn goal(&self) -> Option<f64> {
        match self.goal {
            Goal::Told => None,
            Goal::Below(goal) | Goal::BelowWhenQuiet(goal) => Some(goal),
        }
    }

    fn to_json(&self) -> Value {
        json!({ "name": self.name, "value": self.value, "unit": self.unit, "below": self.goal() })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.run)?;
        self.figures.iter().try_for_each(|figure| write!(out, "\n  {figure}"))
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, unit, .. } = self;
        write!(out, "{name}: {value:.2} {unit}")?;
        match self.goal() {
            Some(goal) => write!(out, " (goal: below {goal} {unit})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(goal: Goal, strict: bool) -> bool {
        let mut figures = Figures::of("a run".to_owned());
        figures.add("start", 4.0, "s", goal);
        figures.finish(Judgement { format: Format::Text, strict }).is_ok()
    }

    #[test]
    fn a_missed_goal_fails_the_run() {
        assert!(finish(Goal::Told, true));
        assert!(finish(Goal::Below(5.0), true));
        assert!(!finish(Goal::Below(4.0), true));
        assert!(!finish(Goal::BelowWhenQuiet(3.0), true));
    }

    #[test]
    fn beside_other_work_only_a_wide_miss_fails_it() {
        assert!(finish(Goal::Below(3.0), false));
        assert!(!finish(Goal::Below(0.5), false));
        assert!(finish(Goal::BelowWhenQuiet(0.5), false));
    }

    #[test]
    fn what_was_not_measured_meets_no_goal() {
        let mut figures = Figures::of("a run".to_owned());
        figures.add("start", f64::NAN, "s", Goal::Below(3.0));
        assert!(figures.finish(Judgement { format: Format::Json, strict: false }).is_err());
    }

    #[test]
    fn goals_stand_beside_figures() {
        let mut figures = Figures::of("a run".to_owned());
        figures.add("start", 0.25, "s", Goal::Below(3.0));
        figures.add("memory", 2.0, "KiB", Goal::Told);
        assert_eq!(figures.to_string(), "a run\n  start: 0.25 s (goal: below 3 s)\n  memory: 2.00 KiB");
        let start = json!({ "name": "start", "value": 0.25, "unit": "s", "below": 3.0 });
        let memory = json!({ "name": "memory", "value": 2.0, "unit": "KiB", "below": null });
        assert_eq!(figures.to_json(), json!({ "run": "a run", "figures": [start, memory] }));
    }
}
