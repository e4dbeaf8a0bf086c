//! The pipeline's settings as arguments: flags and environment variables.

use answerlake_pipeline::Setting;
use answerlake_pipeline::config::Override;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches};

/// The settings given as flags or in the environment; their list is the pipeline's.
#[derive(Debug)]
pub(crate) struct SettingArgs(pub(crate) Vec<Override>);

/// The settings that `-h` shows; `--help` shows all.
const IN_SHORT_HELP: [&str; 4] = ["host", "app-id", "window-start", "lake"];

fn heading(section: &str) -> &'static str {
    match section {
        "source" => "Source",
        "auth" => "Authentication",
        "http" => "Network",
        "window" => "Windows",
        "jobs" => "Export jobs",
        "fetch" => "Downloads",
        "rate" => "Rate limits",
        "lake" => "Lake",
        "privacy" => "Privacy",
        "landing" => "Raw landing",
        _ => "Resources",
    }
}

/// Of the settings, those that every pipeline file gives.
#[derive(Debug)]
pub(crate) struct NeededArgs(pub(crate) Vec<Override>);

/// Of the settings, those that say which lake is looked at, and what of it.
#[derive(Debug)]
pub(crate) struct LakeArgs(pub(crate) Vec<Override>);

fn argument(setting: &'static Setting) -> Arg {
    let argument = Arg::new(setting.flag)
        .long(setting.flag)
        .value_name(setting.value)
        .help(setting.help_with_default())
        .help_heading(heading(setting.section))
        .env(setting.env())
        .hide_env_values(true)
        .hide_short_help(!IN_SHORT_HELP.contains(&setting.flag))
        .action(ArgAction::Set);
    if setting.value != "BOOL" {
        return argument;
    }
    // `--strict` alone says yes; a value is told from the argument that follows by its `=`.
    argument
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
}

/// The setting's value, when it was given.
fn given(setting: &'static Setting, matches: &ArgMatches) -> Option<Override> {
    let value = matches.get_one::<String>(setting.flag)?.clone();
    let origin = match matches.value_source(setting.flag)? {
        ValueSource::EnvVariable => setting.env(),
        _ => format!("--{}", setting.flag),
    };
    // A variable that is set to nothing is as good as not set.
    (!value.is_empty()).then_some(Override {
        setting,
        value,
        origin,
    })
}

/// Settings as arguments: those of a list that is the pipeline's.
macro_rules! setting_args {
    ($name:ident, $settings:expr) => {
        impl Args for $name {
            fn augment_args(command: clap::Command) -> clap::Command {
                command.args($settings.map(argument))
            }

            fn augment_args_for_update(command: clap::Command) -> clap::Command {
                Self::augment_args(command)
            }
        }

        impl FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                let given = $settings.filter_map(|setting| given(setting, matches));
                Ok(Self(given.collect()))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

setting_args!(SettingArgs, Setting::ALL.iter());
setting_args!(NeededArgs, Setting::needed());
setting_args!(
    LakeArgs,
    Setting::ALL.iter().filter(|setting| {
        // What tells which lake, and how it is reached.
        ["lake", "app-id", "proxy", "ca-file", "connect-timeout"].contains(&setting.flag)
    })
);
