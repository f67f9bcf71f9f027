//! A configuration file: TOML, sections of settings, each a string, a number or a truth value.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::cli::failure::Failure;

/// The file that is read where none is named, if it is there.
const PATH_DEFAULT: &str = "/etc/ringmain/ringmain.toml";

/// What a file says, by name of the setting, as text.
#[derive(Debug)]
pub(in crate::cli) struct File {
    path: PathBuf,
    settings: BTreeMap<String, String>,
}

impl File {
    /// The file that was `named`, or the one in the usual place if there is one.
    ///
    /// # Errors
    /// When it cannot be read, or is no configuration.
    pub(in crate::cli) fn find(named: Option<&Path>) -> Result<Option<Self>, Failure> {
        let path = named.unwrap_or(Path::new(PATH_DEFAULT));
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text).map(Some),
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let words = format!("cannot read the configuration {}: {error}", path.display());
                Err(Failure::failed("config_unreadable", words).hint("check the path and its permissions"))
            }
        }
    }

    /// What `text` says, which stands in the file at `path`.
    ///
    /// # Errors
    /// When it is no TOML, or has something else than sections of simple settings.
    pub(in crate::cli) fn parse(path: &Path, text: &str) -> Result<Self, Failure> {
        let invalid =
            |words: String| Failure::failed("config_invalid", format!("{}: {words}", path.display()));
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
            let place = line.map_or_else(String::new, |line| format!("line {line}: "));
            invalid(format!("{place}{}", error.message()))
                .hint("a configuration is TOML: [section], then name = value")
        })?;
        let mut settings = BTreeMap::new();
        for (section, value) in table {
            let Value::Table(entries) = value else {
                return Err(invalid(format!("{section} stands outside of any section"))
                    .hint("settings stand below a line such as [storage]"));
            };
            for (name, value) in entries {
                let name = format!("{section}.{name}");
                let text = match value {
                    Value::String(text) => text,
                    Value::Integer(number) => number.to_string(),
                    Value::Boolean(truth) => truth.to_string(),
                    Value::Float(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
                        return Err(invalid(format!(
                            "{name} is neither text nor a whole number nor true or false"
                        )));
                    }
                };
                settings.insert(name, text);
            }
        }
        Ok(Self { path: path.to_owned(), settings })
    }

    /// Where it lies.
    pub(in crate::cli) fn path(&self) -> &Path {
        &self.path
    }

    /// What it says, by name.
    pub(in crate::cli) fn settings(&self) -> &BTreeMap<String, String> {
        &self.settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<BTreeMap<String, String>, Failure> {
        File::parse(Path::new("r.toml"), text).map(|file| file.settings)
    }

    #[test]
    fn settings_are_text_numbers_and_truth_values_in_sections() {
        let settings =
            parse("# mine\n[node]\nid = 3\npin = false\n[storage]\nlog_size = \"2GiB\"\n").unwrap();
        let pairs: Vec<_> = settings.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert_eq!(pairs, [("node.id", "3"), ("node.pin", "false"), ("storage.log_size", "2GiB")]);
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_configuration_is_told_with_its_line() {
        let said = |text: &str| format!("{:?}", parse(text).unwrap_err());
        assert!(said("[node]\nid 3\n").contains("r.toml: line 2: "), "{}", said("[node]\nid 3\n"));
        assert!(said("id = 3\n").contains("id stands outside of any section"));
        assert!(said("[node]\nid = [3]\n").contains("node.id is neither"));
    }

    #[test]
    fn a_file_that_was_named_has_to_be_there() {
        let failure = File::find(Some(Path::new("/does/not/exist.toml"))).unwrap_err();
        assert!(format!("{failure:?}").contains("/does/not/exist.toml"));
    }
}
