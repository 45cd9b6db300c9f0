//! A page that is too large to be made at once: it is sent while it is read, part by part. Status and headers are decided
//! before its first byte; what fails after that ends the connection before the answer's end, so that nobody takes it for
//! the whole, and is counted.

use crate::api::page::PageWriter;
use crate::api::problem::{ErrorType, Problem};
use crate::api::query::{Question, too_slow};
use crate::api::reply::Roomed;
use crate::query::sql::{self, Window};
use crate::server::metrics::Metrics;
use crate::store::StoreError;
use crate::store::parts::{Part, Parts};
use axum::body::Body;
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// The largest page that is sent in parts, in bytes of entities as they are stored; as they are written, where not all of them is shown.
pub const MAX_IN_PARTS: usize = 128 * 1024 * 1024;
/// How long a client may take to take all of it: enough for [`crate::api::page::MAX_PAGE`] by the slowest that is served at all
/// ([`crate::server::listen`]). As long the database keeps what was there when it began, and one of few connections is in use.
const LONGEST: Duration = Duration::from_secs(160);

/// What is known of a page before its first byte is sent.
#[derive(Clone, Copy)]
pub struct Head {
    /// Whether there are more entities after it.
    pub more: bool,
    /// How many match in all, where that was asked for.
    pub count: Option<u64>,
}

/// Why an answer ends before its end, in a word, for metrics.
type Cut = &'static str;

/// What is sent: a piece of the answer, and whether it is the last.
type Piece = Result<(Roomed, bool), Cut>;

/// How long it may take to find out how large a page is as written.
const MEASURING: Duration = Duration::from_mins(1);

/// Begins to send a page. Its first part is there when this returns.
pub async fn send(question: &Arc<Question>, window: Window, counted: bool) -> Result<(Head, Body), Problem> {
    let (told, head) = oneshot::channel();
    let (pieces, received) = mpsc::channel(1);
    let metrics = Arc::clone(&question.call.app.metrics);
    let question = Arc::clone(question);
    tokio::spawn(async move {
        match begin(&question, window, counted).await {
            Err(problem) => drop(told.send(Err(problem))),
            // Whoever asked may have left.
            Ok((head, sending)) if told.send(Ok(head)).is_ok() => sending.run(pieces).await,
            Ok((_, sending)) => sending.parts.end().await,
        }
    });
    let failed = |_| Problem::new(ErrorType::InternalError, "the broker failed; its log says why");
    let head = head.await.map_err(failed)??;
    Ok((head, body(received, metrics)))
}

/// A page on its way.
struct Sending<'a> {
    question: &'a Question,
    parts: Parts,
    writer: PageWriter<'a>,
    ends: Instant,
}

async fn begin(question: &Question, window: Window, counted: bool) -> Result<(Head, Sending<'_>), Problem> {
    let (query, reach, store) = (&question.query, question.call.reach(), &question.call.app.store);
    let sizes = sql::page_of_sizes(reach, &query.selection, query.ordering.as_ref(), window);
    let count = counted.then(|| sql::count(reach, &query.selection));
    let parts = store.parts(&sizes, window.limit, count.as_ref()).await;
    let parts = parts.map_err(too_slow)?;
    let head = Head {
        more: parts.more,
        count: parts.count,
    };
    let mut sending = Sending {
        question,
        writer: writer(question),
        ends: Instant::now() + LONGEST,
        parts,
    };
    match sending.first().await {
        Ok(()) => Ok((head, sending)),
        Err(problem) => {
            sending.parts.end().await;
            Err(problem)
        }
    }
}

fn writer(question: &Question) -> PageWriter<'_> {
    let (query, answers) = (&question.query, &question.call.app.rooms.answers);
    PageWriter::in_parts(query.showing.view(&query.context), &query.showing, answers)
}

impl Sending<'_> {
    /// Whether the page is as small as it has to be. Of one of which not all is shown that is known once it is written: each part is let go at once, and read
    /// again when it is sent, as of the same moment.
    async fn fits(&mut self) -> Result<bool, Trouble> {
        if self.parts.size <= MAX_IN_PARTS {
            return Ok(true);
        }
        if !self.question.query.leaves_out(self.question.call.reach()) {
            return Ok(false);
        }
        let (ends, mut written) = (Instant::now() + MEASURING, 0);
        while written <= MAX_IN_PARTS
            && let Some(part) = self.parts.next_part()
        {
            if Instant::now() > ends {
                return Err(StoreError::TooSlow.into());
            }
            self.write(&part).await?;
            written += self.writer.part().text.len();
        }
        self.parts.again();
        self.writer = writer(self.question);
        self.ends = Instant::now() + LONGEST;
        Ok(written <= MAX_IN_PARTS)
    }

    /// Writes the first part, so that what can be known of failures is known before anything is sent.
    async fn first(&mut self) -> Result<(), Problem> {
        if !self.fits().await.map_err(Problem::from)? {
            let detail = format!(
                "the entities of this page are more than {} MiB; ask for a smaller limit",
                MAX_IN_PARTS >> 20
            );
            return Err(Problem::new(ErrorType::TooManyResults, detail));
        }
        let Some(part) = self.parts.next_part() else {
            return Ok(());
        };
        self.write(&part).await.map_err(Problem::from)
    }

    /// Writes a part. A piece before it, which holds room too, goes whatever is waited for here.
    async fn write(&mut self, part: &Part) -> Result<(), Trouble> {
        let room = self.parts.room(part).await?;
        self.writer
            .reserve(part.size * 2)
            .await
            .map_err(|_| StoreError::Crowded)?;
        let writer = &mut self.writer;
        let read = self
            .parts
            .read(self.question.call.reach(), part, |entity| writer.add(entity));
        let whole = read.await?;
        drop(room);
        if whole { Ok(()) } else { Err(Trouble::Full) }
    }

    /// Sends all that there is, and says why if it cannot.
    async fn run(mut self, pieces: mpsc::Sender<Piece>) {
        let sent = self.pieces(&pieces).await;
        let Self { parts, writer, .. } = self;
        parts.end().await;
        let last = match (sent, writer.finish(true)) {
            (Err(Some(cut)), _) => Err(cut),
            (Ok(()), Ok(last)) => Ok((last, true)),
            (Ok(()), Err(_)) => Err("memory"),
            // The client has left.
            (Err(None), _) => return,
        };
        let _ = pieces.send(last).await;
    }

    /// Sends part after part; `Err(None)`: nobody takes them any more.
    async fn pieces(&mut self, pieces: &mpsc::Sender<Piece>) -> Result<(), Option<Cut>> {
        loop {
            let piece = Ok((self.writer.part(), false));
            let sent = timeout_at(self.ends, pieces.send(piece)).await;
            sent.map_err(|_| Some("time"))?.map_err(|_| None)?;
            let Some(part) = self.parts.next_part() else {
                return Ok(());
            };
            self.patiently(&part).await?;
        }
    }

    /// Writes a part. What has begun waits for memory as long as there is time: its turn comes.
    async fn patiently(&mut self, part: &Part) -> Result<(), Cut> {
        loop {
            match self.write(part).await {
                Ok(()) => return Ok(()),
                Err(Trouble::Store(StoreError::Crowded)) if Instant::now() < self.ends => {
                    drop(self.writer.part());
                }
                Err(Trouble::Full) => return Err("memory"),
                Err(Trouble::Store(error)) => {
                    tracing::warn!(%error, "an answer ends before its end");
                    return Err(if matches!(error, StoreError::Crowded) {
                        "memory"
                    } else {
                        "database"
                    });
                }
            }
        }
    }
}

/// Why a part is not written.
enum Trouble {
    /// Its text is larger than what there is room for.
    Full,
    /// It cannot be read.
    Store(StoreError),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Full => Self::unavailable("too many large answers are being sent at the moment"),
            Trouble::Store(error) => too_slow(error),
        }
    }
}

fn body(received: mpsc::Receiver<Piece>, metrics: Arc<Metrics>) -> Body {
    let pieces = futures::stream::unfold(Some(received), move |received| {
        let metrics = Arc::clone(&metrics);
        async move {
            let mut received = received?;
            match received.recv().await {
                Some(Ok((piece, is_last))) => {
                    let next = (!is_last).then_some(received);
                    Some((Ok(Bytes::from_owner(piece)), next))
                }
                cut => {
                    // None of it is the last if the sender is no more.
                    metrics.answer_cut(cut.and_then(Result::err).unwrap_or("fault"));
                    let cut = io::Error::other("the answer ends before its end");
                    Some((Err(cut), None))
                }
            }
        }
    });
    Body::from_stream(pieces)
}
