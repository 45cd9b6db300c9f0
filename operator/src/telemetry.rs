//! Logs: structured, as text for people or JSON for machines.

use std::fmt;
use std::io::{IsTerminal as _, Write};
use std::str::FromStr;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What is logged unless told otherwise. `kube_runtime` tells of each watch that ends by its own time limit, which is no news.
pub const DEFAULT_FILTER: &str = "info,kube_runtime=warn";

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("{other:?} is no log format; write text or json")),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not understood.
    #[error(
        "the log filter {filter:?} is not understood: {error}; write for example info,mim_operator=debug"
    )]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        error: tracing_subscriber::filter::ParseError,
    },
    /// Logs were set up before.
    #[error("logs are already set up in this process")]
    Twice,
}

/// Sets up the logs of this process, on standard error. `filter` is as in `RUST_LOG`; `None` is [`DEFAULT_FILTER`]. Call it once, first.
pub fn init(format: Format, filter: Option<&str>) -> Result<(), TelemetryError> {
    let colours = format == Format::Text && std::io::stderr().is_terminal();
    let subscriber = subscriber(format, filter, colours, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::Twice)
}

fn subscriber<W, O>(
    format: Format,
    filter: Option<&str>,
    colours: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'a> MakeWriter<'a, Writer = O> + Send + Sync + 'static,
    O: Write + 'static,
{
    let filter = filter
        .filter(|filter| !filter.trim().is_empty())
        .unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(|error| TelemetryError::Filter {
            filter: filter.to_owned(),
            error,
        })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(writer);
    Ok(match format {
        Format::Text => Box::new(builder.finish()),
        Format::Json => Box::new(
            builder
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .with_span_list(false)
                .finish(),
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, filter: Option<&str>) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(format, filter, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(kind = "ContextBroker", name = "vienna", "settled");
            tracing::debug!("a detail");
            tracing::info!(target: "kube_runtime::watcher", "no news");
        });
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn json_is_one_object_per_line_with_the_fields_of_the_event() {
        let text = logged(Format::Json, None);
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["message"], "settled");
        assert_eq!(lines[0]["name"], "vienna");
        assert_eq!(lines[0]["level"], "INFO");
    }

    #[test]
    fn text_carries_the_same_and_the_filter_decides() {
        let text = logged(Format::Text, Some("debug"));
        assert!(
            text.contains("settled kind=\"ContextBroker\" name=\"vienna\""),
            "{text}"
        );
        assert!(text.contains("a detail") && text.contains("no news"), "{text}");
        assert!(!logged(Format::Text, Some(" ")).contains("a detail"));
    }

    #[test]
    fn a_filter_or_format_that_is_not_understood_is_told_in_words() {
        let error = subscriber(Format::Text, Some("a=b=c"), false, std::io::sink)
            .err()
            .unwrap();
        assert!(error.to_string().contains("mim_operator=debug"), "{error}");
        assert!("yaml".parse::<Format>().unwrap_err().contains("text or json"));
        assert_eq!("json".parse::<Format>().unwrap().to_string(), "json");
    }
}
