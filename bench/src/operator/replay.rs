//! The bare client: what the operator sent, sent again under other names and uids, in the same order per object, so many objects at a time.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream;
use tokio::sync::mpsc;

use super::brokers::Made;
use super::recording::Sequence;
use crate::bare::{self, Bare, Outgoing};
use crate::error::Error;

/// Sends the changes for every object that comes, `concurrency` objects at a time, until no more come.
pub async fn replay(
    bare: &Bare,
    sequences: Arc<Vec<Sequence>>,
    made: mpsc::UnboundedReceiver<Made>,
    concurrency: usize,
) -> Result<(), Error> {
    let numbered = stream::unfold((made, 0_usize), async |(mut made, number)| {
        let next = made.recv().await?;
        Some(((number, next), (made, number + 1)))
    });
    let mut ended = numbered
        .map(|(number, made)| {
            let (bare, sequences) = (bare.clone(), Arc::clone(&sequences));
            // A task each: what is read and substituted for one object holds up no other.
            tokio::spawn(async move {
                let taken = number
                    .checked_rem(sequences.len())
                    .and_then(|turn| sequences.get(turn));
                let sequence = taken.ok_or_else(|| Error::Unexpected("nothing was recorded".to_owned()))?;
                one(&bare, sequence, &made).await
            })
        })
        .buffer_unordered(concurrency)
        .boxed();
    while let Some(ended) = ended.next().await {
        ended.map_err(|problem| Error::Unexpected(format!("a replay has broken off: {problem}")))??;
    }
    Ok(())
}

/// All changes for one object.
async fn one(bare: &Bare, sequence: &Sequence, made: &Made) -> Result<(), Error> {
    let mut uids: Vec<(&str, String)> = Vec::new();
    for change in &sequence.changes {
        let mut body = substituted(&change.body, sequence, made);
        for (recorded, uid) in &uids {
            body = body.replace(recorded, uid);
        }
        let answer = bare
            .send(Outgoing {
                method: &change.method,
                target: &substituted(&change.target, sequence, made),
                content_type: change.content_type.as_deref(),
                accept: change.accept.as_deref(),
                body: body.into_bytes(),
            })
            .await?;
        let named = sequence
            .named_children
            .iter()
            .find(|(path, _)| *path == change.object);
        if let Some((_, recorded)) = named {
            uids.push((recorded, bare::uid(&answer)?));
        }
    }
    Ok(())
}

fn substituted(text: &str, sequence: &Sequence, made: &Made) -> String {
    text.replace(&sequence.name, &made.name)
        .replace(&sequence.uid, &made.uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_uids_are_those_of_the_new_object() {
        let sequence = Sequence {
            name: "tape-00001".into(),
            uid: "u-old".into(),
            changes: Vec::new(),
            named_children: Vec::new(),
        };
        let made = Made {
            name: "city-00007".into(),
            uid: "u-new".into(),
        };
        let body =
            r#"{"name":"tape-00001-database","ownerReferences":[{"name":"tape-00001","uid":"u-old"}]}"#;
        assert_eq!(
            substituted(body, &sequence, &made),
            r#"{"name":"city-00007-database","ownerReferences":[{"name":"city-00007","uid":"u-new"}]}"#
        );
    }
}
