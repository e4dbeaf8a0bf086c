//! What of a record may land: a policy for each member that the vendor documents.
//!
//! A policy is given to a *field*, a member's name as the vendor writes it, and holds wherever that member stands:
//! `query` in searches, in feedback, in answers and in events. Two names that may hold the same value
//! ([`ALIASES`]) share a policy unless both are named. A text that also stands inside longer ones ([`CONTAINED_IN`])
//! cannot be masked there, so for these a policy must be named with it, be it `keep`.
//!
//! How policies are applied to a record: [`Masking`](crate::Masking).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::error::PolicyError;

/// What becomes of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// It lands as it is. The default.
    Keep,
    /// It is left out, as if the source had not sent it.
    Drop,
    /// HMAC-SHA-256 of the text under the key of the lake, 64 hexadecimal digits, stands in its place: equal texts stay
    /// equal. An empty text stays empty, and `null` stays `null`.
    Hash,
    /// Of a link, the part from `?` on is left out, up to a `#`: that is where signatures stand.
    StripQuery,
}

impl Policy {
    /// Its name in the pipeline file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::Hash => "hash",
            Self::StripQuery => "strip_query",
        }
    }
}

impl FromStr for Policy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Keep, Self::Drop, Self::Hash, Self::StripQuery]
            .into_iter()
            .find(|policy| policy.name() == text)
            .ok_or("expected `keep`, `drop`, `hash` or `strip_query`")
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a field holds, as documented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// It decides where a record goes, or which rows belong together: no policy but `keep`.
    Place,
    /// Its members have policies, or its elements; it has none.
    Container,
    /// Text.
    Text,
    /// Text that is a link.
    Link,
    /// A time.
    Time,
    /// A truth value or a number, which may be written as text.
    Plain,
    /// A list of texts.
    Texts,
    /// A list of keys and values, as the vendor calls `moreInfo`.
    Info,
    /// Any JSON.
    Json,
}

impl Content {
    fn allows(self, policy: Policy) -> bool {
        match policy {
            Policy::Keep => true,
            Policy::Drop => !matches!(self, Self::Place | Self::Container),
            Policy::Hash => matches!(self, Self::Text | Self::Link),
            Policy::StripQuery => self == Self::Link,
        }
    }
}

/// Every documented member by its name. Equal names have equal meaning wherever they stand.
const FIELDS: &[(&str, Content)] = &[
    ("_id", Content::Place),
    ("searchRequestId", Content::Place),
    ("event", Content::Place),
    ("createdOn", Content::Place),
    ("timeStampValue", Content::Place),
    ("botId", Content::Place),
    ("comments", Content::Container),
    ("answerDebug", Content::Container),
    ("extractiveChunks", Content::Container),
    ("generativeChunks", Content::Container),
    ("llmResponse", Content::Container),
    ("responseDetails", Content::Container),
    ("responseTime", Content::Container),
    ("additionalInfo", Content::Container),
    ("query", Content::Text),
    ("graphAnswer", Content::Text),
    ("prompt", Content::Text),
    ("completionText", Content::Text),
    ("chunkText", Content::Text),
    ("userId", Content::Text),
    ("accountId", Content::Text),
    ("sessionId", Content::Text),
    ("messageId", Content::Text),
    ("channelUId", Content::Text),
    ("clientInfo", Content::Text),
    ("tags", Content::Texts),
    ("selectedFacets", Content::Json),
    ("language", Content::Text),
    ("channel", Content::Text),
    ("requestSource", Content::Text),
    ("connectionType", Content::Text),
    ("queryType", Content::Text),
    ("answerType", Content::Text),
    ("model", Content::Text),
    ("modelName", Content::Text),
    ("searchIndexId", Content::Text),
    ("queryPipelineId", Content::Text),
    ("indexPipelineId", Content::Text),
    ("isFullSearch", Content::Plain),
    ("hasResults", Content::Plain),
    ("isDev", Content::Plain),
    ("snippetEnabled", Content::Plain),
    ("lMod", Content::Time),
    ("__v", Content::Plain),
    ("generativeChunksCount", Content::Plain),
    ("extractiveChunksCount", Content::Plain),
    ("chunksSentToLLM", Content::Plain),
    ("chunksUsedInAnswer", Content::Plain),
    ("chunkIds", Content::Texts),
    ("moreInfo", Content::Info),
    ("answeredBy", Content::Text),
    ("answeringSource", Content::Json),
    ("retrieverUsed", Content::Text),
    ("vectorSearchType", Content::Text),
    ("score", Content::Plain),
    ("sentToLLM", Content::Plain),
    ("usedInAnswer", Content::Plain),
    ("chunkQualified", Content::Plain),
    ("chunkFrequency", Content::Plain),
    ("chunkRerank", Content::Plain),
    ("sourceType", Content::Text),
    ("sourceUrl", Content::Link),
    ("sourceName", Content::Link),
    ("recordTitle", Content::Text),
    ("recordUrl", Content::Link),
    ("page_image_url", Content::Link),
    ("chunkId", Content::Text),
    ("docId", Content::Text),
    ("sourceId", Content::Text),
    ("chunkType", Content::Text),
    ("extractionMethod", Content::Text),
];

/// Members that are one field under two names, since the vendor writes it in two forms.
const SECOND_NAMES: &[(&str, &str)] = &[("promptText", "prompt"), ("answer", "completionText")];

/// Fields that may hold the same value.
const ALIASES: &[[&str; 2]] = &[["userId", "accountId"], ["sourceUrl", "recordUrl"]];

/// Fields whose text stands inside others too, where it cannot be masked.
///
/// A prompt is made of the chunks, with where they are from, and the question. A completion repeats the question at
/// will, and its text is the answer shown.
const CONTAINED_IN: &[(&str, &[&str])] = &[
    ("query", &["prompt", "completionText"]),
    ("graphAnswer", &["completionText"]),
    ("completionText", &["graphAnswer"]),
    ("chunkText", &["prompt"]),
    ("sourceUrl", &["prompt"]),
    ("sourceName", &["prompt"]),
    ("recordTitle", &["prompt"]),
    ("recordUrl", &["prompt"]),
];

/// The field that a member of that name belongs to.
pub(crate) fn field_of(member: &str) -> Option<(&'static str, Content)> {
    let second = SECOND_NAMES.iter().find(|(second, _)| *second == member);
    let name = second.map_or(member, |(_, name)| name);
    FIELDS.iter().find(|(field, _)| *field == name).copied()
}

/// A policy for every field, of which at least one is not `keep`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policies {
    masked: BTreeMap<&'static str, Policy>,
    allow_unmapped: bool,
}

impl Policies {
    /// Makes them of those that are named; `None` when these keep all. What no column maps (unknown members, values of
    /// another type than documented) is left out unless `allow_unmapped`.
    ///
    /// # Errors
    /// When a field is not known, cannot have its policy, or its text would still stand in another field of which
    /// nothing is said.
    pub fn try_new(
        named: &BTreeMap<String, Policy>,
        allow_unmapped: bool,
    ) -> Result<Option<Self>, PolicyError> {
        let mut masked = BTreeMap::new();
        for (name, &policy) in named {
            let known = FIELDS.iter().find(|(field, _)| field == name);
            let &(field, content) = known.ok_or_else(|| PolicyError::UnknownField {
                name: name.clone(),
                known: fields().collect::<Vec<_>>().join(", "),
            })?;
            if !content.allows(policy) {
                return Err(refused(field, content, policy));
            }
            if policy != Policy::Keep {
                masked.insert(field, policy);
            }
        }
        for [first, second] in ALIASES {
            for (one, other) in [(first, second), (second, first)] {
                if let Some(policy) = masked.get(one).copied()
                    && !named.contains_key(*other)
                {
                    masked.insert(other, policy);
                }
            }
        }
        for (inner, outer) in CONTAINED_IN {
            let undecided: Vec<String> = outer
                .iter()
                .filter(|outer| !named.contains_key(**outer))
                .map(|outer| format!("`{outer}`"))
                .collect();
            if masked.contains_key(inner) && !undecided.is_empty() {
                return Err(PolicyError::Undecided {
                    field: inner,
                    places: undecided.join(" and "),
                });
            }
        }
        Ok((!masked.is_empty()).then_some(Self {
            masked,
            allow_unmapped,
        }))
    }

    /// The fields that are not kept, by name.
    pub fn masked(&self) -> impl Iterator<Item = (&'static str, Policy)> {
        self.masked.iter().map(|(field, policy)| (*field, *policy))
    }

    /// Whether what no column maps lands as it is.
    pub fn allow_unmapped(&self) -> bool {
        self.allow_unmapped
    }

    /// Whether it takes a key.
    pub fn needs_key(&self) -> bool {
        self.masked.values().any(|policy| *policy == Policy::Hash)
    }

    pub(crate) fn of(&self, field: &str) -> Policy {
        self.masked.get(field).copied().unwrap_or(Policy::Keep)
    }
}

/// The fields that can have a policy.
fn fields() -> impl Iterator<Item = &'static str> {
    FIELDS
        .iter()
        .filter(|(_, content)| content.allows(Policy::Drop))
        .map(|(field, _)| *field)
}

fn refused(field: &'static str, content: Content, policy: Policy) -> PolicyError {
    let allowed = [Policy::Keep, Policy::Drop, Policy::Hash, Policy::StripQuery]
        .into_iter()
        .filter(|policy| content.allows(*policy))
        .map(|policy| format!("`{policy}`"))
        .collect::<Vec<_>>()
        .join(" or ");
    PolicyError::NotForField {
        field,
        allowed,
        policy,
        reason: match content {
            Content::Place => ", since it decides where a record goes",
            Content::Container => ", since its members have policies of their own",
            _ => "",
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use answerlake_model::Table;

    use super::*;
    use crate::record::{ANSWER, CHUNK, RECORD};
    use crate::schema::{ColumnKind, PromptLayout, Source, columns};

    fn policies(named: &[(&str, &str)]) -> Result<Option<Policies>, String> {
        let named = named
            .iter()
            .map(|(field, policy)| ((*field).to_owned(), policy.parse().unwrap()))
            .collect();
        Policies::try_new(&named, false).map_err(|error| error.to_string())
    }

    #[test]
    fn every_member_of_a_record_is_a_field_and_no_field_is_made_up() {
        let mut met = BTreeSet::new();
        for layout in [&RECORD, &ANSWER, &CHUNK] {
            for slot in 0..layout.len() {
                let name = layout.pointer(slot).rsplit('/').next().unwrap();
                let (field, _) = field_of(name).unwrap_or_else(|| panic!("`{name}` is no field"));
                met.insert(field);
            }
        }
        let all: BTreeSet<&str> = FIELDS.iter().map(|(field, _)| *field).collect();
        assert_eq!(met, all);
        assert_eq!(all.len(), FIELDS.len(), "a field stands there twice");
    }

    #[test]
    fn fields_hold_what_their_columns_do() {
        for table in Table::ALL {
            for column in columns(table, PromptLayout::Parts) {
                let Source::Member(path) = column.source else {
                    continue;
                };
                let (_, content) = field_of(path.rsplit('.').next().unwrap()).unwrap();
                let agrees = match column.kind {
                    ColumnKind::Text => {
                        matches!(content, Content::Text | Content::Link | Content::Place)
                    }
                    ColumnKind::Bool
                    | ColumnKind::Int32
                    | ColumnKind::Int64
                    | ColumnKind::Int64InText
                    | ColumnKind::Float64 => content == Content::Plain,
                    ColumnKind::Time => matches!(content, Content::Time | Content::Place),
                    ColumnKind::Json => content == Content::Json,
                    ColumnKind::TextList | ColumnKind::Int32List => false,
                };
                assert!(agrees, "{path}: {content:?} {:?}", column.kind);
            }
        }
    }

    #[test]
    fn a_policy_holds_for_aliases_that_are_not_named() {
        let masked = |named: &[(&str, &str)]| -> Vec<String> {
            let policies = policies(named).unwrap();
            policies.map_or_else(Vec::new, |policies| {
                policies
                    .masked()
                    .map(|(field, policy)| format!("{field} {policy}"))
                    .collect()
            })
        };
        assert_eq!(
            masked(&[("userId", "hash")]),
            ["accountId hash", "userId hash"]
        );
        assert_eq!(
            masked(&[("accountId", "drop")]),
            ["accountId drop", "userId drop"]
        );
        assert_eq!(
            masked(&[("userId", "hash"), ("accountId", "keep")]),
            ["userId hash"]
        );
        assert_eq!(
            masked(&[("recordUrl", "strip_query"), ("prompt", "keep")]),
            ["recordUrl strip_query", "sourceUrl strip_query"]
        );
        assert_eq!(masked(&[("query", "keep")]), [""; 0]);
    }

    #[test]
    fn what_cannot_be_masked_so_is_refused() {
        let error = |named: &[(&str, &str)]| policies(named).unwrap_err();
        assert_eq!(
            error(&[("query", "hash")]),
            "`query` is masked, and its text stands in `prompt` and `completionText` too: expected a policy there as well, if \
             only `keep`"
        );
        assert_eq!(
            error(&[
                ("query", "hash"),
                ("prompt", "drop"),
                ("completionText", "drop")
            ]),
            "`completionText` is masked, and its text stands in `graphAnswer` too: expected a policy there as well, if only \
             `keep`"
        );
        assert_eq!(
            error(&[("_id", "hash")]),
            "`_id`: expected `keep`, since it decides where a record goes, got `hash`"
        );
        assert_eq!(
            error(&[("score", "hash")]),
            "`score`: expected `keep` or `drop`, got `hash`"
        );
        assert_eq!(
            error(&[("query", "strip_query")]),
            "`query`: expected `keep` or `drop` or `hash`, got `strip_query`"
        );
        let unknown = error(&[("querry", "hash")]);
        assert!(
            unknown.starts_with("no field is called `querry`; there are query, graphAnswer, "),
            "{unknown}"
        );
        assert!(!unknown.contains("_id,"), "{unknown}");
    }
}
