//! Answers that are still to come. An answer and the watches come by different ways, and a pass may get to read its answer last: by then a watch may have
//! shown that the object is gone again. What such an answer shows must not be taken in, for nobody would ever say again that it is gone.

use super::child::ChildKind;

/// Writes that are under way, with the news of the ends of their objects since they were sent. At most two for each pass that runs: one that finds its name
/// taken sends again before the first is given up.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    last: u64,
    open: Vec<Write>,
}

#[derive(Debug)]
struct Write {
    number: u64,
    kind: ChildKind,
    namespace: String,
    name: String,
    /// No object of this version or an older one is there any more.
    gone: Option<u64>,
}

impl Awaited {
    /// A write is about to be sent. The number is its name here.
    pub(super) fn begin(&mut self, kind: ChildKind, namespace: &str, name: &str) -> u64 {
        self.last += 1;
        self.open.push(Write {
            number: self.last,
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            gone: None,
        });
        self.last
    }

    /// It is answered, or given up.
    pub(super) fn end(&mut self, number: u64) {
        self.open.retain(|write| write.number != number);
    }

    /// A watch has shown the end of an object. The version is that of the end, and so is newer than any that the object ever had; what has none that can be
    /// compared ends all that was written before. Where a list has missed the object, it is the last that was seen, and [`Self::listed`] has said more.
    pub(super) fn gone(&mut self, kind: ChildKind, namespace: &str, name: &str, version: u64) {
        let version = if version == 0 { u64::MAX } else { version };
        let of_it =
            |write: &&mut Write| write.kind == kind && write.namespace == namespace && write.name == name;
        for write in self.open.iter_mut().filter(of_it) {
            write.gone = write.gone.max(Some(version));
        }
    }

    /// A list of this version, of one kind in one scope, is in. What is not known now and was written before the list is gone; what is newer than the list is
    /// shown by the watch that follows, and so is its end.
    pub(super) fn listed(
        &mut self,
        kind: ChildKind,
        namespace: Option<&str>,
        version: u64,
        is_known: impl Fn(&str, &str) -> bool,
    ) {
        let in_scope = |write: &&mut Write| {
            write.kind == kind && namespace.is_none_or(|namespace| namespace == write.namespace)
        };
        for write in self.open.iter_mut().filter(in_scope) {
            if !is_known(&write.namespace, &write.name) {
                write.gone = write.gone.max(Some(version));
            }
        }
    }

    /// Whether what the answer to this write shows is gone by now.
    pub(super) fn is_gone(&self, number: u64, version: u64) -> bool {
        let mut open = self.open.iter();
        let gone = open
            .find(|write| write.number == number)
            .and_then(|write| write.gone);
        gone.is_some_and(|gone| version <= gone)
    }

    #[cfg(test)]
    pub(super) const fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}
