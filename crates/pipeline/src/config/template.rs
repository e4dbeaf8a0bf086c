//! A pipeline file to start from: every setting with what it means, made of [`Setting::ALL`].

use super::{Override, PipelineConfig, Setting, Unset, check};
use crate::error::PipelineError;

/// A pipeline file that nobody has edited yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The file.
    pub text: String,
    /// What has to be filled in before it can be used.
    pub to_fill_in: Vec<&'static Setting>,
}

const HEAD: &str = "\
# A pipeline of answerlake: one app, and the lake that its data goes to.
#
#   export ANSWERLAKE_CLIENT_ID=cs-… ANSWERLAKE_CLIENT_SECRET=…      # or ANSWERLAKE_TOKEN=<JWT>
#   answerlake run FILE
#
# What is commented out shows what holds without it, or an example where that is said in words. Each setting may be
# given as a flag or in the environment, too, which win over this file: `answerlake run --help`.
";

/// A table whose keys are no settings, but the vendor's names.
const PRIVACY_FIELDS: &str = "
[privacy.fields]
# keep (holds for what is not named), drop, hash (HMAC-SHA-256: equal texts stay equal), or strip_query (for links). A field
# is masked wherever the vendor writes it. userId and accountId go together unless both are named, sourceUrl and recordUrl
# too. What is masked stands in prompts and answers as well, so these must be named with it, if only as keep.
#query = \"hash\"
#prompt = \"drop\"
#completionText = \"drop\"
#graphAnswer = \"drop\"
#userId = \"hash\"
#sessionId = \"hash\"
#clientInfo = \"drop\"
#recordUrl = \"strip_query\"
#page_image_url = \"strip_query\"
";

/// Writes a pipeline file with the values in `given` (of settings that every file gives), and all else commented out.
///
/// # Errors
/// When a value is not of its form.
pub fn template(given: &[Override]) -> Result<Template, PipelineError> {
    for value in given {
        check(value)?;
    }
    check_together(given)?;
    let mut text = HEAD.to_owned();
    let mut to_fill_in = Vec::new();
    let mut section = "";
    for setting in Setting::ALL {
        if setting.section != section {
            section = setting.section;
            text += &format!("\n[{section}]\n");
            text += about(section);
        } else {
            text.push('\n');
        }
        let value = given.iter().find(|value| value.setting == setting);
        let line = |value: &str| format!("{} = {}\n", setting.key, written(setting, value));
        text += &match (value, setting.unset) {
            (Some(given), _) => format!("# {}\n{}", setting.help, line(&given.value)),
            (None, Unset::Needed) => {
                to_fill_in.push(setting);
                format!("# {}\n{}", setting.help, line(Setting::TO_FILL_IN))
            }
            (None, Unset::Is(value)) => format!("# {}\n#{}", setting.help, line(value)),
            (None, Unset::Means { words, example }) => {
                format!("# {} (default: {words})\n#{}", setting.help, line(example))
            }
            (None, Unset::Nothing { example }) => format!("# {}\n#{}", setting.help, line(example)),
        };
        if (setting.section, setting.key) == ("privacy", "allow_unmapped") {
            text += PRIVACY_FIELDS;
        }
    }
    Ok(Template { text, to_fill_in })
}

/// What is to be known of a section as a whole.
fn about(section: &str) -> &'static str {
    match section {
        "auth" => {
            "# One way, and no secret in this file: a ready token, or client id and client secret. Without any of these \
             settings the\n# variables ANSWERLAKE_TOKEN, or ANSWERLAKE_CLIENT_ID and ANSWERLAKE_CLIENT_SECRET, are \
             looked at.\n\n"
        }
        "privacy" => {
            "# What must not land, decided before anything is written; fixed by the lake's first run, key and all. Keep the \
             key: nothing\n# else gives equal hashes. While a field is masked, what no column maps is left out, too.\n\n"
        }
        "landing" => {
            "# Fragments as they were fetched, under _answerlake/raw of the lake: `answerlake ingest` makes the tables of \
             them again\n# without the API. They hold all that the vendor sent, signed links to documents among it.\n\n"
        }
        "rate" => "# The vendor allows 60 a minute and 1,800 an hour.\n\n",
        _ => "",
    }
}

/// A value as TOML.
fn written(setting: &Setting, value: &str) -> String {
    match setting.value {
        "N" | "BOOL" => value.to_owned(),
        _ => toml::Value::String(value.to_owned()).to_string(),
    }
}

/// Checks what only shows when the settings are put together. What is not given is made up.
fn check_together(given: &[Override]) -> Result<(), PipelineError> {
    let mut overrides = given.to_vec();
    for setting in Setting::needed() {
        let made_up = match setting.flag {
            "host" => "https://platform.kore.ai",
            "window-start" => "2025-06-01",
            _ => "made-up",
        };
        if !given.iter().any(|value| value.setting == setting) {
            overrides.push(Override {
                setting,
                value: made_up.to_owned(),
                origin: String::new(),
            });
        }
    }
    PipelineConfig::load(None, &overrides).map(|_| ())
}
