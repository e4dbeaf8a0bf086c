//! Export jobs: what each will export, how far it is, and the answers that show it.
//!
//! A job does no work. What it exports is settled when it starts, and its progress is a matter of the time passed,
//! by tokio's clock, so that tests can pause it.

// The JSON of a job.
mod answer;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::config::JobShape;
use crate::faults::EmptyShape;
use crate::records::{Slot, iso_ms};
pub(crate) use answer::JobAnswer;
use answer::{FileInfo, Fragment, Store};

/// What a job shows at its first looks whose progress goes backwards.
const BACKWARDS: [u32; 5] = [10, 60, 20, 80, 40];

const TITLE: &str = "Exporting Analytics Data - JSON";

/// A record of an export: a seeded one, or the place of a hand-made one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Entry {
    Seeded(Slot),
    /// A seeded one as it was before its answer was written.
    Earlier(Slot),
    Extra(usize),
}

/// A job and all it exports.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) entries: Vec<Entry>,
    pub(crate) files: Vec<ExportFile>,
    /// What it was asked for.
    pub(crate) range: (DateTime<Utc>, DateTime<Utc>),
    spec: JobSpec,
    started: Instant,
    started_ms: i64,
    faults: JobFaults,
    looks: AtomicUsize,
}

/// What is wrong with a job from its start.
#[derive(Debug, Default)]
pub(crate) struct JobFaults {
    pub(crate) broken: Option<Broken>,
    /// Whether it is known at no look.
    pub(crate) is_gone: bool,
    /// Whether its progress goes backwards.
    pub(crate) is_backwards: bool,
    /// How it tells that it has no records; by the shape of its kind where absent.
    pub(crate) empty: Option<EmptyShape>,
}

/// A file of an export.
#[derive(Debug)]
pub(crate) struct ExportFile {
    /// File of the download link: `f-<uuid>.json`.
    pub(crate) media_name: String,
    /// Places of its records among those of the job.
    pub(crate) entries: Range<usize>,
    file_id: String,
    file_name: String,
}

/// What a job that comes no further shows.
#[derive(Debug, Clone)]
pub(crate) struct Broken {
    pub(crate) status: String,
    pub(crate) timed_out: bool,
}

/// What a look at a job shows besides the job itself.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// Whether the job was finished when the links were made.
    pub(crate) finished: bool,
    /// Progress that is shown in place of the job's own.
    pub(crate) percentage: Option<u32>,
    /// Download links of the job's files, in their order.
    pub(crate) links: Vec<String>,
    pub(crate) excess: Excess,
    pub(crate) broken: Option<Broken>,
}

/// What a job promises beyond what there is.
#[derive(Debug, Default)]
pub(crate) struct Excess {
    /// Records of its last fragment.
    pub(crate) records: usize,
    /// Records of its total, beside those.
    pub(crate) total: usize,
    /// Files.
    pub(crate) files: usize,
}

/// Whose jobs they are, how they are cut into files, and how long they take.
#[derive(Debug, Clone)]
pub(crate) struct JobSpec {
    pub(crate) app_id: String,
    pub(crate) search_index_id: String,
    pub(crate) shape: JobShape,
    pub(crate) fragment_records: usize,
    pub(crate) base: Duration,
    pub(crate) per_fragment: Duration,
    /// What is asked for.
    pub(crate) range: (DateTime<Utc>, DateTime<Utc>),
}

/// All jobs there are.
#[derive(Debug, Default)]
pub(crate) struct Jobs(Mutex<HashMap<String, Arc<Job>>>);

impl Jobs {
    pub(crate) fn add(&self, job: Job) -> Arc<Job> {
        let job = Arc::new(job);
        self.lock().insert(job.id.clone(), Arc::clone(&job));
        job
    }

    pub(crate) fn find(&self, id: &str) -> Option<Arc<Job>> {
        self.lock().get(id).cloned()
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Job>>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl Job {
    /// Starts a job now, which is `now_ms` by the clock on the wall.
    pub(crate) fn start(
        entries: Vec<Entry>,
        spec: JobSpec,
        now_ms: i64,
        faults: JobFaults,
    ) -> Self {
        let size = match spec.shape {
            JobShape::Auto => spec.fragment_records.max(1),
            JobShape::Legacy => usize::MAX,
        };
        // The legacy shape has no totals, so it tells of no records with an empty file.
        let count = match spec.shape {
            JobShape::Auto if entries.is_empty() => {
                usize::from(faults.empty == Some(EmptyShape::File))
            }
            JobShape::Auto => entries.len().div_ceil(size),
            JobShape::Legacy => 1,
        };
        let step_ms = i64::try_from(spec.per_fragment.as_millis()).unwrap_or(i64::MAX / 1_000_000);
        let mut made_ms = now_ms + 57;
        let files = (0..count)
            .map(|place| {
                let start = place.saturating_mul(size);
                let file = ExportFile::new(
                    start..entries.len().min(start.saturating_add(size)),
                    (place + 1, count),
                    made_ms,
                );
                made_ms += step_ms;
                file
            })
            .collect();
        Self {
            id: format!("fj-{}", uuid::Uuid::new_v4()),
            entries,
            files,
            range: spec.range,
            spec,
            started: Instant::now(),
            started_ms: now_ms,
            faults,
            looks: AtomicUsize::new(0),
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.faults.broken.is_none() && self.started.elapsed() >= self.duration()
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.faults.is_gone
    }

    /// Counts a look at the job; gives the progress that it shows in place of its own.
    pub(crate) fn looked_at(&self) -> Option<u32> {
        let look = self.looks.fetch_add(1, Ordering::Relaxed);
        let shown = BACKWARDS.get(look).copied();
        shown.filter(|_| self.faults.is_backwards)
    }

    /// The answer to the request that started the job.
    pub(crate) fn created_answer(&self) -> JobAnswer<'_> {
        self.head("INPROGRESS", 0, false)
    }

    /// The answer to a look at the job.
    pub(crate) fn answer(&self, look: &Look) -> JobAnswer<'_> {
        if let Some(broken) = look.broken.as_ref().or(self.faults.broken.as_ref()) {
            let percentage = if self.faults.broken.is_some() {
                0
            } else {
                self.percentage()
            };
            return self.head(&broken.status, percentage, broken.timed_out);
        }
        if !look.finished {
            let percentage = look.percentage.unwrap_or_else(|| self.percentage());
            return self.head("INPROGRESS", percentage, false);
        }
        match self.spec.shape {
            JobShape::Legacy => self.legacy_answer(look),
            JobShape::Auto => self.fragments_answer(look),
        }
    }

    fn fragments_answer(&self, look: &Look) -> JobAnswer<'_> {
        let several = self.files.len() > 1;
        let records = self.entries.len() + look.excess.records + look.excess.total;
        let mut answer = self.head("SUCCESS", 100, false);
        answer.message = format!(
            "ANALYTICS DATA JSON Export Completed - {} file(s) with {records} total records",
            self.files.len()
        );
        answer.file_info = match self.files.first() {
            Some(file) if !several => file.info(&look.links[0], None),
            _ => FileInfo::default(),
        };
        if several {
            answer.last_modified = self.end_second();
            answer.has_fragments_early = Some(true);
        } else {
            answer.has_fragments_late = Some(false);
        }
        let last = self.files.len().saturating_sub(1);
        let fragments = self.files.iter().zip(&look.links).enumerate();
        answer.fragments = Some(
            fragments
                .map(|(place, (file, link))| Fragment {
                    file_id: &file.file_id,
                    file_name: &file.file_name,
                    file_url: link.clone(),
                    record_count: file.entries.len()
                        + if place == last {
                            look.excess.records
                        } else {
                            0
                        },
                })
                .collect(),
        );
        answer.store = Some(Store {
            url_params: url_params(self.end_ms()),
            total_files: Some(self.files.len() + look.excess.files),
            total_records: Some(records),
        });
        if self.entries.is_empty() {
            match self.faults.empty {
                Some(EmptyShape::Totals) => answer.fragments = None,
                Some(EmptyShape::Nothing) => (answer.fragments, answer.store) = (None, None),
                Some(EmptyShape::File) | None => {}
            }
        }
        answer
    }

    fn legacy_answer(&self, look: &Look) -> JobAnswer<'_> {
        let mut answer = self.head("SUCCESS", 100, false);
        "ANALYTICS DATA JSON Export is Completed".clone_into(&mut answer.message);
        answer.file_info = self.files[0].info(&look.links[0], Some("json"));
        answer.content_id = Some([]);
        answer.error = Some([]);
        answer.store = Some(Store {
            url_params: url_params(self.end_ms()),
            total_files: None,
            total_records: None,
        });
        answer
    }

    /// The members that all answers have.
    fn head(&self, status: &str, percentage: u32, timed_out: bool) -> JobAnswer<'_> {
        JobAnswer {
            id: &self.id,
            hidden: false,
            read: false,
            status: status.to_owned(),
            percentage_done: percentage,
            title: TITLE,
            message: TITLE.to_owned(),
            last_modified: whole_second(self.started_ms),
            started_at: iso_ms(self.started_ms),
            timed_out,
            job_type: "DATA_EXPORT",
            stream_id: &self.spec.app_id,
            search_index_id: &self.spec.search_index_id,
            has_fragments_early: None,
            file_info: FileInfo {
                ext: Some("json"),
                ..FileInfo::default()
            },
            created_by: "u-4d04030a-93f3-5cba-a07b-1a5b20a7e9a9",
            directory_info: (),
            op_type: "Manual",
            extraction_source_id: (),
            content_id: None,
            error: None,
            parent_job_id: (),
            created_on: iso_ms(self.started_ms + 2),
            version: 0,
            fragments: None,
            has_fragments_late: None,
            store: None,
        }
    }

    fn duration(&self) -> Duration {
        let files = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        self.spec.base + self.spec.per_fragment * files
    }

    fn percentage(&self) -> u32 {
        let whole = self.duration().as_millis().max(1);
        let done = self.started.elapsed().as_millis() * 100 / whole;
        // Only a finished job is at 100.
        u32::try_from(done.min(99)).expect("at most 99")
    }

    fn end_ms(&self) -> i64 {
        self.started_ms + i64::try_from(self.duration().as_millis()).unwrap_or_default() + 127
    }

    fn end_second(&self) -> String {
        whole_second(self.end_ms())
    }
}

impl ExportFile {
    fn new(entries: Range<usize>, (part, parts): (usize, usize), made_ms: i64) -> Self {
        let part = if parts > 1 {
            format!("_part_{part}_of_{parts}")
        } else {
            String::new()
        };
        let hex = uuid::Uuid::new_v4().simple().to_string();
        Self {
            media_name: format!("f-{}.json", uuid::Uuid::new_v4()),
            entries,
            file_id: format!("{:08x}{}", made_ms / 1_000, &hex[..16]),
            file_name: format!("analytics_data_{made_ms}{part}"),
        }
    }

    fn info(&self, link: &str, ext: Option<&'static str>) -> FileInfo<'_> {
        FileInfo {
            ext,
            file_id: Some(&self.file_id),
            file_name: Some(&self.file_name),
            file_url: Some(link.to_owned()),
        }
    }
}

fn url_params(end_ms: i64) -> String {
    format!("&clientfilename=analytics_data_{end_ms}.json&batchtesting=true")
}

fn whole_second(ms: i64) -> String {
    iso_ms(ms.div_euclid(1_000) * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(shape: JobShape) -> JobSpec {
        JobSpec {
            app_id: "st-1".to_owned(),
            search_index_id: "sidx-1".to_owned(),
            shape,
            fragment_records: 150,
            base: Duration::from_secs(1),
            per_fragment: Duration::from_secs(10),
            range: Default::default(),
        }
    }

    fn job(shape: JobShape, records: usize) -> Job {
        let entries = (0..records).map(Entry::Extra).collect();
        Job::start(
            entries,
            spec(shape),
            1_749_563_678_953,
            JobFaults::default(),
        )
    }

    fn look(job: &Job) -> serde_json::Value {
        let look = Look {
            finished: job.is_finished(),
            links: (0..job.files.len()).map(|n| format!("link {n}")).collect(),
            ..Look::default()
        };
        serde_json::to_value(job.answer(&look)).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_takes_its_time_for_each_fragment() {
        let job = job(JobShape::Auto, 400);
        assert_eq!(look(&job)["percentageDone"], 0);
        assert_eq!(look(&job)["fileInfo"], serde_json::json!({"ext": "json"}));
        tokio::time::advance(Duration::from_secs(15)).await;
        let half = look(&job);
        assert_eq!(half["percentageDone"], 48);
        assert_eq!(half["status"], "INPROGRESS");
        assert_eq!(half.get("analyticsFragments"), None);
        tokio::time::advance(Duration::from_millis(15_999)).await;
        assert_eq!(look(&job)["percentageDone"], 99);
        tokio::time::advance(Duration::from_millis(1)).await;
        let done = look(&job);
        assert_eq!(done["status"], "SUCCESS");
        let counts: Vec<u64> = done["analyticsFragments"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fragment| fragment["recordCount"].as_u64().unwrap())
            .collect();
        assert_eq!(counts, [150, 150, 100]);
        assert_eq!(
            done["analyticsFragments"][1]["fileName"],
            "analytics_data_1749563689010_part_2_of_3"
        );
        assert_eq!(done["store"]["totalRecords"], 400);
        assert_eq!(done["startedAt"], "2025-06-10T13:54:38.953Z");
    }

    #[tokio::test(start_paused = true)]
    async fn an_export_without_records_says_so_or_has_an_empty_file() {
        let auto = job(JobShape::Auto, 0);
        let legacy = job(JobShape::Legacy, 0);
        tokio::time::advance(Duration::from_secs(11)).await;
        let answer = look(&auto);
        assert_eq!(answer["fileInfo"], serde_json::json!({}));
        assert_eq!(answer["analyticsFragments"], serde_json::json!([]));
        assert_eq!(answer["store"]["totalFiles"], 0);
        assert_eq!(answer["store"]["totalRecords"], 0);
        assert_eq!(look(&legacy)["fileInfo"]["fileUrl"], "link 0");
        assert_eq!(legacy.files[0].entries, 0..0);
    }

    #[tokio::test(start_paused = true)]
    async fn exactly_a_fragment_of_records_is_a_single_file() {
        let job = job(JobShape::Auto, 150);
        tokio::time::advance(Duration::from_secs(11)).await;
        let answer = look(&job);
        assert_eq!(answer["hasAnalyticsFragments"], false);
        assert_eq!(answer["fileInfo"]["fileUrl"], "link 0");
        assert_eq!(answer["analyticsFragments"][0]["recordCount"], 150);
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_job_comes_no_further() {
        let broken = Broken {
            status: "FAILED".to_owned(),
            timed_out: true,
        };
        let faults = JobFaults {
            broken: Some(broken),
            ..JobFaults::default()
        };
        let job = Job::start(Vec::new(), spec(JobShape::Auto), 0, faults);
        tokio::time::advance(Duration::from_secs(60)).await;
        let answer = look(&job);
        assert_eq!(answer["status"], "FAILED");
        assert_eq!(answer["timedOut"], true);
        assert!(!job.is_finished());
    }
}
