//! The second count: what the API server itself wrote down of the operator's requests.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use mim_operator::reconcile::client::USER_AGENT_VALUE;
use serde::Deserialize;

use super::rig::Rig;
use crate::error::Error;

/// What the API server has answered to the operator since a mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// Changes, without events and the lease.
    pub changes: u32,
    /// All but the lease; a watch counts when it is opened.
    pub without_lease: u32,
    /// All but the lease and watches with their lists.
    pub besides_watches_and_lease: u32,
}

/// The audit log from some moment on.
pub struct Since {
    path: PathBuf,
    offset: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    #[serde(default)]
    user_agent: String,
    stage: &'a str,
    verb: &'a str,
    #[serde(default)]
    object_ref: Option<Object>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Object {
    resource: String,
}

impl Since {
    /// From now on.
    pub fn now(rig: &Rig) -> Result<Self, Error> {
        let path = rig
            .plane
            .audit_log()
            .ok_or_else(|| Error::Unexpected("this control plane writes no audit log".to_owned()))?;
        // The file appears with its first line.
        let offset = std::fs::metadata(&path).map_or(0, |found| found.len());
        Ok(Self { path, offset })
    }

    /// What was answered since. The API server writes a line before it ends its answer, so a count after the operator's own misses none.
    pub fn answered(&self) -> Result<Answered, Error> {
        let mut file = File::open(&self.path).map_err(Error::file(&self.path))?;
        file.seek(SeekFrom::Start(self.offset))
            .map_err(Error::file(&self.path))?;
        let mut answered = Answered::default();
        for line in BufReader::new(file).lines() {
            let line = line.map_err(Error::file(&self.path))?;
            let line: Line<'_> = serde_json::from_str(&line).map_err(|problem| {
                Error::Unexpected(format!("a line of the audit log is not readable: {problem}"))
            })?;
            answered.take(&line);
        }
        Ok(answered)
    }
}

impl Answered {
    fn take(&mut self, line: &Line<'_>) {
        let resource = line.object_ref.as_ref().map_or("", |object| &object.resource);
        let is_watch = line.verb == "watch";
        let counts = if is_watch {
            "ResponseStarted"
        } else {
            "ResponseComplete"
        };
        if line.user_agent != USER_AGENT_VALUE || line.stage != counts || resource == "leases" {
            return;
        }
        self.without_lease += 1;
        let is_list = line.verb == "list";
        self.besides_watches_and_lease += u32::from(!is_watch && !is_list);
        let is_change = !matches!(line.verb, "get" | "list" | "watch");
        self.changes += u32::from(is_change && resource != "events");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_counts_when_it_is_opened_and_the_rest_when_it_has_ended() {
        let mut answered = Answered::default();
        for (agent, stage, verb, resource) in [
            (USER_AGENT_VALUE, "ResponseStarted", "watch", "pods"),
            (USER_AGENT_VALUE, "ResponseComplete", "watch", "pods"),
            (USER_AGENT_VALUE, "ResponseComplete", "list", "pods"),
            (USER_AGENT_VALUE, "ResponseComplete", "patch", "deployments"),
            (USER_AGENT_VALUE, "ResponseComplete", "create", "events"),
            (USER_AGENT_VALUE, "ResponseComplete", "update", "leases"),
            (USER_AGENT_VALUE, "ResponseComplete", "get", ""),
            ("somebody-else", "ResponseComplete", "patch", "deployments"),
        ] {
            answered.take(&Line {
                user_agent: agent.to_owned(),
                stage,
                verb,
                object_ref: Some(Object {
                    resource: resource.to_owned(),
                }),
            });
        }
        let expected = Answered {
            changes: 1,
            without_lease: 5,
            besides_watches_and_lease: 3,
        };
        assert_eq!(answered, expected);
    }
}
