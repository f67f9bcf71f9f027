//! Where the settings of a broker come from: a flag, else a variable of the environment, else the file, else the default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::file::File;
use super::keys::{KEYS, Key, find, nearest};
use crate::cli::failure::Failure;

/// Variables begin with this; those with two underscores behind it are settings.
const PREFIX: &str = "RINGMAIN_";
const SEPARATOR: &str = "__";

/// Who said what a setting is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Origin {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// A configuration file.
    File(PathBuf),
    /// Nobody.
    Default,
}

/// The value of every setting, as text that was found to be one.
#[derive(Debug)]
pub(in crate::cli) struct Values {
    values: BTreeMap<&'static str, (String, Origin)>,
}

impl Values {
    /// Puts the layers together: `flags` by name of the setting, `variables` of the environment, and what the file holds.
    ///
    /// # Errors
    /// The first setting that does not exist or cannot be what it is said to be, and who said it.
    pub(in crate::cli) fn resolve(
        flags: &BTreeMap<&'static str, String>,
        variables: impl Iterator<Item = (String, String)>,
        file: Option<&File>,
    ) -> Result<Self, Failure> {
        let (values, problems) = Self::gather(flags, variables, file);
        problems.into_iter().next().map_or(Ok(values), Err)
    }

    /// The same without stopping at what is wrong, which is left out.
    pub(in crate::cli) fn gather(
        flags: &BTreeMap<&'static str, String>,
        variables: impl Iterator<Item = (String, String)>,
        file: Option<&File>,
    ) -> (Self, Vec<Failure>) {
        let mut values: BTreeMap<_, _> =
            KEYS.iter().map(|key| (key.name, (key.default.to_owned(), Origin::Default))).collect();
        let mut problems = Vec::new();
        if let Some(file) = file {
            for (name, text) in file.settings() {
                match checked(name, text, &in_file(name, file.path()), |key| key.name.to_owned()) {
                    Ok(key) => {
                        values.insert(key.name, (text.clone(), Origin::File(file.path().to_owned())));
                    }
                    Err(problem) => problems.push(problem),
                }
            }
        }
        for (variable, text) in variables {
            let Some(name) = name_of(&variable) else { continue };
            match checked(&name, &text, &variable, Key::variable) {
                Ok(key) => {
                    values.insert(key.name, (text, Origin::Environment));
                }
                Err(problem) => problems.push(problem),
            }
        }
        for (name, text) in flags {
            values.insert(name, (text.clone(), Origin::Flag));
        }
        (Self { values }, problems)
    }

    /// Each with its value and where that comes from.
    pub(in crate::cli) fn iter(&self) -> impl Iterator<Item = (&'static Key, &str, &Origin)> {
        KEYS.iter().map(|key| {
            let (text, origin) = &self.values[key.name];
            (key, text.as_str(), origin)
        })
    }

    /// A setting, read with the function that knows how.
    ///
    /// # Errors
    /// When it is something else; only a flag's own check can have let that pass.
    pub(in crate::cli) fn get<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let (text, _) = &self.values[name];
        parse(text).map_err(|problem| Failure::usage(format!("{} {text}: {problem}", self.spoken(name))))
    }

    /// The text of a setting that may be empty, where it is not.
    pub(in crate::cli) fn text(&self, name: &str) -> Option<&str> {
        Some(self.values[name].0.as_str()).filter(|text| !text.is_empty())
    }

    /// What whoever set it calls it.
    pub(in crate::cli) fn spoken(&self, name: &str) -> String {
        let key = find(name).expect("only settings that there are have values");
        match &self.values[name].1 {
            Origin::Flag | Origin::Default => key.flag.to_owned(),
            Origin::Environment => key.variable(),
            Origin::File(path) => in_file(name, path),
        }
    }
}

/// Names a setting in a file.
fn in_file(name: &str, path: &Path) -> String {
    format!("{name} in {}", path.display())
}

/// The setting of that name, if it may be what `text` says; `called` is what it is called where it was said, and `spell` how
/// others are called there.
fn checked(
    name: &str,
    text: &str,
    called: &str,
    spell: impl Fn(&Key) -> String,
) -> Result<&'static Key, Failure> {
    let Some(key) = find(name) else {
        let failure = Failure::failed("config_invalid", format!("{called}: there is no such setting"));
        let near = nearest(name, KEYS.iter().map(|key| key.name.to_owned()));
        return Err(match near.and_then(|near| find(&near)) {
            Some(near) => failure.hint(format!("did you mean {}?", spell(near))),
            None => failure.hint("`ringmain config print --origin` lists all of them"),
        });
    };
    (key.check)(text).map_err(|problem| {
        let words = format!("{called}: {text:?} is no value: {problem}");
        Failure::failed("config_invalid", words).hint(format!("it is given in {}", key.unit))
    })?;
    Ok(key)
}

/// The setting that a variable stands for, if it is one of a setting.
fn name_of(variable: &str) -> Option<String> {
    let rest = variable.strip_prefix(PREFIX)?;
    let (section, name) = rest.split_once(SEPARATOR)?;
    Some(format!("{}.{}", section.to_lowercase(), name.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(
        flags: &[(&'static str, &str)],
        variables: &[(&str, &str)],
        file: &str,
    ) -> Result<Values, Failure> {
        let flags = flags.iter().map(|&(name, text)| (name, text.to_owned())).collect();
        let variables = variables.iter().map(|&(name, text)| (name.to_owned(), text.to_owned()));
        let file = File::parse(Path::new("r.toml"), file)?;
        Values::resolve(&flags, variables, Some(&file))
    }

    fn value(values: &Values, name: &str) -> (String, Origin) {
        values.values[name].clone()
    }

    #[test]
    fn a_flag_goes_before_a_variable_before_the_file_before_the_default() {
        let file = "[node]\nid = 3\nshards = 2\n[storage]\nlog_size = \"2GiB\"\n";
        let variables =
            [("RINGMAIN_NODE__SHARDS", "4"), ("RINGMAIN_NODE__ID", "5"), ("RINGMAIN_BROKER", "x")];
        let values = resolve(&[("node.id", "7")], &variables, file).unwrap();
        assert_eq!(value(&values, "node.id"), ("7".to_owned(), Origin::Flag));
        assert_eq!(value(&values, "node.shards"), ("4".to_owned(), Origin::Environment));
        assert_eq!(value(&values, "storage.log_size"), ("2GiB".to_owned(), Origin::File("r.toml".into())));
        assert_eq!(value(&values, "storage.scrub_every"), ("1d".to_owned(), Origin::Default));
        let spoken = ["node.id", "node.shards", "storage.log_size"].map(|name| values.spoken(name));
        assert_eq!(spoken, ["--node-id", "RINGMAIN_NODE__SHARDS", "storage.log_size in r.toml"]);
    }

    #[test]
    fn what_does_not_exist_or_cannot_be_is_told_with_who_said_it() {
        let failure = |code: &str, words: &str, hint: &str| Failure::failed(code, words).hint(hint);
        let unknown = resolve(&[], &[], "[storage]\nlogsize = 1\n").map(drop);
        let words = "storage.logsize in r.toml: there is no such setting";
        assert_eq!(unknown, Err(failure("config_invalid", words, "did you mean storage.log_size?")));
        let unknown = resolve(&[], &[("RINGMAIN_STORAGE__LOGSIZE", "1")], "").map(drop);
        let words = "RINGMAIN_STORAGE__LOGSIZE: there is no such setting";
        assert_eq!(
            unknown,
            Err(failure("config_invalid", words, "did you mean RINGMAIN_STORAGE__LOG_SIZE?"))
        );
        let wrong = resolve(&[], &[], "[node]\nshards = 0\n").map(drop);
        let words = "node.shards in r.toml: \"0\" is no value: expected a number from 1 to 1024";
        assert_eq!(wrong, Err(failure("config_invalid", words, "it is given in threads or auto")));
    }
}
