//! The JSON of a job, with its keys in the order of the vendor's samples.
//!
//! Finished jobs come in three shapes, which differ in the keys they have and in where `hasAnalyticsFragments` stands.

use serde::Serialize;

/// The answer to a request about a job, in any of its shapes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobAnswer<'a> {
    #[serde(rename = "_id")]
    pub(super) id: &'a str,
    pub(super) hidden: bool,
    pub(super) read: bool,
    pub(super) status: String,
    pub(super) percentage_done: u32,
    pub(super) title: &'static str,
    pub(super) message: String,
    #[serde(rename = "lMod")]
    pub(super) last_modified: String,
    pub(super) started_at: String,
    pub(super) timed_out: bool,
    pub(super) job_type: &'static str,
    pub(super) stream_id: &'a str,
    pub(super) search_index_id: &'a str,
    /// Where several files have it; a single one has it after the fragments.
    #[serde(
        rename = "hasAnalyticsFragments",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) has_fragments_early: Option<bool>,
    pub(super) file_info: FileInfo<'a>,
    pub(super) created_by: &'static str,
    /// `null`, as all members of the unit type.
    pub(super) directory_info: (),
    pub(super) op_type: &'static str,
    pub(super) extraction_source_id: (),
    /// `null`, and `[]` in the legacy shape.
    pub(super) content_id: Option<[(); 0]>,
    pub(super) error: Option<[(); 0]>,
    pub(super) parent_job_id: (),
    pub(super) created_on: String,
    #[serde(rename = "__v")]
    pub(super) version: u32,
    #[serde(rename = "analyticsFragments", skip_serializing_if = "Option::is_none")]
    pub(super) fragments: Option<Vec<Fragment<'a>>>,
    #[serde(
        rename = "hasAnalyticsFragments",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) has_fragments_late: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) store: Option<Store>,
}

/// The one file of a job, as far as there is one.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileInfo<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ext: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file_url: Option<String>,
}

/// A file of a job.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Fragment<'a> {
    pub(super) file_id: &'a str,
    pub(super) file_name: &'a str,
    pub(super) file_url: String,
    pub(super) record_count: usize,
}

/// The totals of a job.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Store {
    pub(super) url_params: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) total_files: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) total_records: Option<usize>,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Entry, Job, JobFaults, JobSpec, Look};
    use crate::JobShape;

    // Copied from the vendor's samples, with the links and times left in.
    const CREATED: &str = r#"{"_id":"","hidden":false,"read":false,"status":"INPROGRESS","percentageDone":0,"title":"Exporting Analytics Data - JSON","message":"Exporting Analytics Data - JSON","lMod":"2025-06-30T06:51:12.000Z","startedAt":"2025-06-30T06:51:12.138Z","timedOut":false,"jobType":"DATA_EXPORT","streamId":"st-1","searchIndexId":"sidx-1","fileInfo":{"ext":"json"},"createdBy":"u-4d04030a-93f3-5cba-a07b-1a5b20a7e9a9","directoryInfo":null,"opType":"Manual","extractionSourceId":null,"contentId":null,"error":null,"parentJobId":null,"createdOn":"2025-06-30T06:51:12.140Z","__v":0}"#;
    const SINGLE: &str = r#"{"_id":"","hidden":false,"read":false,"status":"SUCCESS","percentageDone":100,"title":"Exporting Analytics Data - JSON","message":"ANALYTICS DATA JSON Export Completed - 1 file(s) with 9 total records","lMod":"2025-06-30T06:51:12.000Z","startedAt":"2025-06-30T06:51:12.138Z","timedOut":false,"jobType":"DATA_EXPORT","streamId":"st-1","searchIndexId":"sidx-1","fileInfo":{"fileId":"","fileName":"analytics_data_1751266272195","fileUrl":"L0"},"createdBy":"u-4d04030a-93f3-5cba-a07b-1a5b20a7e9a9","directoryInfo":null,"opType":"Manual","extractionSourceId":null,"contentId":null,"error":null,"parentJobId":null,"createdOn":"2025-06-30T06:51:12.140Z","__v":0,"analyticsFragments":[{"fileId":"","fileName":"analytics_data_1751266272195","fileUrl":"L0","recordCount":9}],"hasAnalyticsFragments":false,"store":{"urlParams":"&clientfilename=analytics_data_1751266272265.json&batchtesting=true","totalFiles":1,"totalRecords":9}}"#;
    const FRAGMENTS: &str = r#"{"_id":"","hidden":false,"read":false,"status":"SUCCESS","percentageDone":100,"title":"Exporting Analytics Data - JSON","message":"ANALYTICS DATA JSON Export Completed - 2 file(s) with 9 total records","lMod":"2025-06-30T06:51:12.000Z","startedAt":"2025-06-30T06:51:12.138Z","timedOut":false,"jobType":"DATA_EXPORT","streamId":"st-1","searchIndexId":"sidx-1","hasAnalyticsFragments":true,"fileInfo":{},"createdBy":"u-4d04030a-93f3-5cba-a07b-1a5b20a7e9a9","directoryInfo":null,"opType":"Manual","extractionSourceId":null,"contentId":null,"error":null,"parentJobId":null,"createdOn":"2025-06-30T06:51:12.140Z","__v":0,"analyticsFragments":[{"fileId":"","fileName":"analytics_data_1751266272195_part_1_of_2","fileUrl":"L0","recordCount":5},{"fileId":"","fileName":"analytics_data_1751266272195_part_2_of_2","fileUrl":"L1","recordCount":4}],"store":{"urlParams":"&clientfilename=analytics_data_1751266272265.json&batchtesting=true","totalFiles":2,"totalRecords":9}}"#;
    const LEGACY: &str = r#"{"_id":"","hidden":false,"read":false,"status":"SUCCESS","percentageDone":100,"title":"Exporting Analytics Data - JSON","message":"ANALYTICS DATA JSON Export is Completed","lMod":"2025-06-30T06:51:12.000Z","startedAt":"2025-06-30T06:51:12.138Z","timedOut":false,"jobType":"DATA_EXPORT","streamId":"st-1","searchIndexId":"sidx-1","fileInfo":{"ext":"json","fileId":"","fileName":"analytics_data_1751266272195","fileUrl":"L0"},"createdBy":"u-4d04030a-93f3-5cba-a07b-1a5b20a7e9a9","directoryInfo":null,"opType":"Manual","extractionSourceId":null,"contentId":[],"error":[],"parentJobId":null,"createdOn":"2025-06-30T06:51:12.140Z","__v":0,"store":{"urlParams":"&clientfilename=analytics_data_1751266272265.json&batchtesting=true"}}"#;

    fn job(shape: JobShape, fragment_records: usize) -> Job {
        let spec = JobSpec {
            app_id: "st-1".to_owned(),
            search_index_id: "sidx-1".to_owned(),
            shape,
            fragment_records,
            base: Duration::ZERO,
            per_fragment: Duration::ZERO,
            range: Default::default(),
        };
        let entries = (0..9).map(Entry::Extra).collect();
        let mut job = Job::start(entries, spec, 1_751_266_272_138, JobFaults::default());
        // Random ids would hide the rest of the text.
        job.id.clear();
        for file in &mut job.files {
            file.file_id.clear();
        }
        job
    }

    fn text(job: &Job) -> String {
        let links = (0..job.files.len()).map(|n| format!("L{n}")).collect();
        let look = Look {
            finished: true,
            links,
            ..Look::default()
        };
        serde_json::to_string(&job.answer(&look)).unwrap()
    }

    #[tokio::test]
    async fn answers_are_those_of_the_samples_to_the_letter() {
        let single = job(JobShape::Auto, 9);
        let created = serde_json::to_string(&single.created_answer()).unwrap();
        assert_eq!(created, CREATED);
        assert_eq!(text(&single), SINGLE);
        assert_eq!(text(&job(JobShape::Auto, 5)), FRAGMENTS);
        assert_eq!(text(&job(JobShape::Legacy, 5)), LEGACY);
    }
}
