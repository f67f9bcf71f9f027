//! `KEY=VALUE` on the command line.

use ringmain_wire::native::messages::ConfigEntry;

/// A topic setting to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    key: String,
    value: String,
}

impl Setting {
    /// Reads `KEY=VALUE`; the value may hold further equals signs.
    ///
    /// # Errors
    /// What was expected.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                Ok(Self { key: key.to_owned(), value: value.to_owned() })
            }
            _ => Err("expected KEY=VALUE, such as max.message.bytes=2000000".to_owned()),
        }
    }

    /// What it is called.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// As it is sent.
    pub(super) fn into_entry(self) -> ConfigEntry {
        ConfigEntry { key: self.key, value: self.value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_equals_sign_divides() {
        let setting = |key: &str, value: &str| Setting { key: key.to_owned(), value: value.to_owned() };
        assert_eq!(Setting::parse("a=b=c"), Ok(setting("a", "b=c")));
        assert_eq!(Setting::parse("a="), Ok(setting("a", "")));
        assert!(Setting::parse("=b").is_err() && Setting::parse("a").is_err());
    }
}
