//! `ringmain config …`: what a broker started here would be started with, and whether that makes sense.

mod file;
pub(super) mod keys;
mod layers;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;

use self::file::File;
use self::keys::Key;
pub(super) use self::layers::{Origin, Values};
use super::arguments::Format;
use super::failure::Failure;
use super::output::{Table, write_document, write_text};
use super::serve;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigVerb {
    /// Print every setting as `serve` would take it, as a configuration file.
    Print(PrintArguments),
    /// Say what is wrong with a configuration file and the environment.
    Lint(LintArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmain config print > ringmain.toml      # a file with everything in it
  ringmain config print --origin             # who said what
  RINGMAIN_STORAGE__LOG_SIZE=2GiB ringmain config print --origin

A flag of serve goes before a variable RINGMAIN_SECTION__NAME, that before the file, and that before the default.")]
pub(super) struct PrintArguments {
    /// Where each value comes from, with unit and default.
    #[arg(long)]
    origin: bool,
    /// The file to read [default: /etc/ringmain/ringmain.toml if it is there].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: ringmain config lint ringmain.toml")]
pub(super) struct LintArguments {
    /// The file [default: /etc/ringmain/ringmain.toml if it is there].
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Runs one of them.
pub(super) fn run(verb: &ConfigVerb, format: Format) -> Result<(), Failure> {
    match verb {
        ConfigVerb::Print(arguments) => print(arguments, format),
        ConfigVerb::Lint(arguments) => lint(arguments, format),
    }
}

/// What a broker is started with: `flags` by name of the setting, before all else.
///
/// # Errors
/// What is wrong, and who said it.
pub(super) fn resolve(
    flags: &BTreeMap<&'static str, String>,
    config: Option<&Path>,
) -> Result<Values, Failure> {
    Values::resolve(flags, variables(), File::find(config)?.as_ref())
}

/// The environment; what is not text is nobody's setting.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
}

fn print(arguments: &PrintArguments, format: Format) -> Result<(), Failure> {
    let values = resolve(&BTreeMap::new(), arguments.config.as_deref())?;
    match format {
        Format::Json => {
            let settings: Vec<_> = values.iter().map(SettingDocument::new).collect();
            write_document(&settings)
        }
        Format::Text if arguments.origin => write_text(&origins(&values)),
        Format::Text => write_text(&toml_text(&values)),
    }
}

fn lint(arguments: &LintArguments, format: Format) -> Result<(), Failure> {
    let file = File::find(arguments.file.as_deref())?;
    let (values, mut problems) = Values::gather(&BTreeMap::new(), variables(), file.as_ref());
    if problems.is_empty() {
        // What is wrong only together.
        problems.extend(serve::check(&values).err());
    }
    let count = problems.len();
    match problems.pop() {
        None => {
            let set = values.iter().filter(|(_, _, origin)| **origin != Origin::Default).count();
            let of =
                file.as_ref().map_or_else(|| "no file".to_owned(), |file| file.path().display().to_string());
            match format {
                Format::Json => write_document(&LintDocument { fine: true, settings: set }),
                Format::Text => {
                    write_text(&format!("fine: {of}, {set} settings differ from their defaults\n"))
                }
            }
        }
        Some(last) => {
            for problem in &problems {
                problem.report(format);
            }
            Err(if count > 1 { last.followed_by(&format!(" ({count} problems in all)")) } else { last })
        }
    }
}

#[derive(Serialize)]
struct LintDocument {
    fine: bool,
    settings: usize,
}

/// Fields may only be added: programs read them.
#[derive(Serialize)]
struct SettingDocument<'a> {
    key: &'static str,
    value: &'a str,
    unit: &'static str,
    default: &'static str,
    origin: String,
}

impl<'a> SettingDocument<'a> {
    fn new((key, value, origin): (&'static Key, &'a str, &Origin)) -> Self {
        let Key { name, unit, default, .. } = key;
        Self { key: name, value, unit, default, origin: words(key, origin) }
    }
}

fn words(key: &Key, origin: &Origin) -> String {
    match origin {
        Origin::Flag => key.flag.to_owned(),
        Origin::Environment => key.variable(),
        Origin::File(path) => path.display().to_string(),
        Origin::Default => "default".to_owned(),
    }
}

fn origins(values: &Values) -> String {
    let mut table = Table::new(&["KEY", "VALUE", "UNIT", "DEFAULT", "ORIGIN"]);
    for (key, value, origin) in values.iter() {
        let shown = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        table.row(vec![
            key.name.to_owned(),
            shown(value),
            key.unit.to_owned(),
            shown(key.default),
            words(key, origin),
        ]);
    }
    table.render()
}

/// A configuration file that says all of it; what is nothing is left out.
fn toml_text(values: &Values) -> String {
    let mut text = String::new();
    let mut section = "";
    for (key, value, _) in values.iter() {
        let (its, name) = key.name.split_once('.').unwrap_or_default();
        if its != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}[{its}]");
            section = its;
        }
        let bare = value.parse::<u64>().is_ok() || value.parse::<bool>().is_ok();
        let value = if bare { value.to_owned() } else { toml::Value::from(value).to_string() };
        let comment = if value == "\"\"" { "# " } else { "" };
        let _ = writeln!(text, "# {} ({})\n{comment}{name} = {value}", key.what, key.unit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Values {
        let file = File::parse(Path::new("r.toml"), text).unwrap();
        Values::resolve(&BTreeMap::new(), std::iter::empty(), Some(&file)).unwrap()
    }

    #[test]
    fn what_is_printed_says_the_same_when_it_is_read() {
        let printed =
            toml_text(&values("[storage]\nlog_size = \"2GiB\"\nmemory = 67108864\n[node]\npin = false\n"));
        let again = values(&printed);
        assert_eq!(toml_text(&again), printed);
        assert!(
            printed.contains("\nlog_size = \"2GiB\"\n") && printed.contains("\nmemory = 67108864\n"),
            "{printed}"
        );
        assert!(printed.contains("\npin = false\n") && printed.contains("\n# peers = \"\"\n"), "{printed}");
    }

    #[test]
    fn origins_are_told_for_every_setting() {
        let table = origins(&values("[node]\nid = 4\n"));
        assert_eq!(table.lines().count(), 1 + keys::KEYS.len());
        let line = table.lines().find(|line| line.starts_with("node.id ")).unwrap();
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["node.id", "4", "number", "1", "r.toml"]);
    }
}
