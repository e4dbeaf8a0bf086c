//! How a result was asked for, where the arguments were not understood.

use std::ffi::OsString;
use std::path::PathBuf;

/// How a result was asked for, as far as that can be told of arguments which nobody has understood.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) json: bool,
    pub(crate) result_file: Option<PathBuf>,
}

impl Asked {
    /// Looks through arguments, and `environment` for what they leave open.
    pub(crate) fn of(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let (mut output, mut result_file) = (None, None);
        let mut arguments = arguments
            .into_iter()
            .map(|argument| argument.to_string_lossy().into_owned());
        while let Some(argument) = arguments.next() {
            let (flag, value) = match argument.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let place = match flag {
                "--output" => &mut output,
                "--result-file" => &mut result_file,
                _ => continue,
            };
            *place = value.or_else(|| arguments.next());
        }
        let output = output.or_else(|| environment("ANSWERLAKE_OUTPUT"));
        let result_file = result_file.or_else(|| environment("ANSWERLAKE_RESULT_FILE"));
        Self {
            json: output.is_some_and(|output| output == "json"),
            result_file: result_file.map(PathBuf::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_is_found_in_any_arguments() {
        let asked = |arguments: &str, output: &str| {
            let environment = |name: &str| {
                (name == "ANSWERLAKE_OUTPUT" && !output.is_empty()).then(|| output.to_owned())
            };
            Asked::of(arguments.split(' ').map(OsString::from), environment)
        };
        let json = |json| Asked {
            json,
            result_file: None,
        };
        assert_eq!(asked("run --no-such --output json", ""), json(true));
        assert_eq!(asked("run --output=json", "human"), json(true));
        assert_eq!(asked("run --output human", "json"), json(false));
        assert_eq!(asked("run", "json"), json(true));
        assert_eq!(asked("run --output", ""), json(false));
        let to_file = asked("--result-file=a.json run", "").result_file;
        assert_eq!(to_file, Some(PathBuf::from("a.json")));
    }
}
