//! What the commands that only look at a lake, or mend it, have in common: one answer, as text or as a line of JSON.

use std::path::Path;
use std::time::Duration;

use answerlake_pipeline::{PipelineError, Setting};
use anyhow::Context;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::args::{OutputFormat, ResultArgs, SettingArgs};
use crate::output::{Exit, StoppedBy, print, write_json};

/// What a command has to say.
pub(crate) struct Answer<T> {
    /// As JSON.
    pub(crate) result: T,
    /// For people.
    pub(crate) text: String,
    pub(crate) exit: Exit,
}

/// How the program was called: what a command that it proposes must be told, too.
#[derive(Clone, Copy)]
pub(crate) struct Invocation<'a> {
    pub(crate) pipeline: Option<&'a Path>,
    pub(crate) settings: &'a SettingArgs,
}

impl Invocation<'_> {
    /// A command line that can be run as it stands, in the same environment.
    pub(crate) fn command(&self, name: &str, arguments: &[String]) -> String {
        let mut words = vec!["answerlake".to_owned(), name.to_owned()];
        words.extend(
            self.pipeline
                .map(|path| quoted(&path.display().to_string())),
        );
        for given in &self.settings.0 {
            if given.origin.starts_with("--") && !may_hold_a_secret(given.setting) {
                let (flag, value) = (given.origin.clone(), quoted(&given.value));
                match given.setting.value {
                    "BOOL" => words.push(format!("{flag}={value}")),
                    _ => words.extend([flag, value]),
                }
            }
        }
        words.extend_from_slice(arguments);
        words.join(" ")
    }
}

/// Whether a value is better not shown: a proxy's address may hold a password, and so may a command.
fn may_hold_a_secret(setting: &Setting) -> bool {
    setting.flag == "proxy" || setting.value == "COMMAND"
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Works out the answer and prints it.
pub(crate) fn answer<T: Serialize>(
    args: &ResultArgs,
    work: impl Future<Output = Result<Answer<T>, PipelineError>>,
) -> anyhow::Result<Exit> {
    print_answer(args, super::runtime()?.block_on(work)?)
}

/// The same for work that takes long or leaves something half done: a first SIGINT or SIGTERM tells it to stop, a second
/// one does not wait for it.
pub(crate) fn answer_or_stop<T: Serialize, F>(
    args: &ResultArgs,
    work: impl FnOnce(CancellationToken) -> F,
) -> anyhow::Result<Exit>
where
    F: Future<Output = Result<Answer<T>, PipelineError>>,
{
    let stop = CancellationToken::new();
    let runtime = super::runtime()?;
    let work = super::until_stopped(work(stop.clone()), &stop, "stopping");
    let (answered, stopped_by) = runtime.block_on(work)?;
    // A thread that was given up ends by itself, soon.
    runtime.shutdown_timeout(Duration::from_secs(5));
    match (answered, stopped_by) {
        (Ok(answered), _) => print_answer(args, answered),
        (Err(error), None) => Err(error.into()),
        (Err(error), Some(signal)) => Err(anyhow::Error::new(error).context(StoppedBy(signal))),
    }
}

fn print_answer<T: Serialize>(args: &ResultArgs, answer: Answer<T>) -> anyhow::Result<Exit> {
    let Answer { result, text, exit } = answer;
    let written = args
        .result_file()
        .map_or(Ok(()), |path| write_json(&result, path));
    match args.output.output {
        OutputFormat::Json => print(&(serde_json::to_string(&result)? + "\n"))?,
        OutputFormat::Human => print(&text)?,
    }
    written.context("cannot write the result file")?;
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use answerlake_pipeline::config::Override;

    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_take_them_apart() {
        assert_eq!(quoted("s3://bucket/a-b"), "s3://bucket/a-b");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_command_that_is_proposed_tells_no_secret() {
        let settings = SettingArgs(
            Setting::ALL
                .iter()
                .map(|setting| Override {
                    setting,
                    value: format!("value of {}", setting.flag),
                    origin: format!("--{}", setting.flag),
                })
                .collect(),
        );
        let invocation = Invocation {
            pipeline: None,
            settings: &settings,
        };
        let command = invocation.command("run", &["--force".to_owned()]);
        for shown in ["'value of lake'", "'value of token-file'", " --force"] {
            assert!(command.contains(shown), "{command}");
        }
        for hidden in ["proxy", "client-secret-command", "privacy-key-command"] {
            let known = Setting::ALL.iter().any(|setting| setting.flag == hidden);
            assert!(
                known && !command.contains(&format!("value of {hidden}")),
                "{command}"
            );
        }
    }
}
