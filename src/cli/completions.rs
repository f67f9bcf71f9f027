//! `ringmain completions`: what a shell needs to complete commands and flags.

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::{Shell, generate};

use super::arguments::Arguments;
use super::failure::Failure;
use super::output::write_text;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmain completions bash > ~/.local/share/bash-completion/completions/ringmain
  ringmain completions zsh > ~/.zfunc/_ringmain
  ringmain completions fish > ~/.config/fish/completions/ringmain.fish")]
pub(super) struct CompletionsArguments {
    /// For which shell.
    #[arg(value_enum)]
    shell: ShellName,
}

/// The shells that are supported.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ShellName {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script.
pub(super) fn run(arguments: &CompletionsArguments) -> Result<(), Failure> {
    write_text(&script(arguments.shell))
}

fn script(shell: ShellName) -> String {
    let shell = match shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Zsh => Shell::Zsh,
        ShellName::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut Arguments::command(), "ringmain", &mut script);
    String::from_utf8(script).expect("names, flags and their help are text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_is_told_of_commands_and_flags() {
        for shell in [ShellName::Bash, ShellName::Zsh, ShellName::Fish] {
            let script = script(shell);
            for name in ["consume", "data-dir", "add-partitions"] {
                assert!(script.contains(name), "{shell:?} lacks {name}");
            }
        }
    }
}
