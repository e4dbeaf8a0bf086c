//! The pipeline files of this repository: each runs, once told of a source and a lake on this machine.

use crate::support::{repository, setup, truth};

#[test]
fn every_pipeline_file_runs() {
    let mut used = 0;
    for entry in std::fs::read_dir(repository("pipelines")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let setup = setup("example", |_| {});
        let mut program = setup.run().arguments(&[path.to_str().unwrap()]);
        let text = std::fs::read_to_string(&path).unwrap();
        if text.contains("token_env") {
            program = program.with_token(&setup.source.emulator().token());
        }
        let is_masked = text.contains("[privacy.fields]");
        if is_masked {
            program = program.environment("ANSWERLAKE_PRIVACY_KEY", &"key".repeat(11));
        }
        let result = program.result();
        assert_eq!(result["status"], "ok", "{}", path.display());
        setup.lake().assert_whole();
        if !is_masked {
            truth::assert_holds(&setup.lake(), &setup.source.records());
        }
        assert_eq!(
            program.result()["status"],
            "nothing_to_do",
            "{}",
            path.display()
        );
        used += 1;
    }
    assert!(used > 0, "there is no pipeline file");
}

#[test]
fn the_file_gives_way_to_the_environment_and_that_to_flags() {
    let setup = setup("layers", |_| {});
    let file = setup.place.write(
        "pipeline.toml",
        "[lake]\nurl = \"/no/such/lake/in/the/file\"\ngrain = \"hour\"\n",
    );
    let environment = setup.place.lake_named("of-the-environment");
    let program = setup
        .run()
        .arguments(&[&file])
        .with("--grain", "day")
        .environment("ANSWERLAKE_LAKE", &environment.url());
    program.clone().without("--lake").result();
    assert_eq!(environment.newest().len(), 3, "days, not hours");
    program.result();
    assert_eq!(setup.lake().newest().len(), 3);
}
