//! Finds the shell blocks of a Markdown text and the commands in them.

use core::fmt;

/// A fenced block of shell commands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Line of the opening fence, from 1.
    pub(crate) line: usize,
    /// What becomes of it.
    pub(crate) purpose: Purpose,
    /// Its commands in order, without those that are this very run.
    pub(crate) commands: Vec<ReadmeCommand>,
}

/// What the word behind the language says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// `run`: part of every whole run.
    Run,
    /// `bench`: part of `--full` only.
    Bench,
    /// `shown`: for the reader alone.
    Shown,
}

/// One command, continuation lines included.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReadmeCommand {
    /// Line it begins on, from 1.
    pub(crate) line: usize,
    /// As written, without the prompt.
    pub(crate) text: String,
}

/// What keeps a README from being run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BlockError {
    /// The block says neither `run` nor `bench` nor `shown`, or more than one, or another word.
    Unclassified(usize, String),
    /// The fence on this line is never closed.
    Unclosed(usize),
}

/// All shell blocks of `text`, or everything that is wrong with them.
pub(crate) fn parse(text: &str) -> Result<Vec<Block>, Vec<BlockError>> {
    let mut blocks = Vec::new();
    let mut errors = Vec::new();
    let mut lines = text.lines().enumerate().map(|(place, line)| (place + 1, line));
    while let Some((opened, line)) = lines.next() {
        let Some(fence) = Fence::opened_by(line) else { continue };
        let mut body = Vec::new();
        let closed = lines.by_ref().any(|(number, line)| {
            let closes = fence.closed_by(line);
            body.push((number, line.strip_prefix(fence.indent).unwrap_or(line)));
            closes
        });
        if !closed {
            errors.push(BlockError::Unclosed(opened));
            break;
        }
        body.pop();
        let (language, words) = fence.information.split_once(' ').unwrap_or((fence.information, ""));
        let read = match language {
            "sh" | "bash" | "shell" => plain_commands,
            "console" => prompted_commands,
            _ => continue,
        };
        match words.trim() {
            "run" => blocks.push(Block { line: opened, purpose: Purpose::Run, commands: read(&body) }),
            "bench" => blocks.push(Block { line: opened, purpose: Purpose::Bench, commands: read(&body) }),
            "shown" => blocks.push(Block { line: opened, purpose: Purpose::Shown, commands: read(&body) }),
            _ => errors.push(BlockError::Unclassified(opened, fence.information.to_owned())),
        }
    }
    if errors.is_empty() { Ok(blocks) } else { Err(errors) }
}

/// The opening line of a fenced block (CommonMark 4.5).
struct Fence<'text> {
    indent: &'text str,
    ticks: usize,
    information: &'text str,
}

impl<'text> Fence<'text> {
    fn opened_by(line: &'text str) -> Option<Self> {
        let trimmed = line.trim_start();
        let information = trimmed.trim_start_matches('`');
        let ticks = trimmed.len() - information.len();
        let indent = &line[..line.len() - trimmed.len()];
        (ticks >= 3 && !information.contains('`')).then(|| Self {
            indent,
            ticks,
            information: information.trim(),
        })
    }

    fn closed_by(&self, line: &str) -> bool {
        let line = line.trim();
        line.len() >= self.ticks && line.bytes().all(|byte| byte == b'`')
    }
}

/// Every line of a sh block but comments and empty ones.
fn plain_commands(body: &[(usize, &str)]) -> Vec<ReadmeCommand> {
    commands(body, |line| {
        Some(line).filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    })
}

/// The lines of a console block behind the prompt.
fn prompted_commands(body: &[(usize, &str)]) -> Vec<ReadmeCommand> {
    commands(body, |line| line.strip_prefix("$ "))
}

fn commands<'text>(
    body: &[(usize, &'text str)],
    begun_by: impl Fn(&'text str) -> Option<&'text str>,
) -> Vec<ReadmeCommand> {
    let mut found = Vec::new();
    let mut lines = body.iter();
    while let Some(&(line, text)) = lines.next() {
        let Some(first) = begun_by(text) else { continue };
        let mut text = first.to_owned();
        while text.ends_with('\\') {
            let Some(&(_, more)) = lines.next() else { break };
            text.push('\n');
            text.push_str(more);
        }
        if !is_this_run(&text) {
            found.push(ReadmeCommand { line, text });
        }
    }
    found
}

/// `cargo ci` inside the README is what runs now.
fn is_this_run(text: &str) -> bool {
    let mut words = text.split_whitespace();
    words.next() == Some("cargo") && words.next() == Some("ci")
}

impl fmt::Display for BlockError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unclassified(line, information) => write!(
                out,
                "README.md:{line}: ```{information} must say one of `run`, `bench`, `shown` behind its language"
            ),
            Self::Unclosed(line) => write!(out, "README.md:{line}: this block is never closed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: usize, text: &str) -> ReadmeCommand {
        ReadmeCommand { line, text: text.to_owned() }
    }

    #[test]
    fn console_blocks_run_what_stands_behind_the_prompt() {
        let text =
            "# Title\n\n```console run\n$ ringmain serve &\nready node=1\n$ seq 3 \\\n  | wc -l\n3\n```\n";
        let commands = vec![command(4, "ringmain serve &"), command(6, "seq 3 \\\n  | wc -l")];
        assert_eq!(parse(text), Ok(vec![Block { line: 3, purpose: Purpose::Run, commands }]));
    }

    #[test]
    fn sh_blocks_run_every_line_but_comments() {
        let text = "```sh bench\n# how fast\nringmain bench limit\n\nringmain bench run\n```\n";
        let commands = vec![command(3, "ringmain bench limit"), command(5, "ringmain bench run")];
        assert_eq!(parse(text), Ok(vec![Block { line: 1, purpose: Purpose::Bench, commands }]));
    }

    #[test]
    fn every_shell_block_must_be_classified() {
        let text = "```sh\nls\n```\n```console run bench\n$ ls\n```\n```sh maybe\nls\n```\n";
        assert_eq!(
            parse(text),
            Err(vec![
                BlockError::Unclassified(1, "sh".to_owned()),
                BlockError::Unclassified(4, "console run bench".to_owned()),
                BlockError::Unclassified(7, "sh maybe".to_owned()),
            ])
        );
    }

    #[test]
    fn other_languages_and_nested_fences_are_left_alone() {
        let text = "```toml\nrun = 1\n```\n````text\n```sh\nls\n```\n````\n";
        assert_eq!(parse(text), Ok(Vec::new()));
    }

    #[test]
    fn an_open_block_is_reported() {
        assert_eq!(parse("text\n```sh run\nls\n"), Err(vec![BlockError::Unclosed(2)]));
    }

    #[test]
    fn the_test_command_does_not_run_itself() {
        let blocks = parse("```sh run\ncargo ci --quick   # minutes\ncargo citrus\n```\n").unwrap();
        assert_eq!(blocks[0].commands, [command(3, "cargo citrus")]);
    }

    #[test]
    fn a_block_in_a_list_loses_its_indent() {
        let blocks = parse("- first:\n  ```console run\n  $ ls\n  ```\n").unwrap();
        assert_eq!(blocks[0].commands, [command(3, "ls")]);
    }
}
